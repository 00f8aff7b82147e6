//! A build as it is shown: what the ledger says of it, judge by judge, and what this node is doing for it. The two never mix.
//!
//! Everything here is made for JSON, with names in snake case: an edge may hand it on as it is.

use pyrsia_ledger::event::{BuildOutcome, BuildSource, BuiltArtifact, DisputeReport, PinnedSource, Vouch};
use pyrsia_ledger::projection::builds::{Agreement, AtRisk, BuildStatus, JudgeState, ResultDigests, RevealedResult};
use pyrsia_ledger::{BuildId, Height, NodeId, PackageCoordinate, Projections, Sha256Digest};
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct BuildView {
    pub id: BuildId,
    pub coordinate: PackageCoordinate,
    pub attempt: u32,
    pub verifier: Sha256Digest,
    /// What the request is for: what the mapping of the node that requested it says.
    pub source: Option<PinnedSource>,
    pub status: BuildStatus,
    pub requested_by: NodeId,
    pub requested_at: Height,
    pub requested_time_ms: u64,
    /// When the committing was over, and when the judging was.
    pub revealing_at: Option<Height>,
    pub closed_at: Option<Height>,
    /// How many judges must agree: more than half of all of them, whoever answers.
    pub majority: usize,
    /// In ascending order of their keys.
    pub judges: Vec<JudgeView>,
    /// Judges that have waited long enough in the present phase; more than half of those still authorized end it.
    pub waits: Vec<NodeId>,
    /// What is being vouched for.
    pub candidate: Option<CandidateView>,
    /// Every word about the bytes of others, of all candidates, in the order of the ledger.
    pub vouches: Vec<VouchView>,
    /// The different results, the one of most judges first.
    pub groups: Vec<GroupView>,
    pub agreement: Option<Agreement>,
    /// Why the judges do not agree, as some of them report it.
    pub disputes: Vec<DisputeView>,
    /// Why what was published is not given out.
    pub at_risk: Option<AtRisk>,
    /// What this node is doing for the build right now; no other node knows or needs to.
    pub local: Option<LocalBuildProgress>,
}

#[derive(Clone, Debug, Serialize)]
pub struct JudgeView {
    pub node: NodeId,
    pub state: JudgeState,
    /// What the state means, as a clause: "built something else".
    pub means: &'static str,
    pub committed_at: Option<Height>,
    /// None while the judge has shown nothing.
    pub outcome: Option<OutcomeView>,
    /// When it showed its result, or else where its silence was noticed.
    pub height: Option<Height>,
    /// Whether the result came in time to count.
    pub counted: bool,
    /// Whether it came to the build that the majority agreed on.
    pub agrees: bool,
}

/// A judge's report in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OutcomeView {
    /// `result` is a digest over source and artifacts: equal where two judges built the same to the last bit; `canonical` is
    /// equal also where they differ in what the verifier forgives.
    Built {
        source: BuildSource,
        artifacts: usize,
        result: Sha256Digest,
        canonical: Sha256Digest,
    },
    Failed {
        reason: String,
    },
    Abstained {
        reason: String,
    },
}

#[derive(Clone, Debug, Serialize)]
pub struct CandidateView {
    pub result: Sha256Digest,
    /// Those who built it.
    pub judges: Vec<NodeId>,
    /// Those whose word is asked for and missing.
    pub missing: Vec<NodeId>,
    pub artifacts: Vec<BuiltArtifact>,
}

#[derive(Clone, Debug, Serialize)]
pub struct VouchView {
    pub candidate: Sha256Digest,
    pub judge: NodeId,
    pub height: Height,
    pub verdict: Vouch,
}

