//! What happens round every request: its id, its place in a trace, its line in the access log, its counts, and the end of a panic.

mod exchange;
mod trace;
mod watched_body;

pub use exchange::AccessLog;

use crate::metrics::Surface;
use crate::router;
use crate::server::Front;
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
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tracing::Instrument;
use watched_body::WatchedBody;

/// Whom a request came from.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) peer: SocketAddr,
    /// What the system has taken for this client so far, heads and all.
    pub(crate) written_bytes: Arc<AtomicU64>,
}

pub(crate) async fn answer(
    front: Arc<Front>,
    connection: Connection,
    request: hyper::Request<Incoming>,
) -> hyper::Response<impl Body<Data = Bytes, Error = io::Error>> {
    let context = RequestContext::new(request.headers().get(REQUEST_ID).map(HeaderValue::as_bytes));
    let surface = router::surface(&front, request.uri().path());
    let span = span(surface, context.id());
    trace::begin(&span, &request, connection.peer);
    let mut exchange = Exchange::begin(front.clone(), connection, &request, surface, context.clone(), span.clone());

    let request: Request = (request, LocalAddr::default(), RemoteAddr::default(), Scheme::HTTP).into();
    let answering = AssertUnwindSafe(router::answer(&front, request)).catch_unwind();
    let answered = context.clone().scope(answering.instrument(span.clone())).await;
    let mut response = answered.unwrap_or_else(|_| {
        span.in_scope(|| tracing::error!("answering a request panicked"));
        Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).finish()
    });

    head(response.headers_mut(), &context);
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
fn span(surface: Surface, request_id: &str) -> tracing::Span {
    match surface {
        Surface::Docker => tracing::info_span!("docker", request_id, otel.kind = "server"),
        Surface::Maven => tracing::info_span!("maven", request_id, otel.kind = "server"),
        Surface::Packages => tracing::info_span!("packages", request_id, otel.kind = "server"),
        Surface::Management => tracing::info_span!("management", request_id, otel.kind = "server"),
    }
}
