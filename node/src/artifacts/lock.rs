//! One node for each folder: the lock that the second one finds taken.

use super::error::{OnDisk as _, StoreError};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;

const FILE_NAME: &str = "node.lock";

/// Held for as long as a node runs. The system gives it back when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

impl FolderLock {
    pub(crate) fn take(folder: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).on_disk("make the folder", folder)?;
        let path = folder.join(FILE_NAME);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).on_disk("open", &path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: folder.to_owned() }),
            Err(TryLockError::Error(error)) => Err(error).on_disk("lock", &path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_node_is_refused_until_the_first_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = FolderLock::take(folder.path()).unwrap();
        let refused = FolderLock::take(folder.path()).unwrap_err();
        assert!(matches!(&refused, StoreError::InUse { path } if path == folder.path()), "{refused}");
        assert!(refused.to_string().contains("in use by another node"), "{refused}");
        drop(first);
        FolderLock::take(folder.path()).unwrap();
    }
}
