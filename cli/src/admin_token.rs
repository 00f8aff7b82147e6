//! The secret that lets the CLI of a node's own user change the network through that node.
//!
//! Owns its two files, both for their owner's eyes only: one in the node's data folder, which keeps the token over
//! restarts, and one in the user's state folder, named by the node's port, where the CLI of the same user finds it. The
//! state folder of a node that is a service of the machine is `/run`, where root's CLI looks as well.
//! What stands there may be the work of another user, one that was broken into: it is read with suspicion, and never repaired.
//! A node holds a lock on what it left for as long as it runs, so that the token of one that was killed is not sent to whatever listens on
//! its port next.
//! A token is never printed and never logged.

use pyrsia_pipeline::open_regular;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// 256 bits: out of reach of guessing.
const TOKEN_BYTES: usize = 32;
const TOKEN_FILE: &str = "admin.token";
/// Where the unit of packaging/systemd has the node leave its token. Only root makes folders in `/run`.
#[cfg(unix)]
const OF_SERVICE: &str = "/run/pyrsia/admin-tokens";

/// The token of the node whose data is in `folder`, made on first use.
pub fn of_node(folder: &Path) -> io::Result<String> {
    let path = folder.join(TOKEN_FILE);
    match File::open(&path).and_then(|file| owner_only(&file).and_then(|()| token_in(file, &path))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::from)?;
    let token = hex::encode(bytes);
    write(&path, &token, Holding::Nothing)?;
    Ok(token)
}

/// A token that lies where the CLI of the same user looks for it.
#[derive(Debug)]
pub struct LeftToken {
    path: PathBuf,
    token: String,
    /// With the lock that says that its node runs.
    _file: File,
}

/// Leaves the token of the node on `port`.
pub fn share(port: u16, token: &str) -> io::Result<LeftToken> {
    let folder =
        state_folder().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "neither XDG_STATE_HOME nor HOME is set"))?;
    fs::create_dir_all(&folder)?;
    leave(folder.join(port.to_string()), token)
}

fn leave(path: PathBuf, token: &str) -> io::Result<LeftToken> {
    let file = write(&path, token, Holding::Lock)?;
    Ok(LeftToken { path, token: token.to_owned(), _file: file })
}

impl LeftToken {
    /// Takes the token away again, unless another node left its own there.
    pub fn withdraw(self) -> io::Result<()> {
        let found = open_shared(&self.path).and_then(|file| token_in(file, &self.path));
        if found.is_ok_and(|found| found == self.token) { fs::remove_file(&self.path) } else { Ok(()) }
    }
}

/// What the folders hold for the CLI.
#[derive(Default)]
pub struct Shared {
    pub token: Option<String>,
    /// For a person whose request the node refuses: the file that the token is from, and those that were not used.
    pub remark: Option<String>,
}

/// The token of the node of this user on `port`, if there is one, or else of the machine's.
pub fn shared(port: &str) -> Shared {
    #[cfg(unix)]
    let service = Some(PathBuf::from(OF_SERVICE));
    #[cfg(not(unix))]
    let service = None;
    shared_in(state_folder().into_iter().chain(service), port)
}

fn shared_in(folders: impl IntoIterator<Item = PathBuf>, port: &str) -> Shared {
    let (mut token, mut remarks) = (None, Vec::new());
    for path in folders.into_iter().map(|folder| folder.join(port)) {
        match read_shared(&path) {
            Ok(found) => {
                remarks.push(format!("the token that was sent is that in {}", path.display()));
                token = Some(found);
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => remarks.push(format!("the token in {} was not used ({error})", path.display())),
        }
    }
    Shared { token, remark: (!remarks.is_empty()).then(|| remarks.join("; ")) }
}

/// `$XDG_STATE_HOME/pyrsia/admin-tokens` (XDG base directory specification).
fn state_folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    state.or_else(|| set("LOCALAPPDATA")).map(|state| state.join("pyrsia").join("admin-tokens"))
}

/// The token of a node that runs.
fn read_shared(path: &Path) -> io::Result<String> {
    let file = open_shared(path)?;
    if is_abandoned(&file) {
        return Err(io::Error::other("the node that left it does not run; a node that starts leaves it anew"));
    }
    token_in(file, path)
}

/// What is no file of its own, or what others may read or have made looser, is not used.
fn open_shared(path: &Path) -> io::Result<File> {
    let (file, metadata) = open_regular(path)?;
    if is_private(&metadata) {
        return Ok(file);
    }
    Err(io::Error::other("it is not for its owner's eyes only; a node that starts leaves it anew"))
}

/// Whether no process holds the lock of whoever left it. Where the file system knows no locks that cannot be said.
fn is_abandoned(file: &File) -> bool {
    // Others who only look hold a lock that can be shared. On Windows a file under a lock could not be read.
    cfg!(unix) && file.try_lock_shared().is_ok()
}

