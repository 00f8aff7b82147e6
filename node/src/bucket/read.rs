//! What comes out of the bucket: never more than was hashed, and never believed before.

use super::write::PART_BYTES;
use super::{Bucket, BucketError, Noted, add};
use crate::artifacts::{ArtifactHasher, ChunkList};
use bytes::Bytes;
use pyrsia_ledger::Sha256Digest;
use pyrsia_ledger::event::BuiltArtifact;
use std::ops::Range;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

/// What the bucket has of an artifact.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BucketRead<T> {
    Found(T),
    NotThere,
}

impl Bucket {
    /// The chunk list of an artifact that has a copy here, checked against what the ledger binds; an artifact of one chunk needs none.
    /// A copy of another size is noted to be damaged; a list that is lost or false is made anew from the bytes.
    pub(crate) async fn chunk_list(&self, artifact: &BuiltArtifact) -> Result<BucketRead<ChunkList>, BucketError> {
        let sha256 = &artifact.sha256;
        if self.0.copies.is_wrong(sha256) {
            return Ok(BucketRead::NotThere);
        }
        match self.size(&self.artifact_path(sha256)).await? {
            None => return Ok(BucketRead::NotThere),
            Some(size_bytes) if size_bytes == artifact.size_bytes => {}
            Some(size_bytes) => {
                return Err(self.wrong(sha256, format!("has {size_bytes} bytes instead of {}", artifact.size_bytes)).await);
            }
        }
        if let Some(list) = self.kept_list(artifact).await? {
            return Ok(BucketRead::Found(list));
        }
        self.mend_list(artifact).await;
        if self.0.copies.is_wrong(sha256) {
            return Err(BucketError::Wrong { why: "has other bytes".into() });
        }
        Ok(self.kept_list(artifact).await?.map_or(BucketRead::NotThere, BucketRead::Found))
    }

    /// The list as it is there, unless it is lost or not the one that the ledger binds.
    async fn kept_list(&self, artifact: &BuiltArtifact) -> Result<Option<ChunkList>, BucketError> {
        let chunks = match pyrsia_ledger::tree::chunk_count(artifact.size_bytes) {
            0 => vec![],
            1 => vec![artifact.sha256],
            _ => {
                // No more is read than a list of this length has.
                let path = self.list_path(&artifact.sha256);
                if self.size(&path).await? != Some(list_bytes(artifact.size_bytes)) {
                    return Ok(None);
                }
                let Some(bytes) = self.get(&path, None).await? else { return Ok(None) };
                let (digests, _) = bytes.as_chunks::<32>();
                digests.iter().map(|digest| Sha256Digest::new(*digest)).collect()
            }
        };
        Ok(ChunkList::bound_by(artifact.size_bytes, &artifact.chunk_root, chunks).ok())
    }

    /// Waits until the list of an artifact was made anew from its bytes, or that failed. Whoever asks meanwhile waits for the same reading,
    /// which goes to its end even when nobody waits: a peer that asks does so for less long than many bytes take.
    async fn mend_list(&self, artifact: &BuiltArtifact) {
        let sha256 = artifact.sha256;
        let mut mended = {
            let mut mending = self.0.mending.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = || {
                let (ending, ended) = watch::channel(());
                let (bucket, artifact) = (self.clone(), artifact.clone());
                tokio::spawn(async move {
                    if let Err(error) = bucket.make_list(&artifact).await {
                        tracing::warn!(%sha256, %error, "the chunk list of an artifact in the bucket is lost or false, and not made anew");
                    }
                    bucket.0.mending.lock().unwrap_or_else(PoisonError::into_inner).remove(&sha256);
                    drop(ending);
                });
                ended
            };
            mending.entry(sha256).or_insert_with(begin).clone()
        };
        // Nothing is ever sent: it ends when the sender is gone.
        let _ = mended.changed().await;
    }

    async fn make_list(&self, artifact: &BuiltArtifact) -> Result<(), BucketError> {
        let Ok(_place) = self.0.mends.acquire().await else { return Ok(()) };
        // Another asker, or another node, may have been faster.
        if self.kept_list(artifact).await?.is_some() {
            return Ok(());
        }
        let sha256 = &artifact.sha256;
        match self.read_whole(sha256, |_| Duration::ZERO).await? {
            BucketRead::Found(list) => self.keep_list(sha256, &list).await,
            BucketRead::NotThere => Ok(()),
        }
    }

