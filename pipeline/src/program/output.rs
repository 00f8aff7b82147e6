//! What a build program left in its output folder, looked at with distrust before any of it becomes an artifact.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::artifacts::{ArtifactError, Artifacts, is_file_name};

/// How long a program may go on beyond a limit before it is ended. Looking costs one call for each file.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    #[error("it is empty")]
    Empty,
    #[error("{0:?} is no regular file: no folders, links, pipes or devices")]
    NotAFile(String),
    #[error("{0:?} has a second name (a hard link): copy the file instead")]
    HardLink(String),
    #[error("{0:?} is no file name: use letters, digits and -._:@+, and no dot at the beginning")]
    Name(String),
    #[error("the program removed its output folder")]
    Gone,
    #[error(transparent)]
    Limit(#[from] ArtifactError),
    #[error("cannot read it")]
    Io(#[from] io::Error),
    #[error("cancelled")]
    Cancelled,
}

/// Returns when the folder has more or larger files than a build may give.
pub(crate) async fn watch(folder: &Path, artifacts: &Artifacts) -> OutputError {
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        let (folder, artifacts) = (folder.to_owned(), artifacts.clone());
        let looked = tokio::task::spawn_blocking(move || check_limits(&folder, &artifacts)).await;
        if let Ok(Err(refused @ OutputError::Limit(_))) = looked {
            return refused;
        }
    }
}

fn check_limits(folder: &Path, artifacts: &Artifacts) -> Result<(), OutputError> {
    let files = entries(folder)?;
    Ok(artifacts.check_sizes(files.iter().map(|file| (file.name.as_str(), file.metadata.len())))?)
}

struct OutputFile {
    path: PathBuf,
    name: String,
    metadata: Metadata,
}

fn entries(folder: &Path) -> Result<Vec<OutputFile>, OutputError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // A file may go while the program runs; what counts is what is there when it ended.
        let Ok(metadata) = path.symlink_metadata() else { continue };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push(OutputFile { path, name, metadata });
        Artifacts::check_count(files.len())?;
    }
    Ok(files)
}

/// Hands all files over, or none: every one is checked before the first is moved.
pub(crate) fn keep(folder: &Path, artifacts: &Artifacts, abandoned: &CancellationToken) -> Result<(), OutputError> {
    if !super::is_folder(folder) {
        return Err(OutputError::Gone);
    }
    let files = entries(folder)?;
    if files.is_empty() {
        return Err(OutputError::Empty);
    }
    for file in &files {
        if !is_file_name(&file.name) || file.path.file_name().and_then(|name| name.to_str()) != Some(&file.name) {
            return Err(OutputError::Name(file.name.clone()));
        }
        if !file.metadata.is_file() {
            return Err(OutputError::NotAFile(file.name.clone()));
        }
        if names_of(&file.metadata) != 1 {
            return Err(OutputError::HardLink(file.name.clone()));
        }
    }
    artifacts.check_sizes(files.iter().map(|file| (file.name.as_str(), file.metadata.len())))?;
    for file in &files {
        if abandoned.is_cancelled() {
            return Err(OutputError::Cancelled);
        }
        make_readable(&file.path)?;
        artifacts.keep_file(&file.name, &file.path)?;
    }
    Ok(())
}

#[cfg(unix)]
fn names_of(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

#[cfg(unix)]
fn make_readable(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
}

#[cfg(not(unix))]
fn names_of(_: &Metadata) -> u64 {
    1
}

#[cfg(not(unix))]
fn make_readable(_: &Path) -> io::Result<()> {
    Ok(())
}
