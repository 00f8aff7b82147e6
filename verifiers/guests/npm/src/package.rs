//! One package archive: gzip around tar, every path below `package/`, as `npm pack` writes it.
//!
//! What it means stands in memory that grows with the number of files and not with their contents. Entries that two systems would unpack differently make the whole archive
//! [`Unreadable`]: links and devices, which npm leaves out, two entries of one path, paths that are one where case or accents are folded, a file where another entry needs a folder.

use std::collections::BTreeMap;
use std::io::Read;

use pyrsia_verifier_kit::hash::FieldHasher;
use pyrsia_verifier_kit::inflate::{Bounds, GzipReader, read_all};
use pyrsia_verifier_kit::names;
use pyrsia_verifier_kit::tar::{self, Kind, TarReader, clean_path};
use pyrsia_verifier_kit::tree::Tree;
use pyrsia_verifier_kit::{File, Hasher, Sha256, Unreadable};

use crate::manifest::{self, Manifest};
use crate::passes::{Pass, PassSet};

/// The folder that every path begins with.
const ROOT: &str = "package";
pub const MANIFEST_PATH: &str = "package/package.json";
const GYP_PATH: &str = "package/binding.gyp";
const SHRINKWRAP_PATH: &str = "package/npm-shrinkwrap.json";
/// What an archive may unpack to: ten times the largest packages there are.
const UNPACKED: Bounds = Bounds::new(4 << 30);
/// With names of ordinary length these need half of a call's memory.
const ENTRIES_MAX: usize = 100_000;
/// All names of one archive together, in bytes.
const NAMES_BYTES_MAX: usize = 8 << 20;
const PIECE_BYTES: usize = 64 << 10;

/// Permission to read and to write, for everybody.
const MODE_READ_WRITE: u32 = 0o666;
/// The same as npm writes it for every file.
const MODE_READ_WRITE_OF_NPM: u32 = 0o644;
const MODE_SPECIAL: u32 = 0o7000;
/// pax records that are times.
const TIME_RECORDS: [&[u8]; 2] = [b"atime", b"ctime"];

/// One file, or a folder that means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    /// Without permission to read and write.
    pub mode: u32,
    pub size: u64,
    pub content: Sha256,
    /// Extended attributes and what pax says beyond times.
    extra: Option<Sha256>,
}

impl Entry {
    fn digest(&self) -> Sha256 {
        let mut hasher = FieldHasher::new("npm entry");
        hasher.field("kind", self.kind.word().as_bytes()).number("mode", self.mode.into());
        hasher.field("content", &self.content).field("extra", self.extra.as_ref().map_or(&[], |extra| &extra[..]));
        hasher.finish()
    }

    pub fn has_extra_of(&self, other: &Self) -> bool {
        self.extra == other.extra
    }

    /// Whether nothing would miss it where the folder has files.
    fn is_plain_folder(&self) -> bool {
        self.kind == Kind::Directory && self.mode & MODE_SPECIAL == 0 && self.extra.is_none()
    }
}

/// What a package is.
#[derive(Debug)]
pub struct Package {
    pub manifest: Manifest,
    /// The manifest as it is written.
    pub manifest_text: Vec<u8>,
    /// By path.
    pub entries: BTreeMap<String, Entry>,
    passes: PassSet,
}

impl Package {
    pub fn read(file: &File<'_>) -> Result<Self, Unreadable> {
        let mut archive = Archive::open(file)?;
        let (mut entries, mut passes) = (BTreeMap::new(), PassSet::default());
        let mut manifest_text = None;
        let mut last = String::new();
        passes.add_if(Pass::ArchiveForm, true);
        while let Some((path, entry)) = archive.next_entry()? {
            passes.add_if(Pass::EntryOrder, path < last);
            let (content, size) = if path == MANIFEST_PATH && entry.kind == Kind::File {
                let text = read_all(&mut archive.tar, manifest::BYTES_MAX).map_err(|fault| fault.within(&path))?;
                let hashed = hash(&text[..])?;
                manifest_text = Some(text);
                hashed
            } else {
                hash(&mut archive.tar)?
            };
            passes.add_if(
                Pass::EntryTimes,
                entry.modified != b"0" || TIME_RECORDS.iter().any(|key| entry.records.contains_key(*key)),
            );
            passes
                .add_if(Pass::EntryOwners, (entry.uid, entry.gid) != (0, 0) || !entry.user.is_empty() || !entry.group.is_empty());
            passes.add_if(Pass::FileModes, entry.mode & MODE_READ_WRITE != MODE_READ_WRITE_OF_NPM);
            let mode = entry.mode & !MODE_READ_WRITE;
            let kept = Entry { kind: entry.kind, mode, size, content, extra: extra(&entry) };
            last.clone_from(&path);
            if entries.insert(path, kept).is_some() {
                return Err(Unreadable::new(format!("{last} occurs twice")));
            }
        }
        check_places(&entries)?;
        passes.add_if(Pass::FolderEntries, drop_plain_folders(&mut entries));
        let Some(manifest_text) = manifest_text else { return Err(no_manifest()) };
        let manifest = Manifest::parse(&manifest_text).map_err(|fault| fault.within(MANIFEST_PATH))?;
        Ok(Self { manifest, manifest_text, entries, passes })
    }

