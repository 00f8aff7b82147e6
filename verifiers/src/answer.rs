//! What a component answered, checked against the contract before anyone sees it.
//!
//! A component is trusted with its verdict and with nothing else: texts are cut and made harmless, numbers are within their bounds, names are ones the
//! ledger can hold, passes are those it described. Anything else is an [`Abstention`].

use std::collections::BTreeSet;

use pyrsia_ledger::{ArtifactId, PackageId, PackageType, Sha256Digest};

use crate::contract::exports::pyrsia::verifier::verification;
use crate::limits;
use crate::outcome::{
    Abstention, CanonicalFile, Comparison, Description, Difference, DifferenceReport, Document, DocumentSources, Finding,
    HttpTarget, Pass, PublishedArtifact, Refusal,
};

type Checked<T> = Result<T, Abstention>;

/// The contract's bound of the code of a refusal and the name of a pass.
const WORD_BYTES_MAX: usize = 64;
const MEDIA_TYPE_BYTES_MAX: usize = 255;

fn broken<T>(what: impl Into<String>) -> Checked<T> {
    Err(Abstention::BrokenContract(what.into()))
}

pub(crate) fn description(described: verification::Description) -> Checked<Description> {
    let verification::Description { package_type, aliases, coordinate_syntax, examples, passes, http_paths } = described;
    let word = |text: String| match PackageType::new(text) {
        Ok(word) => Ok(word),
        Err(error) => broken(format!("its description is not one: {error}")),
    };
    if examples.is_empty() {
        return broken("its description has no example of a coordinate");
    }
    if [aliases.len(), examples.len(), passes.len(), http_paths.len()].iter().any(|len| *len > limits::DESCRIPTION_ITEMS_MAX) {
        return broken("its description is too long");
    }
    let mut names = BTreeSet::new();
    for pass in &passes {
        if !is_word(&pass.name) || !names.insert(&pass.name) {
            return broken(format!("it has a pass {:?}", reported(pass.name.clone())));
        }
    }
    Ok(Description {
        package_type: word(package_type)?,
        aliases: aliases.into_iter().map(word).collect::<Result<_, _>>()?,
        coordinate_syntax: reported(coordinate_syntax),
        examples: examples.into_iter().map(reported).collect(),
        passes: passes.into_iter().map(|pass| Pass { name: pass.name, forgives: reported(pass.forgives) }).collect(),
        http_paths: http_paths.into_iter().map(reported).collect(),
    })
}

pub(crate) fn coordinate(canonical: String) -> Checked<String> {
    PackageId::new(canonical)
        .map(String::from)
        .or_else(|error| broken(format!("its canonical coordinate cannot be recorded: {error}")))
}

pub(crate) fn refusal(refusal: verification::Refusal) -> Checked<Refusal> {
    let verification::Refusal { code, subject, sentence } = refusal;
    if !is_word(&code) {
        return broken(format!("its refusal has the code {:?}", reported(code)));
    }
    Ok(Refusal { code, subject: reported(subject), sentence: reported(sentence) })
}

pub(crate) fn artifacts(
    described: &Description,
    published: Vec<verification::PublishedArtifact>,
    files: usize,
) -> Checked<Vec<PublishedArtifact>> {
    let mut ids = BTreeSet::new();
    let mut checked = Vec::with_capacity(published.len());
    for artifact in published {
        let verification::PublishedArtifact { artifact_id, file, media_type, canonical_digest, passes } = artifact;
        let artifact_id = match ArtifactId::new(artifact_id) {
            Ok(id) => String::from(id),
            Err(error) => return broken(format!("an artifact cannot be recorded: {error}")),
        };
        let file = file as usize;
        if file >= files {
            return broken(format!("{artifact_id} is file {file} of {files}"));
        }
        let canonical = digest(canonical_digest, &artifact_id)?;
        if !ids.insert(artifact_id.clone()) {
            return broken(format!("{artifact_id} is published twice"));
        }
        let media_type = self::media_type(media_type)?;
        let passes = known_passes(described, passes)?;
        checked.push(PublishedArtifact { artifact_id, file, media_type, canonical, passes });
    }
    if checked.is_empty() {
        return broken("it accepts an output that publishes nothing");
    }
    Ok(checked)
}

pub(crate) fn canonical_files(
    described: &Description,
    answered: Vec<verification::CanonicalFile>,
    files: usize,
) -> Checked<Vec<CanonicalFile>> {
    if answered.len() != files {
        return broken(format!("it gives {} canonical forms of {files} files", answered.len()));
    }
    let mut checked = Vec::with_capacity(files);
    for (index, answered) in answered.into_iter().enumerate() {
        let verification::CanonicalFile { file, canonical_digest, passes, findings } = answered;
        if file as usize != index {
            return broken(format!("its canonical form of file {index} is one of file {file}"));
        }
        let canonical = digest(canonical_digest, &format!("file {index}"))?;
        let passes = known_passes(described, passes)?;
        let findings = findings.into_iter().map(finding).collect::<Result<_, _>>()?;
        checked.push(CanonicalFile { file: index, canonical, passes, findings });
    }
    Ok(checked)
}

