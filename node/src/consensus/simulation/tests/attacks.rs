//! What peers without any right, and the world, may try against a replica, one attack at a time.

use super::*;
use crate::consensus::ballot::{Proposal, Vote, proposer};
use crate::consensus::memory::Memory;
use crate::consensus::message::Message;
use crate::consensus::replica::{ConsensusConfig, Output, Replica};
use crate::consensus::simulation::disk::{Disk, DiskStore};
use pyrsia_ledger::certificate::VoteKind;
use pyrsia_ledger::event::{BuildRequested, BuildResultRevealed};
use pyrsia_ledger::projection::{genesis, one_after_the_other};
use pyrsia_ledger::signed::EVENT_BYTES_MAX;
use pyrsia_ledger::{Block, BuildId, Height, NetworkId, NodeId, PackageCoordinate, Projections, SealedBlock};

fn stranger(n: u8) -> NodeId {
    node_id_of(&SigningKey::from_bytes(&[200 + n; 32]))
}

fn state(world: &World) -> Projections {
    world.oracle.state().expect("there is a network").clone()
}

fn tell(world: &mut World, to: usize, from: NodeId, message: Message) {
    let hear = |replica: &mut Replica<DiskStore>, now_ms| {
        replica.on_message(now_ms, from, message)?;
        while replica.has_received() {
            replica.follow_next(now_ms, one_after_the_other)?;
        }
        Ok(())
    };
    world.with(to, hear).expect("goes on").expect("has power");
}

fn blocks_of(world: &World, node: usize) -> usize {
    world.nodes[node].disk.blocks().len()
}

#[test]
fn a_copy_of_a_proposal_with_other_events_does_not_spoil_the_block() {
    let mut world = founded(4, 4);
    let state = state(&world);
    let height = state.height().next();
    let rightful = proposer(&state.validators(), height, 0).expect("somebody's turn");
    let index = world.nodes.iter().position(|node| node.id == rightful).expect("a node of this world");
    let key = world.nodes[index].key.clone();
    // It says what it says through this test only.
    world.cut_power(index);

    let unsigned = UnsignedEvent::new(*state.network(), rightful, state.next_sequence(&rightful), 1, some_event(1));
    let block = state.propose(rightful, state.time_ms(), [&SignedEvent::new(&key, unsigned)]).block;
    let proposal = Proposal::signed(&key, state.network(), height, 0, None, block.id());
    let mut copy = block.clone();
    copy.events.clear();
    let others: Vec<usize> = (0..4).filter(|other| *other != index).collect();
    for &victim in &others {
        for from in [world.nodes[(index + 1) % 4].id, world.nodes[(index + 2) % 4].id, stranger(1)] {
            tell(&mut world, victim, from, Message::Proposal { proposal: proposal.clone(), block: Box::new(copy.clone()) });
        }
    }
    for &victim in &others {
        tell(&mut world, victim, rightful, Message::Proposal { proposal: proposal.clone(), block: Box::new(block.clone()) });
    }
    let until_us = world.now_us + 10_000_000;
    let is_decided = |world: &World| others.iter().all(|other| blocks_of(world, *other) as u64 == height.0 + 1);
    assert!(world.run(until_us, is_decided).expect("runs"), "the height ends");
    let decided = world.nodes[others[0]].disk.blocks().pop().expect("a block");
    assert_eq!((decided.block.hash(), decided.certificate.round), (block.hash(), 0), "the proposed block, in the first round");
}

/// What comes of the next height if the node whose turn it is proposes a block of some time, ahead of its own clock by this much,
/// and then says nothing.
fn decided_after_proposal_ahead(ahead_ms: u64) -> (Block, SealedBlock) {
    let mut world = founded(4, 4);
    let state = state(&world);
    let height = state.height().next();
    let rightful = proposer(&state.validators(), height, 0).expect("somebody's turn");
    let index = world.nodes.iter().position(|node| node.id == rightful).expect("a node of this world");
    let (key, now_ms) = (world.nodes[index].key.clone(), world.clock_ms(index));
    world.cut_power(index);
    let unsigned = UnsignedEvent::new(*state.network(), rightful, state.next_sequence(&rightful), 1, some_event(1));
    let event = SignedEvent::new(&key, unsigned);
    let block = state.propose(rightful, now_ms.saturating_add(ahead_ms), [&event]).block;
    // First as if a quorum had prevoted for it.
    let proposal = |(round, polka_round)| Proposal::signed(&key, state.network(), height, round, polka_round, block.id());
    let proposals = [(4, Some(0)), (0, None)].map(proposal);
    let others: Vec<usize> = (0..4).filter(|other| *other != index).collect();
    for &other in &others {
        tell(&mut world, other, rightful, Message::Events(vec![event.clone()]));
        for proposal in proposals.clone() {
            tell(&mut world, other, rightful, Message::Proposal { proposal, block: Box::new(block.clone()) });
        }
    }
    let until_us = world.now_us + 10_000_000;
    let is_decided = |world: &World| others.iter().all(|other| blocks_of(world, *other) as u64 == height.0 + 1);
    assert!(world.run(until_us, is_decided).expect("runs"), "the height ends");
    (block, world.nodes[others[0]].disk.blocks().pop().expect("a block"))
}

