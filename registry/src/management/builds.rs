//! Asking for builds, and what became of them.

use super::{body, error::Refused, json, package_types};
use crate::docker;
use crate::maven;
use crate::server::Front;
use crate::wire::dispute;
use crate::wire::{
    AgreementView, BuildPackageRequest, BuildResponse, BuildRiskView, BuildState, BuildStatusRequest, BuildStatusResponse,
    BuildView, DisputeView, JudgeView, LocalBuildView, OutcomeKind, RequestBuild, RequestedBuild, RequestedState, VouchView,
    name_in_log,
};
use poem::http::StatusCode;
use poem::{Request, Response};
use pyrsia_ledger::event::BuiltArtifact;
use pyrsia_ledger::projection::builds::BuildStatus;
use pyrsia_ledger::{BuildId, PackageCoordinate, PackageType, Projections};
use pyrsia_node::{BuildReceipt, BuildWish, LocalPhase, OutcomeView};
use serde::Deserialize;

/// The most builds of one package that are listed, newest first.
const BUILDS_LISTED_MAX: usize = 100;
/// The words the seed documents put before a wish that comes to nothing.
const NOT_BUILT: &str = "Failed to initialize a build";

pub(crate) async fn request_package(front: &Front, package_type: &str, mut request: Request) -> Result<Response, Refused> {
    let asked: BuildPackageRequest = body::read(&mut request).await?;
    request_by_name(front, package_type, &asked.package).await
}

/// A wish in the form of the seed documents, where what is published needs no build.
pub(super) async fn request_by_name(front: &Front, package_type: &str, package: &str) -> Result<Response, Refused> {
    let asked = async {
        let coordinate = front.node.parse_coordinate(package_type, package).await?;
        let receipt = front.node.request_build(BuildWish { coordinate: coordinate.clone(), again: false }).await?;
        Ok((coordinate, receipt))
    };
    let (coordinate, receipt) = asked.await.map_err(|error: Refused| error.while_trying(NOT_BUILT))?;
    let answer = match receipt {
        BuildReceipt::Requested(id) | BuildReceipt::AlreadyOpen(id) => {
            BuildResponse { build_id: Some(id.to_string()), message: None }
        }
        BuildReceipt::AlreadyPublished { .. } => {
            let message = format!(
                "Artifact already exists. Fresh build not required: Artifact ID {} for type {} already exists in transparency log",
                coordinate.id,
                name_in_log(&coordinate.package_type),
            );
            BuildResponse { build_id: None, message: Some(message) }
        }
        BuildReceipt::NotPublished { build, disputed, .. } => {
            let what = if disputed { "is disputed" } else { "failed" };
            let message = format!("Build with ID {build} of {coordinate} {what}: ask for another attempt with --again");
            BuildResponse { build_id: None, message: Some(message) }
        }
    };
    Ok(json(StatusCode::OK, &answer))
}

pub(crate) async fn request(front: &Front, mut request: Request) -> Result<Response, Refused> {
    let asked: RequestBuild = body::read(&mut request).await?;
    let coordinate = front.node.parse_coordinate(&asked.package_type, &asked.package).await?;
    let receipt = front.node.request_build(BuildWish { coordinate: coordinate.clone(), again: asked.again }).await?;
    let (status, state, build_id) = match receipt {
        BuildReceipt::Requested(id) => (StatusCode::ACCEPTED, RequestedState::Requested, Some(id)),
        BuildReceipt::AlreadyOpen(id) => (StatusCode::ACCEPTED, RequestedState::AlreadyOpen, Some(id)),
        BuildReceipt::AlreadyPublished { .. } => (StatusCode::OK, RequestedState::AlreadyPublished, None),
        BuildReceipt::NotPublished { build, .. } => (StatusCode::OK, RequestedState::NotPublished, Some(build)),
    };
    let PackageCoordinate { package_type, id } = coordinate;
    Ok(json(status, &RequestedBuild { state, build_id, package_type, package: id.into() }))
}

