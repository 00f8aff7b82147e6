//! One artifact on its way in: the streams that bring its chunks, and the thread that follows behind them.
//!
//! Streams take ranges of chunks from one plan, verify each chunk before it is written at its place, and give back what
//! they could not bring. The follower hashes the file in order, as far as it is there, so that little is left to do when
//! the last chunk comes. Who reads what has come is told of each chunk ([`super::feed`]).

mod bucket;

use super::feed::{Arrivals, Arriving};
use super::rate::RateLimit;
use super::{PROTOCOL, RESPONSE_BYTES_MAX, Request, Response};
use crate::artifacts::chunks::{CHUNKS_PER_RANGE, ChunkList, ClaimId, FetchPlan};
use crate::artifacts::{ArtifactStore, Finished, Partial, StoreError};
use crate::p2p::frame::{read_message, write_message};
use crate::p2p::metrics::Metrics;
use crate::p2p::peer_id::peer_of;
use libp2p::Stream;
use libp2p_stream::Control;
use pyrsia_ledger::event::BuiltArtifact;
use pyrsia_ledger::{NodeId, Sha256Digest};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// The last writes of a download that was given up may still hold its partial file.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// How patient a download is with a peer.
#[derive(Clone, Copy, Debug)]
pub(in crate::p2p) struct Patience {
    /// For a stream to open, and for the first bytes of an answer.
    pub(in crate::p2p) answer: Duration,
    /// For a chunk of 1 MiB: at least 35 KB/s.
    pub(in crate::p2p) chunk: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { answer: Duration::from_secs(10), chunk: Duration::from_secs(30) }
    }
}

