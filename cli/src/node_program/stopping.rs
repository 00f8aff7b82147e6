//! How a node is told to stop, and in which order it does: clients first, while everything they are fed from still runs.

use crate::exit::Failure;
use pyrsia_node::Node;
use pyrsia_registry::Registry;
use tracing::{info, warn};

/// Lets pulls under way come to their end, then ends the node. A further signal cuts short what is being waited for.
pub(super) async fn stop(node: Node, mut registry: Registry, signals: &mut Signals) {
    tokio::select! {
        () = registry.drain() => {}
        signal = signals.next() => warn!("{signal} again: answers in work are cut off"),
    }
    registry.close().await;
    tokio::select! {
        () = node.stop() => info!("the node has stopped"),
        signal = signals.next() => warn!("{signal} again: the node ends as it stands, which its files bear"),
    }
}

/// The signals that ask the program to stop. Received from the moment this is made, so that one during the start is not lost.
#[cfg(unix)]
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(super) fn receive() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let on = |kind| signal(kind).map_err(|error| Failure::because("signals cannot be received", &error));
        Ok(Self { interrupt: on(SignalKind::interrupt())?, terminate: on(SignalKind::terminate())? })
    }

    /// The name of the next one.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[cfg(not(unix))]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(super) fn receive() -> Result<Self, Failure> {
        Ok(Self)
    }

    pub(super) async fn next(&mut self) -> &'static str {
        // Without a handler the system ends the program by itself.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}
