//! The task that keeps a start short: it writes snapshots of the state beside the log, and makes up for what the start left
//! unchecked because of one.
//!
//! Off the path of agreement: it works on an immutable state, on a thread that may block, and rests between slices. A
//! snapshot that cannot be written costs only the time of the next start; damage that it finds stops the node. What follows
//! from the blocks is then made again at the next start.

use super::LedgerView;
use pyrsia_ledger::log::{Checked, Covered, LogError, write_snapshot};
use pyrsia_ledger::{Height, Projections};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How many events follow a snapshot before the next one is due: folding them again takes a start about a second.
const EVENTS_BETWEEN: u64 = 100_000;
/// How many make one due when the node stops.
const EVENTS_AT_STOP: u64 = 5_000;
/// How long the check of covered blocks rests between slices of some milliseconds.
const REST: Duration = Duration::from_millis(20);

/// Ends when `stop` does; damage of the ledger comes out of the receiver.
pub(crate) fn keep(
    folder: PathBuf,
    covered: Option<Covered>,
    view: watch::Receiver<Arc<LedgerView>>,
    stop: CancellationToken,
) -> (impl Future<Output = ()>, oneshot::Receiver<LogError>) {
    let (damage, damaged) = oneshot::channel();
    let task = async move {
        let written = covered.as_ref().map_or(0, Covered::tree_size);
        if let Some(covered) = covered
            && let Err(error) = check(covered, stop.clone()).await
        {
            // Nobody listens any more when the node is stopping.
            let _ = damage.send(error);
            return stop.cancelled().await;
        }
        write_when_due(&folder, view, written, &stop).await;
    };
    (task, damaged)
}

async fn check(covered: Covered, stop: CancellationToken) -> Result<(), LogError> {
    let height = covered.height();
    let begun = Instant::now();
    let mut rest = move || {
        std::thread::sleep(REST);
        !stop.is_cancelled()
    };
    let checked = tokio::task::spawn_blocking(move || covered.check(&mut rest)).await;
    match checked {
        Ok(Ok(Checked::Everything)) => {
            info!(%height, seconds = begun.elapsed().as_secs(), "the blocks that the snapshot spared are sound");
        }
        Ok(Ok(Checked::Interrupted)) => {
            info!(%height, "the check of the blocks that the snapshot spared is cut off, the next start begins it anew");
        }
        Ok(Err(error)) => return Err(error),
        Err(error) => warn!(%error, "the blocks that the snapshot spared are not checked"),
    }
    Ok(())
}

async fn write_when_due(folder: &Path, mut view: watch::Receiver<Arc<LedgerView>>, mut written: u64, stop: &CancellationToken) {
    loop {
        let is_stopping = tokio::select! {
            biased;
            () = stop.cancelled() => true,
            changed = view.changed() => changed.is_err(),
        };
        let state = view.borrow_and_update().state.clone();
        let due = written + if is_stopping { EVENTS_AT_STOP } else { EVENTS_BETWEEN };
        if let Some(state) = state.filter(|state| state.tree_size() >= due) {
            written = state.tree_size();
            write(folder, state).await;
        }
        if is_stopping {
            return;
        }
    }
}

async fn write(folder: &Path, state: Arc<Projections>) {
    let (folder, height): (_, Height) = (folder.to_owned(), state.height());
    let begun = Instant::now();
    let written = tokio::task::spawn_blocking(move || write_snapshot(&folder, &state)).await;
    match written {
        Ok(Ok(())) => info!(%height, milliseconds = begun.elapsed().as_millis() as u64, "wrote a snapshot"),
        Ok(Err(error)) => warn!(%height, %error, "no snapshot was written, the next start takes longer"),
        Err(error) => warn!(%height, %error, "no snapshot was written"),
    }
}
