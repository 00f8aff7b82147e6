//! What a node lets others see of its work, and how it ends it: settings of the access log, of traces and of stopping.

use super::arguments::{http_url, without_user};
use super::switch::Switch;
use crate::logging::LogFormat;
use crate::traces::TraceConfig;
use clap::Args;
use humantime::parse_duration;
use pyrsia_registry::{AccessLog, RegistryConfig};
use std::time::Duration;
use url::Url;

const LOGGING: &str = "Logging";
const TRACES: &str = "Traces";
const STOPPING: &str = "Stopping";

#[derive(Clone, Debug, Args)]
pub struct TelemetryArguments {
    /// Whether each HTTP request is logged: its method and path, status, bytes sent, time, and id
    #[arg(help_heading = LOGGING, long, value_name = "SWITCH", value_enum, default_value_t = Switch::On)]
    pub access_log: Switch,
    /// Collector of OpenTelemetry that gets traces, over HTTP, e.g. http://127.0.0.1:4318 [default: no traces are made]
    #[arg(help_heading = TRACES, long, value_name = "URL", value_parser = collector)]
    pub otlp_endpoint: Option<Url>,
    /// Share of the requests and builds that are traced, from 0 to 1. A client whose request is part of a trace decides for itself
    #[arg(help_heading = TRACES, long, value_name = "SHARE", default_value = "1", value_parser = share, hide_short_help = true)]
    pub otlp_sampling: f64,
    /// How long a stopping node answers on while /readyz says that it stops, so that a load balancer sees it
    #[arg(help_heading = STOPPING, long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub stop_grace: Duration,
    /// How long pulls under way may take to come to their end when the node stops. A second signal ends them at once
    #[arg(help_heading = STOPPING, long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub drain_timeout: Duration,
}

impl TelemetryArguments {
    pub(super) fn apply(&self, format: LogFormat, config: &mut RegistryConfig) {
        config.access_log = match (self.access_log, format) {
            (Switch::Off, _) => AccessLog::Off,
            (Switch::On, LogFormat::Text) => AccessLog::Line,
            (Switch::On, LogFormat::Json) => AccessLog::Fields,
        };
        config.stop_grace = self.stop_grace;
        config.drain_timeout = self.drain_timeout;
    }

    /// None where nobody wants traces.
    pub(super) fn traces(&self) -> Option<TraceConfig> {
        self.otlp_endpoint.clone().map(|endpoint| TraceConfig { endpoint, sampled_share: self.otlp_sampling })
    }
}

fn collector(text: &str) -> Result<Url, String> {
    without_user(http_url(text)?, "what the collector wants to know is given by the variable OTEL_EXPORTER_OTLP_HEADERS")
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "not a number from 0 to 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::net::{Ipv4Addr, SocketAddr};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        telemetry: TelemetryArguments,
    }

    fn told(line: &str, format: LogFormat) -> RegistryConfig {
        let mut config = RegistryConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), String::new());
        let line = Line::try_parse_from(line.split_whitespace()).expect("every option is known");
        line.telemetry.apply(format, &mut config);
        config
    }

    #[test]
    fn without_options_a_node_logs_requests_makes_no_traces_and_drains_for_a_minute() {
        let config = told("pyrsia_node", LogFormat::Text);
        assert_eq!((config.access_log, config.stop_grace), (AccessLog::Line, Duration::ZERO));
        assert_eq!(config.drain_timeout, pyrsia_registry::DRAIN_TIMEOUT);
        assert!(Line::try_parse_from(["pyrsia_node"]).expect("no option is needed").telemetry.traces().is_none());
    }

    #[test]
    fn the_access_log_has_the_form_of_the_other_lines_unless_it_is_off() {
        assert_eq!(told("pyrsia_node", LogFormat::Json).access_log, AccessLog::Fields);
        assert_eq!(told("pyrsia_node --access-log off", LogFormat::Json).access_log, AccessLog::Off);
    }

    #[test]
    fn a_password_for_the_collector_is_refused_because_it_would_not_be_sent() {
        let error = Line::try_parse_from(["pyrsia_node", "--otlp-endpoint", "http://me:hunter2@127.0.0.1:4318"]).map(drop);
        assert!(error.is_err_and(|error| error.to_string().contains("OTEL_EXPORTER_OTLP_HEADERS")));
    }

    #[test]
    fn a_share_outside_of_zero_and_one_is_refused() {
        for (share, fits) in
            [("0", true), ("0.25", true), ("1", true), ("1.1", false), ("-0.1", false), ("NaN", false), ("all", false)]
        {
            let line = format!("--otlp-sampling={share}");
            assert_eq!(Line::try_parse_from(["pyrsia_node", &line]).is_ok(), fits, "{share}");
        }
    }
}
