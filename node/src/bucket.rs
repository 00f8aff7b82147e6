//! A second, larger tier behind the store: a bucket of an object storage, or a folder on another disk.
//!
//! ```text
//! <prefix>/pyrsia                            the mark: empty, put by the first node that came
//! <prefix>/sha256/<2 hex>/<64 hex>           the bytes of an artifact
//! <prefix>/sha256/<2 hex>/<64 hex>.chunks    the digests of its chunks, 32 bytes each; none for an artifact of one chunk
//! ```
//!
//! Owns the connection, which copies are known to be there, and the copying. The local store is what serves: published artifacts are copied behind
//! it, what has a copy may leave the disk ([`crate::p2p`] makes room), and comes back chunk by chunk like from a peer. A bucket is trusted no more
//! than a peer: nothing that it sends is used before it was hashed, and a copy counts only once this node wrote it or read all of it.

mod check;
mod copies;
mod copying;
mod health;
mod location;
mod objects;
mod read;
#[cfg(test)]
pub(crate) mod tests;
mod write;

pub use check::{BucketCheck, BucketDepth};
pub(crate) use copying::keep_copying;
pub use location::{BucketConfig, BucketUrlError};
pub(crate) use read::BucketRead;

use copies::Copies;
pub(crate) use copies::Noted;
use health::Health;
use location::Location;
use pyrsia_ledger::Sha256Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_blocking;

/// How long the start of a node waits for its bucket.
const PROBE_TIME: Duration = Duration::from_secs(5);
/// Chunks that are in memory at once on their way out of it, to this disk and to peers: 64 MiB.
const CHUNKS_IN_MEMORY_MAX: usize = 64;
/// The longest reason that is repeated from a service, in characters.
const REASON_CHARS_MAX: usize = 400;

