//! One request and its answer, from its first byte to its last: what is counted and logged of it.
//!
//! Owns the line in the access log. Of a request the path is logged, never the query, a credential or the user of a URL.

use super::trace::{self, Outcome};
use crate::metrics::{self, Ended, Surface};
use crate::server::{Front, Guest};
use hyper::body::{Body, Incoming};
use poem::http::{HeaderMap, HeaderName, Method, StatusCode, Version, header};
use pyrsia_node::{RequestContext, Verdict};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::Span;

/// Where the access log stands among the other lines, for `RUST_LOG`.
const TARGET: &str = "pyrsia_registry";

/// What is logged of each request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    Off,
    /// A line for people, in the order that web servers have.
    #[default]
    Line,
    /// Each fact as a field, for programs.
    Fields,
}

/// Ends when it is dropped, however that comes about.
pub(super) struct Exchange {
    front: Arc<Front>,
    surface: Surface,
    method: Method,
    guest: Arc<Guest>,
    context: RequestContext,
    span: Span,
    begun: Instant,
    written_before: u64,
    /// Only of requests that are logged.
    line: Option<Line>,
    status: Option<StatusCode>,
    /// How many bytes the body has, where that is known.
    expected: Option<u64>,
    sent: u64,
    is_complete: bool,
    is_failed: bool,
}

/// What the log shows of the heads of a request and its answer.
struct Line {
    path: String,
    version: Version,
    referer: String,
    agent: String,
    digest: Option<String>,
}

impl Exchange {
    pub(super) fn begin(
        front: Arc<Front>,
        guest: Arc<Guest>,
        request: &hyper::Request<Incoming>,
        surface: Surface,
        context: RequestContext,
        span: Span,
    ) -> Self {
        front.metrics.begun();
        guest.begin_answer();
        let is_logged = front.access_log != AccessLog::Off && tracing::enabled!(target: TARGET, tracing::Level::INFO);
        Self {
            surface,
            method: request.method().clone(),
            context,
            span,
            begun: Instant::now(),
            written_before: guest.written_bytes(),
            guest,
            line: is_logged.then(|| Line::new(request)),
            status: None,
            expected: None,
            sent: 0,
            is_complete: false,
            is_failed: false,
            front,
        }
    }

    /// The head of the answer is ready.
    pub(super) fn answered<B: Body>(&mut self, response: &hyper::Response<B>) {
        self.status = Some(response.status());
        let has_no_body = self.method == Method::HEAD || response.body().is_end_stream();
        let length = response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        self.expected = if has_no_body { Some(0) } else { length.or(response.body().size_hint().exact()) };
        self.front.metrics.answered(self.surface, self.begun.elapsed());
        if let Some(line) = &mut self.line {
            line.digest = digest(response.headers());
        }
    }

    pub(super) fn handed_over(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        self.front.metrics.sent(self.surface, bytes as u64);
    }

    pub(super) fn completed(&mut self) {
        self.is_complete = true;
    }

    pub(super) fn failed(&mut self, error: &io::Error) {
        self.is_failed = true;
        self.span.in_scope(|| tracing::warn!(%error, sent_bytes = self.sent, "an answer broke off"));
    }

    fn broken_off(&self) -> Option<&'static str> {
        if self.is_failed {
            Some(metrics::FAILED)
        } else if self.is_complete || self.expected == Some(self.sent) {
            None
        } else if self.front.cut.is_cancelled() {
            Some(metrics::CUT_OFF)
        } else {
            Some(metrics::CLIENT_LEFT)
        }
    }

    fn log(&self, line: &Line, elapsed: Duration, sent: u64, broken_off: Option<&'static str>) {
        let Line { path, version, referer, agent, digest } = line;
        let (method, peer, request_id) = (&self.method, self.guest.peer, self.context.id());
        match self.front.access_log {
            AccessLog::Off => {}
            AccessLog::Line => {
                let status = self.status.map_or("-".to_owned(), |status| status.as_u16().to_string());
                tracing::info!(
                    target: TARGET, parent: None, request_id, bytes = sent, broken_off,
                    "{peer} \"{method} {path} {version:?}\" {status} \"{referer}\" \"{agent}\" {elapsed:?}"
                );
            }
            AccessLog::Fields => tracing::info!(
                target: TARGET, parent: None, request_id,
                method = method.as_str(),
                path,
                status = self.status.map(|status| status.as_u16()),
                bytes = sent,
                duration_ms = elapsed.as_micros() as f64 / 1e3,
                remote = %peer,
                user_agent = agent,
                referer,
                handler = self.surface.as_str(),
                verdict = self.context.verdict().map(Verdict::as_str),
                digest,
                broken_off,
                "request"
            ),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.guest.end_answer();
        let (elapsed, broken_off) = (self.begun.elapsed(), self.broken_off());
        // What waits in a buffer when the connection ends was not sent.
        let sent = match broken_off {
            Some(_) => self.sent.min(self.guest.written_bytes() - self.written_before),
            None => self.sent,
        };
        let (status, verdict) = (self.status.map(|status| status.as_u16()), self.context.verdict().map(Verdict::as_str));
        self.front.metrics.ended(&Ended { surface: self.surface, method: &self.method, status, elapsed, verdict, broken_off });
        trace::end(&self.span, &Outcome { status, sent_bytes: sent, verdict, broken_off });
        if let Some(line) = &self.line {
            self.log(line, elapsed, sent, broken_off);
        }
    }
}

impl Line {
    fn new(request: &hyper::Request<Incoming>) -> Self {
        let headers = request.headers();
        Self {
            path: unquoted(request.uri().path()),
            version: request.version(),
            referer: without_credentials(&text(headers, header::REFERER)),
            agent: text(headers, header::USER_AGENT),
            digest: None,
        }
    }
}

/// A header that stands between quotes, which it cannot end itself; `-` when there is none.
fn text(headers: &HeaderMap, name: HeaderName) -> String {
    unquoted(headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-"))
}

fn unquoted(text: &str) -> String {
    text.replace('"', "'")
}

/// A URL without its user and its query, where secrets stand.
fn without_credentials(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// What an answer says that the bytes of its artifact are.
fn digest(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(header::ETAG)?.to_str().ok()?.trim_matches('"');
    tag.starts_with("sha256:").then(|| tag.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem::http::HeaderValue;

    #[test]
    fn a_header_cannot_forge_the_rest_of_a_log_line() {
        let headers = HeaderMap::from_iter([(header::USER_AGENT, HeaderValue::from_static(r#"x" 200 "y (linux\)"#))]);
        assert_eq!(text(&headers, header::USER_AGENT), r#"x' 200 'y (linux\)"#);
        assert_eq!(text(&headers, header::REFERER), "-");
    }

    #[test]
    fn the_user_and_the_query_of_a_url_are_not_logged() {
        for (url, logged) in [
            ("-", "-"),
            ("https://user:secret@a.example/b?token=secret#c", "https://a.example/b"),
            ("https://user:sec@ret@a.example", "https://a.example"),
            ("https://a.example/@scope/b", "https://a.example/@scope/b"),
            ("/b?token=secret", "/b"),
        ] {
            assert_eq!(without_credentials(url), logged);
        }
    }
}
