//! What a request must say of where it ends and whom it is for, beyond what hyper asks (RFC 9112, sections 3.2 and 6.1).
//!
//! A proxy in front of the node may read a doubtful request otherwise than hyper does, and then one client's bytes would be the next one's request.

use crate::management::error::Refused;
use poem::http::{HeaderMap, Version, header};

/// Refuses a request that names no host or several; before HTTP/1.1 there was none to name.
pub(crate) fn check_host(version: Version, headers: &HeaderMap) -> Result<(), Refused> {
    match headers.get_all(header::HOST).iter().count() {
        1 => Ok(()),
        0 if version < Version::HTTP_11 => Ok(()),
        count => Err(Refused::bad_request(format!("a request has one `Host` header, this one has {count}"))),
    }
}

/// Whether nothing that follows the request on its connection may be read. A length that stood beside chunks is not to be seen here any more: hyper
/// takes it away, so that every request in chunks is the last one.
pub(crate) fn is_last(version: Version, headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING) || check_host(version, headers).is_err()
}
