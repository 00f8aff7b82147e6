//! How agreement is doing on this node, for those who look after it: what is under way, who is missing, why it is silent.

use super::{AbsentValidator, Replica, Silence, Store};
use crate::consensus::ballot::proposer;
use crate::consensus::engine::{Engine, RoundStep};
use pyrsia_ledger::{Height, NodeId};
use serde::Serialize;

/// The height that is being agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RunningHeight {
    pub height: Height,
    pub round: u32,
    /// What the round waits for; none in the moment before it begins.
    pub step: Option<RoundStep>,
    /// Whose turn it is to propose the block.
    pub proposer: Option<NodeId>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConsensusView {
    /// The newest final block; none before this node follows a network.
    pub height: Option<Height>,
    /// What is under way; none while there is nothing to agree on, and on a node that does not take part.
    pub running: Option<RunningHeight>,
    /// Who signs the next block, and how many of them must.
    pub validators: Vec<NodeId>,
    pub quorum: usize,
    pub is_validator: bool,
    /// The validators of whom this node hears nothing. The network goes on while the others are a quorum.
    pub absent: Vec<AbsentValidator>,
    /// Whether too many validators are missing, or silent, for a block to become final.
    pub is_halted: bool,
    /// Why this validator signs nothing.
    pub silence: Option<Silence>,
    /// Events that wait for a block, their bytes, and how many of them are this node's own.
    pub waiting_events: usize,
    pub waiting_bytes: usize,
    pub waiting_own_events: usize,
    /// Nodes that contradicted themselves, of which the ledger does not know yet.
    pub accused: usize,
}

impl<S: Store> Replica<S> {
    pub(in crate::consensus) fn view(&self) -> ConsensusView {
        let Some(state) = &self.state else { return ConsensusView::default() };
        let validators = state.validators();
        let running = self.running.map(|height| {
            let round = self.engine.as_ref().and_then(Engine::round).unwrap_or(0);
            let step = self.engine.as_ref().and_then(Engine::step_of_round);
            RunningHeight { height, round, step, proposer: proposer(&validators, height, round) }
        });
        let absent = self.committee.absent(&self.id, self.now_ms);
        let silence = self.silence();
        let able = validators.nodes().len() - absent.len().min(validators.nodes().len()) - usize::from(silence.is_some());
        ConsensusView {
            height: Some(state.height()),
            running,
            quorum: validators.quorum(),
            is_validator: self.is_validator(),
            is_halted: able < validators.quorum(),
            validators: validators.nodes().to_vec(),
            absent,
            silence,
            waiting_events: self.mempool.len(),
            waiting_bytes: self.mempool.size_bytes(),
            waiting_own_events: self.own.pending().len(),
            accused: self.accusations.len(),
        }
    }
}