#[test]
fn a_proposer_that_lies_about_the_time_gets_no_block_with_it() {
    const MINUTE_MS: u64 = 60_000;
    for ahead_ms in [11 * MINUTE_MS, 24 * 60 * MINUTE_MS, u64::MAX] {
        let (proposed, decided) = decided_after_proposal_ahead(ahead_ms);
        assert_ne!(decided.block.hash(), proposed.hash(), "{ahead_ms} ms ahead");
        assert!(decided.certificate.round > 0 && decided.block.events == proposed.events, "its event is as good as any");
        assert!(decided.block.header.time_ms < proposed.header.time_ms - 10 * MINUTE_MS);
    }
    let (proposed, decided) = decided_after_proposal_ahead(9 * MINUTE_MS);
    assert_eq!((decided.block.hash(), decided.certificate.round), (proposed.hash(), 0), "a clock may be wrong by minutes");
}

#[test]
fn a_ledger_whose_time_is_ahead_of_all_clocks_goes_on_and_stands_still_in_time() {
    const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
    let mut world = World::new(7, 2, Mutation::None);
    (0..2).for_each(|index| world.start(index).expect("starts"));
    // The founder's clock was wrong by a day, once.
    let founded_at_ms = world.clock_ms(0) + DAY_MS;
    let founded = world.with(0, |replica, _| replica.found(founded_at_ms, "test", [1; 32]));
    founded.expect("runs").expect("has power").expect("founded");
    (0..2).for_each(|index| scenario::join(&mut world, index).expect("becomes a member"));
    calm_down(&mut world);
    assert!(state(&world).members.len() == 2 && state(&world).height() > Height::GENESIS);
    assert_eq!(state(&world).time_ms(), founded_at_ms);
}

#[test]
fn a_stranger_who_repeats_a_validators_vote_wakes_nobody() {
    let mut world = founded(4, 4);
    let state = state(&world);
    let vote = Vote::signed(&world.nodes[3].key, state.network(), VoteKind::Prevote, state.height().next(), 9, None);
    tell(&mut world, 0, stranger(1), Message::Vote(vote));
    assert!(world.nodes[0].replica.as_ref().is_some_and(Replica::is_idle));
}

#[test]
fn strangers_who_claim_any_height_and_deliver_nothing_keep_nobody_from_the_ledger() {
    const PATIENCE_US: u64 = 60_000_000;
    let mut world = founded(1, 2);
    workload::approve_some_verifier(&mut world, 0).expect("is proposed");
    calm_down(&mut world);
    world.cut_power(1);
    let network = *state(&world).network();
    for n in 0..40 {
        workload::build_something_large(&mut world, 0, &format!("package-{n}")).expect("is proposed");
        let soon_us = world.now_us + 1_000_000;
        world.run(soon_us, |_| false).expect("runs");
    }
    world.nodes[1].disk = Disk::new(Mutation::None);
    world.start(1).expect("starts");
    let until_us = world.now_us + PATIENCE_US;
    while blocks_of(&world, 1) < blocks_of(&world, 0) && world.now_us < until_us {
        for liar in 0..4 {
            tell(&mut world, 1, stranger(liar), Message::Status { network: Some(network), height: Some(Height(u64::MAX)) });
        }
        let soon_us = world.now_us + 100_000;
        world.run(soon_us, |_| false).expect("runs");
    }
    assert_eq!(blocks_of(&world, 1), blocks_of(&world, 0));
}

