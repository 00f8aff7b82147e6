//! Making the files of a checkout the same on every machine, as far as a file system shows them to a program.
//!
//! Git leaves modes to the umask and times to the moment of the checkout; tools that archive a tree copy both into what
//! they make. Links stay as they are.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::is_folder;

/// Modes become 0755 or 0644, as git knows them, and times that of the commit.
pub(crate) fn make_uniform(root: &Path, committed_at: u64, abandoned: &CancellationToken) -> io::Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(committed_at);
    let mut folders = vec![root.to_owned()];
    let mut next = 0;
    while let Some(folder) = folders.get(next).cloned() {
        next += 1;
        for entry in fs::read_dir(&folder)? {
            if abandoned.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let path = entry?.path();
            let metadata = path.symlink_metadata()?;
            if is_folder(&path) {
                folders.push(path);
            } else if metadata.is_file() {
                set(&path, mode_of(&metadata), time)?;
            }
        }
    }
    // From the deepest up, and after all files: work inside a folder changes its time.
    folders.iter().rev().try_for_each(|folder: &PathBuf| set(folder, 0o755, time))
}

#[cfg(unix)]
fn mode_of(metadata: &Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    if metadata.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 }
}

#[cfg(unix)]
fn set(path: &Path, mode: u32, time: SystemTime) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    File::open(path)?.set_modified(time)
}

#[cfg(not(unix))]
fn mode_of(_: &Metadata) -> u32 {
    0o644
}

#[cfg(not(unix))]
fn set(path: &Path, _: u32, time: SystemTime) -> io::Result<()> {
    File::options().write(true).open(path)?.set_modified(time)
}
