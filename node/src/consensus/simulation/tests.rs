mod attacks;
mod judging;
mod loss;

use super::world::World;
use super::*;
use crate::consensus::message::BLOCK_RANGE_BYTES_MAX;
use crate::consensus::replica::MEMPOOL_AUTHOR_EVENTS_MAX;
use crate::consensus::{ProposeError, SubmitError};
use ed25519_dalek::SigningKey;
use pyrsia_ledger::event::VerifierApproved;
use pyrsia_ledger::signed::node_id_of;
use pyrsia_ledger::{Event, PackageType, Refusal, Sha256Digest, Signature, SignedEvent, UnsignedEvent};

/// Few enough to run with every change; `cargo xtask sim` runs as many as one likes.
const QUICK_SEEDS: u64 = 60;
/// Within how many seeds a fault of our own is found out.
const MUTANT_SEEDS: u64 = 60;

#[test]
fn no_seed_forks_the_ledger_or_stops_the_network() {
    let summary = run_seeds(0..QUICK_SEEDS).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{summary}");
    assert_eq!(summary.seeds, QUICK_SEEDS);
    assert!(summary.recoveries > 0 && summary.partitions > 0 && summary.equivocations > 0, "the faults happened: {summary}");
}

#[test]
fn a_seed_run_twice_is_the_same_run() {
    for seed in [3, 11] {
        assert_eq!(run_seeds(seed..seed + 1), run_seeds(seed..seed + 1));
    }
}

#[test]
fn a_replica_that_does_not_flush_before_it_speaks_is_found_out() {
    let failure = run_mutated(0..MUTANT_SEEDS, Mutation::FlushesForgotten).expect_err("an honest node contradicts itself");
    assert!(failure.reason.contains("contradict") || failure.reason.contains("FORK"), "{failure}");
}

#[test]
fn a_node_that_votes_although_it_lost_its_disk_is_found_out() {
    let failure = run_mutated(0..MUTANT_SEEDS, Mutation::LossUnnoticed).expect_err("an honest node contradicts itself");
    assert!(failure.reason.contains("contradict") || failure.reason.contains("FORK"), "{failure}");
}

#[test]
fn validators_that_believe_any_time_are_found_out() {
    let failure = run_mutated(0..MUTANT_SEEDS, Mutation::AnyTimeBelieved).expect_err("the ledger's time runs away");
    assert!(failure.reason.contains("FUTURE"), "{failure}");
}

/// A calm network of `members`, all of them with power, and nothing left to do.
fn founded(members: usize, nodes: usize) -> World {
    let mut world = World::new(7, nodes, Mutation::None);
    for index in 0..nodes {
        world.start(index).expect("starts");
    }
    world.with(0, |replica, now_ms| replica.found(now_ms, "test", [1; 32])).expect("runs").expect("has power").expect("founded");
    for index in 0..members {
        scenario::join(&mut world, index).expect("it becomes a member by itself once it is approved");
    }
    calm_down(&mut world);
    world
}

fn calm_down(world: &mut World) {
    let until_us = world.now_us + 120_000_000;
    assert!(world.run(until_us, scenario::is_settled).expect("runs"), "the network comes to rest");
}

fn height_after(world: &mut World, author: usize, wait_us: u64) -> usize {
    workload::approve_some_verifier(world, author).expect("is proposed");
    let until_us = world.now_us + wait_us;
    world.run(until_us, |_| false).expect("runs");
    world.oracle.height()
}

#[test]
fn a_network_without_wishes_makes_no_block_and_hardly_a_sound() {
    let mut world = founded(4, 4);
    let (height, messages) = (world.oracle.height(), world.summary.messages);
    let until_us = world.now_us + 600_000_000;
    world.run(until_us, |_| false).expect("runs");
    assert_eq!(world.oracle.height(), height);
    // One status for each pair of nodes and each ten seconds.
    assert!(world.summary.messages - messages <= 4 * 3 * 61, "{} messages", world.summary.messages - messages);
}

#[test]
fn three_of_four_go_on_and_two_of_four_wait_for_a_third() {
    let mut world = founded(4, 4);
    let height = world.oracle.height();
    world.cut_power(3);
    assert_eq!(height_after(&mut world, 0, 20_000_000), height + 1);
    world.cut_power(2);
    assert_eq!(height_after(&mut world, 0, 60_000_000), height + 1);
    world.start(2).expect("starts");
    let until_us = world.now_us + 60_000_000;
    assert!(world.run(until_us, |world| world.oracle.height() > height + 1).expect("runs"), "the height ends");
    world.start(3).expect("starts");
    calm_down(&mut world);
}

#[test]
fn approving_a_node_that_is_not_there_stops_nobody() {
    let mut world = founded(1, 2);
    world.cut_power(1);
    let absent = world.nodes[1].id;
    workload::approve_member(&mut world, absent).expect("is approved");
    let height = world.oracle.height();
    assert_eq!(height_after(&mut world, 0, 5_000_000), height + 1, "approval and event are one block");
    assert!(world.oracle.state().is_some_and(|state| !state.members.contains(&absent)));
    world.start(1).expect("starts");
    let joins = |world: &World| world.oracle.state().is_some_and(|state| state.members.contains(&absent));
    let until_us = world.now_us + 60_000_000;
    assert!(world.run(until_us, joins).expect("runs"), "it joins once it is there");
}

