//! The builds of this service: accepted, queued, run, ended, kept for a while.
//!
//! Each build is one task that owns its record; readers get copies. A build ends exactly once: done, failed, out of
//! time, cancelled, or interrupted by the end of the service or a trouble of its own, and its record is on disk before anybody is told. How a
//! package is made is the builders' business, what to make the mapping's.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub(crate) use self::pinning::PinError;
use self::pinning::Pins;
use crate::artifacts::Artifacts;
use crate::build_log::BuildLog;
use crate::builders::{self, BuildContext, BuildError, Progress, ProgressStep};
use crate::config::Config;
use crate::docker;
use crate::mapping::{Mapping, MappingError, Recipe, RulesError};
use crate::maven::cache::Cache;
use crate::maven::{MavenService, upstream};
use crate::package::PackageType;
use crate::program::isolation::Isolation;
use crate::records::{ArtifactFile, INTERRUPTED, Outcome, Record, RecordStore};
use crate::wire::{BuildView, MappingInfo, Phase};

mod pinning;

/// Who cancels a build waits this long for its end before getting an answer all the same.
const CANCEL_WAIT: Duration = Duration::from_secs(10);
const CANCELLED: &str = "cancelled";

#[derive(Debug, thiserror::Error)]
pub(crate) enum SubmitError {
    #[error(transparent)]
    Mapping(#[from] MappingError),
    #[error("the queue of {limit} builds is full: try again later")]
    QueueFull { limit: usize },
    #[error("the pipeline is stopping")]
    Stopping,
    #[error("cannot write the record of the build")]
    Io(#[from] io::Error),
}

#[derive(Debug, Clone)]
pub(crate) struct Builds(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    store: RecordStore,
    mapping: Mapping,
    http: reqwest::Client,
    isolation: Isolation,
    maven: Option<MavenService>,
    builds: Mutex<BTreeMap<Uuid, Arc<Build>>>,
    /// One permit for each build that waits or runs.
    places: Arc<Semaphore>,
    /// One permit for each build that runs; handed out in the order of asking.
    workers: Semaphore,
    pins: Pins,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// One build, as its task and its readers share it.
#[derive(Debug)]
struct Build {
    record: Mutex<Record>,
    log: BuildLog,
    cancel: CancellationToken,
    ended: CancellationToken,
}

/// Numbers for `GET /status`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) queued: usize,
    pub(crate) running: usize,
    pub(crate) finished: usize,
}

/// What `DELETE` found.
pub(crate) enum Cancellation {
    Unknown,
    AlreadyFinished,
    Cancelled(Box<BuildView>),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("cannot use the data directory {path:?}")]
    DataDir {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Rules(#[from] RulesError),
    #[error("{path:?} is in {folder:?}, which builds do not see: put it elsewhere")]
    Hidden { path: PathBuf, folder: PathBuf },
}

impl Build {
    fn record(&self) -> Record {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn update(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Why nothing came of a build.
enum Unbuilt {
    Failed(String),
    /// For a reason that is not the build's.
    Interrupted,
}

impl Builds {
    /// Reads what earlier runs left; builds that were not finished then never will be.
    pub(crate) fn open(config: Config) -> Result<Self, OpenError> {
        let broken = |source| OpenError::DataDir { path: config.data_dir.clone(), source };
        let mapping = Mapping::new(&config)?;
        let store = RecordStore::open(&config.data_dir).map_err(broken)?;
        let mut builds = BTreeMap::new();
        for mut record in store.load().map_err(broken)? {
            if record.outcome.is_none() {
                record.finish(Outcome::Interrupted, now());
                store.discard_artifacts(record.id).map_err(broken)?;
                store.write(&record).map_err(broken)?;
            }
            let log = BuildLog::complete(&store.log_path(record.id));
            let ended = CancellationToken::new();
            ended.cancel();
            let build = Build { record: Mutex::new(record.clone()), log, cancel: CancellationToken::new(), ended };
            builds.insert(record.id, Arc::new(build));
        }
        let maven = match &config.maven {
            None => None,
            Some(builder) => Some(MavenService {
                builder: builder.clone(),
                cache: Cache::open(&config.data_dir.join("maven-cache")).map_err(broken)?,
                http: upstream::http_client(),
            }),
        };
        let runs_programs = maven.is_some() || !config.builder_programs.is_empty();
        let isolation = if runs_programs {
            Isolation::probe(config.network_gate.as_deref(), &config.data_dir).map_err(broken)?
        } else {
            Isolation::NONE
        };
        for path in config.programs() {
            if let Some(folder) = isolation.hiding(&path) {
                return Err(OpenError::Hidden { path, folder });
            }
        }
        let inner = Inner {
            places: Arc::new(Semaphore::new(config.max_concurrent_builds.saturating_add(config.max_queued_builds))),
            workers: Semaphore::new(config.max_concurrent_builds),
            pins: Pins::open(&config.data_dir).map_err(broken)?,
            store,
            mapping,
            http: docker::upstream::http_client(),
            isolation,
            maven,
            builds: Mutex::new(builds),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Accepts a build. Once it has an id it has a record, also if whoever asked hangs up.
    pub(crate) async fn submit(&self, mut request: MappingInfo) -> Result<Uuid, SubmitError> {
        let recipe = self.0.mapping.recipe(&request).await?;
        // Callers may write it in any case; everything that is kept and told has one spelling.
        request.package_type = PackageType::parse(&request.package_type).map_err(MappingError::from)?.wire_name().to_owned();
        if self.0.stop.is_cancelled() {
            return Err(SubmitError::Stopping);
        }
        let place = Arc::clone(&self.0.places)
            .try_acquire_owned()
            .map_err(|_| SubmitError::QueueFull { limit: self.0.config.max_queued_builds })?;
        let builds = self.clone();
        let accepted = self.0.tasks.spawn(async move { builds.accept(request, recipe, place).await });
        Ok(accepted.await.map_err(io::Error::other)??)
    }

    async fn accept(self, request: MappingInfo, recipe: Recipe, place: OwnedSemaphorePermit) -> io::Result<Uuid> {
        let record = Record::queued(Uuid::new_v4(), request, now());
        let id = record.id;
        tracing::info!(build = %id, package = %record.request.package_specific_id, "build accepted");
        let store = self.0.store.clone();
        let build = blocking(move || {
            store.create(&record)?;
            let log = BuildLog::create(&store.log_path(id))?;
            let (cancel, ended) = (CancellationToken::new(), CancellationToken::new());
            Ok(Arc::new(Build { record: Mutex::new(record), log, cancel, ended }))
        })
        .await?;
        self.builds().insert(id, Arc::clone(&build));
        let tasks = self.0.tasks.clone();
        tasks.spawn(async move {
            self.run(&build, &recipe).await;
            drop(place);
            self.drop_oldest().await;
        });
        Ok(id)
    }

    /// From the queue to the end.
    async fn run(&self, build: &Arc<Build>, recipe: &Recipe) {
        let id = build.record().id;
        let waited = tokio::select! {
            biased;
            () = self.0.stop.cancelled() => Err(Unbuilt::Interrupted),
            () = build.cancel.cancelled() => Err(Unbuilt::Failed(CANCELLED.to_owned())),
            worker = self.0.workers.acquire() => Ok(worker.expect("the semaphore is never closed")),
        };
        let result = match waited {
            Err(unbuilt) => Err(unbuilt),
            Ok(_worker) => {
                build.update(|record| record.started_at = Some(now()));
                self.execute(id, build, recipe).await
            }
        };
        let outcome = match result {
            Ok(artifacts) => {
                build.log.line(format!("done: {} artifacts", artifacts.len()));
                tracing::info!(build = %id, artifacts = artifacts.len(), "build succeeded");
                Outcome::Success { artifacts }
            }
            Err(Unbuilt::Failed(reason)) => {
                build.log.line(format!("failed: {reason}"));
                tracing::warn!(build = %id, reason, "build failed");
                Outcome::Failure { reason }
            }
            Err(Unbuilt::Interrupted) => {
                build.log.line(format!("failed: {INTERRUPTED}"));
                tracing::warn!(build = %id, "build interrupted");
                Outcome::Interrupted
            }
        };
        self.end(build, outcome).await;
    }

    async fn execute(&self, id: Uuid, build: &Arc<Build>, recipe: &Recipe) -> Result<Vec<ArtifactFile>, Unbuilt> {
        let (store, work) = (&self.0.store, self.0.store.work(id));
        let abandoned = CancellationToken::new();
        // Whatever way this function ends, work on other threads is told.
        let _guard = abandoned.clone().drop_guard();
        let noted = Arc::clone(build);
        let context = BuildContext {
            artifacts: Artifacts::new(store.artifacts(id), work.clone(), self.0.config.max_artifact_bytes),
            work: work.clone(),
            log: build.log.clone(),
            progress: Progress(Arc::new(move |step| {
                noted.update(|record| match step {
                    ProgressStep::Entered(phase) => record.phase = phase,
                    ProgressStep::FoundSource(source) => record.source = Some(source),
                });
            })),
            http: self.0.http.clone(),
            retry_delay: self.0.config.retry_delay,
            builder: self.0.config.builder,
            local_sources: self.0.config.local_sources,
            isolation: self.0.isolation.clone(),
            maven: self.0.maven.clone(),
            abandoned: abandoned.clone(),
        };
        let make = async {
            tokio::fs::create_dir(&work)
                .await
                .map_err(|source| BuildError::Io { action: "make the folder of the build", source })?;
            builders::build(recipe, &context).await?;
            build.update(|record| record.phase = Phase::Collecting);
            let artifacts = context.artifacts.clone();
            let files = tokio::task::spawn_blocking(move || artifacts.collect()).await??;
            Ok::<_, BuildError>(files)
        };
        let limit = self.0.config.build_timeout;
        let result = tokio::select! {
            biased;
            () = self.0.stop.cancelled() => Err(Unbuilt::Interrupted),
            () = build.cancel.cancelled() => Err(Unbuilt::Failed(CANCELLED.to_owned())),
            () = tokio::time::sleep(limit) => {
                Err(Unbuilt::Failed(format!("the build took longer than {} seconds (--build-timeout)", limit.as_secs_f64())))
            }
            made = AssertUnwindSafe(make).catch_unwind() => match made {
                Ok(made) => made.map_err(|error| Unbuilt::Failed(with_causes(&error))),
                Err(_) => {
                    tracing::error!(build = %id, "the builder broke down; this is a fault of the pipeline");
                    Err(Unbuilt::Interrupted)
                }
            },
        };
        abandoned.cancel();
        let store = store.clone();
        if let Err(error) = blocking(move || store.clear_work(id)).await {
            tracing::warn!(build = %id, %error, "cannot clear the folder of the build; the next start does");
        }
        result
    }

    async fn end(&self, build: &Arc<Build>, outcome: Outcome) {
        let mut record = build.record();
        record.finish(outcome, now());
        let (store, written) = (self.0.store.clone(), record.clone());
        let kept = blocking(move || {
            if !matches!(written.outcome, Some(Outcome::Success { .. })) {
                store.discard_artifacts(written.id)?;
            }
            store.write(&written)
        })
        .await;
        if let Err(error) = kept {
            tracing::error!(build = %record.id, %error, "cannot write the record of a finished build");
            record.finish(Outcome::Interrupted, now());
        }
        build.update(|own| *own = record);
        build.log.finish();
        build.ended.cancel();
    }

    /// Removes finished builds beyond those that are kept.
    async fn drop_oldest(&self) {
        let removed: Vec<Uuid> = {
            let mut builds = self.builds();
            let mut finished: Vec<(Option<u64>, Uuid)> = builds
                .values()
                .map(|build| build.record())
                .filter(|record| record.outcome.is_some())
                .map(|record| (record.finished_at, record.id))
                .collect();
            finished.sort_unstable();
            let surplus = finished.len().saturating_sub(self.0.config.max_kept_builds);
            finished.into_iter().take(surplus).map(|(_, id)| id).inspect(|id| drop(builds.remove(id))).collect()
        };
        for id in removed {
            let store = self.0.store.clone();
            if let Err(error) = blocking(move || store.remove(id)).await {
                tracing::warn!(build = %id, %error, "cannot remove an old build");
            }
        }
    }

    pub(crate) fn record(&self, id: Uuid) -> Option<Record> {
        self.find(id).map(|build| build.record())
    }

    pub(crate) fn artifact_path(&self, id: Uuid, file: &str) -> PathBuf {
        self.0.store.artifacts(id).join(file)
    }

    pub(crate) fn log(&self, id: Uuid) -> Option<(BuildLog, PathBuf)> {
        self.find(id).map(|build| (build.log.clone(), self.0.store.log_path(id)))
    }

    /// All builds, the newest first.
    pub(crate) fn list(&self) -> Vec<BuildView> {
        let mut views: Vec<BuildView> = self.builds().values().map(|build| build.record().view()).collect();
        views.sort_by(|a, b| b.queued_at.cmp(&a.queued_at).then_with(|| a.id.cmp(&b.id)));
        views
    }

    pub(crate) fn load(&self) -> Load {
        let mut load = Load { queued: 0, running: 0, finished: 0 };
        for build in self.builds().values() {
            match build.record().phase {
                Phase::Queued => load.queued += 1,
                Phase::Done | Phase::Interrupted => load.finished += 1,
                Phase::Fetching | Phase::Building | Phase::Collecting => load.running += 1,
            }
        }
        load
    }

    pub(crate) async fn cancel(&self, id: Uuid) -> Cancellation {
        let Some(build) = self.find(id) else { return Cancellation::Unknown };
        if build.record().outcome.is_some() {
            return Cancellation::AlreadyFinished;
        }
        build.cancel.cancel();
        // Clearing away a large build may take long; the answer then shows it as running still.
        let _ = tokio::time::timeout(CANCEL_WAIT, build.ended.cancelled()).await;
        Cancellation::Cancelled(Box::new(build.record().view()))
    }

    pub(crate) fn package_types(&self) -> Vec<String> {
        self.0.mapping.package_types()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    /// Ends all builds and returns when their records are written.
    pub(crate) async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn find(&self, id: Uuid) -> Option<Arc<Build>> {
        self.builds().get(&id).cloned()
    }

    fn builds(&self) -> std::sync::MutexGuard<'_, BTreeMap<Uuid, Arc<Build>>> {
        self.0.builds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The error and what led to it, in one sentence.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
