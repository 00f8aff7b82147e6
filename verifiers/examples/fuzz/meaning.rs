//! What an output means to other readers than the verifiers: independent of their code, and looser.
//!
//! Leaves out at least what the passes forgive, and where they read with care, a whole attribute or value. So outputs of one meaning may well be different, but
//! outputs of two meanings are never the same.

mod image;
mod jar;

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use sha2::{Digest, Sha256};

use crate::case::Case;
use crate::mutation::{UNPACKED_BYTES_MAX, unpack};

/// By place: what is there.
pub(crate) type Meaning = BTreeMap<String, String>;

/// None where other readers cannot read it either.
pub(crate) fn of(case: &Case) -> Option<Meaning> {
    match case.package_type.as_str() {
        "docker" => image::meaning(&case.files),
        "maven" => jar::meaning(&case.files),
        "npm" => packages(&case.files),
        _ => None,
    }
}

fn print(bytes: &[u8]) -> String {
    let digest: String = Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{} bytes {digest} {:?}", bytes.len(), String::from_utf8_lossy(&bytes[..bytes.len().min(60)]))
}

/// How an entry of a tar is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owners {
    Numbers,
    /// npm gives files to whoever installs them.
    Nobody,
}

/// What a tar holds: of each path, all that is said about it, in order.
fn tar(bytes: &[u8], owners: Owners) -> Option<Meaning> {
    let mut archive = ::tar::Archive::new(Cursor::new(bytes));
    let mut meaning = Meaning::new();
    for entry in archive.entries().ok()? {
        let mut entry = entry.ok()?;
        let path = clean(&entry.path_bytes());
        let extensions = match entry.pax_extensions().ok()? {
            None => Vec::new(),
            Some(records) => {
                let records =
                    records.map(|record| record.ok().map(|record| (record.key_bytes().to_vec(), record.value_bytes().to_vec())));
                records.collect::<Option<Vec<_>>>()?
            }
        };
        let mut attributes: Vec<_> = extensions.iter().filter(|(key, _)| key.starts_with(b"SCHILY.xattr.")).collect();
        attributes.sort();
        let header = entry.header();
        // A contiguous file is a file to everybody (POSIX, ustar interchange format).
        let kind = match header.entry_type() {
            ::tar::EntryType::Continuous => ::tar::EntryType::Regular,
            kind => kind,
        };
        let link = entry.link_name_bytes().map(|link| clean(&link));
        if kind.is_hard_link() {
            // Which of the names comes first means nothing.
            let target = meaning.get(&link?)?.clone();
            meaning.insert(path, target);
            continue;
        }
        let mode = header.mode().ok()? & 0o7777;
        let device = (header.device_major().ok()?.unwrap_or(0), header.device_minor().ok()?.unwrap_or(0));
        let said = match owners {
            Owners::Nobody if kind.is_dir() => continue,
            Owners::Nobody => format!("{kind:?} {:o} {attributes:?}", mode & !0o666),
            Owners::Numbers => {
                let number = |key: &str, written: u64| {
                    let record = extensions.iter().find(|(known, _)| known == key.as_bytes());
                    record.map_or_else(|| written.to_string(), |(_, value)| String::from_utf8_lossy(value).into_owned())
                };
                let (uid, gid) = (number("uid", header.uid().ok()?), number("gid", header.gid().ok()?));
                format!("{kind:?} {mode:o} {uid} {gid} {device:?} {attributes:?}")
            }
        };
        let link = if kind.is_symlink() { format!(" to {link:?}") } else { String::new() };
        let mut content = Vec::new();
        entry.by_ref().take(UNPACKED_BYTES_MAX).read_to_end(&mut content).ok()?;
        meaning.entry(path).or_default().push_str(&format!("{said}{link} {}; ", print(&content)));
    }
    Some(meaning)
}

fn clean(path: &[u8]) -> String {
    let mut path = String::from_utf8_lossy(path).into_owned();
    while let Some(rest) = path.strip_prefix("./").or_else(|| path.strip_prefix('/')) {
        path = rest.into();
    }
    path.trim_end_matches('/').trim_end_matches("/.").into()
}

fn packages(files: &[(String, Vec<u8>)]) -> Option<Meaning> {
    let mut meaning = Meaning::new();
    for (name, bytes) in files {
        for (path, said) in tar(&unpack(bytes)?, Owners::Nobody)? {
            meaning.insert(format!("{name} {path}"), said);
        }
    }
    Some(meaning)
}
