//! The way of one artifact into the bucket, and out of it for good.

use super::objects::Created;
use super::read::digests;
use super::{Bucket, BucketError, BucketRead, add};
use crate::artifacts::{ArtifactStore, ChunkList, StoreError};
use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStoreExt as _};
use pyrsia_ledger::Sha256Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// What is put in one request, and the parts of what is larger: 64 GiB have 8192 of the 10,000 parts that the services take.
pub(super) const PART_BYTES: u64 = 8 << 20;
/// How long a service may take to throw the parts of an unfinished copy away; a stop waits for it.
const ABORT_TIME: Duration = Duration::from_secs(5);

/// Whether an artifact has a copy by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copied {
    Written,
    /// Somebody had written it; it was read and is whole.
    WasThere,
    /// The artifact left the disk in the meantime.
    NotHere,
    /// It was to be removed in the meantime, and is not there.
    Removed,
}

/// An artifact on the disk, which nobody evicts while this is held.
struct Source {
    sha256: Sha256Digest,
    file: Arc<File>,
    list: ChunkList,
}

impl Bucket {
    /// Sees to it that an artifact of the store has a whole copy. A stop ends it soon, and leaves nothing unfinished there.
    pub(super) async fn copy(
        &self,
        store: &ArtifactStore,
        sha256: Sha256Digest,
        stop: &CancellationToken,
    ) -> Result<Copied, BucketError> {
        // Before the file is opened: what is removed from then on does not come back by it.
        let Some(making) = self.0.copies.begin_making(&sha256) else { return Ok(Copied::Removed) };
        let opening = store.clone();
        let opened = spawn_blocking(move || {
            let Some(list) = opening.chunk_list(&sha256)? else { return Ok(None) };
            let opened = opening.open_file(&sha256);
            let file = opened.map_err(|source| StoreError::Disk { action: "open", path: opening.blob_path(&sha256), source })?;
            Ok::<_, BucketError>(file.map(|file| Source { sha256, file: Arc::new(file), list }))
        });
        let opened = opened.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let Some(source) = opened? else { return Ok(Copied::NotHere) };
        // Before each, for a disk is unmounted at any time, and what is written then fills the one below.
        until(stop, self.see_mark()).await?;
        let copied = match self.copy_from(&source, stop).await {
            // The damage of another's copy is noted, so that the second attempt writes it anew.
            Err(BucketError::Wrong { .. }) => self.copy_from(&source, stop).await?,
            copied => copied?,
        };
        let size_bytes = source.list.size_bytes();
        match self.on_disk(move |_| making.note(size_bytes)).await {
            Ok(true) => {}
            Ok(false) => {
                if let Err(error) = self.remove(&sha256).await {
                    tracing::warn!(%sha256, %error, "a copy that was removed while it was made may stay in the bucket");
                }
                return Ok(Copied::Removed);
            }
            Err(error) => {
                tracing::warn!(%sha256, %error, "that an artifact has a copy in the bucket is forgotten by the next start");
            }
        }
        // It may leave the disk from here on.
        drop(source);
        self.0.copied.send_modify(|copies| *copies += 1);
        Ok(copied)
    }

    async fn copy_from(&self, source: &Source, stop: &CancellationToken) -> Result<Copied, BucketError> {
        match until(stop, self.copy_in_one(source)).await? {
            Some(copied) => Ok(copied),
            None => self.put_in_parts(source, stop).await.map(|()| Copied::Written),
        }
    }

    /// The copy, unless it has to be put in parts; its list is there then. There is nothing to clear away when this is dropped.
    async fn copy_in_one(&self, source: &Source) -> Result<Option<Copied>, BucketError> {
        let path = self.artifact_path(&source.sha256);
        // A damaged copy is replaced; anything else is left as it is and looked at.
        let is_wrong = self.0.copies.is_wrong(&source.sha256);
        let is_there = !is_wrong && self.size(&path).await?.is_some();
        if is_there && let BucketRead::Found(_) = self.read_whole(&source.sha256, |_| Duration::ZERO).await? {
            self.keep_list(&source.sha256, &source.list).await?;
            return Ok(Some(Copied::WasThere));
        }
        // The list goes first: who finds the artifact finds its list.
        self.put_list(source).await?;
        if source.list.size_bytes() > PART_BYTES {
            return Ok(None);
        }
        let (bytes, hasher) = source.read(0, Sha256::new()).await?;
        if hasher.finalize()[..] != source.sha256.as_bytes()[..] {
            return Err(BucketError::Rotten);
        }
        if is_wrong {
            self.put(&path, bytes.into()).await?;
            return Ok(Some(Copied::Written));
        }
        match self.create(&path, bytes.clone().into()).await? {
            Created::Made => Ok(Some(Copied::Written)),
            Created::NotSupported => self.put(&path, bytes.into()).await.map(|()| Some(Copied::Written)),
            // Another node was faster, or an attempt of this one arrived whose answer did not.
            Created::WasThere => match self.read_whole(&source.sha256, |_| Duration::ZERO).await? {
                BucketRead::Found(_) => Ok(Some(Copied::WasThere)),
                BucketRead::NotThere => Err(BucketError::Unusable { why: "an object is there and is not".into() }),
            },
        }
    }

