//! The content-addressed store of artifacts.
//!
//! ```text
//! blobs/<2 hex>/<64 hex>          the bytes, named by their sha256, never changed once they are there
//! blobs/<2 hex>/<64 hex>.chunks   their chunk list (borsh), followed by the sha256 of the list
//! tmp/                            what is being written; emptied when the store opens
//! partial/<64 hex>{,.bitmap}      downloads to resume
//! brought/<build id>              what came here because of a build
//! ```
//!
//! A blob gets its name only after its bytes are hashed and durable: written aside, fsync, rename, fsync of the folder, the
//! chunk list first. A power cut leaves a whole blob or none. Calls block on the disk: make them on a blocking thread.

use super::brought::Brought;
use super::chunks::{ARTIFACT_BYTES_MAX, ChunkList};
use super::inspected::{Inspected, Stamp};
use super::partial::{self, Partial};
use pyrsia_ledger::tree::CHUNK_BYTES;
use pyrsia_ledger::{BuildId, Sha256Digest};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much of a file being written is handed to the disk at once, so that the last fsync has little left to wait for.
pub(super) const WRITE_BACK_BYTES: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the artifact store cannot {action} {path:?}")]
    Disk {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the bytes have sha256 {found}, not {expected}")]
    WrongBytes { expected: Sha256Digest, found: Sha256Digest },
    #[error("an artifact may have at most {ARTIFACT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("another download of {sha256} is using its partial file")]
    Busy { sha256: Sha256Digest },
}

/// Turns an I/O error into a [`StoreError`] that names the file.
pub(super) trait OnDisk<T> {
    fn on_disk(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> OnDisk<T> for io::Result<T> {
    fn on_disk(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Disk { action, path: path.to_owned(), source })
    }
}

/// What was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub sha256: Sha256Digest,
    pub size_bytes: u64,
    pub chunk_root: Sha256Digest,
}

/// A cheap handle on the store of a folder.
#[derive(Clone, Debug)]
pub struct ArtifactStore {
    folder: Arc<Folder>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    temporary_files: AtomicU64,
    brought: Brought,
    inspected: Inspected,
}

