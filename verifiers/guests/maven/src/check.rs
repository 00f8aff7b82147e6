//! The check of one build output: every file belongs to the package that was asked for, the package is complete, and nothing in it says otherwise.
//!
//! Artifacts are in the order of their file names. Completeness follows the packaging of the pom (the Maven reference, "Introduction to the Build Lifecycle").

use pyrsia_verifier_kit::{Output, PublishedArtifact, Refusal};

use crate::checksum::Algorithm;
use crate::coordinate::Coordinate;
use crate::module::{self, Module};
use crate::output::{self, Kind, Side, whole};
use crate::pom::{self, Pom};

/// The contract's bound of an artifact id, in bytes.
const ARTIFACT_ID_BYTES_MAX: usize = 512;
/// The packaging of a project that has no file but its pom.
const PACKAGING_NONE: &str = "pom";
/// Extensions that belong to a packaging of another name.
const EXTENSIONS: [(&str, &str); 6] =
    [("war", "war"), ("ear", "ear"), ("rar", "rar"), ("aar", "aar"), ("sar", "sar"), ("har", "har")];
/// Extensions with a dot within, as deployments have them: those of Maven's archives, and of bills of materials. Of two that fit, the longer one is meant.
const EXTENSIONS_OF_PARTS: [&str; 16] = [
    "cdx.json",
    "cdx.xml",
    "jar.pack.gz",
    "pack.gz",
    "spdx.json",
    "spdx.rdf",
    "spdx.rdf.xml",
    "spdx.xml",
    "spdx.yaml",
    "tar.bz2",
    "tar.gz",
    "tar.lzma",
    "tar.snappy",
    "tar.xz",
    "tar.Z",
    "tar.zst",
];
const REPOSITORY_METADATA: &str = "maven-metadata.xml";
/// What stands behind a whole file name where that file is signed.
const SIGNATURES: [&str; 4] = ["asc", "sig", "sigstore", "sigstore.json"];
/// Packagings whose extension is the name's, or `jar`: those that plugins define.
const EXTENSION_DEFAULT: &str = "jar";

pub fn check(coordinate: &str, output: Output<'_>) -> Result<Vec<PublishedArtifact>, Refusal> {
    let coordinate = Coordinate::parse(coordinate)?;
    let mut side = Side::open(output)?;
    belongs(&side, &coordinate)?;
    complete(&side, &coordinate)?;
    let canonical = output::canonicalize(&mut side)?;
    let mut published: Vec<PublishedArtifact> = Vec::with_capacity(canonical.len());
    for (name, file) in side.files() {
        let form = canonical.get(file.index() as usize).expect("there is a form for every file, in the order of their numbers");
        published.push(PublishedArtifact {
            artifact_id: coordinate.artifact_id(name),
            file: file.index(),
            media_type: Kind::of(name).media_type(name).to_owned(),
            canonical_digest: form.canonical_digest.clone(),
            passes: form.passes.clone(),
        });
    }
    Ok(published)
}

