//! A build, judge by judge: how far it is, what each judge has said, and where they do not agree.

use pyrsia_ledger::event::{BuildSource, DisputeReport, PinnedSource, Vouch};
use pyrsia_ledger::projection::builds::JudgeState;
use pyrsia_ledger::{BuildId, Height, NodeId, PackageType, Sha256Digest};
use serde::{Deserialize, Serialize};

/// `GET /api/v1/builds/{id}`, and the elements of `GET /api/v1/builds`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildView {
    pub build_id: BuildId,
    pub package_type: PackageType,
    pub package: String,
    pub attempt: u32,
    pub state: BuildState,
    pub verifier: Sha256Digest,
    /// What the request is for, as the mapping of the node that requested it says; absent in older requests.
    #[serde(default)]
    pub source: Option<PinnedSource>,
    pub requested_by: NodeId,
    pub requested_at: Height,
    pub requested_time_ms: u64,
    /// When the judges began to show their results.
    pub revealing_at: Option<Height>,
    /// When the judging was over.
    pub closed_at: Option<Height>,
    pub published_at: Option<Height>,
    /// How many judges must agree, whoever answers.
    pub majority: usize,
    pub judges: Vec<JudgeView>,
    /// Judges that have waited long enough in this phase; more than half of those still authorized end it.
    pub waits: Vec<NodeId>,
    /// Words of judges about bytes that others built.
    pub vouches: Vec<VouchView>,
    pub agreement: Option<AgreementView>,
    /// Why the judges do not agree, as some of them report it.
    pub disputes: Vec<DisputeView>,
    /// Why what was published is not served.
    pub at_risk: Option<BuildRiskView>,
    /// What this node itself is doing for the build, when it is at it.
    pub local: Option<LocalBuildView>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildState {
    /// Judges build, and commit to what they got.
    Committing,
    /// Judges show what they committed to.
    Revealing,
    /// Judges look at each other's bytes, which differ in what the verifier forgives.
    Vouching,
    Agreed,
    Published,
    Failed,
    Disputed,
}

impl BuildState {
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Published | Self::Failed | Self::Disputed)
    }
}

/// What a judge has answered; `outcome` is absent until it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeView {
    pub node: NodeId,
    pub state: JudgeState,
    /// The same as a clause: "built something else".
    pub means: String,
    pub committed_at: Option<Height>,
    pub outcome: Option<OutcomeKind>,
    /// When it showed its result, or where its silence was noticed.
    pub height: Option<Height>,
    /// Why it failed or abstained.
    pub reason: Option<String>,
    pub source: Option<BuildSource>,
    pub artifacts: Option<usize>,
    /// Equal where two judges built the same to the last bit.
    pub result: Option<Sha256Digest>,
    /// Equal where they built the same but for what the verifier forgives.
    pub canonical: Option<Sha256Digest>,
    /// Whether its result came in time to count.
    pub counted: bool,
    /// Whether its result is the one the majority has.
    pub agrees: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    Built,
    Failed,
    Abstained,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VouchView {
    /// The result it is about.
    pub candidate: Sha256Digest,
    pub judge: NodeId,
    pub height: Height,
    pub verdict: Vouch,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgreementView {
    /// Names what is published: what pins the source, and every artifact to the last bit.
    pub result: Sha256Digest,
    /// Names what the majority has in common: the same without what the verifier forgives.
    pub canonical: Sha256Digest,
    pub artifacts: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisputeView {
    pub judge: NodeId,
    pub height: Height,
    pub report: DisputeReport,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRiskView {
    /// The block with the revocation.
    pub height: Height,
    /// The judges that do not count any more.
    pub lost: Vec<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalBuildView {
    /// `queued`, `requesting`, `building`, `downloading`, `verifying`, `reporting`, `committed`, `vouching` or `comparing`.
    pub phase: String,
    pub pipeline_build_id: Option<String>,
    /// When the phase began.
    pub since_ms: u64,
    pub message: Option<String>,
}
