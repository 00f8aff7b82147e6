//! Released files of repositories, kept for all builds of this pipeline: they never change once they are published.
//!
//! One file for each, named by the digest of where it came from. Its first [`HEADER_BYTES`] say what the rest has to be, which
//! is checked at each use: builds run as the same user and could write here. A file appears whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

pub(super) const HEADER_BYTES: u64 = 512;
/// Beyond this the files that were not used for longest go.
const MAX_CACHE_BYTES: u64 = 20 << 30;
const PIECE_BYTES: usize = 256 << 10;

/// The digests of a file, in lower case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

#[derive(Debug, Clone)]
pub(crate) struct Cache {
    files: PathBuf,
    unfinished: PathBuf,
}

impl Cache {
    /// What an earlier run did not finish is removed.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let (files, unfinished) = (folder.join("files"), folder.join("unfinished"));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        fs::create_dir_all(&files)?;
        fs::create_dir_all(&unfinished)?;
        Ok(Self { files, unfinished })
    }

    fn path(&self, repository: &str, path: &str) -> PathBuf {
        let name = hex::encode(Sha256::digest(format!("{repository}\n{path}")));
        self.files.join(&name[..2]).join(name)
    }

    /// `None` also for a file that is not what it was.
    pub(super) fn find(&self, repository: &str, path: &str) -> io::Result<Option<CachedFile>> {
        let path = self.path(repository, path);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(sums) = intact(&mut file) else {
            tracing::warn!(file = %path.display(), "a file of the Maven cache is damaged and fetched again");
            fs::remove_file(&path)?;
            return Ok(None);
        };
        // When it was used last; where that cannot be noted, it goes earlier.
        let _ = file.set_modified(SystemTime::now());
        Ok(Some(CachedFile { file, sums }))
    }

    /// What is said of a file without reading it.
    #[cfg(test)]
    pub(super) fn sums(&self, repository: &str, path: &str) -> Option<Sums> {
        header(&mut File::open(self.path(repository, path)).ok()?)
    }

    pub(super) fn unfinished(&self) -> io::Result<Unfinished> {
        let path = self.unfinished.join(Uuid::new_v4().to_string());
        let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
        file.write_all(&[b' '; HEADER_BYTES as usize])?;
        Ok(Unfinished { file, path, sha1: Sha1::new(), sha256: Sha256::new(), size_bytes: 0 })
    }

    /// Keeps a finished file.
    pub(super) fn keep(&self, unfinished: Unfinished, sums: Sums, repository: &str, path: &str) -> io::Result<CachedFile> {
        let target = self.path(repository, path);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut header = serde_json::to_vec(&sums)?;
        header.resize(HEADER_BYTES as usize - 1, b' ');
        header.push(b'\n');
        let mut file = unfinished.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header)?;
        fs::rename(&unfinished.path, &target)?;
        Ok(CachedFile { file, sums })
    }

    /// Removes what is beyond the limit. Blocks.
    pub(crate) fn trim(&self) -> io::Result<()> {
        self.trim_to(MAX_CACHE_BYTES)
    }

    fn trim_to(&self, limit_bytes: u64) -> io::Result<()> {
        let mut files = Vec::new();
        for folder in fs::read_dir(&self.files)? {
            for entry in fs::read_dir(folder?.path())? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                files.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        files.sort();
        let mut total_bytes: u64 = files.iter().map(|(_, size_bytes, _)| size_bytes).sum();
        for (_, size_bytes, path) in files {
            if total_bytes <= limit_bytes {
                break;
            }
            fs::remove_file(path)?;
            total_bytes -= size_bytes;
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

    /// For one use only: it has no name any more.
    pub(super) fn use_once(self) -> io::Result<CachedFile> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(HEADER_BYTES))?;
        Ok(CachedFile { file, sums: self.sums() })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is elsewhere when it was kept.
        let _ = fs::remove_file(&self.path);
    }
}

fn header(file: &mut File) -> Option<Sums> {
    let mut header = [0; HEADER_BYTES as usize];
    file.read_exact(&mut header).ok()?;
    serde_json::from_slice(header.trim_ascii_end()).ok()
}

/// What the header says, where the bytes are so; the file is at the first of them then.
fn intact(file: &mut File) -> Option<Sums> {
    let sums = header(file)?;
    let mut sha256 = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece).ok()? {
            0 => break,
            length => sha256.update(&piece[..length]),
        }
    }
    file.seek(SeekFrom::Start(HEADER_BYTES)).ok()?;
    (hex::encode(sha256.finalize()) == sums.sha256).then_some(sums)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn keep(cache: &Cache, path: &str, bytes: &[u8]) -> Sums {
        let mut unfinished = cache.unfinished().unwrap();
        unfinished.write(bytes).unwrap();
        let sums = Sums { is_confirmed: true, ..unfinished.sums() };
        assert_eq!(cache.keep(unfinished, sums, "repository", path).unwrap().sums.size_bytes, bytes.len() as u64);
        cache.sums("repository", path).unwrap()
    }

    fn text(found: Option<CachedFile>) -> Option<String> {
        let mut text = String::new();
        found?.file.read_to_string(&mut text).unwrap();
        Some(text)
    }

    #[test]
    fn a_file_is_found_where_it_came_from_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let sums = keep(&cache, "a/1/a.jar", b"abc");
        assert_eq!(sums.sha1, "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(text(cache.find("repository", "a/1/a.jar").unwrap()).unwrap(), "abc");
        assert!(cache.find("other", "a/1/a.jar").unwrap().is_none());
        drop(cache.unfinished().unwrap());
        assert_eq!(fs::read_dir(&cache.unfinished).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_was_changed_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        keep(&cache, "a", b"abc");
        let path = cache.path("repository", "a");
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(cache.find("repository", "a").unwrap().is_none() && !path.exists());
        fs::write(&path, "short").unwrap();
        assert!(cache.find("repository", "a").unwrap().is_none() && !path.exists());
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        for (age_s, name) in [(10, "old"), (20, "older"), (0, "new")] {
            keep(&cache, name, b"abc");
            let file = File::options().write(true).open(cache.path("repository", name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age_s)).unwrap();
        }
        cache.find("repository", "older").unwrap().unwrap();
        cache.trim_to(2 * (HEADER_BYTES + 3)).unwrap();
        assert!(cache.sums("repository", "old").is_none());
        assert!(cache.sums("repository", "older").is_some() && cache.sums("repository", "new").is_some());
    }
}
