//! All rounds of one fetch: who is tried, what each brought or did, and the download that they share.

use super::{FetchError, Flight, Shared, locked};
use crate::artifacts::{ChunkList, StoreError};
use crate::p2p::exchange::download::{
    Download, FollowError, ProviderFailure, ask_chunk_list, is_worth_a_second_stream, open_stream,
};
use pyrsia_ledger::NodeId;
use pyrsia_ledger::event::BuiltArtifact;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OnceCell, mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

/// Providers that one download asks or uses at once, each over one stream or two.
const PROVIDERS_PER_FETCH_MAX: usize = 4;
/// How often all providers are tried without a single chunk having come, before the fetch fails.
pub(super) const FRUITLESS_ROUNDS_MAX: u32 = 4;
/// The pause after the first fruitless round: a provider may not have seen the newest block yet. It doubles.
const ROUND_PAUSE: Duration = Duration::from_millis(250);

type Outcome = Option<Result<(), FetchError>>;

/// The download begins when the first provider names a chunk list that the ledger binds.
pub(super) struct Attempt {
    pub(super) shared: Arc<Shared>,
    pub(super) artifact: BuiltArtifact,
    pub(super) download: OnceCell<Arc<Download>>,
    finished: watch::Sender<Outcome>,
    flight: watch::Sender<Flight>,
    /// Chunks come from the bucket as well, and what is missing says nothing about the peers.
    pub(super) bucket_brings: AtomicBool,
    pub(super) from_bucket_bytes: AtomicU64,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(download) = self.download.get() {
            download.abandon();
        }
    }
}

impl Attempt {
    pub(super) fn new(shared: Arc<Shared>, artifact: BuiltArtifact, flight: watch::Sender<Flight>) -> Arc<Self> {
        let (download, finished) = (OnceCell::new(), watch::Sender::new(None));
        let (bucket_brings, from_bucket_bytes) = (AtomicBool::new(false), AtomicU64::new(0));
        Arc::new(Self { shared, artifact, download, finished, flight, bucket_brings, from_bucket_bytes })
    }

    /// How many chunks have not come; all of them before the chunk list is known.
    fn missing(&self) -> u64 {
        self.download.get().map_or(u64::MAX, |download| download.missing())
    }

    pub(super) async fn rounds(self: &Arc<Self>, builders: &[NodeId]) -> Result<(), FetchError> {
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
    pub(super) async fn close(&self) {
        if let Some(download) = self.download.get() {
            download.abandon();
            // It fails only when the follower is gone, which is what is waited for.
            let _ = self.finished.subscribe().wait_for(Option::is_some).await;
        }
    }

    /// Gives the disk back what has come: to resume it would leave no room for anything else.
    pub(super) fn discard(&self) {
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

    pub(super) fn note_outpaced(&self) {
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

    pub(super) async fn begin(&self, list: ChunkList) -> Result<Arc<Download>, StoreError> {
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
