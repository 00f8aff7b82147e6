//! What every program of a build gets from the pipeline: nothing of its environment but the search path, and folders of its
//! own. The rest differs from machine to machine, and may hold secrets.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use tokio::process::Command;

/// Where the pipeline has no PATH with an absolute folder itself.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Sets what only a process can set for itself, and becomes the program. The words after it are arguments, never read as
/// shell.
const LAUNCH: &str = "umask 022; exec \"$@\"";

/// Fresh and empty, below the scratch folder of the build.
pub(crate) struct Folders {
    pub(crate) home: PathBuf,
    pub(crate) temporary: PathBuf,
}

/// A command whose next words are those of the program.
pub(crate) fn clean_command(
    prefix: impl IntoIterator<Item = impl AsRef<OsStr>>,
    folder: &Path,
    folders: &Folders,
    committed_at: u64,
) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", LAUNCH, "sh"]).args(prefix);
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", search_path())
        .env("HOME", &folders.home)
        .env("TMPDIR", &folders.temporary)
        .env("LANG", "C.UTF-8")
        .env("TZ", "UTC")
        .env("SOURCE_DATE_EPOCH", committed_at.to_string());
    command
}

/// Where programs are looked for by name. Never in the working folder, which an empty or relative part of PATH stands for:
/// that of a build is full of files of its source.
pub(crate) fn search_path() -> OsString {
    absolute_folders(std::env::var_os("PATH"))
}

fn absolute_folders(path: Option<OsString>) -> OsString {
    let path = path.unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect();
    match std::env::join_paths(folders) {
        Ok(path) if !path.is_empty() => path,
        _ => DEFAULT_PATH.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_program_is_looked_for_in_the_working_folder() {
        for (path, folders) in [
            (Some(":/usr/bin::bin:.:/bin:"), "/usr/bin:/bin"),
            (Some("bin"), DEFAULT_PATH),
            (Some(""), DEFAULT_PATH),
            (None, DEFAULT_PATH),
        ] {
            assert_eq!(absolute_folders(path.map(OsString::from)), folders, "{path:?}");
        }
    }
}