/// Why a provider brings nothing more.
#[derive(Debug, thiserror::Error)]
pub(in crate::p2p) enum ProviderFailure {
    #[error("it does not have the artifact")]
    Unavailable,
    #[error("it cannot be reached")]
    Unreachable,
    #[error("it sent wrong bytes")]
    Lied,
    #[error("it sent {0}")]
    Stalled(&'static str),
    #[error("it sent {0}")]
    Stream(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(in crate::p2p) struct Download {
    partial: Partial,
    sha256: Sha256Digest,
    progress: Mutex<Progress>,
    /// Wakes the follower.
    arrived: Condvar,
    /// Wakes whoever reads what has come.
    arrivals: Arrivals,
    /// Wakes streams that found nothing to take.
    changed: Notify,
    patience: Patience,
    rate: Arc<RateLimit>,
    metrics: Metrics,
}

struct Progress {
    plan: FetchPlan,
    abandoned: bool,
}

impl Download {
    /// Starts or resumes the download of an artifact with this chunk list.
    pub(super) async fn open(
        store: ArtifactStore,
        sha256: Sha256Digest,
        list: ChunkList,
        patience: Patience,
        rate: Arc<RateLimit>,
        metrics: Metrics,
    ) -> Result<Self, StoreError> {
        let opened = spawn_blocking(move || {
            let deadline = Instant::now() + BUSY_PATIENCE;
            let partial = loop {
                match store.begin_partial(&sha256, list.clone()) {
                    Err(StoreError::Busy { .. }) if Instant::now() < deadline => std::thread::sleep(BUSY_PAUSE),
                    opened => break opened?,
                }
            };
            let done = partial.resume()?;
            let arrivals = Arrivals::new(partial.reader()?, partial.list(), done.clone());
            Ok::<_, StoreError>((partial, done, arrivals))
        });
        let (partial, done, arrivals) = opened.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let progress = Mutex::new(Progress { plan: FetchPlan::new(done), abandoned: false });
        let (arrived, changed) = (Condvar::new(), Notify::new());
        Ok(Self { partial, sha256, progress, arrived, arrivals, changed, patience, rate, metrics })
    }

    /// To read it while it arrives, which is of use only where there is more than the chunk that waits for the whole.
    pub(super) fn arriving(&self) -> Option<Arriving> {
        (self.partial.list().count() > 1).then(|| self.arrivals.arriving())
    }

    /// The providers that others overtook.
    pub(super) fn outpaced(&self) -> Vec<NodeId> {
        self.progress().plan.outpaced().iter().copied().collect()
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many chunks have not come.
    pub(super) fn missing(&self) -> u64 {
        self.progress().plan.missing()
    }

    /// Follows behind the chunks until the artifact is in the store. Blocks; on a thread of its own.
    pub(super) fn follow(&self) -> Result<(), FollowError> {
        let wait_for = |chunk| {
            let waiting = |progress: &mut Progress| !progress.abandoned && !progress.plan.is_done(chunk);
            let progress = self.arrived.wait_while(self.progress(), waiting).unwrap_or_else(PoisonError::into_inner);
            !progress.abandoned
        };
        let finished = self.partial.finish(wait_for, || self.arrivals.whole()).inspect_err(|_| self.arrivals.failed())?;
        match finished {
            Finished::Stored => {
                self.arrivals.stored();
                Ok(())
            }
            Finished::Abandoned => Err(FollowError::Abandoned),
            Finished::Wrong { found } => {
                self.partial.discard();
                Err(FollowError::Wrong { found })
            }
        }
    }

    /// Ends the follower. What has come stays on disk.
    pub(super) fn abandon(&self) {
        self.progress().abandoned = true;
        self.arrivals.ended();
        self.arrived.notify_all();
        self.changed.notify_waiters();
    }

    /// Forgets what has come, for a download that was abandoned.
    pub(super) fn discard(&self) {
        self.partial.discard();
    }

    /// Brings chunks over one stream until none is missing or the provider fails.
    pub(super) async fn bring(self: &Arc<Self>, provider: NodeId, mut stream: Stream) -> Result<(), ProviderFailure> {
        let mut buffers = vec![];
        loop {
            // Registered before the look at the plan, so that no change falls between the two.
            let changed = self.changed.notified();
            let taken = {
                let mut progress = self.progress();
                if progress.plan.is_complete() || progress.abandoned {
                    return Ok(());
                }
                self.arrivals.take_wanted().into_iter().for_each(|chunks| progress.plan.prefer(chunks));
                progress.plan.take(provider)
            };
            let Some((claim, range)) = taken else {
                // Whoever holds the last ranges either finishes them or times out.
                let _ = timeout(self.patience.chunk, changed).await;
                continue;
            };
            let _claim = HeldClaim { download: self, claim };
            self.bring_range(&mut stream, claim, range, &mut buffers).await?;
        }
    }

    async fn bring_range(
        self: &Arc<Self>,
        stream: &mut Stream,
        claim: ClaimId,
        range: Range<u64>,
        buffers: &mut Vec<Vec<u8>>,
    ) -> Result<(), ProviderFailure> {
        let request = Request::Chunks { sha256: self.sha256, from: range.start, count: range.end - range.start };
        match ask(stream, &request, self.patience.answer).await? {
            Response::Chunks => {}
            Response::Unavailable => return Err(ProviderFailure::Unavailable),
            Response::ChunkList { .. } => return Err(unexpected("an answer to another question")),
        }
        let mut keeping: Option<JoinHandle<Kept>> = None;
        for chunk in range {
            let bytes = self.partial.list().bytes_of(chunk);
            let mut buffer = buffers.pop().unwrap_or_default();
            buffer.resize((bytes.end - bytes.start) as usize, 0);
            let arrived = match self.rate.read_exact(stream, &mut buffer, self.patience.chunk).await {
                Ok(read) => read.map_err(ProviderFailure::from),
                Err(_) => Err(ProviderFailure::Stalled("nothing for too long")),
            };
            // One chunk is verified and written while the next one comes in.
            if let Some(before) = keeping.take() {
                buffers.push(settle(before).await?);
            }
            arrived?;
            let download = self.clone();
            keeping = Some(spawn_blocking(move || {
                let kept = download.keep(claim, chunk, &buffer);
                (kept, buffer)
            }));
        }
        if let Some(last) = keeping {
            buffers.push(settle(last).await?);
        }
        Ok(())
    }

    /// Verifies and writes a chunk; whether it was still missing.
    fn keep(&self, claim: ClaimId, chunk: u64, bytes: &[u8]) -> Result<bool, ProviderFailure> {
        if !self.partial.verify(chunk, bytes, |next| self.progress().plan.is_done(next))? {
            return Err(ProviderFailure::Lied);
        }
        if !self.progress().plan.is_done(chunk) {
            self.partial.write_chunk(chunk, bytes)?;
        }
        let mut progress = self.progress();
        let is_new = progress.plan.finish_chunk(claim, chunk);
        if is_new {
            self.partial.note(chunk, progress.plan.done())?;
            self.metrics.artifact_bytes_received.inc_by(bytes.len() as u64);
            self.arrived.notify_all();
            self.arrivals.chunk_came(chunk);
        }
        if progress.plan.is_complete() {
            self.changed.notify_waiters();
        }
        Ok(is_new)
    }
}

type Kept = (Result<bool, ProviderFailure>, Vec<u8>);

/// Waits until a chunk is written; gives its buffer back.
async fn settle(keeping: JoinHandle<Kept>) -> Result<Vec<u8>, ProviderFailure> {
    let (kept, buffer) = keeping.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    kept.map(|_| buffer)
}

/// A range that a stream has taken: whatever ends the stream, what it did not bring is free again.
struct HeldClaim<'a> {
    download: &'a Download,
    claim: ClaimId,
}

impl Drop for HeldClaim<'_> {
    fn drop(&mut self) {
        self.download.progress().plan.give_back(self.claim);
        self.download.changed.notify_waiters();
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum FollowError {
    #[error("the chunks are what the ledger says, and together have sha256 {found}")]
    Wrong { found: Sha256Digest },
    #[error("it was given up")]
    Abandoned,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens a stream for artifacts to a connected node.
pub(super) async fn open_stream(control: &Control, to: &NodeId, patience: &Patience) -> Result<Stream, ProviderFailure> {
    let opened = timeout(patience.answer, control.clone().open_stream(peer_of(to), PROTOCOL)).await;
    opened.ok().and_then(Result::ok).ok_or(ProviderFailure::Unreachable)
}

/// Asks for the chunk list of an artifact and checks that it is the one the ledger binds.
pub(super) async fn ask_chunk_list(
    stream: &mut Stream,
    artifact: &BuiltArtifact,
    patience: &Patience,
) -> Result<ChunkList, ProviderFailure> {
    match ask(stream, &Request::ChunkList { sha256: artifact.sha256 }, patience.answer).await? {
        Response::ChunkList { chunks } => {
            ChunkList::bound_by(artifact.size_bytes, &artifact.chunk_root, chunks).map_err(|_| ProviderFailure::Lied)
        }
        Response::Unavailable => Err(ProviderFailure::Unavailable),
        Response::Chunks => Err(unexpected("an answer to another question")),
    }
}

/// Whether a second stream to the same provider has anything to do.
pub(super) fn is_worth_a_second_stream(download: &Download) -> bool {
    download.missing() > CHUNKS_PER_RANGE
}

async fn ask(stream: &mut Stream, request: &Request, patience: Duration) -> Result<Response, ProviderFailure> {
    let answer = async {
        write_message(stream, request).await?;
        read_message::<Response>(stream, RESPONSE_BYTES_MAX).await
    };
    match timeout(patience, answer).await {
        Ok(Ok(Some(response))) => Ok(response),
        Ok(Ok(None)) => Err(unexpected("the end of the stream")),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(ProviderFailure::Stalled("no answer in time")),
    }
}

fn unexpected(what: &str) -> ProviderFailure {
    ProviderFailure::Stream(io::Error::new(io::ErrorKind::InvalidData, what))
}
