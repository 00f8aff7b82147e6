//! What the HTTP server counts of itself.

use poem::http::Method;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use pyrsia_node::Verdict;
use std::time::Duration;

/// The media type of what [`Metrics::exposition`] writes.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The line that ends an exposition (OpenMetrics 1.0, "Overall Structure").
const END: &str = "# EOF\n";
/// Upper bounds of the histograms of response times, in seconds.
const BUCKETS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];

/// Which protocol a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    Docker,
    Maven,
    /// The paths of any other package type.
    Packages,
    Management,
}

impl Surface {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Maven => "maven",
            Self::Packages => "packages",
            Self::Management => "management",
        }
    }
}

/// How answers end before their last byte, as the access log says it too.
pub(crate) const CLIENT_LEFT: &str = "client_left";
/// The artifact could not be read to its end.
pub(crate) const FAILED: &str = "failed";
/// The node stopped, and the time for answers in work was over.
pub(crate) const CUT_OFF: &str = "cut_off";
const BROKEN_OFF: [&str; 3] = [CLIENT_LEFT, FAILED, CUT_OFF];

/// What became of a request.
pub(crate) struct Ended<'a> {
    pub(crate) surface: Surface,
    pub(crate) method: &'a Method,
    /// None when the client left before there was one.
    pub(crate) status: Option<u16>,
    pub(crate) elapsed: Duration,
    pub(crate) verdict: Option<&'static str>,
    pub(crate) broken_off: Option<&'static str>,
}

// No label is a path or a digest, or any other word that clients choose: each would be a time series of its own.

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    handler: &'static str,
    method: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handled {
    handler: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BrokenOff {
    handler: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verified {
    handler: &'static str,
    verdict: &'static str,
}

pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    head_seconds: Family<Handled, Histogram>,
    seconds: Family<Handled, Histogram>,
    sent: Family<Handled, Counter>,
    broken_off: Family<BrokenOff, Counter>,
    verified: Family<Verified, Counter>,
    in_flight: Gauge,
    connections: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let histogram = || Family::<Handled, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            head_seconds: histogram(),
            seconds: histogram(),
            sent: Family::default(),
            broken_off: Family::default(),
            verified: Family::default(),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
        };
        let mut registry = Registry::default();
        let pyrsia = registry.sub_registry_with_prefix("pyrsia");
        pyrsia.register("build", "What program this is", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let verified = metrics.verified.clone();
        pyrsia.register("verify", "Requests for artifacts, by what the one verdict said", verified);
        let http = pyrsia.sub_registry_with_prefix("http");
        http.register("requests", "Requests that were answered", metrics.requests.clone());
        http.register("response_seconds", "Time until the head of the answer was ready", metrics.head_seconds.clone());
        let seconds = metrics.seconds.clone();
        http.register_with_unit(
            "request_duration",
            "Time until the server had the last byte of the answer",
            Unit::Seconds,
            seconds,
        );
        http.register_with_unit("sent", "Bytes of bodies of answers", Unit::Bytes, metrics.sent.clone());
        http.register("broken_off", "Answers that ended before their last byte, by reason", metrics.broken_off.clone());
        http.register("requests_in_flight", "Requests that are being answered", metrics.in_flight.clone());
        http.register("connections", "Open connections", metrics.connections.clone());
        metrics.begin_at_zero();
        Self { registry, ..metrics }
    }

    /// A series that appears with its first event hides that event from `rate`.
    fn begin_at_zero(&self) {
        for handler in [Surface::Docker, Surface::Maven, Surface::Packages, Surface::Management].map(Surface::as_str) {
            drop(self.head_seconds.get_or_create(&Handled { handler }));
            drop(self.seconds.get_or_create(&Handled { handler }));
            drop(self.sent.get_or_create(&Handled { handler }));
            for reason in BROKEN_OFF {
                drop(self.broken_off.get_or_create(&BrokenOff { handler, reason }));
            }
            for verdict in [Verdict::Published, Verdict::Unpublished, Verdict::AtRisk].map(Verdict::as_str) {
                drop(self.verified.get_or_create(&Verified { handler, verdict }));
            }
        }
    }

    pub(crate) fn begun(&self) {
        self.in_flight.inc();
    }

    /// The head of an answer is ready.
    pub(crate) fn answered(&self, surface: Surface, elapsed: Duration) {
        self.head_seconds.get_or_create(&Handled { handler: surface.as_str() }).observe(elapsed.as_secs_f64());
    }

    pub(crate) fn sent(&self, surface: Surface, bytes: u64) {
        self.sent.get_or_create(&Handled { handler: surface.as_str() }).inc_by(bytes);
    }

    pub(crate) fn ended(&self, ended: &Ended<'_>) {
        let handler = ended.surface.as_str();
        self.in_flight.dec();
        if let Some(code) = ended.status {
            self.requests.get_or_create(&Answered { handler, method: method(ended.method), code }).inc();
            self.seconds.get_or_create(&Handled { handler }).observe(ended.elapsed.as_secs_f64());
        }
        if let Some(reason) = ended.broken_off {
            self.broken_off.get_or_create(&BrokenOff { handler, reason }).inc();
        }
        if let Some(verdict) = ended.verdict {
            self.verified.get_or_create(&Verified { handler, verdict }).inc();
        }
    }

    pub(crate) fn in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    /// Counts a connection for as long as the answer is kept.
    pub(crate) fn connection(&self) -> impl Drop + use<> {
        self.connections.inc();
        CountedConnection(self.connections.clone())
    }

    /// The node's own metrics and these, as one exposition.
    pub(crate) fn exposition(&self, mut text: String) -> String {
        if text.ends_with(END) {
            text.truncate(text.len() - END.len());
        }
        encode(&mut text, &self.registry).expect("writing to memory cannot fail");
        text
    }
}

/// Clients may send any word as a method.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

struct CountedConnection(Gauge);

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_expositions_become_one_with_one_end() {
        let metrics = Metrics::new();
        metrics.begun();
        metrics.answered(Surface::Docker, Duration::from_millis(3));
        let method = Method::from_bytes(b"BREW").expect("a method");
        let (status, elapsed) = (Some(404), Duration::from_millis(4));
        let ended =
            Ended { surface: Surface::Docker, method: &method, status, elapsed, verdict: Some("unpublished"), broken_off: None };
        metrics.ended(&ended);
        let counted = metrics.connection();
        let text = metrics.exposition("pyrsia_height 7\n# EOF\n".to_owned());
        assert!(text.starts_with("pyrsia_height 7\n"));
        for line in [
            r#"pyrsia_http_requests_total{handler="docker",method="other",code="404"} 1"#,
            r#"pyrsia_http_request_duration_seconds_count{handler="docker"} 1"#,
            r#"pyrsia_verify_total{handler="docker",verdict="unpublished"} 1"#,
            "pyrsia_http_requests_in_flight 0",
            "pyrsia_http_connections 1",
            concat!("pyrsia_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert_eq!(text.matches(END).count(), 1);
        drop(counted);
        assert!(metrics.exposition(String::new()).contains("pyrsia_http_connections 0"));
    }
}
