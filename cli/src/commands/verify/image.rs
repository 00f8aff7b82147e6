//! Whether a container image on this machine is what a proof is of (OCI image specification 1.1: image layout, index, manifest,
//! configuration).
//!
//! Every entry that an engine would load must lead to what is proven, and every file it leads to must have its digest. A proven
//! manifest binds its configuration and its layers. Engines without containerd's store, and tools that turn one format into another, save
//! another manifest, and layers without their compression or with another one: there the proven configuration binds the layers, by the
//! digests that they have uncompressed.

use super::image_files::{FilesError, INDEX, ImageFiles, SAVED};
use super::proven::Proven;
use pyrsia_ledger::Sha256Digest;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The most manifests and indexes that are looked at.
const DOCUMENTS_MAX: usize = 1_000;
/// How deep an index may lie in another one.
const DEPTH_MAX: usize = 4;
/// What is read of indexes and manifests, and of `manifest.json`. Engines written in Go take a key in any case for the same one, and the
/// last of several counts.
const KEYS: [&str; 4] = ["manifests", "config", "layers", "digest"];
const SAVED_KEYS: [&str; 2] = ["Config", "Layers"];
/// Below these keys stands what is of no effect.
const ANNOTATIONS: &str = "annotations";

#[derive(Debug, thiserror::Error)]
pub(super) enum ImageError {
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error("{name} in it cannot be understood: {problem}")]
    Malformed { name: String, problem: String },
    #[error("{0:?} in it is no sha256 digest")]
    Digest(String),
    #[error("{name} in it has the sha256 {found}")]
    OtherBytes { name: String, found: Sha256Digest },
    #[error("its manifest sha256:{manifest} is not in the proof, and neither is its configuration")]
    Manifest { manifest: Sha256Digest },
    #[error("its configuration sha256:{config} is not in the proof")]
    Config { config: Sha256Digest },
    #[error("its layer {name} is not the one that its configuration names")]
    Layer { name: String },
    #[error("{name} names {layers} layers, and the configuration of the image has {configured}")]
    LayerCount { name: String, layers: usize, configured: usize },
    #[error("{name} is missing in it")]
    Missing { name: String },
    #[error("it holds no manifest")]
    Empty,
    #[error("it has more than {DOCUMENTS_MAX} manifests, or indexes inside of more than {DEPTH_MAX} others")]
    TooMany,
}

/// What was found and has its digest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FoundImage {
    /// What stands in the proof and leads to the rest, in the order in which it was found.
    pub(super) proven: Vec<Sha256Digest>,
    pub(super) configs: usize,
    pub(super) layers: usize,
    /// What is named and was not saved along: other platforms, or layers that are elsewhere.
    pub(super) absent: usize,
    /// Whether the layers are bound by the configuration alone.
    pub(super) uncompressed: bool,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Clone, Deserialize)]
struct Descriptor {
    digest: String,
}

/// A manifest or an index.
#[derive(Deserialize)]
struct Document {
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// An entry of `manifest.json`, which `docker load` goes by where there is no containerd.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

struct Check<'a> {
    files: &'a ImageFiles,
    proven: &'a Proven,
    found: FoundImage,
    documents: usize,
    /// Configuration and layers of the manifests that were found.
    manifests: Vec<(Sha256Digest, Vec<Sha256Digest>)>,
}

/// Everything there is of the image, held against the proof.
pub(super) fn check(files: &ImageFiles, proven: &Proven) -> Result<FoundImage, ImageError> {
    let mut check = Check { files, proven, found: FoundImage::default(), documents: 0, manifests: vec![] };
    let index = check.document::<Index>(INDEX, &KEYS)?;
    for top in index.iter().flat_map(|index| &index.manifests) {
        check.descriptor(top, Bound::No, 0)?;
    }
    if index.is_some() && check.manifests.is_empty() {
        return Err(ImageError::Empty);
    }
    let saved = check.document::<Vec<Saved>>(SAVED, &SAVED_KEYS)?;
    for saved in saved.iter().flatten() {
        check.saved(saved)?;
    }
    if check.found.proven.is_empty() {
        return Err(ImageError::Empty);
    }
    Ok(check.found)
}

