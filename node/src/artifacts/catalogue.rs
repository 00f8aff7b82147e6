//! What is stored, in memory: how large it is, when it was last used, and the room that downloads have taken.
//!
//! Made from the folder when the store opens, and kept in step by it. The time of the last use stands on disk as the modification time of the
//! chunk list, written at most once in [`USE_STEP`] for each artifact: reading costs no writes, and a restart loses no more than that.

use super::error::{OnDisk as _, StoreError};
use pyrsia_ledger::Sha256Digest;
use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How exact the time of the last use is after a restart.
pub(super) const USE_STEP: Duration = Duration::from_secs(60 * 60);
/// What stands after the name of an artifact in the name of its chunk list.
pub(super) const LIST_SUFFIX: &str = "chunks";

#[derive(Debug, Default)]
pub(super) struct Catalogue {
    contents: Mutex<Contents>,
    pub(super) counts: Counts,
}

#[derive(Debug, Default)]
struct Contents {
    entries: BTreeMap<Sha256Digest, Entry>,
    bytes: u64,
    reserved: BTreeMap<Sha256Digest, u64>,
    reserved_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    size_bytes: u64,
    used: SystemTime,
    /// The time of the last use that stands on disk.
    noted: SystemTime,
}

/// An artifact that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredArtifact {
    pub sha256: Sha256Digest,
    pub size_bytes: u64,
    pub last_use: SystemTime,
}

/// How full the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub artifacts: u64,
    pub bytes: u64,
    /// Taken by downloads that are under way.
    pub reserved_bytes: u64,
}

/// What was done since the node started.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) evictions: AtomicU64,
    pub(crate) evicted_bytes: AtomicU64,
    /// Artifacts whose bytes turned out to be others, by a scrub or when they were to be served.
    pub(crate) rotten: AtomicU64,
    /// Those of them, and lost pinned ones, that came back from other nodes.
    pub(crate) healed: AtomicU64,
    pub(crate) scrubbed_bytes: AtomicU64,
    /// Artifacts that got their name.
    pub(crate) arrivals: AtomicU64,
}

impl Counts {
    pub(crate) fn add(count: &AtomicU64, more: u64) {
        count.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn evicted(&self, bytes: u64) {
        Self::add(&self.evictions, 1);
        Self::add(&self.evicted_bytes, bytes);
    }
}

impl Catalogue {
    /// Looks at every file. A chunk list whose blob is gone is what a kill in the middle of a removal leaves, and is removed.
    pub(super) fn read(blobs: &Path, now: SystemTime) -> Result<Self, StoreError> {
        let mut contents = Contents::default();
        for folder in fs::read_dir(blobs).on_disk("list", blobs)?.flatten() {
            let folder = folder.path();
            let (mut blobs, mut lists) = (BTreeMap::new(), BTreeMap::new());
            for entry in fs::read_dir(&folder).on_disk("list", &folder)?.flatten() {
                let (name, Ok(metadata)) = (entry.file_name(), entry.metadata()) else { continue };
                let Some(name) = name.to_str() else { continue };
                match name.split_once('.') {
                    None => name.parse::<Sha256Digest>().map(|sha256| blobs.insert(sha256, metadata)).ok(),
                    Some((name, LIST_SUFFIX)) => name.parse().map(|sha256| lists.insert(sha256, metadata)).ok(),
                    Some(_) => None,
                };
            }
            for sha256 in lists.keys().filter(|sha256| !blobs.contains_key(sha256)) {
                let path = folder.join(format!("{sha256}.{LIST_SUFFIX}"));
                fs::remove_file(&path).on_disk("remove", &path)?;
            }
            for (sha256, metadata) in blobs {
                // A clock that stood ahead once would keep an artifact for ever.
                let used = modified(lists.get(&sha256).unwrap_or(&metadata)).min(now);
                contents.insert(sha256, Entry { size_bytes: metadata.len(), used, noted: used });
            }
        }
        Ok(Self { contents: Mutex::new(contents), counts: Counts::default() })
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An artifact has got its name, and the room that was taken for it is its own.
    pub(super) fn insert(&self, sha256: Sha256Digest, size_bytes: u64, now: SystemTime) {
        Counts::add(&self.counts.arrivals, 1);
        let mut contents = self.contents();
        contents.release(&sha256);
        contents.insert(sha256, Entry { size_bytes, used: now, noted: now });
    }

    /// Whether it was known.
    pub(super) fn forget(&self, sha256: &Sha256Digest) -> bool {
        self.contents().forget(sha256)
    }

    /// Remembers a use; whether its time has to be written to the disk.
    pub(super) fn use_at(&self, sha256: &Sha256Digest, now: SystemTime) -> bool {
        let mut contents = self.contents();
        let Some(entry) = contents.entries.get_mut(sha256) else { return false };
        entry.used = now;
        let is_due = now.duration_since(entry.noted).is_ok_and(|since| since >= USE_STEP);
        if is_due {
            entry.noted = now;
        }
        is_due
    }

    pub(super) fn get(&self, sha256: &Sha256Digest) -> Option<StoredArtifact> {
        self.contents().entries.get(sha256).map(|entry| entry.named(sha256))
    }

    /// Up to `count_max` artifacts after `after`, in the order of their digests.
    pub(super) fn page(&self, after: Option<&Sha256Digest>, count_max: usize) -> Vec<StoredArtifact> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let contents = self.contents();
        let rest = contents.entries.range::<Sha256Digest, _>((from, Bound::Unbounded));
        rest.take(count_max).map(|(sha256, entry)| entry.named(sha256)).collect()
    }

