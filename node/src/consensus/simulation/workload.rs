//! What the people behind the nodes want: members are approved and revoked, verifiers approved, packages asked for. Several nodes
//! want the same thing at once, as they will.

use super::factory::PACKAGES;
use super::world::World;
#[cfg(test)]
use pyrsia_ledger::ArtifactId;
#[cfg(test)]
use pyrsia_ledger::event::{BuildOutcome, BuildResultCommitted, BuildResultRevealed, BuildSource, BuiltArtifact, commitment};
use pyrsia_ledger::event::{BuildRequested, NodeAuthorizationApproved, NodeRevocationApproved, PinnedSource, VerifierApproved};
use pyrsia_ledger::{Event, NodeId, PackageCoordinate, PackageType, Projections, Sha256Digest};

fn package_type() -> PackageType {
    PackageType::new("simulated").expect("the constant is a package type")
}

/// Every honest validator with power approves `node` if it has not: the operators have talked to each other.
pub(super) fn approve_member(world: &mut World, node: NodeId) -> Result<(), String> {
    propose_everywhere(world, |state, me| {
        let is_done = state.members.contains(&node)
            || state.members.suspended(&node).is_some()
            || state.members.candidate(&node).is_some_and(|candidate| candidate.approvals.contains(&me));
        let may = state.validators().contains(&me);
        if may && !is_done { vec![Event::NodeAuthorizationApproved(NodeAuthorizationApproved { node })] } else { vec![] }
    })
}

/// Every honest validator with power wants `node` out, in the same words.
pub(super) fn revoke_member(world: &mut World, node: NodeId, compromised_since: Option<u64>) -> Result<(), String> {
    let key = (node, compromised_since);
    propose_everywhere(world, |state, me| {
        let is_done = state.members.revocation(&key).is_some_and(|revocation| revocation.approvals.contains(&me));
        let may = state.members.contains(&node) && state.validators().contains(&me);
        let event = NodeRevocationApproved { node, compromised_since };
        if may && !is_done { vec![Event::NodeRevocationApproved(event)] } else { vec![] }
    })
}

/// Something that can always be said.
pub(super) fn approve_some_verifier(world: &mut World, author: usize) -> Result<(), String> {
    let module = Sha256Digest::of(&world.random.next().to_le_bytes());
    let event = Event::VerifierApproved(VerifierApproved { package_type: package_type(), module, contract_version: 1 });
    propose(world, author, vec![event])
}

/// Approves the first verifier there is, unless this node has.
#[cfg(test)]
pub(super) fn approve_current_verifier(world: &mut World, author: usize) -> Result<(), String> {
    let Some(state) = world.oracle.state() else { return Ok(()) };
    let modules = state.verifiers.modules().next().map(|((package_type, digest), _)| (package_type.clone(), *digest));
    let Some((package_type, module)) = modules else { return Ok(()) };
    propose(world, author, vec![Event::VerifierApproved(VerifierApproved { package_type, module, contract_version: 1 })])
}

/// A lone judge asks for a package and builds it, with as much to say about it as fits into one event.
#[cfg(test)]
pub(super) fn build_something_large(world: &mut World, judge: usize, name: &str) -> Result<(), String> {
    const ARTIFACTS: usize = 90;
    let coordinate = PackageCoordinate::new("simulated", name).expect("the name is a coordinate");
    let Some(state) = world.oracle.state() else { return Ok(()) };
    let (build_id, attempt) = (state.next_build_id(&coordinate), state.next_attempt(&coordinate));
    let verifier = state.verifiers.current(&package_type()).ok_or("no verifier is approved")?;
    let (salt, outcome) = ([0; 32], many_artifacts(ARTIFACTS));
    let commitment = commitment(state.network(), &build_id, &world.nodes[judge].id, &salt, &outcome);
    world.factory.made(&build_id, world.nodes[judge].id, &outcome);
    let events = vec![
        Event::BuildRequested(BuildRequested { build_id, coordinate, attempt, verifier, source: None }),
        Event::BuildResultCommitted(BuildResultCommitted { build_id, commitment }),
        Event::BuildResultRevealed(BuildResultRevealed { build_id, outcome: outcome.into(), salt }),
    ];
    propose(world, judge, events)
}

/// A result with artifacts of long names.
#[cfg(test)]
pub(super) fn many_artifacts(count: usize) -> BuildOutcome {
    let digest = Sha256Digest::of(b"");
    let artifact = |n: usize| BuiltArtifact {
        artifact_id: ArtifactId::new(format!("{n:0>500}")).expect("the name is an id"),
        media_type: "application/octet-stream".into(),
        size_bytes: 0,
        sha256: digest,
        canonical: digest,
        chunk_root: digest,
    };
    let source = BuildSource { kind: "git".into(), location: "nowhere".into(), revision: "none".into() };
    BuildOutcome::Built { source, artifacts: (0..count).map(artifact).collect() }
}

/// Every node that may asks for the same package.
pub(super) fn request_build(world: &mut World) -> Result<(), String> {
    let number = world.random.below(PACKAGES);
    build_number(world, number)
}

pub(super) fn build_number(world: &mut World, number: u64) -> Result<(), String> {
    let id = format!("package-{number}");
    let coordinate = PackageCoordinate::new("simulated", &id).expect("the name is a coordinate");
    propose_everywhere(world, |state, me| {
        let (Some(verifier), true) = (state.verifiers.current(&package_type()), state.members.contains(&me)) else {
            return vec![];
        };
        vec![Event::BuildRequested(BuildRequested {
            build_id: state.next_build_id(&coordinate),
            coordinate: coordinate.clone(),
            attempt: state.next_attempt(&coordinate),
            verifier,
            source: source(number),
        })]
    })
}

/// Of every second package it is known what it is made from.
fn source(number: u64) -> Option<PinnedSource> {
    let tree = number.is_multiple_of(4).then(|| format!("tree-{number}"));
    let [kind, location, revision] = ["git".into(), "nowhere".into(), format!("commit-{number}")];
    number.is_multiple_of(2).then_some(PinnedSource { kind, location, revision, tree })
}

fn propose_everywhere(world: &mut World, events: impl Fn(&Projections, NodeId) -> Vec<Event>) -> Result<(), String> {
    for index in world.honest() {
        let node = &world.nodes[index];
        let state = node.replica.as_ref().and_then(|replica| replica.state().cloned());
        if let Some(state) = state {
            let wanted = events(&state, node.id);
            propose(world, index, wanted)?;
        }
    }
    Ok(())
}

/// A refusal is an answer: somebody was first.
fn propose(world: &mut World, node: usize, events: Vec<Event>) -> Result<(), String> {
    for event in events {
        world.with(node, |replica, now_ms| replica.propose_event(now_ms, event).map(|_| ()))?;
    }
    Ok(())
}
