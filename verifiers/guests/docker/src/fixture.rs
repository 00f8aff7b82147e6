//! Layers and outputs for tests, written byte by byte, so that they can be as odd as bytes can be.
#![allow(clippy::unwrap_used)]

use std::io::Write;

use flate2::GzBuilder;
use pyrsia_verifier_kit::files::MemoryFiles;
use pyrsia_verifier_kit::hash::{hex, sha256};
use serde_json::{Value, json};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const TAR_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// One entry of an archive as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) path: String,
    pub(crate) kind: u8,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) modified: u64,
    pub(crate) user: String,
    pub(crate) group: String,
    pub(crate) link: String,
    pub(crate) device: (u32, u32),
    pub(crate) content: Vec<u8>,
    pub(crate) pax: Vec<(String, Vec<u8>)>,
    pub(crate) gnu: bool,
}

impl Member {
    pub(crate) fn new(path: &str, kind: u8, mode: u32) -> Self {
        Self {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            modified: 0,
            user: String::new(),
            group: String::new(),
            link: String::new(),
            device: (0, 0),
            content: Vec::new(),
            pax: Vec::new(),
            gnu: false,
        }
    }

    pub(crate) fn file(path: &str, content: &[u8]) -> Self {
        Self { content: content.into(), ..Self::new(path, b'0', 0o644) }
    }

    pub(crate) fn folder(path: &str) -> Self {
        Self::new(path, b'5', 0o755)
    }

    pub(crate) fn symbolic(path: &str, link: &str) -> Self {
        Self { link: link.into(), ..Self::new(path, b'2', 0o777) }
    }

    pub(crate) fn hard(path: &str, link: &str) -> Self {
        Self { link: link.into(), ..Self::new(path, b'1', 0o644) }
    }

    pub(crate) fn with_pax(mut self, key: &str, value: &[u8]) -> Self {
        self.pax.push((key.into(), value.into()));
        self
    }

    pub(crate) fn write(&self, archive: &mut Vec<u8>) {
        if !self.pax.is_empty() {
            let records: Vec<u8> = self.pax.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
            Self { content: records, ..Self::new("pax", b'x', 0o644) }.write(archive);
        }
        archive.extend(self.header());
        archive.extend(&self.content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }

    pub(crate) fn header(&self) -> [u8; 512] {
        let mut header = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, self.path.as_bytes());
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(108, format!("{:07o}", self.uid).as_bytes());
        put(116, format!("{:07o}", self.gid).as_bytes());
        put(124, format!("{:011o}", self.content.len()).as_bytes());
        put(136, format!("{:011o}", self.modified).as_bytes());
        put(156, &[self.kind]);
        put(157, self.link.as_bytes());
        put(257, if self.gnu { b"ustar  \0" } else { b"ustar\x0000" });
        put(265, self.user.as_bytes());
        put(297, self.group.as_bytes());
        put(329, format!("{:07o}", self.device.0).as_bytes());
        put(337, format!("{:07o}", self.device.1).as_bytes());
        with_checksum(header)
    }
}

