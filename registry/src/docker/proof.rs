//! The proof of publication of an image as an OCI artifact: a manifest whose subject is the image and whose only layer is the proof's file (OCI image
//! specification 1.1, "Guidelines for Artifact Usage").
//!
//! Both are made on demand and are the same bytes each time, as long as no newer build of the image is published: they can be had by digest after a restart,
//! though nothing keeps their names. A proof is of a build, so all manifests of an image of several platforms share one file.

use super::error::DockerError;
use super::manifest::is_manifest;
use super::path::{Digest, Name};
use super::{CONTENT_DIGEST, artifact_id, package_type, warning, withheld};
use crate::content::{self, Form, MediaType};
use crate::server::Front;
use poem::{Request, Response};
use pyrsia_ledger::projection::packages::ArtifactRecord;
use pyrsia_ledger::publication_proof::{ProveError, PublicationProof};
use pyrsia_ledger::{ArtifactId, BuildId, Projections, Sha256Digest};
use pyrsia_node::ArtifactError;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// What kind of artifact it is, and the media type of the file.
pub(super) const ARTIFACT_TYPE: &str = "application/vnd.pyrsia.proof.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The configuration of an artifact that has none, and its only bytes.
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";
const EMPTY_BASE64: &str = "e30=";
/// What clients save the file as.
const FILE_NAME: &str = "proof.json";

/// The files of proofs that are kept, in bytes: one has some tens of kilobytes.
const KEPT_BYTES_MAX: usize = 16 << 20;
/// The images of a repository, newest first, whose proofs a digest that nothing else has is looked for among.
const SUBJECTS_SEARCHED_MAX: usize = 64;

const MANIFEST_FORM: &Form = &Form { media_type: MediaType::Recorded, ranges: false, digest_header: Some(CONTENT_DIGEST) };
const BLOB_FORM: &Form = &Form { media_type: MediaType::OctetStream, ranges: true, digest_header: Some(CONTENT_DIGEST) };

/// The file of a proof.
#[derive(Debug)]
struct ProofFile {
    bytes: Vec<u8>,
    sha256: Sha256Digest,
}

impl ProofFile {
    fn new(bytes: Vec<u8>) -> Self {
        Self { sha256: Sha256Digest::of(&bytes), bytes }
    }
}

/// The proofs that were asked for last.
pub(crate) struct Proofs {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    /// The newest last.
    files: VecDeque<(BuildId, Arc<ProofFile>)>,
    bytes: usize,
}

impl Proofs {
    pub(crate) fn new() -> Self {
        Self { kept: Arc::default() }
    }

    fn kept(&self, build: &BuildId) -> Option<Arc<ProofFile>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.files.iter().find(|(of, _)| of == build).map(|(_, file)| file.clone())
    }

    async fn of(&self, front: &Front, build: BuildId) -> Result<Arc<ProofFile>, DockerError> {
        if let Some(file) = self.kept(&build) {
            return Ok(file);
        }
        let place = front.proving.place().await;
        if let Some(file) = self.kept(&build) {
            return Ok(file);
        }
        let state = front.node.ledger().state.clone().ok_or_else(no_network)?;
        let kept = self.kept.clone();
        // Kept even for a client that went away meanwhile: it, or another one, asks again.
        let keep = move |proof: Result<PublicationProof, ProveError>| {
            let file = Arc::new(ProofFile::new(proof?.to_text().into_bytes()));
            kept.lock().unwrap_or_else(PoisonError::into_inner).keep(build, file.clone());
            Ok::<_, ProveError>(file)
        };
        let reason = match place.prove(&front.node, state, build, None, keep).await {
            Some(Ok(file)) => return Ok(file),
            Some(Err(error)) => error.to_string(),
            None => "the node is stopping".to_owned(),
        };
        tracing::warn!(%build, reason, "a proof of publication cannot be made");
        Err(DockerError::Unavailable(format!("the proof of publication of build {build} cannot be made right now")))
    }
}

impl Kept {
    fn keep(&mut self, build: BuildId, file: Arc<ProofFile>) {
        // Two can make the same at once.
        if self.files.iter().any(|(of, _)| *of == build) {
            return;
        }
        self.bytes += file.bytes.len();
        self.files.push_back((build, file));
        while self.bytes > KEPT_BYTES_MAX && self.files.len() > 1 {
            self.bytes -= self.files.pop_front().map_or(0, |(_, file)| file.bytes.len());
        }
    }
}

fn no_network() -> DockerError {
    withheld(ArtifactError::NoNetwork, || unreachable!("the node follows no network"))
}

/// A published manifest, that of an image or of several platforms.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    record: ArtifactRecord,
    /// Why it is not given out itself, if it is at risk.
    pub(super) risk: Option<String>,
}

/// The published manifest with this digest, if there is one.
pub(super) fn subject(front: &Front, name: &Name, digest: &Digest) -> Result<Option<Subject>, DockerError> {
    let view = front.node.ledger();
    let state = view.state.as_deref().ok_or_else(no_network)?;
    Ok(subject_of(front, state, &artifact_id(digest.id_in(name))))
}

fn subject_of(front: &Front, state: &Projections, id: &ArtifactId) -> Option<Subject> {
    let (_, record) =
        state.packages.artifact(&package_type(), id).filter(|(_, record)| is_manifest(&record.artifact.media_type))?;
    let risk = match front.node.artifact_record(&package_type(), id) {
        Err(error @ ArtifactError::AtRisk(_)) => Some(error.to_string()),
        _ => None,
    };
    Some(Subject { record: record.clone(), risk })
}

