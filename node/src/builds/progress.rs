//! What this node is doing for its builds, for those who watch: written by the runs, read by every edge.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use pyrsia_ledger::BuildId;

use super::view::{LocalBuildProgress, LocalPhase};

/// A cheap clone. The lock is held for one look into a small map, never across an `await`.
#[derive(Clone, Debug, Default)]
pub(super) struct LocalProgress {
    builds: Arc<Mutex<BTreeMap<BuildId, LocalBuildProgress>>>,
}

impl LocalProgress {
    pub(super) fn get(&self, id: &BuildId) -> Option<LocalBuildProgress> {
        self.builds().get(id).cloned()
    }

    /// Begins a phase; a message belongs to the phase it came in.
    pub(super) fn enter(&self, id: &BuildId, phase: LocalPhase) {
        let mut builds = self.builds();
        match builds.get_mut(id) {
            Some(progress) if progress.phase == phase => {}
            Some(progress) => (progress.phase, progress.since_ms, progress.message) = (phase, now_ms(), None),
            None => {
                let progress = LocalBuildProgress { phase, pipeline_build_id: None, since_ms: now_ms(), message: None };
                builds.insert(*id, progress);
            }
        }
    }

    pub(super) fn say(&self, id: &BuildId, message: Option<String>) {
        if let Some(progress) = self.builds().get_mut(id) {
            progress.message = message;
        }
    }

    pub(super) fn name(&self, id: &BuildId, pipeline_build_id: String) {
        if let Some(progress) = self.builds().get_mut(id) {
            progress.pipeline_build_id = Some(pipeline_build_id);
        }
    }

    pub(super) fn forget(&self, id: &BuildId) {
        self.builds().remove(id);
    }

    // What runs under this lock leaves the map whole.
    fn builds(&self) -> MutexGuard<'_, BTreeMap<BuildId, LocalBuildProgress>> {
        self.builds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
