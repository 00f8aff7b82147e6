//! Artifacts that came here because of a build and that no build published: kept a while after the build's end, then removed.
//!
//! Owns the times. What belongs to a build is remembered by the store, so nothing is left behind by a restart; what is published
//! under any record stays.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pyrsia_ledger::projection::builds::BuildStatus;
use pyrsia_ledger::{BuildId, NodeId, Projections, Sha256Digest};

use crate::artifacts::ArtifactStore;

pub(super) struct Leftovers {
    store: ArtifactStore,
    keep: Duration,
    /// When each closed build was first seen to be closed, on the clock of the caller.
    closed_ms: BTreeMap<BuildId, u64>,
}

impl Leftovers {
    pub(super) fn new(store: ArtifactStore, keep: Duration) -> Self {
        Self { store, keep, closed_ms: BTreeMap::new() }
    }

    /// Removes what is due; returns when to come again even if the ledger does not change.
    pub(super) async fn clear(&mut self, state: &Projections, now_ms: u64) -> Option<u64> {
        let builds = self.store.builds_with_artifacts();
        self.closed_ms.retain(|id, _| builds.binary_search(id).is_ok());
        let keep_ms = self.keep.as_millis() as u64;
        let mut next_ms: Option<u64> = None;
        for id in builds {
            if !is_over(state, &id) {
                self.closed_ms.remove(&id);
                continue;
            }
            let due_ms = *self.closed_ms.entry(id).or_insert(now_ms) + keep_ms;
            if due_ms > now_ms {
                next_ms = Some(next_ms.map_or(due_ms, |next_ms| next_ms.min(due_ms)));
                continue;
            }
            let (store, state) = (self.store.clone(), state.clone());
            let released =
                tokio::task::spawn_blocking(move || store.release(&id, |sha256| state.packages.digest(sha256).is_some()));
            match released.await {
                Ok(Ok(0)) | Err(_) => {}
                Ok(Ok(artifacts)) => tracing::info!(build_id = %id, artifacts, "removed artifacts that were not published"),
                Ok(Err(error)) => {
                    tracing::warn!(build_id = %id, %error, "artifacts that were not published cannot be removed");
                    self.closed_ms.insert(id, now_ms);
                }
            }
        }
        next_ms
    }
}

impl Leftovers {
    /// Removes what came here of other judges only to be compared; who wants it has it from them.
    pub(super) async fn clear_foreign(&self, state: &Projections, id: &BuildId, me: &NodeId) {
        let own = state.builds.result(id, me).and_then(|revealed| revealed.built());
        let own: BTreeSet<Sha256Digest> =
            own.into_iter().flat_map(|(_, artifacts)| artifacts).map(|built| built.sha256).collect();
        let (store, state, id) = (self.store.clone(), state.clone(), *id);
        let stays = move |sha256: &Sha256Digest| own.contains(sha256) || state.packages.digest(sha256).is_some();
        let removed = tokio::task::spawn_blocking(move || store.remove_brought(&id, stays)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(build_id = %id, %error, "artifacts of other judges are removed later");
        }
    }
}

/// Whether nobody needs a build's unpublished artifacts any more: no judge, and no report of a dispute.
fn is_over(state: &Projections, id: &BuildId) -> bool {
    state.builds.get(id).is_none_or(|build| match build.status {
        BuildStatus::Published { .. } | BuildStatus::Failed => true,
        BuildStatus::Disputed { reports } => reports > 0,
        _ => false,
    })
}
