//! Refusals in the form of the OCI distribution specification 1.1, "Error Codes".

use super::path::PathError;
use crate::wire::{ErrorBody, ErrorEntry};
use poem::Response;
use poem::http::{StatusCode, header};

/// How long a client should wait before it asks again for something that is published but cannot be had.
const RETRY_AFTER_SECONDS: u64 = 5;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DockerError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("{0}")]
    NameUnknown(String),
    #[error("{0}")]
    ManifestUnknown(String),
    #[error("{0}")]
    BlobUnknown(String),
    /// Published, and not given out.
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    UploadUnknown(&'static str),
    #[error("{0}")]
    MethodNotAllowed(&'static str),
}

impl DockerError {
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Path(PathError::Name(_) | PathError::Last(_)) => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
            Self::Path(PathError::Digest(_)) => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            Self::Path(PathError::Unknown(_)) | Self::NameUnknown(_) => (StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
            // "Pulling manifests" knows 404 alone for a manifest that is not there, and nothing is under what cannot be a tag.
            Self::Path(PathError::Tag(_)) | Self::ManifestUnknown(_) => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
            Self::BlobUnknown(_) => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
            Self::Denied(_) => (StatusCode::FORBIDDEN, "DENIED"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
            Self::UploadUnknown(_) => (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
        }
    }

    pub(crate) fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        let entry = ErrorEntry { code: code.to_owned(), message: self.to_string(), detail: None };
        let body = serde_json::to_vec(&ErrorBody { errors: vec![entry] }).expect("text serializes");
        let mut response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response = response.header(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response = response.header(header::ALLOW, "GET, HEAD");
        }
        response.body(body)
    }
}