/// Whether what leads to a document is proven.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Yes,
    No,
}

impl Check<'_> {
    fn document<T: DeserializeOwned>(&self, name: &str, keys: &[&str]) -> Result<Option<T>, ImageError> {
        self.files.document(name)?.map(|bytes| parse(name, &bytes, keys)).transpose()
    }

    fn descriptor(&mut self, descriptor: &Descriptor, bound: Bound, depth: usize) -> Result<(), ImageError> {
        self.documents += 1;
        if depth > DEPTH_MAX || self.documents > DOCUMENTS_MAX {
            return Err(ImageError::TooMany);
        }
        let digest = digest(&descriptor.digest)?;
        let bound = if self.is_proven(digest) { Bound::Yes } else { bound };
        let name = blob(digest);
        let Some(bytes) = self.files.document(&name)? else {
            // Nothing binds it, and an engine could get it elsewhere.
            if bound == Bound::No && depth == 0 {
                return Err(ImageError::Manifest { manifest: digest });
            }
            self.found.absent += 1;
            return Ok(());
        };
        expect(&name, digest, Sha256Digest::of(&bytes))?;
        let document: Document = parse(&name, &bytes, &KEYS)?;
        match (document.manifests, document.config, document.layers) {
            (Some(children), None, None) => children.iter().try_for_each(|child| self.descriptor(child, bound, depth + 1)),
            (None, Some(config), Some(layers)) => self.manifest(digest, bound, &config, &layers),
            _ => Err(malformed(&name, "it is neither a manifest nor an index")),
        }
    }

    fn manifest(
        &mut self,
        manifest: Sha256Digest,
        bound: Bound,
        config: &Descriptor,
        layers: &[Descriptor],
    ) -> Result<(), ImageError> {
        let config = digest(&config.digest)?;
        let layers = layers.iter().map(|layer| digest(&layer.digest)).collect::<Result<Vec<_>, _>>()?;
        if bound == Bound::No {
            if !self.is_proven(config) {
                return Err(ImageError::Manifest { manifest });
            }
            let name = blob(config);
            let uncompressed = self.diff_ids(&name, config)?;
            same_count(&blob(manifest), layers.len(), uncompressed.len())?;
            for (layer, expected) in layers.iter().zip(&uncompressed) {
                self.unpacks_to(&blob(*layer), *layer, *expected)?;
            }
            self.found.uncompressed = true;
        }
        self.found.configs += usize::from(self.blob(config)?);
        for layer in &layers {
            self.found.layers += usize::from(self.blob(*layer)?);
        }
        self.manifests.push((config, layers));
        Ok(())
    }

    /// Whether a blob is there, which then has its digest.
    fn blob(&mut self, digest: Sha256Digest) -> Result<bool, ImageError> {
        let name = blob(digest);
        let Some(found) = self.files.digest(&name)? else {
            self.found.absent += 1;
            return Ok(false);
        };
        expect(&name, digest, found).map(|()| true)
    }

    fn saved(&mut self, saved: &Saved) -> Result<(), ImageError> {
        self.documents += 1;
        if self.documents > DOCUMENTS_MAX {
            return Err(ImageError::TooMany);
        }
        let Saved { config: name, layers } = saved;
        let missing = |name: &str| ImageError::Missing { name: name.to_owned() };
        let config = self.files.digest(name)?.ok_or_else(|| missing(name))?;
        let of_index: Vec<Vec<Sha256Digest>> =
            self.manifests.iter().filter(|(of, _)| *of == config).map(|(_, layers)| layers.clone()).collect();
        if !self.is_proven(config) && of_index.is_empty() {
            return Err(ImageError::Config { config });
        }
        let uncompressed = self.diff_ids(name, config)?;
        same_count(SAVED, layers.len(), uncompressed.len())?;
        for (at, (name, expected)) in layers.iter().zip(&uncompressed).enumerate() {
            let found = self.files.digest(name)?.ok_or_else(|| missing(name))?;
            let as_in_manifest = of_index.iter().any(|layers| layers.get(at) == Some(&found));
            if !as_in_manifest {
                self.unpacks_to(name, found, *expected)?;
            }
        }
        if of_index.is_empty() {
            self.found.configs += 1;
            self.found.layers += layers.len();
            self.found.uncompressed = true;
        }
        Ok(())
    }

    /// Whether a layer, which is said to be `found`, is the one that is expected, as it is or without its compression.
    fn unpacks_to(&self, name: &str, found: Sha256Digest, expected: Sha256Digest) -> Result<(), ImageError> {
        if found == expected || self.files.unpacked_digest(name)? == Some(expected) {
            return Ok(());
        }
        Err(ImageError::Layer { name: name.to_owned() })
    }

    /// The digests that the layers of an image have uncompressed, as its configuration says.
    fn diff_ids(&self, name: &str, expected: Sha256Digest) -> Result<Vec<Sha256Digest>, ImageError> {
        let bytes = self.files.document(name)?.ok_or_else(|| ImageError::Missing { name: name.to_owned() })?;
        expect(name, expected, Sha256Digest::of(&bytes))?;
        let config: Config = serde_json::from_slice(&bytes).map_err(|error| malformed(name, &error.to_string()))?;
        config.rootfs.diff_ids.iter().map(|text| digest(text)).collect()
    }

    fn is_proven(&mut self, digest: Sha256Digest) -> bool {
        let is_proven = self.proven.artifact(&digest).is_some();
        if is_proven && !self.found.proven.contains(&digest) {
            self.found.proven.push(digest);
        }
        is_proven
    }
}

