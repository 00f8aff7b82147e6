//! Manifests, indexes and configs as they are written: the parts a check looks at.
//!
//! Formats: Docker image manifest version 2 schema 2 and manifest list; OCI image specification 1.1, image manifest, image index, config,
//! content descriptor. Which media types exist is said here and nowhere else.

use pyrsia_verifier_kit::inflate::Compression;
use pyrsia_verifier_kit::{Refusal, base64, strict_json};
use serde::Deserialize;

use crate::files::{Files, digest_of_bytes};

/// The limit registries and clients keep for a manifest or an index, in bytes.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// The limit for a config, in bytes: clients read it whole as well.
pub const CONFIG_BYTES_MAX: u64 = 4 << 20;

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

const CONFIGS: [&str; 2] = ["application/vnd.docker.container.image.v1+json", "application/vnd.oci.image.config.v1+json"];
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Of an uncompressed layer, with the end that says how one is compressed.
const LAYERS: [(&str, &str, Compression); 6] = [
    (DOCKER_LAYER, "", Compression::None),
    (DOCKER_LAYER, ".gzip", Compression::Gzip),
    (DOCKER_LAYER, ".zstd", Compression::Zstd),
    (OCI_LAYER, "", Compression::None),
    (OCI_LAYER, "+gzip", Compression::Gzip),
    (OCI_LAYER, "+zstd", Compression::Zstd),
];

/// How buildkit marks a manifest that says something about an image of the same index, and the platform it gives it.
const ATTESTATION: &str = "attestation-manifest";
const UNKNOWN: &str = "unknown";

/// Every field of these documents that a client gives a meaning to. Another spelling of one could be read as it.
pub const FIELDS: [&str; 20] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "digest",
    "size",
    "urls",
    "data",
    "platform",
    "architecture",
    "os",
    "variant",
    "os.version",
    "os.features",
    "fsLayers",
    "signatures",
];

/// A manifest or an index, whichever the bytes are.
pub enum Document {
    Image(Image),
    Index(Vec<Descriptor>),
}

pub struct Image {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

/// A pointer to content (OCI content descriptor).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(default)]
    pub data: Option<String>,
    #[serde(default)]
    pub platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<Annotations>,
}

#[derive(Deserialize)]
pub struct Platform {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

#[derive(Deserialize)]
struct Annotations {
    /// Set by buildkit on a manifest that describes another one of the same index, such as its provenance.
    #[serde(rename = "vnd.docker.reference.type", default)]
    reference_type: Option<String>,
}

impl Descriptor {
    /// Whether this is a manifest about an image rather than an image, as buildkit marks it. The platform counts as well: a client that looks
    /// for its own would run what is listed under it, whatever the annotations say.
    pub fn is_attestation(&self) -> bool {
        let marked =
            self.annotations.as_ref().is_some_and(|annotations| annotations.reference_type.as_deref() == Some(ATTESTATION));
        let runnable = self.platform.as_ref().is_none_or(|platform| platform.os != UNKNOWN || platform.architecture != UNKNOWN);
        marked && !runnable
    }

    pub fn is_manifest(&self) -> bool {
        [DOCKER_MANIFEST, OCI_MANIFEST].contains(&self.media_type.as_str())
    }

    pub fn is_index(&self) -> bool {
        [DOCKER_LIST, OCI_INDEX].contains(&self.media_type.as_str())
    }

    pub fn is_config(&self) -> bool {
        CONFIGS.contains(&self.media_type.as_str())
    }

    pub fn is_layer(&self) -> bool {
        self.layer_compression().is_some()
    }

    /// How a layer of this media type is compressed; none where it is the media type of something else.
    pub fn layer_compression(&self) -> Option<Compression> {
        layer_type(&self.media_type).map(|(_, compression)| compression)
    }

    /// Whether the data embedded in the descriptor, if there is any, is the object itself.
    pub fn data_agrees(&self) -> bool {
        self.data.as_ref().is_none_or(|data| base64::decode(data).is_some_and(|bytes| digest_of_bytes(&bytes) == self.digest))
    }

