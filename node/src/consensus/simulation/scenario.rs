//! One seed's story: a network is founded, grows, shrinks and suffers, and must be well when the suffering ends.

use super::judges::{self, Crook};
use super::world::{Character, Node, Weather, World};
use super::{Mutation, Summary, workload};
use pyrsia_ledger::certificate::absolute_majority;
use pyrsia_ledger::projection::builds::Build;
use pyrsia_ledger::{BuildId, NodeId, Projections};
use std::collections::BTreeSet;

const STEPS: u64 = 40;
const STEP_US_MAX: u64 = 3_000_000;
/// How long a healed network may take to be well again: some timeouts at their cap.
const HEALING_US: u64 = 900_000_000;
/// The most members, of which every third seed may have that many.
const MEMBERS_MAX: u64 = 13;
const MEMBERS_MOSTLY_MAX: u64 = 7;
/// How long each of the first members may take to join, in calm weather.
const JOINING_US: u64 = 60_000_000;

/// What is special about a seed.
struct Plan {
    /// How many nodes are to be members; the others are regular nodes.
    members: usize,
    /// How many of them join before the suffering begins.
    first_members: usize,
    wants_malicious: bool,
    wants_crooks: u64,
    /// Whom the operators are removing, and since when its word is not to count.
    revoking: Option<(NodeId, Option<u64>)>,
}

fn plan(world: &mut World) -> Plan {
    let random = &mut world.random;
    let most = if random.percent(33) { MEMBERS_MAX } else { MEMBERS_MOSTLY_MAX };
    let members = (1 + random.below(most) as usize).min(world.nodes.len());
    let first_members = if random.percent(60) { 1 + random.below(members as u64) as usize } else { 0 };
    Plan {
        members,
        first_members,
        wants_malicious: random.percent(40),
        wants_crooks: if random.percent(60) { 1 + random.below(2) } else { 0 },
        revoking: None,
    }
}

fn weather(world: &mut World) -> Weather {
    // In a storm proposals are lost round after round.
    let is_storm = world.random.percent(15);
    let loss_percent = if is_storm { 40 + world.random.below(30) } else { world.random.below(4) * 6 };
    let duplicate_percent = world.random.below(3) * 3;
    let delay_us = (200, 5_000 + world.random.below(if is_storm { 2_000_000 } else { 400_000 }));
    Weather { loss_percent, duplicate_percent, delay_us, ..Weather::calm(world.nodes.len()) }
}

pub(super) fn run(seed: u64, mutation: Mutation) -> Result<Summary, String> {
    // Every third world is large; one or two nodes more than may become members.
    let nodes = if seed.is_multiple_of(3) { 5 + (seed / 3 % 10) as usize } else { 2 + (seed % 7) as usize };
    let mut world = World::new(seed, nodes, mutation);
    let mut plan = plan(&mut world);
    for index in 0..nodes {
        world.start(index)?;
    }
    let founded = world.with(0, |replica, now_ms| replica.found(now_ms, "simulated", [7; 32]))?;
    if !matches!(founded, Some(Ok(_))) {
        return Err(format!("the network is not founded: {founded:?}"));
    }
    // Alone the founder is a majority: builds need a verifier.
    workload::approve_some_verifier(&mut world, 0)?;
    for index in 0..plan.first_members {
        join(&mut world, index)?;
    }
    world.weather = weather(&mut world);
    for step in 0..STEPS {
        act(&mut world, &mut plan)?;
        suffer(&mut world, &plan);
        revive(&mut world)?;
        if step > STEPS / 4 {
            corrupt(&mut world, &mut plan);
        }
        let until_us = world.now_us + world.random.below(STEP_US_MAX);
        world.run(until_us, |_| false)?;
    }
    heal(&mut world)?;
    prove_alive(&mut world)?;
    for index in world.honest() {
        world.oracle.audit(world.nodes[index].id, &world.nodes[index].disk.blocks())?;
    }
    world.summary.members = member_count(&world) as u64;
    if let Some(state) = world.oracle.state() {
        judges::count(state, &mut world.summary);
    }
    Ok(world.summary)
}

