//! The builders and what they share.
//!
//! A builder gets a recipe and a [`BuildContext`]: it logs there, tells its progress, and leaves verified files in
//! [`Artifacts`]. It is a future that can be dropped at any time; the context's guard then ends what runs on other
//! threads. Records, queues and time limits are not its business.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use crate::artifacts::{ArtifactError, Artifacts};
use crate::build_log::BuildLog;
use crate::config::{BuilderChoice, LocalSources};
use crate::docker::dockerfile::DockerfileError;
use crate::docker::engine::EngineError;
use crate::docker::rootfs::RootfsError;
use crate::docker::upstream::UpstreamError;
use crate::docker::{import, source};
use crate::git::{self, Checkout, GitError, GitUrl, Revision};
use crate::mapping::Recipe;
use crate::maven::{self, MavenError, MavenService};
use crate::process::ProcessError;
use crate::program::isolation::Isolation;
use crate::program::{self, ProgramError};
use crate::wire::{Phase, SourceKind, SourceView};

/// What a build that could not be done died of.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("the Dockerfile cannot be built")]
    Dockerfile(#[from] DockerfileError),
    #[error("{}: {problem}", path.display())]
    Place { path: PathBuf, problem: &'static str },
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("a tool failed")]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Maven(#[from] MavenError),
    #[error("this pipeline has no Maven")]
    NoMaven,
    #[error("the base image {image} cannot be used")]
    Base {
        image: String,
        #[source]
        source: RootfsError,
    },
    #[error("the base image {image} cannot be used: {problem}")]
    BaseConfig { image: String, problem: String },
    #[error("{location} moved from {from} to {to}")]
    ImageMoved { location: String, from: String, to: String },
    #[error("the image {image} does not exist for {platform}")]
    NoSuchPlatform { image: String, platform: String },
    #[error("the base image {0} cannot be fetched: this pipeline has no upstream registry")]
    NoUpstream(String),
    #[error("the image has more than {limit} manifests")]
    TooManyManifests { limit: usize },
    #[error("the image has indexes inside indexes more than {limit} deep")]
    IndexTooDeep { limit: usize },
    #[error("cannot {action}")]
    Io {
        action: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("a worker of the build broke down")]
    Worker(#[from] JoinError),
    #[error("cancelled")]
    Cancelled,
}

/// What a build knows of the world around it.
#[derive(Debug, Clone)]
pub(crate) struct BuildContext {
    pub(crate) work: PathBuf,
    pub(crate) artifacts: Artifacts,
    pub(crate) log: BuildLog,
    pub(crate) progress: Progress,
    pub(crate) http: reqwest::Client,
    pub(crate) retry_delay: Duration,
    pub(crate) builder: BuilderChoice,
    pub(crate) local_sources: LocalSources,
    pub(crate) isolation: Isolation,
    pub(crate) maven: Option<MavenService>,
    /// Cancelled when nobody waits for the build any more; work on other threads looks at it between files.
    pub(crate) abandoned: CancellationToken,
}

/// Where a builder tells how far it is.
#[derive(Clone)]
pub(crate) struct Progress(pub(crate) Arc<dyn Fn(ProgressStep) + Send + Sync>);

pub(crate) enum ProgressStep {
    Entered(Phase),
    FoundSource(SourceView),
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

impl BuildContext {
    pub(crate) fn enter(&self, phase: Phase) {
        self.progress.0(ProgressStep::Entered(phase));
    }

    pub(crate) fn found_source(&self, source: SourceView) {
        self.progress.0(ProgressStep::FoundSource(source));
    }

    /// The files of one commit in the folder `source`, told to whoever asks about the build.
    pub(crate) async fn fetch(&self, url: &GitUrl, revision: &Revision) -> Result<Checkout, BuildError> {
        self.enter(Phase::Fetching);
        let checkout = git::checkout(url, revision, &self.work.join("source"), self.local_sources, &self.log).await?;
        self.log.line(format!("commit {}, tree {}", checkout.commit, checkout.tree));
        self.found_source(SourceView {
            kind: SourceKind::Git,
            location: url.to_string(),
            revision: checkout.commit.clone(),
            tree: Some(checkout.tree.clone()),
        });
        Ok(checkout)
    }

    /// Runs work that would block the other tasks on a thread of its own.
    pub(crate) async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, BuildError> {
        Ok(tokio::task::spawn_blocking(work).await?)
    }

    pub(crate) fn check_abandoned(&self) -> Result<(), BuildError> {
        if self.abandoned.is_cancelled() { Err(BuildError::Cancelled) } else { Ok(()) }
    }
}

/// Builds the package; its artifacts are complete when this returns without an error.
pub(crate) fn build<'a>(recipe: &'a Recipe, context: &'a BuildContext) -> BoxFuture<'a, Result<(), BuildError>> {
    match recipe {
        Recipe::Import(recipe) => import::build(recipe, context).boxed(),
        Recipe::Source(recipe) => source::build(recipe, context).boxed(),
        Recipe::Program(recipe) => program::build(recipe, context).boxed(),
        Recipe::Maven(recipe) => maven::build(recipe, context).boxed(),
    }
}