/// The state of a build in the form of the seed documents.
pub(crate) async fn status(front: &Front, mut request: Request) -> Result<Response, Refused> {
    let asked: BuildStatusRequest = body::read(&mut request).await?;
    let (id, build) = find(front, asked.build_id.trim())?;
    let answer = match &build.status {
        BuildStatus::Committing | BuildStatus::Revealing | BuildStatus::Vouching { .. } | BuildStatus::Agreed { .. } => {
            BuildStatusResponse::Running
        }
        BuildStatus::Published { .. } => {
            let view = front.node.ledger();
            BuildStatusResponse::Success {
                artifact_urls: view
                    .state
                    .as_deref()
                    .map_or(vec![], |state| artifact_urls(state, &id, &build.coordinate.package_type)),
            }
        }
        BuildStatus::Failed | BuildStatus::Disputed { .. } => BuildStatusResponse::Failure(failure(&build)),
    };
    Ok(json(StatusCode::OK, &answer))
}

/// Where the artifacts of a build can be had from this node.
fn artifact_urls(state: &Projections, id: &BuildId, package_type: &PackageType) -> Vec<String> {
    let (_, artifacts) = state.builds.chosen(id).unzip();
    let path = |artifact: &BuiltArtifact| {
        let of_protocol = docker::path_of(package_type, artifact).or_else(|| maven::path_of(package_type, artifact));
        of_protocol.unwrap_or_else(|| package_types::path_of(package_type, &artifact.artifact_id))
    };
    artifacts.unwrap_or_default().iter().map(path).collect()
}

/// Why there is no result, from the reasons of the judges and their reports.
fn failure(build: &pyrsia_node::BuildView) -> String {
    let alone = build.judges.len() == 1;
    let said = |judge: &pyrsia_node::JudgeView| {
        let reason = match &judge.outcome {
            Some(OutcomeView::Failed { reason } | OutcomeView::Abstained { reason }) => reason.clone(),
            Some(OutcomeView::Built { result, .. }) => format!("built {result}"),
            None => judge.means.to_owned(),
        };
        if alone { reason } else { format!("{}: {reason}", judge.node) }
    };
    let reasons = build.judges.iter().map(said).collect::<Vec<_>>().join("; ");
    if !matches!(build.status, BuildStatus::Disputed { .. }) {
        return reasons;
    }
    let mut text = format!("the authorized nodes got different results, so that none is published: {reasons}");
    // Honest reports are the same: one tells it.
    for line in build.disputes.first().map(|dispute| dispute::lines(&dispute.report)).unwrap_or_default() {
        text.push('\n');
        text.push_str(&line);
    }
    text
}

#[derive(Deserialize)]
struct BuildsQuery {
    package_type: String,
    id: String,
}

pub(crate) async fn builds(front: &Front, request: &Request) -> Result<Response, Refused> {
    let BuildsQuery { package_type, id } = body::query(request)?;
    let coordinate = front.node.parse_coordinate(&package_type, &id).await?;
    let newest = front.node.builds_of(&coordinate).into_iter().take(BUILDS_LISTED_MAX);
    let builds: Vec<BuildView> = newest.filter_map(|id| front.node.build(&id)).map(shown).collect();
    Ok(json(StatusCode::OK, &builds))
}

pub(crate) fn build(front: &Front, id: &str) -> Result<Response, Refused> {
    Ok(json(StatusCode::OK, &build_view(front, id)?))
}

pub(crate) fn build_view(front: &Front, id: &str) -> Result<BuildView, Refused> {
    find(front, id).map(|(_, build)| shown(build))
}

fn find(front: &Front, id: &str) -> Result<(BuildId, pyrsia_node::BuildView), Refused> {
    let id: BuildId = id.parse().map_err(|error| Refused::bad_request(format!("{error}")))?;
    let build = front.node.build(&id).ok_or_else(|| Refused::not_found(format!("no build with ID {id} is known here")))?;
    Ok((id, build))
}

