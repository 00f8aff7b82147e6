//! A git repository to build from, with the same commit id wherever it is made.

use crate::program::succeed;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The author's and the committer's date: what the image's times come from.
const DATE: &str = "2026-01-02T03:04:05Z";

pub struct Repository {
    pub path: PathBuf,
    pub commit: String,
}

impl Repository {
    /// Makes a repository of `files` (name, contents, executable) with one commit.
    pub fn create(path: &Path, files: &[(&str, &[u8], bool)]) -> Self {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(path).expect("a folder for the repository");
        for (name, contents, executable) in files {
            let file = path.join(name);
            std::fs::create_dir_all(file.parent().expect("a file has a folder")).expect("a folder in the repository");
            std::fs::write(&file, contents).expect("a file in the repository");
            let mode = if *executable { 0o755 } else { 0o644 };
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("its mode");
        }
        git(path, &["init", "--quiet", "--initial-branch=main"]);
        git(path, &["add", "--all"]);
        git(path, &["commit", "--quiet", "--message", "hello: say hello"]);
        let commit = git(path, &["rev-parse", "HEAD"]).trim().to_owned();
        Self { path: path.to_owned(), commit }
    }

    pub fn url(&self) -> String {
        format!("file://{}", self.path.display())
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(folder).args(arguments);
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Test").env(format!("GIT_{role}_EMAIL"), "test@example.org");
        command.env(format!("GIT_{role}_DATE"), DATE);
    }
    // No settings of this machine's user: they could sign commits or run hooks.
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    succeed(&mut command)
}
