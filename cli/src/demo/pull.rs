//! A pull like a docker client's: the manifest by its tag, then every blob it names, each compared with the ledger.
//!
//! The comparison does not trust the node that serves: every byte is hashed here, and the digest has to stand in a record.

use pyrsia_ledger::Sha256Digest;
use pyrsia_ledger::projection::packages::ArtifactRecord;
use reqwest::{Client, Response};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// What docker asks for (OCI distribution specification 1.1 and Docker Registry schema 2).
const MANIFEST_TYPES: &str = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json";
const MANIFEST_BYTES_MAX: usize = 4 << 20;
const READ_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub(super) enum PullError {
    #[error("GET {path}")]
    Http {
        path: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the manifest is larger than {MANIFEST_BYTES_MAX} bytes")]
    LargeManifest,
    #[error("the manifest cannot be understood")]
    Manifest(#[from] serde_json::Error),
    #[error("the manifest names {0:?}, which is no sha256 digest")]
    Digest(String),
    #[error("GET {path} gave bytes with digest {got} and size {size_bytes}, which no record on the ledger has")]
    NotOnLedger { path: String, got: Sha256Digest, size_bytes: u64 },
    #[error("GET {path} gave bytes with digest {got}")]
    OtherBytes { path: String, got: Sha256Digest },
    #[error("record {artifact} on the ledger is of no file of the image")]
    NotPulled { artifact: String },
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct PulledFile {
    pub(super) path: String,
    pub(super) size_bytes: u64,
    pub(super) sha256: Sha256Digest,
}

#[derive(Debug, Serialize)]
pub(super) struct Pulled {
    manifest: PulledFile,
    blobs: Vec<PulledFile>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
}

impl Pulled {
    pub(super) fn files(&self) -> impl Iterator<Item = &PulledFile> {
        [&self.manifest].into_iter().chain(&self.blobs)
    }
}

impl PulledFile {
    /// The path without the digits of a digest, which stand beside it.
    pub(super) fn shown_path(&self) -> String {
        self.path.replace(&self.sha256.to_string(), "…")
    }
}

pub(super) async fn pull(base: &str, repository: &str, tag: &str, records: &[&ArtifactRecord]) -> Result<Pulled, PullError> {
    let http = |source| PullError::Http { path: base.to_owned(), source };
    let client = Client::builder().no_proxy().tls_certs_only([]).read_timeout(READ_TIMEOUT).build().map_err(http)?;
    let path = format!("/v2/{repository}/manifests/{tag}");
    let (manifest, bytes) = fetch(&client, base, path, Keep::UpTo(MANIFEST_BYTES_MAX)).await?;
    let parsed: Manifest = serde_json::from_slice(&bytes)?;
    let mut blobs = vec![];
    for descriptor in [&parsed.config].into_iter().chain(&parsed.layers) {
        let wanted = descriptor.digest.strip_prefix("sha256:").and_then(|hex| hex.parse::<Sha256Digest>().ok());
        let wanted = wanted.ok_or_else(|| PullError::Digest(descriptor.digest.clone()))?;
        let (blob, _) = fetch(&client, base, format!("/v2/{repository}/blobs/sha256:{wanted}"), Keep::Nothing).await?;
        if blob.sha256 != wanted {
            return Err(PullError::OtherBytes { path: blob.path, got: blob.sha256 });
        }
        blobs.push(blob);
    }
    let pulled = Pulled { manifest, blobs };
    compare(&pulled, records)?;
    Ok(pulled)
}

/// Every file has a record, and every record a file.
fn compare(pulled: &Pulled, records: &[&ArtifactRecord]) -> Result<(), PullError> {
    let same = |file: &PulledFile, record: &ArtifactRecord| {
        record.artifact.sha256 == file.sha256 && record.artifact.size_bytes == file.size_bytes
    };
    for file in pulled.files() {
        if !records.iter().any(|record| same(file, record)) {
            return Err(PullError::NotOnLedger { path: file.path.clone(), got: file.sha256, size_bytes: file.size_bytes });
        }
    }
    match records.iter().find(|record| !pulled.files().any(|file| same(file, record))) {
        None => Ok(()),
        Some(record) => Err(PullError::NotPulled { artifact: record.artifact.artifact_id.to_string() }),
    }
}

#[derive(Clone, Copy)]
enum Keep {
    Nothing,
    UpTo(usize),
}

async fn fetch(client: &Client, base: &str, path: String, keep: Keep) -> Result<(PulledFile, Vec<u8>), PullError> {
    let http = |source| PullError::Http { path: path.clone(), source };
    let answer = client.get(format!("{base}{path}")).header("accept", MANIFEST_TYPES).send().await;
    let mut answer = answer.and_then(Response::error_for_status).map_err(http)?;
    let (mut hasher, mut size_bytes, mut kept) = (Sha256::new(), 0, vec![]);
    while let Some(chunk) = answer.chunk().await.map_err(http)? {
        hasher.update(&chunk);
        size_bytes += chunk.len() as u64;
        if let Keep::UpTo(bytes_max) = keep {
            if kept.len() + chunk.len() > bytes_max {
                return Err(PullError::LargeManifest);
            }
            kept.extend_from_slice(&chunk);
        }
    }
    Ok((PulledFile { path, size_bytes, sha256: Sha256Digest::new(hasher.finalize().into()) }, kept))
}
