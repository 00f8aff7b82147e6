//! The content-addressed store of artifacts.
//!
//! ```text
//! blobs/<2 hex>/<64 hex>          the bytes, named by their sha256, never changed once they are there
//! blobs/<2 hex>/<64 hex>.chunks   their chunk list (borsh), followed by the sha256 of the list; its time is that of the last use
//! tmp/                            what is being written; emptied when the store opens
//! partial/<64 hex>{,.bitmap}      downloads to resume
//! brought/<build id>              what came here because of a build
//! pins/<64 hex>                   what is to stay
//! ```
//!
//! A blob gets its name only after its bytes are hashed and durable: written aside, fsync, rename, fsync of the folder, the
//! chunk list first. A power cut leaves a whole blob or none. A removal takes the blob first and its list after it, so that a kill leaves
//! a list without a blob at worst, which the next start removes. Whoever reads a blob holds a shared lock on its file, and an eviction
//! needs an exclusive one. Calls block on the disk: make them on a blocking thread.

use super::brought::Brought;
use super::catalogue::{Catalogue, Counts, LIST_SUFFIX, StoredArtifact, Usage};
use super::chunks::ChunkList;
use super::error::{OnDisk as _, StoreError};
use super::ingest::{ArtifactHasher, Ingest};
use super::inspected::{Inspected, Stamp};
use super::losses::{Loss, Losses};
use super::partial::{self, Partial};
use super::pins::Pins;
use super::temporary::{TemporaryFolder, sync_folder_of};
use pyrsia_ledger::tree::CHUNK_BYTES;
use pyrsia_ledger::{BuildId, Sha256Digest};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

mod leaving;

pub use leaving::Leaving;
pub(crate) use leaving::Reservation;

/// How much of a file being written is handed to the disk at once, so that the last fsync has little left to wait for.
pub(super) const WRITE_BACK_BYTES: u64 = 64 << 20;

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
    temporary: TemporaryFolder,
    brought: Brought,
    pins: Pins,
    inspected: Inspected,
    catalogue: Catalogue,
    losses: Losses,
    /// Whether a file that was looked at lately is opened without waiting for another machine or program.
    answers_at_once: bool,
    /// Held while something is taken out or gets its name, and while a pin or a build's need of something is noted: what was promised to stay stays.
    leaving: Mutex<()>,
}

