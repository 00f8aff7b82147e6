//! What the people and builds behind the nodes want: members are approved, verifiers too, packages asked for, built by every
//! judge, and published. Several nodes want the same thing at once, as they will.

use super::world::World;
use pyrsia_ledger::event::{
    AddArtifact, BuildOutcome, BuildRequested, BuildResultReported, BuildSource, BuiltArtifact, NodeAuthorizationApproved,
    VerifierApproved,
};
use pyrsia_ledger::{ArtifactId, Event, NodeId, PackageCoordinate, PackageType, Projections, Sha256Digest};

const PACKAGES: u64 = 4;
const ARTIFACTS_PER_BUILD: u64 = 3;

fn package_type() -> PackageType {
    PackageType::new("simulated").expect("the constant is a package type")
}

/// Every honest validator with power approves `node` if it has not: the operators have talked to each other.
pub(super) fn approve_member(world: &mut World, node: NodeId) -> Result<(), String> {
    propose_everywhere(world, |state, me| {
        let is_done = state.members.contains(&node)
            || state.members.candidate(&node).is_some_and(|candidate| candidate.approvals.contains(&me));
        let may = state.validators().contains(&me);
        if may && !is_done { vec![Event::NodeAuthorizationApproved(NodeAuthorizationApproved { node })] } else { vec![] }
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
    let source = BuildSource { kind: "git".into(), location: "nowhere".into(), revision: "none".into() };
    let artifacts = (0..ARTIFACTS).map(|n| artifact(&format!("{name}-{n:0>500}"))).collect();
    let outcome = BuildOutcome::Built { source, artifacts };
    let events = vec![
        Event::BuildRequested(BuildRequested { build_id, coordinate, attempt, verifier }),
        Event::BuildResultReported(BuildResultReported { build_id, outcome }),
    ];
    propose(world, judge, events)
}

/// Every node that may asks for the same package.
pub(super) fn request_build(world: &mut World) -> Result<(), String> {
    let id = format!("package-{}", world.random.below(PACKAGES));
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
        })]
    })
}

/// Every judge reports what is open, and every judge publishes what is agreed on: all but one of them are late.
pub(super) fn go_on_with_builds(world: &mut World) -> Result<(), String> {
    propose_everywhere(world, |state, me| {
        let mut events = vec![];
        for (id, build) in state.builds.unfinished().filter(|(_, build)| build.judges.contains(&me)) {
            if let Some((_, chosen)) = state.builds.chosen(id) {
                events.extend(chosen.iter().map(|artifact| {
                    Event::AddArtifact(AddArtifact {
                        build_id: *id,
                        coordinate: build.coordinate.clone(),
                        artifact: artifact.clone(),
                    })
                }));
            } else if state.builds.result(id, &me).is_none() {
                let source = BuildSource { kind: "git".into(), location: "nowhere".into(), revision: id.to_string() };
                let artifacts = (0..ARTIFACTS_PER_BUILD).map(|n| artifact(&format!("{id}-{n}"))).collect();
                let outcome = BuildOutcome::Built { source, artifacts };
                events.push(Event::BuildResultReported(BuildResultReported { build_id: *id, outcome }));
            }
        }
        events
    })
}

fn artifact(name: &str) -> BuiltArtifact {
    let digest = Sha256Digest::of(name.as_bytes());
    BuiltArtifact {
        artifact_id: ArtifactId::new(name).expect("the name is an id"),
        media_type: "application/octet-stream".into(),
        size_bytes: 1,
        sha256: digest,
        canonical: digest,
        chunk_root: digest,
    }
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
