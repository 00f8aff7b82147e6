//! One build on this node: the pipeline builds, the artifacts come into the store, the verifier checks them.
//!
//! Owns the retries and the translation of everything that can go wrong into an outcome for the ledger. A pipeline that says
//! that the build failed, or whose output the verifier refuses, makes a failed build. Everything else that goes wrong is this
//! node's own trouble: it is tried again within bounds, and then the node abstains and says why. Never panics on what a
//! pipeline sends, and never puts a byte into the store under another name than its digest.

mod download;

use std::fmt;
use std::time::Duration;

use pyrsia_ledger::event::{
    ARTIFACTS_PER_BUILD_MAX, BuildOutcome, BuildResultRevealed, BuildSource, BuiltArtifact, PinnedSource, TEXT_BYTES_MAX,
};
use pyrsia_ledger::projection::builds::BuildStatus;
use pyrsia_ledger::signed::EVENT_BYTES_MAX;
use pyrsia_ledger::{ArtifactId, BuildId, Event, PackageCoordinate, Sha256Digest};
use pyrsia_verifiers::{InputFile, Outcome, PublishedArtifact, Verifier};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::Instrument;

use super::mapping_info::{MappingInfo, PinnedMapping, contradiction};
use super::notes::{Note, Notes};
use super::pipeline_client::{ArtifactUrl, PipelineClient, PipelineStatus, UNKNOWN_SOURCE, quoted};
use super::progress::LocalProgress;
use super::sealed::{FileNames, RunResult};
use super::sources::{Mapped, SourceError, Sources};
use super::view::LocalPhase;
use crate::artifacts::{ArtifactStore, Stored};
use crate::consensus::ConsensusHandle;
use crate::verifiers::Verifiers;

/// Builds that run at the same time on this node; the pipeline has a queue of its own behind them.
pub(super) const RUNS_AT_ONCE_MAX: usize = 4;
/// How often the pipeline is asked to build when it forgets the build, or is interrupted.
const PIPELINE_BUILDS_MAX: u32 = 3;
/// An instant build is noticed at once; the pause doubles up to the configured one, then grows slowly to five times that.
const FIRST_POLL: Duration = Duration::from_millis(10);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// What an event needs besides what it says: envelope, signature and the build's id.
pub(super) const ENVELOPE_BYTES: usize = 512;

/// Everything a run needs; shared by all of them.
pub(super) struct Runner {
    pub(super) consensus: ConsensusHandle,
    pub(super) pipeline: PipelineClient,
    pub(super) sources: Sources,
    pub(super) store: ArtifactStore,
    pub(super) verifiers: Verifiers,
    pub(super) notes: Notes,
    pub(super) progress: LocalProgress,
    pub(super) places: Semaphore,
    pub(super) timeouts: RunTimeouts,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct RunTimeouts {
    pub(super) build: Duration,
    pub(super) poll: Duration,
    pub(super) patience: Duration,
}

/// What is built, as the ledger says.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) id: BuildId,
    pub(super) coordinate: PackageCoordinate,
    pub(super) verifier: Sha256Digest,
    /// What the request is for, if it says so.
    pub(super) source: Option<PinnedSource>,
}

/// A run that has ended.
#[derive(Debug)]
pub(super) struct Run {
    /// When it had its place.
    pub(super) began: Instant,
    pub(super) result: RunResult,
}

/// How a run ends without artifacts.
#[derive(Debug)]
enum Ended {
    Failed(String),
    Abstained(String),
}

type Built = (BuildSource, Vec<BuiltArtifact>, FileNames);

impl Runner {
    /// Builds it when there is a place; none when others settled the build before.
    pub(super) async fn run(&self, order: &Order) -> Option<Run> {
        let _place = self.places.acquire().await.ok()?;
        let began = Instant::now();
        let view = self.consensus.view();
        let status = view.state.as_deref().and_then(|state| Some(&state.builds.get(&order.id)?.status));
        if status != Some(&BuildStatus::Committing) {
            tracing::debug!(build_id = %order.id, "the build was settled before this node began");
            return None;
        }
        Some(Run { began, result: self.result(order).await })
    }

