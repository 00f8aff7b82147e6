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
    /// Makes a repository of everything that lies in the folder.
    pub fn of_folder(path: &Path) -> Self {
        git(path, &["init", "--quiet", "--initial-branch=main"]);
        let mut repository = Self { path: path.to_owned(), commit: String::new() };
        repository.commit("hello: say hello");
        repository
    }

    /// Commits the folder as it is.
    pub fn commit(&mut self, message: &str) {
        git(&self.path, &["add", "--all"]);
        git(&self.path, &["commit", "--quiet", "--message", message]);
        self.commit = git(&self.path, &["rev-parse", "HEAD"]).trim().to_owned();
    }

    /// Gives the newest commit a name, or moves the name to it.
    pub fn tag(&self, name: &str) {
        git(&self.path, &["tag", "--force", name]);
    }

    /// Puts the files of a commit into the folder.
    pub fn check_out(&self, revision: &str) {
        git(&self.path, &["checkout", "--quiet", revision]);
    }

    /// What a name points to.
    pub fn commit_of(&self, revision: &str) -> String {
        git(&self.path, &["rev-parse", &format!("{revision}^{{commit}}")]).trim().to_owned()
    }

    /// A copy of it all.
    pub fn copy(&self, path: &Path) -> Self {
        succeed(Command::new("cp").args(["--recursive", "--no-target-directory"]).arg(&self.path).arg(path));
        Self { path: path.to_owned(), commit: self.commit.clone() }
    }

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
        Self::of_folder(path)
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
