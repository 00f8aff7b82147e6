//! The verifier of container images: the package type `docker`.
//!
//! Owns what the name of an image means, when the output of an image build is complete and well formed, and which artifacts it publishes
//! (`wit/v1/verifier.wit`). Docker schema 2 and OCI, image and index. Compares bit for bit: the canonical digest of an object is
//! the digest of its bytes. Never unpacks a layer and never holds one in memory.

pub mod check;
pub mod coordinate;
pub mod files;
pub mod manifest;

use pyrsia_verifier_kit::{CanonicalFile, Description, Output, PublishedArtifact, Refusal, Verifier, export_verifier};

pub struct Docker;

impl Verifier for Docker {
    fn describe() -> Description {
        Description {
            package_type: "docker".into(),
            aliases: vec!["oci".into()],
            coordinate_syntax: coordinate::SYNTAX.into(),
            examples: vec![
                "alpine:3.16.0".into(),
                "grafana/grafana:9.0.1".into(),
                "alpine@sha256:4ff3ca91275773af45cb4b0834e12b7eb47d1c18f770a0b151381cd227f4c253".into(),
            ],
            passes: Vec::new(),
            http_paths: Vec::new(),
        }
    }

    fn parse_coordinate(text: &str) -> Result<String, Refusal> {
        Ok(coordinate::Coordinate::parse(text)?.to_string())
    }

    fn check(coordinate: &str, output: Output<'_>) -> Result<Vec<PublishedArtifact>, Refusal> {
        check::check(coordinate, output)
    }

    fn canonicalize(_coordinate: Option<&str>, output: Output<'_>) -> Result<Vec<CanonicalFile>, Refusal> {
        let canonical = |file: pyrsia_verifier_kit::File<'_>| CanonicalFile {
            file: file.index(),
            canonical_digest: file.sha256().into(),
            passes: Vec::new(),
            findings: Vec::new(),
        };
        Ok(output.files().map(canonical).collect())
    }
}

export_verifier!(Docker);
