//! What the disk turned out to have lost. Nobody asked for these removals, so whoever told others of an artifact hears of them here.

use pyrsia_ledger::Sha256Digest;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// What became of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    Gone,
    /// Its file has other bytes, and the disk does not let it be removed.
    Stuck,
}

#[derive(Debug, Default)]
pub(super) struct Losses {
    /// That nobody has heard of yet.
    unheard: Mutex<BTreeMap<Sha256Digest, Loss>>,
    noted: Notify,
}

impl Losses {
    pub(super) fn note(&self, sha256: Sha256Digest, loss: Loss) {
        self.unheard.lock().unwrap_or_else(PoisonError::into_inner).insert(sha256, loss);
        self.noted.notify_one();
    }

    /// Waits for the next ones. For one who hears: each is told once.
    pub(super) async fn next(&self) -> BTreeMap<Sha256Digest, Loss> {
        loop {
            let lost = std::mem::take(&mut *self.unheard.lock().unwrap_or_else(PoisonError::into_inner));
            if !lost.is_empty() {
                return lost;
            }
            self.noted.notified().await;
        }
    }
}