fn finding(answered: verification::Finding) -> Checked<Finding> {
    let verification::Finding { code, subject, sentence } = answered;
    if !is_word(&code) {
        return broken(format!("a finding has the code {:?}", reported(code)));
    }
    Ok(Finding { code, subject: reported(subject), sentence: reported(sentence) })
}

pub(crate) fn comparison(described: &Description, answered: verification::Comparison) -> Checked<Comparison> {
    Ok(match answered {
        verification::Comparison::Identical => Comparison::Identical,
        verification::Comparison::SameAfter(passes) => {
            if passes.is_empty() {
                return broken("it calls two outputs the same after passes and names none");
            }
            Comparison::SameAfter { passes: known_passes(described, passes)? }
        }
        verification::Comparison::Undecidable(why) => Comparison::Undecidable(refusal(why)?),
        verification::Comparison::Different(report) => {
            let len = report.differences.len();
            if !(1..=limits::DIFFERENCES_MAX).contains(&len) {
                return broken(format!("its report has {len} differences"));
            }
            if report.differences.iter().any(|difference| difference.path.len() > limits::DIFFERENCE_PATH_MAX) {
                return broken("a difference lies too deep");
            }
            let differences = report.differences.into_iter().map(difference).collect();
            Comparison::Different(DifferenceReport { differences, omitted: report.omitted })
        }
    })
}

fn difference(answered: verification::Difference) -> Difference {
    let verification::Difference { artifact, path, what, a, b } = answered;
    Difference {
        artifact: reported(artifact),
        path: path.into_iter().map(reported).collect(),
        what: reported(what),
        a: a.map(reported),
        b: b.map(reported),
    }
}

pub(crate) fn http_target(answered: verification::HttpTarget) -> Checked<HttpTarget> {
    match answered {
        verification::HttpTarget::Artifact(artifact) => {
            let ids = (ArtifactId::new(artifact.artifact_id), PackageId::new(artifact.coordinate));
            match ids {
                (Ok(artifact_id), Ok(coordinate)) => Ok(HttpTarget::Artifact { artifact_id, coordinate }),
                (Err(error), _) | (_, Err(error)) => broken(format!("a path stands for no possible artifact: {error}")),
            }
        }
        verification::HttpTarget::Document(sources) => {
            let verification::DocumentSources { coordinate_prefix, lent_suffix } = sources;
            // An empty one would make every document from everything that is published.
            let usable = |text: &str| !text.is_empty() && text.len() <= limits::REPORTED_CHARS_MAX;
            if !usable(&coordinate_prefix) || !lent_suffix.as_deref().is_none_or(usable) {
                return broken("a document is made from packages that it does not name");
            }
            Ok(HttpTarget::Document(DocumentSources { coordinate_prefix, lent_suffix }))
        }
    }
}

pub(crate) fn document(answered: verification::Document) -> Checked<Document> {
    let verification::Document { media_type, body } = answered;
    if body.len() > limits::DOCUMENT_BYTES_MAX {
        return Err(Abstention::OutputTooLarge { limit: limits::DOCUMENT_BYTES_MAX as u64 });
    }
    Ok(Document { media_type: self::media_type(media_type)?, body })
}

/// Fit for a header of HTTP.
fn media_type(text: String) -> Checked<String> {
    let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if text.is_empty() || text.len() > MEDIA_TYPE_BYTES_MAX || !printable {
        return broken(format!("{:?} is no media type", reported(text)));
    }
    Ok(text)
}

fn digest(bytes: Vec<u8>, of: &str) -> Checked<Sha256Digest> {
    match <[u8; 32]>::try_from(bytes) {
        Ok(bytes) => Ok(Sha256Digest::new(bytes)),
        Err(_) => broken(format!("the canonical digest of {of} is not 32 bytes")),
    }
}

/// Passes as the description has them: a name that nobody was told about forgives nothing.
fn known_passes(described: &Description, passes: Vec<String>) -> Checked<Vec<String>> {
    let mut rest = described.passes.iter();
    match passes.iter().find(|name| !rest.any(|pass| pass.name == **name)) {
        Some(name) => broken(format!("the pass {:?} is not described, or stands out of order", reported(name.clone()))),
        None => Ok(passes),
    }
}

fn is_word(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    text.len() <= WORD_BYTES_MAX && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase()) && text.bytes().all(inner)
}

/// A text as it may be shown: bounded, and without control characters that a terminal obeys.
pub(crate) fn reported(text: String) -> String {
    text.chars().take(limits::REPORTED_CHARS_MAX).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
