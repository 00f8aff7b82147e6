//! The HTTP paths of a Maven repository (the repository layout `default`), and the one document that is made and not built: `maven-metadata.xml`.
//!
//! The document lists the published versions and nothing that changes without one: no time, no newest version of which clients have their own idea.

use std::collections::BTreeSet;

use pyrsia_verifier_kit::{Document, DocumentSources, HttpArtifact, HttpTarget, PublishedRecord, Refusal};

use crate::check::FileName;
use crate::checksum::{Algorithm, Sums};
use crate::coordinate::{Coordinate, is_id};

pub const PATHS: [&str; 2] =
    ["/{group with / for .}/{artifact}/{version}/{file}", "/{group with / for .}/{artifact}/maven-metadata.xml"];

const METADATA: &str = "maven-metadata.xml";

pub fn target(path: &str) -> Option<HttpTarget> {
    if let Some(metadata) = Metadata::of(path) {
        let coordinate_prefix = format!("{}:{}:", metadata.group, metadata.artifact);
        return Some(HttpTarget::Document(DocumentSources { coordinate_prefix, lent_suffix: None }));
    }
    let steps: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let [group @ .., artifact, version, file] = &steps[..] else { return None };
    let coordinate = Coordinate::parse(&format!("{}:{artifact}:{version}", group_of(group)?)).ok()?;
    FileName::parse(file, &coordinate.file_stem())?;
    Some(HttpTarget::Artifact(HttpArtifact { artifact_id: coordinate.artifact_id(file), coordinate: coordinate.to_string() }))
}

/// A document for a path that [`target`] calls one.
pub fn document(path: &str, records: &[PublishedRecord]) -> Result<Document, Refusal> {
    let none = || Refusal::new("no-document", path, "No version of this package is published.");
    let metadata = Metadata::of(path).ok_or_else(none)?;
    let coordinates = records.iter().filter_map(|record| Coordinate::parse(&record.coordinate).ok());
    let of_package =
        coordinates.filter(|coordinate| coordinate.group() == metadata.group && coordinate.artifact() == metadata.artifact);
    let versions: BTreeSet<String> = of_package.map(|coordinate| coordinate.version().to_owned()).collect();
    if versions.is_empty() {
        return Err(none());
    }
    // Ids and versions have no character with a meaning in XML.
    let versions: String = versions.iter().map(|version| format!("      <version>{version}</version>\n")).collect();
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata>\n  <groupId>{}</groupId>\n  <artifactId>{}</artifactId>\n  <versioning>\n    <versions>\n{versions}    \
         </versions>\n  </versioning>\n</metadata>\n",
        metadata.group, metadata.artifact
    );
    Ok(match metadata.checksum {
        None => Document { media_type: "application/xml".into(), body: body.into_bytes() },
        Some(algorithm) => {
            let sums = Sums::of(body.as_bytes(), &[algorithm]).map_err(|fault| fault.refusal(path))?;
            Document { media_type: "text/plain".into(), body: sums.get(algorithm).as_bytes().to_vec() }
        }
    })
}

/// A path of `maven-metadata.xml`, or of its checksum.
struct Metadata {
    group: String,
    artifact: String,
    checksum: Option<Algorithm>,
}

impl Metadata {
    fn of(path: &str) -> Option<Self> {
        let steps: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let [group @ .., artifact, file] = &steps[..] else { return None };
        let (checksum, file) = Algorithm::of_file(file).map_or((None, *file), |(algorithm, file)| (Some(algorithm), file));
        let is_package = file == METADATA && is_id(artifact) && *artifact != "." && *artifact != "..";
        Some(Self { group: group_of(group)?, artifact: (*artifact).to_owned(), checksum }).filter(|_| is_package)
    }
}

/// The group id of a path's first steps. A dot in a step would make two paths of one package.
fn group_of(steps: &[&str]) -> Option<String> {
    let is_step = |step: &&str| is_id(step) && !step.contains('.');
    (!steps.is_empty() && steps.iter().all(is_step)).then(|| steps.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(path: &str) -> Option<(String, String)> {
        match target(path)? {
            HttpTarget::Artifact(HttpArtifact { artifact_id, coordinate }) => Some((artifact_id, coordinate)),
            HttpTarget::Document(sources) => panic!("{sources:?}"),
        }
    }

    #[test]
    fn a_path_of_the_repository_layout_stands_for_a_file_of_a_package() {
        let (id, coordinate) = artifact("/org/example/demo/1.0/demo-1.0-sources.jar.sha1").unwrap();
        assert_eq!(
            (id.as_str(), coordinate.as_str()),
            ("org.example/demo/1.0/demo-1.0-sources.jar.sha1", "org.example:demo:1.0")
        );
        for path in [
            "",
            "/",
            "/demo/1.0/demo-1.0.jar",
            "/org.example/demo/1.0/demo-1.0.jar",
            "/org//demo/1.0/demo-1.0.jar",
            "/org/../demo/1.0/demo-1.0.jar",
            "/org/example/demo/1.0/other-1.0.jar",
            "/org/example/demo/1.0/demo-1.0.jar/",
            "/org/example/demo/1-SNAPSHOT/demo-1-SNAPSHOT.jar",
            "org/example/demo/1.0/demo-1.0.jar",
        ] {
            assert_eq!(artifact(path), None, "{path}");
        }
    }

    #[test]
    fn metadata_lists_the_published_versions_of_one_package() {
        let record = |coordinate: &str| PublishedRecord {
            coordinate: coordinate.into(),
            artifact_id: "x".into(),
            media_type: "x".into(),
            size_bytes: 0,
            sha256: vec![0; 32],
            file: None,
        };
        let path = "/org/example/demo/maven-metadata.xml";
        let Some(HttpTarget::Document(sources)) = target(path) else { panic!("no document") };
        assert_eq!(sources.coordinate_prefix, "org.example:demo:");
        let records = [
            record("org.example:demo:1.0"),
            record("org.example:demo:1.0"),
            record("org.example:demo:1.1"),
            record("org.example:demo2:3"),
        ];
        let document = document(path, &records).unwrap();
        let text = String::from_utf8(document.body.clone()).unwrap();
        assert_eq!(text.matches("<version>").count(), 2, "{text}");
        assert!(text.contains("<artifactId>demo</artifactId>") && text.contains("<version>1.1</version>"));
        let sha1 = super::document(&format!("{path}.sha1"), &records).unwrap();
        assert_eq!(sha1.body, Sums::of(&document.body[..], &[Algorithm::Sha1]).unwrap().get(Algorithm::Sha1).as_bytes());
        assert_eq!(super::document(path, &records[3..]).unwrap_err().code, "no-document");
    }
}
