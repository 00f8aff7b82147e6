//! Which artifacts are known to have a copy in the bucket.
//!
//! ```text
//! <64 hex of the location>.marked                     the mark of the bucket was seen
//! <64 hex of the location>/<2 hex>/<64 hex>.<size>    a copy of so many bytes that this node wrote, or read as a whole
//! <64 hex of the location>/<2 hex>/<64 hex>.wrong     a copy that was found to be damaged
//! ```
//!
//! Each record is one empty file. One that is lost costs a look into the bucket and no more, so only those of damage are made durable.
//!
//! What has a copy may leave the disk, and a copy may be removed: what is known of it ends before its removal begins, and comes back by no means until
//! that is over. Who looked at a copy and then lets the artifact go does that by [`Copies::while_known`], so that no removal falls between the two.
//! Nor does a copy count whose removal was asked for while it was made: whoever makes it takes it away again.

use pyrsia_ledger::Sha256Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const WRONG: &str = "wrong";

pub(super) struct Copies {
    folder: PathBuf,
    mark: PathBuf,
    is_marked: AtomicBool,
    known: Mutex<Known>,
    /// Held while something leaves the disk because of its copy, and when a removal begins.
    leaving: Mutex<()>,
    /// Held while records are written, which nobody waits for who asks what is known.
    recording: Mutex<()>,
}

#[derive(Default)]
struct Known {
    copies: BTreeMap<Sha256Digest, Noted>,
    wrong: BTreeSet<Sha256Digest>,
    /// How many removals of a copy are under way.
    removals: BTreeMap<Sha256Digest, usize>,
    making: BTreeMap<Sha256Digest, Makers>,
    bytes: u64,
    notes: u64,
}

/// A copy, and which note of it this is: one that was forgotten in the meantime and noted again is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(super) size_bytes: u64,
    note: u64,
}

/// How many make a copy of an artifact, and how many removals of it have begun since the first of them did.
#[derive(Default)]
struct Makers {
    count: usize,
    removals: usize,
}

/// A copy that is being made.
pub(super) struct Making {
    copies: Arc<Copies>,
    sha256: Sha256Digest,
    removals_before: usize,
}

/// A copy that is being removed: until this is dropped none is known, whatever is noted.
pub(super) struct Removal {
    copies: Arc<Copies>,
    sha256: Sha256Digest,
    before: Option<Noted>,
    was_wrong: bool,
}

