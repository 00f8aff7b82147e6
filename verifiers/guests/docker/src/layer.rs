//! A layer in canonical form: what its tar puts into a file system, whichever program wrote it and however it was compressed.
//!
//! OCI image specification 1.1, "Image Layer Filesystem Changeset". Reads the layer once, as a stream, and keeps nothing of an entry but its path, its digest and what
//! a hard link to it must repeat. What extractors could take in two ways has no canonical form: [`Unreadable`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;

use pyrsia_verifier_kit::hash::{FieldHasher, Hasher, Sha256};
use pyrsia_verifier_kit::inflate::Compression;
use pyrsia_verifier_kit::tar::{Entry, Kind, clean_path};
use pyrsia_verifier_kit::{File, Unreadable};

use crate::passes::{Noise, Pass, fingerprint};

pub mod explanation;
mod unpacking;

pub use unpacking::Budget;
use unpacking::Unpacking;

/// Memory for the entries of a layer, in bytes: some 150 000 files. Guests have 64 MiB, and a zstd window takes 8 of them.
const ENTRIES_BYTES_MAX: u64 = 32 << 20;
/// Memory for an entry besides its path, in bytes, in a map whose nodes are half full.
const ENTRY_BYTES: u64 = 160;

const PERMISSIONS: u32 = 0o7777;
const WHITEOUT: &[u8] = b".wh.";
const TIME_RECORDS: [&[u8]; 3] = [b"atime", b"ctime", b"LIBARCHIVE.creationtime"];
const INODE_RECORDS: [&[u8]; 3] = [b"SCHILY.dev", b"SCHILY.ino", b"SCHILY.nlink"];
const COMMENT_RECORD: &[u8] = b"comment";

/// What comparison sees of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerForm {
    pub canonical: Sha256,
    /// The sha256 of the layer's tar, which the image's config calls its diff id.
    pub diff_id: Sha256,
    pub noise: Noise,
    /// Where the deflate stream begins; 0 without a gzip header.
    pub compressed_at: u64,
}

/// `sha256` is that of the file.
pub fn canonical_form(
    file: &File<'_>,
    sha256: &Sha256,
    compression: Compression,
    budget: &Budget,
) -> Result<LayerForm, Unreadable> {
    let tar = RefCell::new(Hasher::new());
    let (entries, compressed_at, noise) = read_entries(file, compression, Some(&tar), budget)?;
    let mut hasher = FieldHasher::new("pyrsia docker layer 1");
    for path in entries.paths() {
        hasher.field("path", path).field("entry", &entries.digest(path).expect("the path is one of the layer's"));
    }
    let diff_id = if compression == Compression::None { *sha256 } else { tar.into_inner().finish() };
    Ok(LayerForm { canonical: hasher.finish(), diff_id, noise, compressed_at })
}

/// The entries of a layer by their path.
#[derive(Default)]
struct Entries {
    items: BTreeMap<Vec<u8>, Item>,
    /// Of each file that has hard links: the first of its names, by the name that the archive gives it first.
    first_names: BTreeMap<Vec<u8>, Vec<u8>>,
    memory_bytes: u64,
}

struct Item {
    kind: Kind,
    /// Of everything but the names.
    digest: Sha256,
    inode: Inode,
    /// Under which name the archive has the file that this is a hard link to.
    link_to: Option<Box<[u8]>>,
}

/// What the header of a hard link repeats of its file.
#[derive(PartialEq, Eq)]
struct Inode {
    mode: u32,
    uid: u32,
    gid: u32,
    /// Of the extended attributes and the other records; none without any.
    records: Option<Box<Sha256>>,
}

fn read_entries(
    file: &File<'_>,
    compression: Compression,
    tar: Option<&RefCell<Hasher>>,
    budget: &Budget,
) -> Result<(Entries, u64, Noise), Unreadable> {
    let mut entries = Entries::default();
    let mut noise = Noise::default();
    noise.note(Pass::TarDialect, &[]);
    let mut order = Order::default();
    let unpacking = Unpacking { tar, budget, with_content: |_: &Entry| true };
    let compressed_at = unpacking.scan(file, compression, &mut noise, |entry, content| {
        let path = clean_path(&entry.path)?;
        note(&entry, &path, order.noise());
        order.follow(&path);
        entries.add(path, entry, content)
    })?;
    entries.check()?;
    order.finish(&mut noise);
    Ok((entries, compressed_at, noise))
}

