//! What this node does next for one build: a pure function of the ledger, this node's own progress, and the time.
//!
//! ```text
//! run ─► seal ─► commit ─► reveal ─► check the candidate ─► vouch ─► publish, by rank
//!                     each phase: wait for the others, and say when it was long enough
//!                                     no majority ─► compare ─► dispute, by rank
//! ```
//!
//! Owns no task and changes nothing; [`super::driver`] carries the steps out.

mod progress;

use std::collections::BTreeSet;
use std::time::Duration;

use pyrsia_ledger::event::{AddArtifact, DisputeReport, GroupVerdict, Vouch, WaitPhase};
use pyrsia_ledger::projection::builds::{Build, BuildStatus};
use pyrsia_ledger::{BuildId, Height, NodeId, Projections, Sha256Digest};

use crate::config::JudgePatience;

use progress::{Phase, Reached};
pub(super) use progress::{Progress, Vouching, Work};

/// What was proposed and does not stand in a block by then is proposed again.
pub(super) const PROPOSE_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// How many of an outsider's waits judges that are heard of may take at most.
const OUTSIDERS_WAITS_MAX: u64 = 30;

/// Whose plan it is, and how long it waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planner {
    pub(super) me: NodeId,
    /// This node lost its ledger once: it may have committed to builds that were requested up to here.
    pub(super) silent_to: Option<Height>,
    /// After this a run of this node is cancelled.
    pub(super) run_limit: Duration,
    pub(super) patience: JudgePatience,
}

/// A fact this node may propose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fact {
    Commitment,
    Reveal,
    WaitEnded(WaitPhase),
    Vouch(Sha256Digest),
    Dispute,
    Publication,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Build it on this node's pipeline.
    Run,
    /// Write the result where a kill does not reach it.
    Seal,
    Commit,
    Reveal,
    EndWait(WaitPhase),
    /// Fetch the candidate and judge it, and leave the one before it alone.
    CheckCandidate(Sha256Digest),
    Vouch {
        candidate: Sha256Digest,
        verdict: Vouch,
    },
    /// Find out in words what the judges do not agree on.
    Compare,
    Dispute(DisputeReport),
    /// Propose these, in the order of the result that is published.
    Publish(Vec<AddArtifact>),
    /// Nothing before this time, unless the ledger changes.
    Wait {
        until_ms: u64,
    },
    /// Nothing, unless the ledger or work under way changes.
    Idle,
    /// Nothing any more.
    Done,
}

impl Step {
    /// This step if there is something to do, otherwise the other; of two waits the shorter.
    fn or_else(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Idle | Self::Done => other(),
            Self::Wait { until_ms } => match other() {
                Self::Idle | Self::Done => Self::Wait { until_ms },
                Self::Wait { until_ms: other_ms } => Self::Wait { until_ms: until_ms.min(other_ms) },
                step => step,
            },
            step => step,
        }
    }
}

impl Planner {
    /// Notices where the build is. To be called with each state before the plan is asked. `age_ms` is how long ago the build was
    /// requested, by the wall clock.
    pub(super) fn see(&self, state: &Projections, id: &BuildId, progress: &mut Progress, now_ms: u64, age_ms: u64) {
        let Some(build) = state.builds.get(id) else { return };
        let phase = Phase::of(&build.status);
        let seen = &mut progress.seen;
        let is_first_look = seen.opened_ms.is_none();
        let opened_ms = *seen.opened_ms.get_or_insert(now_ms);
        if seen.phase.is_none_or(|(seen, _)| seen != phase) {
            (seen.phase, seen.spoke_ms) = (Some((phase, now_ms)), None);
            progress.refusals.clear();
        }
        let has_spoken = match build.status {
            BuildStatus::Committing => state.builds.commitment(id, &self.me).is_some(),
            BuildStatus::Revealing => state.builds.result(id, &self.me).is_some(),
            BuildStatus::Vouching { .. } => state.builds.may_vouch(id, &self.me) && !state.builds.must_vouch(id, &self.me),
            _ => false,
        };
        if has_spoken {
            seen.spoke_ms.get_or_insert(now_ms);
        }
        let events = build.active().map(|judge| state.next_sequence(judge)).sum();
        if seen.judges_events.is_none_or(|(known, _)| known != events) {
            seen.judges_events = Some((events, now_ms));
        }
        let committed = build.judges.iter().filter(|judge| state.builds.commitment(id, judge).is_some()).count();
        // What stood before this node looked, as after a restart, took what the wall clock says, which may be wrong.
        let took_ms = if is_first_look { age_ms.min(millis(self.run_limit)) } else { now_ms.saturating_sub(opened_ms) };
        let reached = Reached { at_ms: now_ms, took_ms };
        if committed >= build.majority() {
            seen.majority.get_or_insert(reached);
        }
        if committed >= build.majority() + (build.judges.len() - 1) / 3 {
            seen.honest_majority.get_or_insert(reached);
        }
    }

