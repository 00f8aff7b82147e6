//! Chunks from the bucket behind the store: one more provider, believed as little as a peer is.

use super::{Download, HeldClaim, ProviderFailure};
use crate::artifacts::chunks::CHUNKS_PER_RANGE;
use crate::bucket::{Bucket, BucketError, BucketRead};
use pyrsia_ledger::NodeId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

impl Download {
    /// Brings ranges of chunks until none is missing or the bucket fails. `brought` counts the bytes that nobody else brought before.
    pub(in super::super) async fn bring_from_bucket(
        self: &Arc<Self>,
        me: NodeId,
        bucket: &Bucket,
        brought: &AtomicU64,
    ) -> Result<(), ProviderFailure> {
        loop {
            let room = bucket.room(CHUNKS_PER_RANGE as u32).await;
            // Registered before the look at the plan, so that no change falls between the two.
            let changed = self.changed.notified();
            let taken = {
                let mut progress = self.progress();
                if progress.plan.is_complete() || progress.abandoned {
                    return Ok(());
                }
                self.arrivals.take_wanted().into_iter().for_each(|chunks| progress.plan.prefer(chunks));
                progress.plan.take(me)
            };
            let Some((claim, range)) = taken else {
                drop(room);
                // Whoever holds the last ranges either finishes them or times out.
                let _ = timeout(self.patience.chunk, changed).await;
                continue;
            };
            let held = HeldClaim { download: self, claim };
            let bytes_of = |chunk| self.partial.list().bytes_of(chunk);
            let bytes = bytes_of(range.start).start..bytes_of(range.end - 1).end;
            let patience = self.patience.chunk * (range.end - range.start) as u32;
            let got = match timeout(patience, bucket.read(&self.sha256, bytes.clone())).await {
                Ok(Ok(BucketRead::Found(got))) => got,
                Ok(Ok(BucketRead::NotThere)) => return Err(ProviderFailure::Unavailable),
                Ok(Err(BucketError::Wrong { .. })) => return Err(ProviderFailure::Lied),
                Ok(Err(_)) => return Err(ProviderFailure::Unreachable),
                Err(_) => return Err(ProviderFailure::Stalled("nothing for too long")),
            };
            let download = self.clone();
            let keeping = spawn_blocking(move || {
                let bytes_of = |chunk| download.partial.list().bytes_of(chunk);
                let within = |at: u64| (at - bytes.start) as usize;
                range.into_iter().try_fold(0, |new, chunk| {
                    let at = bytes_of(chunk);
                    let is_new = download.keep(claim, chunk, &got[within(at.start)..within(at.end)])?;
                    Ok::<_, ProviderFailure>(if is_new { new + at.end - at.start } else { new })
                })
            });
            let kept = keeping.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            brought.fetch_add(kept?, Ordering::Relaxed);
            drop((held, room));
        }
    }
}
