//! Coming back without a ledger: finding out up to where this node's key may have signed, and being silent until then.

use super::{Output, Replica, ReplicaError, Store};
use crate::consensus::memory::{AfterLoss, Memory, SIGNED_ABOVE_TIP_MAX, answers_needed};
use crate::consensus::message::Message;
use pyrsia_ledger::{Event, Height, NodeId, Projections, SealedBlock};
use serde::Serialize;
use std::collections::BTreeMap;
use tracing::{info, warn};

/// How often the validators that have not answered are asked again.
const ASK_INTERVAL_MS: u64 = 1_000;

/// Who has told its tip since this node is back.
#[derive(Debug)]
pub(super) struct Inquiry {
    /// Of this life of the node: an answer to an earlier one says nothing about what came after.
    nonce: u64,
    tips: BTreeMap<NodeId, Height>,
    asked_ms: Option<u64>,
}

impl Inquiry {
    pub(super) const fn new(nonce: u64) -> Self {
        Self { nonce, tips: BTreeMap::new(), asked_ms: None }
    }
}

/// Why a validator signs nothing, for whoever looks after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Silence {
    /// It lost its ledger, and too few of the other validators have told how far the network is.
    LostLedger { answered: usize, needed: usize },
    /// It lost its ledger, and may have signed up to this height.
    UntilHeight { height: Height },
}

impl<S: Store> Replica<S> {
    pub(in crate::consensus) fn memory(&self) -> Memory {
        self.store.memory()
    }

    /// Whether this node signs for the next block: a validator that could contradict itself does not.
    pub(super) fn takes_part(&self) -> bool {
        self.is_validator() && !self.is_silent()
    }

    fn is_silent(&self) -> bool {
        match (self.store.memory(), self.config.after_loss) {
            (Memory::LostUntil(_), AfterLoss::Rejoin) => false,
            (memory, _) => memory.is_unsure_at(self.next_height()),
        }
    }

    /// Why this validator is silent; none if it is not, or is no validator.
    pub(super) fn silence(&self) -> Option<Silence> {
        if !self.is_validator() || !self.is_silent() {
            return None;
        }
        match self.store.memory() {
            Memory::LostUntil(height) => Some(Silence::UntilHeight { height }),
            Memory::Whole | Memory::Lost => {
                let state = self.state.as_deref()?;
                Some(Silence::LostLedger { answered: self.answered(state), needed: self.needed(state) })
            }
        }
    }

    pub(super) fn on_ask_tip(&mut self, from: NodeId, nonce: u64) {
        // Who does not know himself how far he was is no witness.
        let state = self.state.as_ref().filter(|_| self.memory() != Memory::Lost);
        let height = state.map(|state| state.height());
        self.outputs.push(Output::Send(from, Message::Tip { nonce, height }));
    }

    pub(super) fn on_tip(&mut self, from: NodeId, nonce: u64, height: Option<Height>) {
        let is_validator = self.state.as_ref().is_some_and(|state| state.is_validator(&from));
        let Some(height) = height.filter(|_| is_validator && nonce == self.inquiry.nonce && self.memory() == Memory::Lost) else {
            return;
        };
        // Of several answers the first: what is claimed later needs no more blocks to be believed.
        self.inquiry.tips.entry(from).or_insert(height);
        self.catch_up.claim(from, height, self.now_ms);
        self.ask_for_blocks();
    }

    /// Asks what is not known yet, and concludes from the answers.
    pub(super) fn inquire(&mut self) -> Result<(), ReplicaError> {
        let Some(state) = self.state.clone().filter(|_| self.memory() == Memory::Lost) else { return Ok(()) };
        if self.inquiry.asked_ms.is_none_or(|asked_ms| self.now_ms.abs_diff(asked_ms) >= ASK_INTERVAL_MS) {
            self.inquiry.asked_ms = Some(self.now_ms);
            let nonce = self.inquiry.nonce;
            for node in state.validators().nodes().iter().filter(|node| **node != self.id) {
                if !self.inquiry.tips.contains_key(node) {
                    self.outputs.push(Output::Send(*node, Message::AskTip { nonce }));
                }
            }
        }
        if self.answered(&state) < self.needed(&state) || self.is_behind() {
            return Ok(());
        }
        let tip = state.height();
        let may_have_signed = state.is_validator(&self.id) || is_approved(&state, &self.id);
        // Who is not even approved at the tip cannot have signed above it.
        let until = if may_have_signed { Height(tip.0.saturating_add(SIGNED_ABOVE_TIP_MAX)) } else { tip };
        if may_have_signed && self.config.after_loss == AfterLoss::Rejoin {
            warn!(%tip, "this node votes again without knowing what it signed before, as its operator wants");
        } else if may_have_signed {
            warn!(%until, "this node lost its ledger and signs nothing until the block of this height is final");
        }
        Ok(self.store.remember(Memory::LostUntil(until))?)
    }

    /// Validators whose tip this node has reached. Who claims more than it can show does not count.
    fn answered(&self, state: &Projections) -> usize {
        let is_reached = |(node, tip): &(&NodeId, &Height)| state.is_validator(node) && **tip <= state.height();
        self.inquiry.tips.iter().filter(is_reached).count()
    }

    fn needed(&self, state: &Projections) -> usize {
        let validators = state.validators();
        match self.config.after_loss {
            AfterLoss::Wait => answers_needed(&validators),
            AfterLoss::Rejoin => usize::from(validators.nodes().iter().any(|node| *node != self.id)),
        }
    }

    /// A node that became a member by what it said in this life was none in an earlier one, and signed nothing as such.
    pub(super) fn learn_from(&mut self, sealed: &SealedBlock) -> Result<(), ReplicaError> {
        if !self.memory().is_unsure_at(sealed.height().next()) {
            return Ok(());
        }
        let is_own = |event: &pyrsia_ledger::SignedEvent| {
            event.author() == self.id && matches!(event.event(), Event::NodeActivated(_)) && self.own.holds(&event.id())
        };
        if sealed.block.events.iter().any(is_own) {
            info!(height = %sealed.height(), "this node joined the network in this life and has nothing to forget");
            self.store.remember(Memory::LostUntil(sealed.height()))?;
        }
        Ok(())
    }
}

fn is_approved(state: &Projections, node: &NodeId) -> bool {
    state.members.candidate(node).is_some_and(|candidate| candidate.approved_at.is_some())
}
