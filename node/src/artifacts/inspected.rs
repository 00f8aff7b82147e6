//! Which stored artifacts were read whole and found right since their files last changed.
//!
//! A file that somebody writes to, or puts in the place of another, has another stamp than the one that was noted, and is read
//! again before anything of it leaves the node. In memory only: what lay on the disk while the node was stopped is read again.

use pyrsia_ledger::Sha256Digest;
use std::collections::HashMap;
use std::fs::Metadata;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Artifacts whose stamps are kept, of about 100 bytes each. When they are full, all are read once more.
const INSPECTED_MAX: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Inspected {
    stamps: Mutex<HashMap<Sha256Digest, Stamp>>,
}

/// What changes with every change of a file. On Unix nobody sets the time of the last change (`ctime`) but the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    size_bytes: u64,
    #[cfg(unix)]
    place_and_change: (u64, u64, i64, i64),
    #[cfg(not(unix))]
    modified: Option<std::time::SystemTime>,
}

impl Stamp {
    #[cfg(unix)]
    pub(super) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let place_and_change = (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec());
        Self { size_bytes: metadata.len(), place_and_change }
    }

    #[cfg(not(unix))]
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { size_bytes: metadata.len(), modified: metadata.modified().ok() }
    }
}

impl Inspected {
    pub(super) fn has(&self, sha256: &Sha256Digest, stamp: Stamp) -> bool {
        self.stamps().get(sha256) == Some(&stamp)
    }

    pub(super) fn knows(&self, sha256: &Sha256Digest) -> bool {
        self.stamps().contains_key(sha256)
    }

    pub(super) fn note(&self, sha256: Sha256Digest, stamp: Stamp) {
        let mut stamps = self.stamps();
        if stamps.len() >= INSPECTED_MAX && !stamps.contains_key(&sha256) {
            stamps.clear();
        }
        stamps.insert(sha256, stamp);
    }

    fn stamps(&self) -> MutexGuard<'_, HashMap<Sha256Digest, Stamp>> {
        self.stamps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