    /// Whether this node has something to say of a build, or may come to.
    pub(super) fn is_concerned(&self, state: &Projections, build: &Build) -> bool {
        build.judges.contains(&self.me) || build.status.is_judging() && state.members.contains(&self.me)
    }

    /// The next step for a build of which this node is, or is not, a judge.
    pub(super) fn next_step(&self, state: &Projections, id: &BuildId, progress: &Progress, now_ms: u64) -> Step {
        // A ledger that was lost and is being caught up with may bring it yet.
        let Some(build) = state.builds.get(id) else { return Step::Idle };
        if !self.is_concerned(state, build) {
            return Step::Done;
        }
        let looked = Look { planner: self, state, id, build, progress, now_ms };
        if !build.is_active(&self.me) || !state.members.contains(&self.me) {
            // Its words as a judge count nothing; its results are kept until the build is closed, for others to compare.
            let is_over = build.status.is_closed() && !progress.running;
            return looked.outsiders_opinion().or_else(|| if is_over { Step::Done } else { Step::Idle });
        }
        // Also when the others have agreed already: a result that confirms or contradicts them belongs on record.
        let own = looked.own_result();
        let own_is_over = matches!(own, Step::Idle | Step::Done) && !progress.running;
        let step = own.or_else(|| looked.opinion()).or_else(|| match &build.status {
            BuildStatus::Committing | BuildStatus::Revealing => Step::Idle,
            BuildStatus::Vouching { candidate } => looked.vouch(*candidate),
            BuildStatus::Agreed { .. } => looked.publication(),
            BuildStatus::Disputed { reports } => looked.dispute(*reports),
            BuildStatus::Published { .. } | BuildStatus::Failed => Step::Done,
        });
        if step == Step::Done && !own_is_over { Step::Idle } else { step }
    }
}

/// One look at one build.
struct Look<'a> {
    planner: &'a Planner,
    state: &'a Projections,
    id: &'a BuildId,
    build: &'a Build,
    progress: &'a Progress,
    now_ms: u64,
}

