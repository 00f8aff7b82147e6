//! What lies in the store and is of use to nobody: downloads that nobody went on with, and artifacts that nothing names.
//!
//! Artifacts of a build that ended leave by themselves ([`crate::builds`]) after a while; what is found here is what that could not know of, such as
//! bytes of a network that the node follows no more. It is removed when an operator asks for it and never otherwise: while a node has not caught up
//! with the ledger, published artifacts look the same.

use super::retention::{Standing, standing};
use crate::artifacts::{ArtifactStore, Leaving, StoreError};
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
            for artifact in &report.artifacts {
                self.p2p().withdraw(artifact.sha256).await;
            }
            let (downloads, artifacts) = (report.downloads.len(), report.artifacts.len());
            tracing::info!(downloads, artifacts, "removed leftovers of the artifact store");
        }
        Ok(report)
    }

    fn collect(&self, state: &Projections, remove: bool) -> Result<LeftoversReport, StoreError> {
        let (store, me) = (self.store(), self.node_id());
        let mut report = LeftoversReport { downloads: collect_downloads(store, remove)?, ..LeftoversReport::default() };
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

/// The downloads that nobody goes on with, but for those that somebody has taken up again when they are to be removed.
fn collect_downloads(store: &ArtifactStore, remove: bool) -> Result<Vec<Leftover>, StoreError> {
    let mut downloads = vec![];
    for unfinished in store.abandoned_downloads()? {
        if !remove || unfinished.remove()? {
            downloads.push(Leftover { sha256: unfinished.sha256, size_bytes: unfinished.size_bytes });
        }
    }
    Ok(downloads)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::ChunkList;
    use std::fs::File;

    #[test]
    fn a_download_that_somebody_goes_on_with_is_not_said_to_be_removed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = ArtifactStore::open(folder.path()).expect("opens");
        let begin = |sha256: &Sha256Digest| {
            let list = ChunkList::new(10, vec![Sha256Digest::of(b"some bytes")]).expect("a list");
            let partial = store.begin_partial(sha256, list).expect("begins");
            let path = folder.path().join("partial").join(sha256.to_string());
            let long_ago = SystemTime::now() - Duration::from_secs(30 * 24 * 60 * 60);
            File::open(path).and_then(|file| file.set_modified(long_ago)).expect("ages");
            partial
        };
        let [busy, idle] = ["busy", "idle"].map(|name| Sha256Digest::of(name.as_bytes()));
        let owner = begin(&busy);
        drop(begin(&idle));
        let removed = |remove| collect_downloads(&store, remove).expect("looks").iter().map(|one| one.sha256).collect::<Vec<_>>();
        assert_eq!(removed(true), [idle]);
        assert_eq!(removed(true), []);
        drop(owner);
        assert_eq!((removed(false), removed(true)), (vec![busy], vec![busy]));
    }
}
