//! Outputs of image builds, made up in memory and lent as files.

use std::fs;

use pyrsia_ledger::Sha256Digest;
use pyrsia_verifiers::{InputFile, Outcome, PublishedArtifact};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::DOCKER;

pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A build's output by file name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output(pub(crate) Vec<(String, Vec<u8>)>);

impl Output {
    /// An image in Docker's format with two layers.
    pub(crate) fn docker() -> Self {
        let mut output = Self::default();
        let manifest = output.image([DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER], "amd64", &[b"first layer", b"second layer"]);
        output.with_manifest(&manifest)
    }

    /// An image in OCI's format with one layer.
    pub(crate) fn oci() -> Self {
        let mut output = Self::default();
        let manifest = output.image([OCI_MANIFEST, OCI_CONFIG, OCI_LAYER], "amd64", &[b"the layer"]);
        output.with_manifest(&manifest)
    }

    /// Two platforms that share a layer.
    pub(crate) fn index() -> Self {
        let mut output = Self::default();
        let children: Vec<Value> = ["amd64", "arm64"]
            .into_iter()
            .map(|architecture| {
                let manifest = output.image(
                    [DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER],
                    architecture,
                    &[b"shared", architecture.as_bytes()],
                );
                let mut descriptor = output.blob(DOCKER_MANIFEST, manifest.to_string().as_bytes());
                descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
                descriptor
            })
            .collect();
        output.with_manifest(&json!({ "schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": children }))
    }

    /// Adds an object and gives its descriptor.
    pub(crate) fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Sha256Digest::of(bytes).to_oci();
        let name = format!("{digest}.blob");
        if self.0.iter().all(|(known, _)| *known != name) {
            self.0.push((name, bytes.into()));
        }
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    /// Adds the config and layers of an image and gives its manifest.
    pub(crate) fn image(&mut self, media_types: [&str; 3], architecture: &str, layers: &[&[u8]]) -> Value {
        let [manifest, config, layer] = media_types;
        let diff_ids: Vec<String> = layers.iter().map(|layer| Sha256Digest::of(layer).to_oci()).collect();
        let rootfs = json!({ "type": "layers", "diff_ids": diff_ids });
        let config =
            self.blob(config, json!({ "os": "linux", "architecture": architecture, "rootfs": rootfs }).to_string().as_bytes());
        let layers: Vec<Value> = layers.iter().map(|bytes| self.blob(layer, bytes)).collect();
        json!({ "schemaVersion": 2, "mediaType": manifest, "config": config, "layers": layers })
    }

    pub(crate) fn with_manifest(mut self, manifest: &Value) -> Self {
        self.0.push(("manifest".into(), manifest.to_string().into_bytes()));
        self
    }

    /// Changes the top manifest.
    pub(crate) fn edited(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        let bytes = self.file("manifest");
        let mut manifest = serde_json::from_slice(bytes).unwrap();
        edit(&mut manifest);
        *bytes = manifest.to_string().into_bytes();
        self
    }

    pub(crate) fn file(&mut self, name: &str) -> &mut Vec<u8> {
        &mut self.0.iter_mut().find(|(known, _)| known == name).unwrap().1
    }

    /// The name of the file with these bytes.
    pub(crate) fn name_of(&self, bytes: &[u8]) -> String {
        self.0.iter().find(|(_, known)| known == bytes).unwrap().0.clone()
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(known, _)| known != name);
        self
    }

    pub(crate) fn manifest_digest(&mut self) -> Sha256Digest {
        Sha256Digest::of(self.file("manifest"))
    }

    /// Writes the files. They go when the folder is dropped.
    pub(crate) fn lend(&self) -> (TempDir, Vec<InputFile>) {
        let folder = tempfile::tempdir().unwrap();
        let files = self.0.iter().enumerate().map(|(number, (name, bytes))| {
            let path = folder.path().join(number.to_string());
            fs::write(&path, bytes).unwrap();
            InputFile { name: name.clone(), path, size_bytes: bytes.len() as u64 }
        });
        let files = files.collect();
        (folder, files)
    }

    pub(crate) fn check(&self, coordinate: &str) -> Outcome<Vec<PublishedArtifact>> {
        let (_folder, files) = self.lend();
        DOCKER.check(coordinate, &files)
    }
}
