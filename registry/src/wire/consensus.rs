//! How agreement is doing: on blocks, seen from one node (what is under way, who is missing, why this node is silent), and on builds.

use pyrsia_ledger::projection::builds::Tally;
use pyrsia_ledger::{Height, NodeId};
use serde::{Deserialize, Serialize};

/// Part of [`super::NodeStatus`] and [`super::NetworkView`]: no other node needs to see the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsensusStatus {
    /// How many of the authorized nodes must sign a block, and how many there are.
    pub quorum: usize,
    pub validators: usize,
    /// Whether too many of them are missing or silent for a block to become final.
    pub is_halted: bool,
    /// The authorized nodes of whom this one hears nothing.
    pub absent: Vec<AbsentNodeView>,
    /// Why this authorized node signs nothing.
    pub silence: Option<String>,
    /// The block that is being agreed on; absent while there is nothing to agree on.
    pub running: Option<RunningHeightView>,
    /// Events that wait for a block.
    pub waiting_events: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbsentNodeView {
    pub node: NodeId,
    /// When it was last heard, by the clock of the node that tells it.
    pub since_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningHeightView {
    pub height: Height,
    pub round: u32,
    /// `proposal`, `prevotes` or `precommits`: what the round waits for.
    pub step: Option<String>,
    pub proposer: Option<NodeId>,
}

/// Part of [`super::NetworkView`]: how builds and their judges stand, by the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgingView {
    /// In the order that a build goes through them.
    pub phases: Vec<PhaseView>,
    /// The authorized nodes.
    pub judges: Vec<JudgeSummaryView>,
    /// Published builds without a majority that can be trusted.
    pub at_risk: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseView {
    /// `committing`, `revealing`, `vouching`, `agreed` or `disputed`.
    pub phase: String,
    /// The builds that are in it, and how many answers of judges they wait for.
    pub builds: u64,
    pub missing_answers: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeSummaryView {
    pub node: NodeId,
    /// What became of the builds that are over.
    pub builds: Tally,
    /// How many unfinished builds wait for it.
    pub owes: u64,
}
