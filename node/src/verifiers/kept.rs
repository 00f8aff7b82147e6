//! Modules that must stay available whatever happens to the operator's folder: `FOLDER/<sha256>.wasm`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pyrsia_ledger::Sha256Digest;
use pyrsia_verifiers::set::read_module;

use super::fetch::PIECE_BYTES_MAX;

pub(super) struct KeptModules {
    folder: PathBuf,
    /// One file at a time: a module that comes from another node may be put into the operator's folder at the same moment.
    writing: Mutex<()>,
}

impl KeptModules {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, writing: Mutex::default() }
    }

    /// The module, if it is here and still what its name says.
    pub(super) fn get(&self, digest: &Sha256Digest) -> io::Result<Option<Vec<u8>>> {
        match read_module(&self.path(digest)) {
            Ok(module) if Sha256Digest::of(&module) == *digest => Ok(Some(module)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn put(&self, digest: &Sha256Digest, module: &[u8]) -> io::Result<()> {
        if Sha256Digest::of(module) != *digest {
            return Err(io::Error::other("the file changed while it was read"));
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.get(digest)?.is_some() {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        let path = self.path(digest);
        let unfinished = path.with_extension("unfinished");
        let mut file = File::create(&unfinished)?;
        file.write_all(module)?;
        file.sync_all()?;
        fs::rename(unfinished, path)
    }

    /// The module's size, and what it has from `offset` on. Whoever gets the pieces checks the digest of the whole.
    pub(super) fn piece(&self, digest: &Sha256Digest, offset: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
        let file = match File::open(self.path(digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let size = file.metadata()?.len();
        let mut piece = vec![0; size.saturating_sub(offset).min(PIECE_BYTES_MAX as u64) as usize];
        file.read_exact_at(&mut piece, offset)?;
        Ok(Some((size, piece)))
    }

    fn path(&self, digest: &Sha256Digest) -> PathBuf {
        self.folder.join(digest.to_string()).with_extension("wasm")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_module_is_kept_in_pieces_of_any_kind_and_a_damaged_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let kept = KeptModules::new(folder.path().join("modules"));
        let module: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        let digest = Sha256Digest::of(&module);
        assert_eq!(kept.get(&digest).unwrap(), None);
        assert!(kept.put(&digest, b"something else").is_err());
        kept.put(&digest, &module).unwrap();
        assert_eq!(kept.get(&digest).unwrap().as_deref(), Some(&module[..]));
        let (size, first) = kept.piece(&digest, 0).unwrap().unwrap();
        let (_, second) = kept.piece(&digest, first.len() as u64).unwrap().unwrap();
        assert_eq!((size, [first, second].concat()), (100_000, module.clone()));
        assert_eq!(kept.piece(&digest, 200_000).unwrap().unwrap().1, b"");
        fs::write(kept.path(&digest), b"damaged").unwrap();
        assert_eq!(kept.get(&digest).unwrap(), None);
        kept.put(&digest, &module).unwrap();
        assert!(kept.get(&digest).unwrap().is_some());
    }

    #[test]
    fn a_module_that_is_kept_by_many_at_once_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let kept = KeptModules::new(folder.path().join("modules"));
        for number in 0..20u8 {
            let module = vec![number; 256 << 10];
            let digest = Sha256Digest::of(&module);
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| kept.put(&digest, &module).unwrap());
                }
            });
            assert_eq!(kept.get(&digest).unwrap(), Some(module));
        }
    }
}
