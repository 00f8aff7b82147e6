//! The fetching side of the exchange: who has an artifact, and one download for all who want it.
//!
//! Providers are tried in this order: the builders that the ledger names, the connected nodes, the distributed hash table; beside them the bucket
//! behind the store, where there is one.
//! Several bring chunks at once. One that lies is not asked for that artifact again; one that stalls or vanishes costs only
//! the chunks it had taken, and comes last for a while. What has come stays on disk, so the next attempt goes on from there.

mod attempt;
mod bucket;

use super::conduct::{Liars, Slow};
use super::download::Patience;
use super::feed::{Arriving, Feed};
use super::room::Rooms;
use crate::artifacts::{ARTIFACT_BYTES_MAX, ArtifactStore, StoreError};
use crate::p2p::metrics::{FetchLabels, Metrics};
use crate::p2p::reach::Reach;
use crate::p2p::tasks::Tasks;
use attempt::Attempt;
use libp2p_stream::Control;
use pyrsia_ledger::event::BuiltArtifact;
use pyrsia_ledger::{NodeId, Sha256Digest};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{Semaphore, watch};
use tracing::Instrument;

/// Artifacts that are fetched at once; more wait.
const FETCHES_MAX: usize = 8;
/// Artifacts that are fetched or wait to be.
const FETCHES_WAITING_MAX: usize = 256;
/// Second streams to a provider, over all downloads: each stream holds two chunks in memory.
const SECOND_STREAMS_MAX: usize = 8;

/// Why an artifact could not be fetched.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    #[error("no node that has the artifact answers: {reason}")]
    Unavailable { reason: String },
    #[error("every chunk is what the ledger says, and together they have sha256 {found}: the record is contradictory")]
    Damaged { found: Sha256Digest },
    #[error("an artifact of {size_bytes} bytes is larger than {ARTIFACT_BYTES_MAX}")]
    TooLarge { size_bytes: u64 },
    #[error("it has {size_bytes} bytes, and all artifacts of this node together may have {budget_bytes}")]
    BeyondBudget { size_bytes: u64, budget_bytes: u64 },
    #[error(
        "it has {size_bytes} bytes, and of the {budget_bytes} that artifacts may have here not enough can be freed: the rest is pinned, in use, or kept for the network"
    )]
    NoRoom { size_bytes: u64, budget_bytes: u64 },
    #[error("{FETCHES_WAITING_MAX} artifacts are being fetched; try again later")]
    Busy,
    #[error(transparent)]
    Store(Arc<StoreError>),
    #[error("the node is stopping")]
    Stopped,
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl FetchError {
    fn label(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Damaged { .. } => "damaged",
            Self::BeyondBudget { .. } | Self::NoRoom { .. } => "no_room",
            _ => "failed",
        }
    }
}

/// How far a fetch is, for all who want the artifact.
#[derive(Clone)]
enum Flight {
    Sought,
    Arriving(Arriving),
    Landed(Result<(), FetchError>),
}

/// An artifact that somebody wants to read.
pub enum Fetched {
    Stored,
    Incoming(Incoming),
}

/// An artifact of which chunks are coming.
pub struct Incoming {
    arriving: Arriving,
    flight: watch::Receiver<Flight>,
}

impl Incoming {
    /// The bytes of a range, when the first of them may leave; until then the reason of a failure is known.
    pub async fn feed(self, range: Range<u64>) -> Result<Feed, FetchError> {
        match self.arriving.feed(range).await {
            Some(feed) => Ok(feed),
            None => Err(landed(self.flight).await.err().unwrap_or(FetchError::Stopped)),
        }
    }
}

async fn landed(mut flight: watch::Receiver<Flight>) -> Result<(), FetchError> {
    match &*flight.wait_for(|flight| matches!(flight, Flight::Landed(_))).await.map_err(|_| FetchError::Stopped)? {
        Flight::Landed(outcome) => outcome.clone(),
        Flight::Sought | Flight::Arriving(_) => unreachable!("the wait was for a landing"),
    }
}

/// A cheap handle; all clones share the downloads.
#[derive(Clone)]
pub(in crate::p2p) struct Fetcher(Arc<Shared>);