impl ArtifactStore {
    /// Opens the store in `path`, makes the folder if it is not there, and removes what an interrupted run left behind.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        for folder in ["blobs", "tmp", "partial"] {
            let folder = path.join(folder);
            fs::create_dir_all(&folder).on_disk("make the folder", &folder)?;
        }
        remove_abandoned(&path.join("tmp"))?;
        partial::remove_old(&path.join("partial"))?;
        let brought = Brought::open(path.join("brought"))?;
        let (temporary_files, inspected) = (AtomicU64::new(0), Inspected::default());
        Ok(Self { folder: Arc::new(Folder { path: path.to_owned(), temporary_files, brought, inspected }) })
    }

    pub fn contains(&self, sha256: &Sha256Digest) -> bool {
        let size = fs::metadata(self.blob_path(sha256)).map(|found| found.len());
        size.is_ok_and(|size| self.listed_size(sha256).is_none_or(|listed| listed == size))
    }

    /// The bytes of an artifact, or none if they are not here. Damage that shows in the size removes the blob.
    pub fn open_file(&self, sha256: &Sha256Digest) -> io::Result<Option<File>> {
        let path = self.blob_path(sha256);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = file.metadata()?.len();
        if self.listed_size(sha256).is_some_and(|listed| listed != found) {
            tracing::warn!(%sha256, size_bytes = found, "a stored artifact has the wrong size and is removed");
            self.remove(sha256)?;
            return Ok(None);
        }
        Ok(Some(file))
    }

    /// The bytes of an artifact as its name says, or none: a file that changed since it was last looked at is read whole first,
    /// and removed if it holds anything else.
    pub fn open_inspected(&self, sha256: &Sha256Digest) -> io::Result<Option<File>> {
        let Some(mut file) = self.open_file(sha256)? else { return Ok(None) };
        let stamp = Stamp::of(&file.metadata()?);
        if self.folder.inspected.has(sha256, stamp) {
            return Ok(Some(file));
        }
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => hasher.update(&buffer[..read]),
            }
        }
        if hasher.finalize()[..] != sha256.as_bytes()[..] {
            tracing::warn!(%sha256, "a stored artifact is damaged and is removed");
            self.remove(sha256)?;
            return Ok(None);
        }
        file.rewind()?;
        self.folder.inspected.note(*sha256, stamp);
        Ok(Some(file))
    }

    /// The chunk list of an artifact; read again from its bytes if the file of the list is lost. A blob whose bytes are
    /// not what its name says is removed.
    pub fn chunk_list(&self, sha256: &Sha256Digest) -> Result<Option<ChunkList>, StoreError> {
        let path = self.blob_path(sha256);
        let Some(mut file) = self.open_file(sha256).on_disk("open", &path)? else { return Ok(None) };
        if let Some(list) = self.read_list(sha256) {
            return Ok(Some(list));
        }
        let mut hasher = ArtifactHasher::new();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match file.read(&mut buffer).on_disk("read", &path)? {
                0 => break,
                read => hasher.update(&buffer[..read]),
            }
        }
        let (found, list) = hasher.finish()?;
        if found != *sha256 {
            tracing::warn!(%sha256, "a stored artifact is damaged and is removed");
            self.remove(sha256).on_disk("remove", &path)?;
            return Ok(None);
        }
        self.write_list(sha256, &list)?;
        Ok(Some(list))
    }

    /// Starts to write an artifact whose bytes are not known yet.
    pub fn begin(&self) -> Result<Ingest, StoreError> {
        let (path, file) = self.temporary_file()?;
        Ok(Ingest { store: self.clone(), file: TemporaryFile { path, file }, hasher: ArtifactHasher::new(), failed: false })
    }

    /// Starts or resumes the download of an artifact whose chunk list is known.
    pub(crate) fn begin_partial(&self, sha256: &Sha256Digest, list: ChunkList) -> Result<Partial, StoreError> {
        Partial::open(self.clone(), self.folder.path.join("partial"), *sha256, list)
    }

    /// Removes an artifact from this node.
    pub fn remove(&self, sha256: &Sha256Digest) -> io::Result<()> {
        for path in [self.blob_path(sha256), self.list_path(sha256)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Remembers that an artifact comes here because of a build; to be called before it is stored.
    pub fn note_brought(&self, build: &BuildId, sha256: &Sha256Digest) -> Result<(), StoreError> {
        self.folder.brought.note(build, sha256)
    }

    /// The builds whose artifacts are still told apart from published ones.
    pub(crate) fn builds_with_artifacts(&self) -> Vec<BuildId> {
        self.folder.brought.builds()
    }

    /// The builds because of which an artifact came here.
    pub(crate) fn builds_that_brought(&self, sha256: &Sha256Digest) -> Vec<BuildId> {
        self.folder.brought.builds_of(sha256)
    }

    /// Forgets a build and removes what only it brought, but for what `stays`; returns how many artifacts are gone.
    pub(crate) fn release(&self, build: &BuildId, stays: impl Fn(&Sha256Digest) -> bool) -> Result<usize, StoreError> {
        self.folder.brought.release(build, stays, |sha256| self.remove(sha256))
    }

    /// Removes what only this build brought, but for what `stays`; returns how many artifacts are gone.
    pub(crate) fn remove_brought(&self, build: &BuildId, stays: impl Fn(&Sha256Digest) -> bool) -> Result<usize, StoreError> {
        self.folder.brought.remove(build, stays, |sha256| self.remove(sha256))
    }

    /// Up to `count_max` artifacts that are here, in the order of their digests.
    pub fn digests(&self, count_max: usize) -> io::Result<Vec<Sha256Digest>> {
        let mut folders: Vec<PathBuf> =
            fs::read_dir(self.folder.path.join("blobs"))?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        folders.sort();
        let mut found = vec![];
        for folder in folders {
            if found.len() >= count_max {
                break;
            }
            let mut digests: Vec<Sha256Digest> =
                fs::read_dir(folder)?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
            digests.sort_unstable();
            found.append(&mut digests);
        }
        found.truncate(count_max);
        Ok(found)
    }

    /// Gives durable bytes that were hashed their name. The list goes first: a blob with a name always has one.
    pub(super) fn publish(&self, from: &Path, sha256: &Sha256Digest, list: &ChunkList) -> Result<(), StoreError> {
        self.write_list(sha256, list)?;
        let path = self.blob_path(sha256);
        fs::rename(from, &path).on_disk("rename to", &path)?;
        // Whoever publishes has hashed what is in it.
        let metadata = fs::metadata(&path).on_disk("look at", &path)?;
        self.folder.inspected.note(*sha256, Stamp::of(&metadata));
        sync_folder_of(&path)
    }

    fn write_list(&self, sha256: &Sha256Digest, list: &ChunkList) -> Result<(), StoreError> {
        let path = self.list_path(sha256);
        let folder = path.parent().expect("a blob lies in a folder");
        if !folder.is_dir() {
            fs::create_dir_all(folder).on_disk("make the folder", folder)?;
            sync_folder_of(folder)?;
        }
        let mut bytes = borsh::to_vec(list).expect("writing to memory cannot fail");
        bytes.extend_from_slice(Sha256Digest::of(&bytes).as_bytes());
        let (temporary, mut file) = self.temporary_file()?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).on_disk("write", &temporary)?;
        fs::rename(&temporary, &path).on_disk("rename to", &path)?;
        sync_folder_of(&path)
    }

    fn read_list(&self, sha256: &Sha256Digest) -> Option<ChunkList> {
        let bytes = fs::read(self.list_path(sha256)).ok()?;
        let (list, sum) = bytes.split_last_chunk::<32>()?;
        if Sha256Digest::of(list).as_bytes() != sum {
            return None;
        }
        borsh::from_slice(list).ok()
    }

    /// The size that the chunk list begins with; the cheap part of it.
    fn listed_size(&self, sha256: &Sha256Digest) -> Option<u64> {
        let mut size = [0; 8];
        File::open(self.list_path(sha256)).and_then(|mut file| file.read_exact(&mut size)).ok()?;
        Some(u64::from_le_bytes(size))
    }

    /// A new file in `tmp/`, locked for as long as it is open, so that a second process leaves it alone.
    fn temporary_file(&self) -> Result<(PathBuf, File), StoreError> {
        let number = self.folder.temporary_files.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.path.join("tmp").join(format!("{}-{number}", std::process::id()));
        let file = OpenOptions::new().write(true).read(true).create(true).truncate(true).open(&path).on_disk("make", &path)?;
        file.lock_shared().on_disk("lock", &path)?;
        Ok((path, file))
    }

    pub(crate) fn blob_path(&self, sha256: &Sha256Digest) -> PathBuf {
        let name = sha256.to_string();
        self.folder.path.join("blobs").join(&name[..2]).join(name)
    }

    fn list_path(&self, sha256: &Sha256Digest) -> PathBuf {
        self.blob_path(sha256).with_extension("chunks")
    }
}