impl Entries {
    fn add(&mut self, path: Vec<u8>, entry: Entry, content: Option<Sha256>) -> Result<(), Unreadable> {
        let at_path = |fault: &str| Err(Unreadable::new(format!("the entry {:?} {fault}", String::from_utf8_lossy(&path))));
        if let Some(fault) = fault_of(&entry, &path) {
            return at_path(fault);
        }
        let small = |number: u64| u32::try_from(number).map_err(|_| Unreadable::new("an owner's number is larger than 32 bits"));
        let inode = Inode {
            mode: entry.mode & PERMISSIONS,
            uid: small(entry.uid)?,
            gid: small(entry.gid)?,
            records: records_digest(&entry).map(Box::new),
        };
        let item = if entry.kind == Kind::HardLink {
            let target = clean_path(&entry.link)?;
            let Some(linked) = self.items.get(&target).filter(|linked| linked.kind == Kind::File) else {
                return at_path("is a hard link to what is not a file in front of it");
            };
            // A header's own mode and owner would be given to the file, or not, depending on the extractor.
            let repeats = Inode { records: inode.records.clone().or(linked.inode.records.clone()), ..inode } == linked.inode;
            if !repeats {
                return at_path("is a hard link with another mode, owner or attribute than its file");
            }
            let (digest, inode) = (linked.digest, linked.inode.clone());
            let link_to = linked.link_to.clone().unwrap_or_else(|| target.into_boxed_slice());
            let first = self.first_names.entry(link_to.to_vec()).or_insert_with(|| link_to.to_vec());
            if path < *first {
                first.clone_from(&path);
            }
            self.memory_bytes += 2 * link_to.len() as u64;
            Item { kind: Kind::File, digest, inode, link_to: Some(link_to) }
        } else {
            Item { kind: entry.kind, digest: digest_of(&entry, &inode, content), inode, link_to: None }
        };
        self.memory_bytes += path.len() as u64 + ENTRY_BYTES;
        if self.memory_bytes > ENTRIES_BYTES_MAX {
            return Err(Unreadable::new(format!("it has more than {} entries", self.items.len())));
        }
        if self.items.contains_key(&path) {
            return at_path("occurs twice");
        }
        self.items.insert(path, item);
        Ok(())
    }

    /// Refuses what only an order could give a meaning to, or what an extractor could be led elsewhere by.
    fn check(&self) -> Result<(), Unreadable> {
        for (path, item) in &self.items {
            let fault = |what: &str| Err(Unreadable::new(format!("the entry {:?} {what}", String::from_utf8_lossy(path))));
            if item.kind != Kind::Directory && self.has_children(path) {
                return fault("is no directory, and others lie in it");
            }
            let (folder, name) = path.split_at(path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1));
            if let Some(hidden) = name.strip_prefix(WHITEOUT) {
                let hidden = [folder, hidden].concat();
                if self.items.contains_key(&hidden) || self.has_children(&hidden) {
                    return fault("hides what the same layer has");
                }
            }
        }
        Ok(())
    }

    fn has_children(&self, path: &[u8]) -> bool {
        if path.is_empty() {
            return false; // The root is a directory, or `fault_of` has refused it.
        }
        let prefix = [path, b"/"].concat();
        let after = (Bound::Excluded(&prefix[..]), Bound::Unbounded);
        self.items.range::<[u8], _>(after).next().is_some_and(|(next, _)| next.starts_with(&prefix))
    }

    fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.items.keys().map(Vec::as_slice)
    }

    /// Where the archive has the file that `path` names.
    fn place<'p>(&'p self, path: &'p [u8]) -> &'p [u8] {
        self.items.get(path).and_then(|item| item.link_to.as_deref()).unwrap_or(path)
    }

    /// The first of the names of the file, if it has several.
    fn first_name(&self, path: &[u8]) -> Option<&[u8]> {
        self.first_names.get(self.place(path)).map(Vec::as_slice)
    }

    fn digest(&self, path: &[u8]) -> Option<Sha256> {
        let item = self.items.get(path)?;
        let Some(first) = self.first_name(path) else { return Some(item.digest) };
        let mut hasher = FieldHasher::new("hard-linked");
        hasher.field("file", &item.digest).field("first name", first);
        Some(hasher.finish())
    }
}

impl Clone for Inode {
    fn clone(&self) -> Self {
        Self { records: self.records.clone(), ..*self }
    }
}