    pub fn canonical_digest(&self) -> Result<Sha256, Unreadable> {
        let mut tree = Tree::new();
        for (path, entry) in &self.entries {
            tree.insert(path.as_bytes(), entry.digest())?;
        }
        Ok(tree.digest("npm package"))
    }

    pub fn passes(&self) -> Vec<String> {
        self.passes.names()
    }

    /// Whether npm compiles it when it is installed, without a script that says so.
    pub fn has_gyp(&self) -> bool {
        self.entries.contains_key(GYP_PATH)
    }
}

/// What a list of versions says of a package, found without looking at any other file's content.
#[derive(Debug)]
pub struct Summary {
    pub manifest: Manifest,
    pub files: u64,
    pub unpacked_bytes: u64,
    pub has_gyp: bool,
    pub has_shrinkwrap: bool,
}

impl Summary {
    pub fn read(file: &File<'_>) -> Result<Self, Unreadable> {
        let mut archive = Archive::open(file)?;
        let mut manifest = None;
        let (mut files, mut unpacked_bytes, mut has_gyp, mut has_shrinkwrap) = (0, 0u64, false, false);
        while let Some((path, entry)) = archive.next_entry()? {
            files += u64::from(entry.kind == Kind::File);
            unpacked_bytes = unpacked_bytes.saturating_add(entry.size);
            has_gyp |= path == GYP_PATH;
            has_shrinkwrap |= path == SHRINKWRAP_PATH;
            if path == MANIFEST_PATH {
                manifest = Some(Manifest::parse(&read_all(&mut archive.tar, manifest::BYTES_MAX)?)?);
            }
        }
        Ok(Self { manifest: manifest.ok_or_else(no_manifest)?, files, unpacked_bytes, has_gyp, has_shrinkwrap })
    }
}

fn no_manifest() -> Unreadable {
    Unreadable::new(format!("it has no {MANIFEST_PATH}"))
}

/// The entries of an archive, each by its one path.
struct Archive<'f> {
    tar: TarReader<GzipReader<Box<dyn Read + 'f>>>,
    entries: usize,
    names_bytes: usize,
}

impl<'f> Archive<'f> {
    fn open(file: &File<'f>) -> Result<Self, Unreadable> {
        let source: Box<dyn Read + 'f> = Box::new(file.reader());
        Ok(Self { tar: TarReader::new(GzipReader::new(source, UNPACKED)?), entries: 0, names_bytes: 0 })
    }

    fn next_entry(&mut self) -> Result<Option<(String, tar::Entry)>, Unreadable> {
        let Some(entry) = self.tar.next_entry()? else { return Ok(None) };
        let path = path_of(&entry)?;
        if !matches!(entry.kind, Kind::File | Kind::Directory) {
            return Err(Unreadable::new(format!("{path} is a {}", entry.kind.word())));
        }
        // npm splits records into lines before it looks at their lengths, and finds what a value has in a line of its own.
        let mut records = entry.records.iter().chain(&entry.attributes);
        if records.any(|(key, value)| key.contains(&b'\n') || value.contains(&b'\n')) {
            return Err(Unreadable::new(format!("{path} has a pax record of several lines")));
        }
        self.entries += 1;
        self.names_bytes += path.len();
        if self.entries > ENTRIES_MAX || self.names_bytes > NAMES_BYTES_MAX {
            let bounds = format!("{ENTRIES_MAX} entries or names of {NAMES_BYTES_MAX} bytes");
            return Err(Unreadable::new(format!("it has more than {bounds}")));
        }
        Ok(Some((path, entry)))
    }
}