    /// Whose image it is, for a sentence: `linux/arm/v7`.
    pub fn platform_name(&self) -> Option<String> {
        let Platform { os, architecture, variant } = self.platform.as_ref()?;
        Some(match variant {
            Some(variant) => format!("{os}/{architecture}/{variant}"),
            None => format!("{os}/{architecture}"),
        })
    }
}

/// The media type of the same layer without compression, and how it is compressed; none where it is the media type of something else.
pub fn layer_type(media_type: &str) -> Option<(&'static str, Compression)> {
    let (plain, _, compression) = LAYERS.iter().find(|(plain, end, _)| media_type.strip_prefix(plain) == Some(end))?;
    Some((plain, *compression))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    schema_version: u64,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// Reads `file` as a manifest or an index, and says under which media type it is served.
///
/// `expected` is the media type by which an index refers to it; bytes that call themselves something else are refused, so
/// that no client can be brought to read one object in two ways.
pub fn read_document(files: &Files<'_>, file: u32, name: &str, expected: Option<&str>) -> Result<(Document, String), Refusal> {
    let refuse = |code, sentence: String| Err(Refusal::new(code, name, sentence));
    let Some(bytes) = files.read(file, MANIFEST_BYTES_MAX) else {
        return refuse("manifest-too-large", format!("A manifest or index has at most {MANIFEST_BYTES_MAX} bytes."));
    };
    let written: Written = match strict_json::from_slice(&bytes, &FIELDS) {
        Ok(written) => written,
        Err(fault) => return refuse("malformed-manifest", format!("It cannot be read as a manifest or index: {fault}.")),
    };
    if written.schema_version != 2 {
        return refuse("unsupported-schema", format!("Its schemaVersion is {}; 2 is supported.", written.schema_version));
    }
    let document = match written {
        Written { config: Some(config), layers: Some(layers), manifests: None, fs_layers: None, .. } => {
            Document::Image(Image { config, layers })
        }
        Written { manifests: Some(manifests), config: None, layers: None, fs_layers: None, .. } => Document::Index(manifests),
        _ => {
            return refuse(
                "malformed-manifest",
                "It has neither `config` and `layers` nor `manifests`, or parts of both.".into(),
            );
        }
    };
    // Only OCI documents may leave out what they are; Docker's two formats demand it.
    let (allowed, implied) = match document {
        Document::Image(_) => ([DOCKER_MANIFEST, OCI_MANIFEST], OCI_MANIFEST),
        Document::Index(_) => ([DOCKER_LIST, OCI_INDEX], OCI_INDEX),
    };
    let media_type = written.media_type.unwrap_or_else(|| implied.into());
    if !allowed.contains(&media_type.as_str()) {
        return refuse(
            "unknown-media-type",
            format!("Its mediaType is `{media_type}`; for what it contains, it is `{}` or `{}`.", allowed[0], allowed[1]),
        );
    }
    if let Some(expected) = expected
        && expected != media_type
    {
        return refuse("wrong-media-type", format!("The index calls it `{expected}`, but it is `{media_type}`."));
    }
    Ok((document, media_type))
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<String>,
}

/// Checks that `file` is the config of an image with so many layers.
pub fn check_config(files: &Files<'_>, file: u32, name: &str, layers: usize) -> Result<(), Refusal> {
    let refuse = |code, sentence: String| Err(Refusal::new(code, name, sentence));
    let Some(bytes) = files.read(file, CONFIG_BYTES_MAX) else {
        return refuse("config-too-large", format!("An image's config has at most {CONFIG_BYTES_MAX} bytes."));
    };
    let rootfs = match strict_json::from_slice::<Config>(&bytes, &["rootfs", "diff_ids"]) {
        Ok(config) => config.rootfs,
        Err(fault) => return refuse("malformed-config", format!("It cannot be read as an image's config: {fault}.")),
    };
    if rootfs.kind != "layers" {
        return refuse("malformed-config", format!("Its rootfs.type is `{}`, not `layers`.", rootfs.kind));
    }
    if rootfs.diff_ids.len() != layers {
        return refuse("wrong-layer-count", format!("It names {} layers, the manifest {layers}.", rootfs.diff_ids.len()));
    }
    Ok(())
}
