//! Giving out what only the bucket behind the store has: a node that keeps an artifact there keeps it for the others as well.
//!
//! The bytes go from the bucket to the peer and touch no disk; each chunk is hashed first, so that this node never sends what it would not take.
//! The operator pays for each request and each byte: what is not known to be in the bucket is not looked for, what was looked up is remembered,
//! and what was read for a peer counts against the upload's rate whether the peer takes it or not.

use super::Server;
use crate::artifacts::ChunkList;
use crate::artifacts::chunks::CHUNKS_PER_RANGE;
use crate::bucket::{Bucket, BucketError, BucketRead};
use crate::p2p::exchange::rate::RateLimit;
use bytes::Bytes;
use pyrsia_ledger::event::BuiltArtifact;
use pyrsia_ledger::{NodeId, Sha256Digest};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{sleep_until, timeout};

/// Chunks that are in memory at once for peers, read or on their way out; what else the bucket has room for stays for this node's own downloads.
const CHUNKS_MAX: usize = 48;
/// Chunks of them that are for one peer, which may take its time: two ranges.
const CHUNKS_PER_PEER_MAX: usize = 2 * CHUNKS_PER_RANGE as usize;
/// Chunk lists that are asked for at once, over all peers.
const LOOKS_AT_ONCE: usize = 4;
/// How long after one look the next one begins, whatever is looked at: ten a second.
const LOOK_PACE: Duration = Duration::from_millis(100);
/// How long a peer is let wait for the bucket, for everything that one request needs, which is shorter than it waits for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(8);
/// Chunk lists that are remembered.
const LISTS_MAX: usize = 4_096;
/// The digests of chunks in all of them together: 8 MiB.
const DIGESTS_MAX: u64 = 256 << 10;
/// How long a peer is told that the bucket has an artifact after it has shown that: others let theirs go because of it.
const SHOWN_FOR: Duration = Duration::from_secs(30);

/// The bucket, as far as peers may use it.
pub(super) struct Behind {
    bucket: Bucket,
    room: Arc<Semaphore>,
    room_of_peers: Shares<NodeId>,
    looks: Semaphore,
    looks_at: Shares<Sha256Digest>,
    next_look: Mutex<Option<Instant>>,
    lists: Mutex<Lists>,
}

/// As many places for each key, kept while somebody has or wants one of them.
struct Shares<Key> {
    places: usize,
    of: Mutex<BTreeMap<Key, Arc<Semaphore>>>,
}

impl<Key: Ord> Shares<Key> {
    fn new(places: usize) -> Self {
        Self { places, of: Mutex::default() }
    }

    async fn take(&self, key: Key, places: u32) -> OwnedSemaphorePermit {
        let share = {
            let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            of.retain(|_, share| Arc::strong_count(share) > 1);
            of.entry(key).or_insert_with(|| Arc::new(Semaphore::new(self.places))).clone()
        };
        share.acquire_many_owned(places).await.expect("it is never closed")
    }
}

/// The chunk lists that were asked for last, and when the bucket showed that it has what they are of.
#[derive(Default)]
struct Lists {
    known: BTreeMap<Sha256Digest, Listed>,
    /// In the order in which they are forgotten.
    order: VecDeque<Sha256Digest>,
    digests: u64,
}

struct Listed {
    list: Arc<ChunkList>,
    shown_at: Instant,
}

/// Chunks in memory, which take their places until they are sent.
pub(super) struct RangeBehind<'a> {
    pub(super) bytes: Bytes,
    pub(super) debt: Debt<'a>,
    /// The first chunk behind them.
    pub(super) end: u64,
    _room: [OwnedSemaphorePermit; 3],
}

/// Bytes that were read for a peer, as far as they are not sent: they count as sent when the peer goes without them.
pub(super) struct Debt<'a> {
    upload: &'a RateLimit,
    bytes: usize,
}

impl Debt<'_> {
    /// Returns when the next of them may be sent.
    pub(super) async fn pay(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.upload.pass(bytes).await;
    }
}

impl Drop for Debt<'_> {
    fn drop(&mut self) {
        self.upload.charge(self.bytes);
    }
}

impl Lists {
    /// A list, and whether the bucket has shown of late that it has what that is of.
    fn get(&self, sha256: &Sha256Digest) -> Option<(Arc<ChunkList>, bool)> {
        self.known.get(sha256).map(|listed| (listed.list.clone(), listed.shown_at.elapsed() < SHOWN_FOR))
    }

    fn keep(&mut self, sha256: Sha256Digest, list: Arc<ChunkList>) {
        let shown_at = Instant::now();
        self.digests += list.count();
        match self.known.insert(sha256, Listed { list, shown_at }) {
            Some(before) => self.digests -= before.list.count(),
            None => self.order.push_back(sha256),
        }
        while (self.known.len() > LISTS_MAX || self.digests > DIGESTS_MAX)
            && let Some(oldest) = self.order.pop_front()
        {
            self.digests -= self.known.remove(&oldest).map_or(0, |forgotten| forgotten.list.count());
        }
    }
}

