//! A difference report under construction: bounded, in a fixed order, with texts that fit.

use crate::contract::{Comparison, Difference, DifferenceReport};
use crate::hash::{Sha256, hex};

/// The contract's bound of a report.
pub const DIFFERENCES_MAX: usize = 1000;
/// The contract's bound of one text is 1000 characters; this leaves room for the sign of a cut.
const TEXT_CHARS_MAX: usize = 300;

/// What differs between two outputs, artifact by artifact.
#[derive(Clone, Debug, Default)]
pub struct Report {
    artifact: String,
    /// The place inside the artifact that is being compared.
    path: Vec<String>,
    differences: Vec<Difference>,
    omitted: u64,
}

impl Report {
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins with another artifact.
    pub fn artifact(&mut self, artifact: &str) {
        self.artifact = cut(artifact);
        self.path.clear();
    }

    /// Adds what `compare` finds at a place within the present one: a layer, an entry, an attribute.
    pub fn within<T>(&mut self, place: &str, compare: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(cut(place));
        let outcome = compare(self);
        self.path.pop();
        outcome
    }

    /// Something both have, and differently.
    pub fn differs(&mut self, what: &str, a: &str, b: &str) {
        self.add(what, Some(a), Some(b));
    }

    /// The same, if it is different.
    pub fn compare<T: PartialEq + std::fmt::Display>(&mut self, what: &str, a: T, b: T) {
        if a != b {
            self.differs(what, &a.to_string(), &b.to_string());
        }
    }

    /// Contents that differ, by their digests.
    pub fn content(&mut self, a: (u64, &Sha256), b: (u64, &Sha256)) {
        let text = |(size, sha256): (u64, &Sha256)| format!("{size} bytes, sha256 {}", hex(sha256));
        self.differs("content", &text(a), &text(b));
    }

    pub fn only_in_a(&mut self, what: &str) {
        self.add("only in A", Some(what), None);
    }

    pub fn only_in_b(&mut self, what: &str) {
        self.add("only in B", None, Some(what));
    }

    /// Counts differences that were not looked for any further.
    pub fn omit(&mut self, count: u64) {
        self.omitted = self.omitted.saturating_add(count);
    }

    pub fn is_empty(&self) -> bool {
        self.differences.is_empty() && self.omitted == 0
    }

    /// Whether nothing more fits, so that looking on only counts.
    pub fn is_full(&self) -> bool {
        self.differences.len() >= DIFFERENCES_MAX
    }

    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }

    /// An answer "different". The report has at least one difference by now; if not, the guest says that about the whole.
    pub fn into_comparison(mut self) -> Comparison {
        if self.differences.is_empty() {
            self.differs("canonical form", "differs", "differs");
        }
        Comparison::Different(DifferenceReport { differences: self.differences, omitted: self.omitted })
    }

    fn add(&mut self, what: &str, a: Option<&str>, b: Option<&str>) {
        if self.is_full() {
            self.omit(1);
            return;
        }
        let (artifact, path) = (self.artifact.clone(), self.path.clone());
        self.differences.push(Difference { artifact, path, what: cut(what), a: a.map(cut), b: b.map(cut) });
    }
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(TEXT_CHARS_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}