impl Copies {
    /// Reads the records of this location in `folder`. Those of another one are as they were when a node comes back to it.
    pub(super) fn open(folder: &Path, location: &Sha256Digest) -> io::Result<Self> {
        let (mark, folder) = (folder.join(format!("{location}.marked")), folder.join(location.to_string()));
        fs::create_dir_all(&folder)?;
        let is_marked = AtomicBool::new(mark.try_exists()?);
        let mut known = Known::default();
        for shard in fs::read_dir(&folder)?.flatten() {
            for record in fs::read_dir(shard.path())?.flatten() {
                let name = record.file_name();
                let Some((sha256, what)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
                let Ok(sha256) = sha256.parse::<Sha256Digest>() else { continue };
                if what == WRONG {
                    known.wrong.insert(sha256);
                } else if let Ok(size_bytes) = what.parse() {
                    known.insert(sha256, size_bytes);
                }
            }
        }
        // What was found damaged after it was written counts for nothing.
        for wrong in known.wrong.clone() {
            known.remove(&wrong);
        }
        let (leaving, recording) = (Mutex::default(), Mutex::default());
        Ok(Self { folder, mark, is_marked, known: Mutex::new(known), leaving, recording })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the mark of the bucket was ever seen there.
    pub(super) fn is_marked(&self) -> bool {
        self.is_marked.load(Ordering::Relaxed)
    }

    pub(super) fn note_mark(&self) -> io::Result<()> {
        File::create(&self.mark)?;
        self.is_marked.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn path(&self, sha256: &Sha256Digest, what: &str) -> PathBuf {
        let name = sha256.to_string();
        self.folder.join(&name[..2]).join(format!("{name}.{what}"))
    }

    pub(super) fn get(&self, sha256: &Sha256Digest) -> Option<u64> {
        self.noted(sha256).map(|copy| copy.size_bytes)
    }

    pub(super) fn noted(&self, sha256: &Sha256Digest) -> Option<Noted> {
        self.known().copies.get(sha256).copied()
    }

    /// Does what needs the copy that was looked at, if it was known ever since; no removal of it begins before that is done. Blocks.
    pub(super) fn while_known<T>(&self, sha256: &Sha256Digest, seen: Noted, work: impl FnOnce() -> T) -> Option<T> {
        let _no_removal_begins = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        (self.noted(sha256) == Some(seen)).then(work)
    }

    /// Forgets the copy of an artifact for as long as it is being removed. Blocks while something leaves the disk because of it.
    pub(super) fn begin_removal(self: &Arc<Self>, sha256: &Sha256Digest) -> io::Result<Removal> {
        let removal = {
            let _nothing_leaves = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
            let mut known = self.known();
            *known.removals.entry(*sha256).or_default() += 1;
            if let Some(makers) = known.making.get_mut(sha256) {
                makers.removals += 1;
            }
            let (was_wrong, before) = (known.wrong.remove(sha256), known.remove(sha256));
            Removal { copies: self.clone(), sha256: *sha256, before, was_wrong }
        };
        match self.record(sha256, removal.before.map(|copy| copy.size_bytes)) {
            Ok(()) => Ok(removal),
            Err(error) => {
                // The records that could not be changed say this.
                let _ = removal.came_to_nothing();
                Err(error)
            }
        }
    }

    /// For whoever makes a copy of an artifact, from before it looks at the disk; none while one is being removed.
    pub(super) fn begin_making(self: &Arc<Self>, sha256: &Sha256Digest) -> Option<Making> {
        let mut known = self.known();
        if known.removals.contains_key(sha256) {
            return None;
        }
        let makers = known.making.entry(*sha256).or_default();
        makers.count += 1;
        Some(Making { copies: self.clone(), sha256: *sha256, removals_before: makers.removals })
    }

    pub(super) fn is_wrong(&self, sha256: &Sha256Digest) -> bool {
        self.known().wrong.contains(sha256)
    }

    pub(super) fn page(&self, after: Option<&Sha256Digest>, count_max: usize) -> Vec<(Sha256Digest, u64)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let known = self.known();
        let rest = known.copies.range::<Sha256Digest, _>((from, Bound::Unbounded));
        rest.take(count_max).map(|(sha256, copy)| (*sha256, copy.size_bytes)).collect()
    }

    /// Copies, their bytes, and damaged ones.
    pub(super) fn totals(&self) -> (u64, u64, u64) {
        let known = self.known();
        (known.copies.len() as u64, known.bytes, known.wrong.len() as u64)
    }

    /// The copy of an artifact is whole, unless it is being removed.
    pub(super) fn note(&self, sha256: &Sha256Digest, size_bytes: u64) -> io::Result<()> {
        let before = {
            let mut known = self.known();
            if known.removals.contains_key(sha256) {
                return Ok(());
            }
            known.wrong.remove(sha256);
            known.insert(*sha256, size_bytes)
        };
        self.record(sha256, before)
    }

    /// The copy of an artifact is damaged, unless it is being removed: at once for whoever asks, durable when it was recorded with what this gives.
    pub(super) fn mark_wrong(&self, sha256: &Sha256Digest) -> Option<u64> {
        let mut known = self.known();
        if known.removals.contains_key(sha256) {
            return None;
        }
        known.wrong.insert(*sha256);
        known.remove(sha256).map(|copy| copy.size_bytes)
    }

    /// There is no copy of an artifact.
    pub(super) fn forget(&self, sha256: &Sha256Digest) -> io::Result<()> {
        let before = {
            let mut known = self.known();
            known.wrong.remove(sha256);
            known.remove(sha256).map(|copy| copy.size_bytes)
        };
        self.record(sha256, before)
    }

    /// Makes the records of an artifact say what is known of it, in whatever order they are asked to; `before` is the size that was known.
    pub(super) fn record(&self, sha256: &Sha256Digest, before: Option<u64>) -> io::Result<()> {
        let _one_at_a_time = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        let (size_bytes, is_wrong) = (self.get(sha256), self.is_wrong(sha256));
        let wrong = self.path(sha256, WRONG);
        let folder = wrong.parent().expect("a record lies in a folder");
        if size_bytes.is_some() || is_wrong {
            fs::create_dir_all(folder)?;
        }
        if let Some(size_bytes) = size_bytes {
            File::create(self.path(sha256, &size_bytes.to_string()))?;
        }
        if is_wrong {
            File::create(&wrong)?.sync_all()?;
            File::open(folder)?.sync_all()?;
        } else {
            remove(&wrong)?;
        }
        match before.filter(|before| size_bytes != Some(*before)) {
            Some(before) => remove(&self.path(sha256, &before.to_string())),
            None => Ok(()),
        }
    }
}

impl Making {
    /// The copy is whole, and known from here on; whether it may stay, because nobody wanted it removed in the meantime.
    pub(super) fn note(&self, size_bytes: u64) -> io::Result<bool> {
        let before = {
            let mut known = self.copies.known();
            if known.making.get(&self.sha256).is_none_or(|makers| makers.removals != self.removals_before) {
                return Ok(false);
            }
            known.wrong.remove(&self.sha256);
            known.insert(self.sha256, size_bytes)
        };
        self.copies.record(&self.sha256, before).map(|()| true)
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        let mut known = self.copies.known();
        if let Some(makers) = known.making.get_mut(&self.sha256) {
            makers.count -= 1;
            if makers.count == 0 {
                known.making.remove(&self.sha256);
            }
        }
    }
}

impl Removal {
    /// The copy is still there, as far as can be said: what was known of it is known again.
    pub(super) fn came_to_nothing(self) -> io::Result<()> {
        let (copies, sha256, before, was_wrong) = (self.copies.clone(), self.sha256, self.before, self.was_wrong);
        drop(self);
        match before {
            Some(copy) => copies.note(&sha256, copy.size_bytes),
            None if was_wrong => copies.record(&sha256, copies.mark_wrong(&sha256)),
            None => Ok(()),
        }
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        let mut known = self.copies.known();
        if let Some(under_way) = known.removals.get_mut(&self.sha256) {
            *under_way -= 1;
            if *under_way == 0 {
                known.removals.remove(&self.sha256);
            }
        }
    }
}

impl Known {
    /// The size that was known before.
    fn insert(&mut self, sha256: Sha256Digest, size_bytes: u64) -> Option<u64> {
        let before = self.remove(&sha256);
        self.notes += 1;
        self.copies.insert(sha256, Noted { size_bytes, note: self.notes });
        self.bytes += size_bytes;
        before.map(|copy| copy.size_bytes)
    }

    fn remove(&mut self, sha256: &Sha256Digest) -> Option<Noted> {
        let copy = self.copies.remove(sha256)?;
        self.bytes -= copy.size_bytes;
        Some(copy)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
