//! The fetching side of the exchange: who has an artifact, and one download for all who want it.
//!
//! Providers are tried in this order: the builders that the ledger names, the connected nodes, the distributed hash table; beside them the bucket
//! behind the store, where there is one.
//! Several bring chunks at once. One that lies is not asked for that artifact again; one that stalls or vanishes costs only
//! the chunks it had taken, and comes last for a while. What has come stays on disk, so the next attempt goes on from there.

mod bucket;

use super::conduct::{Liars, Slow};
use super::download::{Download, FollowError, Patience, ProviderFailure, ask_chunk_list, is_worth_a_second_stream, open_stream};
use super::feed::{Arriving, Feed};
use super::room::Rooms;
use crate::artifacts::{ARTIFACT_BYTES_MAX, ArtifactStore, StoreError};
use crate::p2p::metrics::{FetchLabels, Metrics};
use crate::p2p::reach::Reach;
use crate::p2p::tasks::Tasks;
use libp2p_stream::Control;
use pyrsia_ledger::event::BuiltArtifact;
use pyrsia_ledger::{NodeId, Sha256Digest};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OnceCell, Semaphore, mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use tracing::Instrument;

/// Artifacts that are fetched at once; more wait.
const FETCHES_MAX: usize = 8;
/// Artifacts that are fetched or wait to be.
const FETCHES_WAITING_MAX: usize = 256;
/// Providers that one download asks or uses at once, each over one stream or two.
const PROVIDERS_PER_FETCH_MAX: usize = 4;
/// Second streams to a provider, over all downloads: each stream holds two chunks in memory.
const SECOND_STREAMS_MAX: usize = 8;
/// How often all providers are tried without a single chunk having come, before the fetch fails.
const FRUITLESS_ROUNDS_MAX: u32 = 4;
/// The pause after the first fruitless round: a provider may not have seen the newest block yet. It doubles.
const ROUND_PAUSE: Duration = Duration::from_millis(250);

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

type Outcome = Option<Result<(), FetchError>>;

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
    /// Of the bucket behind the store.
    ranges: Semaphore,
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
            ranges: Semaphore::new(bucket::RANGES_MAX),
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

/// All rounds of one fetch. The download begins when the first provider names a chunk list that the ledger binds.
struct Attempt {
    shared: Arc<Shared>,
    artifact: BuiltArtifact,
    download: OnceCell<Arc<Download>>,
    finished: watch::Sender<Outcome>,
    flight: watch::Sender<Flight>,
    /// Chunks come from the bucket as well, and what is missing says nothing about the peers.
    bucket_brings: AtomicBool,
    from_bucket_bytes: AtomicU64,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(download) = self.download.get() {
            download.abandon();
        }
    }
}

impl Attempt {
    fn new(shared: Arc<Shared>, artifact: BuiltArtifact, flight: watch::Sender<Flight>) -> Arc<Self> {
        let (download, finished) = (OnceCell::new(), watch::Sender::new(None));
        let (bucket_brings, from_bucket_bytes) = (AtomicBool::new(false), AtomicU64::new(0));
        Arc::new(Self { shared, artifact, download, finished, flight, bucket_brings, from_bucket_bytes })
    }

    /// How many chunks have not come; all of them before the chunk list is known.
    fn missing(&self) -> u64 {
        self.download.get().map_or(u64::MAX, |download| download.missing())
    }

    async fn rounds(self: &Arc<Self>, builders: &[NodeId]) -> Result<(), FetchError> {
        let mut fruitless = 0;
        while self.missing() > 0 {
            let before = self.missing();
            let Err(reason) = self.round(builders).await? else { return Ok(()) };
            let has_brought = self.missing() < before && !self.bucket_brings.load(Ordering::Relaxed);
            fruitless = if has_brought { 1 } else { fruitless + 1 };
            if fruitless == FRUITLESS_ROUNDS_MAX {
                return Err(FetchError::Unavailable { reason });
            }
            // Others may bring the rest in the meantime.
            let pause = ROUND_PAUSE * 2u32.pow(fruitless - 1);
            let _ = timeout(pause, self.finished.subscribe().wait_for(Option::is_some)).await;
        }
        self.outcome().await
    }