/// The manifest that attaches a proof to its subject.
pub(super) struct Attached {
    bytes: Vec<u8>,
    annotations: Annotations,
}

pub(super) async fn attached_to(front: &Front, subject: &Subject) -> Result<Attached, DockerError> {
    let file = front.proofs.of(front, subject.record.build_id).await?;
    Ok(Attached::new(&subject.record, &file))
}

/// A descriptor (OCI image specification 1.1, "Content Descriptors").
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
}

impl Descriptor {
    fn of(media_type: &str, sha256: &Sha256Digest, size: u64) -> Self {
        let (media_type, digest) = (media_type.to_owned(), sha256.to_oci());
        Self { media_type, digest, size, artifact_type: None, data: None, annotations: None }
    }
}

/// In the order in which they are written: the bytes have a digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Annotations {
    #[serde(rename = "io.pyrsia.build", skip_serializing_if = "Option::is_none")]
    build: Option<String>,
    #[serde(rename = "io.pyrsia.height", skip_serializing_if = "Option::is_none")]
    height: Option<String>,
    #[serde(rename = "org.opencontainers.image.created", skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(rename = "org.opencontainers.image.title", skip_serializing_if = "Option::is_none")]
    title: Option<&'static str>,
}

/// An image manifest that is an artifact's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'static str,
    artifact_type: &'static str,
    config: Descriptor,
    layers: [Descriptor; 1],
    subject: Descriptor,
    annotations: &'a Annotations,
}

impl Attached {
    fn new(record: &ArtifactRecord, file: &ProofFile) -> Self {
        let annotations = Annotations {
            build: Some(record.build_id.to_string()),
            height: Some(record.height.to_string()),
            created: Some(time(record.time_ms)),
            title: None,
        };
        let config =
            Descriptor { data: Some(EMPTY_BASE64), ..Descriptor::of(EMPTY_TYPE, &Sha256Digest::of(EMPTY), EMPTY.len() as u64) };
        let title = Annotations { title: Some(FILE_NAME), ..Annotations::default() };
        let layer = Descriptor::of(ARTIFACT_TYPE, &file.sha256, file.bytes.len() as u64);
        let artifact = &record.artifact;
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE,
            artifact_type: ARTIFACT_TYPE,
            config,
            layers: [Descriptor { annotations: Some(title), ..layer }],
            subject: Descriptor::of(&artifact.media_type, &artifact.sha256, artifact.size_bytes),
            annotations: &annotations,
        };
        Self { bytes: serde_json::to_vec(&manifest).expect("text serializes"), annotations }
    }

    /// How the referrers of its subject name it.
    pub(super) fn descriptor(self) -> Descriptor {
        let described = Descriptor::of(MANIFEST_TYPE, &Sha256Digest::of(&self.bytes), self.bytes.len() as u64);
        Descriptor { artifact_type: Some(ARTIFACT_TYPE), annotations: Some(self.annotations), ..described }
    }
}

/// As RFC 3339 writes it.
fn time(time_ms: u64) -> String {
    let time = i64::try_from(time_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.unwrap_or_default().to_string()
}

/// Answers with the manifest of a proof in this repository, if the digest is one's.
pub(super) async fn manifest(
    front: &Front,
    request: &Request,
    name: &Name,
    digest: &Sha256Digest,
) -> Result<Option<Response>, DockerError> {
    for subject in newest_subjects(front, name)? {
        // One that cannot be made must not hide the others.
        let Ok(Attached { bytes, .. }) = attached_to(front, &subject).await else { continue };
        if Sha256Digest::of(&bytes) == *digest {
            return Ok(Some(answer(request, &bytes, MANIFEST_TYPE, &subject, MANIFEST_FORM)));
        }
    }
    Ok(None)
}

/// Answers with the file of a proof in this repository, or the configuration of its manifest, if the digest is one's.
pub(super) async fn blob(
    front: &Front,
    request: &Request,
    name: &Name,
    digest: &Sha256Digest,
) -> Result<Option<Response>, DockerError> {
    let empty = *digest == Sha256Digest::of(EMPTY);
    for subject in newest_subjects(front, name)? {
        if empty {
            return Ok(Some(answer(request, EMPTY, EMPTY_TYPE, &subject, BLOB_FORM)));
        }
        let Ok(file) = front.proofs.of(front, subject.record.build_id).await else { continue };
        if file.sha256 == *digest {
            return Ok(Some(answer(request, &file.bytes, ARTIFACT_TYPE, &subject, BLOB_FORM)));
        }
    }
    Ok(None)
}

fn answer(request: &Request, bytes: &[u8], media_type: &str, subject: &Subject, form: &Form) -> Response {
    let mut response = content::answer_made(request, bytes, media_type, subject.record.time_ms, form);
    if let Some(risk) = &subject.risk {
        warning::add(&mut response, risk);
    }
    response
}

fn newest_subjects(front: &Front, name: &Name) -> Result<Vec<Subject>, DockerError> {
    let view = front.node.ledger();
    let state = view.state.as_deref().ok_or_else(no_network)?;
    let docker = package_type();
    let prefix = artifact_id(format!("{name}@"));
    let of_name = state.packages.artifact_ids(&docker, &prefix).take_while(|id| id.as_str().starts_with(prefix.as_str()));
    let with_height = |id| state.packages.artifact(&docker, id).map(|(_, record)| (Reverse(record.height), id));
    let mut newest: Vec<_> = of_name.filter_map(with_height).collect();
    newest.sort_unstable();
    Ok(newest.into_iter().filter_map(|(_, id)| subject_of(front, state, id)).take(SUBJECTS_SEARCHED_MAX).collect())
}

#[cfg(test)]
mod tests;