    pub(super) fn least_recently_used_first(&self) -> Vec<StoredArtifact> {
        let mut all: Vec<StoredArtifact> = self.contents().entries.iter().map(|(sha256, entry)| entry.named(sha256)).collect();
        all.sort_unstable_by_key(|stored| (stored.last_use, stored.sha256));
        all
    }

    pub(super) fn usage(&self) -> Usage {
        let contents = self.contents();
        Usage { artifacts: contents.entries.len() as u64, bytes: contents.bytes, reserved_bytes: contents.reserved_bytes }
    }

    /// Takes room for a download, if all that is stored and taken stays within `limit_bytes`; otherwise the bytes that are missing.
    pub(super) fn reserve(&self, sha256: Sha256Digest, size_bytes: u64, limit_bytes: u64) -> Result<(), u64> {
        let mut contents = self.contents();
        let wanted = contents.bytes.saturating_add(contents.reserved_bytes).saturating_add(size_bytes);
        if wanted > limit_bytes {
            return Err(wanted - limit_bytes);
        }
        contents.release(&sha256);
        contents.reserved.insert(sha256, size_bytes);
        contents.reserved_bytes += size_bytes;
        Ok(())
    }

    pub(super) fn release(&self, sha256: &Sha256Digest) {
        self.contents().release(sha256);
    }

    pub(super) fn is_reserved(&self, sha256: &Sha256Digest) -> bool {
        self.contents().reserved.contains_key(sha256)
    }
}

impl Contents {
    fn insert(&mut self, sha256: Sha256Digest, entry: Entry) {
        self.forget(&sha256);
        self.bytes += entry.size_bytes;
        self.entries.insert(sha256, entry);
    }

    fn forget(&mut self, sha256: &Sha256Digest) -> bool {
        let known = self.entries.remove(sha256);
        self.bytes -= known.map_or(0, |entry| entry.size_bytes);
        known.is_some()
    }

    fn release(&mut self, sha256: &Sha256Digest) {
        self.reserved_bytes -= self.reserved.remove(sha256).unwrap_or(0);
    }
}

impl Entry {
    fn named(&self, sha256: &Sha256Digest) -> StoredArtifact {
        StoredArtifact { sha256: *sha256, size_bytes: self.size_bytes, last_use: self.used }
    }
}

fn modified(metadata: &Metadata) -> SystemTime {
    metadata.modified().unwrap_or(UNIX_EPOCH)
}
