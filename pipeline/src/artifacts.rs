//! The artifacts of one build: files with checked names that appear whole or not at all.
//!
//! Builders write into the scratch folder and hand finished, verified files over. The layout for Docker images is
//! `manifest` for the top manifest or index and `sha256:<hex>.blob` for every other object; files of other packages have
//! the names their build program gave them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::docker::image_name::Digest;
use crate::records::{ArtifactFile, sync_folder};

pub(crate) const MANIFEST_FILE: &str = "manifest";
const MAX_FILE_NAME_CHARS: usize = 255;
/// No package has nearly as many files; a build that makes more is broken or hostile.
const MAX_ARTIFACTS: usize = 4096;

/// All files of one build together: several times the largest image of many platforms.
const MAX_BUILD_BYTES: u64 = 128 << 30;
const PIECE_BYTES: usize = 256 << 10;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    #[error("{name} has {size_bytes} bytes, more than the limit of {limit_bytes} (--max-artifact-bytes)")]
    TooLarge { name: String, size_bytes: u64, limit_bytes: u64 },
    #[error("the build has more than {MAX_ARTIFACTS} artifacts")]
    TooMany,
    #[error("the artifacts of the build have more than {MAX_BUILD_BYTES} bytes together")]
    TooMuch,
    #[error("cannot keep the artifact {name}")]
    Io {
        name: String,
        #[source]
        source: io::Error,
    },
}

/// Whether a name can be a file of a build: one path segment, nothing hidden.
pub(crate) fn is_file_name(name: &str) -> bool {
    (1..=MAX_FILE_NAME_CHARS).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:@+-".contains(&b))
}

#[derive(Debug, Clone)]
pub(crate) struct Artifacts {
    folder: PathBuf,
    scratch: PathBuf,
    pub(crate) max_artifact_bytes: u64,
}

impl Artifacts {
    pub(crate) fn new(folder: PathBuf, scratch: PathBuf, max_artifact_bytes: u64) -> Self {
        Self { folder, scratch, max_artifact_bytes }
    }

    /// A path on the same disk for a file that is being made.
    pub(crate) fn scratch_file(&self) -> PathBuf {
        self.scratch.join(Uuid::new_v4().to_string())
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(blob_name(digest))
    }

    pub(crate) fn check_size(&self, name: &str, size_bytes: u64) -> Result<(), ArtifactError> {
        if size_bytes > self.max_artifact_bytes {
            return Err(ArtifactError::TooLarge { name: name.to_owned(), size_bytes, limit_bytes: self.max_artifact_bytes });
        }
        Ok(())
    }

    pub(crate) fn check_count(count: usize) -> Result<(), ArtifactError> {
        if count > MAX_ARTIFACTS { Err(ArtifactError::TooMany) } else { Ok(()) }
    }

