//! The contract `wit/v1/verifier.wit` as Rust, generated; the comments there are the specification.

wit_bindgen::generate!({
    world: "verifier",
    path: "../../../wit/v1",
    pub_export_macro: true,
    additional_derives: [Clone, PartialEq, Eq],
});

pub use exports::pyrsia::verifier::verification::{
    CanonicalFile, Comparison, Description, Difference, DifferenceReport, Document, DocumentSources, Finding, Guest,
    HttpArtifact, HttpTarget, Pass, PublishedArtifact, PublishedRecord, Refusal,
};
pub use pyrsia::verifier::log;

/// How much of a subject is repeated: a builder chooses file names and a person types coordinates.
const SUBJECT_CHARS_MAX: usize = 300;

impl Refusal {
    /// `code` is stable within the verifier; `sentence` is whole and for the person who has to put it right.
    pub fn new(code: &str, subject: &str, sentence: impl Into<String>) -> Self {
        Self { code: code.into(), subject: subject.chars().take(SUBJECT_CHARS_MAX).collect(), sentence: sentence.into() }
    }
}

impl Finding {
    pub fn new(code: &str, subject: &str, sentence: impl Into<String>) -> Self {
        Self { code: code.into(), subject: subject.chars().take(SUBJECT_CHARS_MAX).collect(), sentence: sentence.into() }
    }
}

impl Pass {
    pub fn new(name: &str, forgives: &str) -> Self {
        Self { name: name.into(), forgives: forgives.into() }
    }
}