/// Refuses what two programs could read in two ways.
fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8], keys: &[&str]) -> Result<T, ImageError> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| malformed(name, &error.to_string()))?;
    if let Some(key) = lookalike(&value, keys) {
        return Err(malformed(name, &format!("some programs take the key {key:?} for another one")));
    }
    // From the bytes: a value has lost the first of two keys.
    serde_json::from_slice(bytes).map_err(|error| malformed(name, &error.to_string()))
}

fn lookalike<'v>(value: &'v Value, keys: &[&str]) -> Option<&'v str> {
    let folded = |text: &str| text.to_uppercase().to_lowercase();
    let looks_like_one = |key: &str| keys.iter().any(|known| key != *known && folded(key) == folded(known));
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| *key != ANNOTATIONS)
            .find_map(|(key, value)| if looks_like_one(key) { Some(key.as_str()) } else { lookalike(value, keys) }),
        Value::Array(items) => items.iter().find_map(|item| lookalike(item, keys)),
        _ => None,
    }
}

fn malformed(name: &str, problem: &str) -> ImageError {
    ImageError::Malformed { name: name.to_owned(), problem: problem.to_owned() }
}

fn blob(digest: Sha256Digest) -> String {
    format!("blobs/sha256/{digest}")
}

/// Reads `sha256:` and its digits.
pub(super) fn digest(text: &str) -> Result<Sha256Digest, ImageError> {
    let digits = text.strip_prefix("sha256:").and_then(|digits| digits.parse().ok());
    digits.ok_or_else(|| ImageError::Digest(text.chars().take(80).collect()))
}

fn expect(name: &str, expected: Sha256Digest, found: Sha256Digest) -> Result<(), ImageError> {
    if found == expected { Ok(()) } else { Err(ImageError::OtherBytes { name: name.to_owned(), found }) }
}

fn same_count(name: &str, layers: usize, configured: usize) -> Result<(), ImageError> {
    if layers == configured { Ok(()) } else { Err(ImageError::LayerCount { name: name.to_owned(), layers, configured }) }
}

#[cfg(test)]
mod tests;
