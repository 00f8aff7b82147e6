//! Giving out what only the bucket behind the store has: a node that keeps an artifact there keeps it for the others as well.
//!
//! The bytes go from the bucket to the peer and touch no disk; each chunk is hashed first, so that this node never sends what it would not take.

use super::Server;
use crate::artifacts::ChunkList;
use crate::artifacts::chunks::CHUNKS_PER_RANGE;
use crate::bucket::{Bucket, BucketRead};
use bytes::Bytes;
use pyrsia_ledger::{NodeId, Sha256Digest};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Ranges that are in memory at once, over all peers, read or on their way out: 64 MiB.
const RANGES_MAX: usize = 8;
/// How long a peer is let wait for the bucket, which is shorter than it waits for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(8);

/// The bucket, as far as peers may use it.
pub(super) struct Behind {
    bucket: Bucket,
    ranges: Arc<Semaphore>,
}

/// A range in memory, which takes one of the places until it is sent.
pub(super) struct RangeBehind {
    pub(super) bytes: Bytes,
    _place: OwnedSemaphorePermit,
}

impl Behind {
    pub(super) fn new(bucket: Bucket) -> Self {
        Self { bucket, ranges: Arc::new(Semaphore::new(RANGES_MAX)) }
    }
}

impl Server {
    /// The chunk list of an artifact that the bucket has.
    pub(super) async fn list_behind(&self, sha256: &Sha256Digest) -> Option<ChunkList> {
        let behind = self.behind.as_ref()?;
        // Each look costs the operator: what is not known to be there is not looked for.
        behind.bucket.known_copy(sha256)?;
        let artifact = self.ledger.borrow().state.as_ref()?.packages.digest(sha256)?.1.artifact.clone();
        match timeout(ANSWER_TIME, behind.bucket.chunk_list(&artifact)).await {
            Ok(Ok(BucketRead::Found(list))) => Some(list),
            Ok(Ok(BucketRead::NotThere)) | Err(_) => None,
            Ok(Err(error)) => {
                tracing::debug!(%sha256, %error, "the bucket gives a peer nothing of an artifact");
                None
            }
        }
    }

    /// Some chunks of an artifact that the bucket has, each of them checked; `known` is the list that this stream has asked for before.
    pub(super) async fn open_behind(
        &self,
        peer: &NodeId,
        sha256: Sha256Digest,
        from: u64,
        count: u64,
        known: &mut Option<(Sha256Digest, ChunkList)>,
    ) -> io::Result<Option<RangeBehind>> {
        let Some(behind) = self.behind.as_ref().filter(|_| self.may_leave(peer, &sha256)) else { return Ok(None) };
        if known.as_ref().is_none_or(|(known, _)| *known != sha256) {
            *known = self.list_behind(&sha256).await.map(|list| (sha256, list));
        }
        let Some((_, list)) = known else { return Ok(None) };
        let end = from.checked_add(count).filter(|end| (1..=CHUNKS_PER_RANGE).contains(&count) && *end <= list.count());
        let Some(end) = end else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a range of chunks that the artifact does not have"));
        };
        let start = list.bytes_of(from).start;
        let reading = async {
            let place = behind.ranges.clone().acquire_owned().await.ok()?;
            let read = behind.bucket.read(&sha256, start..list.bytes_of(end - 1).end).await.ok()?;
            Some((read, place))
        };
        let Ok(Some((BucketRead::Found(bytes), place))) = timeout(ANSWER_TIME, reading).await else { return Ok(None) };
        let within = |at: u64| (at - start) as usize;
        let holds = |chunk: u64| {
            let at = list.bytes_of(chunk);
            list.holds(chunk, &bytes[within(at.start)..within(at.end)])
        };
        if !(from..end).all(holds) {
            behind.bucket.note_wrong(&sha256, "has chunks that the ledger does not bind").await;
            return Ok(None);
        }
        Ok(Some(RangeBehind { bytes, _place: place }))
    }
}
