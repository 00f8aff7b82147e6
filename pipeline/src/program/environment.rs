//! What every program of a build gets from the pipeline: nothing of its environment but the search path, and folders of its
//! own. The rest differs from machine to machine, and may hold secrets.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

/// Where the pipeline has no PATH itself.
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
        .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into()))
        .env("HOME", &folders.home)
        .env("TMPDIR", &folders.temporary)
        .env("LANG", "C.UTF-8")
        .env("TZ", "UTC")
        .env("SOURCE_DATE_EPOCH", committed_at.to_string());
    command
}
