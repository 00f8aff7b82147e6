//! Image manifests and indexes: what they refer to, and nothing else of them.
//!
//! The bytes of a manifest are what counts; they are kept as they came. References: image manifest version 2, schema 2
//! of the distribution project; OCI image specification 1.1, "Image Manifest" and "Image Index".

use serde::Deserialize;

use super::image_name::{Digest, ImageNameError};
use super::platform::Platform;

pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
pub(crate) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// What registries accept at most; larger manifests could not be pushed anywhere.
pub(crate) const MAX_MANIFEST_BYTES: usize = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("the answer is {0} and not an image manifest: is this a registry?")]
    NotAManifest(String),
    #[error("{0} images are not supported, only Docker schema 2 and OCI")]
    Unsupported(String),
    #[error("the media type in the manifest, {inside}, is not the one of the answer, {outside}")]
    MediaType { inside: String, outside: String },
    #[error("the manifest cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the manifest refers to something by {0:?}, which is no sha256 digest")]
    Digest(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
    pub(crate) platform: Option<Platform>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manifest {
    Index { manifests: Vec<Descriptor> },
    Image { config: Descriptor, layers: Vec<Descriptor> },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManifestJson {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<Vec<DescriptorJson>>,
    #[serde(default)]
    config: Option<DescriptorJson>,
    #[serde(default)]
    layers: Vec<DescriptorJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescriptorJson {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    platform: Option<Platform>,
}

impl DescriptorJson {
    fn check(self) -> Result<Descriptor, ManifestError> {
        let digest = self.digest.parse().map_err(|_: ImageNameError| ManifestError::Digest(self.digest))?;
        Ok(Descriptor { media_type: self.media_type, digest, size_bytes: self.size, platform: self.platform })
    }
}

/// Reads a manifest that was served with this content type.
pub(crate) fn parse(content_type: Option<&str>, bytes: &[u8]) -> Result<Manifest, ManifestError> {
    let outside = content_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    if let Some(schema1) = outside.as_deref().filter(|text| text.contains("manifest.v1+")) {
        if schema1 != OCI_MANIFEST {
            return Err(ManifestError::Unsupported(schema1.to_owned()));
        }
    } else if let Some(other) = outside.as_deref()
        && (other.starts_with("text/html") || bytes.trim_ascii_start().starts_with(b"<"))
    {
        return Err(ManifestError::NotAManifest(other.to_owned()));
    }
    let json: ManifestJson = serde_json::from_slice(bytes)?;
    if json.schema_version != 2 {
        return Err(ManifestError::Unsupported(format!("schema {}", json.schema_version)));
    }
    // OCI documents may leave their media type out; then the answer's header tells, then what the document holds.
    let known = |text: &str| [DOCKER_MANIFEST, DOCKER_INDEX, OCI_MANIFEST, OCI_INDEX].contains(&text);
    let outside = outside.filter(|text| known(text));
    let media_type = match (json.media_type, outside) {
        (Some(inside), _) if !known(&inside) => return Err(ManifestError::Unsupported(inside)),
        (Some(inside), Some(outside)) if inside != outside => return Err(ManifestError::MediaType { inside, outside }),
        (Some(inside), _) => inside,
        (None, Some(outside)) => outside,
        (None, None) if json.manifests.is_some() => OCI_INDEX.to_owned(),
        (None, None) => OCI_MANIFEST.to_owned(),
    };
    if media_type == DOCKER_INDEX || media_type == OCI_INDEX {
        let manifests = json.manifests.unwrap_or_default().into_iter().map(DescriptorJson::check);
        return Ok(Manifest::Index { manifests: manifests.collect::<Result<_, _>>()? });
    }
    let config = json.config.ok_or_else(|| ManifestError::NotAManifest("a document without a config".to_owned()))?;
    Ok(Manifest::Image {
        config: config.check()?,
        layers: json.layers.into_iter().map(DescriptorJson::check).collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_manifest_is_named() {
        let check = |content_type: &str, body: &str| parse(Some(content_type), body.as_bytes()).unwrap_err().to_string();
        assert!(check("text/html; charset=utf-8", "<html>").contains("text/html and not an image manifest"));
        assert!(check("application/vnd.docker.distribution.manifest.v1+prettyjws", "{}").contains("not supported"));
        assert!(check("application/json", "{\"schemaVersion\":1}").contains("schema 1"));
        assert!(
            check(DOCKER_MANIFEST, "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\"}")
                .contains("is not the one")
        );
        assert!(check(DOCKER_MANIFEST, "{\"schemaVersion\":2}").contains("without a config"));
        assert!(
            check(DOCKER_MANIFEST, "{\"schemaVersion\":2,\"config\":{\"digest\":\"sha256:../..\",\"size\":1}}")
                .contains("no sha256 digest")
        );
    }
}
