//! The way into the store for bytes that come in order: hashed while they are written, named when they are whole and durable.

use super::chunks::{ARTIFACT_BYTES_MAX, ChunkList};
use super::error::{OnDisk as _, StoreError};
use super::store::{ArtifactStore, Stored, WRITE_BACK_BYTES};
use super::temporary::TemporaryFile;
use pyrsia_ledger::tree::CHUNK_BYTES;
use pyrsia_ledger::{BuildId, RunningSha256, Sha256Digest};
use std::io::{self, Write};

/// A chunk is a whole number of these.
const BLOCK_BYTES: usize = RunningSha256::BLOCK_BYTES;

/// The digest of an artifact and its chunk list, in one pass.
#[derive(Default)]
pub(crate) struct ArtifactHasher {
    whole: RunningSha256,
    chunk: RunningSha256,
    chunk_bytes: usize,
    /// The beginning of a block.
    begun: Vec<u8>,
    chunks: Vec<Sha256Digest>,
    size_bytes: u64,
}

impl ArtifactHasher {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        self.size_bytes += bytes.len() as u64;
        if !self.begun.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.begun.len()));
            self.begun.extend_from_slice(now);
            if let Ok(block) = <[u8; BLOCK_BYTES]>::try_from(self.begun.as_slice()) {
                self.compress(&[block]);
                self.begun.clear();
            }
            bytes = later;
        }
        let (mut blocks, rest) = bytes.as_chunks();
        while !blocks.is_empty() {
            let (now, later) = blocks.split_at(blocks.len().min((CHUNK_BYTES - self.chunk_bytes) / BLOCK_BYTES));
            self.compress(now);
            blocks = later;
        }
        self.begun.extend_from_slice(rest);
    }

    /// Blocks of one chunk.
    fn compress(&mut self, blocks: &[[u8; BLOCK_BYTES]]) {
        RunningSha256::update_both([&mut self.whole, &mut self.chunk], [blocks, blocks]);
        self.chunk_bytes += blocks.as_flattened().len();
        if self.chunk_bytes == CHUNK_BYTES {
            self.chunks.push(std::mem::take(&mut self.chunk).finish(&[]));
            self.chunk_bytes = 0;
        }
    }

    pub(crate) fn finish(mut self) -> Result<(Sha256Digest, ChunkList), StoreError> {
        if self.chunk_bytes + self.begun.len() > 0 {
            self.chunks.push(self.chunk.finish(&self.begun));
        }
        let list = ChunkList::new(self.size_bytes, self.chunks).map_err(|_| StoreError::TooLarge)?;
        Ok((self.whole.finish(&self.begun), list))
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
    pub(super) fn new(store: ArtifactStore, file: TemporaryFile) -> Self {
        Self { store, file, hasher: ArtifactHasher::new(), failed: false }
    }

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
