//! Which builds brought which artifacts here, so that what none of them published can be removed again.
//!
//! ```text
//! brought/<build id>    the sha256 of each artifact on a line of its own, appended before the artifact is stored
//! ```
//!
//! Owns the lists and the removal. It never decides when a build is over, nor what may be served. A list outlives a kill at any
//! instant: an artifact stands on it before the store can have it, and one that never came is simply not there to remove.

use super::error::{OnDisk as _, StoreError};
use super::temporary::sync_folder_of;
use pyrsia_ledger::{BuildId, Sha256Digest};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub(super) struct Brought {
    folder: PathBuf,
    /// Held while the disk is changed: whoever notes an artifact while it is being removed stores it afresh afterwards.
    changing: Mutex<()>,
    /// Held for one look only.
    lists: Mutex<BTreeMap<BuildId, BTreeSet<Sha256Digest>>>,
}

impl Brought {
    pub(super) fn open(folder: PathBuf) -> Result<Self, StoreError> {
        fs::create_dir_all(&folder).on_disk("make the folder", &folder)?;
        let mut lists = BTreeMap::new();
        for entry in fs::read_dir(&folder).on_disk("list", &folder)?.flatten() {
            let Some(build) = entry.file_name().to_str().and_then(|name| name.parse::<BuildId>().ok()) else { continue };
            let path = entry.path();
            let text = fs::read_to_string(&path).on_disk("read", &path)?;
            // A line that was cut off by a kill is of an artifact that was not stored.
            lists.insert(build, text.lines().filter_map(|line| line.parse().ok()).collect());
        }
        Ok(Self { folder, changing: Mutex::default(), lists: Mutex::new(lists) })
    }