/// Lets time pass until `wanted`, at most `wait_us`, while two strangers claim every height before one node and show nothing.
fn is_reached_among_liars(world: &mut World, victim: usize, wait_us: u64, wanted: impl Fn(&World) -> bool) -> bool {
    const CLAIM_INTERVAL_US: u64 = 500_000;
    let network = *state(world).network();
    let until_us = world.now_us + wait_us;
    while world.now_us < until_us {
        for liar in 0..2 {
            tell(world, victim, stranger(liar), Message::Status { network: Some(network), height: Some(Height(u64::MAX)) });
        }
        let soon_us = until_us.min(world.now_us + CLAIM_INTERVAL_US);
        if wanted(world) || world.run(soon_us, &wanted).expect("runs") {
            return true;
        }
    }
    false
}

#[test]
fn strangers_who_only_claim_do_not_keep_a_candidate_out() {
    let mut world = founded(1, 2);
    let candidate = world.nodes[1].id;
    is_reached_among_liars(&mut world, 1, 20_000_000, |_| false);
    workload::approve_member(&mut world, candidate).expect("is approved");
    let joins = |world: &World| state(world).members.contains(&candidate);
    assert!(is_reached_among_liars(&mut world, 1, 60_000_000, joins), "it says that it is there");
}

#[test]
fn strangers_who_only_claim_do_not_keep_a_forgetful_validator_from_learning_what_it_forgot() {
    let mut world = founded(4, 4);
    world.lose_disk(3);
    world.start(3).expect("starts");
    let knows = |world: &World| matches!(world.nodes[3].disk.memory(), Memory::LostUntil(_));
    assert!(is_reached_among_liars(&mut world, 3, 60_000_000, knows));
}

#[test]
fn strangers_who_have_failed_do_not_delay_a_block() {
    const SOON_US: u64 = 1_000_000;
    let mut world = founded(1, 2);
    for _ in 0..5 {
        // Long enough for each of them to be asked and to fail.
        is_reached_among_liars(&mut world, 1, 12_000_000, |_| false);
        workload::approve_some_verifier(&mut world, 0).expect("is proposed");
        let newest = blocks_of(&world, 1) + 1;
        assert!(is_reached_among_liars(&mut world, 1, SOON_US, |world| blocks_of(world, 1) == newest), "block {newest} is late");
    }
}

#[test]
fn blocks_that_nobody_asked_for_are_not_looked_at() {
    let mut world = founded(1, 2);
    world.weather.sides[1] = true;
    workload::approve_some_verifier(&mut world, 0).expect("is proposed");
    let soon_us = world.now_us + 10_000_000;
    world.run(soon_us, |_| false).expect("runs");
    let (before, newest) = (blocks_of(&world, 1), world.nodes[0].disk.blocks().split_off(blocks_of(&world, 1)));
    assert!(!newest.is_empty());
    tell(&mut world, 1, stranger(1), Message::Blocks(newest.clone()));
    assert_eq!(blocks_of(&world, 1), before);
    let (member, network) = (world.nodes[0].id, *state(&world).network());
    let tip = newest.last().map(|sealed| sealed.height());
    tell(&mut world, 1, member, Message::Status { network: Some(network), height: tip });
    tell(&mut world, 1, member, Message::Blocks(newest));
    assert_eq!(blocks_of(&world, 1), blocks_of(&world, 0), "asked for, they are");
}

#[test]
fn a_peer_that_claims_the_pinned_network_cannot_slip_another_one_in() {
    let pinned = NetworkId::new(Sha256Digest::of(b"pinned"));
    let config = ConsensusConfig { pinned_network: Some(pinned), ..ConsensusConfig::default() };
    let store = DiskStore::on(Disk::new(Mutation::None));
    let mut replica = Replica::open(SigningKey::from_bytes(&[1; 32]), config, store, None, 0).expect("opens");
    let claim = Message::Status { network: Some(pinned), height: Some(Height::GENESIS) };
    replica.on_message(0, stranger(1), claim).expect("goes on");
    let outputs = replica.take_outputs();
    assert!(outputs.iter().any(|output| matches!(output, Output::Send(_, Message::GetBlocks { .. }))), "{outputs:?}");
    let other = genesis(&SigningKey::from_bytes(&[2; 32]), "another", [0; 32], 1);
    replica.on_message(0, stranger(1), Message::Blocks(vec![other])).expect("goes on");
    assert!(replica.has_received());
    replica.follow_next(0, one_after_the_other).expect("goes on");
    assert!(replica.state().is_none());
}

