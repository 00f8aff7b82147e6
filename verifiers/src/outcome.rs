//! What goes into a call and what can come out of it.

use std::path::PathBuf;
use std::time::Duration;

use pyrsia_ledger::{ArtifactId, PackageId, PackageType, Sha256Digest};
use serde::Serialize;

/// What a verifier is for, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    pub package_type: PackageType,
    pub aliases: Vec<PackageType>,
    /// One sentence on how a coordinate is written.
    pub coordinate_syntax: String,
    pub examples: Vec<String>,
    /// Every pass an answer may name, in the order in which they run.
    pub passes: Vec<Pass>,
    /// The paths below the type's mount that mean something, for people. None: the type has no mount.
    pub http_paths: Vec<String>,
}

/// One closed list of differences that mean nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pass {
    pub name: String,
    /// One sentence.
    pub forgives: String,
}

/// One file of a build's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// As the builder calls it.
    pub name: String,
    /// Where its bytes are; the component never sees this.
    pub path: PathBuf,
    /// What the file must still measure when it is read.
    pub size_bytes: u64,
}

/// The three ways a call ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome<T> {
    Done(T),
    /// The verifier says no.
    Refused(Refusal),
    /// There is no verdict. It says nothing about the build.
    Abstained(Abstention),
}

impl<T> Outcome<T> {
    /// The answer, when there is one.
    pub fn done(self) -> Option<T> {
        match self {
            Self::Done(answer) => Some(answer),
            Self::Refused(_) | Self::Abstained(_) => None,
        }
    }
}

/// Why a coordinate or an output is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{sentence} ({code}: {subject})")]
pub struct Refusal {
    pub code: String,
    /// The coordinate, or the file, or the artifact.
    pub subject: String,
    pub sentence: String,
}

/// Why there is no verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Abstention {
    #[error("the verifier used up its {limit} units of fuel")]
    OutOfFuel { limit: u64 },
    #[error("the verifier asked for {asked} bytes of memory, {limit} are allowed")]
    OutOfMemory { asked: u64, limit: u64 },
    #[error("the verifier asked for {asked} table elements, {limit} are allowed")]
    OutOfTable { asked: u64, limit: u64 },
    #[error("the verifier read or hashed more than {limit} bytes of its input")]
    OutOfInput { limit: u64 },
    #[error("the verifier hashed more than {limit} bytes of its own making")]
    OutOfHashing { limit: u64 },
    #[error("the verifier gave no answer within {limit:?}")]
    Deadline { limit: Duration },
    #[error("the verifier handed over more than {limit} bytes at once")]
    OutputTooLarge { limit: u64 },
    #[error("the verifier crashed: {0}")]
    Trap(String),
    #[error("the verifier broke its contract: {0}")]
    BrokenContract(String),
    #[error("the build has {count} files, a verifier is lent at most {limit}")]
    TooManyFiles { count: usize, limit: usize },
    #[error("the file {name:?} of the build cannot be read: {reason}")]
    Io { name: String, reason: String },
}

/// One artifact that a checked output publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublishedArtifact {
    /// Distinct within one answer, and fit for the ledger's `ArtifactId`.
    pub artifact_id: String,
    /// Which of the call's files; always a valid index.
    pub file: usize,
    pub media_type: String,
    /// What builders' results are compared by.
    pub canonical: Sha256Digest,
    /// The normalisation passes that changed anything.
    pub passes: Vec<String>,
}

/// One file as comparison sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CanonicalFile {
    /// Which of the call's files; each is there once, in order.
    pub file: usize,
    pub canonical: Sha256Digest,
    pub passes: Vec<String>,
    pub findings: Vec<Finding>,
}

/// What a person should know about an artifact although it is acceptable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub code: String,
    pub subject: String,
    pub sentence: String,
}

/// What two outputs are to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Comparison {
    Identical,
    SameAfter {
        passes: Vec<String>,
    },
    Different(DifferenceReport),
    /// One of the two cannot be read without doubt.
    Undecidable(Refusal),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DifferenceReport {
    pub differences: Vec<Difference>,
    /// How many more there are.
    pub omitted: u64,
}

/// One thing that is not the same, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub artifact: String,
    /// From the outside in.
    pub path: Vec<String>,
    pub what: String,
    pub a: Option<String>,
    pub b: Option<String>,
}

/// What a path below the type's mount stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpTarget {
    Artifact {
        artifact_id: ArtifactId,
        /// What may be asked to be built when it is not published.
        coordinate: PackageId,
    },
    Document(DocumentSources),
}

/// What a verifier wants to know to make a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentSources {
    /// The packages whose coordinate begins with this.
    pub coordinate_prefix: String,
    /// Of their artifacts, those to lend as files.
    pub lent_suffix: Option<String>,
}

/// A published artifact, as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedRecord {
    pub coordinate: PackageId,
    pub artifact_id: ArtifactId,
    pub media_type: String,
    pub size_bytes: u64,
    pub sha256: Sha256Digest,
    /// Which of the call's files has its bytes.
    pub file: Option<usize>,
}

/// What a verifier made of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub media_type: String,
    pub body: Vec<u8>,
}
