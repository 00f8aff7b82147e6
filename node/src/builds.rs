//! Builds: wishes become requests on the ledger, requests become runs on this node's pipeline, results become events.
//!
//! ```text
//! wish ──request──► BuildRequested ──driver──► run (pipeline, store, verifier) ──► BuildResultCommitted, BuildResultRevealed
//!                                    plan says   judge (fetch, verifier) ─────────► BuildCandidateVouched, BuildDisputed
//!                                    what is next                                   AddArtifact, by one agreeing judge
//! ```
//!
//! Owns the two tasks that do this, what they keep on disk, and what is shown of it. It decides nothing about the ledger: whether
//! judges agree and what is published follows from the projections alone.

mod background;
mod driver;
mod judge;
pub mod judging;
mod leftovers;
mod mapping_info;
mod mapping_service;
mod notes;
mod output;
mod pipeline_client;
mod plan;
mod progress;
mod rate;
mod request;
mod run;
mod sealed;
pub(crate) mod simulated;
mod sources;
pub mod stored;
pub mod view;
pub mod wish;

use std::io;
use std::path::Path;
use std::sync::Arc;

use pyrsia_ledger::{BuildId, NodeId, PackageCoordinate};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::driver::{Driver, Setup};
use self::mapping_service::MappingService;
use self::notes::Notes;
use self::pipeline_client::PipelineClient;
use self::progress::LocalProgress;
use self::request::Wishes;
use self::run::{RUNS_AT_ONCE_MAX, RunTimeouts, Runner};
use self::sealed::Seals;
use self::sources::Sources;
use self::view::BuildView;
use self::wish::{BuildReceipt, BuildWish, WishError};
use crate::artifacts::ArtifactStore;
use crate::config::NodeConfig;
use crate::consensus::ConsensusHandle;
use crate::p2p::{InboundRequest, P2pHandle};
use crate::package_types::PackageTypes;
use crate::verifiers::Verifiers;

#[derive(Debug, thiserror::Error)]
pub enum BuildsError {
    #[error("the folder of running builds cannot be opened")]
    Notes(#[source] io::Error),
    #[error("the folder of sealed results cannot be opened")]
    Seals(#[source] io::Error),
    #[error("the pipeline cannot be used: {0}")]
    Pipeline(String),
    #[error("the mapping service cannot be used: {0}")]
    MappingService(String),
}

/// The neighbours that builds work with.
pub(crate) struct Neighbours {
    pub(crate) consensus: ConsensusHandle,
    pub(crate) p2p: P2pHandle,
    pub(crate) store: ArtifactStore,
    pub(crate) verifiers: Verifiers,
    pub(crate) package_types: PackageTypes,
}

/// A cheap handle.
#[derive(Clone)]
pub(crate) struct Builds {
    consensus: ConsensusHandle,
    wishes: Arc<Wishes>,
    progress: LocalProgress,
}

impl Builds {
    /// Starts the two tasks among `tasks`; they end when `stop` is cancelled.
    pub(crate) fn start(
        me: NodeId,
        config: &NodeConfig,
        neighbours: Neighbours,
        requests: mpsc::Receiver<InboundRequest>,
        stop: &CancellationToken,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, BuildsError> {
        let Neighbours { consensus, p2p, store, verifiers, package_types } = neighbours;
        let progress = LocalProgress::default();
        let pipeline = PipelineClient::new(&config.pipeline_endpoint, config.pipeline_patience)
            .map_err(|error| BuildsError::Pipeline(error.to_string()))?;
        let service = config.mapping_service.clone().map(MappingService::new).transpose();
        let service = service.map_err(|error| BuildsError::MappingService(error.to_string()))?;
        let sources = Sources { service, pipeline: pipeline.clone() };
        let timeouts =
            RunTimeouts { build: config.build_timeout, poll: config.pipeline_poll, patience: config.pipeline_patience };
        let runner = Runner {
            consensus: consensus.clone(),
            pipeline,
            sources: sources.clone(),
            store,
            verifiers: verifiers.clone(),
            notes: open_notes(&config.artifact_path)?,
            progress: progress.clone(),
            places: Semaphore::new(RUNS_AT_ONCE_MAX),
            timeouts,
        };
        let driver = Driver::new(Setup {
            me,
            consensus: consensus.clone(),
            p2p: p2p.clone(),
            runner: Arc::new(runner),
            seals: Seals::open(&config.artifact_path).map_err(BuildsError::Seals)?,
            run_limit: config.build_timeout,
            patience: config.judge_patience,
        });
        let wishes = Arc::new(Wishes::new(me, consensus.clone(), p2p, package_types, verifiers, sources));
        tasks.spawn(driver.drive(stop.clone()));
        tasks.spawn(wishes.clone().serve(requests, stop.clone()));
        Ok(Self { consensus, wishes, progress })
    }

    pub(crate) async fn request(&self, wish: BuildWish) -> Result<BuildReceipt, WishError> {
        self.wishes.request(wish).await
    }

    pub(crate) fn wish_in_background(&self, coordinate: PackageCoordinate) -> Result<(), WishError> {
        self.wishes.in_background(coordinate)
    }

    pub(crate) fn view(&self, id: &BuildId) -> Option<BuildView> {
        view::of(self.consensus.view().state.as_deref()?, id, self.progress.get(id))
    }

    pub(crate) fn of(&self, coordinate: &PackageCoordinate) -> Vec<BuildId> {
        let view = self.consensus.view();
        let builds = view.state.as_deref().map(|state| request::builds_of(state, coordinate));
        builds.unwrap_or_default().into_iter().map(|(id, _)| id).collect()
    }
}

fn open_notes(artifact_path: &Path) -> Result<Notes, BuildsError> {
    Notes::open(artifact_path).map_err(BuildsError::Notes)
}
