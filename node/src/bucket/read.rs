//! What comes out of the bucket: never more than was hashed, and never believed before.

use super::{Bucket, BucketError, add};
use crate::artifacts::ChunkList;
use bytes::Bytes;
use futures::StreamExt as _;
use pyrsia_ledger::Sha256Digest;
use pyrsia_ledger::event::BuiltArtifact;
use sha2::{Digest as _, Sha256};
use std::ops::Range;
use std::time::Duration;

/// What the bucket has of an artifact.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BucketRead<T> {
    Found(T),
    NotThere,
}

impl Bucket {
    /// The chunk list of an artifact that has a copy here, checked against what the ledger binds; an artifact of one chunk needs none.
    /// A copy of another size is noted to be damaged.
    pub(crate) async fn chunk_list(&self, artifact: &BuiltArtifact) -> Result<BucketRead<ChunkList>, BucketError> {
        let sha256 = &artifact.sha256;
        if self.0.copies.is_wrong(sha256) {
            return Ok(BucketRead::NotThere);
        }
        match self.size(&self.artifact_path(sha256)).await? {
            None => return Ok(BucketRead::NotThere),
            Some(size_bytes) if size_bytes == artifact.size_bytes => {}
            Some(size_bytes) => {
                return Err(self.wrong(sha256, format!("has {size_bytes} bytes instead of {}", artifact.size_bytes)));
            }
        }
        let chunks = match pyrsia_ledger::tree::chunk_count(artifact.size_bytes) {
            0 => vec![],
            1 => vec![*sha256],
            count => {
                // No more is read than a list of this length has.
                let path = self.list_path(sha256);
                match self.size(&path).await? {
                    None => return Ok(BucketRead::NotThere),
                    Some(size_bytes) if size_bytes == count * Sha256Digest::new([0; 32]).as_bytes().len() as u64 => {}
                    Some(_) => return Err(self.wrong(sha256, "has a chunk list of another length".into())),
                }
                let Some(bytes) = self.get(&path, None).await? else { return Ok(BucketRead::NotThere) };
                let (digests, _) = bytes.as_chunks::<32>();
                digests.iter().map(|digest| Sha256Digest::new(*digest)).collect()
            }
        };
        let list = ChunkList::bound_by(artifact.size_bytes, &artifact.chunk_root, chunks);
        list.map(BucketRead::Found).map_err(|_| self.wrong(sha256, "has a chunk list that the ledger does not bind".into()))
    }

    /// The bytes of some chunks, which the caller checks.
    pub(crate) async fn read(&self, sha256: &Sha256Digest, range: Range<u64>) -> Result<BucketRead<Bytes>, BucketError> {
        if range.is_empty() {
            return Ok(BucketRead::Found(Bytes::new()));
        }
        let length = range.end - range.start;
        match self.get(&self.artifact_path(sha256), Some(range)).await? {
            None => Ok(BucketRead::NotThere),
            Some(bytes) if bytes.len() as u64 == length => Ok(BucketRead::Found(bytes)),
            Some(_) => Err(self.wrong(sha256, "gave another range than it was asked for".into())),
        }
    }

    /// Whether an artifact that has a copy, as far as is known here, still has it at this moment, as far as its size tells.
    pub(crate) async fn still_has(&self, sha256: &Sha256Digest) -> bool {
        let Some(known) = self.known_copy(sha256) else { return false };
        match self.size(&self.artifact_path(sha256)).await {
            Ok(Some(size_bytes)) if size_bytes == known => true,
            Ok(Some(_)) => {
                self.note_wrong(sha256, "has another size than it was written with");
                false
            }
            Ok(None) => {
                self.note_gone(sha256);
                false
            }
            Err(error) => {
                tracing::debug!(%sha256, %error, "whether the bucket has an artifact is not known");
                false
            }
        }
    }

    /// Reads all of a copy; whether it is there. One with other bytes is noted to be damaged. `pause` is told how many bytes were read, and says how
    /// long to wait before more are.
    pub(super) async fn read_whole(
        &self,
        sha256: &Sha256Digest,
        mut pause: impl FnMut(u64) -> Duration + Send,
    ) -> Result<BucketRead<u64>, BucketError> {
        let path = self.artifact_path(sha256);
        let Some(size_bytes) = self.size(&path).await? else { return Ok(BucketRead::NotThere) };
        let (mut hasher, mut read) = (Sha256::new(), 0);
        let got = self.ask_for(object_store::ObjectStoreExt::get(&*self.0.location.objects, &path)).await?;
        let mut pieces = got.into_stream();
        while let Some(piece) = pieces.next().await {
            let piece = self.judged(piece)?;
            read += piece.len() as u64;
            add(&self.0.counts.read_bytes, piece.len() as u64);
            hasher.update(&piece);
            let pause = pause(piece.len() as u64);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        let found = Sha256Digest::new(hasher.finalize().into());
        if found != *sha256 || read != size_bytes {
            return Err(self.wrong(sha256, format!("has {read} bytes with sha256 {found}")));
        }
        Ok(BucketRead::Found(read))
    }

    /// An artifact is on the disk again.
    pub(crate) fn note_recalled(&self) {
        add(&self.0.counts.recalled, 1);
    }

    pub(super) fn note_gone(&self, sha256: &Sha256Digest) {
        tracing::error!(%sha256, "the copy of an artifact is gone from the bucket");
        if let Err(error) = self.0.copies.forget(sha256) {
            tracing::warn!(%sha256, %error, "the record of a copy in the bucket cannot be removed");
        }
    }

    pub(super) fn wrong(&self, sha256: &Sha256Digest, why: String) -> BucketError {
        self.note_wrong(sha256, &why);
        BucketError::Wrong { why }
    }
}
