//! COPY and ADD: from names in the build context to the entries of one layer.
//!
//! Reference: the Dockerfile reference, "COPY". Owners are numbers, modes are 0755 or 0644 by the executable bit of
//! git, folders of the base that a file lands in are repeated as they are there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::context_files::{ContextError, ContextFiles, FoundKind, Source};
use super::dockerfile::CopyKeyword;
use super::layer::{Content, LayerEntry};
use super::rootfs::{Node, Owner, Rootfs, RootfsError};

const ROOT: Owner = Owner { uid: 0, gid: 0 };
const FOLDER_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
const EXECUTABLE_MODE: u32 = 0o755;
const LINK_MODE: u32 = 0o777;

#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    #[error("--chown={0}: only numbers are covered by the embedded builder, for example --chown=1000:1000")]
    Owner(String),
    #[error("--chmod={0}: only an octal mode is covered by the embedded builder, for example --chmod=755")]
    Mode(String),
    #[error("ADD of {0:?} would fetch it; put the file into the repository, or run a docker engine beside the pipeline")]
    Remote(String),
    #[error("ADD of {0:?} would unpack an archive; use COPY to keep it as it is, or put the files into the repository")]
    Archive(String),
    #[error("there is more than one source, so the destination {0:?} has to end with /")]
    NotAFolder(String),
    #[error("{0:?} is a folder in the image and cannot become a file")]
    FolderInTheWay(String),
    #[error("{0:?} is a file in the image and cannot become a folder")]
    FileInTheWay(String),
    #[error("cannot read {path:?}: {source}")]
    Io { path: std::path::PathBuf, source: io::Error },
}

/// A COPY with all its words expanded.
pub(super) struct CopyPlan<'a> {
    pub(super) keyword: CopyKeyword,
    pub(super) sources: &'a [String],
    /// Absolute, or below the working directory.
    pub(super) destination: &'a str,
    pub(super) workdir: &'a str,
    pub(super) chown: Option<&'a str>,
    pub(super) chmod: Option<&'a str>,
}

/// The entries of one layer in the making; the tree of the image grows with it.
pub(super) struct LayerPlan<'a> {
    rootfs: &'a mut Rootfs,
    entries: BTreeMap<String, LayerEntry>,
}

impl CopyPlan<'_> {
    pub(super) fn entries(&self, files: &ContextFiles, rootfs: &mut Rootfs) -> Result<BTreeMap<String, LayerEntry>, CopyError> {
        let owner = self.chown.map(parse_owner).transpose()?.unwrap_or(ROOT);
        let mode = self.chmod.map(parse_mode).transpose()?;
        let mut sources = Vec::new();
        for pattern in self.sources {
            if self.keyword == CopyKeyword::Add && (pattern.contains("://") || pattern.starts_with("git@")) {
                return Err(CopyError::Remote(pattern.clone()));
            }
            sources.extend(files.sources(pattern)?);
        }
        let ends_as_folder = self.destination.ends_with('/') || matches!(self.destination.rsplit('/').next(), Some("." | ".."));
        let absolute = if self.destination.starts_with('/') {
            self.destination.to_owned()
        } else {
            format!("{}/{}", self.workdir, self.destination)
        };
        let destination = rootfs.resolve(&absolute)?;
        let into_folder = ends_as_folder || rootfs.is_directory(&destination);
        if sources.len() > 1 && !into_folder {
            return Err(CopyError::NotAFolder(self.destination.to_owned()));
        }
        let mut plan = LayerPlan { rootfs, entries: BTreeMap::new() };
        for source in &sources {
            if source.is_directory {
                plan.copy_folder(source, &destination, owner, mode, files)?;
            } else {
                if self.keyword == CopyKeyword::Add && is_archive(&source.path)? {
                    return Err(CopyError::Archive(source.name.clone()));
                }
                let target = if into_folder { join(&destination, &source.name) } else { destination.clone() };
                plan.file(&target, &source.path, owner, mode)?;
            }
        }
        Ok(plan.entries)
    }
}

impl<'a> LayerPlan<'a> {
    pub(super) fn new(rootfs: &'a mut Rootfs) -> Self {
        Self { rootfs, entries: BTreeMap::new() }
    }

    /// The entries for a folder that has to be there, as WORKDIR makes it; none when it is.
    pub(super) fn working_folder(mut self, path: &str) -> Result<BTreeMap<String, LayerEntry>, CopyError> {
        let resolved = self.rootfs.resolve(path)?;
        if self.rootfs.is_directory(&resolved) {
            return Ok(BTreeMap::new());
        }
        self.folder(&resolved, ROOT, FOLDER_MODE)?;
        Ok(self.entries)
    }