struct Shared {
    me: NodeId,
    store: ArtifactStore,
    control: Control,
    reach: Reach,
    rooms: Arc<Rooms>,
    metrics: Metrics,
    patience: Patience,
    slots: Semaphore,
    second_streams: Semaphore,
    flights: Mutex<BTreeMap<Sha256Digest, watch::Receiver<Flight>>>,
    liars: Mutex<Liars>,
    slow: Mutex<Slow>,
    tasks: Tasks,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fetcher {
    pub(in crate::p2p) fn new(rooms: Arc<Rooms>, metrics: Metrics, tasks: Tasks) -> Self {
        Self(Arc::new(Shared {
            me: rooms.me,
            store: rooms.store.clone(),
            control: rooms.control.clone(),
            reach: rooms.reach.clone(),
            patience: rooms.patience,
            rooms,
            metrics,
            slots: Semaphore::new(FETCHES_MAX),
            second_streams: Semaphore::new(SECOND_STREAMS_MAX),
            flights: Mutex::default(),
            liars: Mutex::default(),
            slow: Mutex::default(),
            tasks,
        }))
    }

    #[cfg(test)]
    pub(super) fn rooms(&self) -> &Arc<Rooms> {
        &self.0.rooms
    }

    /// Returns when the artifact is in the store. Callers who want the same one share a download.
    pub(in crate::p2p) async fn fetch(&self, artifact: &BuiltArtifact, builders: Vec<NodeId>) -> Result<(), FetchError> {
        if self.0.store.contains(&artifact.sha256) {
            return Ok(());
        }
        landed(self.join(artifact, builders)?).await
    }

    /// Returns when the artifact is in the store, or can be read while it arrives: one of several chunks. It goes on to its end whoever reads it.
    pub(in crate::p2p) async fn begin(&self, artifact: &BuiltArtifact, builders: Vec<NodeId>) -> Result<Fetched, FetchError> {
        if self.0.store.contains(&artifact.sha256) {
            return Ok(Fetched::Stored);
        }
        let mut flight = self.join(artifact, builders)?;
        let begun = flight.wait_for(|flight| !matches!(flight, Flight::Sought)).await.map_err(|_| FetchError::Stopped)?.clone();
        match begun {
            Flight::Arriving(arriving) => Ok(Fetched::Incoming(Incoming { arriving, flight })),
            Flight::Landed(outcome) => outcome.map(|()| Fetched::Stored),
            Flight::Sought => unreachable!("the wait was for another state"),
        }
    }

    fn join(&self, artifact: &BuiltArtifact, builders: Vec<NodeId>) -> Result<watch::Receiver<Flight>, FetchError> {
        let mut flights = locked(&self.0.flights);
        if let Some(flight) = flights.get(&artifact.sha256) {
            return Ok(flight.clone());
        }
        if flights.len() >= FETCHES_WAITING_MAX {
            return Err(FetchError::Busy);
        }
        let (land, flight) = watch::channel(Flight::Sought);
        flights.insert(artifact.sha256, flight.clone());
        let (shared, artifact) = (self.0.clone(), artifact.clone());
        // Below the request that was the first to want it, as far as one did; the others wait for the same.
        let span = tracing::error_span!("fetch", sha256 = %artifact.sha256, size_bytes = artifact.size_bytes);
        let mut landing = Landing { shared: shared.clone(), sha256: artifact.sha256, land, outcome: Err(FetchError::Stopped) };
        let fetch = async move {
            let stopping = shared.tasks.stopping();
            let fetched = stopping.run_until_cancelled(shared.fetch(&artifact, builders, &landing.land)).await;
            let outcome = fetched.unwrap_or(Err(FetchError::Stopped));
            let result = outcome.as_ref().map_or_else(FetchError::label, |()| "fetched");
            shared.metrics.fetches.get_or_create(&FetchLabels { result }).inc();
            landing.is(outcome);
        };
        // A task that is dropped at once lands as well, and takes the lock for it.
        drop(flights);
        self.0.tasks.spawn_to_the_end(fetch.instrument(span));
        Ok(flight)
    }
}

/// Ends a flight, also one whose task panics: nobody could fetch that artifact again otherwise.
struct Landing {
    shared: Arc<Shared>,
    sha256: Sha256Digest,
    land: watch::Sender<Flight>,
    outcome: Result<(), FetchError>,
}

impl Landing {
    fn is(&mut self, outcome: Result<(), FetchError>) {
        self.outcome = outcome;
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        locked(&self.shared.flights).remove(&self.sha256);
        self.land.send_replace(Flight::Landed(self.outcome.clone()));
    }
}

impl Shared {
    async fn fetch(
        self: &Arc<Self>,
        artifact: &BuiltArtifact,
        builders: Vec<NodeId>,
        flight: &watch::Sender<Flight>,
    ) -> Result<(), FetchError> {
        let _slot = self.slots.acquire().await.map_err(|_| FetchError::Stopped)?;
        if artifact.size_bytes > ARTIFACT_BYTES_MAX {
            return Err(FetchError::TooLarge { size_bytes: artifact.size_bytes });
        }
        if self.store.contains(&artifact.sha256) {
            return Ok(());
        }
        let _room = self.rooms.take(artifact).await?;
        let started = Instant::now();
        let attempt = Attempt::new(self.clone(), artifact.clone(), flight.clone());
        let outcome = attempt.bring(&builders).await;
        attempt.note_outpaced();
        attempt.close().await;
        if matches!(&outcome, Err(FetchError::Store(error)) if error.is_disk_full()) {
            attempt.discard();
        }
        outcome?;
        self.reach.provide(artifact.sha256).await;
        let from_bucket_bytes = attempt.note_recalled();
        let what = match from_bucket_bytes {
            0 => "fetched an artifact from other nodes",
            _ => "an artifact came back from the bucket",
        };
        tracing::info!(
            artifact = %artifact.artifact_id,
            sha256 = %artifact.sha256,
            size_bytes = artifact.size_bytes,
            from_bucket_bytes,
            elapsed_ms = started.elapsed().as_millis() as u64,
            "{what}"
        );
        Ok(())
    }
}
