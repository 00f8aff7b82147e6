//! What is stored on a node, and how it is looked after.

use pyrsia_ledger::{PackageType, Sha256Digest};
use pyrsia_node::bucket::{BucketDepth, BucketView};
use pyrsia_node::storage::{Place, ScrubStart, ScrubView, Standing};
use serde::{Deserialize, Serialize};

/// `GET /api/v1/artifacts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactsPage {
    pub artifacts: Vec<StoredArtifactView>,
    /// What to ask `after` for the next page; absent at the end.
    pub next: Option<Sha256Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredArtifactView {
    pub sha256: Sha256Digest,
    pub size_bytes: u64,
    pub last_use_ms: u64,
    pub pinned: bool,
    /// Why it is here.
    pub standing: Standing,
    /// A package it is published under; absent when it is not.
    pub package_type: Option<PackageType>,
    pub package: Option<String>,
    pub artifact_id: Option<String>,
    /// Whether it is not given out under that package, because a key was compromised.
    pub at_risk: bool,
    /// Where its bytes are. Of what is in the bucket alone the last use is not known.
    pub place: Place,
}

/// `GET /api/v1/store`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreView {
    pub artifacts: u64,
    pub bytes: u64,
    /// Room taken by downloads under way.
    pub reserved_bytes: u64,
    /// Absent where nothing is bounded.
    pub budget_bytes: Option<u64>,
    pub pinned: usize,
    /// Pinned artifacts that are not here.
    pub missing_pins: Vec<Sha256Digest>,
    pub scrub: ScrubView,
    /// Absent without one.
    pub bucket: Option<BucketView>,
}

/// `POST /api/v1/store/pins`, `/unpins` and `/removals`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactsRequest {
    pub artifacts: Vec<Sha256Digest>,
    /// Removals only: their copies in the bucket as well.
    #[serde(default)]
    pub bucket: bool,
}

/// What became of the wish for each artifact, in the order of the wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactsResponse {
    pub artifacts: Vec<ArtifactOutcome>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactOutcome {
    pub sha256: Sha256Digest,
    pub outcome: ArtifactChange,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactChange {
    Pinned,
    /// It stays from when it comes.
    PinnedNotHere,
    Unpinned,
    WasNotPinned,
    Removed,
    NotHere,
    /// Not removed: it is pinned.
    IsPinned,
    /// Not removed: a build needs it.
    IsNeeded,
    /// Its copy in the bucket stays.
    RemovedFromDisk,
    /// It was not on the disk, and its copy in the bucket stays.
    InBucketAlone,
    /// It is not on the disk; its copy in the bucket could not be removed, and the node's log says why.
    CopyStays,
    /// The node could not do it; its log says why.
    Failed,
    /// Neither published nor stored.
    Unknown,
}

impl ArtifactChange {
    /// Whether it is as the caller wants it.
    pub fn is_done(self) -> bool {
        !matches!(self, Self::IsPinned | Self::IsNeeded | Self::CopyStays | Self::Failed | Self::Unknown)
    }
}

/// `POST /api/v1/store/scrubs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScrubRequest {
    /// The pace; 0 is as fast as the disk allows, absent what the node was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// How closely the bucket is looked at.
    #[serde(default)]
    pub bucket: BucketDepth,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubResponse {
    pub state: ScrubStart,
}

/// `POST /api/v1/store/collections`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectRequest {
    /// Only say what would be removed.
    #[serde(default)]
    pub dry_run: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectResponse {
    pub dry_run: bool,
    /// Downloads that nobody went on with.
    pub downloads: Vec<LeftoverView>,
    /// Artifacts that nothing on the ledger names.
    pub artifacts: Vec<LeftoverView>,
    /// How many more of those stay, because they came or were used within the last hour.
    pub young: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftoverView {
    pub sha256: Sha256Digest,
    pub size_bytes: u64,
}
