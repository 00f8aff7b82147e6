//! What validators sign while they agree on a block, in the project's own words and encoding.
//!
//! A precommit is the cosignature that ends up in a [`pyrsia_ledger::CommitCertificate`], so its preimage is the ledger's. The
//! consensus engine has types of its own for all of this; they are translated at its border and never travel or rest.

use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::SigningKey;
use pyrsia_ledger::certificate::{UnsignedVote, VoteKind, proposal_bytes};
use pyrsia_ledger::evidence::{SignedProposal, SignedVote};
use pyrsia_ledger::signed::{node_id_of, sign, verify};
use pyrsia_ledger::{BlockId, Height, NetworkId, NodeId, Purpose, Signature, ValidatorSet};

/// A vote of a validator; `block` is none for nil.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Vote {
    pub kind: VoteKind,
    pub height: Height,
    pub round: u32,
    pub block: Option<BlockId>,
    pub validator: NodeId,
    pub signature: Signature,
}

/// A validator's proposal to decide on a block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proposal {
    pub height: Height,
    pub round: u32,
    /// The earlier round in which a quorum prevoted for this block.
    pub polka_round: Option<u32>,
    pub block: BlockId,
    pub proposer: NodeId,
    pub signature: Signature,
}

/// Prevotes of a quorum for one block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct PolkaCertificate {
    pub height: Height,
    pub round: u32,
    pub block: BlockId,
    pub signatures: Vec<(NodeId, Signature)>,
}

/// Why a round may be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) enum RoundReason {
    /// More than a third is in this round already.
    Skip,
    /// A quorum precommitted in the round before, for whatever.
    Precommits,
}

/// Votes that let a node enter a round.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct RoundCertificate {
    pub height: Height,
    pub round: u32,
    pub reason: RoundReason,
    pub votes: Vec<RoundVote>,
}

/// A vote of a [`RoundCertificate`], which states its height and round.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct RoundVote {
    pub kind: VoteKind,
    pub block: Option<BlockId>,
    pub validator: NodeId,
    pub signature: Signature,
}

impl From<Vote> for SignedVote {
    fn from(vote: Vote) -> Self {
        let Vote { kind, height, round, block, validator, signature } = vote;
        Self { author: validator, kind, height, round, block, signature }
    }
}

impl From<SignedVote> for Vote {
    fn from(vote: SignedVote) -> Self {
        let SignedVote { author, kind, height, round, block, signature } = vote;
        Self { kind, height, round, block, validator: author, signature }
    }
}

impl From<Proposal> for SignedProposal {
    fn from(proposal: Proposal) -> Self {
        let Proposal { height, round, polka_round, block, proposer, signature } = proposal;
        Self { author: proposer, height, round, valid_round: polka_round, block, signature }
    }
}

impl Vote {
    pub fn signed(
        key: &SigningKey,
        network: &NetworkId,
        kind: VoteKind,
        height: Height,
        round: u32,
        block: Option<BlockId>,
    ) -> Self {
        SignedVote::new(key, network, UnsignedVote { kind, height, round, block }).into()
    }

    pub fn verify(&self, network: &NetworkId) -> bool {
        let Self { kind, height, round, block, .. } = *self;
        UnsignedVote { kind, height, round, block }.claim(self.validator, network, self.signature).holds()
    }
}

impl Proposal {
    pub fn signed(
        key: &SigningKey,
        network: &NetworkId,
        height: Height,
        round: u32,
        polka_round: Option<u32>,
        block: BlockId,
    ) -> Self {
        let signature = sign(key, Purpose::Proposal, network, &proposal_bytes(height, round, polka_round, block));
        Self { height, round, polka_round, block, proposer: node_id_of(key), signature }
    }

    pub fn verify(&self, network: &NetworkId) -> bool {
        let message = proposal_bytes(self.height, self.round, self.polka_round, self.block);
        verify(&self.proposer, Purpose::Proposal, network, &message, &self.signature)
    }

    /// Whether it was this validator's turn, and its hand.
    pub fn is_rightful(&self, network: &NetworkId, validators: &ValidatorSet) -> bool {
        proposer(validators, self.height, self.round) == Some(self.proposer) && self.verify(network)
    }
}

impl PolkaCertificate {
    /// Whether it has no more parts than there are validators.
    pub(super) fn fits(&self, validators: &ValidatorSet) -> bool {
        self.signatures.len() <= validators.nodes().len()
    }

    /// Whether at least one validator signed its part: what it takes to wake a sleeping node.
    pub(super) fn is_vouched_for(&self, network: &NetworkId, validators: &ValidatorSet) -> bool {
        let vote = UnsignedVote { kind: VoteKind::Prevote, height: self.height, round: self.round, block: Some(self.block) };
        self.signatures
            .iter()
            .any(|(node, signature)| validators.contains(node) && vote.claim(*node, network, *signature).holds())
    }
}

impl RoundCertificate {
    /// Whether it has no more parts than validators could make: one may appear with both kinds of vote.
    pub(super) fn fits(&self, validators: &ValidatorSet) -> bool {
        self.votes.len() <= 2 * validators.nodes().len()
    }

    /// Whether at least one validator signed its part.
    pub(super) fn is_vouched_for(&self, network: &NetworkId, validators: &ValidatorSet) -> bool {
        self.votes.iter().any(|vote| {
            let unsigned = UnsignedVote { kind: vote.kind, height: self.height, round: self.round, block: vote.block };
            validators.contains(&vote.validator) && unsigned.claim(vote.validator, network, vote.signature).holds()
        })
    }
}

/// Whose turn it is: the validators take turns, in the order of their keys, by height and by round.
pub(super) fn proposer(validators: &ValidatorSet, height: Height, round: u32) -> Option<NodeId> {
    let nodes = validators.nodes();
    let turn = height.0.wrapping_add(u64::from(round)).checked_rem(nodes.len() as u64)?;
    nodes.get(usize::try_from(turn).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyrsia_ledger::{BlockHash, Sha256Digest};

    fn network() -> NetworkId {
        NetworkId::new(Sha256Digest::of(b"network"))
    }

    fn block() -> BlockId {
        let digest = Sha256Digest::of(b"block");
        BlockId { hash: BlockHash(digest), tree_size: 3, tree_root: digest, time_s: 1 }
    }

    #[test]
    fn a_vote_cannot_stand_for_another_height_round_or_block() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let block = block();
        let vote = Vote::signed(&key, &network(), VoteKind::Precommit, Height(3), 1, Some(block));
        assert!(vote.verify(&network()));
        for changed in [
            Vote { height: Height(4), ..vote.clone() },
            Vote { round: 2, ..vote.clone() },
            Vote { block: None, ..vote.clone() },
            Vote { block: Some(BlockId { tree_size: 4, ..block }), ..vote.clone() },
            Vote { block: Some(BlockId { time_s: 2, ..block }), ..vote.clone() },
            Vote { kind: VoteKind::Prevote, ..vote.clone() },
        ] {
            assert!(!changed.verify(&network()));
        }
    }

    #[test]
    fn a_proposal_out_of_turn_is_not_rightful() {
        let keys = [SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32])];
        let validators = ValidatorSet::new(keys.iter().map(node_id_of).collect());
        let block = block();
        for round in 0..4 {
            let rightful = keys
                .iter()
                .filter(|key| {
                    Proposal::signed(key, &network(), Height(9), round, None, block).is_rightful(&network(), &validators)
                })
                .count();
            assert_eq!(rightful, 1);
        }
    }
}
