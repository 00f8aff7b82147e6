//! Images: documents with what they refer to in place of its digest, and layers unpacked.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Meaning, Owners, tar};
use crate::mutation::unpack;

const NOISE_OF_CONFIG: [&str; 5] = ["created", "container", "container_config", "docker_version", "id"];
const NOISE_OF_STEP: [&str; 3] = ["created", "created_by", "comment"];
const NOISE_OF_ANNOTATIONS: [&str; 4] = [
    "org.opencontainers.image.created",
    "buildkit/rewritten-epoch",
    "org.opencontainers.image.ref.name",
    "io.containerd.image.name",
];

pub(super) fn meaning(files: &[(String, Vec<u8>)]) -> Option<Meaning> {
    let (_, manifest) = files.iter().find(|(name, _)| name == "manifest")?;
    let mut meaning = Meaning::new();
    document("manifest", manifest, files, &mut meaning)?;
    Some(meaning)
}

fn find<'f>(files: &'f [(String, Vec<u8>)], descriptor: &Value) -> Option<&'f [u8]> {
    let digest = descriptor.get("digest")?.as_str()?;
    let (_, bytes) = files.iter().find(|(name, _)| name.strip_suffix(".blob") == Some(digest))?;
    let actual: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    (digest.strip_prefix("sha256:") == Some(&actual)).then_some(bytes)
}

fn document(place: &str, bytes: &[u8], files: &[(String, Vec<u8>)], meaning: &mut Meaning) -> Option<()> {
    let mut value: Value = serde_json::from_slice(bytes).ok()?;
    remove(value.get_mut("annotations"), &NOISE_OF_ANNOTATIONS);
    if let Some(Value::Array(children)) = value.get_mut("manifests") {
        children.retain(|child| {
            child.pointer("/annotations/vnd.docker.reference.type").is_none_or(|kind| kind != "attestation-manifest")
        });
        for (at, child) in children.iter_mut().enumerate() {
            let bytes = find(files, child)?;
            document(&format!("{place}/{at}"), bytes, files, meaning)?;
            plain(child);
        }
    }
    if let Some(descriptor) = value.get_mut("config") {
        config(&format!("{place}/config"), find(files, descriptor)?, meaning)?;
        plain(descriptor);
    }
    if let Some(Value::Array(layers)) = value.get_mut("layers") {
        for (at, descriptor) in layers.iter_mut().enumerate() {
            layer(&format!("{place}/layer {at}"), find(files, descriptor)?, meaning)?;
            plain(descriptor);
            if let Some(media_type) = descriptor.get_mut("mediaType") {
                let text = media_type.as_str()?;
                let text = text.trim_end_matches("gzip").trim_end_matches("zstd").trim_end_matches(['.', '+']);
                *media_type = text.into();
            }
        }
    }
    meaning.insert(place.into(), value.to_string());
    Some(())
}

/// A descriptor without what its object says by itself.
fn plain(descriptor: &mut Value) {
    remove(Some(descriptor), &["digest", "size", "data"]);
    remove(descriptor.get_mut("annotations"), &NOISE_OF_ANNOTATIONS);
    // An annotation may have been all there was.
    if descriptor.get("annotations").is_some_and(|annotations| annotations.as_object().is_some_and(|map| map.is_empty())) {
        remove(Some(descriptor), &["annotations"]);
    }
}

fn config(place: &str, bytes: &[u8], meaning: &mut Meaning) -> Option<()> {
    let mut value: Value = serde_json::from_slice(bytes).ok()?;
    remove(Some(&mut value), &NOISE_OF_CONFIG);
    if let Some(Value::Array(steps)) = value.get_mut("history") {
        steps.iter_mut().for_each(|step| remove(Some(step), &NOISE_OF_STEP));
    }
    remove(value.pointer_mut("/rootfs"), &["diff_ids"]);
    remove(value.pointer_mut("/config"), &["Image"]);
    remove(value.pointer_mut("/config/Labels"), &NOISE_OF_ANNOTATIONS[..1]);
    if value.pointer("/config/Labels").is_some_and(|labels| labels.as_object().is_some_and(|map| map.is_empty())) {
        remove(value.pointer_mut("/config"), &["Labels"]);
    }
    meaning.insert(place.into(), value.to_string());
    Some(())
}

fn layer(place: &str, bytes: &[u8], meaning: &mut Meaning) -> Option<()> {
    let unpacked = match bytes {
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => unpack(bytes),
        _ => Some(bytes.to_vec()),
    };
    let entries = tar(&unpacked?, Owners::Numbers)?;
    meaning.extend(entries.into_iter().map(|(path, said)| (format!("{place} {path}"), said)));
    Some(())
}

fn remove(object: Option<&mut Value>, keys: &[&str]) {
    if let Some(Value::Object(map)) = object {
        keys.iter().for_each(|key| drop(map.remove(*key)));
    }
}
