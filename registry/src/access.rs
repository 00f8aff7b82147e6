//! What happens round every request: its id, its place in a trace, its line in the access log, its counts, and the end of a panic.

mod exchange;
mod trace;
mod watched_body;

pub use exchange::AccessLog;

use crate::framing;
use crate::metrics::Surface;
use crate::router;
use crate::server::{Front, Guest};
use exchange::Exchange;
use futures::FutureExt;
use hyper::body::{Body, Bytes, Incoming};
use poem::http::uri::Scheme;
use poem::http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Request, Response};
use pyrsia_node::RequestContext;
use pyrsia_node::request_context::REQUEST_ID;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tracing::Instrument;
use watched_body::WatchedBody;

pub(crate) async fn answer(
    front: Arc<Front>,
    guest: Arc<Guest>,
    request: hyper::Request<Incoming>,
) -> hyper::Response<impl Body<Data = Bytes, Error = io::Error>> {
    let context = RequestContext::new(request.headers().get(REQUEST_ID).map(HeaderValue::as_bytes));
    let surface = router::surface(&front, request.uri().path());
    let span = span(surface, context.id());
    trace::begin(&span, &request, guest.peer);
    let mut exchange = Exchange::begin(front.clone(), guest, &request, surface, context.clone(), span.clone());

    let is_last = framing::is_last(request.version(), request.headers());
    let request: Request = (request, LocalAddr::default(), RemoteAddr::default(), Scheme::HTTP).into();
    let answering = AssertUnwindSafe(router::answer(&front, request)).catch_unwind();
    let answered = context.clone().scope(answering.instrument(span.clone())).await;
    let mut response = answered.unwrap_or_else(|_| {
        span.in_scope(|| tracing::error!("answering a request panicked"));
        Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).finish()
    });

    head(response.headers_mut(), &context);
    if is_last {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let response: hyper::Response<_> = response.into();
    exchange.answered(&response);
    response.map(|body| WatchedBody::new(body, exchange))
}

/// What the head of every answer says.
fn head(headers: &mut HeaderMap, context: &RequestContext) {
    headers.insert(REQUEST_ID, HeaderValue::from_str(context.id()).expect("a request id is visible ASCII"));
    // Bytes of others are served here: a browser must not take them for a page or a script.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// What every line of log of the request stands in; its name is also that of the trace's span, hence one for each surface.
/// Of the highest level, so that an error's line has the request's id however little is logged.
fn span(surface: Surface, request_id: &str) -> tracing::Span {
    match surface {
        Surface::Docker => tracing::error_span!("docker", request_id, otel.kind = "server"),
        Surface::Maven => tracing::error_span!("maven", request_id, otel.kind = "server"),
        Surface::Packages => tracing::error_span!("packages", request_id, otel.kind = "server"),
        Surface::Management => tracing::error_span!("management", request_id, otel.kind = "server"),
    }
}
