//! The files a Dockerfile may copy: everything below the context folder that `.dockerignore` leaves.
//!
//! No path leaves the folder, neither by `..` nor through a symbolic link; links inside are copied as links. Reference:
//! the Dockerfile reference, "`.dockerignore` file"; patterns as in Go's `path.Match` with `**`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::rootfs;
use crate::glob::{Glob, GlobError, PathGlob};

const MAX_FILES: usize = 1_000_000;
const MAX_DEPTH: usize = 200;
const MAX_IGNORE_FILE_BYTES: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextError {
    #[error("{0:?} is not in the build context, or .dockerignore leaves it out")]
    Missing(String),
    #[error("{0:?} is outside of the build context")]
    Outside(String),
    #[error("{0:?} leads out of the build context through a symbolic link")]
    Escape(String),
    #[error("{0:?} is no file, folder or symbolic link")]
    Special(PathBuf),
    #[error("{0:?} has a name that is not UTF-8")]
    NotUtf8(PathBuf),
    #[error("the build context has more than {MAX_FILES} files, or folders more than {MAX_DEPTH} deep")]
    TooMany,
    #[error(transparent)]
    Pattern(#[from] GlobError),
    #[error("cannot read {path:?}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

#[derive(Debug)]
pub(super) struct ContextFiles {
    root: PathBuf,
    /// In the order of the file: the last one that matches decides.
    ignored: Vec<(Ignore, PathGlob)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ignore {
    Leave,
    Take,
}

/// Something a COPY names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// Links resolved, inside the context.
    pub(super) path: PathBuf,
    /// As the Dockerfile calls it; what a copied file is named.
    pub(super) name: String,
    pub(super) is_directory: bool,
}

/// Something found below a folder that is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Below the folder.
    pub(super) relative: String,
    pub(super) kind: FoundKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FoundKind {
    Directory,
    File(PathBuf),
    Symlink(String),
}

impl ContextFiles {
    /// `dockerfile` is the path below the root: `<dockerfile>.dockerignore` goes before `.dockerignore`.
    pub(super) fn open(root: &Path, dockerfile: &Path) -> Result<Self, ContextError> {
        let broken = |path: &Path| {
            let path = path.to_owned();
            move |source| ContextError::Io { path, source }
        };
        let root = fs::canonicalize(root).map_err(broken(root))?;
        let mut own = dockerfile.as_os_str().to_owned();
        own.push(".dockerignore");
        let mut ignored = Vec::new();
        for candidate in [root.join(own), root.join(".dockerignore")] {
            // Only a plain file: a link could name any file of the machine.
            let Ok(metadata) = fs::symlink_metadata(&candidate) else { continue };
            if !metadata.is_file() || metadata.len() > MAX_IGNORE_FILE_BYTES {
                return Err(ContextError::Special(candidate));
            }
            let text = fs::read_to_string(&candidate).map_err(broken(&candidate))?;
            ignored = parse_ignore(&text)?;
            break;
        }
        Ok(Self { root, ignored })
    }

    fn is_ignored(&self, relative: &str) -> bool {
        let parts: Vec<&str> = relative.split('/').collect();
        let last = self.ignored.iter().rev().find(|(_, pattern)| pattern.matches_path_or_parent(&parts));
        last.is_some_and(|(ignore, _)| *ignore == Ignore::Leave)
    }

    fn has_exceptions(&self) -> bool {
        self.ignored.iter().any(|(ignore, _)| *ignore == Ignore::Take)
    }

    /// What a source of COPY stands for, wildcards replaced, by name.
    pub(super) fn sources(&self, pattern: &str) -> Result<Vec<Source>, ContextError> {
        let pattern_path = rootfs::clean(pattern).ok_or_else(|| ContextError::Outside(pattern.to_owned()))?;
        let mut matches = vec![String::new()];
        let mut wildcard = false;
        for segment in pattern_path.split('/').filter(|segment| !segment.is_empty()) {
            let glob = Glob::new(segment)?;
            if glob.is_literal() {
                let literal = segment.replace('\\', "");
                for found in &mut matches {
                    *found = join(found, &literal);
                }
                continue;
            }
            wildcard = true;
            let mut next = Vec::new();
            for found in &matches {
                let Some(folder) = self.inside(found)?.filter(|path| path.is_dir()) else { continue };
                for (name, _) in list(&folder)? {
                    if glob.matches(&name) {
                        next.push(join(found, &name));
                    }
                }
                if next.len() > MAX_FILES {
                    return Err(ContextError::TooMany);
                }
            }
            matches = next;
        }
        let mut sources = Vec::new();
        for relative in matches {
            let Some(path) = self.inside(&relative)? else { continue };
            let metadata = fs::metadata(&path).map_err(|source| ContextError::Io { path: path.clone(), source })?;
            let is_directory = metadata.is_dir();
            if !is_directory && !metadata.is_file() {
                return Err(ContextError::Special(path));
            }
            let real = self.relative(&path)?;
            let left_out = |relative: &str| !relative.is_empty() && self.is_ignored(relative);
            // A folder that is left out may hold files that are not.
            if (left_out(&relative) || left_out(&real)) && !(is_directory && self.has_exceptions()) {
                continue;
            }
            let name = relative.rsplit('/').next().unwrap_or_default().to_owned();
            sources.push(Source { path, name, is_directory });
        }
        if sources.is_empty() || (!wildcard && sources.len() != 1) {
            return Err(ContextError::Missing(pattern.to_owned()));
        }
        Ok(sources)
    }

    /// The real path of something below the root, or `None` when there is nothing.
    fn inside(&self, relative: &str) -> Result<Option<PathBuf>, ContextError> {
        let path = self.root.join(relative);
        match fs::canonicalize(&path) {
            Ok(real) if real.starts_with(&self.root) => Ok(Some(real)),
            Ok(_) => Err(ContextError::Escape(relative.to_owned())),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(source) => Err(ContextError::Io { path, source }),
        }
    }

    fn relative(&self, path: &Path) -> Result<String, ContextError> {
        let relative = path.strip_prefix(&self.root).map_err(|_| ContextError::Special(path.to_owned()))?;
        relative.to_str().map(str::to_owned).ok_or_else(|| ContextError::NotUtf8(path.to_owned()))
    }

    /// Everything below a folder that is not left out, sorted, folders before what is in them.
    pub(super) fn walk(&self, folder: &Path) -> Result<Vec<Found>, ContextError> {
        let mut found = Vec::new();
        self.walk_into(folder, "", &self.relative(folder)?, 0, &mut found)?;
        Ok(found)
    }

    fn walk_into(
        &self,
        folder: &Path,
        below: &str,
        below_root: &str,
        depth: usize,
        found: &mut Vec<Found>,
    ) -> Result<(), ContextError> {
        if depth > MAX_DEPTH || found.len() > MAX_FILES {
            return Err(ContextError::TooMany);
        }
        for (name, path) in list(folder)? {
            let (relative, in_context) = (join(below, &name), join(below_root, &name));
            let broken = |source| ContextError::Io { path: path.clone(), source };
            let file_type = fs::symlink_metadata(&path).map_err(broken)?.file_type();
            let left_out = self.is_ignored(&in_context);
            let kind = if file_type.is_dir() {
                FoundKind::Directory
            } else if file_type.is_symlink() {
                let target = fs::read_link(&path).map_err(broken)?;
                FoundKind::Symlink(target.to_str().ok_or_else(|| ContextError::NotUtf8(path.clone()))?.to_owned())
            } else if file_type.is_file() {
                FoundKind::File(path.clone())
            } else {
                return Err(ContextError::Special(path));
            };
            let is_directory = kind == FoundKind::Directory;
            if !left_out {
                found.push(Found { relative: relative.clone(), kind });
            }
            if is_directory && (!left_out || self.has_exceptions()) {
                self.walk_into(&path, &relative, &in_context, depth + 1, found)?;
            }
        }
        Ok(())
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The entries of a folder, by name: the order of a disk differs from machine to machine.
fn list(folder: &Path) -> Result<Vec<(String, PathBuf)>, ContextError> {
    let broken = |source| ContextError::Io { path: folder.to_owned(), source };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let name = entry.file_name().into_string().map_err(|_| ContextError::NotUtf8(entry.path()))?;
        entries.push((name, entry.path()));
    }
    entries.sort();
    Ok(entries)
}

fn parse_ignore(text: &str) -> Result<Vec<(Ignore, PathGlob)>, ContextError> {
    let mut patterns = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let line = line.trim();
        let (ignore, pattern) = match line.strip_prefix('!') {
            Some(rest) => (Ignore::Take, rest.trim()),
            None => (Ignore::Leave, line),
        };
        let pattern = rootfs::clean(pattern).unwrap_or_default();
        if !pattern.is_empty() {
            patterns.push((ignore, PathGlob::new(&pattern)?));
        }
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(files: &[&str], ignore: &str) -> (tempfile::TempDir, ContextFiles) {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        fs::write(folder.path().join(".dockerignore"), ignore).unwrap();
        let files = ContextFiles::open(folder.path(), Path::new("Dockerfile")).unwrap();
        (folder, files)
    }

    fn names(files: &ContextFiles, pattern: &str) -> Vec<String> {
        files.sources(pattern).unwrap().into_iter().map(|source| source.name).collect()
    }

    #[test]
    fn wildcards_give_sorted_files_without_those_that_are_left_out() {
        let (_folder, files) = context(&["c.txt", "a.txt", "b.md", "sub/d.txt", "sub/e.txt"], "a.txt\n");
        assert_eq!(names(&files, "*.txt"), ["c.txt"]);
        assert_eq!(names(&files, "*/d.txt"), ["d.txt"]);
        assert_eq!(names(&files, "/sub/../b.md"), ["b.md"]);
        for missing in ["a.txt", "*.zip", "none", "sub/none"] {
            assert!(matches!(files.sources(missing), Err(ContextError::Missing(_))), "{missing}");
        }
    }

    #[test]
    fn exceptions_bring_files_back_and_the_last_pattern_wins() {
        let ignore = "# all but two\n*\n!keep\nkeep/secret*\n!keep/secret.txt\n!/deep/er/x\n";
        let (folder, files) = context(&["drop", "keep/a", "keep/secret.txt", "keep/secret.key", "deep/er/x", "deep/y"], ignore);
        let found: Vec<String> =
            files.walk(&fs::canonicalize(folder.path()).unwrap()).unwrap().into_iter().map(|found| found.relative).collect();
        assert_eq!(found, ["deep/er/x", "keep", "keep/a", "keep/secret.txt"]);
    }

    #[cfg(unix)]
    #[test]
    fn nothing_outside_of_the_context_can_be_copied() {
        let (folder, files) = context(&["in/a"], "");
        std::os::unix::fs::symlink("/etc", folder.path().join("out")).unwrap();
        std::os::unix::fs::symlink("../in/a", folder.path().join("in/link")).unwrap();
        for escape in ["out", "out/passwd", "out/*"] {
            assert!(matches!(files.sources(escape), Err(ContextError::Escape(_))), "{escape}");
        }
        assert!(matches!(files.sources("../x"), Err(ContextError::Outside(_))));
        assert_eq!(names(&files, "in/link"), ["link"]);
        let found = files.walk(&fs::canonicalize(folder.path()).unwrap()).unwrap();
        assert!(found.contains(&Found { relative: "out".into(), kind: FoundKind::Symlink("/etc".into()) }));
    }
}
