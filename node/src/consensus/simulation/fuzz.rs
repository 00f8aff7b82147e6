//! What a validator hears, byte by byte: nothing that comes from outside stops it or makes it agree to what nobody signed.

use super::Mutation;
use super::disk::{Disk, DiskStore};
use crate::consensus::ballot::{Proposal, Vote, proposer};
use crate::consensus::engine::{Engine, EngineError, Output as EngineOutput};
use crate::consensus::message::Message;
use crate::consensus::replica::{ConsensusConfig, Output, Replica};
use crate::consensus::store::Store as _;
use ed25519_dalek::SigningKey;
use pyrsia_ledger::certificate::VoteKind;
use pyrsia_ledger::event::{NodeActivated, NodeAuthorizationApproved, VerifierApproved};
use pyrsia_ledger::projection::{genesis, one_after_the_other};
use pyrsia_ledger::signed::node_id_of;
use pyrsia_ledger::{
    Block, CommitCertificate, Event, NodeId, PackageType, Projections, SealedBlock, Sha256Digest, SignedEvent, UnsignedEvent,
};
use std::sync::LazyLock;

/// When everything happens, in ms.
const TIME_MS: u64 = 1_000_000;
const VALIDATORS: u8 = 4;

/// Four validators at rest, and the block that they could agree on next.
struct Known {
    keys: Vec<SigningKey>,
    blocks: Vec<SealedBlock>,
    state: Projections,
    next: Block,
}

static KNOWN: LazyLock<Known> = LazyLock::new(Known::new);

impl Known {
    fn new() -> Self {
        let keys: Vec<SigningKey> = (1..=VALIDATORS).map(|seed| SigningKey::from_bytes(&[seed; 32])).collect();
        let mut blocks = vec![genesis(&keys[0], "fuzz", [7; 32], TIME_MS)];
        let mut state = Projections::from_genesis(&blocks[0]).expect("a network");
        for newcomer in 0..keys.len() {
            // The founder lets itself in.
            let members = &keys[..newcomer.max(1)];
            let approval = Event::NodeAuthorizationApproved(NodeAuthorizationApproved { node: node_id_of(&keys[newcomer]) });
            let approvals: Vec<SignedEvent> = members.iter().map(|key| signed(&state, key, approval.clone())).collect();
            state = seal(&mut blocks, state, members, &approvals);
            let here = NodeActivated { recent_height: state.height().0, recent_block: state.tip().0 };
            let activation = signed(&state, &keys[newcomer], Event::NodeActivated(here));
            state = seal(&mut blocks, state, members, &[activation]);
        }
        assert_eq!(state.validators().nodes().len(), keys.len());
        let verifier = VerifierApproved {
            package_type: PackageType::new("any").expect("a type"),
            module: Sha256Digest::of(b"module"),
            contract_version: 1,
        };
        let wish = signed(&state, &keys[0], Event::VerifierApproved(verifier));
        let turn = proposer(&state.validators(), state.height().next(), 0).expect("somebody's turn");
        let next = state.propose(turn, TIME_MS, [&wish]).block;
        Self { keys, blocks, state, next }
    }

    fn key_of(&self, node: NodeId) -> &SigningKey {
        self.keys.iter().find(|key| node_id_of(key) == node).expect("a validator")
    }

    /// The one whose turn it is not, in its first rounds: it only listens.
    fn listener(&self) -> &SigningKey {
        let height = self.state.height().next();
        let turn = proposer(&self.state.validators(), height, 3).expect("somebody's turn");
        self.key_of(turn)
    }
}

fn signed(state: &Projections, key: &SigningKey, event: Event) -> SignedEvent {
    let author = node_id_of(key);
    SignedEvent::new(key, UnsignedEvent::new(*state.network(), author, state.next_sequence(&author), TIME_MS, event))
}

fn seal(blocks: &mut Vec<SealedBlock>, state: Projections, members: &[SigningKey], events: &[SignedEvent]) -> Projections {
    let proposal = state.propose(node_id_of(&members[0]), TIME_MS, events);
    assert!(proposal.refused.is_empty(), "{:?}", proposal.refused);
    let certificate = CommitCertificate::signed(&proposal.block.header, 0, members);
    blocks.push(SealedBlock { block: proposal.block, certificate });
    proposal.next
}

