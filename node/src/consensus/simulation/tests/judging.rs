//! Judges that cheat and nodes that are expelled, one at a time, in calm weather.

use super::super::judges::Crook;
use super::super::world::Character;
use super::*;
use pyrsia_ledger::projection::builds::{BuildStatus, JudgeState};
use pyrsia_ledger::{NodeId, Projections};

/// A network of which every member approves of one verifier.
fn network_that_builds(members: usize) -> World {
    let mut world = founded(members, members);
    world.factory.is_calm = true;
    workload::approve_some_verifier(&mut world, 0).expect("is proposed");
    calm_down(&mut world);
    for author in 1..members {
        workload::approve_current_verifier(&mut world, author).expect("is proposed");
    }
    calm_down(&mut world);
    world
}

fn state(world: &World) -> &Projections {
    world.oracle.state().expect("there is a network")
}

/// The states of the judges of the only build, which is closed.
fn judged(world: &World) -> (BuildStatus, Vec<(NodeId, JudgeState)>) {
    let (id, build) = state(world).builds.iter().next().expect("a build");
    let states = build.judges.iter().map(|judge| (*judge, state(world).builds.judge_state(id, judge))).collect();
    (build.status.clone(), states)
}

#[test]
fn two_commitments_of_one_judge_are_proved_on_the_ledger_and_suspend_its_key() {
    let mut world = network_that_builds(4);
    world.nodes[3].character = Character::Crooked(Crook::DoubleCommitter);
    let liar = world.nodes[3].id;
    workload::build_number(&mut world, 0).expect("is proposed");
    calm_down(&mut world);
    let until_us = world.now_us + 60_000_000;
    let is_suspended = |world: &World| state(world).members.suspended(&liar).is_some();
    assert!(is_suspended(&world) || world.run(until_us, is_suspended).expect("runs"), "somebody reports it");
    calm_down(&mut world);
    assert_eq!(state(&world).members.len(), 3);
    assert!(matches!(judged(&world).0, BuildStatus::Published { .. }), "{:?}", judged(&world));
    let height = world.oracle.height();
    assert_eq!(height_after(&mut world, 0, 20_000_000), height + 1, "three of three go on");
}

#[test]
fn a_validator_that_votes_and_proposes_twice_is_suspended() {
    let mut world = founded(4, 4);
    world.corrupt(3);
    let liar = world.nodes[3].id;
    for _ in 0..20 {
        if state(&world).members.suspended(&liar).is_some() {
            break;
        }
        height_after(&mut world, 0, 10_000_000);
    }
    assert!(state(&world).members.suspended(&liar).is_some(), "{} contradictions seen", world.summary.equivocations);
    assert_eq!(state(&world).members.len(), 3);
    calm_down(&mut world);
}

#[test]
fn liars_alone_or_in_disguise_publish_nothing_and_stop_nobody() {
    for crook in [Crook::WrongResult, Crook::Disguise, Crook::Copier, Crook::Withholder, Crook::Meddler] {
        let mut world = network_that_builds(4);
        world.nodes[3].character = Character::Crooked(crook);
        let liar = world.nodes[3].id;
        workload::build_number(&mut world, 0).expect("is proposed");
        calm_down(&mut world);
        let (status, judges) = judged(&world);
        assert!(matches!(status, BuildStatus::Published { .. }), "{crook:?}: {status:?}, {judges:?}");
        let of_liar = judges.iter().find(|(judge, _)| *judge == liar).map(|(_, state)| *state);
        match crook {
            Crook::WrongResult => assert_eq!(of_liar, Some(JudgeState::Dissents)),
            // What is copied cannot be opened, and bytes are not the same for a claim about them.
            Crook::Disguise | Crook::Copier => assert_ne!(of_liar, Some(JudgeState::Agrees), "{crook:?}"),
            _ => {}
        }
    }
}

#[test]
fn a_revoked_node_follows_and_signs_nothing() {
    let mut world = founded(4, 4);
    let leaving = world.nodes[3].id;
    for _ in 0..20 {
        workload::revoke_member(&mut world, leaving, None).expect("is proposed");
        let soon_us = world.now_us + 500_000;
        world.run(soon_us, |_| false).expect("runs");
    }
    calm_down(&mut world);
    assert_eq!((state(&world).members.len(), state(&world).members.contains(&leaving)), (3, false));
    let height = world.oracle.height();
    assert_eq!(height_after(&mut world, 0, 20_000_000), height + 1);
    calm_down(&mut world);
    let blocks = world.nodes[3].disk.blocks();
    assert_eq!(blocks.len(), height + 1, "it has the block");
    let newest = blocks.last().expect("a block");
    assert!(newest.certificate.signatures.iter().all(|(node, _)| *node != leaving));
    let refused = world.with(3, |replica, now_ms| replica.propose_event(now_ms, some_event(1))).expect("runs");
    assert!(matches!(refused, Some(Err(ProposeError::Refused(Refusal::NotAuthorized { .. })))), "{refused:?}");
}

/// One of four claims the honest canonical digest for bytes of its own, of a package that nobody gets the same bytes of.
fn judge_disguised_bytes(mutation: Mutation) -> Result<World, String> {
    const ATTEMPTS: usize = 12;
    const NEVER_THE_SAME_BYTES: u64 = 3;
    let mut world = network_that_builds(4);
    world.mutation = mutation;
    world.nodes[3].character = Character::Crooked(Crook::Disguise);
    for _ in 0..ATTEMPTS {
        workload::build_number(&mut world, NEVER_THE_SAME_BYTES)?;
        let until_us = world.now_us + 120_000_000;
        world.run(until_us, scenario::is_settled)?;
    }
    Ok(world)
}

#[test]
fn bytes_are_published_only_after_honest_judges_looked_at_them() {
    let world = judge_disguised_bytes(Mutation::None).expect("nothing wrong is published");
    let closed: Vec<_> = state(&world).builds.iter().map(|(_, build)| build.status.clone()).collect();
    assert!(closed.len() > 6 && closed.iter().all(|status| matches!(status, BuildStatus::Published { .. })), "{closed:?}");
    let liar = world.nodes[3].id;
    let tried = state(&world).builds.iter().filter(|(id, _)| {
        let of_liar = state(&world).builds.groups(id).into_iter().find(|group| group.judges == [liar]);
        of_liar.is_some_and(|group| state(&world).builds.vouches(id).iter().any(|vouched| vouched.candidate == group.result))
    });
    assert!(tried.count() > 0, "the liar's bytes were looked at, and given up");
}

#[test]
fn judges_that_vouch_for_what_they_did_not_look_at_are_found_out() {
    let failure = judge_disguised_bytes(Mutation::VouchesUnseen).err().expect("wrong bytes are published");
    assert!(failure.contains("WRONG BYTES"), "{failure}");
}