#[test]
fn a_height_that_was_woken_for_nothing_ends_with_an_empty_block() {
    let mut world = founded(4, 4);
    let height = world.oracle.height();
    world.wake_with_a_vote(3, 0);
    let until_us = world.now_us + 60_000_000;
    assert!(world.run(until_us, |world| world.oracle.height() == height + 1).expect("runs"), "the height ends");
    assert_eq!(world.summary.empty_blocks, 1);
    calm_down(&mut world);
    assert_eq!(world.oracle.height(), height + 1, "and the network sleeps again");
}

#[test]
fn of_many_who_say_the_same_one_is_first_and_the_others_go_on() {
    let mut world = founded(4, 4);
    workload::approve_some_verifier(&mut world, 0).expect("is proposed");
    workload::approve_some_verifier(&mut world, 1).expect("is proposed");
    calm_down(&mut world);
    for author in 0..4 {
        workload::approve_current_verifier(&mut world, author).expect("is proposed");
    }
    calm_down(&mut world);
    workload::request_build(&mut world).expect("is proposed");
    // Behind the request that three of them lose waits something of each.
    for author in 0..4 {
        workload::approve_some_verifier(&mut world, author).expect("is proposed");
    }
    let approved = |world: &World| world.oracle.state().map_or(0, |state| state.verifiers.modules().count());
    let before = approved(&world);
    calm_down(&mut world);
    assert_eq!(approved(&world) - before, 4, "everything behind the requests");
    let state = world.oracle.state().expect("there is a network");
    assert_eq!((state.builds.iter().count(), state.builds.unfinished().count()), (1, 0));
}

#[test]
fn a_node_that_was_away_catches_up_range_by_range() {
    let mut world = founded(1, 2);
    workload::approve_some_verifier(&mut world, 0).expect("is proposed");
    calm_down(&mut world);
    world.cut_power(1);
    for n in 0..45 {
        workload::build_something_large(&mut world, 0, &format!("package-{n}")).expect("is proposed");
        let soon_us = world.now_us + 1_000_000;
        world.run(soon_us, |_| false).expect("runs");
    }
    let missing = world.nodes[0].disk.blocks().len() - world.nodes[1].disk.blocks().len();
    let size_bytes: usize = world.nodes[0].disk.blocks().iter().map(|sealed| sealed.encode().len()).sum();
    assert!(missing >= 45 && size_bytes > 2 * BLOCK_RANGE_BYTES_MAX, "{missing} blocks, {size_bytes} bytes");
    world.start(1).expect("starts");
    calm_down(&mut world);
    assert_eq!(world.nodes[1].disk.blocks().len(), world.nodes[0].disk.blocks().len());
}

fn some_event(seed: u64) -> Event {
    let package_type = PackageType::new("simulated").expect("a package type");
    let module = Sha256Digest::of(&seed.to_le_bytes());
    Event::VerifierApproved(VerifierApproved { package_type, module, contract_version: 1 })
}

#[test]
fn a_stranger_and_a_forger_are_turned_away_at_the_door() {
    let mut world = founded(1, 1);
    let network = *world.oracle.state().expect("there is a network").network();
    let stranger = SigningKey::from_bytes(&[99; 32]);
    let author = node_id_of(&stranger);
    let event = SignedEvent::new(&stranger, UnsignedEvent::new(network, author, 0, 1, some_event(1)));
    let answer = world.with(0, |replica, now_ms| replica.submit(now_ms, event)).expect("runs");
    assert_eq!(answer, Some(Err(SubmitError::Propose(ProposeError::Refused(Refusal::NotAuthorized { author })))));

    let member = world.nodes[0].id;
    let sequence = world.oracle.state().map_or(0, |state| state.next_sequence(&member));
    let unsigned = UnsignedEvent::new(network, member, sequence, u64::MAX, some_event(2));
    let forged = SignedEvent { unsigned, signature: Signature::from_bytes([1; 64]) };
    let answer = world.with(0, |replica, now_ms| replica.submit(now_ms, forged)).expect("runs");
    assert_eq!(answer, Some(Err(SubmitError::Signature)));
}

#[test]
fn a_refused_event_leaves_no_gap_and_a_halted_network_takes_only_so_many() {
    let mut world = founded(2, 2);
    world.cut_power(1);
    let mut propose =
        |event| world.with(0, |replica, now_ms| replica.propose_event(now_ms, event)).expect("runs").expect("has power");
    propose(some_event(0)).expect("is taken");
    assert!(matches!(propose(some_event(0)), Err(ProposeError::Refused(Refusal::VerifierApprovedAlready { .. }))));
    for seed in 1..MEMPOOL_AUTHOR_EVENTS_MAX as u64 {
        propose(some_event(seed)).expect("is taken");
    }
    assert_eq!(propose(some_event(u64::MAX)), Err(ProposeError::MempoolFull));
    let events = world.summary.events;
    world.start(1).expect("starts");
    calm_down(&mut world);
    assert_eq!(world.summary.events - events, MEMPOOL_AUTHOR_EVENTS_MAX as u64);
}
