//! The result a node is bound to, on disk before anybody hears of its commitment: one file for each build.
//!
//! ```text
//! <artifact folder>/sealed/<build id>    version, salt, outcome, file names (borsh), then the sha256 of all that
//! ```
//!
//! A node that was killed between its commitment and its reveal has to reveal the same result: a second commitment to another
//! one is proof of a lie, and suspends its key. So a result is sealed once, and a seal that cannot be read back is never made
//! anew.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use borsh::{BorshDeserialize, BorshSerialize};
use pyrsia_ledger::event::{BuildOutcome, commitment};
use pyrsia_ledger::signed::EVENT_BYTES_MAX;
use pyrsia_ledger::{ArtifactId, BuildId, NetworkId, NodeId, Sha256Digest};

const VERSION: u16 = 1;
/// An outcome fits in one event; the names of the files beside it are of the same order.
const SEAL_BYTES_MAX: u64 = 4 * EVENT_BYTES_MAX as u64;

/// What the builder called the file of each artifact: the verifier wants to know, and the ledger does not say.
pub(super) type FileNames = BTreeMap<ArtifactId, String>;

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct RunResult {
    pub(super) outcome: BuildOutcome,
    pub(super) names: FileNames,
}

impl RunResult {
    pub(super) fn abstained(reason: String) -> Self {
        Self { outcome: BuildOutcome::Abstained { reason }, names: FileNames::new() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Sealed {
    pub(super) salt: [u8; 32],
    pub(super) result: RunResult,
}

impl Sealed {
    pub(super) fn commitment(&self, network: &NetworkId, build: &BuildId, me: &NodeId) -> Sha256Digest {
        commitment(network, build, me, &self.salt, &self.result.outcome)
    }
}

/// All seals of this node; a cheap clone.
#[derive(Clone, Debug)]
pub(super) struct Seals {
    folder: PathBuf,
}

impl Seals {
    pub(super) fn open(artifact_path: &Path) -> io::Result<Self> {
        let folder = artifact_path.join("sealed");
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            // It was not finished, so nobody has heard of it.
            if path.extension().is_some_and(|extension| extension == "new") {
                fs::remove_file(path)?;
            }
        }
        Ok(Self { folder })
    }

    /// The seals in the folder of a node that does not run. Changes nothing.
    pub(super) fn of_stopped_node(artifact_path: &Path) -> Self {
        Self { folder: artifact_path.join("sealed") }
    }

    /// The builds that have a seal, readable or not.
    pub(super) fn builds(&self) -> io::Result<Vec<BuildId>> {
        let mut builds = vec![];
        for entry in fs::read_dir(&self.folder)? {
            builds.extend(entry?.file_name().to_str().and_then(|name| name.parse::<BuildId>().ok()));
        }
        Ok(builds)
    }

    /// The seal of a build; an error when there is one that is damaged.
    pub(super) fn get(&self, id: &BuildId) -> io::Result<Option<Sealed>> {
        let path = self.path(id);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
            Ok(found) if found.len() > SEAL_BYTES_MAX => return Err(damaged()),
            Ok(_) => {}
        }
        let bytes = fs::read(path)?;
        let (body, sum) = bytes.split_last_chunk::<32>().ok_or_else(damaged)?;
        if Sha256Digest::of(body).as_bytes() != sum {
            return Err(damaged());
        }
        match borsh::from_slice(body)? {
            (VERSION, sealed) => Ok(Some(sealed)),
            (version, _) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("version {version} is not known"))),
        }
    }

    /// Seals the result of a build with a salt of its own; the one that is sealed already if there is one. Durable when it returns.
    pub(super) fn seal(&self, id: &BuildId, result: RunResult) -> io::Result<Sealed> {
        if let Some(sealed) = self.get(id)? {
            return Ok(sealed);
        }
        let mut salt = [0; 32];
        getrandom::fill(&mut salt).map_err(io::Error::other)?;
        let sealed = Sealed { salt, result };
        let mut bytes = borsh::to_vec(&(VERSION, &sealed))?;
        bytes.extend_from_slice(Sha256Digest::of(&bytes).as_bytes());
        let (path, unfinished) = (self.path(id), self.folder.join(format!("{id}.new")));
        let mut file = File::create(&unfinished)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(unfinished, path)?;
        File::open(&self.folder)?.sync_all()?;
        Ok(sealed)
    }

    pub(super) fn remove(&self, id: &BuildId) {
        if let Err(error) = fs::remove_file(self.path(id))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(build_id = %id, %error, "the sealed result of a closed build cannot be removed");
        }
    }

    fn path(&self, id: &BuildId) -> PathBuf {
        self.folder.join(id.to_string())
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the sealed result is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyrsia_ledger::PackageCoordinate;

    fn id() -> BuildId {
        BuildId::of(&NetworkId::UNFOUNDED, &PackageCoordinate::new("docker", "alpine:3.16.0").unwrap(), 0)
    }

    fn result(reason: &str) -> RunResult {
        RunResult::abstained(reason.into())
    }

    #[test]
    fn a_result_is_sealed_once_whatever_a_second_run_comes_to() {
        let folder = tempfile::tempdir().unwrap();
        let seals = Seals::open(folder.path()).unwrap();
        assert_eq!(seals.get(&id()).unwrap(), None);
        let sealed = seals.seal(&id(), result("first")).unwrap();
        let seals = Seals::open(folder.path()).unwrap();
        assert_eq!(seals.seal(&id(), result("second")).unwrap(), sealed);
        assert_eq!((seals.get(&id()).unwrap(), seals.builds().unwrap()), (Some(sealed), vec![id()]));
        seals.remove(&id());
        assert_eq!(seals.get(&id()).unwrap(), None);
    }

    #[test]
    fn a_damaged_seal_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let seals = Seals::open(folder.path()).unwrap();
        seals.seal(&id(), result("first")).unwrap();
        let path = folder.path().join("sealed").join(id().to_string());
        let mut bytes = fs::read(&path).unwrap();
        bytes[10] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(seals.get(&id()).is_err());
        assert!(seals.seal(&id(), result("second")).is_err());
        assert_eq!(seals.builds().unwrap(), [id()]);
    }

    #[test]
    fn what_was_not_finished_is_no_seal() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sealed")).unwrap();
        fs::write(folder.path().join("sealed").join(format!("{}.new", id())), "half").unwrap();
        let seals = Seals::open(folder.path()).unwrap();
        assert_eq!(seals.builds().unwrap(), []);
        assert!(seals.seal(&id(), result("first")).is_ok());
    }
}