pub(crate) fn with_checksum(mut header: [u8; 512]) -> [u8; 512] {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (1..).find(|length: &usize| rest + length.to_string().len() == *length).unwrap();
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

pub(crate) fn tar(members: &[Member]) -> Vec<u8> {
    let mut archive = Vec::new();
    members.iter().for_each(|member| member.write(&mut archive));
    archive.extend([0; 1024]);
    archive
}

pub(crate) fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// What an ordinary layer has, of every kind.
pub(crate) fn ordinary() -> Vec<Member> {
    let perl = Member { mode: 0o755, ..Member::file("usr/bin/perl", b"#!perl, made for tests") };
    let ping = Member { mode: 0o4755, ..Member::file("usr/bin/ping", b"\x7fELF") };
    vec![
        Member::folder("etc/"),
        Member { mode: 0o640, gid: 42, ..Member::file("etc/shadow", b"root:*:1::::::\n") },
        Member::symbolic("etc/mtab", "../proc/mounts"),
        Member::folder("usr/"),
        Member { mode: 0o1777, ..Member::folder("usr/bin/") },
        perl,
        Member { mode: 0o755, ..Member::hard("usr/bin/perl5", "usr/bin/perl") },
        ping.with_pax("SCHILY.xattr.security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        Member { device: (1, 3), ..Member::new("null", b'3', 0o666) },
        Member::new("pipe", b'6', 0o600),
        Member::file("usr/.wh.share", b""),
    ]
}

/// A layer of an image: its media type, its bytes, and the tar inside.
#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) media_type: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) tar: Vec<u8>,
}

impl Layer {
    pub(crate) fn gzip(tar: Vec<u8>, level: u32) -> Self {
        Self { media_type: TAR_GZIP, bytes: gzip(&tar, level), tar }
    }

    pub(crate) fn zstd(tar: Vec<u8>) -> Self {
        Self { media_type: TAR_ZSTD, bytes: zstd(&tar), tar }
    }

    pub(crate) fn plain(tar: Vec<u8>) -> Self {
        Self { media_type: TAR, bytes: tar.clone(), tar }
    }
}

/// An output under construction.
#[derive(Clone, Default)]
pub(crate) struct Build(pub(crate) Vec<(String, Vec<u8>)>);

impl Build {
    pub(crate) fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        let name = format!("{digest}.blob");
        if self.0.iter().all(|(known, _)| *known != name) {
            self.0.push((name, bytes.into()));
        }
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    /// Adds the config and the layers, and gives the manifest. The config's diff ids are put in.
    pub(crate) fn image(&mut self, mut config: Value, layers: &[Layer]) -> Value {
        let diff_ids: Vec<_> = layers.iter().map(|layer| digest(&layer.tar)).collect();
        config["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
        let config = self.blob(OCI_CONFIG, config.to_string().as_bytes());
        let layers: Vec<_> = layers.iter().map(|layer| self.blob(layer.media_type, &layer.bytes)).collect();
        json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers })
    }

    pub(crate) fn finish(mut self, manifest: &Value) -> MemoryFiles {
        self.0.push(("manifest".into(), manifest.to_string().into_bytes()));
        MemoryFiles(self.0)
    }
}

pub(crate) fn config() -> Value {
    json!({
        "architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z",
        "config": {
            "Env": ["PATH=/bin", "A=1"], "Entrypoint": ["/entry"], "Cmd": ["serve"], "User": "1000:1000", "WorkingDir": "/srv", "StopSignal": "SIGINT",
            "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "Labels": {"k": "v", "org.opencontainers.image.created": "2026-01-02T03:04:05Z"},
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000000000u64}, "OnBuild": ["RUN true"], "Shell": ["/bin/sh"], "ArgsEscaped": true,
        },
        "history": [
            {"created": "2026-01-02T03:04:05Z", "created_by": "COPY . /", "comment": "c"},
            {"created": "2026-01-02T03:04:06Z", "created_by": "CMD serve", "empty_layer": true, "author": "a"},
        ],
    })
}

pub(crate) fn image(config: Value, layers: &[Layer]) -> MemoryFiles {
    let mut build = Build::default();
    let manifest = build.image(config, layers);
    build.finish(&manifest)
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&sha256(bytes)))
}

/// The JSON pointer (RFC 6901) of everything inside a document.
pub(crate) fn places_in(document: &Value) -> Vec<String> {
    let mut places = vec![];
    collect("", document, &mut places);
    places
}

fn collect(place: &str, value: &Value, places: &mut Vec<String>) {
    let mut add = |key: &str, value: &Value| {
        let place = format!("{place}/{}", key.replace('/', "~1"));
        places.push(place.clone());
        collect(&place, value, places);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| add(key, value)),
        Value::Array(items) => items.iter().enumerate().for_each(|(at, value)| add(&at.to_string(), value)),
        _ => {}
    }
}
