//! What lies in the store and is of use to nobody: downloads that nobody went on with, and artifacts that nothing names.
//!
//! Artifacts of a build that ended leave by themselves ([`crate::builds`]) after a while; what is found here is what that could not know of, such as
//! bytes of a network that the node follows no more. It is removed when an operator asks for it and never otherwise: while a node has not caught up
//! with the ledger, published artifacts look the same.

use super::retention::{Standing, standing};
use crate::artifacts::{Leaving, StoreError};
use crate::handle::NodeHandle;
use pyrsia_ledger::{Projections, Sha256Digest};
use std::time::{Duration, SystemTime};

/// What was stored or used since is left alone: its record may stand in a block that has not come.
const AGE_MIN: Duration = Duration::from_secs(60 * 60);
/// Artifacts that are looked at in a row.
const PAGE: usize = 1_024;

/// Something that was, or would be, removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leftover {
    pub sha256: Sha256Digest,
    pub size_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftoversReport {
    pub downloads: Vec<Leftover>,
    pub artifacts: Vec<Leftover>,
    /// Artifacts that nothing names and that stay, because they came or were used a moment ago.
    pub young: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum LeftoversError {
    #[error("this node follows no network yet, so nothing tells what its artifacts are")]
    NoNetwork,
    #[error("this node has lost its ledger and has not caught up, so nothing tells what its artifacts are")]
    CatchingUp,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the node is stopping")]
    Stopped,
}

impl NodeHandle {
    /// Finds what is of use to nobody, and removes it if `remove`.
    pub async fn leftovers(&self, remove: bool) -> Result<LeftoversReport, LeftoversError> {
        let view = self.ledger();
        let state = view.state.clone().ok_or(LeftoversError::NoNetwork)?;
        if view.forgotten_until.is_some() {
            return Err(LeftoversError::CatchingUp);
        }
        let node = self.clone();
        let collected = tokio::task::spawn_blocking(move || node.collect(&state, remove));
        let report = collected.await.map_err(|_| LeftoversError::Stopped)??;
        if remove {
            let (downloads, artifacts) = (report.downloads.len(), report.artifacts.len());
            tracing::info!(downloads, artifacts, "removed leftovers of the artifact store");
        }
        Ok(report)
    }

    fn collect(&self, state: &Projections, remove: bool) -> Result<LeftoversReport, StoreError> {
        let (store, me, mut report) = (self.store(), self.node_id(), LeftoversReport::default());
        for unfinished in store.abandoned_downloads()? {
            if remove {
                unfinished.remove()?;
            }
            report.downloads.push(Leftover { sha256: unfinished.sha256, size_bytes: unfinished.size_bytes });
        }
        let mut after = None;
        loop {
            let page = store.page(after.as_ref(), PAGE);
            let Some(last) = page.last() else { return Ok(report) };
            after = Some(last.sha256);
            for stored in page {
                let is_brought = !store.builds_that_brought(&stored.sha256).is_empty();
                if standing(Some(state), &me, &stored.sha256, is_brought) != Standing::Unnamed || store.is_pinned(&stored.sha256)
                {
                    continue;
                }
                if SystemTime::now().duration_since(stored.last_use).is_ok_and(|age| age < AGE_MIN) {
                    report.young += 1;
                } else if !remove || store.remove_unneeded(&stored.sha256)? == Leaving::Gone {
                    report.artifacts.push(Leftover { sha256: stored.sha256, size_bytes: stored.size_bytes });
                }
            }
        }
    }
}