#[derive(Clone, Debug, Serialize)]
pub struct GroupView {
    pub result: Sha256Digest,
    pub canonical: Sha256Digest,
    pub judges: Vec<NodeId>,
    pub source: BuildSource,
    pub artifacts: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct DisputeView {
    pub judge: NodeId,
    pub height: Height,
    pub report: DisputeReport,
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
#[serde(rename_all = "snake_case")]
pub enum LocalPhase {
    /// Waits for a free place among this node's builds.
    Queued,
    /// Asks the pipeline to build.
    Requesting,
    /// The pipeline builds.
    Building,
    Downloading,
    Verifying,
    /// The result, or the commitment to it, is on its way into a block.
    Reporting,
    /// Bound to its result, and waits until all may show theirs.
    Committed,
    /// Fetches the bytes of another judge and lets the verifier look at them.
    Vouching,
    /// Finds out in words what the judges do not agree on.
    Comparing,
}

/// What the ledger says of a build.
pub(super) fn of(state: &Projections, id: &BuildId, local: Option<LocalBuildProgress>) -> Option<BuildView> {
    let (builds, build) = (&state.builds, state.builds.get(id)?);
    let judge = |node: &NodeId| {
        let (judge_state, revealed) = (builds.judge_state(id, node), builds.result(id, node));
        let silent_since = match judge_state {
            JudgeState::TimedOut => build.timed_out_at,
            JudgeState::Withheld => build.withheld_at,
            _ => None,
        };
        JudgeView {
            node: *node,
            state: judge_state,
            means: meaning(judge_state),
            committed_at: builds.commitment(id, node).map(|(height, _)| height),
            outcome: revealed.map(outcome),
            height: revealed.map(|revealed| revealed.height).or(silent_since),
            counted: revealed.is_some_and(|revealed| revealed.counted),
            agrees: matches!(judge_state, JudgeState::Agrees | JudgeState::AgreesAfterPasses),
        }
    };
    let candidate = builds.candidate(id).map(|candidate| CandidateView {
        result: candidate.result,
        judges: candidate.judges,
        missing: build.judges.iter().filter(|judge| builds.must_vouch(id, judge)).copied().collect(),
        artifacts: candidate.artifacts.to_vec(),
    });
    let vouches = builds.vouches(id).iter().map(|vouched| VouchView {
        candidate: vouched.candidate,
        judge: vouched.judge,
        height: vouched.height,
        verdict: vouched.verdict.clone(),
    });
    let groups = builds.groups(id).into_iter().map(|group| GroupView {
        result: group.result,
        canonical: group.canonical,
        judges: group.judges,
        source: group.source.clone(),
        artifacts: group.artifacts.len(),
    });
    let disputes = builds.disputes(id).map(|(judge, dispute)| DisputeView {
        judge: *judge,
        height: dispute.height,
        report: dispute.report.clone(),
    });
    Some(BuildView {
        id: *id,
        coordinate: build.coordinate.clone(),
        attempt: build.attempt,
        verifier: build.verifier,
        source: builds.source(id).cloned(),
        status: build.status.clone(),
        requested_by: build.requested_by,
        requested_at: build.requested_at,
        requested_time_ms: build.requested_time_ms,
        revealing_at: build.revealing_at,
        closed_at: build.closed_at,
        majority: build.majority(),
        judges: build.judges.iter().map(judge).collect(),
        waits: build.waits.clone(),
        candidate,
        vouches: vouches.collect(),
        groups: groups.collect(),
        agreement: build.agreement.clone(),
        disputes: disputes.collect(),
        at_risk: builds.at_risk(id).cloned(),
        local,
    })
}

const fn meaning(state: JudgeState) -> &'static str {
    match state {
        JudgeState::Building => "is building",
        JudgeState::Committed => "has a result and has not shown it",
        JudgeState::Revealed => "has shown its result",
        JudgeState::Agrees => "built the same, to the last bit",
        JudgeState::AgreesAfterPasses => "built the same but for what the verifier forgives",
        JudgeState::Dissents => "built something else",
        JudgeState::Failed => "could not build it",
        JudgeState::Abstained => "came to no result",
        JudgeState::TimedOut => "had no result in time",
        JudgeState::Withheld => "did not show the result it had committed to",
        JudgeState::Late => "showed its result too late to count",
        JudgeState::Left => "ceased to be authorized before the judging was over",
    }
}

fn outcome(revealed: &RevealedResult) -> OutcomeView {
    match (&*revealed.outcome, revealed.digests) {
        (BuildOutcome::Built { source, artifacts }, digests) => {
            let digests = digests.unwrap_or_else(|| ResultDigests::of(source, artifacts));
            OutcomeView::Built {
                source: source.clone(),
                artifacts: artifacts.len(),
                result: digests.raw,
                canonical: digests.canonical,
            }
        }
        (BuildOutcome::Failed { reason }, _) => OutcomeView::Failed { reason: reason.clone() },
        (BuildOutcome::Abstained { reason }, _) => OutcomeView::Abstained { reason: reason.clone() },
    }
}
