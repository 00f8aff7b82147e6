//! Outputs of builds to begin with: the cases that every guest keeps, and the folders a call's files are lent from.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use pyrsia_verifiers::InputFile;
use tempfile::TempDir;

/// One output of one build, by file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) package_type: String,
    pub(crate) coordinate: Option<String>,
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

/// The outputs in the guests' cases for these types, in a fixed order.
pub(crate) fn corpus(package_types: &BTreeSet<String>) -> Result<Vec<Case>> {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    let mut cases = Vec::new();
    for package_type in package_types {
        let folder = guests.join(package_type).join("cases");
        for case in folders(&folder).with_context(|| format!("{} has no cases", folder.display()))? {
            let expected = fs::read_to_string(case.join("expected.toml"))?;
            let coordinate = expected.lines().find_map(|line| line.strip_prefix("coordinate = \"")?.strip_suffix('"'));
            for output in folders(&case)? {
                let files = files(&output)?;
                if !files.is_empty() {
                    cases.push(Case { package_type: package_type.clone(), coordinate: coordinate.map(Into::into), files });
                }
            }
        }
    }
    Ok(cases)
}

fn folders(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut paths: Vec<_> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.is_dir());
    paths.sort();
    Ok(paths)
}

fn files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    files.sort();
    Ok(files)
}

impl Case {
    /// Writes the files. They go when the folder is dropped.
    pub(crate) fn lend(&self) -> Result<(TempDir, Vec<InputFile>)> {
        let folder = tempfile::tempdir()?;
        let mut files = Vec::new();
        for (number, (name, bytes)) in self.files.iter().enumerate() {
            let path = folder.path().join(number.to_string());
            fs::write(&path, bytes)?;
            files.push(InputFile { name: name.clone(), path, size_bytes: bytes.len() as u64 });
        }
        Ok((folder, files))
    }

    /// Keeps the output for a person to look at. Names are a mutation's, so files are numbered.
    pub(crate) fn keep(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let mut names = String::new();
        for (number, (name, bytes)) in self.files.iter().enumerate() {
            names.push_str(&format!("{number} {name:?}\n"));
            fs::write(folder.join(number.to_string()), bytes)?;
        }
        Ok(fs::write(folder.join("names"), names)?)
    }
}
