//! A download on disk: the bytes that have come, at their places, and a bitmap of which they are.
//!
//! The bitmap may run ahead of the bytes after a power cut, and a disk may lie; so what it claims is hashed before it is
//! believed, and the finished file is hashed as a whole, in order, behind the chunks that come in.

use super::chunks::{Bitmap, CHUNKS_PER_RANGE, ChunkList};
use super::error::{OnDisk as _, StoreError};
use super::store::{ArtifactStore, WRITE_BACK_BYTES};
use pyrsia_ledger::tree::CHUNK_BYTES;
use pyrsia_ledger::{RunningSha256, Sha256Digest};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

/// How long an unfinished download is kept to be resumed.
const PARTIAL_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How many chunks may be here beyond the digest of the whole, before it goes on without waiting for a chunk that comes in.
const CHUNKS_LEFT_MAX: u64 = 4 * CHUNKS_PER_RANGE;
/// The unit in which a file system says what a file takes of the disk (POSIX, `st_blocks`).
const DISK_BLOCK_BYTES: u64 = 512;

/// Removes downloads that nobody has gone on with for [`PARTIAL_AGE_MAX`].
pub(super) fn remove_old(folder: &Path) -> Result<(), StoreError> {
    unfinished(folder)?.iter().filter(|unfinished| unfinished.is_old()).try_for_each(|old| old.remove().map(|_| ()))
}

/// Every download in the folder, whether somebody is at it or not. A bitmap without its download goes at once.
pub(super) fn unfinished(folder: &Path) -> Result<Vec<Unfinished>, StoreError> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).on_disk("list", folder)?.flatten() {
        let path = entry.path();
        if path.extension().is_some() {
            if !path.with_extension("").exists() {
                let _ = fs::remove_file(&path);
            }
            continue;
        }
        let Some(sha256) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        // A download that has just begun is a hole in a file: what it takes of the disk is counted.
        let size_bytes = metadata.blocks() * DISK_BLOCK_BYTES;
        found.push(Unfinished { sha256, size_bytes, modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), path });
    }
    Ok(found)
}

/// A download that may be resumed.
#[derive(Debug)]
pub(crate) struct Unfinished {
    pub(crate) sha256: Sha256Digest,
    pub(crate) size_bytes: u64,
    pub(crate) modified: SystemTime,
    path: PathBuf,
}

impl Unfinished {
    pub(crate) fn is_old(&self) -> bool {
        SystemTime::now().duration_since(self.modified).is_ok_and(|age| age > PARTIAL_AGE_MAX)
    }

    /// Whether somebody is at it.
    pub(crate) fn is_busy(&self) -> bool {
        File::open(&self.path).is_ok_and(|file| file.try_lock_shared().is_err())
    }

    /// Forgets what has come; false if somebody is at it.
    pub(crate) fn remove(&self) -> Result<bool, StoreError> {
        let Ok(file) = File::open(&self.path) else { return Ok(true) };
        if file.try_lock().is_err() {
            return Ok(false);
        }
        fs::remove_file(&self.path).on_disk("remove", &self.path)?;
        let _ = fs::remove_file(self.path.with_extension("bitmap"));
        Ok(true)
    }
}

/// An unfinished download. Writers of different chunks share it; the lock on the file keeps other downloads out.
#[derive(Debug)]
pub(crate) struct Partial {
    store: ArtifactStore,
    sha256: Sha256Digest,
    list: ChunkList,
    path: PathBuf,
    bitmap_path: PathBuf,
    file: File,
    bitmap: File,
    whole: Mutex<Whole>,
}

/// The digest of an artifact on its way in, as far as it is known.
#[derive(Debug, Default)]
struct Whole {
    hasher: RunningSha256,
    /// The first chunk that is not in it.
    next: u64,
    buffer: Vec<u8>,
}