impl Look<'_> {
    fn is_silent(&self) -> bool {
        self.progress.seal_lost || self.planner.silent_to.is_some_and(|height| self.build.requested_at <= height)
    }

    fn committed(&self) -> bool {
        self.state.builds.commitment(self.id, &self.planner.me).is_some()
    }

    /// From the run to the result on the ledger.
    fn own_result(&self) -> Step {
        let progress = self.progress;
        if progress.running || self.state.builds.result(self.id, &self.planner.me).is_some() {
            return Step::Idle;
        }
        let is_open = matches!(self.build.status, BuildStatus::Committing);
        let is_bound = self.committed();
        match (&progress.sealed, &progress.result) {
            // Bound by a commitment whose result is gone: there is nothing it could reveal.
            (None, _) if is_bound => Step::Idle,
            (Some(_), _) if is_open && (is_bound || self.is_silent()) => Step::Idle,
            (Some(_), _) if is_open => self.propose(Fact::Commitment, Step::Commit),
            // In time after a commitment, late and for the record without one.
            (Some(_), _) => self.propose(Fact::Reveal, Step::Reveal),
            (None, Some(_)) if progress.seal_lost => Step::Idle,
            (None, Some(_)) => Step::Seal,
            (None, None) if !is_open || progress.seal_lost => Step::Idle,
            (None, None) if self.now_ms < progress.run_after_ms => Step::Wait { until_ms: progress.run_after_ms },
            (None, None) => Step::Run,
        }
    }

    /// Whether this node still has to say what it has to say in this phase. As long as it does, it ends no time of others: their
    /// words may wait for the same block, and a block takes what one author says before what the next one says.
    fn owes_its_word(&self) -> bool {
        let progress = self.progress;
        match self.build.status {
            // A run ends by itself, at its limit.
            BuildStatus::Committing if progress.running => true,
            BuildStatus::Committing if self.committed() || progress.seal_lost => false,
            BuildStatus::Committing if self.is_silent() => progress.sealed.is_none(),
            BuildStatus::Committing => !progress.is_given_up(Fact::Commitment),
            BuildStatus::Revealing => {
                let is_bound = self.committed() && progress.sealed.is_some();
                let has_revealed = self.state.builds.result(self.id, &self.planner.me).is_some();
                is_bound && !has_revealed && !progress.is_given_up(Fact::Reveal)
            }
            BuildStatus::Vouching { candidate } => {
                self.state.builds.must_vouch(self.id, &self.planner.me) && !progress.is_given_up(Fact::Vouch(candidate))
            }
            _ => false,
        }
    }

    /// Whether this node has waited long enough in this phase.
    fn opinion(&self) -> Step {
        if self.owes_its_word() {
            return Step::Idle;
        }
        let Planner { run_limit, patience, .. } = self.planner;
        // After a time without blocks the words of the others come with this node's own, or soon after.
        let spoken_ms = self.progress.seen.spoke_ms.map_or(0, |spoke_ms| spoke_ms + millis(patience.reveal));
        let since_ms = self.progress.phase_since_ms(self.now_ms);
        let (phase, due_ms) = match &self.build.status {
            BuildStatus::Committing => {
                let opened_ms = self.progress.seen.opened_ms.unwrap_or(self.now_ms);
                let began_ms = self.progress.run_began_ms.unwrap_or(opened_ms);
                // Every judge's run has ended by then, if they are configured alike and have as much to do.
                let limit_ms = (began_ms + millis(*run_limit) + millis(patience.silence)).max(spoken_ms);
                let hurried = self.progress.seen.hurried_ms(patience);
                (WaitPhase::Committing, hurried.map_or(limit_ms, |hurried_ms| hurried_ms.min(limit_ms)))
            }
            BuildStatus::Revealing => (WaitPhase::Revealing, spoken_ms.max(since_ms + millis(patience.reveal))),
            BuildStatus::Vouching { candidate } => {
                let size_bytes = self.state.builds.candidate(self.id).map_or(0, |candidate| total_bytes(candidate.artifacts));
                let transfer_ms = size_bytes.saturating_mul(1_000) / patience.vouch_bytes_per_second.max(1);
                let due_ms = since_ms + millis(patience.vouch) + transfer_ms;
                (WaitPhase::Vouching { candidate: *candidate }, spoken_ms.max(due_ms))
            }
            _ => return Step::Idle,
        };
        self.end_wait(phase, due_ms)
    }

    /// Whether the judges have had so much time that an authorized node that is none of them ends the phase as well. Judges that
    /// are still heard of may have a long queue before this build; but not for ever, because a liar is heard of as well.
    fn outsiders_opinion(&self) -> Step {
        let Planner { me, run_limit, patience, .. } = self.planner;
        let Some(phase) = self.build.status.wait_phase().filter(|_| self.state.members.contains(me)) else { return Step::Idle };
        let since_ms = self.progress.phase_since_ms(self.now_ms);
        let wait_ms = millis(*run_limit) + millis(patience.outsider);
        let heard_ms = match (phase, self.progress.seen.judges_events) {
            (WaitPhase::Committing, Some((_, heard_ms))) => heard_ms.max(since_ms),
            _ => since_ms,
        };
        self.end_wait(phase, (heard_ms + wait_ms).min(since_ms + OUTSIDERS_WAITS_MAX * wait_ms))
    }

    fn end_wait(&self, phase: WaitPhase, due_ms: u64) -> Step {
        if self.state.builds.waits(self.id).contains(&self.planner.me) {
            return Step::Idle;
        }
        if self.now_ms < due_ms {
            return Step::Wait { until_ms: due_ms };
        }
        self.propose(Fact::WaitEnded(phase), Step::EndWait(phase))
    }

    fn vouch(&self, candidate: Sha256Digest) -> Step {
        if !self.state.builds.must_vouch(self.id, &self.planner.me) {
            return Step::Idle;
        }
        let Vouching { candidate: looked_at, verdict } = &self.progress.vouching;
        if *looked_at != Some(candidate) {
            return Step::CheckCandidate(candidate);
        }
        match verdict {
            Work::NotBegun => Step::CheckCandidate(candidate),
            Work::UnderWay => Step::Idle,
            Work::Done(verdict) => self.propose(Fact::Vouch(candidate), Step::Vouch { candidate, verdict: verdict.clone() }),
        }
    }

    /// One judge publishes, and the next one if it does not: any of them may, and doubles are refused by the ledger. Those who
    /// stand for it come first, but all of them may have been revoked since.
    fn publication(&self) -> Step {
        let supporters = self.state.builds.supporters(self.id).into_iter().map(|(judge, _)| judge);
        let mut order: Vec<NodeId> = vec![];
        for judges in [self.state.builds.agreeing(self.id), supporters.collect(), self.build.judges.clone()] {
            let may_publish =
                |judge: &NodeId| self.build.is_active(judge) && self.state.members.contains(judge) && !order.contains(judge);
            order.extend(ranked(judges.into_iter().filter(may_publish).collect(), self.id));
        }
        let Some(turn_ms) = self.turn_ms(&order, self.planner.patience.publish_rank) else { return Step::Idle };
        if self.now_ms < turn_ms {
            return Step::Wait { until_ms: turn_ms };
        }
        self.propose(Fact::Publication, Step::Publish(missing(self.state, self.id, self.build)))
    }

    /// One judge after the other says what the groups do not agree on, unless somebody has said exactly that.
    fn dispute(&self, reports: u32) -> Step {
        let nothing = if reports == 0 { Step::Idle } else { Step::Done };
        let mut standing = self.state.builds.disputes(self.id);
        if standing.any(|(judge, _)| *judge == self.planner.me) {
            return Step::Done;
        }
        let in_groups: BTreeSet<NodeId> = self.state.builds.groups(self.id).into_iter().flat_map(|group| group.judges).collect();
        let others = |judge: &&NodeId| !in_groups.contains(judge) && self.state.members.contains(judge);
        let others: Vec<NodeId> = self.build.judges.iter().filter(others).copied().collect();
        let builders = in_groups.iter().filter(|judge| self.state.members.contains(judge)).copied().collect();
        // Those who have built it know what a builder calls the files.
        let mut order = ranked(builders, self.id);
        order.extend(ranked(others, self.id));
        let Some(turn_ms) = self.turn_ms(&order, self.planner.patience.dispute_rank) else { return nothing };
        match &self.progress.report {
            Work::NotBegun if self.now_ms < turn_ms => Step::Wait { until_ms: turn_ms },
            Work::NotBegun => Step::Compare,
            Work::UnderWay => Step::Idle,
            Work::Done(report) => {
                let says_the_same = self.state.builds.disputes(self.id).any(|(_, dispute)| dispute.report == *report);
                // Bytes that this node could not have are no contradiction to one who had them.
                if says_the_same || (reports > 0 && !is_complete(report)) {
                    return Step::Done;
                }
                self.propose(Fact::Dispute, Step::Dispute(report.clone())).or_else(|| nothing)
            }
        }
    }

    /// When it is this node's turn in `order`, counted from the beginning of the phase; none if it is not in it.
    fn turn_ms(&self, order: &[NodeId], rank_delay: Duration) -> Option<u64> {
        let rank = order.iter().position(|judge| *judge == self.planner.me)? as u64;
        Some(self.progress.phase_since_ms(self.now_ms) + rank * millis(rank_delay))
    }

    fn propose(&self, fact: Fact, step: Step) -> Step {
        self.progress.propose(fact, self.now_ms, step)
    }
}

/// `judges` in an order that begins with another one for each build.
fn ranked(mut judges: Vec<NodeId>, id: &BuildId) -> Vec<NodeId> {
    let bytes = borsh::to_vec(id).expect("writing to memory cannot fail");
    let first = bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>();
    if !judges.is_empty() {
        let first = first % judges.len();
        judges.rotate_left(first);
    }
    judges
}

fn is_complete(report: &DisputeReport) -> bool {
    report.comparisons.iter().all(|comparison| !matches!(comparison.verdict, GroupVerdict::Unavailable { .. }))
}

fn total_bytes(artifacts: &[pyrsia_ledger::event::BuiltArtifact]) -> u64 {
    artifacts.iter().fold(0, |total: u64, artifact| total.saturating_add(artifact.size_bytes))
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
pub(super) mod tests;
