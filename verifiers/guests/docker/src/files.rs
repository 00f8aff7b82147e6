//! The files of one call, and what an image's output calls them.
//!
//! Owns the names `manifest` and `sha256:HEX.blob`, and the rule that every file is claimed by something. Never holds a whole layer:
//! the host hashes, and only manifests and configs are read.

use std::collections::BTreeMap;

use crate::coordinate::is_digest;
use crate::refusal::Refusal;

/// Read access to the files of a call: the host's in a component, memory in a native test.
pub trait Inputs {
    fn count(&self) -> u32;
    fn name(&self, file: u32) -> String;
    fn size(&self, file: u32) -> u64;
    fn read(&self, file: u32, offset: u64, len: u32) -> Vec<u8>;
    fn sha256(&self, file: u32, offset: u64, len: u64) -> Vec<u8>;
    fn sha256_bytes(&self, bytes: &[u8]) -> Vec<u8>;
}

/// The file with the top manifest or index.
pub const MANIFEST: &str = "manifest";
const BLOB_SUFFIX: &str = ".blob";
/// The contract's bound of one read, in bytes.
const READ_BYTES_MAX: u64 = 1 << 20;

/// The files by digest, each hashed once and remembered as referenced or not.
pub struct Files<'a> {
    inputs: &'a dyn Inputs,
    /// By file number.
    sha256: Vec<Vec<u8>>,
    manifest: u32,
    blobs: BTreeMap<String, Blob>,
}

#[derive(Clone, Copy)]
pub struct Blob {
    pub file: u32,
    pub size: u64,
    referenced: bool,
}

impl<'a> Files<'a> {
    /// Sorts the files by what their names say they are, and checks that each is that, byte for byte.
    pub fn open(inputs: &'a dyn Inputs) -> Result<Self, Refusal> {
        let mut manifest = None;
        let mut blobs = BTreeMap::new();
        for file in 0..inputs.count() {
            let name = inputs.name(file);
            let known_before = match name.strip_suffix(BLOB_SUFFIX) {
                _ if name == MANIFEST => manifest.replace(file).is_some(),
                Some(digest) if is_digest(digest) => {
                    let blob = Blob { file, size: inputs.size(file), referenced: false };
                    blobs.insert(digest.to_owned(), blob).is_some()
                }
                _ => {
                    return Err(Refusal::new(
                        "unknown-file",
                        &name,
                        "A build of an image gives one file `manifest`, and every other object as `sha256:HEX.blob`.",
                    ));
                }
            };
            if known_before {
                return Err(Refusal::new("duplicate-file", &name, "Two files of the build have this name."));
            }
        }
        let Some(manifest) = manifest else {
            return Err(Refusal::new("missing-manifest", MANIFEST, "The build gave no file `manifest`."));
        };
        let sha256 = (0..inputs.count()).map(|file| inputs.sha256(file, 0, inputs.size(file))).collect();
        let files = Self { inputs, sha256, manifest, blobs };
        for (digest, blob) in &files.blobs {
            let actual = files.digest_of(blob.file);
            if actual != *digest {
                return Err(Refusal::new(
                    "wrong-digest",
                    &file_name(digest),
                    format!("The file's bytes have the digest {actual}."),
                ));
            }
        }
        Ok(files)
    }

    pub fn manifest(&self) -> u32 {
        self.manifest
    }

    /// The blob a descriptor points to, which from here on counts as referenced.
    pub fn claim(&mut self, digest: &str) -> Option<Blob> {
        let blob = self.blobs.get_mut(digest)?;
        blob.referenced = true;
        Some(*blob)
    }

    pub fn unreferenced(&self) -> Option<String> {
        self.blobs.iter().find(|(_, blob)| !blob.referenced).map(|(digest, _)| file_name(digest))
    }

    /// The whole file, or `None` when it is larger than `bytes_max`.
    pub fn read(&self, file: u32, bytes_max: u64) -> Option<Vec<u8>> {
        let size = self.inputs.size(file);
        if size > bytes_max {
            return None;
        }
        let mut bytes = Vec::with_capacity(size as usize);
        while (bytes.len() as u64) < size {
            let rest = (size - bytes.len() as u64).min(READ_BYTES_MAX);
            bytes.extend(self.inputs.read(file, bytes.len() as u64, rest as u32));
        }
        Some(bytes)
    }

    pub fn sha256_of(&self, file: u32) -> &[u8] {
        &self.sha256[file as usize]
    }

    /// The file's digest, as the specification writes it.
    pub fn digest_of(&self, file: u32) -> String {
        digest_text(self.sha256_of(file))
    }

    pub fn digest_of_bytes(&self, bytes: &[u8]) -> String {
        digest_text(&self.inputs.sha256_bytes(bytes))
    }
}

pub fn file_name(digest: &str) -> String {
    format!("{digest}{BLOB_SUFFIX}")
}

fn digest_text(sha256: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let hex = sha256.iter().flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    "sha256:".chars().chain(hex.map(char::from)).collect()
}
