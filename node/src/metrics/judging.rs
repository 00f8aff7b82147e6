//! How builds and their judges stand, read off the newest state of the ledger.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use pyrsia_ledger::projection::builds::{Build, BuildStatus, Tally};
use pyrsia_ledger::{BuildId, NodeId, Projections};
use std::collections::BTreeMap;

use super::set;

/// `committing`, `revealing`, `vouching`, `agreed` or `disputed`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

/// A judge, and what became of its builds: `agreed`, `dissented`, `failed`, `abstained`, `timed_out` or `withheld`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JudgeLabels {
    judge: String,
    outcome: &'static str,
}

const PHASES: [&str; 5] = ["committing", "revealing", "vouching", "agreed", "disputed"];

#[derive(Clone, Default)]
pub(super) struct JudgingGauges {
    unfinished: Family<PhaseLabels, Gauge>,
    missing: Family<PhaseLabels, Gauge>,
    judged: Family<JudgeLabels, Gauge>,
    at_risk: Gauge,
}

impl JudgingGauges {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let gauges = Self::default();
        let builds = registry.sub_registry_with_prefix("pyrsia_builds");
        builds.register("unfinished", "Builds that something is to come of, by phase", gauges.unfinished.clone());
        builds.register(
            "missing_answers",
            "Answers of judges that the builds of a phase wait for: commitments, results, or words about a candidate",
            gauges.missing.clone(),
        );
        builds.register("judged", "Builds by authorized judge and by what became of them", gauges.judged.clone());
        builds.register("at_risk", "Published builds without a majority that can be trusted", gauges.at_risk.clone());
        gauges
    }

    pub(super) fn read_off(&self, state: &Projections) {
        let mut by_phase: BTreeMap<&'static str, (u64, u64)> = PHASES.iter().map(|phase| (*phase, (0, 0))).collect();
        for (id, build) in state.builds.unfinished() {
            let Some((phase, missing)) = phase_of(state, id, build) else { continue };
            let (builds, answers) = by_phase.entry(phase).or_default();
            (*builds, *answers) = (*builds + 1, *answers + missing as u64);
        }
        for (phase, (builds, answers)) in by_phase {
            set(&self.unfinished.get_or_create(&PhaseLabels { phase }), builds);
            set(&self.missing.get_or_create(&PhaseLabels { phase }), answers);
        }
        // Judges that are authorized no more leave the metrics, not the ledger.
        self.judged.clear();
        for judge in state.members.nodes() {
            let Tally { agreed, dissented, failed, abstained, timed_out, withheld } = state.builds.tally(&judge);
            let outcomes = [
                ("agreed", agreed),
                ("dissented", dissented),
                ("failed", failed),
                ("abstained", abstained),
                ("timed_out", timed_out),
                ("withheld", withheld),
            ];
            for (outcome, builds) in outcomes {
                set(&self.judged.get_or_create(&JudgeLabels { judge: judge.to_string(), outcome }), builds);
            }
        }
        set(&self.at_risk, state.builds.all_at_risk().count() as u64);
    }
}

/// The phase of an unfinished build, and how many answers of judges it waits for.
fn phase_of(state: &Projections, id: &BuildId, build: &Build) -> Option<(&'static str, usize)> {
    let builds = &state.builds;
    Some(match build.status {
        BuildStatus::Committing => ("committing", build.active().filter(|judge| builds.commitment(id, judge).is_none()).count()),
        BuildStatus::Revealing => {
            let is_missing = |judge: &&NodeId| builds.commitment(id, judge).is_some() && builds.result(id, judge).is_none();
            ("revealing", build.active().filter(is_missing).count())
        }
        BuildStatus::Vouching { .. } => ("vouching", build.active().filter(|judge| builds.must_vouch(id, judge)).count()),
        BuildStatus::Agreed { .. } => ("agreed", 0),
        BuildStatus::Disputed { .. } => ("disputed", 0),
        BuildStatus::Published { .. } | BuildStatus::Failed => return None,
    })
}
