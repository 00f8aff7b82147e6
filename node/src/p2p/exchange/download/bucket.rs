//! Chunks from the bucket behind the store: one more provider, asked before the peers and believed as little as they are.

use super::{Download, HeldClaim, ProviderFailure};
use crate::bucket::{Bucket, BucketError, BucketRead};
use pyrsia_ledger::NodeId;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

impl Download {
    /// Brings ranges of chunks until there is none left to take or the bucket fails; each takes one of `places` while it is in memory.
    pub(in super::super) async fn bring_from_bucket(
        self: &Arc<Self>,
        me: NodeId,
        bucket: &Bucket,
        places: &Semaphore,
    ) -> Result<(), ProviderFailure> {
        loop {
            let Ok(_place) = places.acquire().await else { return Ok(()) };
            let taken = {
                let mut progress = self.progress();
                if progress.plan.is_complete() || progress.abandoned {
                    return Ok(());
                }
                self.arrivals.take_wanted().into_iter().for_each(|chunks| progress.plan.prefer(chunks));
                progress.plan.take(me)
            };
            let Some((claim, range)) = taken else { return Ok(()) };
            let held = HeldClaim { download: self, claim };
            let bytes_of = |chunk| self.partial.list().bytes_of(chunk);
            let bytes = bytes_of(range.start).start..bytes_of(range.end - 1).end;
            let got = match bucket.read(&self.sha256, bytes.clone()).await {
                Ok(BucketRead::Found(got)) => got,
                Ok(BucketRead::NotThere) => return Err(ProviderFailure::Unavailable),
                Err(BucketError::Wrong { .. }) => return Err(ProviderFailure::Lied),
                Err(_) => return Err(ProviderFailure::Unreachable),
            };
            let download = self.clone();
            let keeping = spawn_blocking(move || {
                let bytes_of = |chunk| download.partial.list().bytes_of(chunk);
                let within = |at: u64| (at - bytes.start) as usize;
                range.into_iter().try_for_each(|chunk| {
                    let at = bytes_of(chunk);
                    download.keep(claim, chunk, &got[within(at.start)..within(at.end)])
                })
            });
            keeping.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
            drop(held);
        }
    }
}
