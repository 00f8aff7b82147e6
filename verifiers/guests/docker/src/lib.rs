//! The verifier of container images: the package type `docker`.
//!
//! Owns what the name of an image means, when the output of an image build is complete and well formed, which artifacts it publishes, and when two outputs are
//! the same (`wit/v1/verifier.wit`). Docker schema 2 and OCI, image and index. Images are compared by what they put into a file system and how they run:
//! layers as decoded tar entries, configs and manifests as JSON, each without the noise that [`passes`] names. Never extracts a layer and never holds one in memory.

pub mod check;
pub mod compare;
pub mod contents;
pub mod coordinate;
pub mod files;
#[cfg(test)]
mod fixture;
pub mod json;
pub mod layer;
pub mod manifest;
pub mod passes;

use pyrsia_verifier_kit::{
    CanonicalFile, Comparison, Description, Output, PublishedArtifact, Refusal, Verifier, export_verifier,
};

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
            passes: passes::Pass::described(),
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
        Ok(contents::Contents::read(files::Files::open(output)?)?.canonical_files())
    }

    fn compare(_coordinate: Option<&str>, a: Output<'_>, b: Output<'_>) -> Comparison {
        compare::compare(a, b)
    }
}

export_verifier!(Docker);
