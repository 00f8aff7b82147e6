//! Errors as HTTP: in the form of the seed documents, and as RFC 9457 problems below `/api/v1`.

use crate::pages;
use crate::places::{NoPlace, RETRY_AFTER_SECONDS};
use crate::wire::{ErrorBody, ErrorEntry, Problem};
use poem::Response;
use poem::http::{Method, StatusCode, header};
use pyrsia_node::{ApproveVerifierError, AuthorizeError, NotStanding, RequestContext, RevokeError, WishError};

/// Which form an error has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Seed,
    Problem,
    /// A page for people.
    Page,
}

impl Dialect {
    pub(crate) fn of(path: &str) -> Self {
        match path {
            path if path.starts_with("/api/") => Self::Problem,
            path if path == "/" || path.starts_with(pages::PATH) => Self::Page,
            _ => Self::Seed,
        }
    }
}

/// A request that is not granted.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
    header: Option<(header::HeaderName, String)>,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: String) -> Self {
        Self { status, code, message, header: None }
    }

    pub(crate) fn bad_request(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    pub(crate) fn not_found(message: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    pub(crate) fn unavailable(message: String) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message)
    }

    pub(crate) fn no_network() -> Self {
        Self::unavailable(WishError::NoNetwork.to_string())
    }

    pub(crate) fn method_not_allowed(method: &Method, path: &str, allowed: &str) -> Self {
        let message = format!("{path} takes {allowed}, not {method}");
        let refused = Self::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message);
        Self { header: Some((header::ALLOW, allowed.to_owned())), ..refused }
    }

    /// `what` takes the token, such as "authorizing a node".
    pub(crate) fn without_admin_token(what: &str) -> Self {
        let message = format!(
            "{what} needs the admin token of this node: `pyrsia` finds it for the user who started the node, \
             else pass it with --admin-token or PYRSIA_ADMIN_TOKEN"
        );
        let refused = Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message);
        Self { header: Some((header::WWW_AUTHENTICATE, "Bearer realm=\"pyrsia\"".to_owned())), ..refused }
    }

    /// The same refusal with words in front that say what was tried.
    pub(crate) fn while_trying(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn into_response(self, dialect: Dialect) -> Response {
        let json = |media_type, body: serde_json::Result<Vec<u8>>| {
            let response = Response::builder().status(self.status).header(header::CONTENT_TYPE, media_type);
            response.body(body.expect("text serializes"))
        };
        let mut response = match dialect {
            Dialect::Seed => {
                let entry = ErrorEntry { code: self.code.to_owned(), message: self.message, detail: None };
                json("application/json", serde_json::to_vec(&ErrorBody { errors: vec![entry] }))
            }
            Dialect::Problem => {
                let title = self.status.canonical_reason().unwrap_or(self.code).to_owned();
                let request_id = RequestContext::current().map(|request| request.id().to_owned());
                let problem = Problem { title, status: self.status.as_u16(), detail: self.message, request_id };
                json("application/problem+json", serde_json::to_vec(&problem))
            }
            Dialect::Page => pages::refusal(self.status, &self.message),
        };
        // Every header above is of visible characters.
        if let Some((name, value)) = self.header
            && let Ok(value) = value.parse()
        {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<NoPlace> for Refused {
    fn from(busy: NoPlace) -> Self {
        let header = Some((header::RETRY_AFTER, RETRY_AFTER_SECONDS.to_string()));
        Self { header, ..Self::unavailable(busy.to_string()) }
    }
}

impl From<WishError> for Refused {
    fn from(error: WishError) -> Self {
        let (status, code) = match &error {
            WishError::Coordinate { .. } => (StatusCode::BAD_REQUEST, "BAD_REQUEST"),
            WishError::UnknownPackageType { .. } => (StatusCode::NOT_FOUND, "UNKNOWN_PACKAGE_TYPE"),
            WishError::Refused(_) => (StatusCode::CONFLICT, "REFUSED"),
            WishError::NotBuildable { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "NOT_BUILDABLE"),
            WishError::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS"),
            WishError::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, "TIMEOUT"),
            WishError::NoNetwork
            | WishError::NoAuthorizedNodes
            | WishError::NoVerifier { .. }
            | WishError::NoBuildNodeReachable { .. }
            | WishError::SourceUnavailable { .. }
            | WishError::ModuleUnavailable { .. }
            | WishError::Busy
            | WishError::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<NotStanding> for Refused {
    fn from(error: NotStanding) -> Self {
        let (status, code) = match &error {
            NotStanding::NotAuthorized(_) => (StatusCode::FORBIDDEN, "FORBIDDEN"),
            NotStanding::Refused(_) => (StatusCode::CONFLICT, "REFUSED"),
            NotStanding::TimedOut(_) => (StatusCode::GATEWAY_TIMEOUT, "TIMEOUT"),
            NotStanding::NoNetwork | NotStanding::Busy | NotStanding::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<AuthorizeError> for Refused {
    fn from(error: AuthorizeError) -> Self {
        match error {
            AuthorizeError::Already { .. } => Self::bad_request(error.to_string()),
            AuthorizeError::NotStanding(error) => error.into(),
        }
    }
}

impl From<RevokeError> for Refused {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::NotAuthorized { .. } => Self::not_found(error.to_string()),
            RevokeError::NoSuchBlock { .. } => Self::bad_request(error.to_string()),
            RevokeError::NotStanding(error) => error.into(),
        }
    }
}

impl From<ApproveVerifierError> for Refused {
    fn from(error: ApproveVerifierError) -> Self {
        match error {
            ApproveVerifierError::Unknown { .. } => Self::new(StatusCode::NOT_FOUND, "UNKNOWN_VERIFIER", error.to_string()),
            ApproveVerifierError::Unusable { .. } => Self::unavailable(error.to_string()),
            ApproveVerifierError::NotStanding(error) => error.into(),
        }
    }
}
