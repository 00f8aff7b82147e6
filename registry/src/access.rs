//! What happens round every request: its id, its line in the access log, its count, and the end of a panic.

use crate::router;
use crate::server::Front;
use futures::FutureExt;
use hyper::body::Incoming;
use poem::http::uri::Scheme;
use poem::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Request, Response};
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::time::Instant;
use tracing::Instrument;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A longer request id of a client is not repeated.
const REQUEST_ID_BYTES_MAX: usize = 64;

pub(crate) async fn answer(front: &Front, peer: SocketAddr, request: hyper::Request<Incoming>) -> Response {
    let begun = Instant::now();
    let id = request_id(request.headers());
    let line = format!("{} {} {:?}", request.method(), request.uri().path(), request.version());
    let (referer, agent) = (quoted(request.headers(), header::REFERER), quoted(request.headers(), header::USER_AGENT));
    let surface = router::surface(front, request.uri().path());

    let span = tracing::debug_span!("request", id = id.to_str().unwrap_or_default());
    let request: Request = (request, LocalAddr::default(), RemoteAddr::default(), Scheme::HTTP).into();
    let answered = AssertUnwindSafe(router::answer(front, request)).catch_unwind().instrument(span).await;
    let mut response = answered.unwrap_or_else(|_| {
        tracing::error!(request = line, "answering a request panicked");
        Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).finish()
    });

    let elapsed = begun.elapsed();
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    // Bytes of others are served here: a browser must not take them for a page or a script.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let status = response.status().as_u16();
    front.metrics.answered(surface, status, elapsed);
    tracing::info!(target: "pyrsia_registry", "{peer} \"{line}\" {status} {referer} {agent} {elapsed:?}");
    response
}

/// The client's own id where it sent one that can stand in a log, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    let fresh = || HeaderValue::try_from(uuid::Uuid::new_v4().to_string()).expect("a uuid is a header value");
    headers.get(REQUEST_ID).filter(sane).cloned().unwrap_or_else(fresh)
}

/// A header between quotes, which it cannot end itself; `-` when there is none.
fn quoted(headers: &HeaderMap, name: HeaderName) -> String {
    let text = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
    format!("\"{}\"", text.replace('"', "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_cannot_forge_the_rest_of_a_log_line() {
        let headers = HeaderMap::from_iter([(header::USER_AGENT, HeaderValue::from_static(r#"x" 200 "y (linux\)"#))]);
        assert_eq!(quoted(&headers, header::USER_AGENT), r#""x' 200 'y (linux\)""#);
        assert_eq!(quoted(&headers, header::REFERER), "\"-\"");
    }

    #[test]
    fn a_request_keeps_the_id_it_came_with_unless_it_is_unfit() {
        let with = |id: &str| HeaderMap::from_iter([(REQUEST_ID, id.parse().expect("a header"))]);
        assert_eq!(request_id(&with("abc-1")), "abc-1");
        for unfit in ["", "a b", &"a".repeat(REQUEST_ID_BYTES_MAX + 1)] {
            assert_eq!(request_id(&with(unfit)).len(), 36, "{unfit:?}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
