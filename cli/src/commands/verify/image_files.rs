//! The files of a container image on this machine, by their names: a folder, or a tar archive.
//!
//! Owns how they are found and read, within limits. Believes no name: what a file is, its digest says. Refuses an archive that
//! programs read differently: what is looked at here must be what an engine loads.

use flate2::read::MultiGzDecoder;
use pyrsia_ledger::Sha256Digest;
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// The most files of an archive; an image has a few for each of its layers.
const ENTRIES_MAX: usize = 100_000;
/// The largest document of an image that is read: a manifest, an index or a configuration. Registries take manifests of 4 MiB.
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// How many links of an archive lead to each other at most.
const LINKS_MAX: usize = 8;
/// How long the name of a file in an archive is at most (PATH_MAX of Linux).
const NAME_BYTES_MAX: usize = 4_096;
/// How much of a name is shown where it is at fault.
const NAME_SHOWN_CHARS_MAX: usize = 200;
/// With these records an entry is another file than its header says (GNU tar, "Storing Sparse Files").
const SPARSE_RECORDS: &[u8] = b"GNU.sparse.";
const CHUNK_BYTES: usize = 1 << 18;
/// How much a layer unpacks to at most: 64 GiB.
const UNPACKED_BYTES_MAX: u64 = 1 << 36;
/// How a file begins that gzip packed (RFC 1952, section 2.3.1).
pub(super) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Where an archive says that it is one (POSIX pax interchange format, "ustar").
const TAR_MAGIC: (u64, &[u8]) = (257, b"ustar");

/// One of these stands at the top of an image: in an OCI image layout, and in what older engines save.
pub(super) const INDEX: &str = "index.json";
pub(super) const SAVED: &str = "manifest.json";

#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    #[error("{} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} cannot be read as an archive", path.display())]
    Archive {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} has more than {ENTRIES_MAX} files", path.display())]
    TooMany { path: PathBuf },
    #[error("{name} in it is larger than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge { name: String },
    #[error("{name} is a path that leads out of the image")]
    Outside { name: String },
    #[error("{name:?} in it is read differently by different programs: {why}")]
    Ambiguous { name: String, why: &'static str },
    #[error("{name} in it is a link that leads to no file of it")]
    Link { name: String },
}

pub(super) struct ImageFiles {
    path: PathBuf,
    place: Place,
    /// What was hashed already, by the names that links lead to.
    digests: RefCell<Digests>,
    unpacked: RefCell<Digests>,
}

type Digests = BTreeMap<String, Option<Sha256Digest>>;

enum Place {
    Folder,
    Archive { file: File, entries: BTreeMap<String, Entry> },
}

enum Entry {
    Bytes { offset: u64, size: u64 },
    Link(String),
}