impl Behind {
    pub(super) fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            room: Arc::new(Semaphore::new(CHUNKS_MAX)),
            room_of_peers: Shares::new(CHUNKS_PER_PEER_MAX),
            looks: Semaphore::new(LOOKS_AT_ONCE),
            looks_at: Shares::new(1),
            next_look: Mutex::default(),
            lists: Mutex::default(),
        }
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chunk list of an artifact that the bucket shows to have, at this moment or a moment ago.
    async fn shown(&self, artifact: &BuiltArtifact) -> Option<Arc<ChunkList>> {
        let sha256 = &artifact.sha256;
        // Whoever waited for the same look finds what it has found.
        let _look_at_it = self.looks_at.take(*sha256, 1).await;
        self.bucket.known_copy(sha256)?;
        let remembered = self.lists().get(sha256);
        if let Some((list, true)) = remembered {
            return Some(list);
        }
        let _look = self.looks.acquire().await.ok()?;
        self.pass_look().await;
        let list = match remembered {
            Some((list, _)) => {
                self.bucket.still_has(sha256).await?;
                list
            }
            None => match self.bucket.chunk_list(artifact).await {
                Ok(BucketRead::Found(list)) => Arc::new(list),
                Ok(BucketRead::NotThere) => {
                    self.note_absence(sha256).await;
                    return None;
                }
                Err(error) => {
                    tracing::debug!(%sha256, %error, "the bucket gives a peer nothing of an artifact");
                    return None;
                }
            },
        };
        self.lists().keep(*sha256, list.clone());
        Some(list)
    }

    /// Returns when the next look may begin.
    async fn pass_look(&self) {
        let at = {
            let mut next = self.next_look.lock().unwrap_or_else(PoisonError::into_inner);
            let at = next.map_or_else(Instant::now, |next| next.max(Instant::now()));
            *next = Some(at + LOOK_PACE);
            at
        };
        sleep_until(at.into()).await;
    }

    /// Takes room for so many chunks, first of what this peer may have.
    async fn room(&self, peer: NodeId, chunks: u32) -> [OwnedSemaphorePermit; 3] {
        let of_peer = self.room_of_peers.take(peer, chunks).await;
        let of_all = self.room.clone().acquire_many_owned(chunks).await.expect("it is never closed");
        [of_peer, of_all, self.bucket.room(chunks).await]
    }

    /// Makes sure that a copy is gone, so that it is not looked for again.
    async fn note_absence(&self, sha256: &Sha256Digest) {
        if self.bucket.still_has(sha256).await.is_some() {
            tracing::debug!(%sha256, "the bucket has an artifact and no chunk list of it");
        }
    }

    /// Reads a range; none where it cannot be had.
    async fn read(&self, list: &Arc<ChunkList>, sha256: Sha256Digest, from: u64, end: u64) -> Option<Bytes> {
        let start = list.bytes_of(from).start;
        let bytes = match self.bucket.read(&sha256, start..list.bytes_of(end - 1).end).await {
            Ok(BucketRead::Found(bytes)) => bytes,
            Ok(BucketRead::NotThere) => {
                self.note_absence(&sha256).await;
                return None;
            }
            Err(BucketError::Resting { .. }) => return None,
            Err(error) => {
                tracing::debug!(%sha256, %error, "the bucket gives a peer nothing of an artifact");
                return None;
            }
        };
        let (list, hashed) = (list.clone(), bytes.clone());
        let hashing = spawn_blocking(move || {
            let within = |at: u64| (at - start) as usize;
            (from..end).all(|chunk| {
                let at = list.bytes_of(chunk);
                list.holds(chunk, &hashed[within(at.start)..within(at.end)])
            })
        });
        if !hashing.await.ok()? {
            self.bucket.note_wrong(&sha256, "has chunks that the ledger does not bind").await;
            return None;
        }
        Some(bytes)
    }
}

impl Server {
    fn published(&self, sha256: &Sha256Digest) -> Option<BuiltArtifact> {
        Some(self.ledger.borrow().state.as_ref()?.packages.digest(sha256)?.1.artifact.clone())
    }

    /// The chunk list of an artifact that the bucket has.
    pub(super) async fn list_behind(&self, sha256: &Sha256Digest) -> Option<Arc<ChunkList>> {
        let behind = self.behind.as_ref()?;
        behind.bucket.known_copy(sha256)?;
        if let Some((list, true)) = behind.lists().get(sha256) {
            return Some(list);
        }
        timeout(ANSWER_TIME, behind.shown(&self.published(sha256)?)).await.ok()?
    }

    /// The first of some chunks of an artifact that the bucket has, each of them checked: all of them, or a single one where the upload has a rate, for at the
    /// rate it may be long until what was read is sent.
    pub(super) async fn open_behind(
        &self,
        peer: &NodeId,
        sha256: Sha256Digest,
        from: u64,
        count: u64,
    ) -> io::Result<Option<RangeBehind<'_>>> {
        let Some(behind) = self.behind.as_ref().filter(|_| self.may_leave(peer, &sha256)) else { return Ok(None) };
        let opening = async {
            if behind.bucket.known_copy(&sha256).is_none() {
                return Ok(None);
            }
            let remembered = behind.lists().get(&sha256);
            let list = match remembered {
                Some((list, _)) => Some(list),
                None => match self.published(&sha256) {
                    Some(artifact) => behind.shown(&artifact).await,
                    None => None,
                },
            };
            let Some(list) = list else { return Ok(None) };
            let end = from.checked_add(count).filter(|end| (1..=CHUNKS_PER_RANGE).contains(&count) && *end <= list.count());
            let Some(end) = end else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a range of chunks that the artifact does not have"));
            };
            let end = if self.upload.is_bounded() { from + 1 } else { end };
            let room = behind.room(*peer, (end - from) as u32).await;
            // No byte is read before all that were read for others are paid for.
            self.upload.pass(0).await;
            let read = behind.read(&list, sha256, from, end).await;
            Ok(read.map(|bytes| RangeBehind { debt: Debt { upload: &self.upload, bytes: bytes.len() }, bytes, end, _room: room }))
        };
        timeout(ANSWER_TIME, opening).await.unwrap_or(Ok(None))
    }
}

#[cfg(test)]
mod tests;
