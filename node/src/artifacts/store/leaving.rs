//! What stays and what leaves: pins, evictions, and the room that a download takes.

use super::{ArtifactStore, Loss, partial};
use crate::artifacts::error::{OnDisk as _, StoreError};
use pyrsia_ledger::Sha256Digest;
use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io;
use std::sync::{MutexGuard, PoisonError};

/// What became of the wish that an artifact leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    Gone,
    NotHere,
    Pinned,
    /// A build needs it, or has not ended long enough ago.
    Needed,
    /// Somebody is reading it.
    InUse,
}

impl ArtifactStore {
    pub(super) fn leaving(&self) -> MutexGuard<'_, ()> {
        self.folder.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes an artifact that is neither pinned nor needed by a build. Who reads it may read on.
    pub(crate) fn remove_unneeded(&self, sha256: &Sha256Digest) -> Result<Leaving, StoreError> {
        let _leaving = self.leaving();
        self.leave(sha256)
    }

    /// The same for one that nobody reads either, to make room.
    pub(crate) fn evict(&self, sha256: &Sha256Digest) -> Result<Leaving, StoreError> {
        let _leaving = self.leaving();
        let path = self.blob_path(sha256);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.folder.catalogue.forget(sha256) {
                    self.folder.losses.note(*sha256, Loss::Gone);
                }
                return Ok(Leaving::NotHere);
            }
            opened => opened.on_disk("open", &path)?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Leaving::InUse),
            Err(TryLockError::Error(error)) => return Err(error).on_disk("lock", &path),
        }
        let size_bytes = file.metadata().on_disk("look at", &path)?.len();
        let left = self.leave(sha256)?;
        if left == Leaving::Gone {
            self.counts().evicted(size_bytes);
        }
        Ok(left)
    }

    /// Whether somebody reads an artifact at this moment.
    pub(crate) fn is_in_use(&self, sha256: &Sha256Digest) -> bool {
        File::open(self.blob_path(sha256)).is_ok_and(|file| file.try_lock().is_err())
    }

    /// To be called while `leaving` is held.
    fn leave(&self, sha256: &Sha256Digest) -> Result<Leaving, StoreError> {
        if self.is_pinned(sha256) {
            return Ok(Leaving::Pinned);
        }
        if !self.builds_that_brought(sha256).is_empty() {
            return Ok(Leaving::Needed);
        }
        let path = self.blob_path(sha256);
        let was_here = path.exists();
        self.remove(sha256).on_disk("remove", &path)?;
        Ok(if was_here { Leaving::Gone } else { Leaving::NotHere })
    }

    /// Keeps an artifact from leaving, whether it is here yet or not. Durable when it returns; whether the pin is new.
    pub fn pin(&self, sha256: &Sha256Digest) -> Result<bool, StoreError> {
        let _leaving = self.leaving();
        self.folder.pins.add(sha256)
    }

    /// Whether there was a pin.
    pub fn unpin(&self, sha256: &Sha256Digest) -> Result<bool, StoreError> {
        let _leaving = self.leaving();
        self.folder.pins.remove(sha256)
    }

    pub fn is_pinned(&self, sha256: &Sha256Digest) -> bool {
        self.folder.pins.contains(sha256)
    }

    /// Every pinned artifact, here or not.
    pub fn pins(&self) -> BTreeSet<Sha256Digest> {
        self.folder.pins.all()
    }

    /// Takes room for a download within `budget_bytes`, if need be from unfinished downloads that nobody goes on with, the oldest
    /// first. The bytes that are missing otherwise, and then no download is forgotten for nothing.
    pub(crate) fn reserve(
        &self,
        sha256: &Sha256Digest,
        size_bytes: u64,
        budget_bytes: u64,
    ) -> Result<Result<Reservation, u64>, StoreError> {
        let catalogue = &self.folder.catalogue;
        let mut unfinished = partial::unfinished(&self.partial_folder())?;
        unfinished.retain(|other| other.sha256 != *sha256 && !catalogue.is_reserved(&other.sha256));
        unfinished.sort_unstable_by_key(|other| std::cmp::Reverse(other.modified));
        let bytes_of = |downloads: &[partial::Unfinished]| downloads.iter().map(|other| other.size_bytes).sum::<u64>();
        let (busy, mut unfinished): (Vec<_>, Vec<_>) = unfinished.into_iter().partition(partial::Unfinished::is_busy);
        let mut busy_bytes = bytes_of(&busy);
        let usage = catalogue.usage();
        let wanted = usage.bytes.saturating_add(usage.reserved_bytes).saturating_add(size_bytes);
        let beyond = wanted.saturating_sub(budget_bytes.saturating_sub(busy_bytes));
        if beyond > 0 {
            return Ok(Err(beyond));
        }
        loop {
            let wasted = bytes_of(&unfinished) + busy_bytes;
            match catalogue.reserve(*sha256, size_bytes, budget_bytes.saturating_sub(wasted)) {
                Ok(()) => return Ok(Ok(Reservation { store: self.clone(), sha256: *sha256 })),
                Err(missing) => match unfinished.pop() {
                    Some(oldest) if oldest.remove()? => {}
                    Some(busy) => busy_bytes += busy.size_bytes,
                    None => return Ok(Err(missing)),
                },
            }
        }
    }
}

/// Room that a download has taken; given back when it is dropped, or when the artifact has come.
#[derive(Debug)]
pub(crate) struct Reservation {
    store: ArtifactStore,
    sha256: Sha256Digest,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.store.folder.catalogue.release(&self.sha256);
    }
}
