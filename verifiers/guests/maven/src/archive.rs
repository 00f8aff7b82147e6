//! Jars and their kin: the canonical form of a zip archive and of what its build wrote into it.
//!
//! An entry is its name, its attributes and its content; the archive is the set of its entries. Contents are compared as they are, except those few that builds
//! fill with their own circumstances: manifests, generated properties, javadoc's pages, bills of materials, and archives within the archive, which
//! have a canonical form of their own. Entries are read once, in pieces; what has to be understood is held in memory up to a bound.

use std::io::Read;

use pyrsia_verifier_kit::files::ReadAt;
use pyrsia_verifier_kit::hash::{FieldHasher, Hasher, Sha256, sha256};
use pyrsia_verifier_kit::inflate::{Bounds, read_all};
use pyrsia_verifier_kit::tree::Tree;
use pyrsia_verifier_kit::unreadable::Result;
use pyrsia_verifier_kit::zip::{Archive, Entry};
use pyrsia_verifier_kit::{Finding, Unreadable};

use crate::archive::attributes::Attributes;
use crate::manifest::{self, Manifest};
use crate::passes::{Pass, PassSet};
use crate::properties;
use crate::{javadoc, sbom};

pub mod attributes;

/// As many as an archive has without the extensions of zip64; the headers of all of them lie in memory.
pub const ENTRIES_MAX: u64 = 65_535;
/// Text compresses to a tenth; a bomb to a thousandth.
const RATIO_MAX: u64 = 200;
/// All that is unpacked of one file, nested archives included: this much for each of its bytes, …
const UNPACKED_RATIO_MAX: u64 = 100;
/// … and this much in any case.
const UNPACKED_BYTES_FLOOR: u64 = 256 << 20;
/// An archive within an archive lies in memory while it is read; larger ones are compared as they are.
pub const NESTED_BYTES_MAX: u64 = 24 << 20;
/// All archives within each other that lie in memory at a time.
const NESTED_BYTES_HELD_MAX: u64 = 32 << 20;
/// A library in a web archive in an enterprise archive, and one to spare.
pub const NESTED_DEPTH_MAX: u32 = 4;
const PIECE_BYTES: usize = 64 << 10;
/// A report says it once for each archive.
const FINDINGS_MAX: usize = 20;

const META_INF: &[u8] = b"META-INF/";

/// Extensions of files that are zip archives by their nature.
const ARCHIVE_EXTENSIONS: [&[u8]; 7] = [b"jar", b"war", b"ear", b"rar", b"aar", b"sar", b"har"];

/// Whether a file or entry of this name is an archive with a canonical form.
pub fn is_archive_name(name: &[u8]) -> bool {
    ARCHIVE_EXTENSIONS.contains(&extension(name))
}

fn extension(name: &[u8]) -> &[u8] {
    name.rsplit(|byte| matches!(byte, b'.' | b'/')).next().filter(|extension| extension.len() < name.len()).unwrap_or_default()
}

/// What an archive is for, which decides which of its contents builds fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Code,
    /// Its pages carry dates, and its search indexes are zip archives.
    Javadoc,
}

impl Purpose {
    pub fn of_file(name: &str) -> Self {
        if name.ends_with("-javadoc.jar") { Self::Javadoc } else { Self::Code }
    }
}

/// How far reading may go, for one file with all that lies in it.
pub struct Budget {
    unpacked: u64,
    held: u64,
}

impl Budget {
    pub fn for_file(size: u64) -> Self {
        let unpacked = size.saturating_mul(UNPACKED_RATIO_MAX).saturating_add(UNPACKED_BYTES_FLOOR);
        Self { unpacked, held: NESTED_BYTES_HELD_MAX }
    }

    /// Takes the room of a nested archive for as long as what lies in it is read.
    pub fn hold(&mut self, bytes: u64) {
        self.held = self.held.saturating_sub(bytes);
    }

    pub fn release(&mut self, bytes: u64) {
        self.held += bytes;
    }

    fn unpack(&mut self, bytes: u64) -> Result<()> {
        self.unpacked = self.unpacked.checked_sub(bytes).ok_or_else(|| {
            Unreadable::new(format!(
                "it unpacks to more than {UNPACKED_RATIO_MAX} times its size and {UNPACKED_BYTES_FLOOR} bytes"
            ))
        })?;
        Ok(())
    }
}

/// The canonical form of an archive.
pub struct Form {
    pub digest: Sha256,
    pub passes: PassSet,
    pub findings: Vec<Finding>,
    /// The digest of each entry, by name.
    pub entries: Tree,
    pub frame: Frame,
}

/// What an archive has besides entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub comment: Vec<u8>,
    pub manifest_leads: bool,
    /// Names of which an order makes one place on some file systems, in that order.
    pub contested: Vec<Vec<u8>>,
}

/// One entry in canonical form.
pub struct EntryForm {
    pub attributes: Attributes,
    pub content: Content,
    pub passes: PassSet,
}