    async fn put_list(&self, source: &Source) -> Result<(), BucketError> {
        if source.list.count() < 2 {
            return Ok(());
        }
        self.put(&self.list_path(&source.sha256), digests(&source.list).into()).await
    }

    async fn put_in_parts(&self, source: &Source, stop: &CancellationToken) -> Result<(), BucketError> {
        let path = self.artifact_path(&source.sha256);
        let mut upload = until(stop, self.ask_for(self.0.location.objects.put_multipart(&path))).await?;
        let put = until(stop, self.put_parts(source, &mut *upload)).await;
        if put.is_err() && !matches!(timeout(ABORT_TIME, upload.abort()).await, Ok(Ok(()))) {
            tracing::warn!(sha256 = %source.sha256, "the parts of an unfinished copy may stay in the bucket");
        }
        put
    }

    async fn put_parts(&self, source: &Source, upload: &mut dyn MultipartUpload) -> Result<(), BucketError> {
        let mut hasher = Sha256::new();
        for at in (0..source.list.size_bytes()).step_by(PART_BYTES as usize) {
            let part;
            (part, hasher) = source.read(at, hasher).await?;
            let size_bytes = part.len() as u64;
            self.ask_for(upload.put_part(part.into())).await?;
            add(&self.0.counts.written_bytes, size_bytes);
        }
        // Nothing has its name in the bucket before this is known.
        if hasher.finalize()[..] != source.sha256.as_bytes()[..] {
            return Err(BucketError::Rotten);
        }
        self.ask_for(upload.complete()).await.map(|_| ())
    }

    /// Removes the copy of an artifact; whether there was one. Once begun it goes to its end, whoever waits for it.
    pub(crate) async fn remove(&self, sha256: &Sha256Digest) -> Result<bool, BucketError> {
        let (bucket, sha256) = (self.clone(), *sha256);
        let removing = tokio::spawn(async move {
            let begun = bucket.on_disk(move |copies| copies.begin_removal(&sha256)).await.map_err(BucketError::Records)?;
            let removed = bucket.delete_copy(&sha256).await;
            if removed.is_err()
                && let Err(error) = bucket.on_disk(move |_| begun.came_to_nothing()).await
            {
                tracing::warn!(%sha256, %error, "that an artifact has a copy in the bucket is forgotten by the next start");
            }
            removed
        });
        removing.await.unwrap_or_else(|end| match end.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(BucketError::Stopped),
        })
    }

    async fn delete_copy(&self, sha256: &Sha256Digest) -> Result<bool, BucketError> {
        let path = self.artifact_path(sha256);
        let was_there = self.size(&path).await?.is_some();
        // The list goes first: one that another node puts meanwhile, beside an artifact that it still found, stays.
        self.delete(&self.list_path(sha256)).await?;
        self.delete(&path).await?;
        Ok(was_there)
    }
}

impl Source {
    /// The part that begins at `at`, and the hasher with it.
    async fn read(&self, at: u64, mut hasher: Sha256) -> Result<(Bytes, Sha256), BucketError> {
        let (file, size) = (self.file.clone(), (self.list.size_bytes() - at).min(PART_BYTES) as usize);
        let reading = spawn_blocking(move || {
            let mut part = vec![0; size];
            file.read_exact_at(&mut part, at)?;
            hasher.update(&part);
            Ok::<_, io::Error>((Bytes::from(part), hasher))
        });
        let read = reading.await.map_err(io::Error::other).and_then(|read| read);
        read.map_err(|source| BucketError::Unreadable { sha256: self.sha256, source })
    }
}

/// What the work comes to, unless the node stops before.
async fn until<T>(stop: &CancellationToken, work: impl Future<Output = Result<T, BucketError>>) -> Result<T, BucketError> {
    stop.run_until_cancelled(work).await.unwrap_or(Err(BucketError::Stopped))
}
