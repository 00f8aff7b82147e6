//! The verifier of container images: the package type `docker`.
//!
//! Owns what the name of an image means, when the output of an image build is complete and well formed, and which artifacts it publishes
//! (`wit/v1/verifier.wit`). Docker schema 2 and OCI, image and index. Compares bit for bit: the canonical digest of an object is
//! the digest of its bytes. Never unpacks a layer and never holds one in memory.

pub mod base64;
pub mod check;
pub mod coordinate;
pub mod files;
pub mod manifest;
pub mod refusal;
pub mod strict_json;

/// The component's boundary. Its exports have names that only WASM linkers take.
#[cfg(target_arch = "wasm32")]
mod component {
    wit_bindgen::generate!({ world: "verifier", path: "../../../wit/v1" });

    use crate::{check, coordinate, files, refusal};
    use exports::pyrsia::verifier::verification::{Description, Guest, PublishedArtifact, Refusal};
    use pyrsia::verifier::inputs;

    struct Docker;

    impl Guest for Docker {
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
            }
        }

        fn parse_coordinate(text: String) -> Result<String, Refusal> {
            Ok(coordinate::Coordinate::parse(&text)?.to_string())
        }

        fn check(coordinate: String) -> Result<Vec<PublishedArtifact>, Refusal> {
            let published = check::check(&coordinate, &Lent)?;
            Ok(published.into_iter().map(PublishedArtifact::from).collect())
        }
    }

    /// The files the host lends.
    struct Lent;

    impl files::Inputs for Lent {
        fn count(&self) -> u32 {
            inputs::count()
        }

        fn name(&self, file: u32) -> String {
            inputs::name(file)
        }

        fn size(&self, file: u32) -> u64 {
            inputs::size(file)
        }

        fn read(&self, file: u32, offset: u64, len: u32) -> Vec<u8> {
            inputs::read(file, offset, len)
        }

        fn sha256(&self, file: u32, offset: u64, len: u64) -> Vec<u8> {
            inputs::sha256(file, offset, len)
        }

        fn sha256_bytes(&self, bytes: &[u8]) -> Vec<u8> {
            inputs::sha256_bytes(bytes)
        }
    }

    impl From<refusal::Refusal> for Refusal {
        fn from(refusal: refusal::Refusal) -> Self {
            Self { code: refusal.code.into(), subject: refusal.subject, sentence: refusal.sentence }
        }
    }

    impl From<check::Published> for PublishedArtifact {
        fn from(published: check::Published) -> Self {
            Self {
                artifact_id: published.artifact_id,
                file: published.file,
                media_type: published.media_type,
                canonical_digest: published.sha256,
                passes: Vec::new(),
            }
        }
    }

    export!(Docker);
}
