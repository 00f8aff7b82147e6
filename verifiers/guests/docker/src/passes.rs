//! The passes of this verifier: what comparison forgives, each a closed list, and what an object had of it.
//!
//! Owns the names, the sentences and the order. A pass forgives only what is named here; whatever cannot be read without doubt is compared bit for bit.

use pyrsia_verifier_kit::Pass as Described;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pass {
    GzipHeader,
    Compression,
    CompressionMethod,
    TarDialect,
    TarTime,
    OwnerNames,
    InodeNumbers,
    TarOrder,
    JsonForm,
    Created,
    History,
    BuilderRecords,
    ImageNames,
    Attestations,
    References,
}

use Pass::*;

const COUNT: usize = 15;

impl Pass {
    /// In the order in which they run.
    pub const ALL: [Self; COUNT] = [
        GzipHeader,
        Compression,
        CompressionMethod,
        TarDialect,
        TarTime,
        OwnerNames,
        InodeNumbers,
        TarOrder,
        JsonForm,
        Created,
        History,
        BuilderRecords,
        ImageNames,
        Attestations,
        References,
    ];

    /// Those that act on a layer's tar.
    pub const OF_TAR: [Self; 5] = [TarDialect, TarTime, OwnerNames, InodeNumbers, TarOrder];

    pub fn name(self) -> &'static str {
        match self {
            GzipHeader => "gzip-header",
            Compression => "compression",
            CompressionMethod => "compression-method",
            TarDialect => "tar-dialect",
            TarTime => "tar-time",
            OwnerNames => "owner-names",
            InodeNumbers => "inode-numbers",
            TarOrder => "tar-order",
            JsonForm => "json-form",
            Created => "created",
            History => "history",
            BuilderRecords => "builder-records",
            ImageNames => "image-names",
            Attestations => "attestations",
            References => "references",
        }
    }

    pub fn forgives(self) -> &'static str {
        match self {
            GzipHeader => "The time, name, comment, extra field, flags and system in the gzip header of a layer.",
            Compression => "The level, the window, the division into blocks and the checksums with which a layer was compressed.",
            CompressionMethod => {
                "Whether a layer is compressed with gzip, with zstd or not at all, and the end of its media type that says so."
            }
            TarDialect => {
                "How a layer's tar writes an entry: ustar, pax or GNU format, `./` and `/` in front of a path and `/` behind a directory's, type bits repeated in the mode, \
                 how it writes numbers, comments, what fills up its blocks, and the zeros at the end."
            }
            TarTime => "The times of modification, access, change and creation of a layer's entries.",
            OwnerNames => "The names of the user and the group of a layer's entries; never their numbers.",
            InodeNumbers => {
                "The device, inode and link count that the builder's file system gave a file (SCHILY.dev, SCHILY.ino, SCHILY.nlink)."
            }
            TarOrder => {
                "The order of a layer's entries, and which name of a hard-linked file comes first; never which names belong to one file."
            }
            JsonForm => "White space, escapes and the order of keys in a config, manifest or index.",
            Created => {
                "The time of creation of an image, of the steps of its history, and in the label or annotation `org.opencontainers.image.created`; and the annotation \
                 `buildkit/rewritten-epoch`."
            }
            History => {
                "The command and the comment of the steps of an image's history; never their number, order, author or whether they made a layer."
            }
            BuilderRecords => {
                "What a builder notes in a config of itself: `container`, `container_config`, `docker_version` and `id`, and, if it is a digest or empty, `config.Image`, the image \
                 that the last step began with."
            }
            ImageNames => {
                "The annotations `org.opencontainers.image.ref.name` and `io.containerd.image.name`, which say how an image was called."
            }
            Attestations => {
                "The statements in an index about its images: manifests for the platform `unknown/unknown` that are annotated as `attestation-manifest`, with all they refer to."
            }
            References => {
                "The digest, size and embedded data of a config, layer or manifest where they are those of the object, and diff ids where they are those of the layer: the object itself is \
                 compared instead."
            }
        }
    }

    pub fn described() -> Vec<Described> {
        Self::ALL.iter().map(|pass| Described::new(pass.name(), pass.forgives())).collect()
    }
}

/// Some of the passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassSet(u16);

impl PassSet {
    pub fn insert(&mut self, pass: Pass) {
        self.0 |= 1 << pass as usize;
    }

    pub fn contains(self, pass: Pass) -> bool {
        self.0 & 1 << pass as usize != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// By name, in the order in which they run.
    pub fn names(self) -> Vec<String> {
        Pass::ALL.iter().filter(|pass| self.contains(**pass)).map(|pass| pass.name().into()).collect()
    }
}

/// What the passes removed from one object, as a fingerprint for each pass.
///
/// Fingerprints only tell which passes two objects need to be the same; that they are is for the canonical digest to say. So they need not resist anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noise([Option<u64>; COUNT]);

impl Noise {
    /// Notes something that `pass` removed. In which order things are noted means nothing.
    pub fn note(&mut self, pass: Pass, parts: &[&[u8]]) {
        let print = &mut self.0[pass as usize];
        *print = Some(print.unwrap_or(0).wrapping_add(fingerprint(parts)));
    }

    /// Notes all that `other` has.
    pub fn add(&mut self, other: &Self) {
        for (print, other) in self.0.iter_mut().zip(other.0) {
            if let Some(other) = other {
                *print = Some(print.unwrap_or(0).wrapping_add(other));
            }
        }
    }

    pub fn passes(&self) -> PassSet {
        self.filtered(|at| self.0[at].is_some())
    }

    /// The passes that removed something else from `other` than from this.
    pub fn different(&self, other: &Self) -> PassSet {
        self.filtered(|at| self.0[at] != other.0[at])
    }

    fn filtered(&self, include: impl Fn(usize) -> bool) -> PassSet {
        let mut passes = PassSet::default();
        Pass::ALL.iter().filter(|pass| include(**pass as usize)).for_each(|pass| passes.insert(*pass));
        passes
    }
}

/// FNV-1a over the parts and their lengths.
pub fn fingerprint(parts: &[&[u8]]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    parts.iter().fold(0xcbf2_9ce4_8422_2325, |hash, part| {
        let hash = (part.len() as u64).to_le_bytes().iter().fold(hash, step);
        part.iter().fold(hash, step)
    })
}

#[cfg(test)]
mod tests;
