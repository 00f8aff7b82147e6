//! Who is authorized, who is on the way in or out, and what each of them did as a judge.

use super::CandidateView;
use pyrsia_ledger::projection::builds::Tally;
use pyrsia_ledger::{BuildId, Height, NodeId, PackageType, Sha256Digest};
use serde::{Deserialize, Serialize};

/// `POST /api/v1/revocations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeRequest {
    pub peer_id: String,
    /// Count nothing that the node signed in blocks of this height and above.
    #[serde(default)]
    pub compromised_since: Option<Height>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationState {
    /// Other authorized nodes have to approve as well.
    Pending,
    Revoked,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeResponse {
    pub peer_id: NodeId,
    pub state: RevocationState,
    /// How many authorized nodes there are.
    pub members: usize,
    /// How many published builds have no majority left without the node.
    pub at_risk: usize,
    /// What this means and what is to do next, for a person.
    pub message: String,
}

/// `GET /api/v1/nodes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodesView {
    pub height: Height,
    /// How many of the authorized nodes a decision about the set, or a build, needs.
    pub majority: usize,
    /// How many of the authorized nodes may be away or malicious while blocks are made.
    pub tolerated: usize,
    pub nodes: Vec<AuthorizedNodeView>,
    /// Nodes that somebody approved and that are not active yet.
    pub candidates: Vec<CandidateView>,
    /// Revocations that no majority has approved yet.
    pub revocations: Vec<PendingRevocationView>,
    /// Nodes that were authorized once.
    pub former: Vec<FormerNodeView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizedNodeView {
    pub node: NodeId,
    /// The first height whose block it signs.
    pub since: Height,
    pub this_node: bool,
    /// Whether this node is connected to it.
    pub connected: bool,
    pub builds: Tally,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRevocationView {
    pub node: NodeId,
    pub compromised_since: Option<Height>,
    pub approvals: Vec<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerNodeView {
    pub node: NodeId,
    /// The first and the last height whose blocks it could sign.
    pub since: Height,
    pub until: Height,
    pub compromised_since: Option<Height>,
    /// The event that proves that its key signed two contradictory statements.
    pub suspended_by: Option<Sha256Digest>,
    pub builds: Tally,
}

/// `GET /api/v1/at-risk`: one build whose majority does not hold without nodes that turned out to be compromised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtRiskView {
    pub package_type: PackageType,
    pub package: String,
    pub build_id: BuildId,
    pub artifacts: Vec<String>,
    /// The block with the revocation.
    pub at_risk_since: Height,
    /// The judges that do not count any more.
    pub lost: Vec<NodeId>,
    /// A newer build of the same package that is published and not at risk.
    pub rebuilt_by: Option<BuildId>,
}
