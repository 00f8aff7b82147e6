//! What the disk turned out to have lost. Nobody asked for these removals, so whoever told others of an artifact hears of them here.

use pyrsia_ledger::Sha256Digest;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct Losses {
    /// That nobody has heard of yet.
    digests: Mutex<BTreeSet<Sha256Digest>>,
    noted: Notify,
}

impl Losses {
    pub(super) fn note(&self, sha256: Sha256Digest) {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).insert(sha256);
        self.noted.notify_one();
    }

    /// Waits for the next ones. For one who hears: each is told once.
    pub(super) async fn next(&self) -> BTreeSet<Sha256Digest> {
        loop {
            let lost = std::mem::take(&mut *self.digests.lock().unwrap_or_else(PoisonError::into_inner));
            if !lost.is_empty() {
                return lost;
            }
            self.noted.notified().await;
        }
    }
}
