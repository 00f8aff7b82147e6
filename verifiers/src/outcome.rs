//! What goes into a call and what can come out of it.

use std::path::PathBuf;
use std::time::Duration;

use pyrsia_ledger::{PackageType, Sha256Digest};
use serde::Serialize;

/// What a verifier is for, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    pub package_type: PackageType,
    pub aliases: Vec<PackageType>,
    /// One sentence on how a coordinate is written.
    pub coordinate_syntax: String,
    pub examples: Vec<String>,
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