/// Why the bucket did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    #[error("the bucket does not answer, and is left alone for a while: {why}")]
    Resting { why: String },
    #[error("the bucket refuses: {why}")]
    Refused { why: String },
    #[error("the bucket cannot be used: {why}")]
    Unusable { why: String },
    #[error(
        "the bucket lacks the object {mark} that this node has seen there: its disk is not mounted, or it was emptied or is another one. Where that is meant, the folder 'bucket' of the node goes too"
    )]
    Unmarked { mark: String },
    #[error("the copy in the bucket {why}")]
    Wrong { why: String },
    #[error("the node is stopping")]
    Stopped,
    #[error("the copy on the disk is not what its name says")]
    Rotten,
    #[error("the stored artifact {sha256} cannot be read")]
    Unreadable {
        sha256: Sha256Digest,
        #[source]
        source: io::Error,
    },
    #[error("the records of the bucket cannot be kept")]
    Records(#[source] io::Error),
    #[error(transparent)]
    Store(#[from] crate::artifacts::StoreError),
}

/// Why a node does not start with a bucket.
#[derive(Debug, thiserror::Error)]
pub enum OpenBucketError {
    #[error(transparent)]
    Location(#[from] BucketUrlError),
    #[error("the bucket {url} does not take, give back and remove an object")]
    Probe {
        url: String,
        #[source]
        source: BucketError,
    },
    #[error(transparent)]
    Records(BucketError),
}

/// A cheap handle on the bucket of a node.
#[derive(Clone)]
pub struct Bucket(Arc<Shared>);

struct Shared {
    location: Location,
    copies: Arc<Copies>,
    health: Health,
    counts: BucketCounts,
    /// Chunk lists that are being made anew; each ends when its sender is gone.
    mending: Mutex<BTreeMap<Sha256Digest, watch::Receiver<()>>>,
    /// One is made at a time.
    mends: Semaphore,
    /// One for each chunk in memory.
    room: Arc<Semaphore>,
    /// How many copies were made since the start.
    copied: watch::Sender<u64>,
}

/// What was done since the node started.
#[derive(Debug, Default)]
pub(crate) struct BucketCounts {
    pub(crate) written_bytes: AtomicU64,
    pub(crate) read_bytes: AtomicU64,
    /// Requests that failed, but for those of something that is not there.
    pub(crate) failures: AtomicU64,
    /// Copies that turned out to be damaged.
    pub(crate) wrong: AtomicU64,
    /// Artifacts that came back to the disk.
    pub(crate) recalled: AtomicU64,
    /// Published artifacts on the disk that have no copy.
    pub(crate) waiting: AtomicU64,
}

/// The bucket, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketView {
    /// Artifacts that have a copy there, and their bytes.
    pub artifacts: u64,
    pub bytes: u64,
    /// Published artifacts on the disk that have none yet.
    pub waiting: u64,
    /// Copies that are damaged and wait to be written anew.
    pub wrong: u64,
    pub is_reachable: bool,
}

impl Bucket {
    /// Opens what the configuration names, with the records of it in `folder`, and tries it out. A bucket that does not answer is no
    /// reason not to start; one that refuses is.
    pub(crate) async fn open(config: &BucketConfig, folder: &Path) -> Result<Self, OpenBucketError> {
        let location = location::open(config)?;
        let bucket = Self::behind(location, folder).map_err(OpenBucketError::Records)?;
        let probed = tokio::time::timeout(PROBE_TIME, bucket.probe()).await;
        let probed = probed.unwrap_or_else(|_| {
            let why = format!("it did not answer within {} s", PROBE_TIME.as_secs());
            add(&bucket.0.counts.failures, 1);
            bucket.0.health.failed(Instant::now(), &why);
            Err(BucketError::Unusable { why })
        });
        match probed {
            Ok(()) => tracing::info!(url = %bucket.0.location.url, "artifacts are copied to a bucket"),
            Err(error @ BucketError::Unusable { .. }) => {
                tracing::error!(url = %bucket.0.location.url, %error, "the bucket does not answer; the node goes on without it");
            }
            Err(source) => return Err(OpenBucketError::Probe { url: bucket.0.location.url.clone(), source }),
        }
        Ok(bucket)
    }

    fn behind(location: Location, folder: &Path) -> Result<Self, BucketError> {
        let copies = Arc::new(Copies::open(&folder.join("bucket"), &location.id).map_err(BucketError::Records)?);
        let (health, counts, copied) = (Health::default(), BucketCounts::default(), watch::Sender::new(0));
        let (mending, mends) = (Mutex::default(), Semaphore::new(1));
        let room = Arc::new(Semaphore::new(CHUNKS_IN_MEMORY_MAX));
        Ok(Self(Arc::new(Shared { location, copies, health, counts, mending, mends, room, copied })))
    }

    /// The size of an artifact that has a copy, as far as is known here.
    pub(crate) fn known_copy(&self, sha256: &Sha256Digest) -> Option<u64> {
        self.0.copies.get(sha256)
    }

    /// Room in memory for so many chunks of whatever artifacts, up to those of a range.
    pub(crate) async fn room(&self, chunks: u32) -> OwnedSemaphorePermit {
        self.0.room.clone().acquire_many_owned(chunks).await.expect("it is never closed")
    }

    /// Lets go of an artifact whose copy has just been `seen`, unless that is known no more; the copy is not removed before that is done. Blocks.
    pub(crate) fn while_copied<T>(&self, sha256: &Sha256Digest, seen: Noted, leave: impl FnOnce() -> T) -> Option<T> {
        self.0.copies.while_known(sha256, seen, leave)
    }

    /// Up to `count_max` artifacts with a copy, after `after`, in the order of their digests, with their sizes.
    pub(crate) fn page(&self, after: Option<&Sha256Digest>, count_max: usize) -> Vec<(Sha256Digest, u64)> {
        self.0.copies.page(after, count_max)
    }

    pub(crate) fn view(&self) -> BucketView {
        let (artifacts, bytes, wrong) = self.0.copies.totals();
        let waiting = self.0.counts.waiting.load(Ordering::Relaxed);
        BucketView { artifacts, bytes, waiting, wrong, is_reachable: self.is_well() }
    }

    pub(crate) fn is_well(&self) -> bool {
        self.0.health.is_well()
    }

    pub(crate) fn counts(&self) -> &BucketCounts {
        &self.0.counts
    }

    /// Resolves when a copy has been made.
    pub(crate) async fn next_copy(&self) {
        // The sender lives as long as this handle.
        let _ = self.0.copied.subscribe().changed().await;
    }

    /// The copy of an artifact has other bytes: it is used no more, and written anew as soon as the artifact is on the disk.
    pub(crate) async fn note_wrong(&self, sha256: &Sha256Digest, why: &str) {
        if self.0.copies.is_wrong(sha256) {
            return;
        }
        add(&self.0.counts.wrong, 1);
        tracing::error!(%sha256, "the copy of an artifact in the bucket {why}; it is not used, and written anew");
        let (sha256, before) = (*sha256, self.0.copies.mark_wrong(sha256));
        if let Err(error) = self.on_disk(move |copies| copies.record(&sha256, before)).await {
            tracing::error!(%sha256, %error, "that a copy in the bucket is damaged is forgotten by the next start");
        }
    }

    /// Works with the records where that holds up nobody else.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Copies>) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let copies = self.0.copies.clone();
        spawn_blocking(move || work(&copies)).await.map_err(io::Error::other).and_then(|done| done)
    }
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Bucket").field(&self.0.location.url).finish()
    }
}
