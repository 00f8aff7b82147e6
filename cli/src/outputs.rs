//! Build outputs on this machine, as a verifier is lent them: a folder with its files, or one file.

use pyrsia_verifiers::{InputFile, limits};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is neither a file nor a folder; links are not followed")]
    Kind { path: PathBuf },
    #[error("{path} has a name that is not UTF-8")]
    Name { path: PathBuf },
    #[error("{path} has more than {} files", limits::FILES_MAX)]
    TooMany { path: PathBuf },
}

/// The files of an output in the order of their names, which are relative to the folder with `/` between their parts.
pub fn read(path: &Path) -> Result<Vec<InputFile>, OutputError> {
    let metadata = fs::metadata(path).map_err(|source| OutputError::Read { path: path.into(), source })?;
    let mut files = Vec::new();
    if metadata.is_dir() {
        add_folder(path, path, "", &mut files)?;
        files.sort_by(|a, b| a.name.cmp(&b.name));
    } else {
        files.push(input(path, file_name(path)?, metadata.len()));
    }
    Ok(files)
}

/// Two outputs to be compared. Of two single files the second is called like the first: what somebody called a copy says nothing about it.
pub fn read_pair(a: &Path, b: &Path) -> Result<(Vec<InputFile>, Vec<InputFile>), OutputError> {
    let (files_of_a, mut files_of_b) = (read(a)?, read(b)?);
    if let ([one], [other]) = (&files_of_a[..], &mut files_of_b[..])
        && !a.is_dir()
        && !b.is_dir()
    {
        other.name.clone_from(&one.name);
    }
    Ok((files_of_a, files_of_b))
}

fn add_folder(root: &Path, folder: &Path, prefix: &str, files: &mut Vec<InputFile>) -> Result<(), OutputError> {
    let read = |source| OutputError::Read { path: folder.into(), source };
    for entry in fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = format!("{prefix}{}", file_name(&path)?);
        let metadata = fs::symlink_metadata(&path).map_err(|source| OutputError::Read { path: path.clone(), source })?;
        if metadata.is_dir() {
            add_folder(root, &path, &format!("{name}/"), files)?;
        } else if metadata.is_file() {
            files.push(input(&path, name, metadata.len()));
        } else {
            return Err(OutputError::Kind { path });
        }
        if files.len() > limits::FILES_MAX {
            return Err(OutputError::TooMany { path: root.into() });
        }
    }
    Ok(())
}

fn input(path: &Path, name: String, size_bytes: u64) -> InputFile {
    InputFile { name, path: path.into(), size_bytes }
}

fn file_name(path: &Path) -> Result<String, OutputError> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| OutputError::Name { path: path.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_files_with_their_relative_names_and_a_file_is_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("sub")).expect("a folder");
        for name in ["b", "sub/a"] {
            fs::write(folder.path().join(name), name).expect("a file");
        }
        let names = |path: &Path| read(path).map(|files| files.into_iter().map(|file| file.name).collect::<Vec<_>>());
        assert_eq!(names(folder.path()).expect("files"), ["b", "sub/a"]);
        assert_eq!(names(&folder.path().join("sub/a")).expect("a file"), ["a"]);
        let (one, other) = read_pair(&folder.path().join("b"), &folder.path().join("sub/a")).expect("files");
        assert_eq!((&one[0].name[..], &other[0].name[..]), ("b", "b"));
        std::os::unix::fs::symlink("b", folder.path().join("link")).expect("a link");
        assert!(matches!(read(folder.path()), Err(OutputError::Kind { .. })));
    }
}
