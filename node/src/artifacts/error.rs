//! What can go wrong with what is stored, and which file it was.

use super::chunks::ARTIFACT_BYTES_MAX;
use pyrsia_ledger::Sha256Digest;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the artifact store cannot {action} {path:?}")]
    Disk {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the bytes have sha256 {found}, not {expected}")]
    WrongBytes { expected: Sha256Digest, found: Sha256Digest },
    #[error("an artifact may have at most {ARTIFACT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("another download of {sha256} is using its partial file")]
    Busy { sha256: Sha256Digest },
    #[error("the folder {path:?} is in use by another node; each node needs a folder of its own")]
    InUse { path: PathBuf },
}

impl StoreError {
    /// Whether there is no room left on the disk, which is nobody's damage and passes.
    pub fn is_disk_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Disk { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

/// Turns an I/O error into a [`StoreError`] that names the file.
pub(super) trait OnDisk<T> {
    fn on_disk(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> OnDisk<T> for io::Result<T> {
    fn on_disk(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Disk { action, path: path.to_owned(), source })
    }
}
