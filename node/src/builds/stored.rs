//! Outputs of builds as they lie in a node's folder, for a program that looks at them while no node runs there.
//!
//! Changes nothing, and believes no name: what the bytes are is found by reading them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use pyrsia_ledger::event::{BuildOutcome, BuiltArtifact};
use pyrsia_ledger::{BuildId, Sha256Digest};
use pyrsia_verifiers::set::read_module;
use pyrsia_verifiers::{InputFile, SHIPPED};

use super::output;
use super::sealed::{FileNames, Seals};
use crate::artifacts::hashed;

const BLOBS: &str = "blobs";
const MODULES: &str = "modules";
/// What a builder calls the file that names all others by digest.
const TOP_FILE: &str = "manifest";

/// What the bytes of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    pub sha256: Sha256Digest,
    pub size_bytes: u64,
    pub chunk_root: Sha256Digest,
}

/// An output as a verifier is lent it.
#[derive(Clone, Debug)]
pub struct StoredOutput {
    pub files: Vec<InputFile>,
    /// Whether this node built it, so that the files have their builder's names. Otherwise the names are guessed, and a verifier
    /// that refuses them says nothing.
    pub is_own: bool,
}

/// The folder that a node keeps its artifacts in.
#[derive(Debug)]
pub struct StoredOutputs {
    folder: PathBuf,
    seals: Seals,
}

impl StoredOutputs {
    /// None if the folder is no such folder.
    pub fn at(folder: &Path) -> Option<Self> {
        folder.join(BLOBS).is_dir().then(|| Self { folder: folder.to_owned(), seals: Seals::of_stopped_node(folder) })
    }

    pub fn blob_path(&self, sha256: &Sha256Digest) -> PathBuf {
        let name = sha256.to_string();
        self.folder.join(BLOBS).join(&name[..2]).join(name)
    }

    /// Reads the bytes that lie under a name; none if there are none.
    pub fn measure(&self, sha256: &Sha256Digest) -> io::Result<Option<Measured>> {
        let file = match File::open(self.blob_path(sha256)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let Some(hasher) = hashed(&file, |_| true)? else { return Ok(None) };
        let (sha256, list) = hasher.finish().map_err(io::Error::other)?;
        Ok(Some(Measured { sha256, size_bytes: list.size_bytes(), chunk_root: list.root() }))
    }

    /// The files of an output whose artifacts are all here, under each set of names that they may have had. Only the right one makes
    /// a verifier agree.
    pub fn outputs(&self, build: &BuildId, artifacts: &[BuiltArtifact]) -> [StoredOutput; 2] {
        [self.output(build, artifacts), self.named_by_digest(artifacts)]
    }

    /// As a builder names files that refer to each other by digest, and one that the others hang on.
    fn named_by_digest(&self, artifacts: &[BuiltArtifact]) -> StoredOutput {
        let mut files = BTreeMap::new();
        for artifact in artifacts {
            let hex = artifact.sha256.to_string();
            let is_top = !artifact.artifact_id.as_str().contains(&hex);
            let name = if is_top { TOP_FILE.to_owned() } else { format!("sha256:{hex}.blob") };
            if is_top || !files.contains_key(&artifact.sha256) {
                let path = self.blob_path(&artifact.sha256);
                files.insert(artifact.sha256, InputFile { name, path, size_bytes: artifact.size_bytes });
            }
        }
        StoredOutput { files: files.into_values().collect(), is_own: false }
    }

    fn output(&self, build: &BuildId, artifacts: &[BuiltArtifact]) -> StoredOutput {
        // A seal that is damaged, or not there, only costs the names.
        let result = self.seals.get(build).ok().flatten().map(|sealed| sealed.result);
        let (own, names) = result.map_or((vec![], FileNames::new()), |result| match result.outcome {
            BuildOutcome::Built { artifacts, .. } => (artifacts, result.names),
            BuildOutcome::Failed { .. } | BuildOutcome::Abstained { .. } => (vec![], FileNames::new()),
        });
        let files = output::files_at(|sha256| self.blob_path(sha256), artifacts, &own, &names);
        let is_own = artifacts.iter().all(|artifact| own.contains(artifact) && names.contains_key(&artifact.artifact_id));
        StoredOutput { files, is_own }
    }

    /// The module with this digest: one that the node kept, or one that this program carries.
    pub fn module(&self, digest: &Sha256Digest) -> Option<Vec<u8>> {
        let kept = read_module(&self.folder.join(MODULES).join(digest.to_string()).with_extension("wasm"));
        let kept = kept.ok().filter(|module| Sha256Digest::of(module) == *digest);
        let shipped = || SHIPPED.iter().map(|(_, module)| module.to_vec()).find(|module| Sha256Digest::of(module) == *digest);
        kept.or_else(shipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyrsia_ledger::tree::{self, CHUNK_BYTES};
    use std::fs;

    #[test]
    fn bytes_are_measured_as_a_store_names_them() {
        let folder = tempfile::tempdir().unwrap();
        assert!(StoredOutputs::at(folder.path()).is_none());
        let bytes: Vec<u8> = (0..CHUNK_BYTES as u32 + 7).map(|n| n as u8).collect();
        let sha256 = Sha256Digest::of(&bytes);
        fs::create_dir(folder.path().join(BLOBS)).unwrap();
        let stored = StoredOutputs::at(folder.path()).expect("a store");
        assert_eq!(stored.measure(&sha256).unwrap(), None);
        fs::create_dir_all(stored.blob_path(&sha256).parent().unwrap()).unwrap();
        fs::write(stored.blob_path(&sha256), &bytes).unwrap();
        let chunk_root = tree::chunk_root(&[Sha256Digest::of(&bytes[..CHUNK_BYTES]), Sha256Digest::of(&bytes[CHUNK_BYTES..])]);
        let size_bytes = bytes.len() as u64;
        assert_eq!(stored.measure(&sha256).unwrap(), Some(Measured { sha256, size_bytes, chunk_root }));
        fs::write(stored.blob_path(&sha256), b"").unwrap();
        assert_eq!(stored.measure(&sha256).unwrap().map(|measured| measured.size_bytes), Some(0));
        let (_, shipped) = SHIPPED[0];
        assert_eq!(stored.module(&Sha256Digest::of(shipped)).as_deref(), Some(shipped));
        assert_eq!(stored.module(&sha256), None);
    }
}
