//! The file tree of an image, as far as copying into it needs to know: directories with their owners, links, the rest.
//!
//! A layer that puts a file below a directory of the base has to repeat that directory as it is there, and to follow
//! the links of the base rather than replace them. No content is kept. Reference: OCI image specification, "Layer".

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use tokio_util::sync::CancellationToken;

/// A few times the largest distribution images.
const MAX_NODES: usize = 2_000_000;
/// Longer paths no system can open.
const MAX_PATH_BYTES: usize = 4096;
/// Of all paths of an image, which are what is kept of it in memory.
const MAX_PATHS_BYTES: usize = 256 << 20;
/// What may stand before the content of one file: long names and attributes, which are read into memory.
const MAX_HEADER_BYTES: u64 = 2 << 20;
const MAX_LINKS_FOLLOWED: usize = 40;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

#[derive(Debug, thiserror::Error)]
pub(crate) enum RootfsError {
    #[error("a layer cannot be read")]
    Io(#[from] io::Error),
    #[error("a layer is compressed with zstd, which the embedded builder does not read")]
    Zstd,
    #[error("a layer has the path {0:?}, which leaves the image")]
    Path(String),
    #[error("a layer has a sparse file")]
    Sparse,
    #[error("the image has more than {MAX_NODES} files, or their paths more than {MAX_PATHS_BYTES} bytes")]
    TooManyFiles,
    #[error("the links at {0:?} lead round in a circle")]
    Links(String),
    #[error("cancelled")]
    Abandoned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u64,
    pub(super) gid: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Directory { mode: u32, owner: Owner },
    Symlink(String),
    File,
}

/// Paths have no slash at either end; the root itself is the empty path and always there.
#[derive(Debug, Clone, Default)]
pub(super) struct Rootfs {
    nodes: BTreeMap<String, Node>,
    /// Of every path and link that a layer ever had.
    paths_bytes: usize,
}

impl Rootfs {
    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    pub(super) fn is_directory(&self, path: &str) -> bool {
        path.is_empty() || matches!(self.get(path), Some(Node::Directory { .. }))
    }

