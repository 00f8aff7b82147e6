//! What this node does next for one build: a pure function of the ledger, this node's own progress, and the time.
//!
//! Owns no task and changes nothing; [`super::driver`] carries the steps out, [`super::run`] the longest of them.

use std::time::Duration;

use pyrsia_ledger::event::{AddArtifact, BuildOutcome};
use pyrsia_ledger::projection::builds::{Build, BuildStatus};
use pyrsia_ledger::{BuildId, NodeId, Projections, Refusal};

/// What was proposed and does not stand in a block by then is proposed again.
pub(super) const PROPOSE_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// How long the agreeing judge of each rank leaves the publication to the one before it.
pub(super) const PUBLISH_RANK_DELAY: Duration = Duration::from_secs(5);

/// What this node did for a build so far. Times are milliseconds of this node's own clock, whatever it counts from.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Before this a run is not begun.
    pub(super) run_after_ms: u64,
    pub(super) running: bool,
    /// What the run came to, until it stands on the ledger.
    pub(super) outcome: Option<BuildOutcome>,
    pub(super) reported_ms: Option<u64>,
    /// When this node first saw that the judges agree.
    pub(super) agreed_ms: Option<u64>,
    pub(super) published_ms: Option<u64>,
}

impl Progress {
    /// The ledger will never take the result that was to be reported.
    pub(super) fn refused(&mut self, result: BuildOutcome, refusal: &Refusal, now_ms: u64) {
        (self.outcome, self.reported_ms) = match (refusal, result) {
            // It was handed over before and waits for a block, however long: nothing is built again because of that.
            (Refusal::ReportedAlready { .. }, result) => (Some(result), Some(now_ms)),
            (_, BuildOutcome::Built { .. } | BuildOutcome::Failed { .. }) => {
                let reason = format!("the ledger refuses this node's result: {refusal}");
                (Some(BuildOutcome::Abstained { reason }), None)
            }
            (_, BuildOutcome::Abstained { .. }) => (None, Some(now_ms)),
        };
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Build it on this node's pipeline.
    Run,
    Report(BuildOutcome),
    /// Propose these, in the order of the result that is published.
    Publish(Vec<AddArtifact>),
    /// Nothing before this time, unless the ledger changes.
    Wait {
        until_ms: u64,
    },
    /// Nothing, unless the ledger or the run changes.
    Idle,
    /// Nothing any more.
    Done,
}

/// The next step of the node `me` for a build of which it is, or is not, a judge.
pub(super) fn next_step(state: &Projections, me: NodeId, id: &BuildId, progress: &Progress, now_ms: u64) -> Step {
    let Some(build) = state.builds.get(id).filter(|build| build.judges.contains(&me)) else { return Step::Done };
    let reported = state.builds.result(id, &me).is_some();
    if progress.running {
        // Also when the others have agreed already: a result that confirms or contradicts them belongs on record.
        return Step::Idle;
    }
    if !reported && let Some(outcome) = &progress.outcome {
        return again(progress.reported_ms, now_ms, || Step::Report(outcome.clone()));
    }
    match &build.status {
        BuildStatus::Open if reported => Step::Idle,
        // What was reported before a restart is about to stand in a block: not yet a reason to build again.
        BuildStatus::Open if now_ms < progress.run_after_ms => Step::Wait { until_ms: progress.run_after_ms },
        BuildStatus::Open => again(progress.reported_ms, now_ms, || Step::Run),
        BuildStatus::Agreed { .. } => publication(state, me, id, build, progress, now_ms),
        BuildStatus::Published { .. } | BuildStatus::Failed | BuildStatus::Disputed => Step::Done,
    }
}

fn again(proposed_ms: Option<u64>, now_ms: u64, step: impl FnOnce() -> Step) -> Step {
    match proposed_ms.map(|proposed_ms| proposed_ms + millis(PROPOSE_AGAIN_AFTER)) {
        Some(until_ms) if now_ms < until_ms => Step::Wait { until_ms },
        _ => step(),
    }
}

/// One agreeing judge publishes, and the next one if it does not: any of them may, and doubles are refused by the ledger.
fn publication(state: &Projections, me: NodeId, id: &BuildId, build: &Build, progress: &Progress, now_ms: u64) -> Step {
    let Some(rank) = rank(&state.builds.agreeing(id), me, id) else { return Step::Idle };
    let turn_ms = progress.agreed_ms.unwrap_or(now_ms) + rank * millis(PUBLISH_RANK_DELAY);
    if now_ms < turn_ms {
        return Step::Wait { until_ms: turn_ms };
    }
    again(progress.published_ms, now_ms, || Step::Publish(missing(state, id, build)))
}

/// The agreeing judges in an order that begins with another one for each build.
fn rank(agreeing: &[NodeId], me: NodeId, id: &BuildId) -> Option<u64> {
    let at = agreeing.iter().position(|judge| *judge == me)? as u64;
    let count = agreeing.len() as u64;
    let bytes = borsh::to_vec(id).expect("writing to memory cannot fail");
    let first = bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>() % count;
    Some((at + count - first) % count)
}

/// The artifacts of an agreed build that are not on the ledger yet.
fn missing(state: &Projections, id: &BuildId, build: &Build) -> Vec<AddArtifact> {
    let added: Vec<_> = state
        .packages
        .records(&build.coordinate)
        .rev()
        .take_while(|record| record.build_id == *id)
        .map(|record| &record.artifact.artifact_id)
        .collect();
    let (_, chosen) = state.builds.chosen(id).expect("a build that is agreed on has a chosen result");
    let event =
        |artifact: &_| AddArtifact { build_id: *id, coordinate: build.coordinate.clone(), artifact: Clone::clone(artifact) };
    chosen.iter().filter(|artifact| !added.contains(&&artifact.artifact_id)).map(event).collect()
}

const fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests;
