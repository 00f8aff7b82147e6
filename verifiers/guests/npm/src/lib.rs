//! The verifier of npm packages: the package type `npm`.
//!
//! Owns what `name@version` means, when the output of a build is one well-formed package, when two packages are the same, and the paths from which npm
//! installs (`wit/v1/verifier.wit`). A package is compared file by file; what is forgiven stands in [`passes`] and nowhere else, and `package.json` is content to the last
//! byte. Never extracts anything, never runs a script, never resolves a dependency.

pub mod check;
pub mod coordinate;
pub mod explain;
pub mod manifest;
pub mod package;
pub mod packument;
pub mod passes;
pub mod version;

use pyrsia_verifier_kit::{
    CanonicalFile, Description, Document, File, HttpTarget, Output, PublishedArtifact, PublishedRecord, Refusal, Report,
    Verifier, export_verifier,
};

use crate::coordinate::Coordinate;

pub struct Npm;

impl Verifier for Npm {
    fn describe() -> Description {
        Description {
            package_type: "npm".into(),
            aliases: vec![],
            coordinate_syntax: coordinate::SYNTAX.into(),
            examples: vec!["left-pad@1.3.0".into(), "@babel/core@7.24.0".into()],
            passes: passes::described(),
            http_paths: packument::PATHS.map(str::to_owned).to_vec(),
        }
    }

    fn parse_coordinate(text: &str) -> Result<String, Refusal> {
        Ok(Coordinate::parse(text)?.to_string())
    }

    fn check(coordinate: &str, output: Output<'_>) -> Result<Vec<PublishedArtifact>, Refusal> {
        check::check(coordinate, output)
    }

    fn canonicalize(coordinate: Option<&str>, output: Output<'_>) -> Result<Vec<CanonicalFile>, Refusal> {
        check::canonicalize(coordinate, output)
    }

    fn explain(a: &File<'_>, b: &File<'_>, report: &mut Report) {
        explain::packages(a, b, report);
    }

    fn http_artifacts(path: &str) -> Option<HttpTarget> {
        packument::target(path)
    }

    fn http_document(path: &str, mount: &str, records: &[PublishedRecord], output: Output<'_>) -> Result<Document, Refusal> {
        packument::document(path, mount, records, output)
    }
}

export_verifier!(Npm);
