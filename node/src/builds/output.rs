//! What another judge built, as a verifier is lent it: the bytes from whoever has them, under the names a builder gives them.
//!
//! Owns the fetching, its bounds, and the names. Every byte is checked against what the judge revealed; whether that is a good
//! build is said by the verifier.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use pyrsia_ledger::event::BuiltArtifact;
use pyrsia_ledger::{ArtifactId, BuildId, NodeId, Sha256Digest};
use pyrsia_verifiers::InputFile;
use tokio::time::Instant;

use super::sealed::FileNames;
use crate::artifacts::ArtifactStore;
use crate::p2p::P2pHandle;

/// A fetch that failed is tried again after this.
const FETCH_PAUSE: Duration = Duration::from_secs(2);

/// Why an output is not here.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    #[error("its artifacts have {size_bytes} bytes, more than the {limit} this node fetches for that")]
    TooLarge { size_bytes: u64, limit: u64 },
    #[error("{artifact_id} cannot be had: {reason}")]
    Unavailable { artifact_id: ArtifactId, reason: String },
    #[error("{artifact_id} is not what the judge revealed of it: {what}")]
    Contradicts { artifact_id: ArtifactId, what: &'static str },
}

/// Bounds of one fetch.
#[derive(Clone, Copy, Debug)]
pub(super) struct FetchLimits {
    pub(super) bytes_max: u64,
    pub(super) patience: Duration,
}

/// Brings all artifacts into the store, each from `judges` first, and checks what the ledger says of each.
pub(super) async fn fetch(
    store: &ArtifactStore,
    p2p: &P2pHandle,
    id: &BuildId,
    artifacts: &[BuiltArtifact],
    judges: &[NodeId],
    limits: FetchLimits,
) -> Result<(), OutputError> {
    let mut distinct = BTreeSet::new();
    let foreign = artifacts.iter().filter(|artifact| distinct.insert(artifact.sha256));
    let size_bytes = foreign.fold(0u64, |total, artifact| total.saturating_add(artifact.size_bytes));
    if size_bytes > limits.bytes_max {
        return Err(OutputError::TooLarge { size_bytes, limit: limits.bytes_max });
    }
    let deadline = Instant::now() + limits.patience;
    for artifact in artifacts {
        let unavailable = |reason: String| OutputError::Unavailable { artifact_id: artifact.artifact_id.clone(), reason };
        loop {
            let (noting, id, sha256) = (store.clone(), *id, artifact.sha256);
            let noted = tokio::task::spawn_blocking(move || noting.note_brought(&id, &sha256)).await;
            noted
                .map_err(|_| unavailable("the node is stopping".into()))?
                .map_err(|error| unavailable(super::run::causes(&error)))?;
            let fetched = tokio::time::timeout_at(deadline, p2p.fetch(artifact, judges.to_vec())).await;
            match fetched {
                Ok(Ok(())) => break,
                Ok(Err(error)) if Instant::now() + FETCH_PAUSE >= deadline => return Err(unavailable(error.to_string())),
                Ok(Err(error)) => tracing::debug!(build_id = %id, %error, "an artifact of another judge is fetched again"),
                Err(_) => return Err(unavailable(format!("it did not come within {} s", limits.patience.as_secs()))),
            }
            tokio::time::sleep(FETCH_PAUSE).await;
        }
        // What was here before was never compared with what this judge says of it.
        let (store, sha256) = (store.clone(), artifact.sha256);
        let list = tokio::task::spawn_blocking(move || store.chunk_list(&sha256)).await;
        let list = list.map_err(|_| unavailable("the node is stopping".into()))?;
        let list = list.map_err(|error| unavailable(super::run::causes(&error)))?;
        let list = list.ok_or_else(|| unavailable("it was removed as it came".into()))?;
        let contradicts = |what| OutputError::Contradicts { artifact_id: artifact.artifact_id.clone(), what };
        if list.size_bytes() != artifact.size_bytes {
            return Err(contradicts("its size"));
        }
        if list.root() != artifact.chunk_root {
            return Err(contradicts("the root of its chunks"));
        }
    }
    Ok(())
}

/// The files of an output that is in the store, each once, in the order of their names.
pub(super) fn files(
    store: &ArtifactStore,
    artifacts: &[BuiltArtifact],
    own: &[BuiltArtifact],
    names: &FileNames,
) -> Vec<InputFile> {
    files_at(|sha256| store.blob_path(sha256), artifacts, own, names)
}

