//! Documents that a verifier makes of published files: whoever publishes something hostile must not take from others the package that is sound.

use anyhow::{Context, Result, ensure};
use pyrsia_ledger::Sha256Digest;
use pyrsia_verifiers::{Document, DocumentSources, HttpTarget, Outcome, PublishedRecord, Verifier};

use crate::answer;
use crate::case::Case;

const MOUNT: &str = "http://127.0.0.1/mount";
/// The version that the changed output is published as: in front of and behind that of the sound one.
const OTHER_VERSIONS: [&str; 2] = ["0.0.1", "99.0.0"];

/// What `a` publishes stays in the document when a changed output stands in it as well. Whether there was such a document to ask for.
pub(crate) fn of_both(verifier: &Verifier, a: &Case, b: &Case) -> Result<bool> {
    let Some(coordinate) = a.coordinate.as_deref() else { return Ok(false) };
    let (_folder, files_a) = a.lend()?;
    let Outcome::Done(published) = verifier.check(coordinate, &files_a) else { return Ok(false) };
    let Some((path, sources)) = listing(verifier, coordinate)? else { return Ok(false) };
    let Some(suffix) = &sources.lent_suffix else { return Ok(false) };
    let Some(artifact) = published.iter().find(|artifact| artifact.artifact_id.ends_with(suffix)) else { return Ok(false) };
    let version = coordinate.strip_prefix(&sources.coordinate_prefix).context("it is the document of this coordinate")?;

    let sound = (&a.files[artifact.file], coordinate.to_owned(), artifact.artifact_id.clone());
    let alone = made(verifier, &path, std::slice::from_ref(&sound))?.context("no document of a sound output")?;
    ensure!(names(&alone, &artifact.artifact_id), "the document does not name {}", artifact.artifact_id);
    for (file, other) in b.files.iter().zip(OTHER_VERSIONS.iter().cycle()) {
        let changed = (file, coordinate.replace(version, other), artifact.artifact_id.replace(version, other));
        let both = made(verifier, &path, &[sound.clone(), changed])?.context("a changed output takes the document away")?;
        ensure!(names(&both, &artifact.artifact_id), "a changed output takes {} out of the document", artifact.artifact_id);
    }
    Ok(true)
}

/// The path of the document in which this coordinate stands, if it is made from files.
fn listing(verifier: &Verifier, coordinate: &str) -> Result<Option<(String, DocumentSources)>> {
    for (end, _) in coordinate.match_indices(['@', ':', '/']) {
        let path = format!("/{}", &coordinate[..end]);
        if let Some(Some(HttpTarget::Document(sources))) = answer("http-artifacts", verifier.http_artifacts(&path))?
            && coordinate.starts_with(&sources.coordinate_prefix)
        {
            return Ok(Some((path, sources)));
        }
    }
    Ok(None)
}

type Published<'f> = (&'f (String, Vec<u8>), String, String);

fn made(verifier: &Verifier, path: &str, published: &[Published<'_>]) -> Result<Option<Document>> {
    let files = published.iter().map(|(file, ..)| (*file).clone()).collect();
    let (_folder, lent) = Case { package_type: String::new(), coordinate: None, files }.lend()?;
    let mut records = Vec::new();
    for (number, ((_, bytes), coordinate, artifact_id)) in published.iter().enumerate() {
        records.push(PublishedRecord {
            coordinate: coordinate.clone().try_into()?,
            artifact_id: artifact_id.clone().try_into()?,
            media_type: "application/octet-stream".into(),
            size_bytes: bytes.len() as u64,
            sha256: Sha256Digest::of(bytes),
            file: Some(number),
        });
    }
    records.sort_by(|one, other| one.coordinate.as_str().cmp(other.coordinate.as_str()));
    answer("http-document", verifier.http_document(path, MOUNT, &records, &lent))
}

/// Whether a document of JSON, or of any other text, has this id in it.
fn names(document: &Document, artifact_id: &str) -> bool {
    String::from_utf8_lossy(&document.body).contains(artifact_id)
}
