//! A judge without a pipeline: the plan of a real node, with the work done by whoever calls.
//!
//! The simulator of the consensus runs one on each of its nodes, in virtual time. It takes the steps as [`super::driver`] does;
//! what a run, a look at a candidate or a comparison comes to is asked of a [`Workshop`]. Owns what a kill takes away; the seals
//! are on the caller's disk.

use super::plan::{Fact, Planner, Progress, Step, Vouching, Work};
use super::sealed::{FileNames, RunResult, Sealed};
use crate::config::JudgePatience;
use pyrsia_ledger::event::{
    BuildCandidateVouched, BuildDisputed, BuildOutcome, BuildResultCommitted, BuildResultRevealed, BuildWaitEnded, DisputeReport,
    Vouch,
};
use pyrsia_ledger::projection::builds::{Build, Candidate};
use pyrsia_ledger::{BuildId, Event, Height, NodeId, Projections};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Steps of one build that are taken in a row.
const STEPS_IN_A_ROW_MAX: usize = 8;

/// A sealed result: the salt, and what is bound to it.
pub(crate) type Seal = ([u8; 32], BuildOutcome);

/// The work of a judge.
pub(crate) trait Workshop {
    /// What a run comes to, and how long it takes.
    fn run(&mut self, id: &BuildId, build: &Build) -> (BuildOutcome, u64);
    fn seal(&mut self, id: &BuildId, outcome: BuildOutcome) -> Seal;
    fn sealed(&self, id: &BuildId) -> Option<Seal>;
    fn vouch(&mut self, own: Option<&BuildOutcome>, candidate: &Candidate<'_>) -> Vouch;
    fn compare(&mut self, state: &Projections, id: &BuildId) -> DisputeReport;
}

/// A fact that the judge wants on the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) event: Event,
    id: BuildId,
    fact: Fact,
}

#[derive(Debug)]
pub(crate) struct SimulatedJudge {
    me: NodeId,
    run_limit: Duration,
    patience: JudgePatience,
    builds: BTreeMap<BuildId, Progress>,
    /// Runs under way: what they will come to, and when they began and end.
    runs: BTreeMap<BuildId, (BuildOutcome, Range<u64>)>,
}

impl SimulatedJudge {
    pub(crate) const fn new(me: NodeId, run_limit: Duration, patience: JudgePatience) -> Self {
        Self { me, run_limit, patience, builds: BTreeMap::new(), runs: BTreeMap::new() }
    }

    /// Whether nothing is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.runs.is_empty()
    }

    /// Takes every step that can be taken; what is to be proposed is answered with [`SimulatedJudge::answered`].
    pub(crate) fn take_steps(
        &mut self,
        state: &Projections,
        silent_to: Option<Height>,
        now_ms: u64,
        workshop: &mut dyn Workshop,
    ) -> Vec<Wish> {
        let planner = Planner { me: self.me, silent_to, run_limit: self.run_limit, patience: self.patience };
        for (id, build) in state.builds.unfinished() {
            if planner.is_concerned(state, build) && !self.builds.contains_key(id) {
                self.builds.insert(*id, Progress::recalled(workshop.sealed(id).map(unsealed), false));
            }
        }
        let ended: Vec<BuildId> = self.runs.iter().filter(|(_, (_, during))| during.end <= now_ms).map(|(id, _)| *id).collect();
        for id in ended {
            if let (Some((outcome, during)), Some(progress)) = (self.runs.remove(&id), self.builds.get_mut(&id)) {
                (progress.running, progress.run_began_ms) = (false, Some(during.start));
                progress.result = Some(result(outcome));
            }
        }
        let mut wishes = vec![];
        for id in self.builds.keys().copied().collect::<Vec<_>>() {
            for _ in 0..STEPS_IN_A_ROW_MAX {
                let (Some(progress), Some(build)) = (self.builds.get_mut(&id), state.builds.get(&id)) else { break };
                planner.see(state, &id, progress, now_ms, now_ms.saturating_sub(build.requested_time_ms));
                match planner.next_step(state, &id, progress, now_ms) {
                    Step::Wait { .. } | Step::Idle => break,
                    Step::Done => {
                        self.builds.remove(&id);
                        break;
                    }
                    Step::Run => {
                        let (outcome, takes_ms) = workshop.run(&id, build);
                        progress.running = true;
                        let limit_ms = self.run_limit.as_millis() as u64;
                        let run = if takes_ms <= limit_ms {
                            (outcome, now_ms..now_ms + takes_ms)
                        } else {
                            (BuildOutcome::Abstained { reason: "it was cancelled".into() }, now_ms..now_ms + limit_ms)
                        };
                        self.runs.insert(id, run);
                    }
                    step => {
                        for (fact, event) in carry_out(self.me, state, id, progress, workshop, step) {
                            progress.proposed_ms.insert(fact, now_ms);
                            wishes.push(Wish { event, id, fact });
                        }
                    }
                }
            }
        }
        wishes
    }

    /// The ledger will not take it, for good.
    pub(crate) fn refused(&mut self, wish: &Wish) {
        if let Some(progress) = self.builds.get_mut(&wish.id).filter(|_| wish.fact != Fact::Publication) {
            progress.refused(wish.fact);
        }
    }
}

