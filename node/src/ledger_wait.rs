//! Waiting for something to stand on the ledger: for a state, never for a time, and never for ever.

use std::sync::Arc;
use std::time::Duration;

use pyrsia_ledger::Projections;
use tokio::sync::watch;

use crate::consensus::LedgerView;

#[derive(Debug)]
pub(crate) enum Waited<T> {
    Stands(T),
    TimedOut,
    /// The node stops.
    Stopped,
}

/// Waits until `stands` finds what it looks for in the ledger's newest state, at most for `wait`.
pub(crate) async fn until<T>(
    ledger: &mut watch::Receiver<Arc<LedgerView>>,
    wait: Duration,
    stands: impl Fn(&Projections) -> Option<T>,
) -> Waited<T> {
    let found = async {
        loop {
            let view = ledger.borrow_and_update().clone();
            if let Some(found) = view.state.as_deref().and_then(&stands) {
                return Waited::Stands(found);
            }
            if ledger.changed().await.is_err() {
                return Waited::Stopped;
            }
        }
    };
    tokio::time::timeout(wait, found).await.unwrap_or(Waited::TimedOut)
}
