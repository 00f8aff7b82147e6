//! Why an event may not stand on the ledger, in words that an operator or an auditor reads.

use crate::Height;
use crate::coordinate::{ArtifactId, BuildId, PackageCoordinate, PackageType};
use crate::digest::Sha256Digest;
use crate::event::ARTIFACTS_PER_BUILD_MAX;
use crate::evidence::EvidenceError;
use crate::identity::{NodeId, NodeIdError};
use crate::policy::{OPEN_CANDIDATES_PER_NODE_MAX, UNFINISHED_BUILDS_PER_NODE_MAX};
use crate::projection::ACTIVATION_WINDOW_BLOCKS;
use crate::projection::builds::BuildStatus;
use crate::signed::{ENVELOPE_VERSION, EVENT_BYTES_MAX, NetworkId};

/// Why an event may not stand on the ledger.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    #[error("the event has {size_bytes} bytes, more than {EVENT_BYTES_MAX}")]
    TooLarge { size_bytes: usize },
    #[error("the envelope has version {found}, this network writes {ENVELOPE_VERSION}")]
    Version { found: u16 },
    #[error("the event is for network {found}")]
    Network { found: NetworkId },
    #[error("the author's next event has number {expected}, this one has {found}")]
    Sequence { expected: u64, found: u64 },
    #[error("a text of {size_bytes} bytes is longer than {limit_bytes}")]
    Text { size_bytes: usize, limit_bytes: usize },
    #[error("a text has a control character")]
    ControlCharacter,
    #[error("the network is founded already")]
    FoundedAlready,
    #[error("{author} is not an authorized node")]
    NotAuthorized { author: NodeId },
    #[error(transparent)]
    Key(#[from] NodeIdErrorText),
    #[error("Node with node ID {node} is already authorized")]
    AuthorizedAlready { node: NodeId },
    #[error("{author} has approved {node} already")]
    ApprovedAlready { author: NodeId, node: NodeId },
    #[error("{author} has not been approved by an absolute majority")]
    NotApproved { author: NodeId },
    #[error("block {height} with hash {hash} is not one of the newest {ACTIVATION_WINDOW_BLOCKS}")]
    NotRecent { height: u64, hash: Sha256Digest },
    #[error("{author} approves of {OPEN_CANDIDATES_PER_NODE_MAX} candidates that no majority has approved")]
    TooManyCandidates { author: NodeId },
    #[error("{node} is suspended: it signed what no honest node signs, and is never authorized again")]
    Suspended { node: NodeId },
    #[error("{node} is not, was not and is not about to be an authorized node")]
    NoMember { node: NodeId },
    #[error("{author} has approved this revocation of {node} already")]
    RevocationApprovedAlready { author: NodeId, node: NodeId },
    #[error("{node} is revoked already")]
    RevokedAlready { node: NodeId },
    #[error("block {since} does not stand on the ledger yet, whose newest is {newest}")]
    SinceAhead { since: u64, newest: Height },
    #[error("{node} is the last authorized node: without it nobody could go on")]
    LastNode { node: NodeId },
    #[error("the evidence proves nothing: {0}")]
    Evidence(EvidenceError),
    #[error("the set of authorized nodes changes once in a block, and no build is requested behind the change")]
    SetChangesInThisBlock,
    #[error("{author} has approved verifier {module} already")]
    VerifierApprovedAlready { author: NodeId, module: Sha256Digest },
    #[error("no authorized nodes found")]
    NoAuthorizedNodes,
    #[error("builds of {package_type} are judged by verifier {expected:?}, not {found}")]
    Verifier { package_type: PackageType, expected: Option<Sha256Digest>, found: Sha256Digest },
    #[error("the next build of {coordinate} has attempt {expected} and follows from it, not {found}")]
    Attempt { coordinate: PackageCoordinate, expected: u32, found: u32 },
    #[error("build {build_id} of {coordinate} is still open")]
    BuildOpen { coordinate: PackageCoordinate, build_id: BuildId },
    #[error("{author} has requested {UNFINISHED_BUILDS_PER_NODE_MAX} builds that are not finished")]
    TooManyBuilds { author: NodeId },
    #[error("the source of a build has a kind and a revision that pins it")]
    NotPinned,
    #[error("build {0} was never requested")]
    UnknownBuild(BuildId),
    #[error("{author} is not a judge of build {build_id}")]
    NotJudge { author: NodeId, build_id: BuildId },
    #[error("{author} is a judge of build {build_id} no more")]
    LeftJudges { author: NodeId, build_id: BuildId },
    #[error("build {build_id} is not so far: it is {}", phase(.status))]
    TooEarly { build_id: BuildId, status: BuildStatus },
    #[error("build {build_id} is past that: it is {}", phase(.status))]
    TooLate { build_id: BuildId, status: BuildStatus },
    #[error("{author} has committed to a result of build {build_id} already")]
    CommittedAlready { author: NodeId, build_id: BuildId },
    #[error("{author} has revealed a result of build {build_id} already")]
    RevealedAlready { author: NodeId, build_id: BuildId },
    #[error("this is not the result of build {build_id} that {author} committed to")]
    OtherResult { author: NodeId, build_id: BuildId },
    #[error("{author} has ended its wait in this phase of build {build_id} already")]
    WaitEndedAlready { author: NodeId, build_id: BuildId },
    #[error("{author} has vouched for this candidate of build {build_id} already")]
    VouchedAlready { author: NodeId, build_id: BuildId },
    #[error("{author} did not come to the canonical result of this candidate of build {build_id} by other bytes")]
    NoVoucher { author: NodeId, build_id: BuildId },
    #[error("build {0} is not disputed")]
    NotDisputed(BuildId),
    #[error("{author} has reported on the dispute about build {build_id} already")]
    ReportedAlready { author: NodeId, build_id: BuildId },
    #[error("a report about a dispute has {what}")]
    Report { what: &'static str },
    #[error("a build has 1 to {ARTIFACTS_PER_BUILD_MAX} artifacts, each once, not {found}")]
    Artifacts { found: usize },
    #[error("no absolute majority of the judges agrees on build {0}")]
    NotAgreed(BuildId),
    #[error("artifact {artifact_id} of build {build_id} is not the one the majority built")]
    OtherArtifact { build_id: BuildId, artifact_id: ArtifactId },
    #[error("artifact {artifact_id} of build {build_id} is added already")]
    AddedAlready { build_id: BuildId, artifact_id: ArtifactId },
}

/// A key error as a value that can be compared and cloned.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct NodeIdErrorText(String);

impl From<NodeIdError> for Refusal {
    fn from(error: NodeIdError) -> Self {
        Self::Key(NodeIdErrorText(error.to_string()))
    }
}

impl Refusal {
    /// Whether the same event could be allowed at a later height.
    pub fn is_for_good(&self) -> bool {
        match self {
            Self::Sequence { expected, found } => found < expected,
            Self::NotAuthorized { .. }
            | Self::NotApproved { .. }
            | Self::NoAuthorizedNodes
            | Self::NoMember { .. }
            | Self::SinceAhead { .. }
            | Self::LastNode { .. }
            | Self::SetChangesInThisBlock
            | Self::TooManyBuilds { .. }
            | Self::TooManyCandidates { .. }
            | Self::UnknownBuild(_)
            | Self::TooEarly { .. }
            | Self::NotDisputed(_)
            | Self::NotAgreed(_) => false,
            _ => true,
        }
    }
}

fn phase(status: &BuildStatus) -> &'static str {
    match status {
        BuildStatus::Committing => "being built",
        BuildStatus::Revealing => "being revealed",
        BuildStatus::Vouching { .. } => "being vouched for",
        BuildStatus::Agreed { .. } => "agreed on",
        BuildStatus::Published { .. } => "published",
        BuildStatus::Failed => "failed",
        BuildStatus::Disputed { .. } => "disputed",
    }
}