fn shown(build: pyrsia_node::BuildView) -> BuildView {
    let (state, published_at) = match build.status {
        BuildStatus::Committing => (BuildState::Committing, None),
        BuildStatus::Revealing => (BuildState::Revealing, None),
        BuildStatus::Vouching { .. } => (BuildState::Vouching, None),
        BuildStatus::Agreed { .. } => (BuildState::Agreed, None),
        BuildStatus::Published { height } => (BuildState::Published, Some(height)),
        BuildStatus::Failed => (BuildState::Failed, None),
        BuildStatus::Disputed { .. } => (BuildState::Disputed, None),
    };
    let vouch = |vouch: pyrsia_node::VouchView| VouchView {
        candidate: vouch.candidate,
        judge: vouch.judge,
        height: vouch.height,
        verdict: vouch.verdict,
    };
    let dispute =
        |dispute: pyrsia_node::DisputeView| DisputeView { judge: dispute.judge, height: dispute.height, report: dispute.report };
    BuildView {
        build_id: build.id,
        package_type: build.coordinate.package_type,
        package: build.coordinate.id.into(),
        attempt: build.attempt,
        state,
        verifier: build.verifier,
        source: build.source,
        requested_by: build.requested_by,
        requested_at: build.requested_at,
        requested_time_ms: build.requested_time_ms,
        revealing_at: build.revealing_at,
        closed_at: build.closed_at,
        published_at,
        majority: build.majority,
        judges: build.judges.into_iter().map(judge).collect(),
        waits: build.waits,
        vouches: build.vouches.into_iter().map(vouch).collect(),
        agreement: build.agreement.map(|agreement| AgreementView {
            result: agreement.result,
            canonical: agreement.canonical,
            artifacts: agreement.artifacts,
        }),
        disputes: build.disputes.into_iter().map(dispute).collect(),
        at_risk: build.at_risk.map(|risk| BuildRiskView { height: risk.height, lost: risk.lost }),
        local: build.local.map(|local| LocalBuildView {
            phase: phase(local.phase).to_owned(),
            pipeline_build_id: local.pipeline_build_id,
            since_ms: local.since_ms,
            message: local.message,
        }),
    }
}

fn judge(judge: pyrsia_node::JudgeView) -> JudgeView {
    let silent = JudgeView {
        node: judge.node,
        state: judge.state,
        means: judge.means.to_owned(),
        committed_at: judge.committed_at,
        outcome: None,
        height: judge.height,
        reason: None,
        source: None,
        artifacts: None,
        result: None,
        canonical: None,
        counted: judge.counted,
        agrees: judge.agrees,
    };
    match judge.outcome {
        None => silent,
        Some(OutcomeView::Built { source, artifacts, result, canonical }) => JudgeView {
            outcome: Some(OutcomeKind::Built),
            source: Some(source),
            artifacts: Some(artifacts),
            result: Some(result),
            canonical: Some(canonical),
            ..silent
        },
        Some(OutcomeView::Failed { reason }) => JudgeView { outcome: Some(OutcomeKind::Failed), reason: Some(reason), ..silent },
        Some(OutcomeView::Abstained { reason }) => {
            JudgeView { outcome: Some(OutcomeKind::Abstained), reason: Some(reason), ..silent }
        }
    }
}

const fn phase(phase: LocalPhase) -> &'static str {
    match phase {
        LocalPhase::Queued => "queued",
        LocalPhase::Requesting => "requesting",
        LocalPhase::Building => "building",
        LocalPhase::Downloading => "downloading",
        LocalPhase::Verifying => "verifying",
        LocalPhase::Reporting => "reporting",
        LocalPhase::Committed => "committed",
        LocalPhase::Vouching => "vouching",
        LocalPhase::Comparing => "comparing",
    }
}
