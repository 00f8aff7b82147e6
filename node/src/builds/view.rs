//! A build as it is shown: what the ledger says of it, and what this node is doing for it. The two never mix.

use pyrsia_ledger::event::{BuildOutcome, BuildSource, BuiltArtifact};
use pyrsia_ledger::projection::builds::{Agreement, BuildStatus};
use pyrsia_ledger::{BuildId, Height, NodeId, PackageCoordinate, Projections, Sha256Digest};
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct BuildView {
    pub id: BuildId,
    pub coordinate: PackageCoordinate,
    pub attempt: u32,
    pub verifier: Sha256Digest,
    pub status: BuildStatus,
    pub requested_by: NodeId,
    pub requested_at: Height,
    pub requested_time_ms: u64,
    /// In ascending order of their keys.
    pub judges: Vec<JudgeView>,
    pub agreement: Option<Agreement>,
    /// What this node is doing for the build right now; no other node knows or needs to.
    pub local: Option<LocalBuildProgress>,
}

#[derive(Clone, Debug, Serialize)]
pub struct JudgeView {
    pub node: NodeId,
    /// None while the judge has not reported.
    pub outcome: Option<OutcomeView>,
    pub height: Option<Height>,
    /// Whether it reported the build that the majority agreed on.
    pub agrees: bool,
}

/// A judge's report in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum OutcomeView {
    /// `result` is a digest over all artifacts: equal where two judges built the same to the last bit.
    Built {
        source: BuildSource,
        artifacts: usize,
        result: Sha256Digest,
    },
    Failed {
        reason: String,
    },
    Abstained {
        reason: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LocalBuildProgress {
    pub phase: LocalPhase,
    pub pipeline_build_id: Option<String>,
    /// When the phase began, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// What went wrong last, or what the pipeline said last.
    pub message: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LocalPhase {
    /// Waits for a free place among this node's builds.
    Queued,
    /// Asks the pipeline to build.
    Requesting,
    /// The pipeline builds.
    Building,
    Downloading,
    Verifying,
    /// The result is on its way into a block.
    Reporting,
}

/// What the ledger says of a build.
pub(super) fn of(state: &Projections, id: &BuildId, local: Option<LocalBuildProgress>) -> Option<BuildView> {
    let build = state.builds.get(id)?;
    let agreeing = state.builds.agreeing(id);
    let judge = |node: &NodeId| {
        let reported = state.builds.result(id, node);
        JudgeView {
            node: *node,
            outcome: reported.map(|reported| outcome(&reported.outcome)),
            height: reported.map(|reported| reported.height),
            agrees: agreeing.contains(node),
        }
    };
    Some(BuildView {
        id: *id,
        coordinate: build.coordinate.clone(),
        attempt: build.attempt,
        verifier: build.verifier,
        status: build.status.clone(),
        requested_by: build.requested_by,
        requested_at: build.requested_at,
        requested_time_ms: build.requested_time_ms,
        judges: build.judges.iter().map(judge).collect(),
        agreement: build.agreement.clone(),
        local,
    })
}

fn outcome(outcome: &BuildOutcome) -> OutcomeView {
    match outcome {
        BuildOutcome::Built { source, artifacts } => {
            let mut files: Vec<&BuiltArtifact> = artifacts.iter().collect();
            files.sort_unstable();
            let bytes = borsh::to_vec(&files).expect("writing to memory cannot fail");
            OutcomeView::Built { source: source.clone(), artifacts: artifacts.len(), result: Sha256Digest::of(&bytes) }
        }
        BuildOutcome::Failed { reason } => OutcomeView::Failed { reason: reason.clone() },
        BuildOutcome::Abstained { reason } => OutcomeView::Abstained { reason: reason.clone() },
    }
}
