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

#[cfg(test)]
mod tests {
    use super::super::super::log::open_ledger;
    use super::super::checking::check;
    use super::*;
    use pyrsia_ledger::block::SealedBlock;
    use pyrsia_ledger::log::BlockLog;

    const EXPORTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../ledger/tests/golden/every-kind.pyrsia-log");

    /// Every block of the exported log.
    fn blocks() -> Vec<SealedBlock> {
        let (_scratch, reader) = open_ledger(Path::new(EXPORTED)).expect("opens");
        let block = |row| match row {
            Row::Block { raw, .. } => Some(SealedBlock::decode(&raw).expect("decodes")),
            _ => None,
        };
        reader.filter_map(block).collect()
    }

    #[test]
    fn an_audit_goes_on_in_an_exported_file_and_in_a_folder() {
        let (folder, blocks) = (tempfile::tempdir().expect("a folder"), blocks());
        let (ledger, path) = (folder.path().join("ledger"), folder.path().join("rest"));
        let (mut log, _) = BlockLog::open(&ledger).expect("opens");
        log.append_all(&blocks).expect("appends");
        drop(log);
        let (rest, mut audit) = (RestFile::at(&path), Audit::new(None));
        for (height, sealed) in (0..5).map(Height).zip(&blocks) {
            audit.feed(height, &sealed.encode());
            let report = audit.take_rest().verify();
            audit.absorb(report);
            rest.write(&audit).expect("writes");
            for ledger in [Path::new(EXPORTED), &ledger] {
                let (_scratch, mut reader) = open_ledger(ledger).expect("opens");
                let audit = rest.take_up(None, &mut reader).expect("it is the same ledger").expect("there is a file");
                let (report, _) = check(reader, audit, None).expect("audits");
                assert!(report.clean, "{:#?}", report.findings);
                assert_eq!((report.summary.resumed_after, report.summary.blocks), (Some(height), blocks.len() as u64));
            }
        }
    }
}
