//! A small image.

use pyrsia_ledger::Sha256Digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// An image with one layer.
pub(super) struct Image {
    pub(super) manifest: Vec<u8>,
    pub(super) config: Vec<u8>,
    pub(super) layer: Vec<u8>,
}

impl Image {
    /// With a few hundred kilobytes.
    pub(super) fn new() -> Self {
        Self::of((0..700_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[..1].to_vec()).collect())
    }

    pub(super) fn of(layer: Vec<u8>) -> Self {
        let diff_id = Sha256Digest::of(&layer).to_oci();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        });
        let config = serde_json::to_vec(&config).expect("JSON");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor("application/vnd.docker.container.image.v1+json", &config),
            "layers": [descriptor("application/vnd.docker.image.rootfs.diff.tar", &layer)],
        });
        Self { manifest: serde_json::to_vec(&manifest).expect("JSON"), config, layer }
    }

    /// As a build gives it.
    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let [_, config, layer] = self.digests();
        BTreeMap::from([
            ("manifest".to_owned(), self.manifest.clone()),
            (format!("{config}.blob"), self.config.clone()),
            (format!("{layer}.blob"), self.layer.clone()),
        ])
    }

    pub(super) fn digests(&self) -> [String; 3] {
        [&self.manifest, &self.config, &self.layer].map(|bytes| Sha256Digest::of(bytes).to_oci())
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "size": bytes.len(), "digest": Sha256Digest::of(bytes).to_oci()})
}
