//! The artifacts of a build, from the pipeline into the store.
//!
//! A body that did not come whole is asked for again, within bounds; one that is not asked for any more leaves nothing behind.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;

use super::{Ended, Order, Patience, Runner, causes};
use crate::artifacts::{ArtifactStore, Ingest, StoreError, Stored};
use crate::builds::pipeline_client::{ArtifactUrl, PipelineError};

/// Artifacts of one build that are fetched at the same time.
const DOWNLOADS_AT_ONCE_MAX: usize = 4;
/// All artifacts of one build together.
const BUILD_BYTES_MAX: u64 = 64 << 30;
/// How often one artifact is fetched when its body does not come whole.
const DOWNLOADS_MAX: u32 = 4;
/// Parts of a body that wait for the disk.
const BODY_PARTS_MAX: usize = 16;

impl Runner {
    /// Fetches all artifacts, with what their files are called.
    pub(super) async fn download_all(&self, order: &Order, urls: &[ArtifactUrl]) -> Result<Vec<(String, Stored)>, Ended> {
        let left = AtomicU64::new(BUILD_BYTES_MAX);
        let downloads: Vec<_> = urls.iter().map(|url| self.download(order, url, &left)).collect();
        stream::iter(downloads).buffered(DOWNLOADS_AT_ONCE_MAX).try_collect().await
    }

    async fn download(&self, order: &Order, url: &ArtifactUrl, left: &AtomicU64) -> Result<(String, Stored), Ended> {
        let mut patience = Patience::new(order.id, self.timeouts.patience, &self.progress);
        let mut tries = 0;
        loop {
            match self.download_once(order, url, left).await {
                Ok(stored) => return Ok((url.file_name().to_owned(), stored)),
                Err(DownloadError::TooLarge) => {
                    return Err(Ended::Failed(format!("its artifacts have more than {BUILD_BYTES_MAX} bytes")));
                }
                Err(DownloadError::Store(error)) => {
                    return Err(Ended::Abstained(format!(
                        "this node cannot keep the artifact {}: {}",
                        url.file_name(),
                        causes(&error)
                    )));
                }
                Err(DownloadError::Pipeline(error)) => {
                    tries += 1;
                    if tries == DOWNLOADS_MAX {
                        let name = url.file_name();
                        return Err(Ended::Abstained(format!(
                            "the artifact {name} did not come whole from the pipeline, {tries} times: {error}"
                        )));
                    }
                    patience.tried(error).await?;
                }
            }
        }
    }

    async fn download_once(&self, order: &Order, url: &ArtifactUrl, left: &AtomicU64) -> Result<Stored, DownloadError> {
        let mut response = self.pipeline.artifact(url).await?;
        let (parts, received) = mpsc::channel::<Bytes>(BODY_PARTS_MAX);
        let store = self.store.clone();
        // The disk and the hashes have a thread of their own; when this future is dropped the channel ends, and with it the file.
        let writer = tokio::task::spawn_blocking(move || write(&store, received));
        while let Some(part) = response.chunk().await.map_err(PipelineError::from)? {
            let size = part.len() as u64;
            left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(size))
                .map_err(|_| DownloadError::TooLarge)?;
            if parts.send(part).await.is_err() {
                break; // The writer has failed and says why.
            }
        }
        drop(parts);
        let ingest = writer.await.map_err(io::Error::other).map_err(on_disk)??;
        // Only a body that ended as announced comes this far.
        let id = order.id;
        tokio::task::spawn_blocking(move || ingest.commit_brought(&id))
            .await
            .map_err(io::Error::other)
            .map_err(on_disk)?
            .map_err(Into::into)
    }
}

enum DownloadError {
    Pipeline(PipelineError),
    Store(StoreError),
    TooLarge,
}

impl From<PipelineError> for DownloadError {
    fn from(error: PipelineError) -> Self {
        Self::Pipeline(error)
    }
}

impl From<StoreError> for DownloadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn on_disk(source: io::Error) -> DownloadError {
    DownloadError::Store(StoreError::Disk { action: "write", path: "an artifact".into(), source })
}

fn write(store: &ArtifactStore, mut parts: mpsc::Receiver<Bytes>) -> Result<Ingest, DownloadError> {
    let mut ingest = store.begin()?;
    while let Some(part) = parts.blocking_recv() {
        ingest.write_all(&part).map_err(on_disk)?;
    }
    Ok(ingest)
}
