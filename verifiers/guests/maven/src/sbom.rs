//! Bills of materials beside a package or within one: CycloneDX in JSON and XML, and SPDX 2 in JSON.
//!
//! Owns which files are taken for one, by their names, and what comparison sees of one. JSON that readers could understand in two ways is not read; everything
//! else that is no such document is compared as it is.

use pyrsia_verifier_kit::unreadable::Result;

use crate::checksum::Algorithm;
use crate::json_values::{Document, Step, Value};
use crate::module::Beside;
use crate::passes::PassSet;

mod cyclonedx;
mod spdx;

/// Larger ones are not read.
pub const BYTES_MAX: u64 = 16 << 20;

/// What plugins call the files they write, as a file of a package or in an archive.
const SUFFIXES: [(&[u8], Format); 5] = [
    (b"-cyclonedx.json", Format::Json),
    (b".cdx.json", Format::Json),
    (b".spdx.json", Format::Json),
    (b"-cyclonedx.xml", Format::Xml),
    (b".cdx.xml", Format::Xml),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    Json,
    Xml,
}

impl Format {
    pub fn of(name: &[u8]) -> Option<Self> {
        SUFFIXES.iter().find(|(suffix, _)| name.ends_with(suffix)).map(|(_, format)| *format)
    }
}

/// What is compared of a document, and what was forgiven on the way.
#[derive(Debug, PartialEq, Eq)]
pub struct Canonical {
    pub text: Vec<u8>,
    pub passes: PassSet,
}

/// The form that equal documents have; none for another kind of document. `beside` finds a file by its name, and none for what lies in an archive.
pub fn canonical<'f>(bytes: &[u8], format: Format, beside: impl Fn(&str) -> Option<&'f Beside>) -> Result<Option<Canonical>> {
    if format == Format::Xml {
        return Ok(cyclonedx::canonical_xml(bytes));
    }
    let document = document(bytes)?;
    Ok(cyclonedx::canonical_json(&document).or_else(|| spdx::canonical(&document, beside)))
}

/// The files beside it that it has checksums of, and by which algorithms.
pub fn described(bytes: &[u8]) -> Result<Vec<(String, Algorithm)>> {
    Ok(spdx::described(&document(bytes)?))
}

fn document(bytes: &[u8]) -> Result<Document<'_>> {
    Document::parse(bytes, |path, written| cyclonedx::is_looked_at(path) || spdx::is_looked_at(path, written))
}

fn is_key(step: &Step, wanted: &str) -> bool {
    matches!(step, Step::Key(key) if key == wanted)
}

/// A string that is there and not empty already.
fn told<'d>(document: &'d Document<'_>, path: &[&str]) -> Option<&'d Value> {
    document.at(path).filter(|value| document.string(value).is_some_and(|text| !text.is_empty()))
}
