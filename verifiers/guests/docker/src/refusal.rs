//! Why an output or a coordinate is not acceptable, in the words of the contract.

/// See `refusal` in `wit/v1/verifier.wit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: &'static str,
    pub subject: String,
    pub sentence: String,
}

/// How much of a subject is repeated: a builder chooses file names and a person types coordinates.
const SUBJECT_CHARS_MAX: usize = 300;

impl Refusal {
    pub fn new(code: &'static str, subject: &str, sentence: impl Into<String>) -> Self {
        Self { code, subject: subject.chars().take(SUBJECT_CHARS_MAX).collect(), sentence: sentence.into() }
    }
}
