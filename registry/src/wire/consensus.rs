//! How agreement on blocks is doing, seen from one node: what is under way, who is missing, why this node is silent.

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
