//! HTTP paths of package types: what a path stands for is said by the type's verifier, what is published by the ledger.
//!
//! Knows no package type and no HTTP. A document is made by the verifier from the records of the ledger and, where it asks for them, from published
//! files; those that cannot be had at the moment are left out, and it says so in its own way. One that lacks nothing is kept until a record changes.

pub(crate) mod documents;

use futures::{StreamExt, stream};
use pyrsia_ledger::projection::packages::ArtifactRecord;
use pyrsia_ledger::{ArtifactId, PackageCoordinate, PackageId, PackageType, Projections};
use pyrsia_verifiers::{
    Abstention, Document, DocumentSources, HttpTarget, InputFile, Outcome, PublishedRecord, Refusal, Verifier,
};

use crate::builds::wish::WishError;
use crate::handle::NodeHandle;
use crate::verification;

/// Records that one document is made from.
const RECORDS_MAX: usize = 20_000;
/// Files that are lent for one document, and what they may measure together.
const FILES_MAX: usize = 2_000;
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Files that are fetched at a time for one document.
const OPENED_AT_ONCE_MAX: usize = 8;

/// What a path stands for.
#[derive(Debug)]
pub enum MountTarget {
    Artifact { package_type: PackageType, id: ArtifactId, coordinate: PackageCoordinate },
    Document(MountedDocument),
}

/// A document that can be made.
#[derive(Debug)]
pub struct MountedDocument {
    verifier: Verifier,
    path: String,
    sources: DocumentSources,
}

#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error(transparent)]
    Wish(#[from] WishError),
    #[error("{0}")]
    NoDocument(Refusal),
    #[error("the verifier gave no answer: {0}")]
    Abstained(Abstention),
    #[error("more than {RECORDS_MAX} artifacts belong to this document")]
    TooLarge,
    #[error("this node is stopping")]
    Stopped,
}

impl NodeHandle {
    /// Whether a word is a package type of this node with paths of its own.
    pub fn has_mount(&self, word: &str) -> bool {
        let set = self.verifiers().set();
        set.preferred(word).is_some_and(|verifier| !verifier.description().http_paths.is_empty())
    }

    /// What a path below the mount of a package type stands for, if anything.
    pub async fn mounted(&self, package_type: &str, path: &str) -> Result<Option<MountTarget>, MountError> {
        let verifier = self.package_types_of_node().verifier(package_type).await?;
        let (asked, of_path) = (verifier.clone(), path.to_owned());
        let target = match tokio::task::spawn_blocking(move || asked.http_artifacts(&of_path)).await {
            Ok(Outcome::Done(target)) => target,
            Ok(Outcome::Refused(refusal)) => return Err(MountError::NoDocument(refusal)),
            Ok(Outcome::Abstained(abstention)) => return Err(MountError::Abstained(abstention)),
            Err(_) => return Err(MountError::Stopped),
        };
        let package_type = verifier.description().package_type.clone();
        Ok(target.map(|target| match target {
            HttpTarget::Artifact { artifact_id, coordinate } => MountTarget::Artifact {
                coordinate: PackageCoordinate { package_type: package_type.clone(), id: coordinate },
                package_type,
                id: artifact_id,
            },
            HttpTarget::Document(sources) => MountTarget::Document(MountedDocument { verifier, path: path.to_owned(), sources }),
        }))
    }

