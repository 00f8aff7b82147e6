//! One seed's story: a network is founded, grows, suffers, and must be well when the suffering ends.

use super::Summary;
use super::disk::Flushes;
use super::workload;
use super::world::{Weather, World};
use std::collections::BTreeSet;

const STEPS: u64 = 40;
const STEP_US_MAX: u64 = 3_000_000;
/// How long a healed network may take to be well again: some timeouts at their cap.
const HEALING_US: u64 = 600_000_000;
/// The smallest number of members that bears a malicious one.
const MEMBERS_WITH_A_LIAR_MIN: usize = 4;

/// What is special about a seed.
struct Plan {
    nodes: usize,
    /// How many of them are to be members; the others are regular nodes.
    members: usize,
    has_liar: bool,
}

fn plan(world: &mut World) -> Plan {
    let members = 1 + world.random.below(7) as usize;
    let has_liar = members >= MEMBERS_WITH_A_LIAR_MIN && world.random.percent(40);
    Plan { nodes: world.nodes.len(), members: members.min(world.nodes.len()), has_liar }
}

fn weather(world: &mut World) -> Weather {
    // In a storm proposals are lost round after round.
    let is_storm = world.random.percent(15);
    let loss_percent = if is_storm { 40 + world.random.below(30) } else { world.random.below(4) * 6 };
    let duplicate_percent = world.random.below(3) * 3;
    let delay_us = (200, 5_000 + world.random.below(if is_storm { 2_000_000 } else { 400_000 }));
    Weather { loss_percent, duplicate_percent, delay_us, ..Weather::calm(world.nodes.len()) }
}

pub(super) fn run(seed: u64, flushes: Flushes) -> Result<Summary, String> {
    let nodes = 5 + (seed % 3) as usize;
    let mut world = World::new(seed, nodes, flushes);
    let plan = plan(&mut world);
    for index in 0..plan.nodes {
        world.start(index)?;
    }
    let founded = world.with(0, |replica, now_ms| replica.found(now_ms, "simulated", [7; 32]))?;
    if !matches!(founded, Some(Ok(_))) {
        return Err(format!("the network is not founded: {founded:?}"));
    }
    world.weather = weather(&mut world);
    let mut liar = None;
    for step in 0..STEPS {
        act(&mut world, &plan)?;
        suffer(&mut world, &plan, liar);
        revive(&mut world)?;
        let members = member_count(&world);
        if plan.has_liar && liar.is_none() && step > STEPS / 3 && members >= MEMBERS_WITH_A_LIAR_MIN {
            liar = some_member(&mut world);
            if let Some(liar) = liar {
                world.corrupt(liar);
            }
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
    Ok(world.summary)
}

fn member_count(world: &World) -> usize {
    world.oracle.state().map_or(0, |state| state.members.nodes().len())
}

/// A member to be corrupted: not the founder, who writes the workload when nobody else can.
fn some_member(world: &mut World) -> Option<usize> {
    let state = world.oracle.state()?.clone();
    let members: Vec<usize> = (1..world.nodes.len()).filter(|index| state.members.contains(&world.nodes[*index].id)).collect();
    world.random.pick(&members).copied()
}

/// People and builds go about their business.
fn act(world: &mut World, plan: &Plan) -> Result<(), String> {
    let candidate = world.random.below(plan.members as u64) as usize;
    // The founder mostly comes first: the first one it lets in takes its right away.
    let candidate = if member_count(world) == 0 && world.random.percent(90) { 0 } else { candidate };
    match world.random.below(6) {
        0 | 1 => workload::approve_member(world, world.nodes[candidate].id)?,
        2 => workload::request_build(world)?,
        _ => {
            let author = world.random.below(plan.members as u64) as usize;
            workload::approve_some_verifier(world, author)?;
        }
    }
    workload::go_on_with_builds(world)
}

/// Power fails, the network falls apart. With a liar about, at most one more honest node is without power most of the time.
fn suffer(world: &mut World, plan: &Plan, liar: Option<usize>) {
    let honest = world.honest();
    let down = honest.iter().filter(|index| !world.is_up(**index)).count();
    let bearable = if liar.is_some() { 0 } else { 1 };
    if world.random.percent(35)
        && (down <= bearable || world.random.percent(15))
        && let Some(&index) = world.random.pick(&honest)
        && world.is_up(index)
    {
        world.cut_power(index);
    }
    if world.random.percent(10) {
        world.summary.partitions += 1;
        world.weather.sides = (0..plan.nodes).map(|_| world.random.percent(50)).collect();
    } else if world.random.percent(50) {
        world.weather.sides = vec![false; plan.nodes];
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
        world.honest().into_iter().filter(|index| state.validators().contains(&world.nodes[*index].id)).collect()
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
    Err(format!("not alive {when}: the chain has {} blocks, {}", world.oracle.height(), told.join("; ")))
}

pub(super) fn is_settled(world: &World) -> bool {
    let honest = world.honest();
    let replicas: Vec<_> = honest.iter().filter_map(|index| world.nodes[*index].replica.as_ref()).collect();
    let tips: BTreeSet<_> = replicas.iter().map(|replica| replica.state().map(|state| state.tip())).collect();
    replicas.len() == honest.len() && tips.len() == 1 && !tips.contains(&None) && replicas.iter().all(|replica| replica.is_idle())
}
