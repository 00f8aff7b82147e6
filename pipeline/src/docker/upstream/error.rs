//! What can go wrong between here and an upstream registry, in sentences that say what to do.

use super::super::image_name::Digest;
use super::super::manifest::ManifestError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error("cannot reach the upstream registry {location} for {what}")]
    Unreachable {
        location: String,
        what: String,
        #[source]
        source: reqwest::Error,
    },
    #[error(
        "the upstream registry {location} refuses {what} with status {status}: it does not exist there, or it needs a user and a password in the upstream url, or these are wrong"
    )]
    Refused { location: String, what: String, status: u16 },
    #[error("the upstream registry {location} has no {what} (404): check name and tag")]
    NotFound { location: String, what: String },
    #[error(
        "the upstream registry {location} limits requests (429) for {what}: try again later, or give a user and a password in the upstream url"
    )]
    TooManyRequests { location: String, what: String },
    #[error("the upstream registry {location} answered with status {status} for {what}: try again later")]
    Status { location: String, what: String, status: u16 },
    #[error("the upstream registry {location} broke off {what} after {got_bytes} of {size_bytes} bytes")]
    Short { location: String, what: String, got_bytes: u64, size_bytes: u64 },
    #[error("the upstream registry {location} serves {what} with more than its {size_bytes} bytes")]
    Long { location: String, what: String, size_bytes: u64 },
    #[error("the upstream registry {location} serves wrong bytes for {what}: they have the digest {got}")]
    WrongDigest { location: String, what: String, got: Digest },
    #[error("the upstream registry {location} gave something else than {what}")]
    Manifest {
        location: String,
        what: String,
        #[source]
        source: ManifestError,
    },
    #[error("the upstream registry {location} names the token server {realm:?}, which is refused: {problem}")]
    Realm { location: String, realm: String, problem: &'static str },
    #[error("the token server of the upstream registry {location} gave an answer without a token")]
    NoToken { location: String },
    #[error("the upstream registry {location} sends {what} on to a place that is refused: {problem}")]
    Redirect { location: String, what: String, problem: &'static str },
    #[error("cannot write {what}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
}
