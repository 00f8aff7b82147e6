//! The verifiers a node has: those this program carries, and those in the operator's folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use pyrsia_ledger::Sha256Digest;

use crate::host::{LoadError, VerifierHost};
use crate::limits;
use crate::verifier::Verifier;

/// The components this program carries, by file name: `verifiers/shipped`.
pub const SHIPPED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

#[derive(Debug, thiserror::Error)]
pub enum SetError {
    #[error("the folder of verifiers {folder:?} cannot be read")]
    Folder {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the shipped verifier {name} does not load")]
    Shipped {
        name: &'static str,
        #[source]
        source: LoadError,
    },
}

/// A file in the operator's folder that is not a verifier. The others are used all the same.
#[derive(Debug, thiserror::Error)]
#[error("{path:?} is not used as a verifier")]
pub struct UnusableModule {
    pub path: PathBuf,
    #[source]
    pub source: UnusableReason,
}

#[derive(Debug, thiserror::Error)]
pub enum UnusableReason {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// What came of a file of the operator's folder.
pub type LoadedFile = Result<(Verifier, PathBuf), Arc<UnusableModule>>;

/// Where a verifier came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The operator's folder.
    File(PathBuf),
    Shipped,
    /// Other nodes, because the ledger names it.
    Network,
}

/// In order of preference: the operator's, the shipped, those of other nodes.
#[derive(Clone, Debug)]
pub struct VerifierSet {
    verifiers: Vec<(Verifier, Origin)>,
    unusable: Vec<Arc<UnusableModule>>,
}

impl VerifierSet {
    /// Loads every `*.wasm` of `folder` and the shipped verifiers. This takes as long as the slowest of them.
    pub fn open(host: &VerifierHost, folder: Option<&Path>) -> Result<Self, SetError> {
        let paths = match folder {
            Some(folder) => modules_in(folder).map_err(|source| SetError::Folder { folder: folder.into(), source })?,
            None => vec![],
        };
        let files = load_files(host, &paths);
        Ok(Self::shipped(host)?.with_files(files.into_iter()))
    }

    /// What this program carries.
    pub fn shipped(host: &VerifierHost) -> Result<Self, SetError> {
        let mut set = Self { verifiers: Vec::new(), unusable: Vec::new() };
        for (name, module) in SHIPPED {
            set.add(host.load(module).map_err(|source| SetError::Shipped { name, source })?, Origin::Shipped);
        }
        Ok(set)
    }

    /// With what came of the files of the operator's folder, in the order of their names, before all others. Of two modules for one package type the last is
    /// preferred, so that a version in the name decides.
    pub fn with_files(&self, files: impl DoubleEndedIterator<Item = LoadedFile>) -> Self {
        let mut set = Self { verifiers: Vec::new(), unusable: self.unusable.clone() };
        for file in files.rev() {
            match file {
                Ok((verifier, path)) => set.add(verifier, Origin::File(path)),
                Err(unusable) => set.unusable.push(unusable),
            }
        }
        for (verifier, origin) in &self.verifiers {
            set.add(verifier.clone(), origin.clone());
        }
        set
    }

    pub fn by_digest(&self, digest: &Sha256Digest) -> Option<&Verifier> {
        self.iter().find(|verifier| verifier.digest() == *digest)
    }

    pub fn origin(&self, digest: &Sha256Digest) -> Option<&Origin> {
        self.verifiers.iter().find(|(verifier, _)| verifier.digest() == *digest).map(|(_, origin)| origin)
    }

    /// With one more, which is preferred to none of the others.
    pub fn with(&self, verifier: Verifier) -> Self {
        let mut set = self.clone();
        set.add(verifier, Origin::Network);
        set
    }

    /// The verifier for a package type, called by its name or by an alias. A name goes before an alias.
    pub fn preferred(&self, package_type: &str) -> Option<&Verifier> {
        let named = |verifier: &&Verifier| verifier.description().package_type.as_str() == package_type;
        let aliased = |verifier: &&Verifier| verifier.description().aliases.iter().any(|alias| alias.as_str() == package_type);
        self.iter().find(named).or_else(|| self.iter().find(aliased))
    }

    /// In order of preference.
    pub fn iter(&self) -> impl Iterator<Item = &Verifier> {
        self.verifiers.iter().map(|(verifier, _)| verifier)
    }

    /// With where each came from.
    pub fn origins(&self) -> impl Iterator<Item = (&Verifier, &Origin)> {
        self.verifiers.iter().map(|(verifier, origin)| (verifier, origin))
    }

    /// What the operator should be told about the folder.
    pub fn unusable(&self) -> &[Arc<UnusableModule>] {
        &self.unusable
    }

    fn add(&mut self, verifier: Verifier, origin: Origin) {
        if self.by_digest(&verifier.digest()).is_none() {
            self.verifiers.push((verifier, origin));
        }
    }
}

/// Loads files, as many at a time as the host does; what came of each, in their order. One that takes long holds up no other.
pub fn load_files(host: &VerifierHost, paths: &[PathBuf]) -> Vec<LoadedFile> {
    let (next, loaded) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let load = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = paths.get(at) else { return };
            let file = load_file(host, path);
            loaded.lock().unwrap_or_else(PoisonError::into_inner).insert(at, file);
        }
    };
    thread::scope(|scope| {
        for _ in 1..limits::MODULES_LOADED_AT_ONCE_MAX.min(paths.len()) {
            // Where no thread can be begun this one loads them all.
            let _ = thread::Builder::new().spawn_scoped(scope, load);
        }
        load();
    });
    loaded.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

pub fn load_file(host: &VerifierHost, path: &Path) -> LoadedFile {
    match read_module(path).map_err(UnusableReason::from).and_then(|module| Ok(host.load(&module)?)) {
        Ok(verifier) => Ok((verifier, path.to_owned())),
        Err(source) => Err(Arc::new(UnusableModule { path: path.to_owned(), source })),
    }
}

fn modules_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    paths.sort();
    Ok(paths)
}

/// Reads one byte more than is allowed at most, so that the host sees that the module is too large.
pub fn read_module(path: &Path) -> io::Result<Vec<u8>> {
    let mut module = Vec::new();
    File::open(path)?.take(limits::MODULE_BYTES_MAX + 1).read_to_end(&mut module)?;
    Ok(module)
}