/// Removes files that no process holds open.
fn remove_abandoned(folder: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(folder).on_disk("list", folder)?.flatten() {
        let path = entry.path();
        let held = File::open(&path).is_ok_and(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)));
        if !held {
            fs::remove_file(&path).on_disk("remove", &path)?;
        }
    }
    Ok(())
}

pub(super) fn sync_folder_of(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().expect("a stored file lies in a folder");
    File::open(folder).and_then(|folder| folder.sync_all()).on_disk("sync", folder)
}

/// The digest of an artifact and its chunk list, in one pass.
struct ArtifactHasher {
    whole: Sha256,
    chunk: Sha256,
    chunk_bytes: usize,
    chunks: Vec<Sha256Digest>,
    size_bytes: u64,
}

impl ArtifactHasher {
    fn new() -> Self {
        Self { whole: Sha256::new(), chunk: Sha256::new(), chunk_bytes: 0, chunks: vec![], size_bytes: 0 }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        self.whole.update(bytes);
        self.size_bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.chunk_bytes));
            self.chunk.update(now);
            self.chunk_bytes += now.len();
            if self.chunk_bytes == CHUNK_BYTES {
                self.end_chunk();
            }
            bytes = later;
        }
    }

    fn end_chunk(&mut self) {
        self.chunks.push(Sha256Digest::new(self.chunk.finalize_reset().into()));
        self.chunk_bytes = 0;
    }

    fn finish(mut self) -> Result<(Sha256Digest, ChunkList), StoreError> {
        if self.chunk_bytes > 0 {
            self.end_chunk();
        }
        let list = ChunkList::new(self.size_bytes, self.chunks).map_err(|_| StoreError::TooLarge)?;
        Ok((Sha256Digest::new(self.whole.finalize().into()), list))
    }
}

#[derive(Debug)]
struct TemporaryFile {
    path: PathBuf,
    file: File,
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // After a commit the file has another name, and there is nothing to remove.
        let _ = fs::remove_file(&self.path);
    }
}

