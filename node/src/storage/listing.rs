//! What is stored, as an operator sees it.

use super::retention::{self, Standing};
use super::scrubbing::ScrubView;
use crate::artifacts::{StoredArtifact, Usage};
use crate::bucket::BucketView;
use crate::handle::NodeHandle;
use pyrsia_ledger::{ArtifactId, PackageCoordinate, Sha256Digest};
use serde::{Deserialize, Serialize};
use std::time::UNIX_EPOCH;

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
    pub place: Place,
}

/// Where the bytes of an artifact are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    Disk,
    DiskAndBucket,
    /// They come back when somebody asks for them.
    Bucket,
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
    /// None without one.
    pub bucket: Option<BucketView>,
}

impl NodeHandle {
    /// Up to `count_max` artifacts, on the disk or in the bucket, that come after `after` in the order of their digests.
    pub fn stored_artifacts(&self, after: Option<&Sha256Digest>, count_max: usize) -> Vec<ArtifactListing> {
        let mut found = self.store().page(after, count_max);
        if let Some(bucket) = self.bucket() {
            let behind = bucket.page(after, count_max).into_iter().filter(|(sha256, _)| self.store().get(sha256).is_none());
            // When it was last used is forgotten when it leaves the disk.
            found.extend(behind.map(|(sha256, size_bytes)| StoredArtifact { sha256, size_bytes, last_use: UNIX_EPOCH }));
            found.sort_unstable_by_key(|found| found.sha256);
            found.truncate(count_max);
        }
        found.into_iter().map(|found| self.listing(found)).collect()
    }

    fn listing(&self, stored: StoredArtifact) -> ArtifactListing {
        let place = match (self.store().get(&stored.sha256).is_some(), self.has_copy(&stored.sha256)) {
            (true, false) => Place::Disk,
            (true, true) => Place::DiskAndBucket,
            (false, _) => Place::Bucket,
        };
        let (view, store) = (self.ledger(), self.store());
        let state = view.state.as_deref();
        let is_brought = !store.builds_that_brought(&stored.sha256).is_empty();
        let found = state.and_then(|state| Some((state, state.packages.digest(&stored.sha256)?)));
        ArtifactListing {
            is_pinned: store.is_pinned(&stored.sha256),
            standing: retention::standing(state, &self.node_id(), &stored.sha256, is_brought),
            published: found.map(|(_, (coordinate, record))| (coordinate.clone(), record.artifact.artifact_id.clone())),
            is_at_risk: found.is_some_and(|(state, (_, record))| state.builds.at_risk(&record.build_id).is_some()),
            place,
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
            bucket: self.bucket().map(|bucket| bucket.view()),
        }
    }
}
