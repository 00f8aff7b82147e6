//! Opening a file that another user, or a build, may have put where one of ours was expected.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

/// Opens a regular file to read, with what is known of it: a link is not followed, and a pipe not waited for.
pub fn open_regular(path: &Path) -> io::Result<(File, Metadata)> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.custom_flags((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32);
    }
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(io::Error::other("it is no regular file")) }
}
