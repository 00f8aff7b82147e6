//! What is stored, as an operator sees it.

use super::retention::{self, Standing};
use super::scrubbing::ScrubView;
use crate::artifacts::{StoredArtifact, Usage};
use crate::handle::NodeHandle;
use pyrsia_ledger::{ArtifactId, PackageCoordinate, Sha256Digest};

/// One stored artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactListing {
    pub stored: StoredArtifact,
    pub is_pinned: bool,
    pub standing: Standing,
    /// A package that it is published under, and its id there.
    pub published: Option<(PackageCoordinate, ArtifactId)>,
    /// Whether it is not given out under that id, because a key was compromised.
    pub is_at_risk: bool,
}

/// How full the store is, and how it is looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageView {
    pub usage: Usage,
    pub budget_bytes: Option<u64>,
    pub pinned: usize,
    /// Pinned artifacts that are not here.
    pub missing_pins: Vec<Sha256Digest>,
    pub scrub: ScrubView,
}

impl NodeHandle {
    /// Up to `count_max` stored artifacts that come after `after` in the order of their digests.
    pub fn stored_artifacts(&self, after: Option<&Sha256Digest>, count_max: usize) -> Vec<ArtifactListing> {
        let stored = self.store().page(after, count_max);
        stored.into_iter().map(|stored| self.listing(stored)).collect()
    }

    fn listing(&self, stored: StoredArtifact) -> ArtifactListing {
        let (view, store) = (self.ledger(), self.store());
        let state = view.state.as_deref();
        let is_brought = !store.builds_that_brought(&stored.sha256).is_empty();
        let found = state.and_then(|state| Some((state, state.packages.digest(&stored.sha256)?)));
        ArtifactListing {
            is_pinned: store.is_pinned(&stored.sha256),
            standing: retention::standing(state, &self.node_id(), &stored.sha256, is_brought),
            published: found.map(|(_, (coordinate, record))| (coordinate.clone(), record.artifact.artifact_id.clone())),
            is_at_risk: found.is_some_and(|(state, (_, record))| state.builds.at_risk(&record.build_id).is_some()),
            stored,
        }
    }

    pub fn storage(&self) -> StorageView {
        let store = self.store();
        let pins = store.pins();
        StorageView {
            usage: store.usage(),
            budget_bytes: self.artifact_budget(),
            pinned: pins.len(),
            missing_pins: pins.into_iter().filter(|pin| store.get(pin).is_none()).collect(),
            scrub: self.scrubbing().view(),
        }
    }
}