/// The path as everybody reads it: npm takes off the first folder whatever it is called, Windows reads `\` as a separator.
fn path_of(entry: &tar::Entry) -> Result<String, Unreadable> {
    let quoted = || format!("the path {:?}", String::from_utf8_lossy(&entry.path));
    let Ok(path) = String::from_utf8(entry.path.clone()) else {
        return Err(Unreadable::new(format!("{} is not UTF-8", quoted())));
    };
    if path.contains('\\') || path.chars().any(char::is_control) {
        return Err(Unreadable::new(format!("{} has a character that systems read differently", quoted())));
    }
    let bare = if entry.kind == Kind::Directory { path.strip_suffix('/').unwrap_or(&path) } else { &path };
    if clean_path(bare.as_bytes())? != bare.as_bytes() {
        return Err(Unreadable::new(format!("{} has more than one meaning", quoted())));
    }
    let is_below = bare.strip_prefix(ROOT).is_some_and(|rest| rest.starts_with('/'));
    let is_root = bare == ROOT && entry.kind == Kind::Directory;
    if is_below || is_root { Ok(bare.into()) } else { Err(Unreadable::new(format!("{} is not below {ROOT}/", quoted()))) }
}

fn hash(mut source: impl Read) -> Result<(Sha256, u64), Unreadable> {
    let (mut hasher, mut size) = (Hasher::new(), 0);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match source.read(&mut piece)? {
            0 => return Ok((hasher.finish(), size)),
            len => {
                hasher.update(&piece[..len]);
                size += len as u64;
            }
        }
    }
}

/// A digest of what an entry has beside its path, kind, mode, owner, times and content; none of it is usual.
fn extra(entry: &tar::Entry) -> Option<Sha256> {
    let records: Vec<_> = entry.records.iter().filter(|(key, _)| !TIME_RECORDS.contains(&&key[..])).collect();
    if records.is_empty() && entry.attributes.is_empty() && entry.device == (0, 0) {
        return None;
    }
    let mut hasher = FieldHasher::new("npm entry extra");
    hasher.number("major", entry.device.0).number("minor", entry.device.1);
    for (name, value) in &entry.attributes {
        hasher.field("attribute", name).field("value", value);
    }
    for (name, value) in records {
        hasher.field("record", name).field("value", value);
    }
    Some(hasher.finish())
}

/// Whether every entry has a place of its own on every system.
fn check_places(entries: &BTreeMap<String, Entry>) -> Result<(), Unreadable> {
    let (mut folded, mut outlined) = (BTreeMap::<String, &str>::new(), BTreeMap::<String, &str>::new());
    let has_marks = entries.keys().any(|path| path.chars().any(names::is_part_of_a_letter));
    for path in entries.keys() {
        let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        for place in folders.chain([&path[..]]) {
            if place.len() < path.len() && entries.get(place).is_some_and(|entry| entry.kind == Kind::File) {
                return Err(Unreadable::new(format!("{place} is a file and the folder of {path}")));
            }
            let mut others = vec![folded.insert(names::folded(place), place)];
            if has_marks && !place.is_ascii() {
                others.push(outlined.insert(names::outline(place), place));
            }
            if let Some(other) = others.into_iter().flatten().find(|other| *other != place) {
                return Err(Unreadable::new(format!("{other} and {place} are one path on some file systems")));
            }
        }
    }
    Ok(())
}

/// Takes out the entries of folders that the paths of files imply; whether there were any.
fn drop_plain_folders(entries: &mut BTreeMap<String, Entry>) -> bool {
    let has_files = |path: &str| {
        let below = format!("{path}/");
        entries
            .range(below.clone()..)
            .take_while(|(other, _)| other.starts_with(&below))
            .any(|(_, entry)| entry.kind == Kind::File)
    };
    let implied = entries.iter().filter(|(path, entry)| entry.is_plain_folder() && has_files(path));
    let implied: Vec<String> = implied.map(|(path, _)| path.clone()).collect();
    for path in &implied {
        entries.remove(path);
    }
    !implied.is_empty()
}

#[cfg(test)]
pub(crate) mod tests;