    /// Sees to it that the list beside a whole copy is this one.
    pub(super) async fn keep_list(&self, sha256: &Sha256Digest, list: &ChunkList) -> Result<(), BucketError> {
        if list.count() < 2 {
            return Ok(());
        }
        let (path, digests) = (self.list_path(sha256), digests(list));
        let is_kept = self.size(&path).await? == Some(digests.len() as u64)
            && self.get(&path, None).await?.is_some_and(|kept| kept == digests);
        if !is_kept {
            tracing::warn!(%sha256, "the chunk list of an artifact in the bucket was lost or false; it is made anew");
            self.put(&path, digests.into()).await?;
        }
        Ok(())
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
            Some(_) => Err(self.wrong(sha256, "gave another range than it was asked for".into()).await),
        }
    }

    /// The copy of an artifact, if one is known here and is still there at this moment, as far as its size tells.
    pub(crate) async fn still_has(&self, sha256: &Sha256Digest) -> Option<Noted> {
        let known = self.0.copies.noted(sha256)?;
        match self.size(&self.artifact_path(sha256)).await {
            Ok(Some(size_bytes)) if size_bytes == known.size_bytes => return Some(known),
            Ok(Some(_)) => self.note_wrong(sha256, "has another size than it was written with").await,
            Ok(None) => match self.see_mark().await {
                Ok(()) => self.note_gone(sha256).await,
                Err(error) => tracing::debug!(%sha256, %error, "whether a copy is gone is not known"),
            },
            Err(error) => tracing::debug!(%sha256, %error, "whether the bucket has an artifact is not known"),
        }
        None
    }

    /// Reads all of a copy, one part after the other, and makes its chunk list. One with other bytes is noted to be damaged. `pause` is
    /// told how many bytes were read, and says how long to wait before more are.
    pub(super) async fn read_whole(
        &self,
        sha256: &Sha256Digest,
        mut pause: impl FnMut(u64) -> Duration + Send,
    ) -> Result<BucketRead<ChunkList>, BucketError> {
        let Some(size_bytes) = self.size(&self.artifact_path(sha256)).await? else { return Ok(BucketRead::NotThere) };
        let mut hasher = ArtifactHasher::new();
        for at in (0..size_bytes).step_by(PART_BYTES as usize) {
            // Each part is a request with its own time, and none is under way during a pause.
            let BucketRead::Found(part) = self.read(sha256, at..size_bytes.min(at + PART_BYTES)).await? else {
                return Ok(BucketRead::NotThere);
            };
            let read = part.len() as u64;
            let hashing = spawn_blocking(move || {
                hasher.update(&part);
                hasher
            });
            hasher = hashing.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            tokio::time::sleep(pause(read)).await;
        }
        let (found, list) = hasher.finish()?;
        if found != *sha256 {
            return Err(self.wrong(sha256, format!("has {size_bytes} bytes with sha256 {found}")).await);
        }
        Ok(BucketRead::Found(list))
    }

    /// An artifact is on the disk again.
    pub(crate) fn note_recalled(&self) {
        add(&self.0.counts.recalled, 1);
    }

    pub(super) async fn note_gone(&self, sha256: &Sha256Digest) {
        let sha256 = *sha256;
        tracing::error!(%sha256, "the copy of an artifact is gone from the bucket");
        if let Err(error) = self.on_disk(move |copies| copies.forget(&sha256)).await {
            tracing::warn!(%sha256, %error, "the record of a copy in the bucket cannot be removed");
        }
    }

    async fn wrong(&self, sha256: &Sha256Digest, why: String) -> BucketError {
        self.note_wrong(sha256, &why).await;
        BucketError::Wrong { why }
    }
}

/// The length of the chunk list of an artifact of so many bytes, none for one of up to one chunk.
pub(super) fn list_bytes(size_bytes: u64) -> u64 {
    match pyrsia_ledger::tree::chunk_count(size_bytes) {
        0 | 1 => 0,
        count => count * size_of::<Sha256Digest>() as u64,
    }
}

/// A chunk list as it lies in the bucket.
pub(super) fn digests(list: &ChunkList) -> Bytes {
    list.chunks().iter().flat_map(|digest| *digest.as_bytes()).collect()
}
