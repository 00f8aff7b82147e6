//! What a package would be built from, found out without building it: a tag becomes the commit or the manifest it points to.
//!
//! Nothing is kept of it. Whoever asks waits, so it is bounded in time, and in how many are under way.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::Semaphore;
use uuid::Uuid;

use super::Builds;
use crate::build_log::BuildLog;
use crate::builders::BuildError;
use crate::docker::import;
use crate::docker::upstream::{Upstream, UpstreamError};
use crate::git::{self, GitError};
use crate::mapping::{MappingError, Recipe};
use crate::package::PackageType;
use crate::wire::{MappingInfo, PinnedMapping, SourceKind, SourceRepository, SourceView};

/// Those who ask have a limit of their own, some seconds above this.
const PIN_TIMEOUT: Duration = Duration::from_secs(20);
const PINS_AT_ONCE_MAX: usize = 4;
/// Those that run and those that wait together.
const PINS_MAX: usize = 64;

#[derive(Debug, thiserror::Error)]
pub(crate) enum PinError {
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// The source is there, and not as it was asked for.
    #[error("{0}")]
    Contradicted(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("the source did not answer within {} s", PIN_TIMEOUT.as_secs())]
    TimedOut,
    #[error("{PINS_MAX} mappings are being looked up: try again later")]
    Busy,
    #[error("the pipeline is stopping")]
    Stopping,
    #[error("the pipeline cannot look at the source")]
    Io(#[from] io::Error),
}

impl From<GitError> for PinError {
    fn from(error: GitError) -> Self {
        let text = super::with_causes(&error);
        match error {
            GitError::NoTag { .. } | GitError::TagMoved { .. } | GitError::OtherCommit { .. } => Self::Contradicted(text),
            GitError::Fetch { .. } => Self::Unreachable(text),
            other => Self::Io(io::Error::other(other)),
        }
    }
}

impl From<BuildError> for PinError {
    fn from(error: BuildError) -> Self {
        let text = super::with_causes(&error);
        match error {
            BuildError::Upstream(
                UpstreamError::Unreachable { .. } | UpstreamError::TooManyRequests { .. } | UpstreamError::Status { .. },
            ) => Self::Unreachable(text),
            _ => Self::Contradicted(text),
        }
    }
}

/// The places of those that are under way.
#[derive(Debug)]
pub(super) struct Pins {
    folder: PathBuf,
    places: Semaphore,
    workers: Semaphore,
}

impl Pins {
    /// Clears away what a killed pipeline left.
    pub(super) fn open(data_dir: &Path) -> io::Result<Self> {
        let folder = data_dir.join("mappings");
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&folder)?,
        }
        Ok(Self { folder, places: Semaphore::new(PINS_MAX), workers: Semaphore::new(PINS_AT_ONCE_MAX) })
    }
}

/// A folder that goes when it is not needed any more, also when nobody waits for the answer.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let folder = std::mem::take(&mut self.0);
        // What stays is cleared away by the next start.
        let remove = move || drop(fs::remove_dir_all(folder));
        // A repository can have many files, and this can be a thread that answers requests.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

impl Builds {
    /// The mapping of a package with its source pinned.
    pub(crate) async fn pin(&self, request: MappingInfo) -> Result<PinnedMapping, PinError> {
        let pins = &self.0.pins;
        let _place = pins.places.try_acquire().map_err(|_| PinError::Busy)?;
        let pinned = async {
            let _worker = pins.workers.acquire().await.expect("the semaphore is never closed");
            self.pinned(request).await
        };
        tokio::select! {
            biased;
            () = self.0.stop.cancelled() => Err(PinError::Stopping),
            pinned = tokio::time::timeout(PIN_TIMEOUT, pinned) => pinned.unwrap_or(Err(PinError::TimedOut)),
        }
    }

    async fn pinned(&self, mut info: MappingInfo) -> Result<PinnedMapping, PinError> {
        let recipe = self.0.mapping.recipe(&info).await?;
        info.package_type = PackageType::parse(&info.package_type).map_err(MappingError::from)?.wire_name().to_owned();
        let source = match &recipe {
            Recipe::Import(recipe) => {
                let (http, log) = (&self.0.http, BuildLog::discarded());
                let upstream = Upstream::new(&recipe.upstream, recipe.image.repository(), http, self.0.config.retry_delay, &log);
                let (_, source) = import::resolve(recipe, &upstream).await?;
                info.docker.get_or_insert_default().digest = Some(source.revision.clone());
                source
            }
            from_source => {
                let (url, revision) = from_source.git().expect("what is not imported is built from a repository");
                let scratch = Scratch(self.0.pins.folder.join(Uuid::new_v4().to_string()));
                let git::Resolved { commit, tree } = git::resolve(url, revision, &scratch.0, self.0.config.local_sources).await?;
                // Who asked knows the url it asked with; one of the pipeline's own may have a password.
                let asked = info.source_repository.take().map(|SourceRepository::Git { url, .. }| url);
                let shown = url.to_string();
                info.source_repository = Some(SourceRepository::Git {
                    url: asked.unwrap_or_else(|| shown.clone()),
                    tag: revision.tag().map(str::to_owned),
                    commit: Some(commit.clone()),
                });
                SourceView { kind: SourceKind::Git, location: shown, revision: commit, tree: Some(tree) }
            }
        };
        Ok(PinnedMapping { info, source })
    }
}
