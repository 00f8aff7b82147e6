//! Behind the store: whatever is published and on the disk gets a copy.
//!
//! There is no queue to keep or to lose: what waits is what the store has, the ledger names, and the records of copies do not.

use super::write::Copied;
use super::{Bucket, BucketError};
use crate::artifacts::{ArtifactStore, Inspection};
use crate::consensus::LedgerView;
use futures::StreamExt as _;
use pyrsia_ledger::Sha256Digest;
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

/// Artifacts that are copied at once, each with a part in memory.
const COPIES_AT_ONCE: usize = 4;
/// Artifacts that are looked at in one go.
const PAGE: usize = 256;
/// How soon what has come is looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often everything is looked at, whether anything has come or not: what could not be read may be readable.
const LOOK_AGAIN: Duration = Duration::from_secs(10 * 60);

/// Copies until `stop`.
pub(crate) async fn keep_copying(
    bucket: Bucket,
    store: ArtifactStore,
    ledger: watch::Receiver<Arc<LedgerView>>,
    stop: CancellationToken,
) {
    let (mut seen, mut postponed, mut all_at) = (None, BTreeSet::new(), Instant::now());
    loop {
        if all_at.elapsed() >= LOOK_AGAIN {
            (seen, postponed, all_at) = (None, BTreeSet::new(), Instant::now());
        }
        let state = ledger.borrow().state.clone();
        let found = (state.as_ref().map(|state| state.packages.artifact_count()), store.arrivals(), bucket.view().wrong);
        let is_due = seen.as_ref().is_none_or(|(before, at): &(_, Instant)| *before != found || at.elapsed() >= LOOK_AGAIN);
        if is_due {
            let waiting = spawn_blocking({
                let (bucket, store) = (bucket.clone(), store.clone());
                move || {
                    let is_published =
                        |sha256: &Sha256Digest| state.as_ref().is_some_and(|state| state.packages.digest(sha256).is_some());
                    waiting(&store, |sha256| is_published(sha256) && bucket.known_copy(sha256).is_none())
                }
            });
            let mut waiting = waiting.await.unwrap_or_default();
            bucket.counts().waiting.store(waiting.len() as u64, Ordering::Relaxed);
            waiting.retain(|sha256| !postponed.contains(sha256));
            let all_done = copy_all(&bucket, &store, waiting, &mut postponed, &stop).await;
            if stop.is_cancelled() {
                return;
            }
            // What has failed is tried again as soon as the bucket may be asked.
            seen = all_done.then(|| (found, Instant::now()));
        }
        if !bucket.is_well() {
            // Where nothing waits for a copy nobody else may ask it for long. What it says is noted there; while it rests it is not asked.
            let _ = stop.run_until_cancelled(bucket.see_mark()).await;
        }
        let rest = bucket.0.health.rest(Instant::now()).unwrap_or_default().max(LOOK_INTERVAL);
        if stop.run_until_cancelled(tokio::time::sleep(rest)).await.is_none() {
            return;
        }
    }
}

/// What the store has that `is_missing`, in the order of the digests.
fn waiting(store: &ArtifactStore, is_missing: impl Fn(&Sha256Digest) -> bool) -> Vec<Sha256Digest> {
    let (mut found, mut after) = (vec![], None);
    loop {
        let page = store.page(after.as_ref(), PAGE);
        let Some(last) = page.last() else { return found };
        after = Some(last.sha256);
        found.extend(page.iter().map(|stored| stored.sha256).filter(&is_missing));
    }
}

/// What became of an artifact that waited.
enum Progress {
    /// It waits for no copy.
    Done,
    /// It is tried again as soon as the bucket may be asked.
    Again,
    /// What neither the service nor the disk will do better in a second waits for the next look at everything.
    Postponed(Sha256Digest),
}

