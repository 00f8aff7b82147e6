//! Validators that lose their disk and keep their key, and networks that miss validators.

use super::*;
use crate::consensus::ConsensusView;
use crate::consensus::Silence;
use crate::consensus::memory::{AfterLoss, Memory, SIGNED_ABOVE_TIP_MAX};
use pyrsia_ledger::{Height, NodeId};

fn view(world: &World, node: usize) -> ConsensusView {
    world.nodes[node].replica.as_ref().expect("has power").view()
}

fn run_until(world: &mut World, what: &str, wanted: impl Fn(&World) -> bool) {
    let until_us = world.now_us + 120_000_000;
    assert!(wanted(world) || world.run(until_us, |world| wanted(world)).expect("runs"), "{what}");
}

/// Who signed the block at `height`, as an honest node has it.
fn signers(world: &mut World, height: u64) -> Vec<NodeId> {
    run_until(world, "node 0 has the block", |world| world.nodes[0].disk.blocks().len() as u64 > height);
    let blocks = world.nodes[0].disk.blocks();
    blocks[height as usize].certificate.signatures.iter().map(|(node, _)| *node).collect()
}

/// One more block, whoever signs it.
fn go_on(world: &mut World) -> u64 {
    let height = world.oracle.height();
    workload::approve_some_verifier(world, 0).expect("is proposed");
    run_until(world, "the network takes an event", |world| world.oracle.height() > height);
    calm_down(world);
    world.oracle.height() as u64 - 1
}

#[test]
fn a_validator_that_lost_its_disk_is_silent_until_it_cannot_contradict_itself() {
    let mut world = founded(4, 4);
    let lost = world.nodes[3].id;
    let tip = world.oracle.height() as u64 - 1;
    world.lose_disk(3);
    world.start(3).expect("starts");
    run_until(&mut world, "the others tell how far they are", |world| {
        matches!(world.nodes[3].disk.memory(), Memory::LostUntil(_))
    });
    let until = tip + SIGNED_ABOVE_TIP_MAX;
    assert_eq!(world.nodes[3].disk.memory(), Memory::LostUntil(Height(until)));
    calm_down(&mut world);
    assert_eq!(view(&world, 3).silence, Some(Silence::UntilHeight { height: Height(until) }));
    // It stays so across a restart.
    world.cut_power(3);
    world.start(3).expect("starts");
    for height in tip + 1..=until {
        assert_eq!(go_on(&mut world), height);
        assert!(!signers(&mut world, height).contains(&lost), "it signs nothing at height {height}");
    }
    assert_eq!(view(&world, 3).silence, None);
    // With one other missing nothing is final without it.
    world.cut_power(2);
    workload::approve_some_verifier(&mut world, 0).expect("is proposed");
    run_until(&mut world, "it votes again", |world| world.oracle.height() as u64 > until + 1);
    assert!(signers(&mut world, until + 1).contains(&lost));
}

#[test]
fn too_few_answers_leave_a_forgetful_validator_silent_and_say_how_many_are_missing() {
    let mut world = founded(4, 4);
    world.cut_power(2);
    world.lose_disk(3);
    world.start(3).expect("starts");
    let until_us = world.now_us + 60_000_000;
    world.run(until_us, |_| false).expect("runs");
    assert_eq!(world.nodes[3].disk.memory(), Memory::Lost);
    assert_eq!(view(&world, 3).silence, Some(Silence::LostLedger { answered: 2, needed: 3 }));
    world.start(2).expect("starts");
    run_until(&mut world, "the third answers", |world| matches!(world.nodes[3].disk.memory(), Memory::LostUntil(_)));
}

#[test]
fn one_of_two_that_lost_its_disk_waits_for_its_operator() {
    let mut world = founded(2, 2);
    let height = world.oracle.height();
    world.lose_disk(1);
    world.start(1).expect("starts");
    assert_eq!(height_after(&mut world, 0, 60_000_000), height, "nothing is final without it");
    let shown = view(&world, 1);
    assert!(shown.is_halted && shown.silence.is_some(), "{shown:?}");
    world.cut_power(1);
    world.after_loss = AfterLoss::Rejoin;
    world.start(1).expect("starts");
    run_until(&mut world, "it goes on as its operator wants", |world| world.oracle.height() > height);
    calm_down(&mut world);
}

#[test]
fn a_newcomer_whose_key_is_older_than_its_ledger_joins_at_once() {
    let mut world = founded(1, 1);
    world = {
        let mut again = World::new(7, 2, Mutation::None);
        again.nodes[1].disk = world.nodes[0].disk.replaced();
        again
    };
    for index in 0..2 {
        world.start(index).expect("starts");
    }
    world.with(0, |replica, now_ms| replica.found(now_ms, "test", [1; 32])).expect("runs").expect("has power").expect("founded");
    scenario::join(&mut world, 0).expect("joins");
    scenario::join(&mut world, 1).expect("joins");
    calm_down(&mut world);
    let newest = go_on(&mut world);
    assert_eq!(signers(&mut world, newest).len(), 2);
}

#[test]
fn a_halted_network_names_who_is_missing_and_goes_on_when_they_return() {
    let mut world = founded(4, 4);
    let height = world.oracle.height();
    let stopped_ms = world.clock_ms(0);
    world.cut_power(2);
    world.cut_power(3);
    workload::approve_some_verifier(&mut world, 0).expect("is proposed");
    let until_us = world.now_us + 60_000_000;
    world.run(until_us, |_| false).expect("runs");
    let shown = view(&world, 0);
    let mut missing: Vec<NodeId> = shown.absent.iter().map(|absent| absent.node).collect();
    missing.sort_unstable();
    let mut expected = vec![world.nodes[2].id, world.nodes[3].id];
    expected.sort_unstable();
    assert_eq!((shown.is_halted, missing, world.oracle.height()), (true, expected, height));
    let heard_last = shown.absent.iter().all(|absent| absent.since_ms.abs_diff(stopped_ms) < 15_000);
    assert!(heard_last, "since about {stopped_ms}: {:?}", shown.absent);
    assert!(shown.running.is_some_and(|running| running.height.0 as usize == height));
    for index in [2, 3] {
        world.start(index).expect("starts");
    }
    run_until(&mut world, "it goes on by itself", |world| world.oracle.height() > height);
    calm_down(&mut world);
    let shown = view(&world, 0);
    assert!(!shown.is_halted && shown.absent.is_empty() && shown.running.is_none(), "{shown:?}");
}
