//! Compiled modules that outlast the process, so that a node which starts again need not compile what it has compiled before.
//!
//! Compiled code runs as it is: whoever can write it controls the node. So only what this node wrote is ever loaded: the folder is the node's alone, and each file
//! carries an authentication code under a key that only the node has. The code covers the module's digest and every byte; a file that fails is
//! compiled anew and replaced. Nothing here is ever received from elsewhere or given away.
//!
//! ```text
//! FOLDER/<sha256 of the module>.compiled = 32 bytes code, then what the engine serialized
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pyrsia_ledger::Sha256Digest;
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

const CODE_BYTES: usize = 32;
/// A compiled module is some ten times as large as its WASM, of which 4 MiB are allowed.
pub(crate) const COMPILED_BYTES_MAX: u64 = 128 << 20;
/// Files that are kept; the ones not used for longest go first.
const FILES_MAX: usize = 64;
const SUFFIX: &str = "compiled";

#[derive(Debug, thiserror::Error)]
pub enum CompiledError {
    #[error("the folder of compiled modules {folder:?} cannot be used")]
    Io {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the folder of compiled modules {folder:?} can be changed or read by others (mode {mode:o})")]
    NotPrivate { folder: PathBuf, mode: u32 },
}

/// A folder of this node's own, and the key that authenticates what lies there.
pub struct CompiledModules {
    folder: PathBuf,
    key: [u8; 32],
    /// One file at a time, so that making room does not meet itself.
    writing: Mutex<()>,
}

impl CompiledModules {
    /// Opens or creates the folder. `key` is a secret of this node.
    pub fn open(folder: &Path, key: [u8; 32]) -> Result<Self, CompiledError> {
        let io_error = |source| CompiledError::Io { folder: folder.into(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io_error)?;
        let metadata = fs::symlink_metadata(folder).map_err(io_error)?;
        let mode = metadata.permissions().mode() & 0o777;
        let probe = tempfile_owner(folder).map_err(io_error)?;
        if !metadata.is_dir() || mode & 0o077 != 0 || metadata.uid() != probe {
            return Err(CompiledError::NotPrivate { folder: folder.into(), mode });
        }
        Ok(Self { folder: folder.into(), key, writing: Mutex::default() })
    }

    /// The module as it was compiled before by this node, for this engine.
    pub(crate) fn component(&self, engine: &Engine, module: &Sha256Digest) -> Option<Component> {
        let mut file = File::open(self.path(module)).ok()?;
        let mut bytes = Vec::with_capacity(usize::try_from(file.metadata().ok()?.len().min(COMPILED_BYTES_MAX)).ok()?);
        Read::by_ref(&mut file).take(COMPILED_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
        let (code, serialized) = bytes.split_at_checked(CODE_BYTES)?;
        if code != self.code(module, serialized) {
            tracing::warn!(%module, "a compiled verifier is not what this node wrote; it is compiled anew");
            return None;
        }
        // The engine itself notices what another version or other settings compiled.
        let component = deserialize(engine, serialized).ok()?;
        // So that the folder forgets what is not used.
        let _ = file.set_modified(std::time::SystemTime::now());
        Some(component)
    }

    /// Keeps a compiled module. Failing costs time at the next start and nothing else.
    pub(crate) fn keep(&self, module: &Sha256Digest, serialized: impl FnOnce() -> wasmtime::Result<Vec<u8>>) {
        let kept = serialized().map_err(io::Error::other).and_then(|serialized| self.write(module, &serialized));
        if let Err(error) = kept {
            tracing::warn!(%module, %error, "a compiled verifier cannot be kept");
        }
    }

    fn write(&self, module: &Sha256Digest, serialized: &[u8]) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.make_room()?;
        let path = self.path(module);
        let unfinished = path.with_extension("unfinished");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(&self.code(module, serialized))?;
        file.write_all(serialized)?;
        fs::rename(unfinished, path)
    }

    fn make_room(&self) -> io::Result<()> {
        let mut files: Vec<_> = fs::read_dir(&self.folder)?
            .filter_map(|entry| entry.ok())
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        let surplus = (files.len() + 1).saturating_sub(FILES_MAX);
        files.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
    }

    fn path(&self, module: &Sha256Digest) -> PathBuf {
        self.folder.join(module.to_string()).with_extension(SUFFIX)
    }

    /// The nested construction of HMAC; with keys of one block's half no padding is needed.
    fn code(&self, module: &Sha256Digest, serialized: &[u8]) -> [u8; CODE_BYTES] {
        let keyed = |domain: &[u8], parts: [&[u8]; 2]| -> [u8; 32] {
            let hasher = Sha256::new().chain_update(self.key).chain_update(domain);
            hasher.chain_update(parts[0]).chain_update(parts[1]).finalize().into()
        };
        let inner = keyed(b"compiled verifier, inner", [module.as_bytes(), serialized]);
        keyed(b"compiled verifier, outer", [&inner, &[]])
    }
}

impl std::fmt::Debug for CompiledModules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompiledModules").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Who owns what this process creates in `folder`.
fn tempfile_owner(folder: &Path) -> io::Result<u32> {
    let probe = folder.join("owner.unfinished");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&probe)?;
    let owner = file.metadata()?.uid();
    fs::remove_file(probe)?;
    Ok(owner)
}

#[expect(
    unsafe_code,
    reason = "the engine runs what it is given; these bytes come from this program, through a file that only this node can have written or from a process it started"
)]
pub(crate) fn deserialize(engine: &Engine, serialized: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes were serialized by this program, run by this node: either their authentication code was checked under a key nobody else has, and covers all
    // of them, or they came through a pipe from the `Compiler`, for which whoever made it vouched. They lie in memory that only this process can change.
    unsafe { Component::deserialize(engine, serialized) }
}
