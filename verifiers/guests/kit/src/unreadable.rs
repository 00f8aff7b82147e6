//! The one fault of every reader here: bytes that do not mean one thing to everybody.

use std::io;

use crate::contract::Refusal;

/// Bytes that are damaged, ambiguous, or beyond a bound. Says what is wrong, as a sentence without its full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

pub type Result<T> = std::result::Result<T, Unreadable>;

impl Unreadable {
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// With the place where it was found in front: `layer 3: entry usr/bin: …`.
    pub fn within(self, place: impl std::fmt::Display) -> Self {
        Self(format!("{place}: {}", self.0))
    }

    /// As an answer.
    pub fn refusal(&self, subject: &str) -> Refusal {
        Refusal::new("unreadable", subject, format!("It cannot be read without doubt: {}.", self.0))
    }
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

/// Readers are stacked through [`io::Read`], so that a fault travels as an [`io::Error`] from the innermost to the outermost.
impl From<Unreadable> for io::Error {
    fn from(unreadable: Unreadable) -> Self {
        Self::other(unreadable)
    }
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(unreadable) => unreadable,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Self::new("it ends too early"),
            Err(error) => Self::new(error.to_string()),
        }
    }
}