    /// Looks at what is about to be fetched: refused at the end, it would have filled the disk by then.
    pub(crate) fn check_sizes<'a>(&self, files: impl IntoIterator<Item = (&'a str, u64)>) -> Result<(), ArtifactError> {
        let (mut count, mut total_bytes) = (0, 0_u64);
        for (name, size_bytes) in files {
            self.check_size(name, size_bytes)?;
            count += 1;
            total_bytes = total_bytes.saturating_add(size_bytes);
        }
        Self::check_count(count)?;
        if total_bytes > MAX_BUILD_BYTES { Err(ArtifactError::TooMuch) } else { Ok(()) }
    }

    /// Takes over a finished file whose bytes have this digest.
    pub(crate) fn keep_blob(&self, digest: &Digest, finished: &Path) -> Result<(), ArtifactError> {
        self.keep(&blob_name(digest), finished)
    }

    /// Writes bytes under the digest they have.
    pub(crate) fn write_blob(&self, bytes: &[u8]) -> Result<Digest, ArtifactError> {
        let digest = Digest::of(bytes);
        self.write(&blob_name(&digest), bytes)?;
        Ok(digest)
    }

    pub(crate) fn write_manifest(&self, bytes: &[u8]) -> Result<(), ArtifactError> {
        self.write(MANIFEST_FILE, bytes)
    }

    /// Takes over a finished file under a name that was checked by [`is_file_name`].
    pub(crate) fn keep_file(&self, name: &str, finished: &Path) -> Result<(), ArtifactError> {
        self.keep(name, finished)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ArtifactError> {
        let scratch = self.scratch_file();
        fs::write(&scratch, bytes).map_err(|source| ArtifactError::Io { name: name.to_owned(), source })?;
        self.keep(name, &scratch)
    }

    fn keep(&self, name: &str, finished: &Path) -> Result<(), ArtifactError> {
        let broken = |source| ArtifactError::Io { name: name.to_owned(), source };
        let file = File::open(finished).map_err(broken)?;
        self.check_size(name, file.metadata().map_err(broken)?.len())?;
        file.sync_all().map_err(broken)?;
        fs::rename(finished, self.folder.join(name)).map_err(broken)
    }

    /// Every artifact, `manifest` first and the others by name, once their names are durable.
    pub(crate) fn collect(&self) -> Result<Vec<ArtifactFile>, ArtifactError> {
        let broken = |source| ArtifactError::Io { name: "listing".to_owned(), source };
        sync_folder(&self.folder).map_err(broken)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(broken)? {
            let entry = entry.map_err(broken)?;
            let size_bytes = entry.metadata().map_err(broken)?.len();
            let file = entry.file_name().to_string_lossy().into_owned();
            let sha256 = match digest_in(&file) {
                Some(digest) => digest.to_owned(),
                None => digest_of(&entry.path()).map_err(broken)?,
            };
            files.push(ArtifactFile { file, size_bytes, sha256: Some(sha256) });
            Self::check_count(files.len())?;
        }
        files.sort_by(|a, b| (a.file != MANIFEST_FILE, &a.file).cmp(&(b.file != MANIFEST_FILE, &b.file)));
        Ok(files)
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("{digest}.blob")
}

/// That of a blob was checked when it was made.
fn digest_in(blob_name: &str) -> Option<&str> {
    blob_name.strip_prefix("sha256:")?.strip_suffix(".blob").filter(|digest| digest.len() == 2 * Sha256::output_size())
}

fn digest_of(file: &Path) -> io::Result<String> {
    let (mut file, mut digest) = (File::open(file)?, Sha256::new());
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex::encode(digest.finalize())),
            read => digest.update(&piece[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_are_no_file_names() {
        for name in ["", ".", "..", "../record.json", "a/b", ".hidden", "a\0", "a b", "a\\b", "ü", &"a".repeat(256)] {
            assert!(!is_file_name(name), "{name:?}");
        }
        for name in ["manifest", "sha256:00.blob", "a-1.0+b@c_d.jar"] {
            assert!(is_file_name(name), "{name:?}");
        }
    }

    #[test]
    fn files_that_are_too_many_or_too_large_together_are_refused_before_they_are_made() {
        let artifacts = Artifacts::new("artifacts".into(), "work".into(), 16 << 30);
        let check = |files: u64, size_bytes: u64| artifacts.check_sizes((0..files).map(|_| ("a", size_bytes)));
        assert!(check(MAX_ARTIFACTS as u64, 1).is_ok() && check(8, 16 << 30).is_ok());
        assert!(matches!(check(MAX_ARTIFACTS as u64 + 1, 1), Err(ArtifactError::TooMany)));
        assert!(matches!(check(9, 16 << 30), Err(ArtifactError::TooMuch)));
        assert!(matches!(check(1, u64::MAX), Err(ArtifactError::TooLarge { .. })));
    }

    #[test]
    fn the_manifest_comes_first_and_large_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, scratch) = (folder.path().join("artifacts"), folder.path().join("work"));
        fs::create_dir(&kept).unwrap();
        fs::create_dir(&scratch).unwrap();
        let artifacts = Artifacts::new(kept, scratch, 4);
        artifacts.write_manifest(b"{}").unwrap();
        let digest = artifacts.write_blob(b"abcd").unwrap();
        assert!(matches!(artifacts.write_blob(b"abcde"), Err(ArtifactError::TooLarge { size_bytes: 5, .. })));
        let names: Vec<String> = artifacts.collect().unwrap().into_iter().map(|file| file.file).collect();
        assert_eq!(names, ["manifest".to_owned(), format!("{digest}.blob")]);
    }
}
