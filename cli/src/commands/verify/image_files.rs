//! The files of a container image on this machine, by their names: a folder, or a tar archive.
//!
//! Owns how they are found and read, within limits. Believes no name: what a file is, its digest says.

use flate2::read::MultiGzDecoder;
use pyrsia_ledger::Sha256Digest;
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// The most files of an archive; an image has a few for each of its layers.
const ENTRIES_MAX: usize = 100_000;
/// The largest document of an image that is read: a manifest, an index or a configuration. Registries take manifests of 4 MiB.
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// How many links of an archive lead to each other at most.
const LINKS_MAX: usize = 8;
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
}

pub(super) struct ImageFiles {
    path: PathBuf,
    place: Place,
    /// What was hashed already.
    digests: RefCell<BTreeMap<String, Option<Sha256Digest>>>,
}

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
        has_image.then(|| Self { path: path.into(), place: Place::Folder, digests: RefCell::default() })
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
        let (mut tar, mut entries) = (tar::Archive::new(&file), BTreeMap::new());
        for entry in tar.entries_with_seek().map_err(archive)? {
            let entry = entry.map_err(archive)?;
            if entries.len() == ENTRIES_MAX {
                return Err(FilesError::TooMany { path: path.into() });
            }
            let Some(name) = entry.path().ok().and_then(|path| inside("", path.to_str()?)) else { continue };
            let kind = entry.header().entry_type();
            let found = if kind.is_file() {
                Entry::Bytes { offset: entry.raw_file_position(), size: entry.size() }
            } else if kind.is_symlink() || kind.is_hard_link() {
                let from = if kind.is_symlink() { name.rsplit_once('/').map_or("", |(folder, _)| folder) } else { "" };
                let target = entry.link_name().ok().flatten().and_then(|target| inside(from, target.to_str()?));
                let Some(target) = target else { continue };
                Entry::Link(target)
            } else {
                continue;
            };
            entries.insert(name, found);
        }
        let has_image = [INDEX, SAVED].iter().any(|name| entries.contains_key(*name));
        let place = Place::Archive { file, entries };
        Ok(has_image.then(|| Self { path: path.into(), place, digests: RefCell::default() }))
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
        if let Some(known) = self.digests.borrow().get(name) {
            return Ok(*known);
        }
        let hashed = self.open(name)?.map(digest_of).transpose().map_err(|source| self.unreadable(name, source))?;
        self.digests.borrow_mut().insert(name.into(), hashed);
        Ok(hashed)
    }

    /// What a file is that gzip packed, without that; none where there is no such file, or it is not packed so.
    pub(super) fn unpacked_digest(&self, name: &str) -> Result<Option<Sha256Digest>, FilesError> {
        let mut magic = vec![];
        let Some(head) = self.open(name)? else { return Ok(None) };
        head.take(GZIP_MAGIC.len() as u64).read_to_end(&mut magic).map_err(|source| self.unreadable(name, source))?;
        if magic != GZIP_MAGIC {
            return Ok(None);
        }
        let Some(packed) = self.open(name)? else { return Ok(None) };
        // What is cut off at the limit, or breaks off, has another digest.
        Ok(digest_of(MultiGzDecoder::new(packed).take(UNPACKED_BYTES_MAX)).ok())
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + '_>>, FilesError> {
        let inside = inside("", name).ok_or_else(|| FilesError::Outside { name: name.into() })?;
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
    let mut name = name;
    for _ in 0..=LINKS_MAX {
        match entries.get(name) {
            None => return Ok(None),
            Some(Entry::Link(target)) => name = target,
            Some(Entry::Bytes { offset, size }) => {
                file.seek(SeekFrom::Start(*offset))?;
                return Ok(Some(Box::new(file.take(*size))));
            }
        }
    }
    Err(io::Error::other("its links lead in a circle"))
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

    #[test]
    fn an_archive_gives_its_files_and_what_its_links_lead_to() {
        let mut tar = tar::Builder::new(tempfile::tempfile().expect("a file"));
        let mut add = |name: &str, bytes: &[u8], link: Option<&str>| {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(bytes.len() as u64);
            header.set_entry_type(if link.is_some() { tar::EntryType::Symlink } else { tar::EntryType::Regular });
            match link {
                Some(target) => tar.append_link(&mut header, name, target).expect("is written"),
                None => tar.append_data(&mut header, name, bytes).expect("is written"),
            }
        };
        add("manifest.json", b"[]", None);
        add("one/layer.tar", b"the layer", None);
        add("two/layer.tar", b"", Some("../one/layer.tar"));
        add("round", b"", Some("round"));
        add("out", b"", Some("../../etc/passwd"));
        let file = tar.into_inner().expect("the archive");
        let files = ImageFiles::of_archive(Path::new("a.tar"), file).expect("an archive").expect("an image");
        assert_eq!(files.document("manifest.json").expect("is read").as_deref(), Some(&b"[]"[..]));
        let layer = Some(Sha256Digest::of(b"the layer"));
        assert_eq!(files.digest("two/layer.tar").expect("is read"), layer);
        assert_eq!(files.digest("./one/layer.tar").expect("is read"), layer);
        assert_eq!(files.digest("out").expect("is not there"), None);
        assert!(matches!(files.digest("round"), Err(FilesError::Read { .. })));
        assert!(matches!(files.digest("../x"), Err(FilesError::Outside { .. })));
        let other = tempfile::tempfile().expect("a file");
        assert!(ImageFiles::of_archive(Path::new("a"), other).expect("is read").is_none(), "an empty file is no archive");
    }
}
