//! Following: who is how far, and blocks that others decided. Regular nodes live by this, validators catch up by it.

use super::catch_up::Work;
use super::{Origin, Output, Replica, ReplicaError, Store};
use crate::consensus::message::{BLOCK_RANGE_BYTES_MAX, Message};
use pyrsia_ledger::projection::BlockError;
use pyrsia_ledger::{Height, NetworkId, NodeId, Projections, SealedBlock};
use std::sync::Arc;
use tracing::{debug, info, warn};

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

    /// Takes the blocks that come next, each checked as an auditor would.
    pub(super) fn on_blocks(&mut self, from: NodeId, blocks: Vec<SealedBlock>) -> Result<(), ReplicaError> {
        if !self.catch_up.answered(&from) {
            // Checking blocks is work: nobody makes this node do it who was not asked.
            return Ok(());
        }
        let before = self.next_height();
        if blocks.is_empty() {
            self.catch_up.failed(&from);
        }
        for sealed in blocks {
            let (expected, height) = (self.next_height(), sealed.height());
            if height < expected {
                continue;
            }
            self.catch_up.claim(from, height, self.now_ms);
            if height > expected {
                break;
            }
            match self.follow(&sealed) {
                Ok(next) => {
                    self.catch_up.delivered(&from);
                    self.commit(sealed, Arc::new(next), Origin::Followed)?;
                }
                Err(error) => {
                    warn!(peer = %from, error = %chain(&error), "a peer sent a block that does not follow from the ledger");
                    self.catch_up.failed(&from);
                    break;
                }
            }
        }
        self.ask_for_blocks();
        // Not after each range of a long way.
        if self.next_height() > before && !self.catch_up.is_behind() {
            self.announce();
        }
        Ok(())
    }

    fn follow(&self, sealed: &SealedBlock) -> Result<Projections, BlockError> {
        if let Some(state) = &self.state {
            return state.apply_sealed(sealed);
        }
        let state = Projections::from_genesis(sealed)?;
        if self.config.pinned_network.is_some_and(|pinned| pinned != *state.network()) {
            return Err(BlockError::Genesis("it founds another network than the pinned one"));
        }
        info!(network = %state.network(), name = state.name(), "adopted a network");
        Ok(state)
    }

    pub(super) fn ask_for_blocks(&mut self) {
        let wanted = self.next_height();
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