/// Whether none has to be tried again soon. Those that are tried again much later join the `postponed`.
async fn copy_all(
    bucket: &Bucket,
    store: &ArtifactStore,
    waiting: Vec<Sha256Digest>,
    postponed: &mut BTreeSet<Sha256Digest>,
    stop: &CancellationToken,
) -> bool {
    let waiting = futures::stream::iter(waiting).take_until(stop.cancelled());
    let mut copying = pin!(waiting.map(|sha256| copy(bucket, store, sha256, stop)).buffer_unordered(COPIES_AT_ONCE));
    let mut is_all = true;
    while let Some(progress) = copying.next().await {
        match progress {
            Progress::Done => {
                let _ =
                    bucket.counts().waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| waiting.checked_sub(1));
            }
            Progress::Again => is_all = false,
            Progress::Postponed(sha256) => {
                postponed.insert(sha256);
            }
        }
    }
    is_all
}

async fn copy(bucket: &Bucket, store: &ArtifactStore, sha256: Sha256Digest, stop: &CancellationToken) -> Progress {
    match bucket.copy(store, sha256, stop).await {
        Ok(Copied::Written) => {
            tracing::info!(%sha256, "an artifact has a copy in the bucket");
            Progress::Done
        }
        Ok(Copied::WasThere | Copied::NotHere | Copied::Removed) => Progress::Done,
        // Said once, when it began.
        Err(BucketError::Stopped | BucketError::Resting { .. } | BucketError::Unusable { .. } | BucketError::Unmarked { .. }) => {
            Progress::Again
        }
        Err(BucketError::Rotten) => {
            // Reads it again and takes it out of service, so that it comes back from others.
            let store = store.clone();
            let inspected = spawn_blocking(move || store.inspect(&sha256, |_| true)).await;
            match inspected {
                Ok(Ok(Inspection::Rotten { .. } | Inspection::NotHere)) => Progress::Done,
                _ => Progress::Again,
            }
        }
        Err(error) => {
            tracing::warn!(%sha256, error = %crate::handle::with_cause(&error), "an artifact gets no copy in the bucket for now");
            Progress::Postponed(sha256)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Fixture;
    use super::*;
    use crate::p2p::tests::{in_time, noise};

    #[tokio::test]
    async fn a_bucket_that_is_back_is_found_to_be_though_nothing_waits_for_a_copy() {
        let (fixture, service) = Fixture::of_service();
        let sha256 = fixture.keep(&noise(1_000, 1)).sha256;
        fixture.copy(&fixture.store, sha256).await;
        let (stop, (_view, ledger)) = (CancellationToken::new(), watch::channel(Arc::default()));
        let copying = tokio::spawn(keep_copying(fixture.bucket.clone(), fixture.store.clone(), ledger, stop.clone()));
        service.fail();
        assert!(fixture.bucket.still_has(&sha256).await.is_none() && !fixture.bucket.is_well());
        service.answer_all();
        in_time(async {
            while !fixture.bucket.is_well() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        stop.cancel();
        in_time(copying).await.expect("ends");
    }

    #[tokio::test]
    async fn what_cannot_be_copied_for_now_waits_for_the_next_look_and_is_not_counted_as_copied() {
        let (fixture, stop, mut postponed) = (Fixture::new(), CancellationToken::new(), BTreeSet::new());
        let kept = [1, 3].map(|seed| fixture.keep(&noise(1_000, seed)).sha256);
        // A file that cannot be opened.
        let path = fixture.store.blob_path(&kept[0]);
        std::fs::remove_file(&path).expect("removes");
        std::os::unix::fs::symlink(&path, &path).expect("leads to itself");
        fixture.bucket.counts().waiting.store(2, Ordering::Relaxed);
        assert!(copy_all(&fixture.bucket, &fixture.store, kept.to_vec(), &mut postponed, &stop).await);
        assert_eq!((postponed, fixture.bucket.view().waiting), (BTreeSet::from([kept[0]]), 1));
        assert_eq!(kept.map(|sha256| fixture.bucket.known_copy(&sha256)), [None, Some(1_000)]);
    }
}