    /// Makes a document; `mount` is the address of the type's mount as the client knows it.
    pub async fn make_document(&self, document: MountedDocument, mount: &str) -> Result<Document, MountError> {
        let MountedDocument { verifier, path, sources } = document;
        let package_type = verifier.description().package_type.clone();
        let view = self.ledger();
        let state = view.state.as_deref().ok_or(WishError::NoNetwork)?;
        let mut records = published(state, &package_type, &sources)?;
        let name = documents::name(&verifier.digest(), &path, mount, &records);
        if let Some(document) = self.documents().get(&name) {
            return Ok(document);
        }
        let _place = self.documents().place().await.ok_or(MountError::Stopped)?;
        if let Some(document) = self.documents().get(&name) {
            return Ok(document);
        }
        let Lent { files, is_whole } = self.lend(&package_type, &sources, &mut records).await;
        let mount = mount.to_owned();
        match tokio::task::spawn_blocking(move || verifier.http_document(&path, &mount, &records, &files)).await {
            Ok(Outcome::Done(document)) => {
                if is_whole {
                    self.documents().keep(name, &document);
                }
                Ok(document)
            }
            Ok(Outcome::Refused(refusal)) => Err(MountError::NoDocument(refusal)),
            Ok(Outcome::Abstained(abstention)) => Err(MountError::Abstained(abstention)),
            Err(_) => Err(MountError::Stopped),
        }
    }

    /// Gets the files that the document is also made from, from other nodes where need be.
    async fn lend(&self, package_type: &PackageType, sources: &DocumentSources, records: &mut [PublishedRecord]) -> Lent {
        let (mut wanted, mut left) = (Vec::new(), FILE_BYTES_MAX);
        let suffix = sources.lent_suffix.as_deref();
        let of_suffix = |record: &PublishedRecord| suffix.is_some_and(|suffix| record.artifact_id.as_str().ends_with(suffix));
        for (index, record) in records.iter().enumerate().filter(|(_, record)| of_suffix(record)) {
            if wanted.len() == FILES_MAX || record.size_bytes > left {
                tracing::warn!(artifact = %record.artifact_id, "a document is made without this artifact and those after it: there are too many");
                break;
            }
            left -= record.size_bytes;
            wanted.push((index, record.artifact_id.clone()));
        }
        let open = |(index, id)| async move { (index, self.open_artifact(package_type, &id).await) };
        let mut opened = stream::iter(wanted).map(open).buffered(OPENED_AT_ONCE_MAX);
        let (mut files, mut is_whole) = (Vec::new(), true);
        while let Some((index, outcome)) = opened.next().await {
            let record = &mut records[index];
            match outcome {
                Ok(opened) if opened.sha256 == record.sha256 => {
                    record.file = Some(files.len());
                    let path = self.store().blob_path(&record.sha256);
                    files.push(InputFile { name: record.artifact_id.to_string(), path, size_bytes: record.size_bytes });
                }
                Ok(_) => is_whole = false,
                Err(error) => {
                    is_whole = false;
                    tracing::debug!(artifact = %record.artifact_id, %error, "a document is made without an artifact");
                }
            }
        }
        Lent { files, is_whole }
    }
}

/// The files of a document.
struct Lent {
    files: Vec<InputFile>,
    /// Whether everything that could be had some other time is there.
    is_whole: bool,
}

fn published(
    state: &Projections,
    package_type: &PackageType,
    sources: &DocumentSources,
) -> Result<Vec<PublishedRecord>, MountError> {
    // What is no id begins none.
    let Ok(prefix) = PackageId::new(sources.coordinate_prefix.clone()) else { return Ok(vec![]) };
    let record = |(coordinate, record): (&PackageCoordinate, &ArtifactRecord)| {
        let artifact = &record.artifact;
        PublishedRecord {
            coordinate: coordinate.id.clone(),
            artifact_id: artifact.artifact_id.clone(),
            media_type: artifact.media_type.clone(),
            size_bytes: artifact.size_bytes,
            sha256: artifact.sha256,
            file: None,
        }
    };
    // A document names nothing that its reader would be refused.
    let served = |(_, record): &(&PackageCoordinate, &ArtifactRecord)| {
        verification::verdict(state, package_type, &record.artifact.artifact_id).is_ok()
    };
    let records = state.packages.published_with_prefix(package_type, &prefix).filter(served);
    let records: Vec<_> = records.take(RECORDS_MAX + 1).map(record).collect();
    if records.len() > RECORDS_MAX { Err(MountError::TooLarge) } else { Ok(records) }
}
