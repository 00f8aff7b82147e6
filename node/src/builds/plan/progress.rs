//! What this node did for a build, and since when it sees where the build is.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyrsia_ledger::Sha256Digest;
use pyrsia_ledger::event::{DisputeReport, Vouch};
use pyrsia_ledger::projection::builds::BuildStatus;

use super::{Fact, PROPOSE_AGAIN_AFTER, Step, millis};
use crate::builds::sealed::{RunResult, Sealed};
use crate::config::JudgePatience;

/// How often the ledger may say in one phase that it will never take a fact, before that is believed: the first times it may be
/// because the same fact waits for a block already.
pub(super) const REFUSALS_MAX: u32 = 3;
/// Those who are slower have so many times what a majority took, as long as liars, who need no time, may be needed for it.
const DOUBTED_TIMES: u64 = 3;

/// What this node did for a build so far. Times are milliseconds of this node's own clock, whatever it counts from.
#[derive(Clone, Debug, Default)]
pub(in crate::builds) struct Progress {
    /// Before this a run is not begun.
    pub(in crate::builds) run_after_ms: u64,
    pub(in crate::builds) running: bool,
    /// When the run that has ended had got its place among this node's runs.
    pub(in crate::builds) run_began_ms: Option<u64>,
    /// What the run came to, until it is sealed.
    pub(in crate::builds) result: Option<RunResult>,
    pub(in crate::builds) sealed: Option<Arc<Sealed>>,
    /// There is a seal that cannot be read: this node must not make another.
    pub(in crate::builds) seal_lost: bool,
    pub(in crate::builds) vouching: Vouching,
    pub(in crate::builds) report: Work<DisputeReport>,
    /// When each fact was proposed last.
    pub(in crate::builds) proposed_ms: BTreeMap<Fact, u64>,
    pub(super) refusals: BTreeMap<Fact, u32>,
    pub(super) seen: Seen,
}

/// When this node first saw where a build was. After a restart the waiting begins anew: others' opinions count as well.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) opened_ms: Option<u64>,
    pub(super) majority: Option<Reached>,
    /// The same of so many that a majority of honest judges is among them, if blocks are final at all.
    pub(super) honest_majority: Option<Reached>,
    /// The phase, and since when.
    pub(super) phase: Option<(Phase, u64)>,
    /// Since when this node's own word in this phase stands on the ledger.
    pub(super) spoke_ms: Option<u64>,
    /// How many events of the judges that are left stand on the ledger, and since when.
    pub(super) judges_events: Option<(u64, u64)>,
}

/// When so many judges had committed, and how long that took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    pub(super) at_ms: u64,
    pub(super) took_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Committing,
    Revealing,
    Vouching(Sha256Digest),
    Agreed,
    Disputed,
    Closed,
}

impl Seen {
    /// Until when those who are slower have time to commit, once a majority has.
    pub(super) fn hurried_ms(&self, patience: &JudgePatience) -> Option<u64> {
        let until = |reached: Reached, grace_ms: u64| reached.at_ms + millis(patience.commit_grace).max(grace_ms);
        let doubted = self.majority.map(|reached| until(reached, reached.took_ms * DOUBTED_TIMES));
        let sure = self.honest_majority.map(|reached| until(reached, reached.took_ms / patience.commit_grace_share.max(1)));
        doubted.into_iter().chain(sure).min()
    }
}

impl Phase {
    pub(super) fn of(status: &BuildStatus) -> Self {
        match status {
            BuildStatus::Committing => Self::Committing,
            BuildStatus::Revealing => Self::Revealing,
            BuildStatus::Vouching { candidate } => Self::Vouching(*candidate),
            BuildStatus::Agreed { .. } => Self::Agreed,
            BuildStatus::Disputed { .. } => Self::Disputed,
            BuildStatus::Published { .. } | BuildStatus::Failed => Self::Closed,
        }
    }
}

/// Work on a thread of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::builds) enum Work<T> {
    #[default]
    NotBegun,
    UnderWay,
    Done(T),
}

/// What this node knows of a candidate: that it is looked at, or the verdict.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::builds) struct Vouching {
    pub(in crate::builds) candidate: Option<Sha256Digest>,
    pub(in crate::builds) verdict: Work<Vouch>,
}

impl Progress {
    /// What was sealed before a restart, and given time to stand in a block where it was on its way.
    pub(in crate::builds) fn recalled(sealed: Option<Sealed>, seal_lost: bool) -> Self {
        Self { sealed: sealed.map(Arc::new), seal_lost, ..Self::default() }
    }

    /// The ledger will not take a fact in this phase, or has it waiting already.
    pub(in crate::builds) fn refused(&mut self, fact: Fact) {
        *self.refusals.entry(fact).or_default() += 1;
    }

    /// This node has nothing to say of it.
    pub(in crate::builds) fn refused_for_good(&mut self, fact: Fact) {
        self.refusals.insert(fact, REFUSALS_MAX);
    }

    pub(super) fn is_given_up(&self, fact: Fact) -> bool {
        self.refusals.get(&fact).is_some_and(|refusals| *refusals >= REFUSALS_MAX)
    }

    pub(super) fn phase_since_ms(&self, now_ms: u64) -> u64 {
        self.seen.phase.map_or(now_ms, |(_, since_ms)| since_ms)
    }

    /// Proposes a fact, again only when a block should have taken it.
    pub(super) fn propose(&self, fact: Fact, now_ms: u64, step: Step) -> Step {
        if self.is_given_up(fact) {
            return Step::Idle;
        }
        match self.proposed_ms.get(&fact).map(|proposed_ms| proposed_ms + millis(PROPOSE_AGAIN_AFTER)) {
            Some(until_ms) if now_ms < until_ms => Step::Wait { until_ms },
            _ => step,
        }
    }
}