    fn lists(&self) -> MutexGuard<'_, BTreeMap<BuildId, BTreeSet<Sha256Digest>>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, build: &BuildId, sha256: &Sha256Digest) -> Result<(), StoreError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(build);
        let is_new = match self.lists().get(build) {
            Some(list) if list.contains(sha256) => return Ok(()),
            list => list.is_none(),
        };
        let append = || {
            let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
            // The line ends the one that a kill may have cut off.
            file.write_all(format!("\n{sha256}\n").as_bytes())?;
            file.sync_data()
        };
        append().on_disk("append to", &path)?;
        if is_new {
            sync_folder_of(&path)?;
        }
        self.lists().entry(*build).or_default().insert(*sha256);
        Ok(())
    }

    pub(super) fn builds(&self) -> Vec<BuildId> {
        self.lists().keys().copied().collect()
    }

    pub(super) fn builds_of(&self, sha256: &Sha256Digest) -> Vec<BuildId> {
        self.lists().iter().filter(|(_, list)| list.contains(sha256)).map(|(build, _)| *build).collect()
    }

    /// Forgets a build, and removes with `remove` what it brought, but for what another build brought too or `stays`.
    pub(super) fn release(
        &self,
        build: &BuildId,
        stays: impl Fn(&Sha256Digest) -> bool,
        remove: impl Fn(&Sha256Digest) -> io::Result<()>,
    ) -> Result<usize, StoreError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = self.remove_from_list(build, stays, remove)?;
        if self.lists().contains_key(build) {
            let path = self.path(build);
            fs::remove_file(&path).on_disk("remove", &path)?;
            self.lists().remove(build);
        }
        Ok(gone)
    }

    /// Removes with `remove` what a build brought, but for what another build brought too or `stays`, and remembers the rest.
    pub(super) fn remove(
        &self,
        build: &BuildId,
        stays: impl Fn(&Sha256Digest) -> bool,
        remove: impl Fn(&Sha256Digest) -> io::Result<()>,
    ) -> Result<usize, StoreError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.remove_from_list(build, stays, remove)
    }

    /// To be called while `changing` is held. The list on disk goes on naming what is gone, which is simply not there.
    fn remove_from_list(
        &self,
        build: &BuildId,
        stays: impl Fn(&Sha256Digest) -> bool,
        remove: impl Fn(&Sha256Digest) -> io::Result<()>,
    ) -> Result<usize, StoreError> {
        let leaving: Vec<Sha256Digest> = {
            let lists = self.lists();
            let Some(list) = lists.get(build) else { return Ok(0) };
            let wanted = |sha256: &Sha256Digest| {
                stays(sha256) || lists.iter().any(|(other, list)| other != build && list.contains(sha256))
            };
            list.iter().filter(|sha256| !wanted(sha256)).copied().collect()
        };
        for sha256 in &leaving {
            remove(sha256).on_disk("remove", Path::new(&sha256.to_string()))?;
            if let Some(list) = self.lists().get_mut(build) {
                list.remove(sha256);
            }
        }
        Ok(leaving.len())
    }

    fn path(&self, build: &BuildId) -> PathBuf {
        self.folder.join(build.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::ArtifactStore;
    use pyrsia_ledger::{NetworkId, PackageCoordinate};

    fn build(attempt: u32) -> BuildId {
        BuildId::of(&NetworkId::UNFOUNDED, &PackageCoordinate::new("docker", "alpine:1").unwrap(), attempt)
    }

    fn put(store: &ArtifactStore, build: &BuildId, bytes: &[u8]) -> Sha256Digest {
        let sha256 = Sha256Digest::of(bytes);
        store.note_brought(build, &sha256).unwrap();
        let mut ingest = store.begin().unwrap();
        ingest.write_all(bytes).unwrap();
        ingest.commit(None).unwrap().sha256
    }

    #[test]
    fn what_a_build_brought_leaves_with_it_unless_it_is_published_or_of_another_build() {
        let folder = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(folder.path()).unwrap();
        let (first, second) = (build(0), build(1));
        let [lost, published, shared] = [b"lost".as_slice(), b"published", b"shared"].map(|bytes| put(&store, &first, bytes));
        put(&store, &second, b"shared");
        drop(store);

        let store = ArtifactStore::open(folder.path()).unwrap();
        assert_eq!(store.builds_that_brought(&shared).len(), 2);
        assert_eq!(store.release(&first, |sha256| *sha256 == published).unwrap(), 1);
        assert_eq!([lost, published, shared].map(|sha256| store.contains(&sha256)), [false, true, true]);
        assert_eq!(store.builds_with_artifacts(), [second]);
        assert_eq!(store.release(&second, |_| false).unwrap(), 1);
        assert!(!store.contains(&shared) && store.contains(&published));
        assert_eq!(store.release(&second, |_| false).unwrap(), 0);
    }

    #[test]
    fn what_is_removed_of_a_build_is_forgotten_and_the_rest_leaves_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(folder.path()).unwrap();
        let [own, foreign] = [b"own".as_slice(), b"foreign"].map(|bytes| put(&store, &build(0), bytes));
        assert_eq!(store.remove_brought(&build(0), |sha256| *sha256 == own).unwrap(), 1);
        assert_eq!([own, foreign].map(|sha256| store.contains(&sha256)), [true, false]);
        assert_eq!([own, foreign].map(|sha256| store.builds_that_brought(&sha256).len()), [1, 0]);
        put(&store, &build(0), b"foreign");
        assert_eq!(store.release(&build(0), |_| false).unwrap(), 2);
        assert_eq!(store.builds_with_artifacts(), []);
    }

    #[test]
    fn a_list_that_was_cut_off_keeps_its_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(folder.path()).unwrap();
        let whole = put(&store, &build(0), b"whole");
        let path = folder.path().join("brought").join(build(0).to_string());
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"00ff").unwrap();
        let store = ArtifactStore::open(folder.path()).unwrap();
        let after = put(&store, &build(0), b"after");
        let store_again = ArtifactStore::open(folder.path()).unwrap();
        for sha256 in [whole, after] {
            assert_eq!(store_again.builds_that_brought(&sha256), [build(0)]);
        }
    }
}