#[test]
fn a_stranger_who_sends_blocks_that_do_not_follow_is_asked_again_only_after_a_pause() {
    let pinned = NetworkId::new(Sha256Digest::of(b"pinned"));
    let config = ConsensusConfig { pinned_network: Some(pinned), ..ConsensusConfig::default() };
    let store = DiskStore::on(Disk::new(Mutation::None));
    let mut replica = Replica::open(SigningKey::from_bytes(&[1; 32]), config, store, None, 0).expect("opens");
    let other = genesis(&SigningKey::from_bytes(&[2; 32]), "another", [0; 32], 1);
    let (mut asked, mut checked) = (0, 0);
    for now_ms in 1..=1_000 {
        let claim = Message::Status { network: Some(pinned), height: Some(Height(u64::MAX)) };
        replica.on_message(now_ms, stranger(1), claim).expect("goes on");
        replica.on_message(now_ms, stranger(1), Message::Blocks(vec![other.clone()])).expect("goes on");
        while replica.has_received() {
            checked += 1;
            replica.follow_next(now_ms, one_after_the_other).expect("goes on");
        }
        let outputs = replica.take_outputs();
        asked += outputs.iter().filter(|output| matches!(output, Output::Send(_, Message::GetBlocks { .. }))).count();
    }
    assert_eq!(checked, 1, "blocks in a second");
    assert!(asked <= 2, "{asked} questions in a second");
}

#[test]
fn the_next_blocks_are_asked_for_before_those_that_came_are_checked() {
    let world = founded(4, 4);
    let (blocks, keeper, network) = (world.nodes[0].disk.blocks(), world.nodes[0].id, *state(&world).network());
    let store = DiskStore::on(Disk::new(Mutation::None));
    let mut replica = Replica::open(SigningKey::from_bytes(&[1; 32]), ConsensusConfig::default(), store, None, 0).expect("opens");
    let claim = Message::Status { network: Some(network), height: blocks.last().map(SealedBlock::height) };
    replica.on_message(0, keeper, claim).expect("goes on");
    replica.take_outputs();
    replica.on_message(0, keeper, Message::Blocks(blocks[..2].to_vec())).expect("goes on");
    let outputs = replica.take_outputs();
    let is_next = |output: &Output| matches!(output, Output::Send(_, Message::GetBlocks { from: Height(2) }));
    assert!(outputs.iter().any(is_next) && replica.state().is_none(), "{outputs:?}");
    // An answer that comes meanwhile is taken behind the first one.
    replica.on_message(0, keeper, Message::Blocks(blocks[2..].to_vec())).expect("goes on");
    while replica.has_received() {
        replica.follow_next(0, one_after_the_other).expect("goes on");
    }
    assert_eq!(replica.state().map(|state| state.tip()), Some(state(&world).tip()));
}

#[test]
fn a_node_whose_clock_is_set_back_is_heard_all_the_same() {
    let (then_ms, hour_ms) = (1_000_000_000, 3_600_000);
    let store = DiskStore::on(Disk::new(Mutation::None));
    let mut replica =
        Replica::open(SigningKey::from_bytes(&[1; 32]), ConsensusConfig::default(), store, None, then_ms).expect("opens");
    replica.found(then_ms, "test", [1; 32]).expect("goes on").expect("is founded");
    replica.take_outputs();
    replica.tick(then_ms - hour_ms).expect("goes on");
    let outputs = replica.take_outputs();
    assert!(outputs.iter().any(|output| matches!(output, Output::Broadcast(Message::Status { .. }))), "{outputs:?}");
}