    async fn result(&self, order: &Order) -> RunResult {
        let ended = match self.built(order).await {
            Ok((source, artifacts, names)) => match fits(order.id, BuildOutcome::Built { source, artifacts }) {
                Ok(outcome) => {
                    tracing::info!(
                        "Build with ID {} completed successfully for package type {} and package specific ID {}",
                        order.id,
                        order.coordinate.package_type.capitalised(),
                        order.coordinate.id
                    );
                    return RunResult { outcome, names };
                }
                Err(ended) => ended,
            },
            Err(ended) => ended,
        };
        match ended {
            Ended::Failed(reason) => {
                tracing::warn!("Build with ID {} failed with error: {reason}", order.id);
                RunResult { outcome: BuildOutcome::Failed { reason: text(&reason) }, names: FileNames::new() }
            }
            Ended::Abstained(reason) => {
                tracing::warn!("Build with ID {}: this node abstains: {reason}", order.id);
                RunResult::abstained(text(&reason))
            }
        }
    }

    async fn built(&self, order: &Order) -> Result<Built, Ended> {
        let limit = self.timeouts.build;
        let Ok(built) = tokio::time::timeout(limit, self.attempts(order)).await else {
            if let Some(pipeline_build_id) = self.notes.get(&order.id).and_then(|note| note.pipeline_build_id) {
                self.pipeline.cancel(&pipeline_build_id).await;
            }
            return Err(Ended::Abstained(format!("the build did not end within {} s and was cancelled", limit.as_secs())));
        };
        built
    }

    async fn attempts(&self, order: &Order) -> Result<Built, Ended> {
        let verifier = self.verifiers.module_for_a_verdict(&order.verifier).await.map_err(|error| {
            Ended::Abstained(format!(
                "this node cannot use the verifier module {} for {} packages: {error}",
                order.verifier, order.coordinate.package_type
            ))
        })?;
        let mut patience = Patience::new(order.id, self.timeouts.patience, &self.progress);
        for _ in 0..PIPELINE_BUILDS_MAX {
            let pipeline_build_id = self.pipeline_build(order, &mut patience).await?;
            let Some((source, urls)) = self.finished(order, &pipeline_build_id, &mut patience).await? else { continue };
            // Also what a pipeline built that cannot tell before, or that began before this node was started again.
            if let Some(requested) = order.source.as_ref().filter(|_| source.kind != UNKNOWN_SOURCE)
                && let Some(reason) = contradiction(requested, &pinned(&source))
            {
                return Err(Ended::Abstained(reason));
            }
            self.progress.enter(&order.id, LocalPhase::Downloading);
            let files = self.download_all(order, &urls).await?;
            self.progress.enter(&order.id, LocalPhase::Verifying);
            let (artifacts, names) = self.check(order, &verifier, files).await?;
            return Ok((source, artifacts, names));
        }
        Err(Ended::Abstained(format!(
            "the pipeline forgot the build, broke down or was started again, {PIPELINE_BUILDS_MAX} times while it ran"
        )))
    }

    /// The pipeline's id of the build: the one it gave before a restart, or of a new build.
    async fn pipeline_build(&self, order: &Order, patience: &mut Patience<'_>) -> Result<String, Ended> {
        self.progress.enter(&order.id, LocalPhase::Requesting);
        if let Some(known) = self.notes.get(&order.id).and_then(|note| note.pipeline_build_id) {
            self.progress.name(&order.id, known.clone());
            return Ok(known);
        }
        let mapping = self.mapping(order, patience).await?;
        loop {
            match self.pipeline.start(&mapping).await {
                Ok(id) => {
                    patience.restored();
                    tracing::debug!(build_id = %order.id, pipeline_build_id = %id, "the pipeline has taken the build");
                    self.note(order, Some(id.clone()));
                    self.progress.name(&order.id, id.clone());
                    return Ok(id);
                }
                Err(error) if error.is_refusal() => {
                    return Err(Ended::Abstained(format!("the pipeline of this node does not build it: {error}")));
                }
                Err(error) => patience.tried(error).await?,
            }
        }
    }

    /// What the pipeline is to build: what this node's own mapping says, and only if that is what the request is for.
    async fn mapping(&self, order: &Order, patience: &mut Patience<'_>) -> Result<MappingInfo, Ended> {
        loop {
            let mapped = match &order.source {
                Some(_) => self.sources.pinned(&order.coordinate).await,
                None => self.sources.mapping(&order.coordinate).await.map(Mapped::Unknown),
            };
            match (mapped, &order.source) {
                (Ok(Mapped::Pinned(PinnedMapping { info, source })), Some(requested)) => {
                    patience.restored();
                    let other = contradiction(requested, &source);
                    return other.map_or(Ok(info), |reason| Err(Ended::Abstained(reason)));
                }
                (Ok(Mapped::Pinned(PinnedMapping { info, .. }) | Mapped::Unknown(info)), _) => return Ok(info),
                (Err(SourceError::Refused(error)), _) => {
                    return Err(Ended::Abstained(format!("the pipeline of this node does not build it: {error}")));
                }
                (Err(error), _) => patience.tried(error).await?,
            }
        }
    }

