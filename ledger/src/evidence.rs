//! Proof that a key signed two statements which no honest node signs both.
//!
//! Owns what such a proof is made of and when it holds: a function of the network and the proof alone, so that everybody who
//! reads the ledger checks it again. Never decides what follows from it.

use crate::block::{BlockId, Height};
use crate::certificate::{UnsignedVote, VoteKind, proposal_bytes};
use crate::event::{BuildResultCommitted, Event};
use crate::identity::NodeId;
use crate::signed::{NetworkId, Purpose, Signature, SignedEvent, UnsignedEvent, node_id_of, verify};
use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::SigningKey;
use serde::Serialize;

/// A validator's vote, with what it takes to verify it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct SignedVote {
    pub author: NodeId,
    pub kind: VoteKind,
    pub height: Height,
    pub round: u32,
    /// None for a vote for nil.
    pub block: Option<BlockId>,
    pub signature: Signature,
}

/// A validator's proposal, with what it takes to verify it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct SignedProposal {
    pub author: NodeId,
    pub height: Height,
    pub round: u32,
    /// The earlier round in which a quorum prevoted for this block.
    pub valid_round: Option<u32>,
    pub block: BlockId,
    pub signature: Signature,
}

/// The envelope of a commitment. No [`SignedEvent`]: events inside events would nest as deep as their bytes allow.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct SignedCommitment {
    pub author: NodeId,
    pub sequence: u64,
    pub claimed_time_ms: u64,
    pub committed: BuildResultCommitted,
    pub signature: Signature,
}

/// Two statements of one key that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Two votes of one kind, height and round, for different blocks.
    Votes { first: SignedVote, second: SignedVote },
    /// Two proposals of one height and round, of different blocks.
    Proposals { first: SignedProposal, second: SignedProposal },
    /// Two commitments to different results of one build. That two events have one sequence number alone proves nothing: an
    /// honest node that lost its outbox makes such.
    Commitments { first: SignedCommitment, second: SignedCommitment },
}

/// Why evidence proves nothing.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum EvidenceError {
    #[error("the two statements are of different authors")]
    Authors,
    #[error("the two statements are about different things")]
    Subjects,
    #[error("the two statements say the same")]
    NoContradiction,
    #[error("a signature under one of the two statements is wrong")]
    Signature,
}

impl SignedVote {
    pub fn new(key: &SigningKey, network: &NetworkId, vote: UnsignedVote) -> Self {
        let UnsignedVote { kind, height, round, block } = vote;
        Self { author: node_id_of(key), kind, height, round, block, signature: vote.sign(key, network) }
    }

    fn unsigned(&self) -> UnsignedVote {
        let Self { kind, height, round, block, .. } = *self;
        UnsignedVote { kind, height, round, block }
    }

    pub fn verify(&self, network: &NetworkId) -> bool {
        self.unsigned().claim(self.author, network, self.signature).holds()
    }
}

impl SignedProposal {
    pub fn verify(&self, network: &NetworkId) -> bool {
        let message = proposal_bytes(self.height, self.round, self.valid_round, self.block);
        verify(&self.author, Purpose::Proposal, network, &message, &self.signature)
    }
}

impl SignedCommitment {
    /// What an event proves, if it is a commitment.
    pub fn of(event: &SignedEvent) -> Option<Self> {
        let UnsignedEvent { author, sequence, claimed_time_ms, event: Event::BuildResultCommitted(committed), .. } =
            &event.unsigned
        else {
            return None;
        };
        Some(Self {
            author: *author,
            sequence: *sequence,
            claimed_time_ms: *claimed_time_ms,
            committed: committed.clone(),
            signature: event.signature,
        })
    }

    pub fn verify(&self, network: &NetworkId) -> bool {
        let event = Event::BuildResultCommitted(self.committed.clone());
        let unsigned = UnsignedEvent::new(*network, self.author, self.sequence, self.claimed_time_ms, event);
        SignedEvent { unsigned, signature: self.signature }.verify_signature()
    }
}

impl Evidence {
    /// Who signed the first statement; if the evidence holds, both.
    pub fn accused(&self) -> NodeId {
        match self {
            Self::Votes { first, .. } => first.author,
            Self::Proposals { first, .. } => first.author,
            Self::Commitments { first, .. } => first.author,
        }
    }

    /// Whether the accused signed both statements on this network, and they contradict each other.
    pub fn check(&self, network: &NetworkId) -> Result<(), EvidenceError> {
        let (one_author, one_subject, contradiction) = match self {
            Self::Votes { first, second } => (
                first.author == second.author,
                (first.kind, first.height, first.round) == (second.kind, second.height, second.round),
                first.block != second.block,
            ),
            Self::Proposals { first, second } => (
                first.author == second.author,
                (first.height, first.round) == (second.height, second.round),
                first.block != second.block,
            ),
            Self::Commitments { first, second } => (
                first.author == second.author,
                first.committed.build_id == second.committed.build_id,
                first.committed.commitment != second.committed.commitment,
            ),
        };
        if !one_author {
            return Err(EvidenceError::Authors);
        }
        if !one_subject {
            return Err(EvidenceError::Subjects);
        }
        if !contradiction {
            return Err(EvidenceError::NoContradiction);
        }
        let signed = match self {
            Self::Votes { first, second } => first.verify(network) && second.verify(network),
            Self::Proposals { first, second } => first.verify(network) && second.verify(network),
            Self::Commitments { first, second } => first.verify(network) && second.verify(network),
        };
        if signed { Ok(()) } else { Err(EvidenceError::Signature) }
    }
}

#[cfg(test)]
mod tests;
