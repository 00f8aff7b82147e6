//! The source of the demo's image: a git repository whose commit is the same on every machine.
//!
//! Files, author, dates and message are fixed, and nothing of the user's git configuration takes part.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const FILES: [(&str, &str); 4] = [
    ("Dockerfile", include_str!("../../demo/Dockerfile")),
    ("README.txt", include_str!("../../demo/README.txt")),
    ("site/index.html", include_str!("../../demo/site/index.html")),
    ("site/style.css", include_str!("../../demo/site/style.css")),
];
/// Also the time stamp of every file in the image.
const COMMIT_DATE: &str = "2026-01-01T00:00:00+00:00";
/// What git would take from the terminal or hook that the demo is started from.
const INHERITED: [&str; 7] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_CONFIG_PARAMETERS",
];

#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the git program cannot be started")]
    NoGit(#[source] io::Error),
    #[error("git {command} failed: {said}")]
    Git { command: String, said: String },
}

#[derive(Debug)]
pub(super) struct SourceRepository {
    folder: PathBuf,
    commit: String,
}

impl SourceRepository {
    /// Makes the repository in a folder that is not there yet.
    pub(super) fn make(folder: &Path) -> Result<Self, SourceError> {
        for (name, content) in FILES {
            let path = folder.join(name);
            let parent = path.parent().unwrap_or(folder);
            let written = fs::create_dir_all(parent).and_then(|()| fs::write(&path, content));
            written.map_err(|source| SourceError::Write { path: path.clone(), source })?;
        }
        git(folder, &["init", "--quiet", "--object-format=sha1", "--initial-branch=main", "--template="])?;
        git(folder, &["add", "--all"])?;
        git(folder, &["commit", "--quiet", "--no-verify", "--no-gpg-sign", "--message", "hello: a page, built by a majority"])?;
        let commit = git(folder, &["rev-parse", "HEAD"])?;
        Ok(Self { folder: folder.to_owned(), commit: commit.trim().to_owned() })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn commit(&self) -> &str {
        &self.commit
    }
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String, SourceError> {
    let nothing = if cfg!(windows) { "NUL" } else { "/dev/null" };
    let mut command = Command::new("git");
    for variable in INHERITED {
        command.env_remove(variable);
    }
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Pyrsia demo");
        command.env(format!("GIT_{who}_EMAIL"), "demo@pyrsia.invalid");
        command.env(format!("GIT_{who}_DATE"), COMMIT_DATE);
    }
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", nothing).env("GIT_TERMINAL_PROMPT", "0");
    // Line ends and modes as they are in this program, whatever the file system says.
    command.args(["-c", "core.autocrlf=false", "-c", "core.fileMode=false", "-c", "core.hooksPath="]);
    let Output { status, stdout, stderr } = command.args(arguments).current_dir(folder).output().map_err(SourceError::NoGit)?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&stderr).trim().to_owned();
    Err(SourceError::Git { command: arguments.first().copied().unwrap_or_default().to_owned(), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_the_same_wherever_it_is_made() {
        let root = tempfile::tempdir().unwrap();
        let first = SourceRepository::make(&root.path().join("a")).unwrap();
        let second = SourceRepository::make(&root.path().join("b/deeper")).unwrap();
        assert_eq!(first.commit(), second.commit());
        assert_eq!(first.commit().len(), 40);
    }
}