#[test]
fn what_is_proposed_at_once_is_told_in_few_messages() {
    let store = DiskStore::on(Disk::new(Mutation::None));
    let mut replica = Replica::open(SigningKey::from_bytes(&[1; 32]), ConsensusConfig::default(), store, None, 1).expect("opens");
    replica.found(1, "test", [1; 32]).expect("goes on").expect("is founded");
    replica.take_outputs();
    let answers = replica.propose_events(1, (0..100).map(some_event).collect()).expect("goes on");
    assert!(answers.iter().all(Result::is_ok));
    let told = replica.take_outputs().into_iter().filter_map(|output| match output {
        Output::Broadcast(Message::Events(events)) => Some(events.len()),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [64, 36]);
}

#[test]
fn a_forgery_among_the_events_of_a_validator_spoils_only_what_comes_behind_it() {
    let mut world = founded(4, 4);
    let state = state(&world);
    let (liar, author, key) = (3, world.nodes[3].id, world.nodes[3].key.clone());
    // It says what it says through this test only.
    world.cut_power(liar);
    let first = state.next_sequence(&author);
    let event =
        |number: u64| SignedEvent::new(&key, UnsignedEvent::new(*state.network(), author, first + number, 1, some_event(number)));
    let events: Vec<SignedEvent> = (0..8).map(event).collect();
    let mut with_forgery = events.clone();
    with_forgery[5].signature = Signature::from_bytes([1; 64]);
    let stands = |world: &World| world.oracle.state().map_or(0, |state| state.next_sequence(&author) - first);
    for (told, expected) in [(with_forgery, 5), (events, 8)] {
        (0..3).for_each(|victim| tell(&mut world, victim, author, Message::Events(told.clone())));
        let until_us = world.now_us + 60_000_000;
        world.run(until_us, |_| false).expect("runs");
        assert_eq!(stands(&world), expected);
    }
}

#[test]
fn a_judge_whose_report_is_too_long_for_the_ledger_does_not_keep_the_network_awake() {
    let mut world = founded(4, 4);
    workload::approve_some_verifier(&mut world, 0).expect("is proposed");
    calm_down(&mut world);
    for author in 0..4 {
        workload::approve_current_verifier(&mut world, author).expect("is proposed");
    }
    calm_down(&mut world);
    let liar = 3;
    let (key, author) = (world.nodes[liar].key.clone(), world.nodes[liar].id);
    // It says nothing but what is told below: a liar that contradicts itself would be suspended before it speaks.
    world.cut_power(liar);
    workload::request_build(&mut world).expect("is proposed");
    let until_us = world.now_us + 24 * 3_600_000_000;
    let is_closed = |world: &World| state(world).builds.iter().all(|(_, build)| build.status.is_closed());
    world.run(until_us, |world| state(world).builds.iter().next().is_some() && is_closed(world)).expect("runs");
    let state = state(&world);
    let build_id = *state.builds.iter().next().expect("a build was asked for").0;

    let late = BuildResultRevealed { build_id, outcome: workload::many_artifacts(200).into(), salt: [0; 32] };
    let unsigned =
        UnsignedEvent::new(*state.network(), author, state.next_sequence(&author), 1, Event::BuildResultRevealed(late));
    let event = SignedEvent::new(&key, unsigned);
    assert!(event.encode().len() > EVENT_BYTES_MAX && state.check(&event).is_ok(), "nothing is wrong with it but its length");
    for victim in 0..3 {
        tell(&mut world, victim, author, Message::Events(vec![event.clone()]));
    }
    let until_us = world.now_us + 60_000_000;
    let height = world.oracle.height();
    world.run(until_us, |_| false).expect("runs");
    assert_eq!(world.oracle.height(), height, "no block comes of it");
    assert!((0..3).all(|node| world.nodes[node].replica.as_ref().is_some_and(Replica::is_idle)));
}

#[test]
fn no_number_of_wishes_in_a_halted_network_keeps_a_node_from_speaking_for_itself() {
    let mut world = founded(2, 2);
    workload::approve_some_verifier(&mut world, 0).expect("is proposed");
    calm_down(&mut world);
    workload::approve_current_verifier(&mut world, 1).expect("is proposed");
    calm_down(&mut world);
    let state = state(&world);
    let ((package_type, verifier), _) = state.verifiers.modules().next().expect("a verifier");
    world.cut_power(1);
    let mut propose =
        |event| world.with(0, |replica, now_ms| replica.propose_event(now_ms, event)).expect("runs").expect("has power");
    let mut wishes = (0..MEMPOOL_AUTHOR_EVENTS_MAX).map(|n| {
        let coordinate = PackageCoordinate::new(package_type.as_str(), &format!("wish-{n}")).expect("a coordinate");
        let build_id = BuildId::of(state.network(), &coordinate, 0);
        Event::BuildRequested(BuildRequested { build_id, coordinate, attempt: 0, verifier: *verifier, source: None })
    });
    let refused = wishes.find_map(|wish| propose(wish).err());
    assert_eq!(refused, Some(ProposeError::MempoolFull));
    propose(some_event(1)).expect("there is room for its own");
}
