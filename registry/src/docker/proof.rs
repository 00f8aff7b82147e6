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
use crate::management::proofs;
use crate::places::Places;
use crate::server::Front;
use poem::{Request, Response};
use pyrsia_ledger::projection::packages::ArtifactRecord;
use pyrsia_ledger::publication_proof::{ProveError, PublicationProof};
use pyrsia_ledger::{ArtifactId, BuildId, Height, Projections, Sha256Digest};
use pyrsia_node::{ArtifactError, NodeHandle};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{HashSet, VecDeque};
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
/// The proofs that are made for one such search; the next one goes on behind them.
const MADE_PER_SEARCH_MAX: usize = 4;
/// The builds that are known to have no proof at the newest block, of 16 bytes each.
const FAILURES_KEPT_MAX: usize = 16_384;

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

/// The proofs that were asked for last, and those that cannot be made.
pub(crate) struct Proofs {
    kept: Arc<Mutex<Kept>>,
}

enum Known {
    File(Arc<ProofFile>),
    /// It was tried, and nothing came to the ledger since.
    Failed,
}

#[derive(Default)]
struct Kept {
    /// The newest last.
    files: VecDeque<(BuildId, Arc<ProofFile>)>,
    bytes: usize,
    /// Builds whose proof cannot be made of the ledger up to the block `failed_at`.
    failed: HashSet<BuildId>,
    failed_at: Height,
}

impl Proofs {
    pub(crate) fn new() -> Self {
        Self { kept: Arc::default() }
    }

    fn known(&self, build: &BuildId, tip: Height) -> Option<Known> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).known(build, tip)
    }

    /// The file of a build's proof; none when it cannot be made.
    async fn of(&self, node: &NodeHandle, proving: &Places, build: BuildId) -> Result<Option<Arc<ProofFile>>, DockerError> {
        let state = node.ledger().state.clone().ok_or_else(no_network)?;
        let tip = state.height();
        if let Some(known) = self.known(&build, tip) {
            return Ok(known.file());
        }
        let place = proving.take().await.map_err(|busy| DockerError::Unavailable(busy.to_string()))?;
        if let Some(known) = self.known(&build, tip) {
            return Ok(known.file());
        }
        let kept = self.kept.clone();
        // Kept even for a client that went away meanwhile: it, or another one, asks again.
        let keep = move |proof: Result<PublicationProof, ProveError>| {
            let made = proof.map(|proof| Arc::new(ProofFile::new(proof.to_text().into_bytes())));
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            match made {
                Ok(file) => {
                    kept.keep(build, file.clone());
                    Some(file)
                }
                Err(reason) => {
                    tracing::warn!(%build, %reason, "a proof of publication cannot be made");
                    kept.keep_failure(build, tip);
                    None
                }
            }
        };
        let stopping = || DockerError::Unavailable("the node is stopping".into());
        proofs::prove(place, node, state, build, None, keep).await.ok_or_else(stopping)
    }

    /// What `wanted` makes of the first proof of these subjects that it wants. Only few proofs are made for it: whoever asks for digests
    /// at random must not keep the node busy.
    async fn search<T>(
        &self,
        node: &NodeHandle,
        proving: &Places,
        subjects: &[Subject],
        wanted: impl Fn(&Subject, &ProofFile) -> Option<T>,
    ) -> Result<Option<T>, DockerError> {
        let tip = node.ledger().state.as_ref().ok_or_else(no_network)?.height();
        let mut unknown = vec![];
        for subject in subjects {
            match self.known(&subject.record.build_id, tip) {
                Some(Known::File(file)) => {
                    if let Some(found) = wanted(subject, &file) {
                        return Ok(Some(found));
                    }
                }
                // One that cannot be made must not hide the others.
                Some(Known::Failed) => {}
                None => unknown.push(subject),
            }
        }
        let mut made = HashSet::new();
        for subject in unknown {
            let build = subject.record.build_id;
            if made.len() == MADE_PER_SEARCH_MAX && !made.contains(&build) {
                return Err(DockerError::Unavailable(
                    "too many proofs of this repository are still to be made, try again later".into(),
                ));
            }
            made.insert(build);
            let file = self.of(node, proving, build).await?;
            if let Some(found) = file.and_then(|file| wanted(subject, &file)) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl Known {
    fn file(self) -> Option<Arc<ProofFile>> {
        match self {
            Self::File(file) => Some(file),
            Self::Failed => None,
        }
    }
}

impl Kept {
    fn known(&self, build: &BuildId, tip: Height) -> Option<Known> {
        let file = self.files.iter().find(|(of, _)| of == build).map(|(_, file)| Known::File(file.clone()));
        file.or_else(|| (self.failed_at == tip && self.failed.contains(build)).then_some(Known::Failed))
    }

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

    fn keep_failure(&mut self, build: BuildId, tip: Height) {
        if self.failed_at != tip || self.failed.len() >= FAILURES_KEPT_MAX {
            self.failed.clear();
            self.failed_at = tip;
        }
        self.failed.insert(build);
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
    let build = subject.record.build_id;
    let file = front.proofs.of(&front.node, &front.proving, build).await?;
    let unmade = || DockerError::Unavailable(format!("the proof of publication of build {build} cannot be made right now"));
    let file = file.ok_or_else(unmade)?;
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
    let wanted = |subject: &Subject, file: &ProofFile| {
        let Attached { bytes, .. } = Attached::new(&subject.record, file);
        (Sha256Digest::of(&bytes) == *digest).then(|| (subject.clone(), bytes))
    };
    let subjects = newest_subjects(front, name)?;
    let found = front.proofs.search(&front.node, &front.proving, &subjects, wanted).await?;
    Ok(found.map(|(subject, bytes)| answer(request, &bytes, MANIFEST_TYPE, &subject, MANIFEST_FORM)))
}

/// Answers with the file of a proof in this repository, or the configuration of its manifest, if the digest is one's.
pub(super) async fn blob(
    front: &Front,
    request: &Request,
    name: &Name,
    digest: &Sha256Digest,
) -> Result<Option<Response>, DockerError> {
    let subjects = newest_subjects(front, name)?;
    if *digest == Sha256Digest::of(EMPTY) {
        return Ok(subjects.first().map(|subject| answer(request, EMPTY, EMPTY_TYPE, subject, BLOB_FORM)));
    }
    let wanted = |subject: &Subject, file: &ProofFile| {
        (file.sha256 == *digest).then(|| answer(request, &file.bytes, ARTIFACT_TYPE, subject, BLOB_FORM))
    };
    front.proofs.search(&front.node, &front.proving, &subjects, wanted).await
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
