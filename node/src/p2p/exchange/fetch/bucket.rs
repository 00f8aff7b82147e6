//! The bucket behind the store as one more source of a fetch, beside the peers: it has a head start, and neither waits for the other after that.

use super::FetchError;
use super::attempt::Attempt;
use crate::bucket::{Bucket, BucketRead};
use crate::p2p::exchange::download::ProviderFailure;
use futures::future::join_all;
use pyrsia_ledger::NodeId;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;

/// Ranges that one download asks for at once, each of up to 8 MiB.
const RANGES_AT_ONCE: usize = 4;
/// How long peers are not bothered with what the bucket is known to have: one that is well has brought something small by then.
const HEAD_START: Duration = Duration::from_millis(500);

impl Attempt {
    /// Brings the artifact from the bucket and from peers.
    pub(super) async fn bring(self: &Arc<Self>, builders: &[NodeId]) -> Result<(), FetchError> {
        let Some(bucket) = &self.shared.rooms.bucket else { return self.rounds(builders).await };
        self.bucket_brings.store(true, Ordering::Relaxed);
        let mut from_bucket = pin!(async {
            let brought = self.from_bucket(bucket).await;
            self.bucket_brings.store(false, Ordering::Relaxed);
            brought
        });
        let head_start = bucket.known_copy(&self.artifact.sha256).map_or(Duration::ZERO, |_| HEAD_START);
        if let Ok(ended) = timeout(head_start, from_bucket.as_mut()).await {
            ended?;
            return self.rounds(builders).await;
        }
        let mut from_peers = pin!(self.rounds(builders));
        tokio::select! {
            ended = from_bucket.as_mut() => {
                ended?;
                return from_peers.await;
            }
            brought = from_peers.as_mut() => match brought {
                Err(FetchError::Unavailable { .. }) => {}
                brought => return brought,
            },
        }
        // The peers were asked while it was to be hoped that the bucket has all.
        from_bucket.await?;
        self.rounds(builders).await
    }

    /// Brings what the bucket has, until nothing is missing or it brings no more.
    async fn from_bucket(self: &Arc<Self>, bucket: &Bucket) -> Result<(), FetchError> {
        let (shared, sha256) = (&self.shared, self.artifact.sha256);
        let list = match bucket.chunk_list(&self.artifact).await {
            Ok(BucketRead::Found(list)) => list,
            Ok(BucketRead::NotThere) => return Ok(()),
            Err(error) => {
                tracing::debug!(%sha256, %error, "the bucket brings nothing of an artifact");
                return Ok(());
            }
        };
        let download = self.download.get_or_try_init(|| self.begin(list)).await?.clone();
        let bring = || download.bring_from_bucket(shared.me, bucket, &self.from_bucket_bytes);
        let brought = join_all((0..RANGES_AT_ONCE).map(|_| bring())).await;
        for failure in brought.into_iter().filter_map(Result::err) {
            match failure {
                ProviderFailure::Store(error) => return Err(error.into()),
                ProviderFailure::Lied => bucket.note_wrong(&sha256, "has chunks that the ledger does not bind").await,
                failure => tracing::warn!(%sha256, %failure, "the bucket brings no more of an artifact"),
            }
        }
        Ok(())
    }

    /// How much of it the bucket brought.
    pub(super) fn note_recalled(&self) -> u64 {
        let bytes = self.from_bucket_bytes.load(Ordering::Relaxed);
        if let Some(bucket) = self.shared.rooms.bucket.as_ref().filter(|_| bytes > 0) {
            bucket.note_recalled();
        }
        bytes
    }
}

#[cfg(test)]
mod tests;
