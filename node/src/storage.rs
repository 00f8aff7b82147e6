//! Looking after what is stored: what is to stay, what may leave, and whether it is still what it was.
//!
//! Owns the scrub and its record, the removal of leftovers, and what an operator sees and decides about the store. The bytes are
//! [`crate::artifacts`]'; room for downloads is made by [`crate::p2p`], which asks [`retention`].

mod leftovers;
mod listing;
pub(crate) mod retention;
mod scrubbing;
#[cfg(test)]
mod tests;

pub use leftovers::{Leftover, LeftoversError, LeftoversReport};
pub use listing::{ArtifactListing, Place, StorageView};
pub use retention::Standing;
pub(crate) use scrubbing::Scrubbing;
pub use scrubbing::{Finding, ScrubPass, ScrubStart, ScrubView};

use crate::artifacts::{Leaving, StoreError};
use crate::bucket::BucketError;
use crate::handle::NodeHandle;
use pyrsia_ledger::Sha256Digest;

/// Why something could not be done to the store.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("nothing is known of an artifact with sha256 {0}: it is neither published nor stored on this node")]
    Unknown(Sha256Digest),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("this node has no bucket")]
    NoBucket,
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error("the node is stopping")]
    Stopped,
}

impl NodeHandle {
    /// Keeps an artifact on this node, from now on or from when it comes. Whether it is here.
    pub async fn pin(&self, sha256: Sha256Digest) -> Result<bool, StorageError> {
        let view = self.ledger();
        let is_published = view.state.as_deref().is_some_and(|state| state.packages.digest(&sha256).is_some());
        self.ask_store(move |store| {
            let is_here = store.contains(&sha256);
            if !is_here && !is_published {
                return Err(StorageError::Unknown(sha256));
            }
            store.pin(&sha256)?;
            Ok(is_here)
        })
        .await
    }

    /// Whether there was a pin.
    pub async fn unpin(&self, sha256: Sha256Digest) -> Result<bool, StorageError> {
        self.ask_store(move |store| Ok(store.unpin(&sha256)?)).await
    }

    /// Removes an artifact from this node, unless it is pinned or a build needs it. It comes back when somebody asks for it and
    /// another node has it.
    pub async fn remove_artifact(&self, sha256: Sha256Digest) -> Result<Leaving, StorageError> {
        let left = self.ask_store(move |store| Ok(store.remove_unneeded(&sha256)?)).await?;
        if left == Leaving::Gone {
            if !self.has_copy(&sha256) {
                self.p2p().withdraw(sha256).await;
            }
            tracing::info!(%sha256, "a stored artifact was removed by the operator");
        }
        Ok(left)
    }

    /// Removes an artifact's copy from the bucket, for every node that shares it; whether there was one.
    pub async fn remove_copy(&self, sha256: Sha256Digest) -> Result<bool, StorageError> {
        let was_there = self.bucket().ok_or(StorageError::NoBucket)?.remove(&sha256).await?;
        if !self.store().contains(&sha256) {
            self.p2p().withdraw(sha256).await;
        }
        if was_there {
            tracing::info!(%sha256, "a copy in the bucket was removed by the operator");
        }
        Ok(was_there)
    }

    /// Whether the bucket can be asked to remove an artifact's copy at this time.
    pub async fn bucket_answers_about(&self, sha256: &Sha256Digest) -> Result<(), StorageError> {
        Ok(self.bucket().ok_or(StorageError::NoBucket)?.answers_about(sha256).await?)
    }

    /// Whether this node has a bucket that does not answer.
    pub fn bucket_is_down(&self) -> bool {
        self.bucket().is_some_and(|bucket| !bucket.is_well())
    }

    /// Whether an artifact has a copy in the bucket, as far as is known here.
    pub fn has_copy(&self, sha256: &Sha256Digest) -> bool {
        self.bucket().is_some_and(|bucket| bucket.known_copy(sha256).is_some())
    }

    async fn ask_store<T: Send + 'static>(
        &self,
        question: impl FnOnce(&crate::artifacts::ArtifactStore) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let store = self.store().clone();
        tokio::task::spawn_blocking(move || question(&store)).await.map_err(|_| StorageError::Stopped)?
    }
}
