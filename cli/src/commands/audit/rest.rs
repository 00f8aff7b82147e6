//! The file that an audit writes down in how far it came. Replaced in one step: killed at any time, the last one is whole.

use crate::exit::Failure;
use pyrsia_ledger::audit::{Audit, ResumeError};
use pyrsia_ledger::log::{LedgerReader, Row};
use pyrsia_ledger::{Height, NetworkId};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

const BUFFER_BYTES: usize = 1 << 17;

pub(super) struct RestFile<'a> {
    path: &'a Path,
}

impl<'a> RestFile<'a> {
    pub(super) fn at(path: &'a Path) -> Self {
        Self { path }
    }

    /// The audit that rests here, with the reader behind the block it rests at; none when there is no file yet.
    pub(super) fn take_up(&self, pinned: Option<NetworkId>, reader: &mut LedgerReader) -> Result<Option<Audit>, Failure> {
        let refused = |error: &ResumeError| {
            let failure = Failure::because(&format!("the audit in {} cannot be gone on with", self.path.display()), error);
            failure.hint("remove that file, or name another one, to audit the ledger from its beginning")
        };
        let file = match File::open(self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| refused(&error.into()))?,
        };
        let resumed = Audit::resume(&mut BufReader::with_capacity(BUFFER_BYTES, file), pinned);
        let mut audit = resumed.map_err(|error| refused(&error))?;
        let Some(height) = audit.rests_at() else { return Err(refused(&ResumeError::Damaged)) };
        let founding = block_at(Height::GENESIS, reader, &mut audit).ok_or_else(|| refused(&ResumeError::OtherFounding))?;
        let rested_at = match height {
            Height::GENESIS => founding.clone(),
            _ => block_at(height, reader, &mut audit).ok_or_else(|| refused(&ResumeError::OtherBlock(height)))?,
        };
        audit.confirm(&founding, &rested_at).map_err(|error| refused(&error))?;
        Ok(Some(audit))
    }

    /// Writes an audit down, if it can rest where it is.
    pub(super) fn write(&self, audit: &Audit) -> Result<(), Failure> {
        if audit.rests_at().is_none() {
            return Ok(());
        }
        let replace = || {
            let unfinished = self.unfinished();
            let mut out = BufWriter::with_capacity(BUFFER_BYTES, File::create(&unfinished)?);
            audit.write_rest(&mut out)?;
            out.into_inner()?.sync_all()?;
            fs::rename(&unfinished, self.path)
        };
        let what = format!("how far the audit came cannot be written down in {}", self.path.display());
        replace().map_err(|error: io::Error| Failure::because(&what, &error))
    }

    fn unfinished(&self) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".writing");
        name.into()
    }
}

/// The block there, if it is the next one behind faults of the files.
fn block_at(height: Height, reader: &mut LedgerReader, audit: &mut Audit) -> Option<Vec<u8>> {
    reader.skip_to(height);
    loop {
        match reader.next()? {
            Row::Block { position, raw } if position == height => return Some(raw),
            Row::Fault { position, sentence } => audit.storage(position, &sentence),
            _ => return None,
        }
    }
}