    /// Puts a node there; what was below a directory that is none any more goes.
    pub(super) fn insert(&mut self, path: &str, node: Node) {
        if !matches!(node, Node::Directory { .. }) {
            self.remove_below(path);
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// Follows the links of a path; parts that do not exist stay as they are.
    pub(super) fn resolve(&self, path: &str) -> Result<String, RootfsError> {
        let mut resolved: Vec<String> = Vec::new();
        let mut rest: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut followed = 0;
        while let Some(name) = rest.pop() {
            match name.as_str() {
                "" | "." => {}
                ".." => {
                    resolved.pop();
                }
                _ => {
                    resolved.push(name);
                    let Some(Node::Symlink(target)) = self.get(&resolved.join("/")) else { continue };
                    followed += 1;
                    if followed > MAX_LINKS_FOLLOWED {
                        return Err(RootfsError::Links(path.to_owned()));
                    }
                    if target.starts_with('/') {
                        resolved.clear();
                    } else {
                        resolved.pop();
                    }
                    rest.extend(target.split('/').rev().map(str::to_owned));
                }
            }
        }
        Ok(resolved.join("/"))
    }

    /// Lays a layer on top.
    pub(super) fn apply_layer(&mut self, path: &Path, abandoned: &CancellationToken) -> Result<(), RootfsError> {
        let left = Rc::new(Cell::new(u64::MAX));
        let mut archive =
            tar::Archive::new(Metered { stream: open_layer(path)?, left: Rc::clone(&left), abandoned: abandoned.clone() });
        let mut entries = archive.entries()?;
        loop {
            if abandoned.is_cancelled() {
                return Err(RootfsError::Abandoned);
            }
            left.set(MAX_HEADER_BYTES);
            let Some(entry) = entries.next() else { return Ok(()) };
            let mut entry = entry?;
            left.set(u64::MAX);
            self.lay(&entry)?;
            if entry.header().entry_type().is_gnu_sparse() {
                return Err(RootfsError::Sparse);
            }
            // So that what is read for the next entry is its header alone.
            io::copy(&mut entry, &mut io::sink())?;
        }
    }

    fn lay(&mut self, entry: &tar::Entry<'_, impl Read>) -> Result<(), RootfsError> {
        let raw = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = clean(&raw).filter(|path| path.len() <= MAX_PATH_BYTES).ok_or(RootfsError::Path(raw))?;
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == ".wh..wh..opq" {
            self.remove_below(folder);
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(".wh.") {
            let hidden = if folder.is_empty() { hidden.to_owned() } else { format!("{folder}/{hidden}") };
            self.remove_below(&hidden);
            self.nodes.remove(&hidden);
            return Ok(());
        }
        let header = entry.header();
        let node = match header.entry_type() {
            // Some writers leave fields blank; to every reader of tar that means zero.
            tar::EntryType::Directory => Node::Directory {
                mode: header.mode().unwrap_or(0) & 0o7777,
                owner: Owner { uid: header.uid().unwrap_or(0), gid: header.gid().unwrap_or(0) },
            },
            tar::EntryType::Symlink => {
                let target = String::from_utf8_lossy(&entry.link_name_bytes().unwrap_or_default()).into_owned();
                if target.len() > MAX_PATH_BYTES {
                    return Err(RootfsError::Path(target));
                }
                self.paths_bytes += target.len();
                Node::Symlink(target)
            }
            tar::EntryType::XGlobalHeader => return Ok(()),
            _ => Node::File,
        };
        self.paths_bytes += path.len();
        if !path.is_empty() {
            self.insert(&path, node);
        }
        if self.nodes.len() > MAX_NODES || self.paths_bytes > MAX_PATHS_BYTES {
            return Err(RootfsError::TooManyFiles);
        }
        Ok(())
    }

    fn remove_below(&mut self, path: &str) {
        if path.is_empty() {
            self.nodes.clear();
            return;
        }
        // '0' is the character after '/'.
        let below: Vec<String> = self.nodes.range(format!("{path}/")..format!("{path}0")).map(|(path, _)| path.clone()).collect();
        for path in below {
            self.nodes.remove(&path);
        }
    }
}

/// A stream that ends with an error when more is read of it than was allowed, or when nobody waits any more.
struct Metered<R> {
    stream: R,
    left: Rc<Cell<u64>>,
    abandoned: CancellationToken,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.abandoned.is_cancelled() {
            return Err(io::Error::other(RootfsError::Abandoned));
        }
        let left = self.left.get();
        if left == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the header of a file is too long"));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.stream.read(&mut buffer[..most])?;
        self.left.set(left - read as u64);
        Ok(read)
    }
}

/// The tar stream of a layer, whatever it is compressed with.
pub(super) fn open_layer(path: &Path) -> Result<Box<dyn Read>, RootfsError> {
    let mut magic = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut magic)?;
    let file = BufReader::new(File::open(path)?);
    if magic == ZSTD_MAGIC {
        Err(RootfsError::Zstd)
    } else if magic.starts_with(&GZIP_MAGIC) {
        Ok(Box::new(MultiGzDecoder::new(file)))
    } else {
        Ok(Box::new(file))
    }
}

/// The path without `.` and slashes at the ends; `None` when it leaves the root.
pub(super) fn clean(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Owner = Owner { uid: 0, gid: 0 };

    fn directory() -> Node {
        Node::Directory { mode: 0o755, owner: ROOT }
    }

    #[test]
    fn links_are_followed_inside_the_image_only() {
        let mut rootfs = Rootfs::default();
        rootfs.insert("usr/bin", directory());
        rootfs.insert("bin", Node::Symlink("usr/bin".into()));
        rootfs.insert("up", Node::Symlink("../../../../usr".into()));
        rootfs.insert("a", Node::Symlink("/b".into()));
        rootfs.insert("b", Node::Symlink("a".into()));
        assert_eq!(rootfs.resolve("bin/sh").unwrap(), "usr/bin/sh");
        assert_eq!(rootfs.resolve("up/bin").unwrap(), "usr/bin");
        assert_eq!(rootfs.resolve("/not/../there/./x/").unwrap(), "there/x");
        assert!(matches!(rootfs.resolve("a/x"), Err(RootfsError::Links(_))));
    }

    #[test]
    fn layers_replace_hide_and_empty_what_is_below_them() {
        let folder = tempfile::tempdir().unwrap();
        let layer = |entries: &[(&str, tar::EntryType)]| {
            let path = folder.path().join("layer");
            let mut tar = tar::Builder::new(File::create(&path).unwrap());
            for (name, kind) in entries {
                let mut header = tar::Header::new_gnu();
                header.set_entry_type(*kind);
                header.set_mode(0o1777);
                header.set_uid(7);
                header.set_gid(8);
                header.set_size(0);
                tar.append_data(&mut header, name, io::empty()).unwrap();
            }
            tar.into_inner().unwrap();
            path
        };
        let (dir, file) = (tar::EntryType::Directory, tar::EntryType::Regular);
        let token = CancellationToken::new();
        let mut rootfs = Rootfs::default();
        let base = layer(&[("./tmp/", dir), ("tmp/a", file), ("etc/", dir), ("etc/x", file), ("opt/", dir), ("opt/y", file)]);
        rootfs.apply_layer(&base, &token).unwrap();
        assert_eq!(rootfs.get("tmp"), Some(&Node::Directory { mode: 0o1777, owner: Owner { uid: 7, gid: 8 } }));
        let top = layer(&[("tmp/.wh.a", file), ("etc/.wh..wh..opq", file), ("opt", file)]);
        rootfs.apply_layer(&top, &token).unwrap();
        let paths: Vec<&String> = rootfs.nodes.keys().collect();
        assert_eq!(paths, ["etc", "opt", "tmp"]);
        token.cancel();
        assert!(matches!(rootfs.apply_layer(&top, &token), Err(RootfsError::Abandoned)));
    }

    /// A layer whose first entry is of this kind, with this many zeros in it.
    fn layer_of_one(folder: &Path, kind: tar::EntryType, size_bytes: u64) -> std::path::PathBuf {
        let path = folder.join("layer");
        let gzip = flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(gzip);
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size_bytes);
        header.set_path("a").unwrap();
        header.set_cksum();
        tar.append(&header, io::repeat(b'x').take(size_bytes)).unwrap();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(0);
        header.set_cksum();
        tar.append(&header, io::empty()).unwrap();
        tar.into_inner().unwrap().finish().unwrap();
        path
    }

    #[test]
    fn a_name_that_unpacks_to_gigabytes_is_not_read_into_memory() {
        let (folder, token) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        for kind in [tar::EntryType::GNULongName, tar::EntryType::GNULongLink, tar::EntryType::XHeader] {
            let bomb = layer_of_one(folder.path(), kind, 64 << 20);
            let RootfsError::Io(refused) = Rootfs::default().apply_layer(&bomb, &token).unwrap_err() else { panic!("{kind:?}") };
            assert!(refused.to_string().contains("too long"), "{kind:?}: {refused}");
        }
        let long = layer_of_one(folder.path(), tar::EntryType::GNULongName, MAX_PATH_BYTES as u64 + 1);
        assert!(matches!(Rootfs::default().apply_layer(&long, &token), Err(RootfsError::Path(_))));
        let large = layer_of_one(folder.path(), tar::EntryType::Regular, 64 << 20);
        Rootfs::default().apply_layer(&large, &token).unwrap();
    }
}
