//! A fetch begins with the bucket behind the store; what it does not have, or has wrong, the peers bring.

use super::{Attempt, FetchError};
use crate::bucket::BucketRead;
use crate::p2p::exchange::download::ProviderFailure;
use futures::future::join_all;
use std::sync::Arc;
use std::time::Instant;

/// Ranges that one download asks for at once, each of up to 8 MiB.
const RANGES_AT_ONCE: usize = 4;
/// Ranges that are in memory at once, over all downloads: 64 MiB.
pub(super) const RANGES_MAX: usize = 8;

impl Attempt {
    /// Brings what the bucket has; whether that is the whole artifact, and it is stored.
    pub(super) async fn from_bucket(self: &Arc<Self>) -> Result<bool, FetchError> {
        let shared = &self.shared;
        let Some(bucket) = &shared.rooms.bucket else { return Ok(false) };
        let (started, sha256) = (Instant::now(), self.artifact.sha256);
        let list = match bucket.chunk_list(&self.artifact).await {
            Ok(BucketRead::Found(list)) => list,
            Ok(BucketRead::NotThere) => return Ok(false),
            Err(error) => {
                tracing::debug!(%sha256, %error, "the bucket brings nothing of an artifact");
                return Ok(false);
            }
        };
        let download = self.download.get_or_try_init(|| self.begin(list)).await?.clone();
        let brought = join_all((0..RANGES_AT_ONCE).map(|_| download.bring_from_bucket(shared.me, bucket, &shared.ranges))).await;
        for failure in brought.into_iter().filter_map(Result::err) {
            match failure {
                ProviderFailure::Store(error) => return Err(error.into()),
                ProviderFailure::Lied => bucket.note_wrong(&sha256, "has chunks that the ledger does not bind").await,
                failure => tracing::warn!(%sha256, %failure, "the bucket brings no more of an artifact"),
            }
        }
        if download.missing() > 0 {
            return Ok(false);
        }
        let mut finished = self.finished.subscribe();
        let outcome = finished.wait_for(Option::is_some).await.map_err(|_| FetchError::Stopped)?.clone();
        outcome.expect("the wait was for an outcome")?;
        bucket.note_recalled();
        let (size_bytes, elapsed_ms) = (self.artifact.size_bytes, started.elapsed().as_millis() as u64);
        tracing::info!(artifact = %self.artifact.artifact_id, %sha256, size_bytes, elapsed_ms, "an artifact came back from the bucket");
        Ok(true)
    }
}