fn fault_of(entry: &Entry, path: &[u8]) -> Option<&'static str> {
    let type_bits: &[u32] = match entry.kind {
        Kind::File | Kind::HardLink => &[0, 0o100_000],
        Kind::SymbolicLink => &[0, 0o120_000],
        Kind::CharacterDevice => &[0, 0o020_000],
        Kind::BlockDevice => &[0, 0o060_000],
        Kind::Directory => &[0, 0o040_000],
        Kind::Fifo => &[0, 0o010_000],
    };
    if !type_bits.contains(&(entry.mode & !PERMISSIONS)) {
        return Some("has a mode that contradicts its type");
    }
    if entry.device != (0, 0) && !matches!(entry.kind, Kind::CharacterDevice | Kind::BlockDevice) {
        return Some("has a device's numbers and is none");
    }
    (path.is_empty() && entry.kind != Kind::Directory).then_some("is the root and no directory")
}

fn digest_of(entry: &Entry, inode: &Inode, content: Option<Sha256>) -> Sha256 {
    let mut hasher = FieldHasher::new("entry");
    hasher.field("kind", entry.kind.word().as_bytes());
    hasher.number("mode", inode.mode.into()).number("uid", inode.uid.into()).number("gid", inode.gid.into());
    hasher.field("link", &entry.link).number("major", entry.device.0).number("minor", entry.device.1);
    hasher.number("size", entry.size);
    if let Some(content) = content {
        hasher.field("content", &content);
    }
    if let Some(records) = &inode.records {
        hasher.field("records", &records[..]);
    }
    hasher.finish()
}

/// Of the extended attributes and of every record that no pass removes, known or not.
fn records_digest(entry: &Entry) -> Option<Sha256> {
    let mut kept = kept_records(entry).peekable();
    kept.peek()?;
    let mut hasher = FieldHasher::new("records");
    for (kind, key, value) in kept {
        hasher.field(kind, key).field("value", value);
    }
    Some(hasher.finish())
}

fn kept_records(entry: &Entry) -> impl Iterator<Item = (&'static str, &[u8], &[u8])> {
    let noise = |key: &[u8]| TIME_RECORDS.contains(&key) || INODE_RECORDS.contains(&key) || key == COMMENT_RECORD;
    let attributes = entry.attributes.iter().map(|(key, value)| ("attribute", &key[..], &value[..]));
    let records = entry.records.iter().filter(move |(key, _)| !noise(key));
    attributes.chain(records.map(|(key, value)| ("record", &key[..], &value[..])))
}

/// Notes what the passes remove from an entry.
fn note(entry: &Entry, path: &[u8], noise: &mut Noise) {
    if entry.path != path {
        noise.note(Pass::TarDialect, &[path, b"path", &entry.path]);
    }
    if entry.mode & !PERMISSIONS != 0 {
        noise.note(Pass::TarDialect, &[path, b"type bits"]);
    }
    if entry.modified != b"0" {
        noise.note(Pass::TarTime, &[path, b"mtime", &entry.modified]);
    }
    for (key, value) in &entry.records {
        let pass = match &key[..] {
            key if TIME_RECORDS.contains(&key) => Pass::TarTime,
            key if INODE_RECORDS.contains(&key) => Pass::InodeNumbers,
            COMMENT_RECORD => Pass::TarDialect,
            _ => continue,
        };
        noise.note(pass, &[path, key, value]);
    }
    if !entry.user.is_empty() || !entry.group.is_empty() {
        noise.note(Pass::OwnerNames, &[path, &entry.user, &entry.group]);
    }
}

/// The order in which the entries came.
#[derive(Default)]
struct Order {
    last: Vec<u8>,
    ascending: Option<bool>,
    print: u64,
    noise: Noise,
}

impl Order {
    fn noise(&mut self) -> &mut Noise {
        &mut self.noise
    }

    fn follow(&mut self, path: &[u8]) {
        self.ascending = Some(self.ascending.is_none_or(|ascending| ascending && *self.last < *path));
        self.print = self.print.rotate_left(1).wrapping_add(fingerprint(&[path]));
        path.clone_into(&mut self.last);
    }

    fn finish(mut self, noise: &mut Noise) {
        if self.ascending == Some(false) {
            self.noise.note(Pass::TarOrder, &[&self.print.to_le_bytes()]);
        }
        noise.add(&self.noise);
    }
}

#[cfg(test)]
mod tests;