fn token_in(file: File, path: &Path) -> io::Result<String> {
    let mut text = String::new();
    file.take(2 * TOKEN_BYTES as u64 + 2).read_to_string(&mut text)?;
    let token = text.trim_end();
    if token.len() == 2 * TOKEN_BYTES && token.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(token.to_owned());
    }
    let problem =
        format!("{} does not hold a token of {} hexadecimal digits; remove it to get a new one", path.display(), 2 * TOKEN_BYTES);
    Err(io::Error::new(io::ErrorKind::InvalidData, problem))
}

/// Whether a file is under a lock from before it appears until it is closed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holding {
    Lock,
    Nothing,
}

/// Whole or not at all, and never readable by others, not even for a moment.
fn write(path: &Path, token: &str, holding: Holding) -> io::Result<File> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    // Temporary files are made for their owner alone.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{token}")?;
    file.as_file().sync_all()?;
    owner_only(file.as_file())?;
    if cfg!(unix) && holding == Holding::Lock {
        // A file system without locks is no reason to leave no token.
        let _ = file.as_file().try_lock();
    }
    let file = file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)?;
    Ok(file)
}

#[cfg(unix)]
fn owner_only(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if is_private(&file.metadata()?) { Ok(()) } else { file.set_permissions(fs::Permissions::from_mode(0o600)) }
}

#[cfg(not(unix))]
fn owner_only(_file: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn is_private(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o077 == 0
}

#[cfg(not(unix))]
fn is_private(_metadata: &fs::Metadata) -> bool {
    true
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_its_token_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let token = of_node(folder.path()).unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!(of_node(folder.path()).unwrap(), token);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let path = folder.path().join(TOKEN_FILE);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            of_node(folder.path()).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn the_token_of_the_users_own_node_comes_before_that_of_the_machine() {
        let (own, machine) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folders = || [own.path().to_owned(), machine.path().to_owned()];
        let token = |port| shared_in(folders(), port).token;
        assert_eq!(token("7888"), None);
        let _machines = leave(machine.path().join("7888"), &"b".repeat(64)).unwrap();
        assert_eq!(token("7888"), Some("b".repeat(64)));
        let _own = leave(own.path().join("7888"), &"a".repeat(64)).unwrap();
        assert_eq!((token("7888"), token("7889")), (Some("a".repeat(64)), None));
        let remark = shared_in(folders(), "7888").remark.unwrap();
        assert!(remark.contains(own.path().join("7888").to_str().unwrap()) && !remark.contains("aaaa"), "{remark}");
        fs::write(own.path().join("7888"), "damaged").unwrap();
        let found = shared_in(folders(), "7888");
        let remark = found.remark.unwrap();
        assert!(found.token == Some("b".repeat(64)) && remark.contains("was not used"), "{remark}");
    }

    #[cfg(unix)]
    #[test]
    fn the_token_of_a_node_that_was_killed_is_not_used_and_the_next_node_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("7888");
        let shared = || shared_in([folder.path().to_owned()], "7888");
        // What is left of a killed process: its file, and no lock.
        drop(leave(path.clone(), &"a".repeat(64)).unwrap());
        let found = shared();
        assert!(found.token.is_none() && found.remark.unwrap().contains("does not run"));
        let first = leave(path.clone(), &"b".repeat(64)).unwrap();
        assert_eq!(shared().token, Some("b".repeat(64)));
        let second = leave(path.clone(), &"c".repeat(64)).unwrap();
        first.withdraw().unwrap();
        assert_eq!(shared().token, Some("c".repeat(64)), "it is another node's");
        second.withdraw().unwrap();
        assert!(!path.exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_another_user_put_in_place_of_a_token_is_neither_followed_nor_waited_for_nor_changed() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let (theirs, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = elsewhere.path().join("passwd");
        fs::write(&target, "a".repeat(64)).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
        symlink(&target, theirs.path().join("1")).unwrap();
        fs::copy(&target, theirs.path().join("2")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            theirs.path().join("3"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let _private = leave(target.with_file_name("private"), &"a".repeat(64)).unwrap();
        symlink(target.with_file_name("private"), theirs.path().join("4")).unwrap();
        for port in ["1", "2", "3", "4"] {
            let found = shared_in([theirs.path().to_owned()], port);
            let remark = found.remark.unwrap();
            assert!(found.token.is_none() && remark.contains("was not used"), "{port}: {remark}");
        }
        for path in [target, theirs.path().join("2")] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644, "{}", path.display());
        }
    }

    #[test]
    fn a_damaged_token_file_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(TOKEN_FILE), "abc").unwrap();
        assert_eq!(of_node(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(fs::read_to_string(folder.path().join(TOKEN_FILE)).unwrap(), "abc");
    }
}
