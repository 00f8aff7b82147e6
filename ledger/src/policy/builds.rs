//! Who may say what about a build, and when.

use super::members::has_changed;
use super::{Refusal, text, text_within};
use crate::coordinate::{ArtifactId, BuildId};
use crate::event::{
    ARTIFACTS_PER_BUILD_MAX, AddArtifact, BuildCandidateVouched, BuildDisputed, BuildOutcome, BuildRequested,
    BuildResultCommitted, BuildResultRevealed, BuildWaitEnded, DISPUTE_COMPARISONS_MAX, DISPUTE_DIFFERENCES_MAX,
    DISPUTE_PARTS_MAX, DISPUTE_TEXT_BYTES_MAX, DisputeReport, GroupVerdict, PinnedSource, Vouch, WaitPhase, commitment,
};
use crate::identity::NodeId;
use crate::projection::Projections;
use crate::projection::builds::{Build, BuildStatus};
use std::collections::BTreeSet;

/// How many builds that are not finished one node may have requested. Everybody keeps them, and looks at all of them when a
/// judge leaves; more than a node has at work, so that only one that means no good comes to it.
pub const UNFINISHED_BUILDS_PER_NODE_MAX: usize = 1_024;

pub(super) fn request(state: &Projections, author: NodeId, body: &BuildRequested) -> Result<(), Refusal> {
    if state.members.is_empty() {
        return Err(Refusal::NoAuthorizedNodes);
    }
    if !state.members.contains(&author) {
        return Err(Refusal::NotAuthorized { author });
    }
    // The judges are the validators that the header of this block names: who has the header knows them.
    if has_changed(state) {
        return Err(Refusal::SetChangesInThisBlock);
    }
    let coordinate = &body.coordinate;
    let expected = state.verifiers.current(&coordinate.package_type);
    if expected != Some(body.verifier) {
        let package_type = coordinate.package_type.clone();
        return Err(Refusal::Verifier { package_type, expected, found: body.verifier });
    }
    let attempt = state.next_attempt(coordinate);
    if body.attempt != attempt || body.build_id != state.next_build_id(coordinate) {
        return Err(Refusal::Attempt { coordinate: coordinate.clone(), expected: attempt, found: body.attempt });
    }
    if let Some(previous) = attempt.checked_sub(1) {
        let build_id = BuildId::of(state.network(), coordinate, previous);
        if state.builds.get(&build_id).is_some_and(|build| !build.status.is_closed()) {
            return Err(Refusal::BuildOpen { coordinate: coordinate.clone(), build_id });
        }
    }
    if let Some(source) = &body.source {
        pinned(source)?;
    }
    let is_within = state.builds.unfinished_of(&author) < UNFINISHED_BUILDS_PER_NODE_MAX;
    if is_within { Ok(()) } else { Err(Refusal::TooManyBuilds { author }) }
}

fn pinned(PinnedSource { kind, location, revision, tree }: &PinnedSource) -> Result<(), Refusal> {
    if kind.is_empty() || revision.is_empty() {
        return Err(Refusal::NotPinned);
    }
    [kind, location, revision].into_iter().chain(tree).try_for_each(|part| text(part))
}

/// The build, of which `author` is a judge whose word counts.
fn judged(state: &Projections, author: NodeId, build_id: BuildId) -> Result<&Build, Refusal> {
    let build = state.builds.get(&build_id).ok_or(Refusal::UnknownBuild(build_id))?;
    if !build.judges.contains(&author) {
        return Err(Refusal::NotJudge { author, build_id });
    }
    let counts = build.is_active(&author) && state.members.contains(&author);
    if counts { Ok(build) } else { Err(Refusal::LeftJudges { author, build_id }) }
}

pub(super) fn commit(state: &Projections, author: NodeId, body: &BuildResultCommitted) -> Result<(), Refusal> {
    let build_id = body.build_id;
    let build = judged(state, author, build_id)?;
    if state.builds.commitment(&build_id, &author).is_some() {
        return Err(Refusal::CommittedAlready { author, build_id });
    }
    match build.status {
        BuildStatus::Committing => Ok(()),
        _ => Err(Refusal::TooLate { build_id, status: build.status.clone() }),
    }
}

pub(super) fn reveal(state: &Projections, author: NodeId, body: &BuildResultRevealed) -> Result<(), Refusal> {
    let build_id = body.build_id;
    let build = judged(state, author, build_id)?;
    outcome(&body.outcome)?;
    if state.builds.result(&build_id, &author).is_some() {
        return Err(Refusal::RevealedAlready { author, build_id });
    }
    if let Some((_, committed)) = state.builds.commitment(&build_id, &author)
        && committed != commitment(state.network(), &build_id, &author, &body.salt, &body.outcome)
    {
        return Err(Refusal::OtherResult { author, build_id });
    }
    match build.status {
        BuildStatus::Committing => Err(Refusal::TooEarly { build_id, status: build.status.clone() }),
        _ => Ok(()),
    }
}

fn outcome(outcome: &BuildOutcome) -> Result<(), Refusal> {
    match outcome {
        BuildOutcome::Failed { reason } | BuildOutcome::Abstained { reason } => text(reason),
        BuildOutcome::Built { source, artifacts } => {
            for part in [&source.kind, &source.location, &source.revision] {
                text(part)?;
            }
            artifacts.iter().try_for_each(|artifact| text(&artifact.media_type))?;
            let distinct: BTreeSet<&ArtifactId> = artifacts.iter().map(|artifact| &artifact.artifact_id).collect();
            let fits = (1..=ARTIFACTS_PER_BUILD_MAX).contains(&artifacts.len());
            if fits && distinct.len() == artifacts.len() { Ok(()) } else { Err(Refusal::Artifacts { found: artifacts.len() }) }
        }
    }
}

