//! Released files of repositories, kept for all builds of this pipeline: they never change once they are published.
//!
//! One file for each, named by the digest of where it came from. Builds run as the same user and could write here, so the disk is
//! believed nothing: what a file has to be is known in memory, from when this process fetched it or held it against the checksum of its
//! repository, and the bytes are looked at before each use. A file appears whole or not at all, and whatever else lies in its place
//! is replaced.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::regular_file::open_regular;

/// Distributions of whole programs are a few hundred megabytes.
pub(super) const MAX_FILE_BYTES: u64 = 2 << 30;
/// Beyond this the files that were not used for longest go.
const MAX_CACHE_BYTES: u64 = 20 << 30;
/// Some 30 MB of memory; a file beyond that is held against its repository again.
const MAX_KNOWN_FILES: usize = 100_000;
const PIECE_BYTES: usize = 256 << 10;

/// The digests of a file, in lower case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) sha1: String,
    pub(super) sha256: String,
    pub(super) size_bytes: u64,
    /// Whether the repository had a checksum, which was that of the file.
    pub(super) is_confirmed: bool,
}

/// A file whose bytes were looked at, open at its first one.
#[derive(Debug)]
pub(super) struct CachedFile {
    pub(super) file: File,
    pub(super) sums: Sums,
}

/// What lies on the disk under the name of a file.
#[derive(Debug)]
pub(super) enum Found {
    Nothing,
    /// What this process put there, or had confirmed.
    Known(CachedFile),
    /// What anybody could have put there.
    Unknown(CachedFile),
}

/// By the digest of the repository and the path.
type Key = [u8; 32];

/// Cheap to clone; all clones are of one folder.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    files: PathBuf,
    unfinished: PathBuf,
    known: Arc<Mutex<BTreeMap<Key, Sums>>>,
}

impl Cache {
    /// What an earlier run did not finish is removed.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let (files, unfinished) = (folder.join("files"), folder.join("unfinished"));
        remove(&unfinished)?;
        fs::create_dir_all(&files)?;
        fs::create_dir_all(&unfinished)?;
        Ok(Self { files, unfinished, known: Arc::default() })
    }

    fn key(repository: &str, path: &str) -> Key {
        Sha256::digest(format!("{repository}\n{path}")).into()
    }

    fn place(&self, key: &Key) -> PathBuf {
        let name = hex::encode(key);
        self.files.join(&name[..2]).join(name)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Key, Sums>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the whole file. Blocks.
    pub(super) fn find(&self, repository: &str, path: &str) -> Found {
        let key = Self::key(repository, path);
        let place = self.place(&key);
        let known = self.known().get(&key).cloned();
        let read = open_regular(&place).and_then(|(mut file, metadata)| {
            if metadata.len() > MAX_FILE_BYTES {
                return Err(io::Error::other("it is larger than any that is kept"));
            }
            let sums = sums_of(&mut file)?;
            Ok(CachedFile { file, sums })
        });
        let CachedFile { file, sums } = match read {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
            Err(error) => {
                tracing::warn!(file = %place.display(), %error, "a file of the Maven cache cannot be used and is fetched again");
                return Found::Nothing;
            }
        };
        match known {
            None => Found::Unknown(CachedFile { file, sums }),
            Some(known) if (&known.sha256, known.size_bytes) == (&sums.sha256, sums.size_bytes) => {
                // When it was used last; where that cannot be noted, it goes earlier.
                let _ = file.set_modified(SystemTime::now());
                Found::Known(CachedFile { file, sums: known })
            }
            Some(_) => {
                tracing::warn!(file = %place.display(), "a file of the Maven cache was changed and is fetched again");
                Found::Nothing
            }
        }
    }

    /// From here on the file is what these digests say.
    pub(super) fn confirm(&self, repository: &str, path: &str, sums: Sums) {
        let mut known = self.known();
        if known.len() >= MAX_KNOWN_FILES {
            // Keys are digests: it is any one of them.
            known.pop_first();
        }
        known.insert(Self::key(repository, path), sums);
    }

    pub(super) fn unfinished(&self) -> io::Result<Unfinished> {
        let path = self.unfinished.join(Uuid::new_v4().to_string());
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Unfinished { file, path, sha1: Sha1::new(), sha256: Sha256::new(), size_bytes: 0 })
    }

    /// Keeps a finished file. Where that fails it is there for one use. Blocks.
    pub(super) fn keep(&self, unfinished: Unfinished, sums: Sums, repository: &str, path: &str) -> io::Result<CachedFile> {
        let place = self.place(&Self::key(repository, path));
        match put(&unfinished.path, &place) {
            Ok(()) => self.confirm(repository, path, sums.clone()),
            Err(error) => tracing::warn!(file = %place.display(), %error, "a file cannot be kept in the Maven cache"),
        }
        Ok(CachedFile { sums, ..unfinished.use_once()? })
    }

    /// Removes what is beyond the limit. Blocks.
    pub(crate) fn trim(&self) -> io::Result<()> {
        self.trim_to(MAX_CACHE_BYTES)
    }

    /// Passes over what goes meanwhile, and what this cache did not put there.
    fn trim_to(&self, limit_bytes: u64) -> io::Result<()> {
        let mut files = Vec::new();
        for folder in fs::read_dir(&self.files)?.flatten() {
            if !folder.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let Ok(entries) = fs::read_dir(folder.path()) else { continue };
            for entry in entries.flatten() {
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_file() {
                    files.push((metadata.modified()?, metadata.len(), entry.path()));
                }
            }
        }
        files.sort();
        let mut total_bytes = files.iter().fold(0_u64, |total, (_, size_bytes, _)| total.saturating_add(*size_bytes));
        for (_, size_bytes, path) in files {
            if total_bytes <= limit_bytes {
                break;
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(file = %path.display(), %error, "a file of the Maven cache cannot be removed");
                }
                _ => total_bytes = total_bytes.saturating_sub(size_bytes),
            }
        }
        Ok(())
    }
}