    /// What the download comes to, of which no chunk is missing.
    async fn outcome(&self) -> Result<(), FetchError> {
        let mut finished = self.finished.subscribe();
        let outcome = finished.wait_for(Option::is_some).await.map_err(|_| FetchError::Stopped)?.clone();
        outcome.expect("the wait was for an outcome")
    }

    /// Ends the follower and waits for its end, so that the next fetch finds the partial file free.
    async fn close(&self) {
        if let Some(download) = self.download.get() {
            download.abandon();
            // It fails only when the follower is gone, which is what is waited for.
            let _ = self.finished.subscribe().wait_for(Option::is_some).await;
        }
    }

    /// Gives the disk back what has come: to resume it would leave no room for anything else.
    fn discard(&self) {
        if let Some(download) = self.download.get() {
            tracing::error!(sha256 = %self.artifact.sha256, "the disk is full: what has come of an artifact is removed");
            download.discard();
        }
    }

    /// Tries every provider once. The inner error says why the artifact is not here, and another round may help.
    async fn round(self: &Arc<Self>, builders: &[NodeId]) -> Result<Result<(), String>, FetchError> {
        let mut finished = self.finished.subscribe();
        let mut candidates = self.candidates(builders);
        let mut providers = JoinSet::new();
        let mut searching = true;
        let mut reasons = vec![];
        while searching || !providers.is_empty() {
            tokio::select! {
                biased;
                Ok(outcome) = finished.wait_for(Option::is_some) => {
                    return outcome.clone().expect("the wait was for an outcome").map(Ok);
                }
                Some(ended) = providers.join_next() => {
                    let (node, ended): (NodeId, Result<(), ProviderFailure>) =
                        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
                    match ended {
                        Ok(()) => {}
                        Err(ProviderFailure::Store(error)) => return Err(error.into()),
                        Err(failure) => reasons.push(self.note(node, &failure)),
                    }
                }
                candidate = candidates.recv(), if searching && providers.len() < PROVIDERS_PER_FETCH_MAX => match candidate {
                    Some(node) => {
                        let attempt = self.clone();
                        providers.spawn(async move { (node, attempt.use_provider(node).await) });
                    }
                    None => searching = false,
                },
            }
        }
        if self.missing() == 0 {
            return self.outcome().await.map(Ok);
        }
        reasons.truncate(PROVIDERS_PER_FETCH_MAX);
        Ok(Err(if reasons.is_empty() { "no node is connected".into() } else { reasons.join("; ") }))
    }

    fn note_outpaced(&self) {
        let outpaced = self.download.get().map(|download| download.outpaced()).unwrap_or_default();
        let mut slow = locked(&self.shared.slow);
        // The bucket brings chunks in the name of this node.
        outpaced.into_iter().filter(|node| *node != self.shared.me).for_each(|node| slow.remember(node, Instant::now()));
    }

    /// Remembers what a provider did; says it in words.
    fn note(&self, node: NodeId, failure: &ProviderFailure) -> String {
        let BuiltArtifact { sha256, chunk_root, .. } = self.artifact;
        if matches!(failure, ProviderFailure::Lied) && locked(&self.shared.liars).remember(chunk_root, node) {
            self.shared.metrics.liars.inc();
            tracing::warn!(%node, %sha256, "a node sent wrong bytes of an artifact and is not asked for it again");
        }
        if matches!(failure, ProviderFailure::Stalled(_)) {
            locked(&self.shared.slow).remember(node, Instant::now());
        }
        format!("{node}: {failure}")
    }