impl Partial {
    pub(super) fn open(store: ArtifactStore, folder: PathBuf, sha256: Sha256Digest, list: ChunkList) -> Result<Self, StoreError> {
        let path = folder.join(sha256.to_string());
        let bitmap_path = path.with_extension("bitmap");
        let open =
            |path: &Path| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).on_disk("open", path);
        let (file, bitmap) = (open(&path)?, open(&bitmap_path)?);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Busy { sha256 }),
            Err(TryLockError::Error(source)) => return Err(StoreError::Disk { action: "lock", path, source }),
        }
        // Whoever removed an old download in this moment held the lock before.
        let is_there = fs::metadata(&path).is_ok_and(|found| file.metadata().is_ok_and(|own| own.ino() == found.ino()));
        if !is_there {
            return Err(StoreError::Busy { sha256 });
        }
        file.set_len(list.size_bytes()).on_disk("set the size of", &path)?;
        Ok(Self { store, sha256, list, path, bitmap_path, file, bitmap, whole: Mutex::default() })
    }

    pub(crate) fn list(&self) -> &ChunkList {
        &self.list
    }

    /// A handle that reads what has come and holds no lock: whoever keeps it longer than the download is in nobody's way.
    pub(crate) fn reader(&self) -> Result<File, StoreError> {
        File::open(&self.path).on_disk("open", &self.path)
    }

    /// The chunks that are here already, each one hashed.
    pub(crate) fn resume(&self) -> Result<Bitmap, StoreError> {
        let count = self.list.count();
        let mut claimed = vec![];
        std::io::Read::read_to_end(&mut &self.bitmap, &mut claimed).on_disk("read", &self.bitmap_path)?;
        let mut bitmap = Bitmap::from_bytes(count, &claimed).unwrap_or_else(|| Bitmap::new(count));
        let mut buffer = vec![];
        for chunk in (0..count).filter(|chunk| bitmap.contains(*chunk)).collect::<Vec<_>>() {
            let bytes = self.read_chunk(chunk, &mut buffer)?;
            if !self.list.holds(chunk, bytes) {
                bitmap.remove(chunk);
            }
        }
        self.bitmap.set_len(bitmap.bytes().len() as u64).on_disk("set the size of", &self.bitmap_path)?;
        self.bitmap.write_all_at(bitmap.bytes(), 0).on_disk("write", &self.bitmap_path)?;
        Ok(bitmap)
    }

    /// Whether these bytes are that chunk. The digest of the whole goes on beside it by its next chunk, where that is on disk, as `has_come`
    /// says: two digests in step take little longer than one.
    pub(crate) fn verify(&self, chunk: u64, bytes: &[u8], has_come: impl FnOnce(u64) -> bool) -> Result<bool, StoreError> {
        // Whoever holds it is hashing.
        let Ok(mut whole) = self.whole.try_lock() else { return Ok(self.list.holds(chunk, bytes)) };
        let Whole { hasher, next, buffer } = &mut *whole;
        // The last chunk is left to [`Partial::finish`].
        if *next + 1 >= self.list.count() || !has_come(*next) {
            drop(whole);
            return Ok(self.list.holds(chunk, bytes));
        }
        let ((blocks, rest), (following, _)) = (bytes.as_chunks(), self.read_chunk(*next, buffer)?.as_chunks());
        let mut own = RunningSha256::default();
        RunningSha256::update_both([&mut own, hasher], [blocks, following]);
        *next += 1;
        drop(whole);
        Ok(self.list.names(chunk, &own.finish(rest)))
    }

    /// Writes a chunk that was verified.
    pub(crate) fn write_chunk(&self, chunk: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all_at(bytes, self.list.bytes_of(chunk).start).on_disk("write", &self.path)
    }

    /// Notes which chunks are here: the byte of the bitmap that `chunk` stands in.
    pub(crate) fn note(&self, chunk: u64, bitmap: &Bitmap) -> Result<(), StoreError> {
        let at = (chunk / 8) as usize;
        self.bitmap.write_all_at(&bitmap.bytes()[at..=at], at as u64).on_disk("write", &self.bitmap_path)
    }

    fn read_chunk<'a>(&self, chunk: u64, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], StoreError> {
        let at = self.list.bytes_of(chunk);
        buffer.resize((at.end - at.start) as usize, 0);
        self.file.read_exact_at(buffer, at.start).on_disk("read", &self.path)?;
        Ok(buffer)
    }

    /// Verifies the whole artifact while it comes in, says so, and gives it its name in the store. `wait_for` returns when a chunk
    /// is here, or false when it will never be.
    pub(crate) fn finish(&self, wait_for: impl Fn(u64) -> bool, whole: impl FnOnce()) -> Result<Finished, StoreError> {
        let has_failed = AtomicBool::new(false);
        let found = thread::scope(|scope| {
            // Bytes go to the disk beside the hashing, so that neither waits for the other.
            let (written, due) = mpsc::sync_channel::<()>(1);
            let sync = || {
                let synced = due.into_iter().try_for_each(|()| self.file.sync_data().on_disk("sync", &self.path));
                synced.inspect_err(|_| has_failed.store(true, Ordering::Release))
            };
            let syncing = thread::Builder::new().spawn_scoped(scope, sync).on_disk("start a thread that syncs", &self.path)?;
            let found = self.hash_behind([CHUNKS_LEFT_MAX, WRITE_BACK_BYTES / CHUNK_BYTES as u64], wait_for, || {
                // Where one is waiting already, that one comes after these bytes as well.
                let _ = written.try_send(());
            });
            drop(written);
            // A sync that has failed may have cost bytes that were read right a moment ago.
            if matches!(found, Ok(Some(found)) if found == self.sha256) && !has_failed.load(Ordering::Acquire) {
                whole();
            }
            syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            found
        })?;
        match found {
            None => return Ok(Finished::Abandoned),
            Some(found) if found != self.sha256 => return Ok(Finished::Wrong { found }),
            Some(_) => {}
        }
        self.file.sync_all().on_disk("sync", &self.path)?;
        // From here on the file is read under its name, while whoever shared the download may hold it for long; readers share the lock.
        match self.file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Busy { sha256: self.sha256 }),
            Err(TryLockError::Error(source)) => return Err(StoreError::Disk { action: "lock", path: self.path.clone(), source }),
        }
        self.store.publish(&self.path, &self.sha256, &self.list)?;
        let _ = fs::remove_file(&self.bitmap_path);
        Ok(Finished::Stored)
    }

    /// The digest of the whole, read from the file as it comes in; none when a chunk will never be here. `written` is told of every
    /// `write_back_chunks`.
    ///
    /// [`Partial::verify`] does most of it: what it leaves is done here when `left_max` chunks have come behind it.
    fn hash_behind(
        &self,
        [left_max, write_back_chunks]: [u64; 2],
        wait_for: impl Fn(u64) -> bool,
        written: impl Fn(),
    ) -> Result<Option<Sha256Digest>, StoreError> {
        let Some(last) = self.list.count().checked_sub(1) else { return Ok(Some(Sha256Digest::of(&[]))) };
        let mut told_of = 0;
        loop {
            let next = self.whole().next;
            let here = (next + left_max).min(last);
            if !wait_for(here) || !wait_for(next) {
                return Ok(None);
            }
            if here + 1 >= told_of + write_back_chunks {
                told_of = here + 1;
                written();
            }
            let mut whole = self.whole();
            let Whole { hasher, next: now, buffer } = &mut *whole;
            if *now != next {
                continue;
            }
            let bytes = self.read_chunk(next, buffer)?;
            if next == last {
                return Ok(Some(hasher.clone().finish(bytes)));
            }
            hasher.update(bytes.as_chunks().0);
            *now += 1;
        }
    }

    fn whole(&self) -> MutexGuard<'_, Whole> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what has come.
    pub(crate) fn discard(&self) {
        let _ = fs::remove_file(&self.bitmap_path);
        let _ = fs::remove_file(&self.path);
    }
}

