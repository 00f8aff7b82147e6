//! What a process gives up before it becomes a build: the sight of the pipeline's folders, and the rights of root.
//!
//! Each of these fails the build where it does not work: [`Isolation`](super::isolation::Isolation) tried it when the pipeline started.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::isolation;

/// What lies over a hidden folder; a build that fills it takes no more memory.
const EMPTY_FOLDER: &CStr = c"mode=0755,size=16m";
const NAME_SERVERS: &str = "/etc/resolv.conf";

/// In the mount namespace of this process, puts empty folders over what [`isolation::hidden_folders`] says, and the build's own back.
pub(super) fn hide_folders(data_dir: &Path, work: &Path) -> io::Result<()> {
    let start = std::env::current_dir()?;
    let own = rustix::fs::open(work, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let hidden = isolation::hidden_folders(data_dir);
    // The list of name servers lies in /run on many machines.
    let name_servers = fs::canonicalize(NAME_SERVERS)
        .ok()
        .filter(|file| hidden.iter().any(|folder| file.starts_with(folder)))
        .and_then(|file| Some((fs::read(&file).ok()?, file)));
    for folder in &hidden {
        // One may have lain in another.
        fs::create_dir_all(folder)?;
        rustix::mount::mount("tmpfs", folder, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, EMPTY_FOLDER)?;
    }
    fs::create_dir_all(work)?;
    rustix::mount::mount_bind_recursive(format!("/proc/self/fd/{}", own.as_raw_fd()), work)?;
    if let Some((text, file)) = name_servers {
        file.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(file, text)?;
    }
    // The old working folder is a way past what now lies over it.
    std::env::set_current_dir(start)
}

/// With the rights of root a program could go back to the network and the folders that it came from.
pub(super) fn drop_privileges() -> io::Result<()> {
    // Refused where there is nothing to give up; what counts is what is left.
    let _ = rustix::thread::clear_ambient_capability_set();
    for capability in every_capability() {
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    let none = CapabilitySet::empty();
    let _ = rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none });
    rustix::thread::set_no_new_privs(true)?;

    let sets = rustix::thread::capabilities(None)?;
    // The kernel refuses to look for those that it does not know.
    let is_bounded = every_capability().any(|it| matches!(rustix::thread::capability_is_in_bounding_set(it), Ok(true)));
    let has_any = !(sets.effective | sets.permitted | sets.inheritable).is_empty();
    if has_any || is_bounded || !rustix::thread::no_new_privs()? {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "rights of root are left"));
    }
    Ok(())
}

fn every_capability() -> impl Iterator<Item = CapabilitySet> {
    (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit))
}
