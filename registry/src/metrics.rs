//! What the HTTP server counts of itself.

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// The media type of what [`Metrics::exposition`] writes.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The line that ends an exposition (OpenMetrics 1.0, "Overall Structure").
const END: &str = "# EOF\n";
/// Upper bounds of the histogram of response times, in seconds.
const BUCKETS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];

/// Which protocol a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Surface {
    Docker,
    Maven,
    /// The paths of any other package type.
    Packages,
    Management,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    surface: Surface,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Timed {
    surface: Surface,
}

pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Family<Timed, Histogram>,
    connections: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let requests = Family::<Answered, Counter>::default();
        let seconds = Family::<Timed, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let connections = Gauge::default();
        let mut registry = Registry::with_prefix("pyrsia_http");
        registry.register("requests", "Requests that were answered", requests.clone());
        registry.register("response_seconds", "Time until the head of the answer was ready", seconds.clone());
        registry.register("connections", "Open connections", connections.clone());
        Self { registry, requests, seconds, connections }
    }

    pub(crate) fn answered(&self, surface: Surface, status: u16, elapsed: Duration) {
        self.requests.get_or_create(&Answered { surface, status }).inc();
        self.seconds.get_or_create(&Timed { surface }).observe(elapsed.as_secs_f64());
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
        metrics.answered(Surface::Docker, 404, Duration::from_millis(3));
        let counted = metrics.connection();
        let text = metrics.exposition("pyrsia_height 7\n# EOF\n".to_owned());
        assert!(text.starts_with("pyrsia_height 7\n"));
        assert!(text.contains(r#"pyrsia_http_requests_total{surface="Docker",status="404"} 1"#), "{text}");
        assert!(text.contains("pyrsia_http_connections 1"), "{text}");
        assert_eq!(text.matches(END).count(), 1);
        drop(counted);
        assert!(metrics.exposition(String::new()).contains("pyrsia_http_connections 0"));
    }
}