/// Any authorized node may have waited long enough: of the judges those that answer may be too few to end anything.
pub(super) fn end_wait(state: &Projections, author: NodeId, body: &BuildWaitEnded) -> Result<(), Refusal> {
    let build_id = body.build_id;
    let build = state.builds.get(&build_id).ok_or(Refusal::UnknownBuild(build_id))?;
    if !state.members.contains(&author) {
        return Err(Refusal::NotAuthorized { author });
    }
    in_phase(build_id, build, body.phase)?;
    if build.waits.contains(&author) { Err(Refusal::WaitEndedAlready { author, build_id }) } else { Ok(()) }
}

/// Phases follow each other in one direction, and candidates too: none comes a second time.
fn in_phase(build_id: BuildId, build: &Build, phase: WaitPhase) -> Result<(), Refusal> {
    let found = build.status.wait_phase();
    if found == Some(phase) {
        return Ok(());
    }
    let is_ahead = match (found, phase) {
        (Some(WaitPhase::Committing), _) | (Some(WaitPhase::Revealing), WaitPhase::Vouching { .. }) => true,
        (Some(WaitPhase::Vouching { .. }), WaitPhase::Vouching { candidate }) => !build.given_up.contains(&candidate),
        _ => false,
    };
    let status = build.status.clone();
    Err(if is_ahead { Refusal::TooEarly { build_id, status } } else { Refusal::TooLate { build_id, status } })
}

pub(super) fn vouch(state: &Projections, author: NodeId, body: &BuildCandidateVouched) -> Result<(), Refusal> {
    let (build_id, candidate) = (body.build_id, body.candidate);
    let build = judged(state, author, build_id)?;
    if let Vouch::Different { reason } | Vouch::Unavailable { reason } = &body.verdict {
        text(reason)?;
    }
    in_phase(build_id, build, WaitPhase::Vouching { candidate })?;
    if state.builds.vouch(&build_id, &candidate, &author).is_some() {
        return Err(Refusal::VouchedAlready { author, build_id });
    }
    if state.builds.may_vouch(&build_id, &author) { Ok(()) } else { Err(Refusal::NoVoucher { author, build_id }) }
}

pub(super) fn dispute(state: &Projections, author: NodeId, body: &BuildDisputed) -> Result<(), Refusal> {
    let build_id = body.build_id;
    let build = judged(state, author, build_id)?;
    report(build, &body.report)?;
    if !matches!(build.status, BuildStatus::Disputed { .. }) {
        return Err(Refusal::NotDisputed(build_id));
    }
    let has_reported = state.builds.has_reported(&build_id, &author);
    if has_reported { Err(Refusal::ReportedAlready { author, build_id }) } else { Ok(()) }
}

fn report(build: &Build, report: &DisputeReport) -> Result<(), Refusal> {
    let refuse = |what| Err(Refusal::Report { what });
    if report.comparisons.len() > DISPUTE_COMPARISONS_MAX {
        return refuse("too many comparisons");
    }
    if report.comparisons.iter().map(|comparison| comparison.differences.len()).sum::<usize>() > DISPUTE_DIFFERENCES_MAX {
        return refuse("too many differences");
    }
    let mut pairs = BTreeSet::new();
    for comparison in &report.comparisons {
        let (a, b) = (comparison.a, comparison.b);
        if a == b || !build.judges.contains(&a) || !build.judges.contains(&b) || !pairs.insert((a.min(b), a.max(b))) {
            return refuse("a comparison that is not of two groups of judges, each pair once");
        }
        match &comparison.verdict {
            GroupVerdict::SameAfter { passes } if passes.len() > DISPUTE_PARTS_MAX => return refuse("too many passes"),
            GroupVerdict::SameAfter { passes } => passes.iter().try_for_each(|pass| short(pass))?,
            GroupVerdict::Undecidable { reason } | GroupVerdict::Unavailable { reason } => short(reason)?,
            GroupVerdict::Different | GroupVerdict::OtherSource => (),
        }
        for difference in &comparison.differences {
            if difference.path.len() > DISPUTE_PARTS_MAX {
                return refuse("a path with too many parts");
            }
            let texts = [&difference.artifact, &difference.what].into_iter().chain(&difference.path);
            texts.chain(&difference.a).chain(&difference.b).try_for_each(|text| short(text))?;
        }
    }
    Ok(())
}

fn short(text: &str) -> Result<(), Refusal> {
    text_within(text, DISPUTE_TEXT_BYTES_MAX)
}

pub(super) fn publication(state: &Projections, author: NodeId, body: &AddArtifact) -> Result<(), Refusal> {
    let build_id = body.build_id;
    let build = judged(state, author, build_id)?;
    let artifact_id = body.artifact.artifact_id.clone();
    if let Some(pending) = state.builds.pending(&build_id, &artifact_id) {
        let is_chosen = *pending == body.artifact && build.coordinate == body.coordinate;
        return if is_chosen { Ok(()) } else { Err(Refusal::OtherArtifact { build_id, artifact_id }) };
    }
    let (_, chosen) = state.builds.chosen(&build_id).ok_or(Refusal::NotAgreed(build_id))?;
    let is_added = chosen.iter().any(|artifact| artifact.artifact_id == artifact_id);
    Err(if is_added { Refusal::AddedAlready { build_id, artifact_id } } else { Refusal::OtherArtifact { build_id, artifact_id } })
}