/// How a download ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    Stored,
    /// Every chunk is what the chunk list says, and the whole is not what the ledger says.
    Wrong {
        found: Sha256Digest,
    },
    Abandoned,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::{Cell, RefCell};
    use std::sync::Condvar;

    fn list_of(bytes: &[u8]) -> ChunkList {
        let chunks = bytes.chunks(CHUNK_BYTES).map(Sha256Digest::of).collect();
        ChunkList::new(bytes.len() as u64, chunks).expect("the list fits its size")
    }

    #[test]
    fn a_download_has_one_owner_and_is_forgotten_when_nobody_goes_on_with_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = ArtifactStore::open(folder.path()).expect("opens");
        let (bytes, sha256) = (b"some bytes", Sha256Digest::of(b"some bytes"));
        let owner = store.begin_partial(&sha256, list_of(bytes)).expect("begins");
        assert!(matches!(store.begin_partial(&sha256, list_of(bytes)), Err(StoreError::Busy { .. })));
        let aged = |age| SystemTime::now() - age;
        owner.file.set_modified(aged(PARTIAL_AGE_MAX / 2)).expect("ages");
        drop(owner);
        let path = folder.path().join("partial").join(sha256.to_string());
        ArtifactStore::open(folder.path()).expect("opens again");
        assert!(path.exists());
        File::open(&path).and_then(|file| file.set_modified(aged(PARTIAL_AGE_MAX * 2))).expect("ages");
        store.remove_abandoned_downloads().expect("removes");
        assert!(!path.exists());
    }

    #[test]
    fn a_finished_download_is_stored_and_one_with_other_bytes_is_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = ArtifactStore::open(folder.path()).expect("opens");
        let (bytes, other) = (b"some bytes", Sha256Digest::of(b"other bytes"));
        for (sha256, expected) in
            [(Sha256Digest::of(bytes), Finished::Stored), (other, Finished::Wrong { found: Sha256Digest::of(bytes) })]
        {
            let partial = store.begin_partial(&sha256, list_of(bytes)).expect("begins");
            assert_eq!(partial.resume().expect("reads").missing(), 1);
            partial.write_chunk(0, bytes).expect("writes");
            assert_eq!(partial.finish(|_| false, || {}).expect("stops"), Finished::Abandoned);
            assert_eq!(partial.finish(|_| true, || {}).expect("ends"), expected);
            assert_eq!(store.contains(&sha256), expected == Finished::Stored);
        }
        assert_eq!(store.chunk_list(&Sha256Digest::of(bytes)).expect("reads"), Some(list_of(bytes)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_digest_of_the_whole_is_that_of_its_chunks_in_whatever_order_they_come(
            order in Just((0..6).collect::<Vec<u64>>()).prop_shuffle(),
            on_disk in 0usize..=6,
            wrong in 0u64..7,
            left_max in 0u64..8,
            last_bytes in 1..=CHUNK_BYTES,
        ) {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let store = ArtifactStore::open(folder.path()).expect("opens");
            let bytes = (0..6).map(|chunk| vec![chunk; if chunk < 5 { CHUNK_BYTES } else { last_bytes }]).collect::<Vec<_>>().concat();
            let (sha256, list) = (Sha256Digest::of(&bytes), list_of(&bytes));
            let partial = store.begin_partial(&sha256, list.clone()).expect("begins");
            let chunk_of = |chunk: u64| &bytes[list.bytes_of(chunk).start as usize..list.bytes_of(chunk).end as usize];
            let (before, after) = order.split_at(on_disk);
            before.iter().for_each(|chunk| partial.write_chunk(*chunk, chunk_of(*chunk)).expect("writes"));
            let (done, arrived) = (Mutex::new(before.to_vec()), Condvar::new());
            let has_come = |chunk| done.lock().expect("no panic").contains(&chunk);
            let wait_for = |chunk| {
                let wait = arrived.wait_while(done.lock().expect("no panic"), |done| !done.contains(&chunk));
                wait.is_ok()
            };
            // What is asserted inside would leave the follower waiting.
            let bring = |chunk: u64| {
                let is_noticed = chunk != wrong || !partial.verify(chunk, &vec![6; chunk_of(chunk).len()], has_come).expect("reads");
                let is_right = partial.verify(chunk, chunk_of(chunk), has_come).expect("reads");
                partial.write_chunk(chunk, chunk_of(chunk)).expect("writes");
                done.lock().expect("no panic").push(chunk);
                arrived.notify_all();
                is_noticed && is_right
            };
            let (one, other) = after.split_at(after.len() / 2);
            let (brought, found) = thread::scope(|scope| {
                let following = scope.spawn(|| partial.hash_behind([left_max, 2], wait_for, || {}));
                let streams = [one, other].map(|stream| scope.spawn(|| stream.iter().copied().all(&bring)));
                (streams.map(|stream| stream.join().expect("no panic")), following.join().expect("no panic"))
            });
            prop_assert_eq!((brought, found.expect("reads")), ([true; 2], Some(sha256)));
        }
    }

    #[test]
    fn whoever_syncs_is_told_as_soon_as_so_many_chunks_are_here() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = ArtifactStore::open(folder.path()).expect("opens");
        let bytes = (0..6).map(|chunk| vec![chunk; CHUNK_BYTES]).collect::<Vec<_>>().concat();
        let sha256 = Sha256Digest::of(&bytes);
        let partial = store.begin_partial(&sha256, list_of(&bytes)).expect("begins");
        (0..).zip(bytes.chunks(CHUNK_BYTES)).for_each(|(chunk, bytes)| partial.write_chunk(chunk, bytes).expect("writes"));
        let (asked_for, told) = (Cell::new(0), RefCell::new(vec![]));
        let wait_for = |chunk: u64| {
            asked_for.set(chunk.max(asked_for.get()));
            true
        };
        let found = partial.hash_behind([2, 3], wait_for, || told.borrow_mut().push(asked_for.get())).expect("reads");
        assert_eq!((found, told.into_inner()), (Some(sha256), vec![2, 5]));
    }

    #[test]
    fn what_has_come_is_read_while_its_download_lives_and_has_no_second_owner() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = ArtifactStore::open(folder.path()).expect("opens");
        let (bytes, sha256) = (b"some bytes", Sha256Digest::of(b"some bytes"));
        let partial = store.begin_partial(&sha256, list_of(bytes)).expect("begins");
        partial.write_chunk(0, bytes).expect("writes");
        assert_eq!(partial.finish(|_| true, || {}).expect("ends"), Finished::Stored);
        let (opened, reader) = (mpsc::channel(), store.clone());
        thread::spawn(move || {
            let is_here = reader.open_file(&sha256).expect("opens").is_some();
            opened.0.send(is_here)
        });
        assert_eq!(opened.1.recv_timeout(Duration::from_secs(10)), Ok(true), "a reader waits for the download to be dropped");
        assert_eq!(store.evict(&sha256).expect("looks"), crate::artifacts::Leaving::InUse);
        drop(partial);
        assert_eq!(store.evict(&sha256).expect("looks"), crate::artifacts::Leaving::Gone);
    }
}
