//! From what went wrong to the answer of the API: `{"errors":[{"code","message"}]}` with a 4xx or 5xx status.

use poem::error::ResponseError;
use poem::http::StatusCode;
use poem::{Error, IntoResponse, Response};
use serde_json::json;

use crate::builds::{PinError, SubmitError, with_causes};
use crate::mapping::MappingError;
use crate::package::PackageError;

#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn unknown_build(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "BUILD_UNKNOWN", format!("there is no build {id}"))
    }
}

impl ResponseError for ApiError {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn as_response(&self) -> Response {
        let body = json!({ "errors": [{ "code": self.code, "message": self.message }] });
        let response = Response::builder().status(self.status).content_type("application/json");
        // Both mean that the same request may work soon.
        let busy = matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        if busy { response.header("retry-after", "5").body(body.to_string()) } else { response.body(body.to_string()) }
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        let message = with_causes(&error);
        match error {
            SubmitError::QueueFull { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, "QUEUE_FULL", message),
            SubmitError::Stopping => Self::new(StatusCode::SERVICE_UNAVAILABLE, "STOPPING", message),
            SubmitError::Io(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "STORAGE", message),
            SubmitError::Mapping(error) => error.into(),
        }
    }
}

impl From<PinError> for ApiError {
    fn from(error: PinError) -> Self {
        let message = with_causes(&error);
        match error {
            PinError::Mapping(error) => error.into(),
            PinError::Contradicted(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "SOURCE_UNKNOWN", message),
            PinError::Unreachable(_) => Self::new(StatusCode::BAD_GATEWAY, "SOURCE_UNREACHABLE", message),
            PinError::TimedOut => Self::new(StatusCode::GATEWAY_TIMEOUT, "SOURCE_TIMEOUT", message),
            PinError::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "BUSY", message),
            PinError::Stopping => Self::new(StatusCode::SERVICE_UNAVAILABLE, "STOPPING", message),
            PinError::Io(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "STORAGE", message),
        }
    }
}

impl From<MappingError> for ApiError {
    fn from(error: MappingError) -> Self {
        let message = with_causes(&error);
        match error {
            MappingError::Package(PackageError::Type(_)) => Self::new(StatusCode::BAD_REQUEST, "PACKAGE_TYPE_INVALID", message),
            MappingError::Package(PackageError::Id(_)) | MappingError::ImageName(_) | MappingError::Coordinate(_) => {
                Self::new(StatusCode::BAD_REQUEST, "NAME_INVALID", message)
            }
            MappingError::Git(_) => Self::new(StatusCode::BAD_REQUEST, "SOURCE_INVALID", message),
            MappingError::Platform(_)
            | MappingError::Upstream(_)
            | MappingError::ManyPlatforms(_)
            | MappingError::SomePlatforms(_)
            | MappingError::NoSource
            | MappingError::SourceDigest
            | MappingError::Maven(_)
            | MappingError::OtherSection(..) => Self::new(StatusCode::BAD_REQUEST, "RECIPE_INVALID", message),
            MappingError::NoBuilder(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "NO_BUILDER", message),
            MappingError::NoMapping(_)
            | MappingError::NoSourceMapping(_)
            | MappingError::NoTag(_)
            | MappingError::NoVersion(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "NO_MAPPING", message),
            MappingError::ServiceUnreachable { .. } | MappingError::ServiceStatus { .. } | MappingError::ServiceAnswer { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, "MAPPING_SERVICE", message)
            }
        }
    }
}

/// Errors of the router and of the extractors, in the same form.
pub(crate) async fn any_error(error: Error) -> Response {
    if let Some(own) = error.downcast_ref::<ApiError>() {
        return own.as_response();
    }
    let status = error.status();
    let (code, message) = match status {
        StatusCode::NOT_FOUND => ("NOT_FOUND", "there is nothing at this path; see GET /status".to_owned()),
        StatusCode::METHOD_NOT_ALLOWED => ("METHOD_NOT_ALLOWED", "this path does not take this method".to_owned()),
        StatusCode::PAYLOAD_TOO_LARGE => ("TOO_LARGE", format!("the body has more than {} bytes", super::MAX_REQUEST_BYTES)),
        status if status.is_client_error() => ("BAD_REQUEST", error.to_string()),
        _ => {
            tracing::error!(%error, "a request failed");
            ("INTERNAL", "the pipeline has a fault, see its log".to_owned())
        }
    };
    ApiError::new(status, code, message).as_response().into_response()
}