/// Frames, each behind its sender and its length in two bytes: heard one after the other by a validator at rest.
pub(crate) fn hearing(mut bytes: &[u8]) {
    let known = &*KNOWN;
    let mut store = DiskStore::on(Disk::new(Mutation::None));
    for sealed in &known.blocks {
        store.append(sealed).expect("this disk has no faults");
    }
    let config = ConsensusConfig::default();
    let opened = Replica::open(known.listener().clone(), config, store, Some(known.state.clone()), TIME_MS);
    let mut replica = opened.expect("opens");
    let mut now_ms = TIME_MS;
    while let Some(([from, low, high], rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (frame, rest) = rest.split_at(length);
        bytes = rest;
        now_ms += 1;
        // Whoever is none of the four is a stranger.
        let from = known.keys.get(usize::from(*from)).map_or(NodeId::from_public_key([*from; 32]), node_id_of);
        let Ok(message) = Message::decode(frame) else { continue };
        assert_eq!(message.encode(), frame, "a message has one encoding");
        replica.on_message(now_ms, from, message).expect("nothing that is heard stops a node");
        while replica.has_received() {
            replica.follow_next(now_ms, one_after_the_other).expect("nothing that is sent stops a node");
        }
        for output in replica.take_outputs() {
            if let Output::Broadcast(message) | Output::Send(_, message) = output {
                assert_eq!(Message::decode(&message.encode()).expect("what is said is read"), message);
            }
        }
    }
    let state = replica.state().expect("it has a ledger");
    let is_known = state.tip() == known.state.tip() || state.tip() == known.next.hash();
    assert!(is_known, "a validator has a block that no quorum signed");
}

fn frame(from: u8, message: &Message) -> Vec<u8> {
    let frame = message.encode();
    let length = u16::try_from(frame.len()).expect("the messages of the seeds are short");
    [&[from][..], &length.to_le_bytes(), &frame].concat()
}

/// A height from the proposal to the decision, one that comes as a block, and every other kind of message.
pub(crate) fn hearing_seeds() -> Vec<Vec<u8>> {
    let known = &*KNOWN;
    let (network, height, block) = (known.state.network(), known.next.height(), known.next.id());
    let place = |key: &SigningKey| known.keys.iter().position(|known| known == key).expect("a validator") as u8;
    let proposal = |round, polka_round| {
        let key = known.key_of(proposer(&known.state.validators(), height, round).expect("somebody's turn"));
        let proposal = Proposal::signed(key, network, height, round, polka_round, block);
        frame(place(key), &Message::Proposal { proposal, block: Box::new(known.next.clone()) })
    };
    let votes = |kind, round, block: Option<_>| -> Vec<u8> {
        let vote = |key| frame(place(key), &Message::Vote(Vote::signed(key, network, kind, height, round, block)));
        known.keys.iter().filter(|key| *key != known.listener()).flat_map(vote).collect()
    };
    let certificate = CommitCertificate::signed(&known.next.header, 0, &known.keys);
    let sealed = SealedBlock { block: known.next.clone(), certificate };
    let status = |height| Message::Status { network: Some(*network), height: Some(height) };
    let (prevote, precommit) = (VoteKind::Prevote, VoteKind::Precommit);
    vec![
        [proposal(0, None), votes(prevote, 0, Some(block)), votes(precommit, 0, Some(block))].concat(),
        [votes(prevote, 0, None), votes(precommit, 0, None), proposal(1, None), votes(prevote, 1, Some(block))].concat(),
        [proposal(0, None), votes(prevote, 0, Some(block)), votes(precommit, 0, None), proposal(1, Some(0))].concat(),
        [frame(0, &status(height)), frame(0, &Message::Blocks(vec![sealed]))].concat(),
        frame(1, &Message::Events(known.next.events.clone())),
        [frame(1, &status(known.state.height())), frame(2, &Message::GetBlocks { from: known.state.height() })].concat(),
        [frame(1, &Message::AskTip { nonce: 7 }), frame(2, &Message::Tip { nonce: 7, height: Some(height) })].concat(),
        frame(9, &Message::Status { network: None, height: None }),
    ]
}

/// A journal: entries, each behind its length in two bytes. Its bytes are the node's own, but a disk may give others.
pub(crate) fn journal(mut bytes: &[u8]) {
    let known = &*KNOWN;
    let mut entries = vec![];
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (entry, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        entries.push(entry.to_vec());
        bytes = rest;
    }
    let (height, validators) = (known.state.height().next(), known.state.validators());
    let mut engine = Engine::new(known.listener().clone(), *known.state.network(), height, &validators);
    match engine.recover(height, validators, entries.clone()) {
        Ok(outputs) => {
            let is_new = |output: &EngineOutput| matches!(output, EngineOutput::Journal(_, entry) if entries.contains(entry));
            assert!(!outputs.iter().any(is_new), "what is journaled is not journaled again");
        }
        Err(EngineError::Journal { index, .. }) => assert!(index < entries.len()),
        Err(EngineError::Failed { .. }) => {}
    }
}

/// What the first seeds of [`hearing`] leave in the journal.
pub(crate) fn journal_seeds() -> Vec<Vec<u8>> {
    let known = &*KNOWN;
    let (height, validators) = (known.state.height().next(), known.state.validators());
    let journal_of = |messages: Vec<u8>| {
        let mut engine = Engine::new(known.listener().clone(), *known.state.network(), height, &validators);
        let mut outputs = engine.recover(height, validators.clone(), vec![]).expect("starts");
        let mut rest = messages.as_slice();
        while let Some(([_, low, high], tail)) = rest.split_first_chunk() {
            let (frame, tail) = tail.split_at(usize::from(u16::from_le_bytes([*low, *high])));
            rest = tail;
            use crate::consensus::engine::{BlockVerdict, Input};
            let input = match Message::decode(frame) {
                Ok(Message::Proposal { proposal, .. }) => Input::Proposal(proposal, BlockVerdict::Valid),
                Ok(Message::Vote(vote)) => Input::Vote(vote),
                _ => continue,
            };
            outputs.extend(engine.step(input).expect("goes on"));
        }
        let entries = outputs.into_iter().filter_map(|output| match output {
            EngineOutput::Journal(_, entry) => Some(entry),
            _ => None,
        });
        entries.flat_map(|entry| [&(entry.len() as u16).to_le_bytes()[..], &entry].concat()).collect()
    };
    hearing_seeds().into_iter().take(3).map(journal_of).collect()
}
