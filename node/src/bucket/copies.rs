//! Which artifacts are known to have a copy in the bucket.
//!
//! ```text
//! <64 hex of the location>.marked                     the mark of the bucket was seen
//! <64 hex of the location>/<2 hex>/<64 hex>.<size>    a copy of so many bytes that this node wrote, or read as a whole
//! <64 hex of the location>/<2 hex>/<64 hex>.wrong     a copy that was found to be damaged
//! ```
//!
//! Each record is one empty file. One that is lost costs a look into the bucket and no more, so only those of damage are made durable.

use pyrsia_ledger::Sha256Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

const WRONG: &str = "wrong";

pub(super) struct Copies {
    folder: PathBuf,
    mark: PathBuf,
    is_marked: AtomicBool,
    known: Mutex<Known>,
    /// Held while records are written, which nobody waits for who asks what is known.
    recording: Mutex<()>,
}

#[derive(Default)]
struct Known {
    sizes: BTreeMap<Sha256Digest, u64>,
    wrong: BTreeSet<Sha256Digest>,
    bytes: u64,
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
        Ok(Self { folder, mark, is_marked, known: Mutex::new(known), recording: Mutex::default() })
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
        self.known().sizes.get(sha256).copied()
    }

    pub(super) fn is_wrong(&self, sha256: &Sha256Digest) -> bool {
        self.known().wrong.contains(sha256)
    }

    pub(super) fn page(&self, after: Option<&Sha256Digest>, count_max: usize) -> Vec<(Sha256Digest, u64)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let known = self.known();
        let rest = known.sizes.range::<Sha256Digest, _>((from, Bound::Unbounded));
        rest.take(count_max).map(|(sha256, size_bytes)| (*sha256, *size_bytes)).collect()
    }

    /// Copies, their bytes, and damaged ones.
    pub(super) fn totals(&self) -> (u64, u64, u64) {
        let known = self.known();
        (known.sizes.len() as u64, known.bytes, known.wrong.len() as u64)
    }

    /// The copy of an artifact is whole.
    pub(super) fn note(&self, sha256: &Sha256Digest, size_bytes: u64) -> io::Result<()> {
        let before = {
            let mut known = self.known();
            known.wrong.remove(sha256);
            known.insert(*sha256, size_bytes)
        };
        self.record(sha256, before)
    }

    /// The copy of an artifact is damaged: at once for whoever asks, durable when it was recorded with what this gives.
    pub(super) fn mark_wrong(&self, sha256: &Sha256Digest) -> Option<u64> {
        let mut known = self.known();
        known.wrong.insert(*sha256);
        known.remove(sha256)
    }

    /// There is no copy of an artifact.
    pub(super) fn forget(&self, sha256: &Sha256Digest) -> io::Result<()> {
        let before = {
            let mut known = self.known();
            known.wrong.remove(sha256);
            known.remove(sha256)
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

impl Known {
    /// The size that was known before.
    fn insert(&mut self, sha256: Sha256Digest, size_bytes: u64) -> Option<u64> {
        let before = self.remove(&sha256);
        self.sizes.insert(sha256, size_bytes);
        self.bytes += size_bytes;
        before
    }

    fn remove(&mut self, sha256: &Sha256Digest) -> Option<u64> {
        let size_bytes = self.sizes.remove(sha256)?;
        self.bytes -= size_bytes;
        Some(size_bytes)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_copies_outlasts_the_process_and_holds_for_one_location() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [here, elsewhere, first, second, third] = [1, 2, 3, 4, 5].map(|byte| Sha256Digest::new([byte; 32]));
        let open = |location| Copies::open(folder.path(), location).expect("opens");
        let copies = open(&here);
        for (sha256, size_bytes) in [(&first, 10), (&second, 0), (&third, 7)] {
            copies.note(sha256, size_bytes).expect("notes");
        }
        copies.record(&third, copies.mark_wrong(&third)).expect("notes");
        copies.forget(&second).expect("forgets");
        for copies in [copies, open(&here)] {
            assert_eq!((copies.page(None, 9), copies.totals()), (vec![(first, 10)], (1, 10, 1)));
            assert!(copies.is_wrong(&third) && copies.get(&third).is_none());
        }
        assert_eq!(open(&elsewhere).totals(), (0, 0, 0));
        open(&here).note(&third, 7).expect("notes");
        assert_eq!(open(&here).page(Some(&first), 9), vec![(third, 7)]);
        assert!(!open(&here).is_wrong(&third));
    }
}
