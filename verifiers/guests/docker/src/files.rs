//! The files of one call, and what an image's output calls them.
//!
//! Owns the names `manifest` and `sha256:HEX.blob`, and the rule that every file is claimed by something. Never holds a whole layer:
//! the host hashes, and only manifests and configs are read.

use std::collections::BTreeMap;

use pyrsia_verifier_kit::hash::{self, hex};
use pyrsia_verifier_kit::{File, Output, Refusal, Sha256};

use crate::coordinate::is_digest;

/// The file with the top manifest or index.
pub const MANIFEST: &str = "manifest";
const BLOB_SUFFIX: &str = ".blob";

/// The files by digest, each hashed once and remembered as referenced or not.
pub struct Files<'a> {
    output: Output<'a>,
    /// By file number.
    sha256: Vec<Sha256>,
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
    pub fn open(output: Output<'a>) -> Result<Self, Refusal> {
        let mut manifest = None;
        let mut blobs = BTreeMap::new();
        for file in output.files() {
            let name = file.name();
            let known_before = match name.strip_suffix(BLOB_SUFFIX) {
                _ if name == MANIFEST => manifest.replace(file.index()).is_some(),
                Some(digest) if is_digest(digest) => {
                    let blob = Blob { file: file.index(), size: file.size(), referenced: false };
                    blobs.insert(digest.to_owned(), blob).is_some()
                }
                _ => {
                    return Err(Refusal::new(
                        "unknown-file",
                        name,
                        "A build of an image gives one file `manifest`, and every other object as `sha256:HEX.blob`.",
                    ));
                }
            };
            if known_before {
                return Err(Refusal::new("duplicate-file", name, "Two files of the build have this name."));
            }
        }
        let Some(manifest) = manifest else {
            return Err(Refusal::new("missing-manifest", MANIFEST, "The build gave no file `manifest`."));
        };
        let sha256 = output.files().map(|file| file.sha256()).collect();
        let files = Self { output, sha256, manifest, blobs };
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

    pub fn count(&self) -> u32 {
        self.output.count()
    }

    pub fn all(&self) -> impl Iterator<Item = File<'a>> + use<'a> {
        self.output.files()
    }

    pub fn file(&self, file: u32) -> File<'a> {
        self.output.file(file).expect("the numbers of files come from this output")
    }

    pub fn name_of(&self, file: u32) -> String {
        self.file(file).name().into()
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

    pub fn unreferenced(&self) -> impl Iterator<Item = String> {
        self.blobs.iter().filter(|(_, blob)| !blob.referenced).map(|(digest, _)| file_name(digest))
    }

    /// The whole file, or `None` when it is larger than `bytes_max`.
    pub fn read(&self, file: u32, bytes_max: u64) -> Option<Vec<u8>> {
        self.file(file).read_whole(bytes_max)
    }

    pub fn sha256_of(&self, file: u32) -> &Sha256 {
        &self.sha256[file as usize]
    }

    /// The file's digest, as the specification writes it.
    pub fn digest_of(&self, file: u32) -> String {
        digest_text(self.sha256_of(file))
    }

    /// Whether both have the same files, bit for bit.
    pub fn are(&self, other: &Self) -> bool {
        // The names of blobs are their digests, which were checked.
        self.sha256_of(self.manifest) == other.sha256_of(other.manifest) && self.blobs.keys().eq(other.blobs.keys())
    }
}

pub fn digest_of_bytes(bytes: &[u8]) -> String {
    digest_text(&hash::sha256(bytes))
}

pub fn file_name(digest: &str) -> String {
    format!("{digest}{BLOB_SUFFIX}")
}

fn digest_text(sha256: &Sha256) -> String {
    format!("sha256:{}", hex(sha256))
}