/// An artifact on its way into the store. Dropped without [`Ingest::commit`], nothing of it stays.
pub struct Ingest {
    store: ArtifactStore,
    file: TemporaryFile,
    hasher: ArtifactHasher,
    failed: bool,
}

impl Ingest {
    pub fn size_bytes(&self) -> u64 {
        self.hasher.size_bytes
    }

    /// Makes the bytes durable and gives them their name, if they are what was expected.
    pub fn commit(self, expected: Option<Sha256Digest>) -> Result<Stored, StoreError> {
        self.commit_noted(expected, |_, _| Ok(()))
    }

    /// The same for what a build brings here, which is remembered before anybody can find it.
    pub(crate) fn commit_brought(self, build: &BuildId) -> Result<Stored, StoreError> {
        self.commit_noted(None, |store, sha256| store.note_brought(build, sha256))
    }

    fn commit_noted(
        self,
        expected: Option<Sha256Digest>,
        note: impl FnOnce(&ArtifactStore, &Sha256Digest) -> Result<(), StoreError>,
    ) -> Result<Stored, StoreError> {
        let Self { store, file, hasher, failed } = self;
        if failed {
            let source = io::Error::other("an earlier write failed");
            return Err(StoreError::Disk { action: "write", path: file.path.clone(), source });
        }
        let (sha256, list) = hasher.finish()?;
        if let Some(expected) = expected.filter(|expected| *expected != sha256) {
            return Err(StoreError::WrongBytes { expected, found: sha256 });
        }
        let stored = Stored { sha256, size_bytes: list.size_bytes(), chunk_root: list.root() };
        note(&store, &sha256)?;
        if !store.contains(&sha256) {
            file.file.sync_all().on_disk("sync", &file.path)?;
            store.publish(&file.path, &sha256, &list)?;
        }
        Ok(stored)
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.hasher.size_bytes + bytes.len() as u64 > ARTIFACT_BYTES_MAX {
            self.failed = true;
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, StoreError::TooLarge));
        }
        let before = self.hasher.size_bytes / WRITE_BACK_BYTES;
        if let Err(error) = self.file.file.write_all(bytes) {
            self.failed = true;
            return Err(error);
        }
        self.hasher.update(bytes);
        if self.hasher.size_bytes / WRITE_BACK_BYTES > before {
            self.file.file.sync_data()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn store() -> (tempfile::TempDir, ArtifactStore) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = ArtifactStore::open(folder.path()).expect("a new store opens");
        (folder, store)
    }

    fn put(store: &ArtifactStore, bytes: &[u8]) -> Stored {
        let mut ingest = store.begin().expect("begins");
        ingest.write_all(bytes).expect("writes");
        ingest.commit(None).expect("commits")
    }

    fn files_in(folder: &Path) -> usize {
        fs::read_dir(folder).expect("lists").count()
    }

    #[test]
    fn what_was_stored_reads_back_after_the_store_opens_again() {
        let (folder, store) = store();
        let bytes = vec![7; CHUNK_BYTES + 5];
        let stored = put(&store, &bytes);
        assert_eq!(stored, put(&store, &bytes));
        assert_eq!(store.digests(10).expect("lists"), [stored.sha256]);
        drop(store);
        let store = ArtifactStore::open(folder.path()).expect("opens again");
        let mut read = vec![];
        store.open_file(&stored.sha256).expect("opens").expect("is here").read_to_end(&mut read).expect("reads");
        assert_eq!((Sha256Digest::of(&read), read.len() as u64), (stored.sha256, stored.size_bytes));
        let list = store.chunk_list(&stored.sha256).expect("reads").expect("is here");
        assert_eq!((list.root(), list.count()), (stored.chunk_root, 2));
        assert_eq!(files_in(&folder.path().join("tmp")), 0);
    }

    #[test]
    fn bytes_that_are_not_what_was_promised_do_not_get_in() {
        let (folder, store) = store();
        let mut ingest = store.begin().expect("begins");
        ingest.write_all(b"wrong").expect("writes");
        let (expected, found) = (Sha256Digest::of(b"right"), Sha256Digest::of(b"wrong"));
        assert!(matches!(ingest.commit(Some(expected)), Err(StoreError::WrongBytes { found: f, .. }) if f == found));
        assert!(!store.contains(&expected) && !store.contains(&found));
        assert_eq!(files_in(&folder.path().join("tmp")), 0);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_a_running_one_writes_is_not() {
        let (folder, store) = store();
        let left = folder.path().join("tmp").join("1-0");
        fs::write(&left, b"half").expect("writes");
        let mut running = store.begin().expect("begins");
        ArtifactStore::open(folder.path()).expect("opens");
        assert!(!left.exists());
        running.write_all(b"all of it").expect("writes");
        let stored = running.commit(None).expect("commits");
        assert!(store.contains(&stored.sha256));
    }

    #[test]
    fn a_blob_of_the_wrong_size_is_gone_at_the_next_look() {
        let (_folder, store) = store();
        let stored = put(&store, b"some bytes");
        let path = store.blob_path(&stored.sha256);
        fs::remove_file(&path).expect("removes");
        fs::write(&path, b"some").expect("truncates");
        assert!(!store.contains(&stored.sha256));
        assert!(store.open_file(&stored.sha256).expect("looks").is_none());
        assert!(!path.exists());
        assert_eq!(put(&store, b"some bytes"), stored);
        assert!(store.contains(&stored.sha256));
    }

    #[test]
    fn a_blob_that_was_changed_in_its_place_is_gone_at_the_next_look() {
        let (_folder, store) = store();
        let stored = put(&store, b"these are the bytes");
        assert!(store.open_inspected(&stored.sha256).expect("opens").is_some());
        let path = store.blob_path(&stored.sha256);
        let other = path.with_extension("other");
        fs::write(&other, b"those are the bytes").expect("writes");
        fs::rename(other, &path).expect("renames");
        assert!(store.open_inspected(&stored.sha256).expect("looks").is_none());
        assert!(!path.exists());

        // What lay there while nobody looked is read before it is trusted.
        let stored = put(&store, b"these are the bytes");
        let again = ArtifactStore::open(&store.folder.path).expect("opens again");
        let mut read = vec![];
        again.open_inspected(&stored.sha256).expect("opens").expect("is here").read_to_end(&mut read).expect("reads");
        assert_eq!(read, b"these are the bytes");
        fs::write(&path, b"those are the bytes").expect("writes");
        assert!(ArtifactStore::open(&store.folder.path).expect("opens").open_inspected(&stored.sha256).expect("looks").is_none());
    }

    #[test]
    fn a_lost_chunk_list_comes_back_from_the_bytes_and_a_damaged_blob_does_not() {
        let (_folder, store) = store();
        let stored = put(&store, b"some bytes");
        for damage in [None, Some(b"not a list")] {
            fs::remove_file(store.list_path(&stored.sha256)).expect("removes");
            if let Some(bytes) = damage {
                fs::write(store.list_path(&stored.sha256), [&10u64.to_le_bytes()[..], bytes].concat()).expect("writes");
            }
            let list = store.chunk_list(&stored.sha256).expect("reads").expect("is here");
            assert_eq!(list.root(), stored.chunk_root);
        }
        let (path, list) = (store.blob_path(&stored.sha256), store.list_path(&stored.sha256));
        fs::remove_file(&list).and_then(|()| fs::remove_file(&path)).expect("removes");
        fs::write(&path, b"sOme bytes").expect("writes");
        assert_eq!(store.chunk_list(&stored.sha256).expect("reads"), None);
        assert!(!path.exists());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_chunk_list_does_not_depend_on_how_the_bytes_come(
            size in 0usize..(3 * CHUNK_BYTES),
            cuts in prop::collection::vec(1usize..(CHUNK_BYTES * 2), 1..6),
        ) {
            let bytes: Vec<u8> = (0..size).map(|i| (i / 1_000) as u8).collect();
            let mut hasher = ArtifactHasher::new();
            let (mut rest, mut cuts) = (bytes.as_slice(), cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().expect("cycles").min(rest.len()));
                hasher.update(now);
                rest = later;
            }
            let (sha256, list) = hasher.finish().expect("is small enough");
            prop_assert_eq!(sha256, Sha256Digest::of(&bytes));
            prop_assert!(bytes.chunks(CHUNK_BYTES).zip(0..).all(|(chunk, index)| list.holds(index, chunk)));
            prop_assert_eq!(list.count(), bytes.chunks(CHUNK_BYTES).count() as u64);
        }
    }
}
