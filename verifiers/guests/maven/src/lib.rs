//! The verifier of Maven packages: the package type `maven`.
//!
//! Owns what a coordinate means, when the output of a build is complete and well formed, which artifacts it publishes, and when two outputs are the same
//! (`wit/v1/verifier.wit`). Jars and their kin are compared entry by entry, poms, module metadata and checksum files each in their own way, all else bit for
//! bit; what is forgiven stands in [`passes`] and nowhere else. Never resolves a dependency, never runs or loads code, never looks into a class file.

pub mod archive;
pub mod check;
pub mod checksum;
pub mod compare;
pub mod coordinate;
pub mod explain;
pub mod javadoc;
pub mod json_values;
pub mod manifest;
pub mod module;
pub mod output;
pub mod passes;
pub mod pom;
pub mod properties;
pub mod repository;
pub mod sbom;

use pyrsia_verifier_kit::{
    CanonicalFile, Comparison, Description, Document, HttpTarget, Output, PublishedArtifact, PublishedRecord, Refusal, Verifier,
};

use crate::coordinate::Coordinate;
use crate::output::Side;

pub struct Maven;

impl Verifier for Maven {
    fn describe() -> Description {
        Description {
            package_type: "maven".into(),
            aliases: vec!["maven2".into()],
            coordinate_syntax: format!("{}.", coordinate::SYNTAX),
            examples: vec!["org.slf4j:slf4j-api:2.0.16".into(), "commons-io:commons-io:2.16.1".into()],
            passes: passes::described(),
            http_paths: repository::PATHS.map(str::to_owned).to_vec(),
        }
    }

    fn parse_coordinate(text: &str) -> Result<String, Refusal> {
        Ok(Coordinate::parse(text)?.to_string())
    }

    fn check(coordinate: &str, output: Output<'_>) -> Result<Vec<PublishedArtifact>, Refusal> {
        check::check(coordinate, output)
    }

    fn canonicalize(coordinate: Option<&str>, output: Output<'_>) -> Result<Vec<CanonicalFile>, Refusal> {
        let coordinate = coordinate.map(Coordinate::parse).transpose()?;
        let mut side = Side::open(output)?;
        if let Some(coordinate) = &coordinate {
            check::belongs(&side, coordinate)?;
        }
        output::canonicalize(&mut side)
    }

    fn compare(coordinate: Option<&str>, a: Output<'_>, b: Output<'_>) -> Comparison {
        compare::compare(coordinate, a, b)
    }

    fn http_artifacts(path: &str) -> Option<HttpTarget> {
        repository::target(path)
    }

    fn http_document(path: &str, _mount: &str, records: &[PublishedRecord], _output: Output<'_>) -> Result<Document, Refusal> {
        repository::document(path, records)
    }
}

pyrsia_verifier_kit::export_verifier!(Maven);

#[cfg(test)]
mod zip_writer;
