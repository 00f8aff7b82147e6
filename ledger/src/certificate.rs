//! Commit certificates: who signed a block, who must have, and what exactly a vote signs.
//!
//! The preimage of a vote is the ledger's own, so that an auditor needs nothing of the consensus engine that collected it. A
//! precommit to a block is the C2SP cosignature of that block's checkpoint: a certificate is a checkpoint that a quorum
//! cosigned ([`crate::checkpoint`]). Prevotes, and precommits to nil, are signed like everything else ([`crate::signed`]).

use crate::block::{BlockHash, BlockHeader, BlockId, Height};
use crate::checkpoint::precommit_bytes;
use crate::digest::Sha256Digest;
use crate::identity::NodeId;
use crate::signed::{Claim, NetworkId, Purpose, Signature, first_wrong_claim, node_id_of, preimage, sign_bytes};
use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::SigningKey;
use serde::Serialize;

/// The validators of a height, in ascending order of their keys.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct ValidatorSet(Vec<NodeId>);

impl ValidatorSet {
    pub fn new(mut nodes: Vec<NodeId>) -> Self {
        nodes.sort_unstable();
        nodes.dedup();
        Self(nodes)
    }

    pub fn nodes(&self) -> &[NodeId] {
        &self.0
    }

    pub fn contains(&self, node: &NodeId) -> bool {
        self.0.binary_search(node).is_ok()
    }

    pub fn hash(&self) -> Sha256Digest {
        let bytes = borsh::to_vec(&self.0).expect("writing to memory cannot fail");
        Sha256Digest::of_parts(&[b"pyrsia/validators/v1\0", &bytes])
    }

    /// Whether more than half of these nodes are among `approvals`.
    pub fn has_majority(&self, approvals: &[NodeId]) -> bool {
        let counted = approvals.iter().filter(|author| self.contains(author)).count();
        counted >= absolute_majority(self.0.len())
    }

    /// Byzantine quorum: more than two thirds.
    pub fn is_quorum(&self, signed: usize) -> bool {
        3 * signed > 2 * self.0.len()
    }

    /// The fewest signatures that make a block final.
    pub fn quorum(&self) -> usize {
        2 * self.0.len() / 3 + 1
    }
}

/// More than half of `total`: what it takes to authorize a node, approve a verifier, or publish a build.
pub const fn absolute_majority(total: usize) -> usize {
    total / 2 + 1
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VoteKind {
    Prevote,
    Precommit,
}

/// What a validator says when it votes; `block` is none for a vote for nil.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize)]
pub struct UnsignedVote {
    pub kind: VoteKind,
    pub height: Height,
    pub round: u32,
    pub block: Option<BlockId>,
}

impl UnsignedVote {
    fn bytes(&self, network: &NetworkId) -> Vec<u8> {
        match (self.kind, &self.block) {
            (VoteKind::Precommit, Some(block)) => precommit_bytes(network, self.height, self.round, block),
            _ => preimage(Purpose::Vote, network, &borsh::to_vec(self).expect("writing to memory cannot fail")),
        }
    }

    pub fn sign(&self, key: &SigningKey, network: &NetworkId) -> Signature {
        sign_bytes(key, &self.bytes(network))
    }

    /// That `author` cast this vote.
    pub fn claim(&self, author: NodeId, network: &NetworkId, signature: Signature) -> Claim {
        Claim::of_bytes(author, self.bytes(network), signature)
    }
}

/// What a proposer signs; `valid_round` is the earlier round in which a quorum prevoted for the block.
pub fn proposal_bytes(height: Height, round: u32, valid_round: Option<u32>, block: BlockId) -> Vec<u8> {
    borsh::to_vec(&(height, round, valid_round, block)).expect("writing to memory cannot fail")
}

/// Precommits for one block in one round, in ascending order of their signers: the cosignatures of its checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct CommitCertificate {
    pub height: Height,
    pub round: u32,
    pub block: BlockHash,
    #[serde(serialize_with = "signers")]
    pub signatures: Vec<(NodeId, Signature)>,
}