/// A node is let in, by operators that see to it.
pub(super) fn join(world: &mut World, index: usize) -> Result<(), String> {
    let node = world.nodes[index].id;
    let is_member = |world: &World| world.oracle.state().is_some_and(|state| state.members.contains(&node));
    let until_us = world.now_us + JOINING_US;
    while !is_member(world) {
        if world.now_us >= until_us {
            return Err(format!("{node:?} does not become a member of a calm network"));
        }
        workload::approve_member(world, node)?;
        let soon_us = world.now_us + 100_000;
        world.run(soon_us, |_| false)?;
    }
    Ok(())
}

fn member_count(world: &World) -> usize {
    world.oracle.state().map_or(0, |state| state.members.len())
}

/// Indexes of members with a character.
fn members(world: &World, is_wanted: impl Fn(usize, Character) -> bool) -> Vec<usize> {
    let Some(state) = world.oracle.state() else { return vec![] };
    let is_it = |index: &usize| {
        let node = &world.nodes[*index];
        state.members.contains(&node.id) && is_wanted(*index, node.character)
    };
    (0..world.nodes.len()).filter(is_it).collect()
}

/// How many more validators may be faulty at once, if the set gets smaller by `leaving`: what the network promises to bear,
/// without those that lie, that are about to be expelled, and that do not know what they have signed. Below zero it is too many.
fn bearable(world: &World, leaving: usize) -> i64 {
    let Some(state) = world.oracle.state() else { return 0 };
    let expelled = members(world, |_, character| character == Character::Crooked(Crook::DoubleCommitter)).len();
    let malicious = members(world, |_, character| character == Character::Malicious).len();
    let next = state.height().next();
    let unsure = |index: usize| world.nodes[index].disk.memory().is_unsure_at(next);
    // A candidate that lost its disk after it said that it is there becomes such a member.
    let counts = |node: &Node| state.members.contains(&node.id) || state.members.candidate(&node.id).is_some();
    let forgetful = world.nodes.iter().enumerate();
    let forgetful =
        forgetful.filter(|(index, node)| counts(node) && node.character != Character::Malicious && unsure(*index)).count();
    let left = state.members.len().saturating_sub(expelled + leaving);
    (left.saturating_sub(1) / 3) as i64 - (malicious + forgetful) as i64
}

/// Whether another node that keeps its word has the newest block. What is bearable is counted by the set behind that block; when it
/// is lost, those who are to decide on it once more are the set before it.
fn is_newest_block_kept_without(world: &World, index: usize) -> bool {
    let keeps = |other: &usize| *other != index && world.nodes[*other].disk.block_count() == world.oracle.height() as u64;
    world.honest().iter().any(keeps)
}

/// Operators and users go about their business.
fn act(world: &mut World, plan: &mut Plan) -> Result<(), String> {
    let candidate = world.random.below(plan.members as u64) as usize;
    // The founder mostly comes first: the first one it lets in takes its right away.
    let candidate = if member_count(world) == 0 && world.random.percent(90) { 0 } else { candidate };
    match world.random.below(8) {
        0..=2 => workload::approve_member(world, world.nodes[candidate].id)?,
        3..=5 => workload::request_build(world)?,
        6 => revoke(world, plan),
        _ => {
            let author = world.random.below(plan.members as u64) as usize;
            workload::approve_some_verifier(world, author)?;
        }
    }
    if let Some((node, since)) = plan.revoking {
        if world.oracle.state().is_some_and(|state| state.members.contains(&node)) {
            workload::revoke_member(world, node, since)?;
        } else {
            plan.revoking = None;
        }
    }
    Ok(())
}

