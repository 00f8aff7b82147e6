//! The operator's folder: what lies in it, and what came of each module.
//!
//! Owns whose turn it is to be loaded, and how many are at a time. Polled, because every file system can be; a copy under way is left alone until it
//! stands still. A module that was replaced is used until its successor is loaded.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pyrsia_verifiers::limits::MODULES_LOADED_AT_ONCE_MAX;
use pyrsia_verifiers::set::{LoadedFile, UnusableReason, load_files};
use pyrsia_verifiers::{LoadError, SetError, VerifierHost};

/// How often the folder is looked at; a new module is used after two looks at most.
pub(super) const FOLDER_POLL: Duration = Duration::from_secs(2);
/// Files that are looked at; a folder with more is not one of verifiers.
const FILES_MAX: usize = 10_000;

/// What tells a changed file from the same one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stamp {
    size_bytes: u64,
    inode: u64,
    modified: Option<SystemTime>,
    /// In seconds and nanoseconds: also when who may read it changes.
    changed: (i64, i64),
}

impl From<fs::Metadata> for Stamp {
    fn from(metadata: fs::Metadata) -> Self {
        Self {
            size_bytes: metadata.len(),
            inode: metadata.ino(),
            modified: metadata.modified().ok(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

type Listing = BTreeMap<PathBuf, Stamp>;

/// A file as it was when its turn came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) path: PathBuf,
    stamp: Stamp,
}

struct File {
    stamp: Stamp,
    turn: Turn,
    /// What came of it, or of what lay there before.
    loaded: Option<LoadedFile>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It was seen once as it is, and may be growing.
    Settling,
    Waiting,
    Loading,
    Over,
}

pub(super) struct Folder {
    path: Option<PathBuf>,
    files: BTreeMap<PathBuf, File>,
    /// How many are being loaded, also of those that have left or changed since.
    loading: usize,
}

impl Folder {
    /// Loads everything there is; blocks.
    pub(super) fn open(host: &VerifierHost, path: Option<PathBuf>) -> Result<Self, SetError> {
        let listing = match &path {
            Some(path) => list(path).map_err(|source| SetError::Folder { folder: path.clone(), source })?,
            None => Listing::new(),
        };
        let paths: Vec<PathBuf> = listing.keys().cloned().collect();
        let loaded = load_files(host, &paths);
        let file = |((path, stamp), loaded)| (path, File { stamp, turn: Turn::Over, loaded: Some(loaded) });
        Ok(Self { path, files: listing.into_iter().zip(loaded).map(file).collect(), loading: 0 })
    }

    /// Whether something has left the folder since the last look.
    pub(super) async fn look(&mut self) -> bool {
        let Some(path) = self.path.clone() else { return false };
        match tokio::task::spawn_blocking(move || list(&path)).await {
            Ok(Ok(listing)) => self.compare(listing),
            // It may be there again at the next look.
            Ok(Err(_)) | Err(_) => false,
        }
    }

    fn compare(&mut self, listing: Listing) -> bool {
        let before = self.files.len();
        self.files.retain(|path, _| listing.contains_key(path));
        let has_left = self.files.len() < before;
        for (path, stamp) in listing {
            match self.files.entry(path) {
                Entry::Vacant(vacant) => {
                    vacant.insert(File { stamp, turn: Turn::Settling, loaded: None });
                }
                Entry::Occupied(known) => {
                    let file = known.into_mut();
                    if file.stamp != stamp {
                        (file.stamp, file.turn) = (stamp, Turn::Settling);
                    } else if file.turn == Turn::Settling {
                        file.turn = Turn::Waiting;
                    }
                }
            }
        }
        has_left
    }

    /// The files whose turn it is; each is being loaded until it [ended](Self::ended).
    pub(super) fn begin(&mut self) -> Vec<Begun> {
        let waiting = self.files.iter_mut().filter(|(_, file)| file.turn == Turn::Waiting);
        let begun: Vec<Begun> = waiting
            .take(MODULES_LOADED_AT_ONCE_MAX - self.loading)
            .map(|(path, file)| {
                file.turn = Turn::Loading;
                Begun { path: path.clone(), stamp: file.stamp.clone() }
            })
            .collect();
        self.loading += begun.len();
        begun
    }

    pub(super) fn ended(&mut self, begun: &Begun, loaded: LoadedFile) {
        self.loading -= 1;
        // What changed meanwhile has another turn.
        if let Some(file) = self.files.get_mut(&begun.path).filter(|file| file.stamp == begun.stamp) {
            (file.turn, file.loaded) = (Turn::Over, Some(loaded));
        }
    }

    /// What came of the files, in the order of their names.
    pub(super) fn loaded(&self) -> impl DoubleEndedIterator<Item = LoadedFile> {
        self.files.values().filter_map(|file| file.loaded.clone())
    }

    /// Whether a module is left out for a reason that is not its own, or was until it had another turn.
    pub(super) fn has_interrupted(&self) -> bool {
        self.files.values().any(File::was_interrupted)
    }

    /// Gives those another turn; whether there are any that have none.
    pub(super) fn try_interrupted_again(&mut self) -> bool {
        let interrupted = self.files.values_mut().filter(|file| file.turn == Turn::Over && file.was_interrupted());
        interrupted.map(|file| file.turn = Turn::Waiting).count() > 0
    }
}

impl File {
    fn was_interrupted(&self) -> bool {
        // What keeps a file from being read is not the module's either, and may have an end.
        let is_interrupted = |reason: &UnusableReason| {
            matches!(reason, UnusableReason::Io(_) | UnusableReason::Load(LoadError::Interrupted { .. }))
        };
        matches!(&self.loaded, Some(Err(unusable)) if is_interrupted(&unusable.source))
    }
}

fn list(folder: &Path) -> io::Result<Listing> {
    let entries = fs::read_dir(folder)?.filter_map(Result::ok).take(FILES_MAX);
    let modules = entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "wasm"));
    let file = |entry: fs::DirEntry| {
        // A link that leads nowhere is a file that cannot be read.
        match fs::metadata(entry.path()).or_else(|_| fs::symlink_metadata(entry.path())) {
            Ok(metadata) => Some((entry.path(), metadata.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(_) => Some((entry.path(), Stamp::default())),
        }
    };
    Ok(modules.filter_map(file).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyrsia_verifiers::UnusableModule;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::sync::Arc;

    fn watched(files: &[&str]) -> (tempfile::TempDir, Folder) {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|name| fs::write(folder.path().join(name), name).unwrap());
        let watched = Folder { path: Some(folder.path().to_owned()), files: BTreeMap::new(), loading: 0 };
        (folder, watched)
    }

    fn names(begun: &[Begun]) -> Vec<&str> {
        begun.iter().map(|begun| begun.path.file_name().unwrap().to_str().unwrap()).collect()
    }

    fn unusable(begun: &Begun, reason: LoadError) -> LoadedFile {
        Err(Arc::new(UnusableModule { path: begun.path.clone(), source: reason.into() }))
    }

    fn malformed(begun: &Begun) -> LoadedFile {
        unusable(begun, LoadError::Malformed { reason: "empty".into() })
    }

    #[tokio::test]
    async fn a_module_has_its_turn_once_it_stands_still_and_another_when_it_changes() {
        let (folder, mut watched) = watched(&["new.wasm", "notes.txt"]);
        let path = folder.path().join("new.wasm");
        assert!(!watched.look().await && watched.begin().is_empty(), "it may still be growing");
        fs::write(&path, "it was").unwrap();
        assert!(!watched.look().await && watched.begin().is_empty());
        for later in ["later", "latest"] {
            assert!(!watched.look().await);
            let begun = watched.begin();
            assert_eq!(names(&begun), ["new.wasm"]);
            assert!(!watched.look().await && watched.begin().is_empty(), "it has its turn");
            watched.ended(&begun[0], malformed(&begun[0]));
            assert_eq!(watched.loaded().count(), 1);
            assert!(!watched.look().await && watched.begin().is_empty(), "it had its turn");
            fs::write(&path, later).unwrap();
            assert!(!watched.look().await && watched.begin().is_empty());
            assert_eq!(watched.loaded().count(), 1, "until something comes of the later one");
        }
        fs::remove_file(path).unwrap();
        assert!(watched.look().await && !watched.look().await);
        assert_eq!(watched.loaded().count(), 0);
    }

    #[tokio::test]
    async fn so_many_are_loaded_at_a_time_and_what_changed_meanwhile_is_loaded_again() {
        let (folder, mut watched) = watched(&["a.wasm", "b.wasm", "c.wasm", "d.wasm"]);
        watched.look().await;
        watched.look().await;
        let begun = watched.begin();
        assert_eq!((names(&begun), begun.len()), (vec!["a.wasm", "b.wasm"], MODULES_LOADED_AT_ONCE_MAX));
        assert!(watched.begin().is_empty());
        fs::remove_file(folder.path().join("a.wasm")).unwrap();
        fs::write(folder.path().join("b.wasm"), "a later version").unwrap();
        watched.look().await;
        assert!(watched.begin().is_empty(), "both are still being loaded");
        watched.ended(&begun[0], malformed(&begun[0]));
        let third = watched.begin();
        assert_eq!(names(&third), ["c.wasm"]);
        watched.ended(&begun[1], malformed(&begun[1]));
        assert_eq!(watched.loaded().count(), 0, "what lies there now has not been loaded");
        assert_eq!(names(&watched.begin()), ["d.wasm"]);
        watched.ended(&third[0], malformed(&third[0]));
        watched.look().await;
        assert_eq!(names(&watched.begin()), ["b.wasm"]);
    }

    #[tokio::test]
    async fn what_was_interrupted_has_another_turn_and_nothing_else() {
        let (_folder, mut watched) = watched(&["a.wasm", "b.wasm"]);
        watched.look().await;
        watched.look().await;
        let begun = watched.begin();
        watched.ended(&begun[0], malformed(&begun[0]));
        assert!(!watched.has_interrupted() && !watched.try_interrupted_again());
        watched.ended(&begun[1], unusable(&begun[1], LoadError::Interrupted { signal: 9 }));
        assert!(watched.begin().is_empty());
        assert!(watched.has_interrupted() && watched.try_interrupted_again() && !watched.try_interrupted_again());
        let again = watched.begin();
        assert_eq!(names(&again), ["b.wasm"]);
        assert!(watched.has_interrupted(), "it is not known yet what comes of it");
        watched.ended(&again[0], malformed(&again[0]));
        assert!(!watched.has_interrupted() && !watched.try_interrupted_again());
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_named_and_has_another_turn() {
        let (folder, mut watched) = watched(&[]);
        let (link, file) = (folder.path().join("link.wasm"), folder.path().join("file.wasm"));
        symlink(folder.path().join("nowhere"), &link).unwrap();
        fs::write(&file, "a module").unwrap();
        watched.look().await;
        watched.look().await;
        let begun = watched.begin();
        assert_eq!(names(&begun), ["file.wasm", "link.wasm"]);
        for begun in &begun {
            let source = io::Error::from(io::ErrorKind::PermissionDenied).into();
            watched.ended(begun, Err(Arc::new(UnusableModule { path: begun.path.clone(), source })));
        }
        assert!(watched.begin().is_empty() && watched.has_interrupted() && watched.try_interrupted_again());
        let again = watched.begin();
        assert_eq!(again.len(), 2);
        again.iter().for_each(|begun| watched.ended(begun, malformed(begun)));

        // At once where what kept it from being read is mended.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(folder.path().join("nowhere"), "a module").unwrap();
        watched.look().await;
        watched.look().await;
        assert_eq!(names(&watched.begin()), ["file.wasm", "link.wasm"]);
    }
}
