//! Bodies and queries of requests, read with limits.

use super::error::Refused;
use poem::Request;
use poem::error::ReadBodyError;
use poem::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The longest body of a request: the longest package id there is fits sixteen times.
pub(crate) const BODY_BYTES_MAX: usize = 8 * 1_024;
/// A client has this long to send its body.
const BODY_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the body as JSON, from anybody but the web page of another site.
pub(super) async fn read<T: DeserializeOwned>(request: &mut Request) -> Result<T, Refused> {
    refuse_other_sites(request.headers())?;
    let media_type = request.content_type().map(|value| value.split(';').next().unwrap_or(value).trim().to_ascii_lowercase());
    if let Some(other) = media_type.filter(|media_type| media_type != "application/json") {
        let message = format!("the body is {other}, send it with `Content-Type: application/json`");
        return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message));
    }
    let body = tokio::time::timeout(BODY_READ_TIMEOUT, request.take_body().into_bytes_limit(BODY_BYTES_MAX)).await;
    let body = match body {
        Ok(Ok(body)) => body,
        Ok(Err(ReadBodyError::PayloadTooLarge)) => {
            let message = format!("the body is longer than {BODY_BYTES_MAX} bytes");
            return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", message));
        }
        Ok(Err(error)) => return Err(Refused::bad_request(format!("the body cannot be read: {error}"))),
        Err(_) => {
            let message = format!("the body did not arrive within {} s", BODY_READ_TIMEOUT.as_secs());
            return Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "TIMEOUT", message));
        }
    };
    serde_json::from_slice(&body)
        .map_err(|error| Refused::bad_request(format!("the body is not the JSON that is expected: {error}")))
}

pub(super) fn query<T: DeserializeOwned>(request: &Request) -> Result<T, Refused> {
    request.params().map_err(|error| Refused::bad_request(format!("the query cannot be read: {error}")))
}

/// A browser says where a page comes from (RFC 6454, section 7); programs do not send the header.
fn refuse_other_sites(headers: &HeaderMap) -> Result<(), Refused> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let own = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let from = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://").or(origin.strip_prefix("https://")));
    if from.is_some() && from == own {
        return Ok(());
    }
    let message = "a web page of another site may not change anything here".to_owned();
    Err(Refused::new(StatusCode::FORBIDDEN, "FORBIDDEN", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_kept_out_and_programs_are_not() {
        let headers = |origin: Option<&str>| {
            let mut headers = HeaderMap::from_iter([(header::HOST, "localhost:7888".parse().expect("a header"))]);
            headers.extend(origin.map(|origin| (header::ORIGIN, origin.parse().expect("a header"))));
            headers
        };
        assert!(refuse_other_sites(&headers(None)).is_ok());
        assert!(refuse_other_sites(&headers(Some("http://localhost:7888"))).is_ok());
        for other in ["http://localhost:7889", "https://site.example", "null", ""] {
            assert!(refuse_other_sites(&headers(Some(other))).is_err(), "{other}");
        }
    }
}
