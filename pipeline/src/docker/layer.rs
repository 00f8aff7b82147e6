//! Writing image layers so that the same content always gives the same bytes.
//!
//! Entries are sorted by path, dated by the source, owned by numbers, and compressed at one level with an empty gzip
//! header. Reference: OCI image specification, "Layer".

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::image_name::Digest;
use super::rootfs::Owner;

/// The level is part of the bytes: another one makes other digests.
const COMPRESSION_LEVEL: u32 = 6;
/// The encoder sees pieces of this size, however they were written.
const PIECE_BYTES: usize = 64 << 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LayerEntry {
    pub(super) mode: u32,
    pub(super) owner: Owner,
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Directory,
    Symlink(String),
    /// The bytes of this file.
    File(PathBuf),
}

/// A finished layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layer {
    /// Of the tar inside.
    pub(super) diff_id: Digest,
    /// Of the compressed file.
    pub(super) digest: Digest,
    pub(super) size_bytes: u64,
}

/// Writes the entries, which are sorted by being in this map.
pub(super) fn write(
    entries: &BTreeMap<String, LayerEntry>,
    dated: u64,
    path: &Path,
    abandoned: &CancellationToken,
) -> io::Result<Layer> {
    let mut tar = tar::Builder::new(LayerFile::create(path)?);
    for (name, entry) in entries {
        if abandoned.is_cancelled() {
            return Err(io::Error::other("the build was cancelled"));
        }
        let mut header = tar::Header::new_gnu();
        header.set_mode(entry.mode);
        header.set_uid(entry.owner.uid);
        header.set_gid(entry.owner.gid);
        header.set_mtime(dated);
        header.set_size(0);
        match &entry.content {
            Content::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, format!("{name}/"), io::empty())?;
            }
            Content::Symlink(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, name, target)?;
            }
            Content::File(source) => {
                let file = File::open(source)?;
                let size = file.metadata()?.len();
                header.set_entry_type(tar::EntryType::Regular);
                header.set_size(size);
                tar.append_data(&mut header, name, file.take(size))?;
            }
        }
    }
    tar.into_inner()?.finish()
}

/// Takes a tar stream, writes it compressed, and knows both digests at the end.
pub(super) struct LayerFile {
    pieces: BufWriter<Hashing<GzEncoder<Hashing<File>>>>,
}

impl LayerFile {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let compressed = Hashing::new(File::create_new(path)?);
        let gzip = GzBuilder::new().mtime(0).write(compressed, Compression::new(COMPRESSION_LEVEL));
        Ok(Self { pieces: BufWriter::with_capacity(PIECE_BYTES, Hashing::new(gzip)) })
    }

    pub(super) fn finish(self) -> io::Result<Layer> {
        let tar = self.pieces.into_inner().map_err(io::IntoInnerError::into_error)?;
        let (gzip, diff_id, _) = tar.finish();
        let (_, digest, size_bytes) = gzip.finish()?.finish();
        Ok(Layer { diff_id, digest, size_bytes })
    }
}

impl Write for LayerFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pieces.write(bytes)
    }

    /// Pieces keep their size: what flushes in between would change what the encoder sees.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Hashing<W> {
    inner: W,
    hash: Sha256,
    size_bytes: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), size_bytes: 0 }
    }

    fn finish(self) -> (W, Digest, u64) {
        (self.inner, Digest::from_hash(self.hash.finalize()), self.size_bytes)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_layer_are_what_they_always_were() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        std::fs::write(&source, "hello\n".repeat(10_000)).unwrap();
        let entry = |mode, content| LayerEntry { mode, owner: Owner { uid: 0, gid: 0 }, content };
        let long = format!("a/{}", "x".repeat(150));
        let entries = BTreeMap::from([
            ("a".to_owned(), entry(0o755, Content::Directory)),
            (long, entry(0o644, Content::File(source))),
            ("a/link".to_owned(), entry(0o777, Content::Symlink("../b".into()))),
        ]);
        let path = folder.path().join("layer");
        let layer = write(&entries, 1_600_000_000, &path, &CancellationToken::new()).unwrap();
        assert_eq!(Digest::of(&std::fs::read(&path).unwrap()), layer.digest);
        // A change of these is a change of what every pipeline builds: nodes of different versions would disagree.
        assert_eq!(layer.diff_id.as_str(), "sha256:f5fdffa92330781c246fc32b840f3239be2dc2a457bb2f7a2d97bdd96ec5c7cd");
        assert_eq!(layer.digest.as_str(), "sha256:d4b85c17efe98158c1997d1c91d71992c9decf067c9c9af1e17976c9c3205774");
    }
}
