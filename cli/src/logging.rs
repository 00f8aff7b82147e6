//! What the programs say while they run: lines on stderr, chosen by `RUST_LOG`, as text or as JSON.
//!
//! Directives match the beginning of a target, so `pyrsia=debug` covers every crate of this workspace.

use crate::traces::TraceLayer;
use std::io::IsTerminal;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// What a node says when `RUST_LOG` is not set. The hash table would warn every few minutes that a lone node knows nobody.
pub const NODE_DEFAULT: &str = "warn,libp2p_kad=error,pyrsia=info";
/// What the demo says beside its own story when `RUST_LOG` is not set.
pub const DEMO_DEFAULT: &str = "off";

/// A line for each event, for people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, thiserror::Error)]
#[error("RUST_LOG is not a list of directives such as pyrsia=debug,libp2p=info")]
pub struct LogFilterError(#[from] tracing_subscriber::filter::ParseError);

/// Starts logging for the whole process. `RUST_LOG` wins over `default`. What goes to `traces` is chosen there, not by `RUST_LOG`.
pub fn start(format: LogFormat, default: &str, traces: Option<TraceLayer>) -> Result<(), LogFilterError> {
    let filter = filter(std::env::var("RUST_LOG").ok().as_deref(), default)?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_timer(SystemTime)
        // Such an error is printed to stderr, and panics where stderr is what failed: a log that nobody reads any longer,
        // as that of `pyrsia_node 2>&1 | head`, must not end the tasks that write to it.
        .log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(traces);
    match format {
        LogFormat::Text => {
            let with_ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            registry.with(lines.with_ansi(with_ansi).with_filter(filter)).init();
        }
        // The list of spans is what says which request a line of a fetch or a verifier is about: its innermost span does not.
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_filter(filter)).init(),
    }
    Ok(())
}

/// What the directives of `RUST_LOG` choose; none, or empty ones, choose `default`.
pub fn filter(directives: Option<&str>, default: &str) -> Result<EnvFilter, LogFilterError> {
    let wanted = directives.filter(|directives| !directives.trim().is_empty());
    Ok(EnvFilter::try_new(wanted.unwrap_or(default))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no writer panics").write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn said_with(directives: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::try_new(directives).unwrap())
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(target: "pyrsia_registry", "access line");
            tracing::debug!(target: "pyrsia_node::builds", "build line");
            tracing::info!(target: "pyrsia_node", "start line");
            tracing::info!(target: "libp2p_swarm", "swarm line");
            tracing::warn!(target: "libp2p_kad::behaviour", "lonely line");
            tracing::warn!(target: "libp2p_tcp", "warning line");
        });
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn the_directive_of_the_tutorial_covers_every_room() {
        let said = said_with("pyrsia=debug");
        assert!(said.contains("access line") && said.contains("build line") && !said.contains("swarm line"), "{said}");
    }

    #[test]
    fn a_node_without_rust_log_says_what_happens_and_leaves_out_how() {
        let said = said_with(NODE_DEFAULT);
        assert!(said.contains("start line") && said.contains("warning line") && !said.contains("lonely line"), "{said}");
        assert!(!said.contains("build line") && !said.contains("swarm line"), "{said}");
    }
}