/// What is in an entry, and the digest of its canonical form.
pub enum Content {
    Plain { sha256: Sha256, size: u64 },
    Manifest(Box<Manifest>),
    Text { kind: &'static str, text: Vec<u8> },
    Archive { digest: Sha256, bytes: Vec<u8>, findings: Vec<Finding> },
}

impl Content {
    fn kind(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "plain",
            Self::Manifest(_) => "manifest",
            Self::Text { kind, .. } => kind,
            Self::Archive { .. } => "archive",
        }
    }

    pub fn digest(&self) -> Sha256 {
        match self {
            Self::Plain { sha256, .. } => *sha256,
            Self::Manifest(manifest) => manifest.digest(),
            Self::Text { text, .. } => sha256(text),
            Self::Archive { digest, .. } => *digest,
        }
    }
}

impl EntryForm {
    fn digest(&self) -> Sha256 {
        let mut hasher = FieldHasher::new("maven-entry");
        self.attributes.add_to(&mut hasher);
        hasher.field(self.content.kind(), &self.content.digest());
        hasher.finish()
    }
}

/// An archive that is open for reading entry by entry.
pub struct Opened<'a, S: ?Sized> {
    archive: Archive<'a, S>,
    purpose: Purpose,
    depth: u32,
    pub frame: Frame,
}

impl<'a, S: ReadAt + ?Sized> Opened<'a, S> {
    pub fn open(source: &'a S, purpose: Purpose, depth: u32) -> Result<Self> {
        // The machine reads a jar in place and by exact names; many have `META-INF/LICENSE` beside `META-INF/license/`.
        let archive = Archive::open_by_exact_names(source, ENTRIES_MAX)?;
        let frame = Frame {
            comment: archive.comment().to_vec(),
            manifest_leads: manifest_leads(source, archive.entries()),
            contested: archive.contested_names().into_iter().map(<[u8]>::to_vec).collect(),
        };
        Ok(Self { archive, purpose, depth, frame })
    }

    pub fn entry(&self, name: &[u8]) -> Option<&Entry> {
        self.archive.entries().iter().find(|entry| entry.name == name)
    }

    /// What an archive within this one is read as, and how deep it lies.
    pub fn nested_place(&self) -> (Purpose, u32) {
        (self.purpose, self.depth + 1)
    }

    /// The content of an entry that fits in memory.
    pub fn read(&self, entry: &Entry) -> Result<Vec<u8>> {
        self.whole(entry, entry.size)
    }

    /// Reads all entries.
    pub fn form(self, budget: &mut Budget) -> Result<Form> {
        let mut passes = PassSet::default();
        let mut findings = Vec::new();
        let mut entries = Tree::new();
        passes.add_if(Pass::ZipOrder, !self.archive.entries().is_sorted_by(|a, b| a.name < b.name));
        for entry in self.archive.entries() {
            let within = |fault: Unreadable| fault.within(format_args!("the entry {:?}", entry.name_text()));
            let mut form = self.entry_form(entry, budget).map_err(within)?;
            findings.extend(self.entry_finding(entry, &form.content));
            if let Content::Archive { findings: nested, .. } = &mut form.content {
                findings.append(nested);
            }
            passes.extend(form.passes);
            entries.insert(&entry.name, form.digest())?;
        }
        findings.truncate(FINDINGS_MAX);
        let mut hasher = FieldHasher::new("maven-archive");
        hasher.field("comment", &self.frame.comment).number("manifest-leads", u64::from(self.frame.manifest_leads));
        for name in &self.frame.contested {
            hasher.field("contested", name);
        }
        hasher.field("entries", &entries.digest("maven-entries"));
        Ok(Form { digest: hasher.finish(), passes, findings, entries, frame: self.frame })
    }

    /// Reads one entry.
    pub fn entry_form(&self, entry: &Entry, budget: &mut Budget) -> Result<EntryForm> {
        let mut passes = PassSet::default();
        let attributes = Attributes::of(entry, &mut passes)?;
        if entry.name != manifest::NAME && entry.name.eq_ignore_ascii_case(manifest::NAME) {
            return Err(Unreadable::new("its name is that of the manifest in another spelling"));
        }
        budget.unpack(entry.size)?;
        let content = self.content(entry, &mut passes, budget)?;
        Ok(EntryForm { attributes, content, passes })
    }

