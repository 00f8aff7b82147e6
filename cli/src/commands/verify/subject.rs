//! What is to be verified: a file, an image as it was saved, a digest, or an image of this machine's docker or podman.

use super::engine;
use super::image::{self, FoundImage, ImageError};
use super::image_files::{FilesError, GZIP_MAGIC, ImageFiles, digest_of};
use super::proven::Proven;
use pyrsia_ledger::Sha256Digest;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// What was found to be proven.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Subject {
    #[serde(flatten)]
    pub(super) found: Found,
    /// As it was named.
    pub(super) name: String,
    pub(super) artifact: String,
    pub(super) sha256: Sha256Digest,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Found {
    File,
    Image {
        configurations: usize,
        layers: usize,
        absent: usize,
        uncompressed: bool,
    },
    /// The digest alone; there were no bytes to look at.
    Digest,
    /// By the word of an engine.
    LocalImage {
        engine: &'static str,
    },
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SubjectError {
    #[error("{} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is a folder, and no image in the OCI layout", path.display())]
    Folder { path: PathBuf },
    #[error("{0} is not sha256: with 64 lower-case hexadecimal digits")]
    NoDigest(String),
    #[error("{name} is no file here, and no engine of this machine has such an image: {said}")]
    NoImage { name: String, said: String },
    #[error("the image in {} is not what is proven: {source}", path.display())]
    Image { path: PathBuf, source: ImageError },
    #[error("{} is not what is proven: its sha256 is {sha256}, which no artifact of the proof has", path.display())]
    OtherFile { path: PathBuf, sha256: Sha256Digest, gzip: bool },
    #[error("{name} is not what is proven: no artifact of the proof has this digest")]
    OtherDigest { name: String },
    #[error("{name} is not what is proven: {engine} knows it as {digests}, which no artifact of the proof has")]
    OtherImage { name: String, engine: &'static str, digests: String },
}

impl SubjectError {
    /// Whether nothing was found out about what is to be verified.
    pub(super) fn could_not_run(&self) -> bool {
        match self {
            Self::Read { .. } | Self::Folder { .. } | Self::NoDigest(_) | Self::NoImage { .. } => true,
            Self::Image { source: ImageError::Files(error), .. } => matches!(error, FilesError::Read { .. }),
            Self::Image { .. } | Self::OtherFile { .. } | Self::OtherDigest { .. } | Self::OtherImage { .. } => false,
        }
    }

    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::OtherFile { gzip: true, .. } => Some("if it is an archive of an image that somebody packed, unpack it first"),
            Self::OtherImage { .. } => {
                Some("an image that was loaded, and not pulled, is verified by its archive: 'docker save'")
            }
            _ => None,
        }
    }
}

/// Holds what `name` stands for against the proof.
pub(super) async fn check(name: &str, proven: &Proven) -> Result<Subject, SubjectError> {
    let path = Path::new(name);
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let files = ImageFiles::of_folder(path).ok_or_else(|| SubjectError::Folder { path: path.into() })?;
            saved(path, &files, proven)
        }
        Ok(_) => file(path, proven),
        Err(error) if error.kind() == io::ErrorKind::NotFound => named(name, proven).await,
        Err(source) => Err(SubjectError::Read { path: path.into(), source }),
    }
}

fn file(path: &Path, proven: &Proven) -> Result<Subject, SubjectError> {
    let read = |source| SubjectError::Read { path: path.into(), source };
    let mut file = File::open(path).map_err(read)?;
    let sha256 = digest_of(&file).map_err(read)?;
    if let Some(artifact) = proven.artifact(&sha256) {
        return Ok(Subject { found: Found::File, name: shown(path), artifact: artifact.into(), sha256 });
    }
    let gzip = file.seek(SeekFrom::Start(0)).and_then(|_| begins_with(&file, GZIP_MAGIC)).map_err(read)?;
    let failed = |source| SubjectError::Image { path: path.into(), source: ImageError::Files(source) };
    match ImageFiles::of_archive(path, file).map_err(failed)? {
        Some(files) => saved(path, &files, proven),
        None => Err(SubjectError::OtherFile { path: path.into(), sha256, gzip }),
    }
}