    fn copy_folder(
        &mut self,
        source: &Source,
        destination: &str,
        owner: Owner,
        mode: Option<u32>,
        files: &ContextFiles,
    ) -> Result<(), CopyError> {
        self.folder(destination, owner, FOLDER_MODE)?;
        for found in files.walk(&source.path)? {
            let (folder, name) = found.relative.rsplit_once('/').unwrap_or(("", &found.relative));
            let folder = self.rootfs.resolve(&join(destination, folder))?;
            let target = join(&folder, name);
            match found.kind {
                FoundKind::Directory => {
                    let target = self.rootfs.resolve(&target)?;
                    self.folder(&target, owner, mode.unwrap_or(FOLDER_MODE))?;
                }
                FoundKind::File(path) => self.file(&target, &path, owner, mode)?,
                FoundKind::Symlink(link) => {
                    self.put(&target, LayerEntry { mode: LINK_MODE, owner, content: Content::Symlink(link.clone()) }, owner)?;
                    self.rootfs.insert(&target, Node::Symlink(link));
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, target: &str, source: &Path, owner: Owner, mode: Option<u32>) -> Result<(), CopyError> {
        let broken = |error| CopyError::Io { path: source.to_owned(), source: error };
        let metadata = fs::metadata(source).map_err(broken)?;
        let mode = mode.unwrap_or(if is_executable(&metadata) { EXECUTABLE_MODE } else { FILE_MODE });
        self.put(target, LayerEntry { mode, owner, content: Content::File(source.to_owned()) }, owner)?;
        self.rootfs.insert(target, Node::File);
        Ok(())
    }

    /// A folder with all above it: as they are where they exist, new ones for this owner.
    fn folder(&mut self, path: &str, owner: Owner, new_mode: u32) -> Result<(), CopyError> {
        let mut depth = 0;
        while depth < path.len() {
            let end = path[depth..].find('/').map_or(path.len(), |at| depth + at);
            let here = &path[..end];
            let last = end == path.len();
            let (mode, owner) = match self.rootfs.get(here) {
                Some(Node::Directory { mode, owner }) => (*mode, *owner),
                None => (if last { new_mode } else { FOLDER_MODE }, owner),
                Some(Node::File | Node::Symlink(_)) => return Err(CopyError::FileInTheWay(format!("/{here}"))),
            };
            self.rootfs.insert(here, Node::Directory { mode, owner });
            self.entries.insert(here.to_owned(), LayerEntry { mode, owner, content: Content::Directory });
            depth = end + 1;
        }
        Ok(())
    }

    fn put(&mut self, target: &str, entry: LayerEntry, owner: Owner) -> Result<(), CopyError> {
        if self.rootfs.is_directory(target) {
            return Err(CopyError::FolderInTheWay(format!("/{target}")));
        }
        if let Some((parent, _)) = target.rsplit_once('/') {
            self.folder(parent, owner, FOLDER_MODE)?;
        }
        self.entries.insert(target.to_owned(), entry);
        Ok(())
    }
}

fn join(folder: &str, name: &str) -> String {
    match (folder, name) {
        ("", name) => name.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, name) => format!("{folder}/{name}"),
    }
}

/// A user without a group means the group of the same number, as in Docker.
fn parse_owner(text: &str) -> Result<Owner, CopyError> {
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u32>().map(u64::from).map_err(|_| CopyError::Owner(format!("{user}:{group}")));
    Ok(Owner { uid: number(user)?, gid: number(group)? })
}

fn parse_mode(text: &str) -> Result<u32, CopyError> {
    let refused = || CopyError::Mode(text.to_owned());
    if !(3..=4).contains(&text.len()) || text.starts_with('+') {
        return Err(refused());
    }
    u32::from_str_radix(text, 8).map_err(|_| refused())
}

#[cfg(unix)]
fn is_executable(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o100 != 0
}

#[cfg(not(unix))]
fn is_executable(_metadata: &fs::Metadata) -> bool {
    false
}

/// What Docker's ADD takes for an archive, or might: gzip, bzip2, xz, zstd, tar.
fn is_archive(path: &Path) -> Result<bool, CopyError> {
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(512).read_to_end(&mut head))
        .map_err(|source| CopyError::Io { path: path.to_owned(), source })?;
    let compressed: [&[u8]; 4] = [&[0x1f, 0x8b], b"BZh", &[0xfd, b'7', b'z', b'X', b'Z'], &[0x28, 0xb5, 0x2f, 0xfd]];
    Ok(compressed.iter().any(|magic| head.starts_with(magic)) || head.get(257..262) == Some(b"ustar"))
}

#[cfg(test)]
mod tests;