/// The digest of everything there is to read.
pub(super) fn digest_of(mut bytes: impl Read) -> io::Result<Sha256Digest> {
    let (mut hasher, mut chunk) = (Sha256::new(), vec![0; CHUNK_BYTES]);
    loop {
        match bytes.read(&mut chunk) {
            Ok(0) => return Ok(Sha256Digest::new(hasher.finalize().into())),
            Ok(read) => hasher.update(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl ImageFiles {
    /// None where the folder has no image.
    pub(super) fn of_folder(path: &Path) -> Option<Self> {
        let has_image = [INDEX, SAVED].iter().any(|name| path.join(name).is_file());
        has_image.then(|| Self::new(path, Place::Folder))
    }

    /// None where the file is no archive of an image.
    pub(super) fn of_archive(path: &Path, mut file: File) -> Result<Option<Self>, FilesError> {
        let read = |source| FilesError::Read { path: path.into(), source };
        let archive = |source| FilesError::Archive { path: path.into(), source };
        let mut magic = vec![];
        file.seek(SeekFrom::Start(TAR_MAGIC.0)).map_err(read)?;
        file.by_ref().take(TAR_MAGIC.1.len() as u64).read_to_end(&mut magic).map_err(read)?;
        if magic != TAR_MAGIC.1 {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(0)).map_err(read)?;
        let (mut tar, mut entries, mut fault) = (tar::Archive::new(&file), BTreeMap::new(), None);
        for entry in tar.entries_with_seek().map_err(archive)? {
            let mut entry = entry.map_err(archive)?;
            if entries.len() == ENTRIES_MAX {
                return Err(FilesError::TooMany { path: path.into() });
            }
            match read_entry(&mut entry) {
                Ok(Some((name, found))) => {
                    // Some programs take the first of two, and some the last.
                    if entries.insert(name.clone(), found).is_some() {
                        fault = fault.or(Some(ambiguous(&name, "it is there twice")));
                    }
                }
                Ok(None) => {}
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        if ![INDEX, SAVED].iter().any(|name| entries.contains_key(*name)) {
            return Ok(None);
        }
        match fault.or_else(|| fault_among(&entries)) {
            Some(fault) => Err(fault),
            None => Ok(Some(Self::new(path, Place::Archive { file, entries }))),
        }
    }

    fn new(path: &Path, place: Place) -> Self {
        Self { path: path.into(), place, digests: RefCell::default(), unpacked: RefCell::default() }
    }

    /// A small file; none where there is no such file.
    pub(super) fn document(&self, name: &str) -> Result<Option<Vec<u8>>, FilesError> {
        let Some(file) = self.open(name)? else { return Ok(None) };
        let mut bytes = vec![];
        file.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|source| self.unreadable(name, source))?;
        if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
            return Err(FilesError::TooLarge { name: name.into() });
        }
        Ok(Some(bytes))
    }

    /// What a file is, whatever it is called; none where there is no such file.
    pub(super) fn digest(&self, name: &str) -> Result<Option<Sha256Digest>, FilesError> {
        self.known(&self.digests, name, || {
            self.open(name)?.map(digest_of).transpose().map_err(|source| self.unreadable(name, source))
        })
    }

    /// What a file is that gzip packed, without that; none where there is no such file, or it is not packed so.
    pub(super) fn unpacked_digest(&self, name: &str) -> Result<Option<Sha256Digest>, FilesError> {
        self.known(&self.unpacked, name, || {
            let mut magic = vec![];
            let Some(head) = self.open(name)? else { return Ok(None) };
            head.take(GZIP_MAGIC.len() as u64).read_to_end(&mut magic).map_err(|source| self.unreadable(name, source))?;
            if magic != GZIP_MAGIC {
                return Ok(None);
            }
            let Some(packed) = self.open(name)? else { return Ok(None) };
            // What is cut off at the limit, or breaks off, has another digest.
            Ok(digest_of(MultiGzDecoder::new(packed).take(UNPACKED_BYTES_MAX)).ok())
        })
    }

    /// Each file is read once, however often and under however many names it is asked for.
    fn known(
        &self,
        digests: &RefCell<Digests>,
        name: &str,
        read: impl FnOnce() -> Result<Option<Sha256Digest>, FilesError>,
    ) -> Result<Option<Sha256Digest>, FilesError> {
        let key = self.name_of(name)?;
        if let Some(known) = digests.borrow().get(&key) {
            return Ok(*known);
        }
        let digest = read()?;
        digests.borrow_mut().insert(key, digest);
        Ok(digest)
    }

    /// What `name` leads to.
    fn name_of(&self, name: &str) -> Result<String, FilesError> {
        let inside = inside("", name).ok_or_else(|| FilesError::Outside { name: name.into() })?;
        Ok(match &self.place {
            Place::Folder => inside,
            Place::Archive { entries, .. } => followed(entries, &inside).unwrap_or(&inside).to_owned(),
        })
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + '_>>, FilesError> {
        let inside = self.name_of(name)?;
        let opened = match &self.place {
            Place::Folder => open_file(&self.path.join(inside)).map(|file| file.map(|file| Box::new(file) as Box<dyn Read>)),
            Place::Archive { file, entries } => bytes_of(file, entries, &inside),
        };
        opened.map_err(|source| self.unreadable(name, source))
    }

    fn unreadable(&self, name: &str, source: io::Error) -> FilesError {
        FilesError::Read { path: self.path.join(name), source }
    }
}

/// What is no file, such as a pipe, is not waited for.
fn open_file(path: &Path) -> io::Result<Option<File>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => File::open(path).map(Some),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn bytes_of<'f>(mut file: &'f File, entries: &BTreeMap<String, Entry>, name: &str) -> io::Result<Option<Box<dyn Read + 'f>>> {
    let Some(Entry::Bytes { offset, size }) = entries.get(name) else { return Ok(None) };
    file.seek(SeekFrom::Start(*offset))?;
    Ok(Some(Box::new(file.take(*size))))
}

/// What an entry is called, and what it is; none for a folder.
fn read_entry<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Option<(String, Entry)>, FilesError> {
    let said = String::from_utf8_lossy(&entry.path_bytes()).chars().take(NAME_SHOWN_CHARS_MAX).collect::<String>();
    let has_odd_records = entry.pax_extensions().map_or(true, |records| records.is_some_and(|records| !are_plain(records)));
    if has_odd_records {
        return Err(ambiguous(&said, "its extended header has records that are odd, or there twice"));
    }
    if entry.path_bytes().len() > NAME_BYTES_MAX || entry.path_bytes().contains(&0) {
        return Err(ambiguous(&said, "its name is too long, or has a zero in it"));
    }
    let outside = || FilesError::Outside { name: said.clone() };
    let name = entry.path().ok().and_then(|path| inside("", path.to_str()?)).ok_or_else(outside)?;
    let kind = entry.header().entry_type();
    if kind.is_dir() {
        return Ok(None);
    }
    if name.is_empty() {
        return Err(ambiguous(&said, "it is a file, and has no name"));
    }
    if kind.is_file() {
        return Ok(Some((name, Entry::Bytes { offset: entry.raw_file_position(), size: entry.size() })));
    }
    if !kind.is_symlink() && !kind.is_hard_link() {
        return Err(ambiguous(&said, "it is neither a file, a folder nor a link"));
    }
    let from = if kind.is_symlink() { name.rsplit_once('/').map_or("", |(folder, _)| folder) } else { "" };
    let target = entry.link_name().ok().flatten().and_then(|target| inside(from, target.to_str()?)).ok_or_else(outside)?;
    Ok(Some((name, Entry::Link(target))))
}

/// Whether no program can take the records for others: each is whole and there once, and none makes the file another one.
fn are_plain(records: tar::PaxExtensions<'_>) -> bool {
    let mut keys = BTreeSet::new();
    records.into_iter().all(|record| {
        record.is_ok_and(|record| !record.key_bytes().starts_with(SPARSE_RECORDS) && keys.insert(record.key_bytes().to_vec()))
    })
}

/// What only all entries together show: a program that unpacks them goes through links that stand where a folder should.
fn fault_among(entries: &BTreeMap<String, Entry>) -> Option<FilesError> {
    entries.iter().find_map(|(name, entry)| {
        if name.match_indices('/').any(|(at, _)| entries.contains_key(&name[..at])) {
            return Some(ambiguous(name, "it lies below what is no folder"));
        }
        let leads_nowhere = matches!(entry, Entry::Link(_)) && followed(entries, name).is_none();
        leads_nowhere.then(|| FilesError::Link { name: name.clone() })
    })
}

/// The file that `name` leads to; none where there is none, or its links lead in a circle.
fn followed<'e>(entries: &'e BTreeMap<String, Entry>, name: &'e str) -> Option<&'e str> {
    let mut name = name;
    for _ in 0..=LINKS_MAX {
        match entries.get(name)? {
            Entry::Link(target) => name = target,
            Entry::Bytes { .. } => return Some(name),
        }
    }
    None
}

fn ambiguous(name: &str, why: &'static str) -> FilesError {
    FilesError::Ambiguous { name: name.chars().take(NAME_SHOWN_CHARS_MAX).collect(), why }
}

/// The path of `name` from the top, as seen from `folder`; none where it leads out.
fn inside(folder: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir => drop(parts.pop()?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::EntryType;

    #[test]
    fn no_name_leads_out_of_an_image() {
        for (folder, name, expected) in [
            ("", "./index.json", Some("index.json")),
            ("a/b", "../layer.tar", Some("a/layer.tar")),
            ("a", "../../x", None),
            ("", "/etc/passwd", None),
            ("", "../x", None),
        ] {
            assert_eq!(inside(folder, name).as_deref(), expected, "{name} from {folder}");
        }
    }

    /// An archive of these entries: the name, the kind, and the bytes or the target of a link.
    fn archive(entries: &[(&str, EntryType, &str)]) -> Result<Option<ImageFiles>, FilesError> {
        let mut tar = tar::Builder::new(tempfile::tempfile().expect("a file"));
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_entry_type(*kind);
            // Past the checks of names in the builder.
            header.as_gnu_mut().expect("a header of GNU").name[..name.len()].copy_from_slice(name.as_bytes());
            let is_link = kind.is_symlink() || kind.is_hard_link();
            let bytes = if is_link { &b""[..] } else { content.as_bytes() };
            if is_link {
                header.set_link_name(content).expect("a target");
            }
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            tar.append(&header, bytes).expect("is written");
        }
        ImageFiles::of_archive(Path::new("a.tar"), tar.into_inner().expect("the archive"))
    }

    const SAVED_FILE: (&str, EntryType, &str) = ("manifest.json", EntryType::Regular, "[]");

    #[test]
    fn an_archive_gives_its_files_and_what_its_links_lead_to() {
        let files = archive(&[
            SAVED_FILE,
            ("./", EntryType::Directory, ""),
            ("one/", EntryType::Directory, ""),
            ("one/layer.tar", EntryType::Regular, "the layer"),
            ("two/layer.tar", EntryType::Symlink, "../one/layer.tar"),
            ("three", EntryType::Link, "two/layer.tar"),
        ]);
        let files = files.expect("an archive").expect("an image");
        assert_eq!(files.document("manifest.json").expect("is read").as_deref(), Some(&b"[]"[..]));
        let layer = Some(Sha256Digest::of(b"the layer"));
        for name in ["two/layer.tar", "./one/layer.tar", "three", ".//three"] {
            assert_eq!(files.digest(name).expect("is read"), layer, "{name}");
        }
        assert_eq!(files.digests.borrow().len(), 1, "it was read once");
        assert_eq!(files.unpacked_digest("three").expect("is read"), None);
        assert_eq!(files.unpacked.borrow().len(), 1);
        assert_eq!(files.digest("four").expect("is not there"), None);
        assert!(matches!(files.digest("../x"), Err(FilesError::Outside { .. })));
        let other = tempfile::tempfile().expect("a file");
        assert!(ImageFiles::of_archive(Path::new("a"), other).expect("is read").is_none(), "an empty file is no archive");
    }

    #[test]
    fn an_archive_that_programs_read_differently_is_refused() {
        use EntryType::{Continuous, Directory, Fifo, GNUSparse, Link, Regular, Symlink};
        for forged in [
            vec![SAVED_FILE],
            vec![("./manifest.json", Regular, "[]")],
            vec![("a/../manifest.json", Regular, "[]")],
            vec![("/manifest.json", Regular, "[]")],
            vec![("../manifest.json", Regular, "[]")],
            vec![("..", Directory, "")],
            vec![("manifest.json", Continuous, "[]")],
            vec![("index.json", Continuous, "{}")],
            vec![("index.json", GNUSparse, "")],
            vec![("index.json", Fifo, "")],
            vec![("", Regular, "{}")],
            vec![("manifest.json", Symlink, "other"), ("other", Regular, "[]")],
            // Through a link that stands where a folder should.
            vec![("b", Symlink, "a"), ("a", Regular, ""), ("b/c", Regular, "")],
            vec![("index.json", Symlink, "b/c"), ("b", Symlink, "a"), ("a/c", Regular, "{}")],
            vec![("index.json", Symlink, "/other"), ("other", Regular, "{}")],
            vec![("round", Symlink, "round")],
            vec![("round", Link, "about"), ("about", Symlink, "round")],
        ] {
            for first in [true, false] {
                let entries =
                    if first { [vec![SAVED_FILE], forged.clone()] } else { [forged.clone(), vec![SAVED_FILE]] }.concat();
                // What the library itself cannot read is refused as well.
                let Err(error) = archive(&entries) else { panic!("taken: {entries:?}") };
                assert!(!matches!(error, FilesError::Read { .. } | FilesError::TooMany { .. }), "{entries:?}: {error}");
            }
        }
        let two = [("a", Regular, "1"), ("a", Regular, "2")];
        assert!(archive(&two).expect("is read").is_none(), "what is no image is not held to this");
    }

    #[test]
    fn records_of_an_extended_header_that_hide_something_are_refused() {
        let with = |records: &[u8]| {
            let mut tar = tar::Builder::new(tempfile::tempfile().expect("a file"));
            let mut extended = tar::Header::new_ustar();
            extended.set_entry_type(EntryType::XHeader);
            extended.set_size(records.len() as u64);
            extended.set_cksum();
            tar.append(&extended, records).expect("is written");
            let mut header = tar::Header::new_ustar();
            header.set_size(2);
            tar.append_data(&mut header, "manifest.json", &b"[]"[..]).expect("is written");
            tar.append_data(&mut header, "index.json", &b"{}"[..]).expect("is written");
            ImageFiles::of_archive(Path::new("a.tar"), tar.into_inner().expect("the archive"))
        };
        assert!(with(b"11 mtime=1\n").expect("is read").is_some());
        for odd in
            [&b"22 path=manifest.json\n11 path=ab\n"[..], b"30 GNU.sparse.name=index.json\n", b"27 comment=x\n14 path=other\n"]
        {
            let result = with(odd);
            assert!(matches!(result, Err(FilesError::Ambiguous { .. })), "{}", String::from_utf8_lossy(odd));
        }
    }
}