impl ArtifactStore {
    /// Opens the store in `path`, makes the folder if it is not there, and removes what an interrupted run left behind.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        for folder in ["blobs", "partial"] {
            let folder = path.join(folder);
            fs::create_dir_all(&folder).on_disk("make the folder", &folder)?;
        }
        let temporary = TemporaryFolder::open(path.join("tmp"))?;
        partial::remove_old(&path.join("partial"))?;
        let folder = Folder {
            path: path.to_owned(),
            temporary,
            brought: Brought::open(path.join("brought"))?,
            pins: Pins::open(path.join("pins"))?,
            inspected: Inspected::default(),
            catalogue: Catalogue::read(&path.join("blobs"), SystemTime::now())?,
            losses: Losses::default(),
            answers_at_once: answers_at_once(path),
            leaving: Mutex::default(),
        };
        Ok(Self { folder: Arc::new(folder) })
    }

    pub fn contains(&self, sha256: &Sha256Digest) -> bool {
        let size = fs::metadata(self.blob_path(sha256)).map(|found| found.len());
        size.is_ok_and(|size| self.listed_size(sha256).is_none_or(|listed| listed == size))
    }

    /// The bytes of an artifact, or none if they are not here; nobody evicts them while the file is open. Damage that shows in
    /// the size removes the blob.
    pub fn open_file(&self, sha256: &Sha256Digest) -> io::Result<Option<File>> {
        let path = self.blob_path(sha256);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.note_vanished(sha256);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // An eviction holds the lock for a moment, and what is open then stays readable. A file system without locks has no evictions.
        let _ = file.lock_shared();
        let found = file.metadata()?.len();
        if self.listed_size(sha256).is_some_and(|listed| listed != found) {
            self.take_file_out_of_service(sha256, &file, "has the wrong size")?;
            return Ok(None);
        }
        Ok(Some(file))
    }

    /// The bytes of an artifact as its name says, or none: a file that changed since it was last looked at is read whole first,
    /// and removed if it holds anything else. Counts as a use.
    pub fn open_inspected(&self, sha256: &Sha256Digest) -> io::Result<Option<File>> {
        let Some(mut file) = self.open_file(sha256)? else { return Ok(None) };
        self.note_use(sha256);
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
            self.take_file_out_of_service(sha256, &file, "is damaged")?;
            return Ok(None);
        }
        file.rewind()?;
        self.folder.inspected.note(*sha256, stamp);
        Ok(Some(file))
    }

    /// What [`Self::open_inspected`] gives, if a look at the file is enough to know it is right: for callers that may not block. None where it takes
    /// more than that, as while an eviction holds the file. Counts as a use.
    pub(crate) fn open_unchanged(&self, sha256: &Sha256Digest) -> Option<File> {
        if !self.folder.answers_at_once || !self.folder.inspected.knows(sha256) {
            return None;
        }
        let file = File::open(self.blob_path(sha256)).ok()?;
        file.try_lock_shared().ok()?;
        let stamp = Stamp::of(&file.metadata().ok()?);
        self.folder.inspected.has(sha256, stamp).then(|| {
            self.note_use(sha256);
            file
        })
    }

    /// Whether the file of an artifact is as it was when it was last read whole and found right. Counts as a use.
    pub(crate) fn has_unchanged(&self, sha256: &Sha256Digest) -> bool {
        let found = fs::metadata(self.blob_path(sha256));
        let is_unchanged = found.is_ok_and(|found| self.folder.inspected.has(sha256, Stamp::of(&found)));
        if is_unchanged {
            self.note_use(sha256);
        }
        is_unchanged
    }

    /// Remembers that somebody wanted an artifact.
    pub(crate) fn note_use(&self, sha256: &Sha256Digest) {
        let now = SystemTime::now();
        if !self.folder.catalogue.use_at(sha256, now) {
            return;
        }
        let noted = File::open(self.list_path(sha256)).and_then(|list| list.set_modified(now));
        if let Err(error) = noted {
            tracing::debug!(%sha256, %error, "the last use of an artifact is not kept across a restart");
        }
    }

    /// The chunk list of an artifact; read again from its bytes if the file of the list is lost. A blob whose bytes are
    /// not what its name says is removed.
    pub fn chunk_list(&self, sha256: &Sha256Digest) -> Result<Option<ChunkList>, StoreError> {
        let path = self.blob_path(sha256);
        let Some(file) = self.open_file(sha256).on_disk("open", &path)? else { return Ok(None) };
        if let Some(list) = self.read_list(sha256) {
            return Ok(Some(list));
        }
        let (found, list) = hashed(&file, |_| true).on_disk("read", &path)?.expect("nobody stops it").finish()?;
        if found != *sha256 {
            self.take_file_out_of_service(sha256, &file, "is damaged").on_disk("remove", &path)?;
            return Ok(None);
        }
        self.write_list(sha256, &list)?;
        Ok(Some(list))
    }

    /// Starts to write an artifact whose bytes are not known yet.
    pub fn begin(&self) -> Result<Ingest, StoreError> {
        Ok(Ingest::new(self.clone(), self.folder.temporary.file()?))
    }

    /// Starts or resumes the download of an artifact whose chunk list is known.
    pub(crate) fn begin_partial(&self, sha256: &Sha256Digest, list: ChunkList) -> Result<Partial, StoreError> {
        Partial::open(self.clone(), self.partial_folder(), *sha256, list)
    }

    /// Removes an artifact from this node, whoever wants it.
    pub fn remove(&self, sha256: &Sha256Digest) -> io::Result<()> {
        for path in [self.blob_path(sha256), self.list_path(sha256)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.folder.catalogue.forget(sha256);
        Ok(())
    }

    /// The file of an artifact was not there.
    pub(super) fn note_vanished(&self, sha256: &Sha256Digest) {
        if self.get(sha256).is_none() {
            return;
        }
        // It may be taken out, or get its name, at this moment.
        let _leaving = self.leaving();
        if matches!(self.blob_path(sha256).try_exists(), Ok(false)) && self.folder.catalogue.forget(sha256) {
            tracing::warn!(%sha256, "the file of a stored artifact has vanished");
            self.folder.losses.note(*sha256, Loss::Gone);
        }
    }

    /// Removes bytes that are not what their name says. They are lost also if the disk does not let them be removed.
    pub(crate) fn take_out_of_service(&self, sha256: &Sha256Digest, why: &str) -> io::Result<()> {
        tracing::warn!(%sha256, "a stored artifact {why} and is removed");
        Counts::add(&self.counts().rotten, 1);
        let removed = self.remove(sha256);
        self.folder.losses.note(*sha256, if removed.is_ok() { Loss::Gone } else { Loss::Stuck });
        removed
    }

    /// Waits for artifacts that left though nobody wanted them to. They may have come back since. For one who hears.
    pub(crate) async fn lost(&self) -> BTreeMap<Sha256Digest, Loss> {
        self.folder.losses.next().await
    }

    /// The same for what was read from `file`; false if another file has its name meanwhile, which stays: a good copy may have
    /// come while a damaged one was read.
    pub(super) fn take_file_out_of_service(&self, sha256: &Sha256Digest, file: &File, why: &str) -> io::Result<bool> {
        let _leaving = self.leaving();
        let is_it = match fs::metadata(self.blob_path(sha256)) {
            Ok(found) => Stamp::of(&found) == Stamp::of(&file.metadata()?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            // A disk that cannot say is damaged too.
            Err(_) => true,
        };
        if is_it {
            self.take_out_of_service(sha256, why)?;
        }
        Ok(is_it)
    }

    /// Remembers that an artifact comes here because of a build; to be called before it is stored.
    pub fn note_brought(&self, build: &BuildId, sha256: &Sha256Digest) -> Result<(), StoreError> {
        let _leaving = self.leaving();
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

    /// Forgets a build and removes what only it brought, but for what is pinned or `stays`; returns how many artifacts are gone.
    pub(crate) fn release(&self, build: &BuildId, stays: impl Fn(&Sha256Digest) -> bool) -> Result<usize, StoreError> {
        let _leaving = self.leaving();
        let stays = |sha256: &Sha256Digest| self.is_pinned(sha256) || stays(sha256);
        self.folder.brought.release(build, stays, |sha256| self.remove(sha256))
    }

    /// Removes what only this build brought, but for what is pinned or `stays`; returns how many artifacts are gone.
    pub(crate) fn remove_brought(&self, build: &BuildId, stays: impl Fn(&Sha256Digest) -> bool) -> Result<usize, StoreError> {
        let _leaving = self.leaving();
        let stays = |sha256: &Sha256Digest| self.is_pinned(sha256) || stays(sha256);
        self.folder.brought.remove(build, stays, |sha256| self.remove(sha256))
    }

    pub fn usage(&self) -> Usage {
        self.folder.catalogue.usage()
    }

    /// How many artifacts got their name since the store was opened.
    pub(crate) fn arrivals(&self) -> u64 {
        self.counts().arrivals.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.folder.catalogue.counts
    }

    pub fn get(&self, sha256: &Sha256Digest) -> Option<StoredArtifact> {
        self.folder.catalogue.get(sha256)
    }

    /// Up to `count_max` artifacts that come after `after` in the order of their digests.
    pub fn page(&self, after: Option<&Sha256Digest>, count_max: usize) -> Vec<StoredArtifact> {
        self.folder.catalogue.page(after, count_max)
    }

    pub(crate) fn least_recently_used_first(&self) -> Vec<StoredArtifact> {
        self.folder.catalogue.least_recently_used_first()
    }

    /// Forgets the downloads that nobody has gone on with for long.
    pub(crate) fn remove_abandoned_downloads(&self) -> Result<(), StoreError> {
        partial::remove_old(&self.partial_folder())
    }

    /// Downloads that nobody has gone on with for long.
    pub(crate) fn abandoned_downloads(&self) -> Result<Vec<partial::Unfinished>, StoreError> {
        let mut unfinished = partial::unfinished(&self.partial_folder())?;
        unfinished.retain(partial::Unfinished::is_old);
        Ok(unfinished)
    }

    /// Up to `count_max` artifacts that are here, in the order of their digests.
    pub fn digests(&self, count_max: usize) -> Vec<Sha256Digest> {
        self.page(None, count_max).into_iter().map(|stored| stored.sha256).collect()
    }

    /// Gives durable bytes that were hashed their name. The list goes first: a blob with a name always has one.
    pub(super) fn publish(&self, from: &Path, sha256: &Sha256Digest, list: &ChunkList) -> Result<(), StoreError> {
        self.write_list(sha256, list)?;
        let path = self.blob_path(sha256);
        let leaving = self.leaving();
        fs::rename(from, &path).on_disk("rename to", &path)?;
        // Whoever publishes has hashed what is in it.
        let metadata = fs::metadata(&path).on_disk("look at", &path)?;
        self.folder.inspected.note(*sha256, Stamp::of(&metadata));
        self.folder.catalogue.insert(*sha256, metadata.len(), SystemTime::now());
        drop(leaving);
        sync_folder_of(&path)
    }

    pub(super) fn write_list(&self, sha256: &Sha256Digest, list: &ChunkList) -> Result<(), StoreError> {
        let path = self.list_path(sha256);
        let folder = path.parent().expect("a blob lies in a folder");
        if !folder.is_dir() {
            fs::create_dir_all(folder).on_disk("make the folder", folder)?;
            sync_folder_of(folder)?;
        }
        let mut bytes = borsh::to_vec(list).expect("writing to memory cannot fail");
        bytes.extend_from_slice(Sha256Digest::of(&bytes).as_bytes());
        let mut temporary = self.folder.temporary.file()?;
        let written = temporary.file.write_all(&bytes).and_then(|()| temporary.file.sync_all());
        written.on_disk("write", &temporary.path)?;
        temporary.rename(&path)?;
        sync_folder_of(&path)
    }

    pub(super) fn read_list(&self, sha256: &Sha256Digest) -> Option<ChunkList> {
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

    pub(crate) fn blob_path(&self, sha256: &Sha256Digest) -> PathBuf {
        let name = sha256.to_string();
        self.folder.path.join("blobs").join(&name[..2]).join(name)
    }

    fn list_path(&self, sha256: &Sha256Digest) -> PathBuf {
        self.blob_path(sha256).with_extension(LIST_SUFFIX)
    }

    fn partial_folder(&self) -> PathBuf {
        self.folder.path.join("partial")
    }
}

/// File systems of this machine's own disks and memory, as statfs(2) numbers them: ext4, XFS, Btrfs, F2FS, bcachefs, ZFS, tmpfs, overlayfs.
const LOCAL_FILE_SYSTEMS: [u32; 8] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0xca45_1a4e, 0x2fc1_2fc1, 0x0102_1994, 0x794c_7630];

fn answers_at_once(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| LOCAL_FILE_SYSTEMS.contains(&(found.f_type as u32)))
}

/// Reads a file from its beginning to its end; none when `goes_on`, which is told the size of each piece, says no.
pub(crate) fn hashed(mut file: &File, mut goes_on: impl FnMut(usize) -> bool) -> io::Result<Option<ArtifactHasher>> {
    let mut hasher = ArtifactHasher::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Some(hasher)),
            read if goes_on(read) => hasher.update(&buffer[..read]),
            _ => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