fn carry_out(
    me: NodeId,
    state: &Projections,
    id: BuildId,
    progress: &mut Progress,
    workshop: &mut dyn Workshop,
    step: Step,
) -> Vec<(Fact, Event)> {
    let build_id = id;
    match step {
        Step::Seal => {
            let result = progress.result.take().expect("what is sealed is there");
            progress.sealed = Some(Arc::new(unsealed(workshop.seal(&id, result.outcome))));
            vec![]
        }
        Step::Commit => {
            let sealed = progress.sealed.as_ref().expect("only what is sealed is committed to");
            let commitment = sealed.commitment(state.network(), &id, &me);
            vec![(Fact::Commitment, Event::BuildResultCommitted(BuildResultCommitted { build_id, commitment }))]
        }
        Step::Reveal => {
            let sealed = progress.sealed.as_ref().expect("only what is sealed is revealed");
            let (outcome, salt) = (sealed.result.outcome.clone(), sealed.salt);
            vec![(Fact::Reveal, Event::BuildResultRevealed(BuildResultRevealed { build_id, outcome: outcome.into(), salt }))]
        }
        Step::EndWait(phase) => {
            vec![(Fact::WaitEnded(phase), Event::BuildWaitEnded(BuildWaitEnded { build_id, phase }))]
        }
        Step::CheckCandidate(candidate) => {
            let own = progress.sealed.as_ref().map(|sealed| &sealed.result.outcome);
            let verdict = state.builds.candidate(&id).map(|asked| workshop.vouch(own, &asked));
            let verdict = verdict.map_or(Work::NotBegun, Work::Done);
            progress.vouching = Vouching { candidate: Some(candidate), verdict };
            vec![]
        }
        Step::Vouch { candidate, verdict } => {
            let event = Event::BuildCandidateVouched(BuildCandidateVouched { build_id, candidate, verdict });
            vec![(Fact::Vouch(candidate), event)]
        }
        Step::Compare => {
            progress.report = Work::Done(workshop.compare(state, &id));
            vec![]
        }
        Step::Dispute(report) => vec![(Fact::Dispute, Event::BuildDisputed(BuildDisputed { build_id, report }))],
        Step::Publish(events) => events.into_iter().map(|event| (Fact::Publication, Event::AddArtifact(event))).collect(),
        Step::Run | Step::Wait { .. } | Step::Idle | Step::Done => vec![],
    }
}

fn result(outcome: BuildOutcome) -> RunResult {
    RunResult { outcome, names: FileNames::new() }
}

fn unsealed((salt, outcome): Seal) -> Sealed {
    Sealed { salt, result: result(outcome) }
}