    fn content(&self, entry: &Entry, passes: &mut PassSet, budget: &mut Budget) -> Result<Content> {
        if entry.name == manifest::NAME {
            let bytes = self.whole(entry, manifest::BYTES_MAX)?;
            let (manifest, changed) = Manifest::parse(&bytes)?;
            passes.extend(changed);
            return Ok(Content::Manifest(manifest.into()));
        }
        if let Some(kind) = properties::Kind::of(&entry.name) {
            let bytes = self.whole(entry, properties::BYTES_MAX)?;
            let text = properties::canonical(&bytes, kind)?;
            let pass = match kind {
                properties::Kind::Pom => Pass::PomProperties,
                properties::Kind::Git => Pass::GitProperties,
            };
            passes.add_if(pass, text != bytes);
            return Ok(Content::Text { kind: pass.name(), text });
        }
        if let Some(format) = sbom::Format::of(&entry.name).filter(|_| entry.size <= sbom::BYTES_MAX) {
            let bytes = self.whole(entry, sbom::BYTES_MAX)?;
            let text = sbom::canonical(&bytes, format, |_| None)?.map(|canonical| {
                passes.extend(canonical.passes);
                canonical.text
            });
            return Ok(Content::Text { kind: "sbom", text: text.unwrap_or(bytes) });
        }
        if self.purpose == Purpose::Javadoc && extension(&entry.name) == b"html" && entry.size <= javadoc::BYTES_MAX {
            let bytes = self.whole(entry, javadoc::BYTES_MAX)?;
            let text = javadoc::canonical(&bytes);
            passes.add_if(Pass::JavadocDate, text.is_some());
            return Ok(Content::Text { kind: "page", text: text.unwrap_or(bytes) });
        }
        if self.is_opened(entry) && entry.size <= budget.held {
            let bytes = self.whole(entry, NESTED_BYTES_MAX)?;
            if is_zip(&bytes) {
                budget.hold(entry.size);
                let form = Opened::open(&bytes[..], self.purpose, self.depth + 1)?.form(budget)?;
                budget.release(entry.size);
                passes.extend(form.passes);
                return Ok(Content::Archive { digest: form.digest, bytes, findings: form.findings });
            }
            return Ok(Content::Plain { sha256: sha256(&bytes), size: entry.size });
        }
        let mut content = self.archive.reader(entry, bounds(entry));
        let mut hasher = Hasher::new();
        let mut piece = vec![0; PIECE_BYTES.min(entry.size as usize + 1)];
        loop {
            match content.read(&mut piece)? {
                0 => break,
                len => hasher.update(&piece[..len]),
            }
        }
        Ok(Content::Plain { sha256: hasher.finish(), size: entry.size })
    }

    fn whole(&self, entry: &Entry, bytes_max: u64) -> Result<Vec<u8>> {
        read_all(self.archive.reader(entry, bounds(entry)), bytes_max)
    }

    fn is_nested(&self, entry: &Entry) -> bool {
        !entry.is_directory()
            && (is_archive_name(&entry.name) || self.purpose == Purpose::Javadoc && extension(&entry.name) == b"zip")
    }

    fn is_opened(&self, entry: &Entry) -> bool {
        self.is_nested(entry) && entry.size <= NESTED_BYTES_MAX && self.depth < NESTED_DEPTH_MAX
    }

    fn entry_finding(&self, entry: &Entry, content: &Content) -> Option<Finding> {
        if is_signature(&entry.name) {
            let sentence = "The archive is signed; signatures are compared like all else, and nobody but the holder of the key can make this one again.";
            return Some(Finding::new("signed-jar", &entry.name_text(), sentence));
        }
        let is_unopened = self.is_nested(entry) && matches!(content, Content::Plain { .. });
        is_unopened.then(|| {
            let sentence = "This archive within the archive is compared byte for byte: it is larger or nested deeper than those that are opened, or no zip archive.";
            Finding::new("nested-archive-as-it-is", &entry.name_text(), sentence)
        })
    }
}

fn bounds(entry: &Entry) -> Bounds {
    Bounds { bytes_max: entry.size, ratio_max: RATIO_MAX }
}

fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")
}

/// `META-INF/*.SF` and the blocks that belong to it (JAR File Specification, "Signed JAR File").
fn is_signature(name: &[u8]) -> bool {
    let upper = name.to_ascii_uppercase();
    let Some(file) = upper.strip_prefix(META_INF).filter(|file| !file.contains(&b'/')) else { return false };
    matches!(extension(file), b"SF" | b"RSA" | b"DSA" | b"EC") || file.starts_with(b"SIG-")
}

/// Whether a reader that goes through the file from its beginning finds the manifest: `JarInputStream` looks at the first entry, and at the second behind `META-INF/`.
fn manifest_leads<S: ReadAt + ?Sized>(source: &S, entries: &[Entry]) -> bool {
    const HEADER_BYTES: u64 = 30;
    /// What may stand behind an entry's content: nothing, or its sizes in one of four forms.
    const DESCRIPTOR_BYTES: [u64; 5] = [0, 12, 16, 20, 24];
    let header = |at: u64| -> Option<(Vec<u8>, u64)> {
        let fixed = source.bytes_at(at, HEADER_BYTES as usize).filter(|fixed| fixed.starts_with(b"PK\x03\x04"))?;
        let len = |at: usize| u64::from(u16::from_le_bytes([fixed[at], fixed[at + 1]]));
        Some((source.bytes_at(at + HEADER_BYTES, len(26) as usize)?, at + HEADER_BYTES + len(26) + len(28)))
    };
    let Some((first, end)) = header(0) else { return false };
    // The tool of the JDK deflates even nothing.
    let packed = || entries.iter().find(|entry| entry.name == META_INF && entry.size == 0).map(|entry| entry.compressed_size);
    let second = || packed().and_then(|packed| DESCRIPTOR_BYTES.iter().find_map(|len| header(end + packed + len)));
    first == manifest::NAME || first == META_INF && second().is_some_and(|(name, _)| name == manifest::NAME)
}

#[cfg(test)]
mod tests;
