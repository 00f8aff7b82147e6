//! How each judge stands: in one build, and in all that it judged.

use super::Builds;
use crate::coordinate::BuildId;
use crate::event::BuildOutcome;
use crate::identity::NodeId;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// How a judge stands in a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgeState {
    /// Has committed to nothing yet.
    Building,
    /// Has committed to a result and not shown it.
    Committed,
    /// Has shown what it built, and there is no agreement to hold it against.
    Revealed,
    /// Built what is agreed on, to the last bit.
    Agrees,
    /// Built the same but for noise that the verifier forgives.
    AgreesAfterPasses,
    /// Built something else than what is agreed on.
    Dissents,
    Failed,
    Abstained,
    /// Had not committed when a majority would not wait any longer.
    TimedOut,
    /// Had committed, and not shown its result when a majority would not wait any longer.
    Withheld,
    /// Showed a result that does not count: too late, or without a commitment.
    Late,
    /// Ceased to be authorized while the build was judged.
    Left,
}

/// What became of a judge's builds, each as it stood when the judging was over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Tally {
    pub agreed: u64,
    pub dissented: u64,
    pub failed: u64,
    pub abstained: u64,
    pub timed_out: u64,
    pub withheld: u64,
}

impl Builds {
    /// How a judge of this build stands; of a node that is no judge of it, as if it had done nothing.
    pub fn judge_state(&self, id: &BuildId, judge: &NodeId) -> JudgeState {
        let Some(build) = self.get(id) else { return JudgeState::Building };
        if build.left.contains(judge) {
            return JudgeState::Left;
        }
        let Some(revealed) = self.result(id, judge) else {
            let has_committed = self.commitments.contains(id, judge);
            return match (has_committed, build.withheld_at, build.timed_out_at) {
                (true, Some(_), _) => JudgeState::Withheld,
                (true, None, _) => JudgeState::Committed,
                (false, _, Some(_)) => JudgeState::TimedOut,
                (false, _, None) => JudgeState::Building,
            };
        };
        match (&*revealed.outcome, revealed.digests, &build.agreement) {
            _ if !revealed.counted => JudgeState::Late,
            (BuildOutcome::Failed { .. }, ..) => JudgeState::Failed,
            (BuildOutcome::Abstained { .. }, ..) => JudgeState::Abstained,
            (_, Some(digests), Some(agreement)) if digests.raw == agreement.result => JudgeState::Agrees,
            (_, Some(digests), Some(agreement)) if digests.canonical == agreement.canonical => JudgeState::AgreesAfterPasses,
            (_, _, Some(_)) => JudgeState::Dissents,
            (_, _, None) => JudgeState::Revealed,
        }
    }

    /// How the builds that a node judged turned out for it.
    pub fn tally(&self, node: &NodeId) -> Tally {
        self.tallies.get(node).copied().unwrap_or_default()
    }

    pub fn tallies(&self) -> impl DoubleEndedIterator<Item = (&NodeId, &Tally)> {
        self.tallies.iter()
    }

    /// Counts in how a judge stands, once the judging is over or it shows its result after that.
    pub(super) fn count_in(&mut self, id: &BuildId, judge: &NodeId) {
        let mut tally = self.tally(judge);
        let count = match self.judge_state(id, judge) {
            JudgeState::Agrees | JudgeState::AgreesAfterPasses => &mut tally.agreed,
            JudgeState::Dissents => &mut tally.dissented,
            JudgeState::Failed => &mut tally.failed,
            JudgeState::Abstained => &mut tally.abstained,
            JudgeState::TimedOut => &mut tally.timed_out,
            JudgeState::Withheld => &mut tally.withheld,
            JudgeState::Building | JudgeState::Committed | JudgeState::Revealed | JudgeState::Late | JudgeState::Left => return,
        };
        *count += 1;
        self.tallies.put(*judge, tally);
    }
}
