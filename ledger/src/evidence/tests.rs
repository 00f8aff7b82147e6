use super::*;
use crate::block::BlockHash;
use crate::coordinate::{BuildId, PackageCoordinate};
use crate::digest::Sha256Digest;
use crate::signed::sign;
use proptest::prelude::*;

fn network() -> NetworkId {
    NetworkId::new(Sha256Digest::of(b"network"))
}

fn block(contents: &[u8]) -> BlockId {
    let digest = Sha256Digest::of(contents);
    BlockId { hash: BlockHash(digest), tree_size: 7, tree_root: digest, time_s: 5 }
}

fn vote(key: &SigningKey, kind: VoteKind, height: u64, round: u32, block: Option<BlockId>) -> SignedVote {
    SignedVote::new(key, &network(), UnsignedVote { kind, height: Height(height), round, block })
}

fn proposal(key: &SigningKey, height: u64, round: u32, valid_round: Option<u32>, block: BlockId) -> SignedProposal {
    let height = Height(height);
    let signature = sign(key, Purpose::Proposal, &network(), &proposal_bytes(height, round, valid_round, block));
    SignedProposal { author: node_id_of(key), height, round, valid_round, block, signature }
}

fn commitment(key: &SigningKey, sequence: u64, attempt: u32, contents: &[u8]) -> SignedCommitment {
    let coordinate = PackageCoordinate::new("docker", "alpine:3.16.0").expect("a coordinate");
    let build_id = BuildId::of(&network(), &coordinate, attempt);
    let event = Event::BuildResultCommitted(BuildResultCommitted { build_id, commitment: Sha256Digest::of(contents) });
    let signed = SignedEvent::new(key, UnsignedEvent::new(network(), node_id_of(key), sequence, 3, event));
    SignedCommitment::of(&signed).expect("a commitment")
}

fn each_kind(key: &SigningKey) -> [Evidence; 6] {
    let (one, other) = (block(b"one"), block(b"other"));
    let (kind, precommit) = (VoteKind::Prevote, VoteKind::Precommit);
    // What no header has, and no honest node votes for: the hash of one block with the size of another.
    let no_block = BlockId { tree_size: 8, ..one };
    [
        Evidence::Votes { first: vote(key, kind, 4, 1, Some(one)), second: vote(key, kind, 4, 1, Some(other)) },
        Evidence::Votes { first: vote(key, kind, 4, 1, Some(one)), second: vote(key, kind, 4, 1, None) },
        Evidence::Votes { first: vote(key, precommit, 4, 1, Some(one)), second: vote(key, precommit, 4, 1, Some(no_block)) },
        Evidence::Votes { first: vote(key, precommit, 4, 1, None), second: vote(key, precommit, 4, 1, Some(one)) },
        Evidence::Proposals { first: proposal(key, 4, 1, None, one), second: proposal(key, 4, 1, Some(0), other) },
        Evidence::Commitments { first: commitment(key, 7, 0, b"one"), second: commitment(key, 8, 0, b"other") },
    ]
}

#[test]
fn two_contradicting_statements_of_one_key_hold_on_their_network_only() {
    let key = SigningKey::from_bytes(&[1; 32]);
    for evidence in each_kind(&key) {
        assert_eq!(evidence.check(&network()), Ok(()));
        assert_eq!(evidence.accused(), node_id_of(&key));
        assert_eq!(evidence.check(&NetworkId::UNFOUNDED), Err(EvidenceError::Signature));
    }
}

#[test]
fn what_an_honest_node_signs_is_no_evidence() {
    let (key, stranger) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
    let (one, other) = (block(b"one"), block(b"other"));
    let prevote = |height, round, block| vote(&key, VoteKind::Prevote, height, round, Some(block));
    let votes = |second| Evidence::Votes { first: prevote(4, 1, one), second };
    let proposals = |second| Evidence::Proposals { first: proposal(&key, 4, 1, None, one), second };
    let commitments = |second| Evidence::Commitments { first: commitment(&key, 7, 0, b"one"), second };
    for (evidence, error) in [
        (votes(prevote(4, 1, one)), EvidenceError::NoContradiction),
        (votes(prevote(5, 1, other)), EvidenceError::Subjects),
        (votes(prevote(4, 2, other)), EvidenceError::Subjects),
        (votes(vote(&key, VoteKind::Precommit, 4, 1, Some(other))), EvidenceError::Subjects),
        (votes(vote(&stranger, VoteKind::Prevote, 4, 1, Some(other))), EvidenceError::Authors),
        (proposals(proposal(&key, 4, 1, Some(0), one)), EvidenceError::NoContradiction),
        (proposals(proposal(&key, 4, 2, None, other)), EvidenceError::Subjects),
        (proposals(proposal(&key, 5, 1, None, other)), EvidenceError::Subjects),
        (proposals(proposal(&stranger, 4, 1, None, other)), EvidenceError::Authors),
        // The same commitment sent again under another number, as after a lost outbox.
        (commitments(commitment(&key, 8, 0, b"one")), EvidenceError::NoContradiction),
        (commitments(commitment(&key, 8, 1, b"other")), EvidenceError::Subjects),
        (commitments(commitment(&stranger, 7, 0, b"other")), EvidenceError::Authors),
    ] {
        assert_eq!(evidence.check(&network()), Err(error), "{evidence:?}");
    }
}

proptest! {
    /// Evidence that was made up or changed in any byte holds against nobody.
    #[test]
    fn evidence_forged_in_any_byte_is_refused(kind in 0usize..6, at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut bytes = borsh::to_vec(&each_kind(&SigningKey::from_bytes(&[1; 32]))[kind]).expect("encodes");
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(forged) = borsh::from_slice::<Evidence>(&bytes) {
            prop_assert!(forged.check(&network()).is_err(), "byte {at}");
        }
    }
}
