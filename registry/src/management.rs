//! The management API: the surface of the seed documents, and `/api/v1`.
//!
//! Reads a typed body, asks the node's handle once, and answers JSON. [`error`] alone turns errors into HTTP.

pub(crate) mod authorize;
pub(crate) mod body;
pub(crate) mod builds;
pub(crate) mod error;
pub(crate) mod inspect;
pub(crate) mod log;
pub(crate) mod members;
pub(crate) mod package_types;
pub(crate) mod predecessor;
pub(crate) mod proofs;
pub(crate) mod search;
pub(crate) mod status;
pub(crate) mod storage;
pub(crate) mod verifiers;

use poem::Response;
use poem::http::{StatusCode, header};
use serde::Serialize;

/// An answer in JSON.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    let body = serde_json::to_vec(value).expect("every wire type serializes");
    Response::builder().status(status).header(header::CONTENT_TYPE, "application/json").body(body)
}