    /// Waits for the end of the pipeline's build; none when the pipeline has forgotten it, or did not live to see it.
    async fn finished(
        &self,
        order: &Order,
        pipeline_build_id: &str,
        patience: &mut Patience<'_>,
    ) -> Result<Option<(BuildSource, Vec<ArtifactUrl>)>, Ended> {
        let poll = self.timeouts.poll;
        let mut pause = FIRST_POLL.min(poll);
        loop {
            match self.pipeline.build(pipeline_build_id).await {
                Ok(build) => {
                    patience.restored();
                    match &build.status {
                        PipelineStatus::Running => {
                            self.progress.enter(&order.id, LocalPhase::Building);
                            self.progress.say(&order.id, build.phase.as_deref().map(quoted));
                        }
                        PipelineStatus::Failure(_) if build.is_interrupted() => {
                            tracing::warn!(build_id = %order.id, pipeline_build_id, "the pipeline interrupted the build");
                            self.note(order, None);
                            return Ok(None);
                        }
                        PipelineStatus::Failure(reason) => return Err(Ended::Failed(quoted(reason))),
                        PipelineStatus::Success { artifact_urls } => {
                            let urls = artifact_urls.iter().map(|url| ArtifactUrl::parse(url)).collect::<Result<_, _>>();
                            return Ok(Some((build.source(), urls.map_err(|error| Ended::Abstained(error.to_string()))?)));
                        }
                    }
                    tokio::time::sleep(pause).await;
                    pause = if pause < poll { (pause * 2).min(poll) } else { (pause * 6 / 5).min(poll * 5) };
                }
                Err(error) if error.is_not_found() => {
                    tracing::warn!(build_id = %order.id, pipeline_build_id, "the pipeline has forgotten the build");
                    self.note(order, None);
                    return Ok(None);
                }
                Err(error) => patience.tried(error).await?,
            }
        }
    }

    async fn check(
        &self,
        order: &Order,
        verifier: &Verifier,
        files: Vec<(String, Stored)>,
    ) -> Result<(Vec<BuiltArtifact>, FileNames), Ended> {
        let input = |(name, stored): &(String, Stored)| InputFile {
            name: name.clone(),
            path: self.store.blob_path(&stored.sha256),
            size_bytes: stored.size_bytes,
        };
        let inputs: Vec<InputFile> = files.iter().map(input).collect();
        let (verifier, coordinate) = (verifier.clone(), order.coordinate.id.clone());
        let span = tracing::info_span!("verify", verifier = %order.verifier, files = inputs.len());
        let checked = tokio::task::spawn_blocking(move || verifier.check(coordinate.as_str(), &inputs)).instrument(span).await;
        match checked {
            Ok(Outcome::Done(published)) => {
                let built: Vec<(BuiltArtifact, String)> =
                    published.into_iter().map(|artifact| built_artifact(artifact, &files)).collect::<Result<_, _>>()?;
                let names = built.iter().map(|(artifact, name)| (artifact.artifact_id.clone(), name.clone())).collect();
                Ok((built.into_iter().map(|(artifact, _)| artifact).collect(), names))
            }
            Ok(Outcome::Refused(refusal)) => {
                Err(Ended::Failed(format!("the verifier refuses what the pipeline built: {refusal}")))
            }
            Ok(Outcome::Abstained(abstention)) => Err(Ended::Abstained(format!("the verifier gave no verdict: {abstention}"))),
            Err(_) => Err(Ended::Abstained("the verifier was interrupted".into())),
        }
    }

    fn note(&self, order: &Order, pipeline_build_id: Option<String>) {
        if let Err(error) = self.notes.put(&order.id, &Note { pipeline_build_id }) {
            tracing::warn!(build_id = %order.id, %error, "the build is not remembered across a restart");
        }
    }
}

fn pinned(BuildSource { kind, location, revision }: &BuildSource) -> PinnedSource {
    PinnedSource { kind: kind.clone(), location: location.clone(), revision: revision.clone(), tree: None }
}

