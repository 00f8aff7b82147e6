//! The check of one build output: exactly one archive, named as `npm pack` names it, that says it is the package that was asked for.

use pyrsia_verifier_kit::{CanonicalFile, File, Output, PublishedArtifact, Refusal};

use crate::coordinate::Coordinate;
use crate::package::Package;

/// The media type an archive is served with.
const MEDIA_TYPE: &str = "application/gzip";

pub fn check(coordinate: &str, output: Output<'_>) -> Result<Vec<PublishedArtifact>, Refusal> {
    let coordinate = Coordinate::parse(coordinate)?;
    let expected = coordinate.file_name();
    let mut files = output.files();
    let (Some(file), None) = (files.next(), files.next()) else {
        let sentence = format!("A build gives one archive, {expected}; this one has {} files.", output.count());
        return Err(Refusal::new("file-count", &expected, sentence));
    };
    if file.name() != expected {
        let sentence = format!("The archive of this package is called {expected}, as `npm pack` calls it.");
        return Err(Refusal::new("wrong-name", file.name(), sentence));
    }
    let CanonicalFile { canonical_digest, passes, .. } = canonical(Some(&coordinate), &file)?;
    let artifact_id = coordinate.artifact_id();
    let media_type = MEDIA_TYPE.into();
    Ok(vec![PublishedArtifact { artifact_id, file: file.index(), media_type, canonical_digest, passes }])
}

pub fn canonicalize(coordinate: Option<&str>, output: Output<'_>) -> Result<Vec<CanonicalFile>, Refusal> {
    let coordinate = coordinate.map(Coordinate::parse).transpose()?;
    output.files().map(|file| canonical(coordinate.as_ref(), &file)).collect()
}

fn canonical(coordinate: Option<&Coordinate>, file: &File<'_>) -> Result<CanonicalFile, Refusal> {
    let unreadable = |fault: pyrsia_verifier_kit::Unreadable| fault.refusal(file.name());
    let package = Package::read(file).map_err(unreadable)?;
    if let Some(coordinate) = coordinate {
        package.manifest.check(coordinate)?;
    }
    Ok(CanonicalFile {
        file: file.index(),
        canonical_digest: package.canonical_digest().map_err(unreadable)?.into(),
        passes: package.passes(),
        findings: package.manifest.findings(package.has_gyp()),
    })
}
