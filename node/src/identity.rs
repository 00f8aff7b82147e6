//! The node's key on disk: 64 raw bytes, the ed25519 secret followed by its public key.
//!
//! Owns the file and nothing else. It is readable by its owner only and appears whole or not at all; a file that is not
//! such a key stops the node, because a new key would be another node.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;

use crate::consensus::KeyAge;

/// Secret and public key, 32 bytes each.
const KEYPAIR_BYTES: usize = ed25519_dalek::KEYPAIR_LENGTH;

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("the key file {} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the key file {} cannot be made", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the key file {} has {size_bytes} bytes instead of {KEYPAIR_BYTES}: restore it from a copy, or move it away to become a new node", path.display())]
    Size { path: PathBuf, size_bytes: u64 },
    #[error("the key file {} is damaged, its halves do not belong together: restore it from a copy, or move it away to become a new node", path.display())]
    Damaged { path: PathBuf },
    #[error("this machine gives no random bytes for a key: {0}")]
    Random(getrandom::Error),
}

/// Reads the key at `path`, or makes one there when there is none.
pub fn load_or_create(path: &Path) -> Result<(SigningKey, KeyAge), IdentityError> {
    match read(path)? {
        Some(key) => Ok((key, KeyAge::Older)),
        None => create(path),
    }
}

fn read(path: &Path) -> Result<Option<SigningKey>, IdentityError> {
    let error = |source| IdentityError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(error(source)),
    };
    let metadata = file.metadata().map_err(error)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        // A key that was copied or made by other means is often readable by everybody.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(error)?;
    }
    let mut bytes = Vec::with_capacity(KEYPAIR_BYTES);
    file.take(KEYPAIR_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(error)?;
    let Ok(pair) = <&[u8; KEYPAIR_BYTES]>::try_from(bytes.as_slice()) else {
        return Err(IdentityError::Size { path: path.to_owned(), size_bytes: metadata.len() });
    };
    SigningKey::from_keypair_bytes(pair).map(Some).map_err(|_| IdentityError::Damaged { path: path.to_owned() })
}

fn create(path: &Path) -> Result<(SigningKey, KeyAge), IdentityError> {
    let error = |source| IdentityError::Write { path: path.to_owned(), source };
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(IdentityError::Random)?;
    let key = SigningKey::from_bytes(&secret);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(error)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let unfinished = folder.join(name);
    let written = write_new(&unfinished, &key.to_keypair_bytes())
        // A link, not a rename: of two nodes started at once on one folder neither replaces the other's key.
        .and_then(|()| fs::hard_link(&unfinished, path))
        .and_then(|()| File::open(folder)?.sync_all());
    let _ = fs::remove_file(&unfinished);
    match written {
        Ok(()) => Ok((key, KeyAge::Fresh)),
        Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => {
            let key = read(path)?;
            key.map(|key| (key, KeyAge::Older))
                .ok_or_else(|| error(io::Error::new(io::ErrorKind::NotFound, "it appeared and was gone again")))
        }
        Err(source) => Err(error(source)),
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/keypair");
        let (key, age) = load_or_create(&path).unwrap();
        assert_eq!((age, load_or_create(&path).unwrap()), (KeyAge::Fresh, (key.clone(), KeyAge::Older)));
        assert_eq!(fs::read(&path).unwrap(), key.to_keypair_bytes());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_could_read_is_closed_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keypair");
        load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_file_stops_the_node_and_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keypair");
        for wrong in [&[] as &[u8], &[7; 63], &[7; 65], &[7; 64]] {
            fs::write(&path, wrong).unwrap();
            let error = load_or_create(&path).unwrap_err();
            assert!(error.to_string().contains("restore it from a copy"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), wrong);
        }
    }
}
