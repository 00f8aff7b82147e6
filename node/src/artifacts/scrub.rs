//! Reading a stored artifact again, to find out whether the disk still has what it was given.

use super::error::{OnDisk as _, StoreError};
use super::store::{ArtifactStore, hashed};
use pyrsia_ledger::Sha256Digest;
use std::fs::File;
use std::io;

/// What a disk answers that cannot read what it holds (`EIO`).
const IO_ERROR: i32 = 5;

/// What a stored artifact turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inspection {
    Whole,
    /// It is removed.
    Rotten {
        why: String,
    },
    /// It left in the meantime, or another file came in its place.
    NotHere,
    /// `goes_on` said no.
    Interrupted,
}

impl ArtifactStore {
    /// Reads every byte of an artifact, which is no use of it; removes it if they are not what its name says, and writes its chunk list
    /// again if that is not theirs. `goes_on` is told how many bytes were read and may take its time.
    pub(crate) fn inspect(&self, sha256: &Sha256Digest, goes_on: impl FnMut(usize) -> bool) -> Result<Inspection, StoreError> {
        let path = self.blob_path(sha256);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.note_vanished(sha256);
                return Ok(Inspection::NotHere);
            }
            Err(error) if error.raw_os_error() == Some(IO_ERROR) => return self.rotten(sha256, None, "cannot be read".into()),
            opened => opened.on_disk("open", &path)?,
        };
        let hasher = match hashed(&file, goes_on) {
            Ok(Some(hasher)) => hasher,
            Ok(None) => return Ok(Inspection::Interrupted),
            Err(error) if error.raw_os_error() == Some(IO_ERROR) => {
                return self.rotten(sha256, Some(&file), "cannot be read".into());
            }
            Err(error) => return Err(error).on_disk("read", &path),
        };
        let (found, list) = hasher.finish()?;
        if found != *sha256 {
            let size_bytes = list.size_bytes();
            return self.rotten(sha256, Some(&file), format!("has {size_bytes} bytes with sha256 {found}"));
        }
        if path.exists() && self.read_list(sha256).as_ref() != Some(&list) {
            tracing::warn!(%sha256, "the chunk list of a stored artifact is damaged and is written again");
            self.write_list(sha256, &list)?;
        }
        Ok(Inspection::Whole)
    }

    /// Removes what was read from `file`, or could not be opened.
    fn rotten(&self, sha256: &Sha256Digest, file: Option<&File>, why: String) -> Result<Inspection, StoreError> {
        let removed = match file {
            Some(file) => self.take_file_out_of_service(sha256, file, &why),
            None => self.take_out_of_service(sha256, &why).map(|()| true),
        };
        let is_gone = removed.on_disk("remove", &self.blob_path(sha256))?;
        Ok(if is_gone { Inspection::Rotten { why } } else { Inspection::NotHere })
    }
}
