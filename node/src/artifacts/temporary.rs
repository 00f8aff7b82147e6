//! Files that are being written, which nobody can find by a name yet.
//!
//! Each is locked for as long as it is open, so that whoever opens the store next removes what a killed process left and nothing else.

use super::error::{OnDisk as _, StoreError};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
pub(super) struct TemporaryFolder {
    path: PathBuf,
    next: AtomicU64,
}

impl TemporaryFolder {
    /// Makes the folder if it is not there, and empties it of what no process holds open.
    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        fs::create_dir_all(&path).on_disk("make the folder", &path)?;
        for entry in fs::read_dir(&path).on_disk("list", &path)?.flatten() {
            let path = entry.path();
            let held = File::open(&path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
            if !held {
                fs::remove_file(&path).on_disk("remove", &path)?;
            }
        }
        Ok(Self { path, next: AtomicU64::new(0) })
    }

    pub(super) fn file(&self) -> Result<TemporaryFile, StoreError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(format!("{}-{number}", std::process::id()));
        let opened = OpenOptions::new().write(true).read(true).create(true).truncate(true).open(&path);
        let temporary = TemporaryFile { file: opened.on_disk("make", &path)?, path };
        temporary.file.lock_shared().on_disk("lock", &temporary.path)?;
        Ok(temporary)
    }
}

/// Removed when it is dropped under the name it was made with.
#[derive(Debug)]
pub(super) struct TemporaryFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
}

impl TemporaryFile {
    /// Gives what is durable its name.
    pub(super) fn rename(self, to: &Path) -> Result<(), StoreError> {
        fs::rename(&self.path, to).on_disk("rename to", to)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // After a rename the file has another name, and there is nothing to remove.
        let _ = fs::remove_file(&self.path);
    }
}

pub(super) fn sync_folder_of(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().expect("a stored file lies in a folder");
    File::open(folder).and_then(|folder| folder.sync_all()).on_disk("sync", folder)
}
