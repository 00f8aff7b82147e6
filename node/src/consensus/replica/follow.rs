//! Following: who is how far, and blocks that others decided. Regular nodes live by this, validators catch up by it.

use super::catch_up::Work;
use super::{Origin, Output, Replica, ReplicaError, Store};
use crate::consensus::message::{BLOCK_RANGE_BYTES_MAX, Message};
use pyrsia_ledger::block::SEALED_BLOCK_BYTES_MAX;
use pyrsia_ledger::projection::{BlockError, DoBoth, one_after_the_other};
use pyrsia_ledger::{Height, NetworkId, NodeId, Projections, SealedBlock};
use std::collections::VecDeque;
use std::sync::Arc;
use tracing::{debug, info, warn};

/// Blocks of one answer that wait to be followed, each at the height behind the one before.
#[derive(Debug, Default)]
pub(super) struct Received {
    blocks: VecDeque<(NodeId, SealedBlock)>,
    /// Whether one of this answer was followed.
    has_led_on: bool,
}

impl Received {
    fn take(&mut self, from: NodeId, sealed: SealedBlock) {
        self.blocks.push_back((from, sealed));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

impl<S: Store> Replica<S> {
    pub(super) fn status(&self) -> Message {
        let state = self.state.as_ref();
        Message::Status { network: state.map(|state| *state.network()), height: state.map(|state| state.height()) }
    }

    pub(super) fn on_status(&mut self, from: NodeId, network: Option<NetworkId>, height: Option<Height>) {
        let own = self.state.as_ref().map(|state| (*state.network(), state.height()));
        let Some((network, height)) = network.zip(height) else {
            // It knows no network: tell it ours.
            if own.is_some() {
                self.outputs.push(Output::Send(from, self.status()));
            }
            return;
        };
        let followed = own.map(|(network, _)| network).or(self.config.pinned_network);
        if followed.is_some_and(|followed| followed != network) {
            debug!(peer = %from, %network, "peer follows another network");
            self.catch_up.forget(&from);
            return;
        }
        match own {
            Some((_, tip)) if height < tip => self.outputs.push(Output::Send(from, self.status())),
            Some((_, tip)) if height == tip => {}
            _ => self.catch_up.claim(from, height, self.now_ms),
        }
        self.ask_for_blocks();
    }

    /// Answers those who lack blocks, as far as it is time to.
    pub(super) fn serve_blocks(&mut self) -> Result<(), ReplicaError> {
        while let Some((peer, first)) = self.serving.next(self.now_ms) {
            let blocks = self.store.blocks(first, BLOCK_RANGE_BYTES_MAX)?;
            self.serving.answered(blocks.iter().map(|sealed| sealed.encode().len()).sum());
            self.outputs.push(Output::Send(peer, Message::Blocks(blocks)));
        }
        Ok(())
    }

    /// Takes the blocks that come next, and asks for those behind them, so that they are under way while these are checked.
    pub(super) fn on_blocks(&mut self, from: NodeId, blocks: Vec<SealedBlock>) -> Result<(), ReplicaError> {
        if !self.catch_up.answered(&from, blocks.first().map(SealedBlock::height), self.now_ms) {
            // Checking blocks is work: nobody makes this node do it who was not asked.
            return Ok(());
        }
        // At most one answer waits.
        while self.has_received() {
            self.follow_received(one_after_the_other)?;
        }
        for sealed in blocks {
            let (expected, height) = (self.wanted(), sealed.height());
            if height < expected {
                continue;
            }
            self.catch_up.claim(from, height, self.now_ms);
            if height > expected {
                break;
            }
            if sealed.size_bytes() > SEALED_BLOCK_BYTES_MAX {
                warn!(peer = %from, %height, "a peer sent a block that is longer than any");
                self.catch_up.misled(&from, self.now_ms);
                break;
            }
            self.received.take(from, sealed);
        }
        self.ask_for_blocks();
        Ok(())
    }

    /// Follows one block of those that were received, checked as an auditor would.
    pub(super) fn follow_received(&mut self, do_both: DoBoth) -> Result<(), ReplicaError> {
        let Some((from, sealed)) = self.received.blocks.pop_front() else { return Ok(()) };
        // Unless it was decided here meanwhile.
        if sealed.height() == self.next_height() {
            match self.follow(&sealed, do_both) {
                Ok(next) => {
                    self.catch_up.delivered(&from);
                    self.received.has_led_on = true;
                    self.commit(sealed, Arc::new(next), Origin::Followed)?;
                }
                Err(error) => {
                    warn!(peer = %from, error = %chain(&error), "a peer sent a block that does not follow from the ledger");
                    self.catch_up.misled(&from, self.now_ms);
                    self.received.blocks.clear();
                }
            }
        }
        if self.has_received() {
            return Ok(());
        }
        self.catch_up.listen_again(self.now_ms);
        self.ask_for_blocks();
        // Not after each range of a long way.
        if std::mem::take(&mut self.received.has_led_on) && !self.is_behind() {
            self.announce();
        }
        Ok(())
    }

    fn follow(&self, sealed: &SealedBlock, do_both: DoBoth) -> Result<Projections, BlockError> {
        if let Some(state) = &self.state {
            return state.apply_sealed_by(sealed, do_both);
        }
        let state = Projections::from_genesis(sealed)?;
        if self.config.pinned_network.is_some_and(|pinned| pinned != *state.network()) {
            return Err(BlockError::Genesis("it founds another network than the pinned one"));
        }
        info!(network = %state.network(), name = state.name(), "adopted a network");
        Ok(state)
    }

    /// Whether there is reason to believe that others have blocks that this node has not followed.
    pub(super) fn is_behind(&self) -> bool {
        self.has_received() || self.catch_up.is_behind()
    }

    /// The height of the next block that this node does not have.
    fn wanted(&self) -> Height {
        let received = self.received.blocks.back().map(|(_, sealed)| sealed.height().next());
        received.map_or(self.next_height(), |received| received.max(self.next_height()))
    }

    pub(super) fn ask_for_blocks(&mut self) {
        if self.has_received() && self.catch_up.is_asking() {
            // Whoever is asked may have answered: this node does not listen while it follows what it has.
            return;
        }
        let wanted = self.wanted();
        let work = if self.running.is_some() { Work::HeightRuns } else { Work::Idle };
        let validators = self.state.as_ref().map(|state| state.validators());
        let is_validator = |peer: &NodeId| validators.as_ref().is_some_and(|validators| validators.contains(peer));
        if let Some(peer) = self.catch_up.ask(wanted, work, self.now_ms, is_validator) {
            self.outputs.push(Output::Send(peer, Message::GetBlocks { from: wanted }));
        }
    }
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