fn begins_with(file: &File, magic: [u8; 2]) -> io::Result<bool> {
    let mut head = vec![];
    file.take(magic.len() as u64).read_to_end(&mut head)?;
    Ok(head == magic)
}

fn saved(path: &Path, files: &ImageFiles, proven: &Proven) -> Result<Subject, SubjectError> {
    let failed = |source| SubjectError::Image { path: path.into(), source };
    let found = image::check(files, proven).map_err(failed)?;
    let (artifact, sha256) = proven.first(&found.proven).ok_or_else(|| failed(ImageError::Empty))?;
    let FoundImage { proven: _, configs: configurations, layers, absent, uncompressed } = found;
    let image = Found::Image { configurations, layers, absent, uncompressed };
    Ok(Subject { found: image, name: shown(path), artifact: artifact.into(), sha256 })
}

/// What is no file: a digest, or the name of an image.
async fn named(name: &str, proven: &Proven) -> Result<Subject, SubjectError> {
    let digest = if name.starts_with("sha256:") { Some(name) } else { name.rsplit_once('@').map(|(_, digest)| digest) };
    if let Some(digest) = digest {
        let sha256 = image::digest(digest).map_err(|_| SubjectError::NoDigest(digest.into()))?;
        let artifact = proven.artifact(&sha256).ok_or_else(|| SubjectError::OtherDigest { name: name.into() })?;
        return Ok(Subject { found: Found::Digest, name: name.into(), artifact: artifact.into(), sha256 });
    }
    let no_image = |said| SubjectError::NoImage { name: name.into(), said };
    // Else a program would take the name for a flag.
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(no_image("none was asked, for it is not the name of one".into()));
    }
    let image = engine::inspect(name).await.map_err(no_image)?;
    let Some((artifact, sha256)) = proven.first(&image.digests) else {
        let digests = image.digests.iter().map(|digest| format!("sha256:{digest}")).collect::<Vec<_>>().join(", ");
        return Err(SubjectError::OtherImage { name: name.into(), engine: image.engine, digests });
    };
    let found = Found::LocalImage { engine: image.engine };
    Ok(Subject { found, name: name.into(), artifact: artifact.into(), sha256 })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proven() -> Proven {
        Proven::of([(Sha256Digest::of(b"a jar"), "g/a/1/a-1.jar".to_owned())].into_iter())
    }

    #[tokio::test]
    async fn a_file_is_what_its_digest_says_whatever_it_is_called() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
        fs::write(name("renamed"), b"a jar").expect("a file");
        let subject = check(&name("renamed"), &proven()).await.expect("it is proven");
        assert_eq!((subject.found, subject.artifact.as_str()), (Found::File, "g/a/1/a-1.jar"));
        for changed in [&b"a jaR"[..], b"", b"\x1f\x8b"] {
            fs::write(name("changed"), changed).expect("a file");
            let error = check(&name("changed"), &proven()).await.expect_err("it is not proven");
            assert!(matches!(error, SubjectError::OtherFile { .. }) && !error.could_not_run());
            assert_eq!(error.hint().is_some(), changed == b"\x1f\x8b");
        }
        assert!(matches!(check(&name(""), &proven()).await, Err(SubjectError::Folder { .. })));
    }

    #[tokio::test]
    async fn a_digest_alone_can_be_verified() {
        let sha256 = Sha256Digest::of(b"a jar");
        for name in [format!("sha256:{sha256}"), format!("localhost:7888/a@sha256:{sha256}")] {
            assert_eq!(check(&name, &proven()).await.expect("it is proven").found, Found::Digest);
        }
        let other = format!("sha256:{}", Sha256Digest::of(b"another"));
        assert!(matches!(check(&other, &proven()).await, Err(SubjectError::OtherDigest { .. })));
        for wrong in ["sha256:", "a@sha512:00", "sha256:AB"] {
            let error = check(wrong, &proven()).await.expect_err("no digest");
            assert!(matches!(error, SubjectError::NoDigest(_)) && error.could_not_run());
        }
        assert!(matches!(check("--help", &proven()).await, Err(SubjectError::NoImage { .. })));
    }
}