/// A file on its way; it goes when this is dropped, unless it was kept.
#[derive(Debug)]
pub(super) struct Unfinished {
    file: File,
    path: PathBuf,
    sha1: Sha1,
    sha256: Sha256,
    size_bytes: u64,
}

impl Unfinished {
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.sha1.update(piece);
        self.sha256.update(piece);
        self.size_bytes += piece.len() as u64;
        self.file.write_all(piece)
    }

    pub(super) fn sums(&self) -> Sums {
        Sums {
            sha1: hex::encode(self.sha1.clone().finalize()),
            sha256: hex::encode(self.sha256.clone().finalize()),
            size_bytes: self.size_bytes,
            is_confirmed: false,
        }
    }

    /// For one use only: it has no name any more, unless it was kept.
    pub(super) fn use_once(self) -> io::Result<CachedFile> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(CachedFile { file, sums: self.sums() })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is elsewhere when it was kept.
        let _ = fs::remove_file(&self.path);
    }
}

/// The digests of what is in the file, which is at its first byte then.
fn sums_of(file: &mut File) -> io::Result<Sums> {
    let (mut sha1, mut sha256, mut size_bytes) = (Sha1::new(), Sha256::new(), 0);
    let mut piece = vec![0; PIECE_BYTES];
    let mut bytes = (&*file).take(MAX_FILE_BYTES + 1);
    loop {
        match bytes.read(&mut piece)? {
            0 => break,
            length => {
                sha1.update(&piece[..length]);
                sha256.update(&piece[..length]);
                size_bytes += length as u64;
            }
        }
    }
    file.seek(SeekFrom::Start(0))?;
    let (sha1, sha256) = (hex::encode(sha1.finalize()), hex::encode(sha256.finalize()));
    Ok(Sums { sha1, sha256, size_bytes, is_confirmed: false })
}

