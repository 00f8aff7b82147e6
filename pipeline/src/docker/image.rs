//! Writing the config and the manifest of an image that was built here.
//!
//! The fields stand in a fixed order and hold nothing of the machine or the moment. Media types are Docker schema 2,
//! which every client reads. Reference: image manifest version 2, schema 2; OCI image specification, "Image Configuration".

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::image_name::Digest;
use super::manifest::{DOCKER_CONFIG, DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_MANIFEST};
use crate::artifacts::{ArtifactError, Artifacts};

/// Everything of an image but its layers' bytes.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ImageConfig {
    pub(super) architecture: String,
    pub(super) config: BTreeMap<String, Value>,
    pub(super) created: String,
    pub(super) history: Vec<History>,
    pub(super) os: String,
    #[serde(rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub(super) os_version: Option<Value>,
    #[serde(rename = "os.features", skip_serializing_if = "Option::is_none")]
    pub(super) os_features: Option<Value>,
    pub(super) rootfs: RootfsJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) variant: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct RootfsJson {
    #[serde(rename = "type")]
    kind: Layers,
    pub(super) diff_ids: Vec<Digest>,
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "lowercase")]
enum Layers {
    #[default]
    Layers,
}

/// One line of `docker history`. Lines of a base image are kept as they are.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum History {
    Base(Value),
    Step {
        created: String,
        created_by: String,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        empty_layer: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    None,
}

/// A layer that lies among the artifacts.
#[derive(Debug, Clone)]
pub(super) struct StoredLayer {
    pub(super) digest: Digest,
    pub(super) size_bytes: u64,
    pub(super) compression: Compression,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ManifestJson<'a> {
    schema_version: u32,
    media_type: &'static str,
    config: DescriptorJson<'a>,
    layers: Vec<DescriptorJson<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DescriptorJson<'a> {
    media_type: &'static str,
    size: u64,
    digest: &'a Digest,
}

/// Keeps config and manifest, and returns the digest of the image.
pub(super) fn write(config: &ImageConfig, layers: &[StoredLayer], artifacts: &Artifacts) -> Result<Digest, ArtifactError> {
    let config_bytes = serde_json::to_vec(config).expect("a config has only text keys");
    let config_digest = artifacts.write_blob(&config_bytes)?;
    let manifest = ManifestJson {
        schema_version: 2,
        media_type: DOCKER_MANIFEST,
        config: DescriptorJson { media_type: DOCKER_CONFIG, size: config_bytes.len() as u64, digest: &config_digest },
        layers: layers
            .iter()
            .map(|layer| DescriptorJson {
                media_type: match layer.compression {
                    Compression::Gzip => DOCKER_LAYER_GZIP,
                    Compression::None => DOCKER_LAYER,
                },
                size: layer.size_bytes,
                digest: &layer.digest,
            })
            .collect(),
    };
    let bytes = serde_json::to_vec(&manifest).expect("a manifest has only text keys");
    artifacts.write_manifest(&bytes)?;
    Ok(Digest::of(&bytes))
}

/// RFC 3339, as Docker writes it.
pub(super) fn date(unix_seconds: u64) -> String {
    let seconds = i64::try_from(unix_seconds).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string()
}