/// Views show who signed; the signatures themselves are in the binary form.
fn signers<S: serde::Serializer>(signatures: &[(NodeId, Signature)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(signatures.iter().map(|(node, _)| node))
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CertificateError {
    #[error("the certificate is for block {found} at height {height}, not for this one")]
    OtherBlock { height: Height, found: BlockHash },
    #[error("the signers of a certificate are not in ascending order")]
    Order,
    #[error("{0} signed but is no validator of this height")]
    Stranger(NodeId),
    #[error("the signature of {0} is wrong")]
    Signature(NodeId),
    #[error("{signed} of {validators} validators signed, fewer than {quorum}")]
    NoQuorum { signed: usize, validators: usize, quorum: usize },
}

impl CommitCertificate {
    /// The precommits of these keys to a block of this header.
    pub fn signed<'k>(header: &BlockHeader, round: u32, keys: impl IntoIterator<Item = &'k SigningKey>) -> Self {
        let (height, block) = (header.height, header.id());
        let vote = UnsignedVote { kind: VoteKind::Precommit, height, round, block: Some(block) };
        let sign = |key| (node_id_of(key), vote.sign(key, &header.network));
        let mut signatures: Vec<_> = keys.into_iter().map(sign).collect();
        signatures.sort_unstable();
        Self { height, round, block: block.hash, signatures }
    }

    /// Checks that a quorum of `validators` signed exactly this header.
    pub fn verify(&self, network: &NetworkId, header: &BlockHeader, validators: &ValidatorSet) -> Result<(), CertificateError> {
        self.check_signers(header, validators)?;
        let claims: Vec<Claim> = self.claims(network, header).collect();
        match first_wrong_claim(&claims) {
            Some(wrong) => Err(CertificateError::Signature(claims[wrong].author())),
            None => Ok(()),
        }
    }

    /// Everything but the signatures: that it is for this header, and names a quorum of `validators`, each once.
    pub(crate) fn check_signers(&self, header: &BlockHeader, validators: &ValidatorSet) -> Result<(), CertificateError> {
        if self.height != header.height || self.block != header.hash() {
            return Err(CertificateError::OtherBlock { height: self.height, found: self.block });
        }
        if !self.signatures.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(CertificateError::Order);
        }
        let signed = self.signatures.len();
        if !validators.is_quorum(signed) {
            let (validators, quorum) = (validators.nodes().len(), validators.quorum());
            return Err(CertificateError::NoQuorum { signed, validators, quorum });
        }
        match self.signatures.iter().find(|(node, _)| !validators.contains(node)) {
            Some((stranger, _)) => Err(CertificateError::Stranger(*stranger)),
            None => Ok(()),
        }
    }

    /// The precommits it is made of, if it is for this header.
    pub(crate) fn claims(&self, network: &NetworkId, header: &BlockHeader) -> impl Iterator<Item = Claim> {
        let block = BlockId { hash: self.block, ..header.id() };
        let bytes = precommit_bytes(network, self.height, self.round, &block);
        self.signatures.iter().map(move |(node, signature)| Claim::of_bytes(*node, bytes.clone(), *signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_more_than_two_thirds() {
        let needed = |n: u8| ValidatorSet::new((0..n).map(|i| NodeId::from_public_key([i; 32])).collect()).quorum();
        assert_eq!([1, 2, 3, 4, 5, 6, 7, 10].map(needed), [1, 2, 3, 3, 4, 5, 5, 7]);
        for n in 1..50u8 {
            let set = ValidatorSet::new((0..n).map(|i| NodeId::from_public_key([i; 32])).collect());
            assert!(set.is_quorum(set.quorum()) && !set.is_quorum(set.quorum() - 1));
        }
    }

    #[test]
    fn an_absolute_majority_is_more_than_half() {
        assert_eq!([1, 2, 3, 4, 5, 7].map(absolute_majority), [1, 2, 2, 3, 3, 4]);
    }
}