/// Moves a file to its place, whatever lies there or in the place of its folder.
fn put(file: &Path, place: &Path) -> io::Result<()> {
    if let Some(folder) = place.parent()
        && !folder.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
    {
        remove(folder)?;
        fs::create_dir_all(folder)?;
    }
    fs::rename(file, place).or_else(|_| {
        remove(place)?;
        fs::rename(file, place)
    })
}

/// Removes what is there, of whatever kind, or nothing.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn keep(cache: &Cache, path: &str, bytes: &[u8]) -> Sums {
        let mut unfinished = cache.unfinished().unwrap();
        unfinished.write(bytes).unwrap();
        let sums = Sums { is_confirmed: true, ..unfinished.sums() };
        assert_eq!(text(Found::Known(cache.keep(unfinished, sums.clone(), "repository", path).unwrap())).as_bytes(), bytes);
        sums
    }

    fn text(found: Found) -> String {
        let mut text = String::new();
        let Found::Known(CachedFile { mut file, .. }) = found else { panic!("{found:?}") };
        file.read_to_string(&mut text).unwrap();
        text
    }

    fn place(cache: &Cache, path: &str) -> PathBuf {
        cache.place(&Cache::key("repository", path))
    }

    #[test]
    fn a_file_is_found_where_it_came_from_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let sums = keep(&cache, "a/1/a.jar", b"abc");
        assert_eq!(sums.sha1, "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(text(cache.find("repository", "a/1/a.jar")), "abc");
        assert!(matches!(cache.find("other", "a/1/a.jar"), Found::Nothing));
        drop(cache.unfinished().unwrap());
        assert_eq!(fs::read_dir(&cache.unfinished).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_another_process_put_there_is_not_known_until_it_is_confirmed() {
        let folder = tempfile::tempdir().unwrap();
        let sums = keep(&Cache::open(folder.path()).unwrap(), "a", b"abc");
        let cache = Cache::open(folder.path()).unwrap();
        let Found::Unknown(CachedFile { sums: unknown, .. }) = cache.find("repository", "a") else { panic!() };
        assert_eq!(unknown, Sums { is_confirmed: false, ..sums.clone() });
        cache.confirm("repository", "a", sums);
        assert_eq!(text(cache.find("repository", "a")), "abc");
    }

    #[test]
    fn whatever_takes_the_place_of_a_file_is_not_used_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        keep(&cache, "a", b"abc");
        let place = place(&cache, "a");
        let other = folder.path().join("other");
        fs::write(&other, "abc").unwrap();
        let shard = place.parent().unwrap();
        let kinds: [(&str, &dyn Fn()); 6] = [
            ("other bytes", &|| fs::write(&place, "abd").unwrap()),
            ("a link", &|| std::os::unix::fs::symlink(&other, &place).unwrap()),
            ("a folder", &|| fs::create_dir_all(place.join("b/c")).unwrap()),
            ("a pipe", &|| assert!(std::process::Command::new("mkfifo").arg(&place).status().unwrap().success())),
            ("a socket", &|| drop(std::os::unix::net::UnixListener::bind(&place).unwrap())),
            ("no folder", &|| {
                remove(shard).unwrap();
                fs::write(shard, "").unwrap();
            }),
        ];
        for (kind, make) in kinds {
            remove(&place).unwrap();
            make();
            assert!(matches!(cache.find("repository", "a"), Found::Nothing), "{kind}");
            cache.trim_to(u64::MAX).unwrap();
            keep(&cache, "a", b"abc");
            assert_eq!(text(cache.find("repository", "a")), "abc", "{kind}");
        }
        assert_eq!(fs::read_to_string(other).unwrap(), "abc");
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        for (age_s, name) in [(10, "old"), (20, "older"), (0, "new")] {
            keep(&cache, name, b"abc");
            let file = File::options().write(true).open(place(&cache, name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age_s)).unwrap();
        }
        assert_eq!(text(cache.find("repository", "older")), "abc");
        cache.trim_to(2 * 3).unwrap();
        assert!(!place(&cache, "old").exists());
        assert!(place(&cache, "older").exists() && place(&cache, "new").exists());
    }
}
