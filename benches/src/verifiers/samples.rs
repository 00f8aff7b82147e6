//! Build outputs to measure with, made of the machine code of this project's own programs, so that they compress as real ones do.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use pyrsia_verifiers::InputFile;
use serde_json::json;
use sha2::{Digest, Sha256, Sha512};
use zip::write::SimpleFileOptions;

/// Sizes of entries go round through these: those of classes and resources, …
const JAR_ENTRY_BYTES: [usize; 8] = [900, 2_300, 3_100, 4_700, 6_500, 9_800, 17_000, 65_000];
/// … and those of files in a layer.
const LAYER_ENTRY_BYTES: [usize; 6] = [700, 4_100, 12_000, 33_000, 150_000, 1_900_000];
/// The level of most tools.
pub(super) const ORDINARY_LEVEL: u32 = 6;
pub(super) const FAST_LEVEL: u32 = 1;

/// A folder with one build's output. It goes when this is dropped.
pub(super) struct Sample {
    pub(super) folder: PathBuf,
    pub(super) packed_bytes: u64,
    pub(super) unpacked_bytes: u64,
}

impl Sample {
    /// A jar as a tool of the JDK writes it.
    pub(super) fn jar(folder: &Path, unpacked_bytes: u64) -> Result<Self> {
        fs::create_dir(folder)?;
        let path = folder.join("bench-1.0.jar");
        let mut jar = zip::ZipWriter::new(BufWriter::new(File::create(&path)?));
        let options = SimpleFileOptions::default().compression_level(Some(i64::from(ORDINARY_LEVEL)));
        jar.start_file("META-INF/MANIFEST.MF", options)?;
        jar.write_all(b"Manifest-Version: 1.0\r\nCreated-By: 21 (a vendor)\r\n\r\n")?;
        let mut written = 0;
        for (number, bytes) in Pieces::new(&JAR_ENTRY_BYTES)?.enumerate() {
            jar.start_file(format!("org/bench/{}/Class{number}.class", number % 300), options)?;
            jar.write_all(&bytes)?;
            written += bytes.len() as u64;
            if written >= unpacked_bytes {
                break;
            }
        }
        jar.finish()?.flush()?;
        Ok(Self { folder: folder.into(), packed_bytes: fs::metadata(path)?.len(), unpacked_bytes: written })
    }

    /// An image with one gzip layer. `unpacked_bytes` are those of its tar.
    pub(super) fn layer(folder: &Path, tar_bytes: u64, level: u32) -> Result<Self> {
        fs::create_dir(folder)?;
        let unnamed = folder.join("layer");
        let packed = Hashing::new(BufWriter::new(File::create(&unnamed)?));
        let tar = Hashing::new(GzEncoder::new(packed, Compression::new(level)));
        let mut archive = tar::Builder::new(tar);
        for (number, bytes) in Pieces::new(&LAYER_ENTRY_BYTES)?.enumerate() {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(1_700_000_000);
            archive.append_data(&mut header, format!("usr/lib/bench/{}/file-{number}", number % 50), &bytes[..])?;
            if archive.get_ref().len >= tar_bytes {
                break;
            }
        }
        let tar = archive.into_inner()?;
        let unpacked_bytes = tar.len;
        let (gzip, diff_id) = tar.finish();
        let (mut file, layer) = gzip.finish()?.finish();
        file.flush()?;
        let packed_bytes = fs::metadata(&unnamed)?.len();
        fs::rename(unnamed, folder.join(format!("{layer}.blob")))?;
        let config = json!({ "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": [diff_id] } });
        let config = config.to_string();
        let config_digest = oci_digest(Sha256::digest(&config).as_slice());
        fs::write(folder.join(format!("{config_digest}.blob")), &config)?;
        let kind = |name: &str| format!("application/vnd.oci.image.{name}");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": kind("manifest.v1+json"),
            "config": { "mediaType": kind("config.v1+json"), "digest": config_digest, "size": config.len() },
            "layers": [{ "mediaType": kind("layer.v1.tar+gzip"), "digest": layer, "size": packed_bytes }],
        });
        fs::write(folder.join("manifest"), manifest.to_string())?;
        Ok(Self { folder: folder.into(), packed_bytes, unpacked_bytes })
    }

    /// A file that is compared as it is.
    pub(super) fn bytes(folder: &Path, size_bytes: u64) -> Result<Self> {
        fs::create_dir(folder)?;
        let mut file = BufWriter::new(File::create(folder.join("bench-1.0.bin"))?);
        let mut written = 0;
        for bytes in Pieces::new(&[1 << 20])? {
            file.write_all(&bytes)?;
            written += bytes.len() as u64;
            if written >= size_bytes {
                break;
            }
        }
        file.flush()?;
        Ok(Self { folder: folder.into(), packed_bytes: written, unpacked_bytes: written })
    }

    /// The same with its checksum beside it.
    pub(super) fn bytes_with_sha512(folder: &Path, size_bytes: u64) -> Result<Self> {
        let sample = Self::bytes(folder, size_bytes)?;
        let mut hasher = Sha512::new();
        std::io::copy(&mut File::open(folder.join("bench-1.0.bin"))?, &mut Sink(&mut hasher))?;
        fs::write(folder.join("bench-1.0.bin.sha512"), hex(hasher.finalize().as_slice()))?;
        Ok(sample)
    }

    pub(super) fn files(&self) -> Result<Vec<InputFile>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            files.push(InputFile { name, path: entry.path(), size_bytes: entry.metadata()?.len() });
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        // It lies in a temporary folder that goes in any case; this only gives its room back earlier.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Pieces of programs without end. A second time round they begin elsewhere.
struct Pieces<'s> {
    code: Vec<u8>,
    at: usize,
    sizes: std::iter::Cycle<std::slice::Iter<'s, usize>>,
}

impl<'s> Pieces<'s> {
    fn new(sizes: &'s [usize]) -> Result<Self> {
        let own = std::env::current_exe()?;
        let code =
            fs::read(own.with_file_name("pyrsia_node")).or_else(|_| fs::read(own)).context("a program to take code from")?;
        Ok(Self { code, at: 0, sizes: sizes.iter().cycle() })
    }
}

impl Iterator for Pieces<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let size = *self.sizes.next()?;
        if self.at + size > self.code.len() {
            self.at %= 251;
        }
        let piece = self.code.get(self.at..self.at + size)?.to_vec();
        self.at += size + 7;
        Some(piece)
    }
}

/// Hashes and counts what it passes on.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    len: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), len: 0 }
    }

    fn finish(self) -> (W, String) {
        (self.inner, oci_digest(self.hasher.finalize().as_slice()))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let len = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..len]);
        self.len += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

struct Sink<'h>(&'h mut Sha512);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn oci_digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