/// Whether every file is one of this package: by its name, and by what it says of itself.
pub fn belongs(side: &Side<'_>, coordinate: &Coordinate) -> Result<(), Refusal> {
    for (name, file) in side.files() {
        let stem = coordinate.file_stem();
        FileName::parse(name, &stem).ok_or_else(|| stranger(name, coordinate))?;
        if coordinate.artifact_id(name).len() > ARTIFACT_ID_BYTES_MAX {
            let sentence = format!("The file's id would have more than {ARTIFACT_ID_BYTES_MAX} bytes.");
            return Err(Refusal::new("long-file-name", name, sentence));
        }
        match Kind::of(name) {
            Kind::Checksum(_) => {
                let base = Algorithm::of_file(name).map_or("", |(_, base)| base);
                if side.file(base).is_none() {
                    return Err(Refusal::new("orphan-checksum", name, format!("{base} is not among the build's files.")));
                }
            }
            Kind::Pom => {
                let pom = Pom::parse(&whole(file, pom::BYTES_MAX)?).map_err(|fault| fault.refusal(name))?;
                pom.check_coordinate(name, coordinate)?;
            }
            Kind::Module => {
                let bytes = whole(file, module::BYTES_MAX)?;
                Module::parse(&bytes).map_err(|fault| fault.refusal(name))?.check_coordinate(name, coordinate)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether there is a pom, and the file that its packaging promises.
fn complete(side: &Side<'_>, coordinate: &Coordinate) -> Result<(), Refusal> {
    let stem = coordinate.file_stem();
    let pom_name = format!("{stem}.pom");
    let Some(file) = side.file(&pom_name) else {
        return Err(Refusal::new("missing-pom", &pom_name, "The package's pom is not among the build's files."));
    };
    let pom = Pom::parse(&whole(file, pom::BYTES_MAX)?).map_err(|fault| fault.refusal(&pom_name))?;
    let packaging = pom.packaging();
    let mains: Vec<&str> = side
        .files()
        .filter_map(|(name, _)| FileName::parse(name, &stem))
        .filter(|name| name.classifier.is_none() && !name.is_checksum && !matches!(name.extension, "pom" | "module"))
        .map(|name| name.extension)
        .collect();
    if packaging == PACKAGING_NONE {
        return match mains.iter().find(|extension| archive_packaging(extension)) {
            Some(extension) => {
                let sentence = format!("The pom's packaging is {PACKAGING_NONE:?}, which has no {extension} file.");
                Err(Refusal::new("wrong-packaging", &format!("{stem}.{extension}"), sentence))
            }
            None => Ok(()),
        };
    }
    let known = EXTENSIONS.iter().find(|(name, _)| *name == packaging).map(|(_, extension)| *extension);
    let wanted = known.map_or_else(|| vec![EXTENSION_DEFAULT, packaging], |extension| vec![extension]);
    if packaging == EXTENSION_DEFAULT || known.is_some() {
        // A jar beside a war is another artifact under the same name.
        let other = mains.iter().find(|extension| archive_packaging(extension) && !wanted.contains(extension));
        if let Some(extension) = other {
            let sentence = format!("The pom's packaging is {packaging:?}, which has no {extension} file without a classifier.");
            return Err(Refusal::new("wrong-packaging", &format!("{stem}.{extension}"), sentence));
        }
    }
    if !mains.iter().any(|extension| wanted.contains(extension)) {
        let name = format!("{stem}.{}", wanted[0]);
        let sentence = format!("The pom's packaging is {packaging:?}, and this file is not among the build's files.");
        return Err(Refusal::new("missing-main-artifact", &name, sentence));
    }
    Ok(())
}

fn has_extension(name: &str, extension: &str) -> bool {
    name.strip_suffix(extension).is_some_and(|rest| rest.ends_with('.'))
}

fn archive_packaging(extension: &str) -> bool {
    extension == EXTENSION_DEFAULT || EXTENSIONS.iter().any(|(_, known)| *known == extension)
}

fn stranger(name: &str, coordinate: &Coordinate) -> Refusal {
    let bare = Algorithm::of_file(name).map_or(name, |(_, base)| base);
    if SIGNATURES.iter().any(|extension| has_extension(bare, extension)) {
        let sentence =
            "The file is a signature: no two builders make the same one, and what is published here is signed by all of them.";
        return Refusal::new("signature-file", name, sentence);
    }
    if bare == REPOSITORY_METADATA {
        return Refusal::new(
            "repository-metadata",
            name,
            "The file describes a repository and not this package; nodes make their own.",
        );
    }
    let stem = coordinate.file_stem();
    let sentence = format!(
        "The file is not one of the package's: their names are {stem}, a `-` and a classifier where there is one, and an extension, without folders."
    );
    Refusal::new("stranger", name, sentence)
}

/// A file's name, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileName<'n> {
    pub classifier: Option<&'n str>,
    pub extension: &'n str,
    pub is_checksum: bool,
}

impl<'n> FileName<'n> {
    /// `stem` is artifact id and version. An extension begins with a letter, so that version 1 does not take the files of version 1.2.
    pub fn parse(name: &'n str, stem: &str) -> Option<Self> {
        let (is_checksum, name) = match Kind::of(name) {
            Kind::Checksum(_) => (true, Algorithm::of_file(name)?.1),
            _ => (false, name),
        };
        // What a tool adds behind a whole name is no classifier.
        if SIGNATURES.iter().any(|extension| has_extension(name, extension)) {
            return None;
        }
        let rest = name.strip_prefix(stem)?;
        let of_parts = EXTENSIONS_OF_PARTS.into_iter().filter(|extension| has_extension(rest, extension)).max_by_key(|e| e.len());
        let at = of_parts.map_or_else(|| rest.rfind('.'), |extension| Some(rest.len() - extension.len() - 1))?;
        let extension = &rest[at + 1..];
        let classifier = match &rest[..at] {
            "" => None,
            classifier => Some(classifier.strip_prefix('-')?),
        };
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_extension = of_parts.is_some() || extension.starts_with(|c: char| c.is_ascii_alphabetic()) && is_word(extension);
        let is_classifier = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+'))
        };
        (is_extension && classifier.is_none_or(is_classifier)).then_some(Self { classifier, extension, is_checksum })
    }
}

#[cfg(test)]
mod tests;
