//! A request in a trace, as W3C Trace Context and the semantic conventions of OpenTelemetry for HTTP servers have it.
//!
//! Where no traces are made, as without a collector, all of this does nothing.

use hyper::body::Incoming;
use opentelemetry::trace::{Status, TraceContextExt};
use opentelemetry_http::HeaderExtractor;
use poem::http::header;
use std::net::SocketAddr;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACE_PARENT: &str = "traceparent";

/// Puts the span of a request where the client says that it belongs, and says in it what is asked.
pub(super) fn begin(span: &Span, request: &hyper::Request<Incoming>, peer: SocketAddr) {
    let headers = request.headers();
    if headers.contains_key(TRACE_PARENT) {
        let parent = opentelemetry::global::get_text_map_propagator(|trace| trace.extract(&HeaderExtractor(headers)));
        // A span that no collector gets has no parent either.
        let _ = span.set_parent(parent);
    }
    if !is_sampled(span) {
        return;
    }
    span.set_attribute("http.request.method", request.method().as_str().to_owned());
    span.set_attribute("url.path", request.uri().path().to_owned());
    span.set_attribute("url.scheme", "http");
    span.set_attribute("client.address", peer.ip().to_string());
    if let Some(agent) = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()) {
        span.set_attribute("user_agent.original", agent.to_owned());
    }
}

/// What became of the request.
pub(super) struct Outcome {
    pub(super) status: Option<u16>,
    pub(super) sent_bytes: u64,
    pub(super) verdict: Option<&'static str>,
    pub(super) broken_off: Option<&'static str>,
}

pub(super) fn end(span: &Span, outcome: &Outcome) {
    if !is_sampled(span) {
        return;
    }
    if let Some(status) = outcome.status {
        span.set_attribute("http.response.status_code", i64::from(status));
    }
    span.set_attribute("http.response.body.size", i64::try_from(outcome.sent_bytes).unwrap_or(i64::MAX));
    if let Some(verdict) = outcome.verdict {
        span.set_attribute("pyrsia.verdict", verdict);
    }
    if let Some(reason) = outcome.broken_off {
        span.set_attribute("error.type", reason);
    }
    if outcome.status.is_some_and(|status| status >= 500) {
        span.set_status(Status::error(""));
    }
    // A trace's span ends where it was left last, which was with the head of the answer.
    span.in_scope(|| ());
}

fn is_sampled(span: &Span) -> bool {
    span.context().span().span_context().is_sampled()
}