/// The operators agree to remove somebody, if the others can bear that.
fn revoke(world: &mut World, plan: &mut Plan) {
    let Some(height) = world.oracle.state().map(|state| state.height().0) else { return };
    let wants_liar = world.random.percent(50);
    let wanted = |index: usize, character: Character| index > 0 && (character != Character::Honest || !wants_liar);
    let chosen = world.random.pick(&members(world, wanted)).copied();
    if let (Some(index), None) = (chosen, plan.revoking) {
        // Who leaves must not leave the rest with more faults than they bear.
        let is_fault = world.nodes[index].character == Character::Malicious;
        if member_count(world) > 1 && bearable(world, 1) + i64::from(is_fault) >= 0 {
            let since = world.random.percent(50).then(|| world.random.below(height + 1));
            plan.revoking = Some((world.nodes[index].id, since));
        }
    }
}

/// Some member turns into a liar, as far as the network promises to bear it. Not the founder, who writes when nobody else can.
fn corrupt(world: &mut World, plan: &mut Plan) {
    let honest = members(world, |index, character| index > 0 && character == Character::Honest);
    let leaving = usize::from(plan.revoking.is_some());
    if plan.wants_malicious && bearable(world, leaving) > 0 {
        if let Some(&index) = world.random.pick(&honest)
            && is_newest_block_kept_without(world, index)
        {
            plan.wants_malicious = false;
            world.corrupt(index);
        }
        return;
    }
    let liars = members(world, |_, character| character != Character::Honest).len();
    let is_minority = 2 * (liars + 1) < member_count(world);
    if plan.wants_crooks > 0
        && is_minority
        && let (Some(&index), Some(&crook)) = (world.random.pick(&honest), world.random.pick(&Crook::ALL))
        // It will be expelled, and the rest must bear the same faults.
        && (crook != Crook::DoubleCommitter || bearable(world, leaving + 1) >= 0)
    {
        plan.wants_crooks -= 1;
        world.nodes[index].character = Character::Crooked(crook);
    }
}

/// Power fails, disks are lost, the network falls apart. With a liar about, at most one more node is without power most of the
/// time.
fn suffer(world: &mut World, plan: &Plan) {
    let honest = world.honest();
    let down = honest.iter().filter(|index| !world.is_up(**index)).count();
    let has_liar = honest.len() < world.nodes.len();
    let is_borne = down <= usize::from(!has_liar);
    if world.random.percent(35)
        && (is_borne || world.random.percent(15))
        && let Some(&index) = world.random.pick(&honest)
        && world.is_up(index)
    {
        // A candidate that says it is there, and loses its disk, becomes a member that does not know what it signed; one that has
        // left may be the only one yet that has the block with which it did.
        let is_stranger = world.oracle.state().is_some_and(|state| {
            let node = &world.nodes[index].id;
            let is_known = state.members.candidate(node).is_some() || state.members.former_member(node).is_some();
            !state.is_validator(node) && !is_known
        });
        let leaving = usize::from(plan.revoking.is_some());
        let may_lose_disk =
            is_stranger && index > 0 || bearable(world, leaving) > 0 && is_newest_block_kept_without(world, index);
        if may_lose_disk && world.random.percent(25) {
            world.lose_disk(index);
        } else {
            world.cut_power(index);
        }
    }
    if world.random.percent(10) {
        world.summary.partitions += 1;
        world.weather.sides = (0..world.nodes.len()).map(|_| world.random.percent(50)).collect();
    } else if world.random.percent(50) {
        world.weather.sides = vec![false; world.nodes.len()];
    }
}

fn revive(world: &mut World) -> Result<(), String> {
    for index in world.honest() {
        if !world.is_up(index) && world.random.percent(40) {
            world.start(index)?;
        }
    }
    Ok(())
}

