//! The next block as a proposer makes it, and the header that follows from its events.

use super::{Projections, TIME_MS_MAX};
use crate::block::{BLOCK_EVENT_BYTES_MAX, Block, BlockHeader, EVENTS_PER_BLOCK_MAX, HEADER_VERSION, Height};
use crate::certificate::ValidatorSet;
use crate::digest::Sha256Digest;
use crate::identity::NodeId;
use crate::policy::{self, Refusal};
use crate::projection::ACTIVATION_WINDOW_BLOCKS;
use crate::signed::{EncodedEvent, EventId, SignedEvent};

/// A block that may be proposed, with what it leads to.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub block: Block,
    pub next: Projections,
    /// Candidates that the block could not take, with the reason.
    pub refused: Vec<(EventId, Refusal)>,
}

impl Projections {
    /// Takes as many of `candidates`, in their order, as are allowed and fit into one block.
    pub fn propose<'a>(&self, proposer: NodeId, now_ms: u64, candidates: impl IntoIterator<Item = &'a SignedEvent>) -> Proposal {
        let time_ms = now_ms.clamp(self.time_ms, TIME_MS_MAX);
        let (mut next, mut events, mut leaves, mut refused, mut size_bytes) = (self.clone(), vec![], vec![], vec![], 0);
        for candidate in candidates {
            let encoded = EncodedEvent::new(candidate);
            let could_fit = policy::size(encoded.bytes.len()).is_ok();
            if events.len() == EVENTS_PER_BLOCK_MAX || could_fit && size_bytes + encoded.bytes.len() > BLOCK_EVENT_BYTES_MAX {
                break;
            }
            match next.fold(&encoded, time_ms) {
                Ok(()) => {
                    size_bytes += encoded.bytes.len();
                    events.push(candidate.clone());
                    leaves.push(encoded.leaf);
                }
                Err(refusal) => refused.push((encoded.id, refusal)),
            }
        }
        next.frontier.extend(leaves);
        next.settle();
        let header = next.header_to_come(&self.validators(), proposer, time_ms);
        let next = next.advanced_to(&header);
        let block = Block { header, events };
        Proposal { block, next, refused }
    }

    /// The header of the founding block, whose event is folded here.
    pub(super) fn founding_header(&self, proposer: NodeId, time_ms: u64) -> BlockHeader {
        let validators = self.validators().hash();
        self.header(self.height, (validators, validators), proposer, time_ms)
    }

    /// The header of the block whose events are folded here, which is not advanced to it yet. `validators` are those before it.
    pub(super) fn header_to_come(&self, validators: &ValidatorSet, proposer: NodeId, time_ms: u64) -> BlockHeader {
        let next = self.validators();
        let before = validators.hash();
        let after = if next == *validators { before } else { next.hash() };
        self.header(self.height.next(), (before, after), proposer, time_ms)
    }

    fn header(
        &self,
        height: Height,
        (validators, next_validators): (Sha256Digest, Sha256Digest),
        proposer: NodeId,
        time_ms: u64,
    ) -> BlockHeader {
        BlockHeader {
            version: HEADER_VERSION,
            network: self.network,
            height,
            parent: self.tip,
            time_ms,
            proposer,
            tree_size: self.frontier.size(),
            tree_root: self.frontier.root(),
            state_root: self.sum.root(),
            validators,
            next_validators,
        }
    }

    pub(super) fn advanced_to(mut self, header: &BlockHeader) -> Self {
        self.height = header.height;
        self.tip = header.hash();
        self.time_ms = header.time_ms;
        self.recent.push_back(self.tip);
        if self.recent.len() as u64 > ACTIVATION_WINDOW_BLOCKS + 1 {
            self.recent.pop_front();
        }
        self
    }
}
