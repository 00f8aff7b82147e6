//! Refusals as problem details (RFC 9457), which Maven shows to whoever runs it.

use super::checksum::ChecksumError;
use super::path::PathError;
use crate::content::SendError;
use crate::not_served::NotServed;
use crate::wire::Problem;
use poem::Response;
use poem::http::{StatusCode, header};
use pyrsia_ledger::{ArtifactId, PackageType};
use pyrsia_node::{ArtifactError, MountError, RequestContext, WishError};

#[derive(Debug, thiserror::Error)]
pub(super) enum MavenError {
    #[error(transparent)]
    Path(#[from] PathError),
    /// The text says what becomes of it.
    #[error("{0}")]
    NotPublished(String),
    /// What can never be published: the verifier's sentence.
    #[error("{0}")]
    NeverPublished(String),
    /// Published, and not given out.
    #[error("{0}")]
    AtRisk(String),
    #[error("{0}")]
    Unavailable(String),
    #[error(
        "nothing can be deployed here: packages are built from their source, ask for one with `pyrsia build maven --gav GROUP:ARTIFACT:VERSION`"
    )]
    MethodNotAllowed,
    #[error("{0}")]
    NoAnswer(String),
}

impl MavenError {
    fn status_and_title(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Path(PathError::TooLong(_)) => (StatusCode::URI_TOO_LONG, "Path too long"),
            Self::Path(PathError::Step(_)) => (StatusCode::BAD_REQUEST, "Not a path of a Maven repository"),
            Self::Path(PathError::Folder(_) | PathError::Prefixes | PathError::Unknown(_)) => {
                (StatusCode::NOT_FOUND, "Not found")
            }
            Self::NotPublished(_) => (StatusCode::NOT_FOUND, "Not published in this network"),
            Self::NeverPublished(_) => (StatusCode::NOT_FOUND, "Never published in this network"),
            Self::AtRisk(_) => (StatusCode::FORBIDDEN, "At risk"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "Not available at the moment"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "Read only"),
            Self::NoAnswer(_) => (StatusCode::INTERNAL_SERVER_ERROR, "No answer"),
        }
    }

    pub(super) fn into_response(self) -> Response {
        let (status, title) = self.status_and_title();
        // Maven 4 asks by itself and takes a problem for a failure, of which it warns in every build.
        if let Self::Path(PathError::Prefixes) = self {
            return Response::builder().status(status).header(header::CONTENT_TYPE, "text/plain").body(self.to_string());
        }
        let request_id = RequestContext::current().map(|request| request.id().to_owned());
        let problem = Problem { title: title.to_owned(), status: status.as_u16(), detail: self.to_string(), request_id };
        let mut response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/problem+json");
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response = response.header(header::ALLOW, "GET, HEAD");
        }
        response.body(serde_json::to_vec(&problem).expect("text serializes"))
    }

    /// Why an artifact that is published is not handed out; `unpublished` is what it means that it is not.
    pub(super) fn withheld(error: ArtifactError, unpublished: impl FnOnce(&PackageType, &ArtifactId) -> String) -> Self {
        match error.into() {
            NotServed::Unpublished { package_type, id } => Self::NotPublished(unpublished(&package_type, &id)),
            NotServed::AtRisk(text) => Self::AtRisk(text),
            NotServed::Unavailable(text) => Self::Unavailable(text),
        }
    }
}

/// An artifact that was found and is gone: nothing has to be said of a build.
impl From<ArtifactError> for MavenError {
    fn from(error: ArtifactError) -> Self {
        Self::withheld(error, |_, id| format!("{id} is not published in this network"))
    }
}

impl From<SendError> for MavenError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Withheld(error) => error.into(),
            error @ SendError::Unreadable { .. } => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<ChecksumError> for MavenError {
    fn from(error: ChecksumError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "the checksums of an artifact cannot be had");
        Self::Unavailable(error.to_string())
    }
}

impl From<MountError> for MavenError {
    fn from(error: MountError) -> Self {
        match error {
            MountError::Wish(error) => error.into(),
            MountError::NoDocument(refusal) => Self::NeverPublished(refusal.sentence),
            error @ (MountError::Abstained(_) | MountError::TooLarge) => {
                tracing::warn!(%error, "a verifier gave no answer to a path");
                Self::NoAnswer(error.to_string())
            }
            error @ MountError::Stopped => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<WishError> for MavenError {
    fn from(error: WishError) -> Self {
        match &error {
            WishError::Coordinate { sentence, .. } => Self::NeverPublished(sentence.clone()),
            WishError::UnknownPackageType { .. } => Self::NotPublished(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}