/// An artifact and what the builder called its file.
fn built_artifact(artifact: PublishedArtifact, files: &[(String, Stored)]) -> Result<(BuiltArtifact, String), Ended> {
    let PublishedArtifact { artifact_id, file, media_type, canonical, passes: _ } = artifact;
    let artifact_id =
        ArtifactId::new(artifact_id).map_err(|error| Ended::Abstained(format!("the verifier broke its contract: {error}")))?;
    let (name, stored) =
        files.get(file).ok_or_else(|| Ended::Abstained("the verifier broke its contract: it names no file".into()))?;
    let Stored { sha256, size_bytes, chunk_root } = *stored;
    Ok((BuiltArtifact { artifact_id, media_type, size_bytes, sha256, canonical, chunk_root }, name.clone()))
}

/// A result that can stand on the ledger.
fn fits(build_id: BuildId, outcome: BuildOutcome) -> Result<BuildOutcome, Ended> {
    let outcome = match outcome {
        BuildOutcome::Built { source, artifacts } => {
            // Whoever commits to what the ledger refuses could not reveal it.
            if artifacts.len() > ARTIFACTS_PER_BUILD_MAX {
                return Err(Ended::Failed(format!(
                    "it has {} artifacts, the ledger takes {ARTIFACTS_PER_BUILD_MAX}",
                    artifacts.len()
                )));
            }
            if let Some(artifact) = artifacts.iter().find(|artifact| text(&artifact.media_type) != artifact.media_type) {
                return Err(Ended::Failed(format!("the ledger does not take the media type of {}", artifact.artifact_id)));
            }
            let source =
                BuildSource { kind: text(&source.kind), location: text(&source.location), revision: text(&source.revision) };
            BuildOutcome::Built { source, artifacts }
        }
        other => other,
    };
    let event = Event::BuildResultRevealed(BuildResultRevealed { build_id, outcome: outcome.clone().into(), salt: [0; 32] });
    let size = borsh::to_vec(&event).expect("writing to memory cannot fail").len() + ENVELOPE_BYTES;
    if size > EVENT_BYTES_MAX {
        return Err(Ended::Failed(format!("its result has {size} bytes, the ledger takes {EVENT_BYTES_MAX}")));
    }
    Ok(outcome)
}

/// A text as the ledger takes it.
pub(super) fn text(text: &str) -> String {
    text_of(text, TEXT_BYTES_MAX)
}

pub(super) fn text_of(text: &str, bytes_max: usize) -> String {
    let text = &text[..text.floor_char_boundary(bytes_max)];
    // A control character of two bytes becomes a shorter space, so the text does not grow.
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

pub(super) fn causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", causes(cause)),
        None => error.to_string(),
    }
}

/// How long trouble with the pipeline is borne: from the first failed request to the last, with growing pauses between.
struct Patience<'a> {
    build_id: BuildId,
    limit: Duration,
    progress: &'a LocalProgress,
    failing_since: Option<Instant>,
    failures: u32,
}

impl<'a> Patience<'a> {
    fn new(build_id: BuildId, limit: Duration, progress: &'a LocalProgress) -> Self {
        Self { build_id, limit, progress, failing_since: None, failures: 0 }
    }

    fn restored(&mut self) {
        if self.failing_since.take().is_some() {
            self.failures = 0;
            self.progress.say(&self.build_id, None);
        }
    }

    /// Pauses before the next try, or ends the run.
    async fn tried(&mut self, error: impl fmt::Display) -> Result<(), Ended> {
        self.failures += 1;
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.limit {
            return Err(Ended::Abstained(format!(
                "{error} (tried {} times over {} s); see that the pipeline at this node's --pipeline-service-endpoint works, then ask for the build again",
                self.failures,
                since.elapsed().as_secs()
            )));
        }
        tracing::debug!(build_id = %self.build_id, %error, failures = self.failures, "the pipeline is tried again");
        self.progress.say(&self.build_id, Some(format!("{error}; trying again")));
        let pause = RETRY_FIRST * 2u32.saturating_pow(self.failures - 1).min(1 << 10);
        tokio::time::sleep(pause.min(RETRY_MAX).min(self.limit.saturating_sub(since.elapsed()))).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_cut_to_what_the_ledger_takes_between_characters() {
        let long = "é".repeat(TEXT_BYTES_MAX);
        assert_eq!(text(&long).len(), TEXT_BYTES_MAX);
        assert_eq!(text(&format!("x{long}")).len(), TEXT_BYTES_MAX - 1);
        assert_eq!(text("short"), "short");
        assert_eq!(text("two\nlines\u{1b}[31m"), "two lines [31m");
    }
}
