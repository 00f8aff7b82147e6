//! What a proof that holds shows, with what it cannot show.

use crate::block::{BlockHash, Height};
use crate::coordinate::{BuildId, PackageCoordinate};
use crate::digest::Sha256Digest;
use crate::event::{BuildSource, BuiltArtifact, PinnedSource};
use crate::identity::NodeId;
use crate::signed::{EventId, NetworkId};
use serde::Serialize;

/// What no proof of this kind shows, for whoever is shown one.
pub const NOT_SHOWN: [&str; 7] = [
    "what the ledger says after the height of the publication: a judge revoked later, or this build at risk since",
    "that a judge of whom nothing is shown said nothing: a proof can leave out what does not count",
    "whether a result that its judge was bound to was shown too late to count by the waits of the others",
    "whether the word of a judge was declared worthless, as of a key in other hands, before the publication",
    "inside the block in which a judge left, whether it left before the others agreed",
    "whether a node left the set of validators and came back in between: a proof can leave out both",
    "that nobody holds the keys of an earlier quorum, and wrote another history with them",
];

/// A result in words: everything a proof shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    pub network: NetworkId,
    pub network_name: String,
    pub coordinate: PackageCoordinate,
    pub build_id: BuildId,
    /// Counts the builds of this coordinate from 0.
    pub attempt: u32,
    /// The component that the judges compared with.
    pub verifier: Sha256Digest,
    /// As most of those who built these bytes named it, of equals the smallest.
    pub source: BuildSource,
    /// What the request was for, where it says so.
    pub requested_source: Option<PinnedSource>,
    pub artifacts: Vec<ProvedArtifact>,
    /// How many artifacts the build has; the proof can be about some of them.
    pub artifacts_of_build: usize,
    /// The event that requested the build, and its author.
    pub request: ProvedEvent,
    pub requested_by: NodeId,
    pub requested: BlockOfProof,
    /// The block of the last of these artifacts: the height that all of this speaks for.
    pub published: BlockOfProof,
    /// The validators of the block of the request, in ascending order of their keys.
    pub judges: Vec<Judge>,
    /// How many judges stand for these bytes, and how many it takes: more than half of all.
    pub standing: usize,
    pub needed: usize,
    /// Who made the block of the publication final, of how many validators.
    pub cosigners: Vec<NodeId>,
    pub validators: usize,
    /// The sets of validators that the proof leads through, oldest first.
    pub sets: Vec<ProvedSet>,
    /// See [`NOT_SHOWN`].
    pub not_shown: [&'static str; NOT_SHOWN.len()],
}

/// An artifact with the event that published it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProvedArtifact {
    #[serde(flatten)]
    pub artifact: BuiltArtifact,
    #[serde(flatten)]
    pub published_by: ProvedEvent,
}

/// An event of the ledger, by its id and its place in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ProvedEvent {
    pub event: EventId,
    pub index: u64,
}

/// A block that a quorum of its validators signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockOfProof {
    pub height: Height,
    pub time_ms: u64,
    pub block: BlockHash,
    pub round: u32,
    pub tree_size: u64,
    pub tree_root: Sha256Digest,
}

/// The validators from a height on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProvedSet {
    pub from: Height,
    pub members: Vec<NodeId>,
}

/// How a judge stands to what is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stand {
    /// Built the same, to the last bit.
    Same,
    /// Built the same but for noise that the verifier forgives, and vouched for these bytes after looking at them.
    SameAfterPasses,
    /// Built the same but for such noise, by its own word, and did not vouch for these bytes.
    SameByItsWord,
    /// Built something else.
    Other,
    Failed,
    Abstained,
    /// Showed a result that does not count: without a commitment that is shown, or too late.
    Late,
    /// Ceased to be authorized before the others agreed.
    Left,
    /// Nothing it said is shown.
    Silent,
}

impl Stand {
    /// Whether the judge is counted in the majority.
    pub const fn counts(self) -> bool {
        matches!(self, Self::Same | Self::SameAfterPasses)
    }
}

/// A judge, how it stands, and where it said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judge {
    pub node: NodeId,
    pub stand: Stand,
    /// The event that shows its result.
    pub revealed: Option<ProvedEvent>,
    /// The event by which it vouched for what is published.
    pub vouched: Option<ProvedEvent>,
}

impl Verified {
    /// The judges that stand for these bytes.
    pub fn agreeing(&self) -> impl Iterator<Item = &Judge> {
        self.judges.iter().filter(|judge| judge.stand.counts())
    }
}