/// The same where `path_of` says where the bytes are.
pub(super) fn files_at(
    path_of: impl Fn(&Sha256Digest) -> PathBuf,
    artifacts: &[BuiltArtifact],
    own: &[BuiltArtifact],
    names: &FileNames,
) -> Vec<InputFile> {
    let mut by_digest: BTreeMap<Sha256Digest, Vec<&BuiltArtifact>> = BTreeMap::new();
    for artifact in artifacts {
        by_digest.entry(artifact.sha256).or_default().push(artifact);
    }
    let named = by_digest.into_iter().flat_map(|(sha256, published)| {
        let size_bytes = published[0].size_bytes;
        let names: BTreeSet<String> = names_of(&published, own, names);
        names.into_iter().map(move |name| (name, sha256, size_bytes))
    });
    let file = |(name, sha256, size_bytes)| InputFile { name, path: path_of(&sha256), size_bytes };
    let mut files: Vec<InputFile> = named.map(file).collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

/// What the builder called the file with these artifacts. The ledger does not say; but this node's own builder names its files
/// alike: the same where the artifact id is the same, and where the id holds the digest of the bytes, the name with that digest.
/// Failing that it is the last part of the id. A wrong guess makes the verifier refuse, never agree.
fn names_of(published: &[&BuiltArtifact], own: &[BuiltArtifact], names: &FileNames) -> BTreeSet<String> {
    let same: BTreeSet<String> = published.iter().filter_map(|artifact| names.get(&artifact.artifact_id)).cloned().collect();
    if !same.is_empty() {
        return same;
    }
    let alike = |artifact: &BuiltArtifact| {
        let hex = artifact.sha256.to_string();
        own.iter().find_map(|known| {
            let known_hex = known.sha256.to_string();
            let id = known.artifact_id.as_str();
            let is_alike = id.contains(&known_hex) && id.replace(&known_hex, &hex) == artifact.artifact_id.as_str();
            // A name without the digest is that of a certain file, and says nothing about others.
            let name = names.get(&known.artifact_id).filter(|name| is_alike && name.contains(&known_hex))?;
            Some(name.replace(&known_hex, &hex))
        })
    };
    let last = |artifact: &BuiltArtifact| {
        let id = artifact.artifact_id.as_str();
        id.rsplit_once('/').map_or(id, |(_, last)| last).to_owned()
    };
    published.iter().find_map(|artifact| alike(artifact)).or_else(|| Some(last(published.first()?))).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(id: &str, bytes: &str) -> BuiltArtifact {
        let sha256 = Sha256Digest::of(bytes.as_bytes());
        let artifact_id = ArtifactId::new(id.replace("{}", &sha256.to_string())).unwrap();
        BuiltArtifact { artifact_id, media_type: "x/y".into(), size_bytes: 1, sha256, canonical: sha256, chunk_root: sha256 }
    }

    fn check(own: &[(&str, &str, &str)], other: &[(&str, &str)], expected: &[&str]) {
        let names = own.iter().map(|(id, bytes, name)| {
            let artifact = artifact(id, bytes);
            let name = name.replace("{}", &artifact.sha256.to_string());
            (artifact.artifact_id, name)
        });
        let names: FileNames = names.collect();
        let own: Vec<_> = own.iter().map(|(id, bytes, _)| artifact(id, bytes)).collect();
        let other: Vec<_> = other.iter().map(|(id, bytes)| artifact(id, bytes)).collect();
        let folder = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(folder.path()).unwrap();
        let mut expected: Vec<String> = expected
            .iter()
            .map(|name| other.iter().fold(name.to_string(), |name, file| name.replacen("{}", &file.sha256.to_string(), 1)))
            .collect();
        expected.sort();
        let found: Vec<String> = files(&store, &other, &own, &names).into_iter().map(|file| file.name).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn files_are_called_as_this_nodes_own_builder_calls_them() {
        let own = [
            ("alpine:1", "manifest", "manifest"),
            ("alpine@sha256:{}", "manifest", "manifest"),
            ("alpine@sha256:{}", "layer", "sha256:{}.blob"),
        ];
        let other = [("alpine@sha256:{}", "other layer"), ("alpine:1", "other manifest")];
        check(&own, &other, &["sha256:{}.blob", "manifest"]);
        let own = [("org/a/1/a-1.jar", "jar", "a-1.jar")];
        check(&own, &[("org/a/1/a-1.jar", "other jar"), ("org/a/1/a-1.pom", "pom")], &["a-1.jar", "a-1.pom"]);
        check(&[], &[("org/a/1/a-1.pom", "pom")], &["a-1.pom"]);
    }
}
