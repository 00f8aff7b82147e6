//! A member that lies: votes twice, proposes different blocks to different nodes, spoils copies of what others propose, claims
//! heights it has not, sends garbage. At every third height it is in good form but for the time of what it proposes, as only a
//! block that all are told the same about can be agreed on.

use super::random::Random;
use crate::consensus::ballot::{Proposal, Vote};
use crate::consensus::message::Message;
use ed25519_dalek::SigningKey;
use pyrsia_ledger::certificate::VoteKind;
use pyrsia_ledger::projection::TIME_MS_MAX;
use pyrsia_ledger::signed::node_id_of;
use pyrsia_ledger::{Block, BlockHash, BlockId, Height, NetworkId, Projections, Sha256Digest};

/// Rounds for which it makes proposals, whosever turn it is.
const ROUNDS: u32 = 3;

/// What the liar tells one node after it heard `heard`, as frames.
pub(super) fn lies(key: &SigningKey, network: &NetworkId, heard: &Message, random: &mut Random) -> Vec<Vec<u8>> {
    match heard {
        Message::Proposal { proposal, block } => {
            let mut frames = contradictory_votes(key, network, proposal, random);
            frames.extend((0..ROUNDS).map(|round| other_proposal(key, network, round, block, random)));
            frames.push(copy_without_events(proposal, block));
            frames
        }
        Message::Vote(vote) if random.percent(5) => {
            let claim = Message::Status { network: Some(*network), height: Some(Height(vote.height.0 + random.below(1_000))) };
            vec![claim.encode(), garbage(heard, random)]
        }
        // Asked for blocks it claims to have, it shows nothing.
        _ => vec![],
    }
}

/// Whether the next height is one at which it contradicts itself in nothing.
pub(super) fn lies_about_time_only(state: &Projections) -> bool {
    state.height().next().0.is_multiple_of(3)
}

/// What the liar tells everybody after it heard `heard`: blocks that are valid, for all rounds in which it is its turn, at the
/// end of time. They are empty, so that it proposes the same one each time.
pub(super) fn lies_about_time(key: &SigningKey, state: &Projections, heard: &Message) -> impl Iterator<Item = Vec<u8>> {
    let is_occasion = match heard {
        Message::Events(_) | Message::Proposal { .. } => true,
        // A round is failing: the next one may be its own.
        Message::Vote(vote) => vote.block.is_none(),
        _ => false,
    };
    let (network, validators, height) = (*state.network(), state.validators(), state.height().next());
    let block = is_occasion.then(|| state.propose(node_id_of(key), TIME_MS_MAX, []).block);
    block.into_iter().flat_map(move |block| {
        let proposals = (0..ROUNDS).map(|round| Proposal::signed(key, &network, height, round, None, block.id()));
        let rightful: Vec<_> = proposals.filter(|proposal| proposal.is_rightful(&network, &validators)).collect();
        rightful.into_iter().map(move |proposal| Message::Proposal { proposal, block: Box::new(block.clone()) }.encode())
    })
}

fn contradictory_votes(key: &SigningKey, network: &NetworkId, proposal: &Proposal, random: &mut Random) -> Vec<Vec<u8>> {
    let mut vote = |kind| {
        let proposed = proposal.block;
        let block = match random.below(4) {
            0 => None,
            1 => Some(proposed),
            // The block itself, with another checkpoint than its header has.
            2 => Some(BlockId { tree_size: proposed.tree_size + 1, ..proposed }),
            _ => Some(BlockId { hash: BlockHash(Sha256Digest::of(proposed.hash.0.as_bytes())), ..proposed }),
        };
        let round = proposal.round + random.below(2) as u32;
        Message::Vote(Vote::signed(key, network, kind, proposal.height, round, block)).encode()
    };
    vec![vote(VoteKind::Prevote), vote(VoteKind::Precommit)]
}

/// A block that is valid, of its own, and different each time it is told.
fn other_proposal(key: &SigningKey, network: &NetworkId, round: u32, block: &Block, random: &mut Random) -> Vec<u8> {
    let mut block = block.clone();
    block.header.proposer = node_id_of(key);
    block.header.time_ms += 1 + random.below(3);
    let proposal = Proposal::signed(key, network, block.height(), round, None, block.id());
    Message::Proposal { proposal, block: Box::new(block) }.encode()
}

/// The proposal that somebody else signed, with other events than its header commits to.
fn copy_without_events(proposal: &Proposal, block: &Block) -> Vec<u8> {
    let copy = Block { header: block.header.clone(), events: vec![] };
    Message::Proposal { proposal: proposal.clone(), block: Box::new(copy) }.encode()
}

fn garbage(heard: &Message, random: &mut Random) -> Vec<u8> {
    let mut bytes = heard.encode();
    let at = random.below(bytes.len() as u64) as usize;
    bytes[at] ^= 1 << random.below(8);
    bytes
}
