//! How builds and their judges stand ([`crate::builds::judging`]), as gauges.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use pyrsia_ledger::Projections;
use pyrsia_ledger::projection::builds::Tally;

use super::set;
use crate::builds::judging::{JudgeSummary, JudgingSummary, PhaseSummary, judging};

/// `committing`, `revealing`, `vouching`, `agreed` or `disputed`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

/// A judge, and what became of its builds: `agreed`, `dissented`, `failed`, `abstained`, `timed_out` or `withheld`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    judge: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JudgeLabels {
    judge: String,
}

#[derive(Clone, Default)]
pub(super) struct JudgingGauges {
    unfinished: Family<PhaseLabels, Gauge>,
    missing: Family<PhaseLabels, Gauge>,
    judged: Family<OutcomeLabels, Gauge>,
    owed: Family<JudgeLabels, Gauge>,
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
        builds.register("owed", "Unfinished builds that wait for an authorized judge", gauges.owed.clone());
        builds.register("at_risk", "Published builds without a majority that can be trusted", gauges.at_risk.clone());
        gauges
    }

    pub(super) fn read_off(&self, state: &Projections) {
        let JudgingSummary { phases, judges, at_risk } = judging(state);
        for PhaseSummary { phase, builds, missing_answers } in phases {
            set(&self.unfinished.get_or_create(&PhaseLabels { phase }), builds);
            set(&self.missing.get_or_create(&PhaseLabels { phase }), missing_answers);
        }
        // Judges that are authorized no more leave the metrics, not the ledger.
        self.judged.clear();
        self.owed.clear();
        for JudgeSummary { node, builds, owes } in judges {
            let judge = node.to_string();
            let Tally { agreed, dissented, failed, abstained, timed_out, withheld } = builds;
            let outcomes = [
                ("agreed", agreed),
                ("dissented", dissented),
                ("failed", failed),
                ("abstained", abstained),
                ("timed_out", timed_out),
                ("withheld", withheld),
            ];
            for (outcome, builds) in outcomes {
                set(&self.judged.get_or_create(&OutcomeLabels { judge: judge.clone(), outcome }), builds);
            }
            set(&self.owed.get_or_create(&JudgeLabels { judge }), owes);
        }
        set(&self.at_risk, at_risk);
    }
}
