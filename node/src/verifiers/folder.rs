//! Noticing what is put into the operator's folder.
//!
//! Polled, because every file system can be; a copy under way is left alone until it stands still.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// How often the folder is looked at; a new module is used after two looks at most.
pub(super) const FOLDER_POLL: Duration = Duration::from_secs(2);
/// Files that are looked at; a folder with more is not one of verifiers.
const FILES_MAX: usize = 10_000;

/// What tells a changed file from the same one.
type Listing = Vec<(PathBuf, u64, u64, Option<SystemTime>)>;

pub(super) struct Folder {
    path: Option<PathBuf>,
    /// What was there when the set was last loaded.
    loaded: Option<Listing>,
    /// What was there at the last look.
    seen: Option<Listing>,
}

impl Folder {
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self { path, loaded: None, seen: None }
    }

    /// Whether the folder is other than it was loaded, and stood still since the last look.
    pub(super) async fn has_settled_anew(&mut self) -> bool {
        let Some(path) = self.path.clone() else { return false };
        let Ok(Some(listing)) = tokio::task::spawn_blocking(move || list(&path)).await else { return false };
        // The set was loaded just before the first look.
        let loaded = self.loaded.get_or_insert_with(|| listing.clone());
        let stands_still = self.seen.as_ref() == Some(&listing);
        let is_new = stands_still && *loaded != listing;
        if is_new {
            *loaded = listing.clone();
        }
        self.seen = Some(listing);
        is_new
    }
}

fn list(folder: &PathBuf) -> Option<Listing> {
    let mut listing: Listing = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok())
        .take(FILES_MAX)
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "wasm"))
        .filter_map(|entry| {
            let metadata = fs::metadata(entry.path()).ok()?;
            Some((entry.path(), metadata.len(), metadata.ino(), metadata.modified().ok()))
        })
        .collect();
    listing.sort();
    Some(listing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_noticed_once_and_only_when_it_stands_still() {
        let folder = tempfile::tempdir().unwrap();
        let mut watched = Folder::new(Some(folder.path().into()));
        assert!(!watched.has_settled_anew().await);
        let path = folder.path().join("new.wasm");
        fs::write(&path, "1").unwrap();
        assert!(!watched.has_settled_anew().await, "it may still be growing");
        fs::write(&path, "12").unwrap();
        assert!(!watched.has_settled_anew().await, "it was");
        assert!(watched.has_settled_anew().await);
        assert!(!watched.has_settled_anew().await);
        fs::write(folder.path().join("notes.txt"), "").unwrap();
        assert!(!watched.has_settled_anew().await);
        assert!(!watched.has_settled_anew().await);
    }
}