/// The faults end: everybody must come to the same state, with nothing left to do.
fn heal(world: &mut World) -> Result<(), String> {
    world.weather = Weather::calm(world.nodes.len());
    for index in world.honest() {
        if !world.is_up(index) {
            world.start(index)?;
        }
    }
    settle(world, "after healing")
}

/// A network that is well takes one more event.
fn prove_alive(world: &mut World) -> Result<(), String> {
    let before = world.oracle.height();
    let validators: Vec<usize> = {
        let state = world.oracle.state().ok_or("there is no network")?;
        world.honest().into_iter().filter(|index| state.is_validator(&world.nodes[*index].id)).collect()
    };
    let author = *world.random.pick(&validators).ok_or("no honest validator is left")?;
    workload::approve_some_verifier(world, author)?;
    settle(world, "with one more event")?;
    if world.oracle.height() > before { Ok(()) } else { Err("a network that is well takes no event".to_owned()) }
}

fn settle(world: &mut World, when: &str) -> Result<(), String> {
    let until_us = world.now_us + HEALING_US;
    if is_settled(world) || world.run(until_us, is_settled)? {
        return Ok(());
    }
    let nodes = world.honest().into_iter().filter_map(|index| world.nodes[index].replica.as_ref());
    let told: Vec<String> = nodes.map(|replica| replica.describe()).collect();
    let open: Vec<String> = open_builds(world).into_iter().map(|(id, status)| format!("build {id} is {status}")).collect();
    Err(format!("not alive {when}: the chain has {} blocks, {}; {}", world.oracle.height(), told.join("; "), open.join("; ")))
}

/// Builds that must come to an end, and have not: each with how its judges stand.
fn open_builds(world: &World) -> Vec<(String, String)> {
    let Some(state) = world.oracle.state() else { return vec![] };
    let due = state.builds.unfinished().filter(|(_, build)| must_end(world, state, build));
    due.map(|(id, build)| (id.to_string(), describe(world, state, id, build))).collect()
}

/// Whether those that keep their word can end what a build is in.
fn must_end(world: &World, state: &Projections, build: &Build) -> bool {
    let honest = |nodes: &[NodeId]| nodes.iter().filter(|node| world.is_honest_judge(node)).count();
    let have_most = |nodes: &[NodeId]| honest(nodes) >= absolute_majority(nodes.len());
    let judges: Vec<NodeId> = build.active().filter(|judge| state.members.contains(judge)).copied().collect();
    match build.status.is_judging() {
        true => have_most(&judges) || have_most(&state.members.nodes()),
        // One is enough to publish what is agreed on, or to report a dispute.
        false => honest(&judges) > 0,
    }
}

fn describe(world: &World, state: &Projections, id: &BuildId, build: &Build) -> String {
    let judge = |judge: &NodeId| {
        let character = world.nodes.iter().find(|node| node.id == *judge).map(|node| node.character);
        let stands = if state.members.contains(judge) { "" } else { ", not authorized" };
        let waited = if build.waits.contains(judge) { ", waits no longer" } else { "" };
        format!("{judge:?} {:?} {character:?}{stands}{waited}", state.builds.judge_state(id, judge))
    };
    let judges: Vec<String> = build.judges.iter().map(judge).collect();
    format!("{:?}, {} wait no longer: {}", build.status, build.waits.len(), judges.join(", "))
}

pub(super) fn is_settled(world: &World) -> bool {
    let honest = world.honest();
    let replicas: Vec<_> = honest.iter().filter_map(|index| world.nodes[*index].replica.as_ref()).collect();
    if replicas.len() < honest.len() || !replicas.iter().all(|replica| replica.is_idle()) {
        return false;
    }
    let tips: BTreeSet<_> = replicas.iter().map(|replica| replica.state().map(|state| state.tip())).collect();
    let at_work = || honest.iter().any(|index| !world.nodes[*index].judge.is_quiet());
    tips.len() == 1 && !tips.contains(&None) && !at_work() && open_builds(world).is_empty()
}
