//! How builds and their judges stand, read off the newest state of the ledger: the same on every node.

use pyrsia_ledger::projection::builds::{Build, BuildStatus, Tally};
use pyrsia_ledger::{BuildId, NodeId, Projections};
use std::collections::BTreeMap;

/// What something is still to come of, judge by judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgingSummary {
    /// In the order that a build goes through them, those without a build as well.
    pub phases: Vec<PhaseSummary>,
    /// The authorized nodes.
    pub judges: Vec<JudgeSummary>,
    /// Published builds without a majority that can be trusted.
    pub at_risk: u64,
}

/// The unfinished builds of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseSummary {
    pub phase: &'static str,
    pub builds: u64,
    /// Commitments, results, or words about a candidate that these builds wait for.
    pub missing_answers: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JudgeSummary {
    pub node: NodeId,
    /// What became of the builds that are over.
    pub builds: Tally,
    /// How many unfinished builds wait for it.
    pub owes: u64,
}

const PHASES: [&str; 5] = ["committing", "revealing", "vouching", "agreed", "disputed"];

/// Costs a look at every unfinished build.
pub fn judging(state: &Projections) -> JudgingSummary {
    let mut phases = PHASES.map(|phase| PhaseSummary { phase, builds: 0, missing_answers: 0 });
    let mut owed: BTreeMap<NodeId, u64> = BTreeMap::new();
    for (id, build) in state.builds.unfinished() {
        let Some((phase, missing)) = phase_of(state, id, build) else { continue };
        phases[phase].builds += 1;
        phases[phase].missing_answers += missing.len() as u64;
        for judge in missing {
            *owed.entry(judge).or_default() += 1;
        }
    }
    let judge = |node: NodeId| JudgeSummary {
        node,
        builds: state.builds.tally(&node),
        owes: owed.get(&node).copied().unwrap_or_default(),
    };
    JudgingSummary {
        phases: phases.to_vec(),
        judges: state.members.nodes().into_iter().map(judge).collect(),
        at_risk: state.builds.all_at_risk().count() as u64,
    }
}

/// The phase of an unfinished build, as an index of [`PHASES`], and the judges whose answers it waits for.
fn phase_of(state: &Projections, id: &BuildId, build: &Build) -> Option<(usize, Vec<NodeId>)> {
    let builds = &state.builds;
    let awaited = |is_missing: &dyn Fn(&NodeId) -> bool| build.active().filter(|judge| is_missing(judge)).copied().collect();
    Some(match build.status {
        BuildStatus::Committing => (0, awaited(&|judge| builds.commitment(id, judge).is_none())),
        BuildStatus::Revealing => {
            (1, awaited(&|judge| builds.commitment(id, judge).is_some() && builds.result(id, judge).is_none()))
        }
        BuildStatus::Vouching { .. } => (2, awaited(&|judge| builds.must_vouch(id, judge))),
        BuildStatus::Agreed { .. } => (3, vec![]),
        BuildStatus::Disputed { .. } => (4, vec![]),
        BuildStatus::Published { .. } | BuildStatus::Failed => return None,
    })
}
