//! What an operator wants to stay, whatever the budget says.
//!
//! ```text
//! pins/<64 hex>    an empty file for each pinned artifact
//! ```
//!
//! A pin is one file, so it is there or it is not, whenever the node is killed. It may be set before the artifact comes, and outlives its removal.

use super::error::{OnDisk as _, StoreError};
use super::temporary::sync_folder_of;
use pyrsia_ledger::Sha256Digest;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub(super) struct Pins {
    folder: PathBuf,
    pinned: Mutex<BTreeSet<Sha256Digest>>,
}

impl Pins {
    pub(super) fn open(folder: PathBuf) -> Result<Self, StoreError> {
        fs::create_dir_all(&folder).on_disk("make the folder", &folder)?;
        let entries = fs::read_dir(&folder).on_disk("list", &folder)?.flatten();
        let pinned = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        Ok(Self { folder, pinned: Mutex::new(pinned) })
    }

    fn pinned(&self) -> MutexGuard<'_, BTreeSet<Sha256Digest>> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn contains(&self, sha256: &Sha256Digest) -> bool {
        self.pinned().contains(sha256)
    }

    pub(super) fn all(&self) -> BTreeSet<Sha256Digest> {
        self.pinned().clone()
    }

    /// Durable when it returns. Whether it is new.
    pub(super) fn add(&self, sha256: &Sha256Digest) -> Result<bool, StoreError> {
        let path = self.folder.join(sha256.to_string());
        if self.contains(sha256) {
            return Ok(false);
        }
        File::create(&path).on_disk("make", &path)?;
        sync_folder_of(&path)?;
        Ok(self.pinned().insert(*sha256))
    }

    /// Whether there was one.
    pub(super) fn remove(&self, sha256: &Sha256Digest) -> Result<bool, StoreError> {
        let path = self.folder.join(sha256.to_string());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).on_disk("remove", &path),
            _ => {}
        }
        sync_folder_of(&path)?;
        Ok(self.pinned().remove(sha256))
    }
}
