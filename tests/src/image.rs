//! Container images made by the tests: layers, configuration and manifest, pushed to a registry over HTTP.

use anyhow::{Context, bail};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::Write;

pub const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const INDEX_TYPE: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
const LAYER_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// The same four as the OCI image specification 1.1 has them.
const OCI_TYPES: [(&str, &str); 4] = [
    (MANIFEST_TYPE, "application/vnd.oci.image.manifest.v1+json"),
    (INDEX_TYPE, "application/vnd.oci.image.index.v1+json"),
    (CONFIG_TYPE, "application/vnd.oci.image.config.v1+json"),
    (LAYER_TYPE, "application/vnd.oci.image.layer.v1.tar+gzip"),
];

/// One file of a layer.
pub struct LayerFile<'a> {
    pub path: &'a str,
    pub contents: &'a [u8],
    pub mode: u32,
}

#[derive(Clone)]
pub struct Blob {
    pub digest: String,
    pub bytes: Vec<u8>,
}

#[derive(Clone)]
pub struct Image {
    pub manifest: Blob,
    pub config: Blob,
    pub layers: Vec<Blob>,
}

pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        Self { digest: sha256(&bytes), bytes }
    }

    /// What a manifest or an index says it is.
    pub fn media_type(&self) -> String {
        let manifest: Value = serde_json::from_slice(&self.bytes).expect("a manifest is JSON");
        manifest["mediaType"].as_str().expect("the manifests of tests have a media type").to_owned()
    }

    /// With OCI's media types in the place of Docker's.
    fn oci(&self) -> Self {
        let text = String::from_utf8(self.bytes.clone()).expect("a manifest is text");
        Self::new(OCI_TYPES.iter().fold(text, |text, (docker, oci)| text.replace(docker, oci)).into_bytes())
    }
}

/// A layer before and after compression: an image's configuration names the one, its manifest the other.
struct Layer {
    diff_id: String,
    blob: Blob,
}

impl Layer {
    fn new(files: &[LayerFile<'_>]) -> Self {
        let mut tar = tar::Builder::new(Vec::new());
        for file in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(file.contents.len() as u64);
            header.set_mode(file.mode);
            header.set_mtime(1_767_323_045);
            tar.append_data(&mut header, file.path, file.contents).expect("writing to memory");
        }
        let tar = tar.into_inner().expect("writing to memory");
        // Stored, not deflated: the large layers are random bytes.
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::with_capacity(tar.len() + tar.len() / 100), Compression::none());
        gzip.write_all(&tar).expect("writing to memory");
        Self { diff_id: sha256(&tar), blob: Blob::new(gzip.finish().expect("writing to memory")) }
    }
}

impl Image {
    /// An image of the given layers that runs `command`.
    pub fn new(layers: &[&[LayerFile<'_>]], command: &[&str]) -> Self {
        let layers: Vec<Layer> = layers.iter().map(|files| Layer::new(files)).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z",
            "config": { "Cmd": command, "Env": ["PATH=/bin"] },
            "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>() },
        });
        let config = Blob::new(config.to_string().into_bytes());
        let layers: Vec<Blob> = layers.into_iter().map(|layer| layer.blob).collect();
        let described =
            |media_type, blob: &Blob| json!({ "mediaType": media_type, "size": blob.bytes.len(), "digest": blob.digest });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
            "config": described(CONFIG_TYPE, &config),
            "layers": layers.iter().map(|layer| described(LAYER_TYPE, layer)).collect::<Vec<_>>(),
        });
        Self { manifest: Blob::new(manifest.to_string().into_bytes()), config, layers }
    }

    /// An image that says what it is, distinct for each `text`.
    pub fn small(text: &str) -> Self {
        Self::new(&[&[LayerFile { path: "hello", contents: text.as_bytes(), mode: 0o644 }]], &["/hello"])
    }

    /// The same image as the OCI image specification writes it.
    pub fn oci(&self) -> Self {
        Self { manifest: self.manifest.oci(), config: self.config.clone(), layers: self.layers.clone() }
    }

    /// How many log records its publication makes: the manifest under its tag and its digest, the configuration, the layers.
    pub fn records(&self) -> usize {
        3 + self.layers.len()
    }

    /// Every object but the manifest.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        std::iter::once(&self.config).chain(&self.layers)
    }

    /// Pushes it as `repository:tag` (OCI distribution specification, section "Push").
    pub async fn push(&self, registry: &str, repository: &str, tag: &str) -> anyhow::Result<()> {
        let client = reqwest::Client::new();
        for blob in self.blobs() {
            let opened = client.post(format!("{registry}/v2/{repository}/blobs/uploads/")).send().await?.error_for_status()?;
            let location = opened.headers().get("location").context("an upload without a location")?.to_str()?;
            let location = if location.starts_with('/') { format!("{registry}{location}") } else { location.to_owned() };
            let separator = if location.contains('?') { '&' } else { '?' };
            let upload = client.put(format!("{location}{separator}digest={}", blob.digest)).body(blob.bytes.clone());
            upload.header("content-type", "application/octet-stream").send().await?.error_for_status()?;
        }
        push_manifest(registry, repository, tag, &self.manifest).await
    }

    /// Pushes it as one platform of an index, that is under its digest; gives its line of the index.
    async fn push_platform(&self, registry: &str, repository: &str, architecture: &str) -> anyhow::Result<Value> {
        self.push(registry, repository, &self.manifest.digest).await?;
        let platform = json!({ "os": "linux", "architecture": architecture });
        Ok(
            json!({ "mediaType": self.manifest.media_type(), "size": self.manifest.bytes.len(), "digest": self.manifest.digest, "platform": platform }),
        )
    }
}

/// Pushes images as the platforms of one index, which is OCI's if they are, and gives that.
pub async fn push_index(registry: &str, repository: &str, tag: &str, images: &[(&str, &Image)]) -> anyhow::Result<Blob> {
    let mut platforms = Vec::new();
    for (architecture, image) in images {
        platforms.push(image.push_platform(registry, repository, architecture).await?);
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": platforms });
    let index = Blob::new(index.to_string().into_bytes());
    let all_oci = images.iter().all(|(_, image)| image.manifest.media_type() != MANIFEST_TYPE);
    let index = if all_oci { index.oci() } else { index };
    push_manifest(registry, repository, tag, &index).await?;
    Ok(index)
}

async fn push_manifest(registry: &str, repository: &str, reference: &str, manifest: &Blob) -> anyhow::Result<()> {
    let url = format!("{registry}/v2/{repository}/manifests/{reference}");
    let request = reqwest::Client::new().put(url).header("content-type", manifest.media_type()).body(manifest.bytes.clone());
    let response = request.send().await?;
    if !response.status().is_success() {
        bail!("the registry refused the manifest: {} {}", response.status(), response.text().await?);
    }
    Ok(())
}

/// Bytes that do not compress, the same for each seed (SplitMix64).
pub fn pseudo_random(seed: u64, size_bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(size_bytes + 8);
    while bytes.len() < size_bytes {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(size_bytes);
    bytes
}