    /// Nodes to try: connected builders, other connected nodes, builders that must be dialed, those of all these that were slow of late, and who
    /// the distributed hash table names.
    fn candidates(self: &Arc<Self>, builders: &[NodeId]) -> mpsc::Receiver<NodeId> {
        let (found, candidates) = mpsc::channel(1);
        let (attempt, builders) = (self.clone(), builders.to_vec());
        self.shared.tasks.spawn(async move {
            let shared = &attempt.shared;
            let connected = shared.reach.peers.borrow().clone();
            let (near, far): (Vec<_>, Vec<_>) = builders.into_iter().partition(|node| connected.binary_search(node).is_ok());
            let mut known: Vec<NodeId> = near.into_iter().chain(connected.iter().copied()).chain(far).collect();
            locked(&shared.slow).put_last(&mut known, Instant::now());
            let mut tried = BTreeSet::from([shared.me]);
            if attempt.offer(known, &mut tried, &found).await {
                let providers = shared.reach.find_providers(attempt.artifact.sha256).await;
                attempt.offer(providers, &mut tried, &found).await;
            }
        });
        candidates
    }

    /// Offers each node once, and none that lied about this artifact. Whether more are wanted.
    async fn offer(&self, nodes: Vec<NodeId>, tried: &mut BTreeSet<NodeId>, found: &mpsc::Sender<NodeId>) -> bool {
        for node in nodes {
            let lied = locked(&self.shared.liars).has(self.artifact.chunk_root, node);
            if !lied && tried.insert(node) && found.send(node).await.is_err() {
                return false;
            }
        }
        !found.is_closed()
    }

    async fn use_provider(self: &Arc<Self>, node: NodeId) -> Result<(), ProviderFailure> {
        let shared = &self.shared;
        if !shared.reach.connect(node).await {
            return Err(ProviderFailure::Unreachable);
        }
        let mut stream = open_stream(&shared.control, &node, &shared.patience).await?;
        let download = match self.download.get() {
            Some(download) => download.clone(),
            None => {
                let list = ask_chunk_list(&mut stream, &self.artifact, &shared.patience).await?;
                self.download.get_or_try_init(|| self.begin(list)).await?.clone()
            }
        };
        let first = download.bring(node, stream);
        let second = async {
            let Ok(_permit) = shared.second_streams.try_acquire() else { return Ok(()) };
            if !is_worth_a_second_stream(&download) {
                return Ok(());
            }
            let Ok(stream) = open_stream(&shared.control, &node, &shared.patience).await else { return Ok(()) };
            match download.bring(node, stream).await {
                // The provider may not want to serve two streams; the first one shows whether it is of use.
                Err(ProviderFailure::Stream(_) | ProviderFailure::Stalled(_) | ProviderFailure::Unavailable) => Ok(()),
                ended => ended,
            }
        };
        tokio::try_join!(first, second).map(|_| ())
    }

    async fn begin(&self, list: crate::artifacts::ChunkList) -> Result<Arc<Download>, StoreError> {
        let shared = &self.shared;
        let (sha256, patience) = (self.artifact.sha256, shared.patience);
        let (rate, metrics) = (shared.rooms.download.clone(), shared.metrics.clone());
        let opened = Download::open(shared.store.clone(), sha256, list, patience, rate, metrics).await?;
        let download = Arc::new(opened);
        if let Some(arriving) = download.arriving() {
            self.flight.send_replace(Flight::Arriving(arriving));
        }
        let (following, finished) = (download.clone(), self.finished.clone());
        shared.tasks.spawn(async move {
            let outcome = match spawn_blocking(move || following.follow()).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(FollowError::Wrong { found })) => Err(FetchError::Damaged { found }),
                Ok(Err(FollowError::Store(error))) => Err(error.into()),
                Ok(Err(FollowError::Abandoned)) | Err(_) => Err(FetchError::Stopped),
            };
            finished.send_replace(Some(outcome));
        });
        Ok(download)
    }
}
