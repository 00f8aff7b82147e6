//! What takes a whole log that must be sound: exporting it, importing it, and folding it up to a height.
//!
//! All of them stop at the first damage; who wants to know all of it asks for an audit.

use super::checked::fold_checked;
use super::export::{ExportError, ExportWriter};
use super::reader::{LedgerReader, Row};
use super::stages::Threads;
use super::{BlockLog, LogError};
use crate::audit::{Announced, Decoded, Prepared};
use crate::block::{BlockHash, Height, SealedBlock};
use crate::projection::{BlockError, Projections};
use crate::signed::{DecodeError, NetworkId};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many bytes of blocks an import appends with one sync.
const IMPORT_BATCH_BYTES: usize = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error("the log is damaged at block {height}: {sentence}")]
    Damaged { height: Height, sentence: String },
    #[error("the log is damaged: block {0} is missing")]
    Missing(Height),
    #[error("the log is damaged: block {height} does not decode")]
    Decode {
        height: Height,
        #[source]
        source: DecodeError,
    },
    #[error("the log is damaged: block {0} does not follow the one before")]
    Parent(Height),
    #[error("the log is damaged: it ends before block {0}, which was announced")]
    Short(Height),
    #[error("the log is damaged: block {0} is not the one that was announced")]
    OtherTip(Height),
    #[error("the log holds no block")]
    Empty,
    #[error("the log ends at block {end}, block {wanted} is not in it")]
    NotThere { wanted: Height, end: Height },
    #[error("this is the log of network {found}, not of {pinned}")]
    Network { found: NetworkId, pinned: NetworkId },
    #[error("block {height} is refused")]
    Refused {
        height: Height,
        #[source]
        source: Box<BlockError>,
    },
    #[error("{} exists and is not empty: a log is never written over another one", .0.display())]
    Occupied(PathBuf),
    #[error("{} cannot be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The blocks of a log, each the child of the one before, up to the announced end. The first damage is the last item.
pub struct SoundBlocks {
    reader: LedgerReader,
    last: Option<(Height, BlockHash)>,
    failed: bool,
}

impl SoundBlocks {
    pub fn new(reader: LedgerReader) -> Self {
        Self { reader, last: None, failed: false }
    }

    /// The newest block's height, where that is known before reading to the end.
    pub fn newest(&self) -> Option<Height> {
        self.reader.newest()
    }

    /// The next block as `read` makes it of its bytes, once it stands in its place.
    fn advance<T: AsRef<SealedBlock>>(
        &mut self,
        read: impl FnOnce(Height, Vec<u8>) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, TransferError> {
        let expected = self.last.map_or(Height::GENESIS, |(height, _)| height.next());
        let (position, raw) = match self.reader.next() {
            Some(Row::Block { position, raw }) => (position, raw),
            Some(Row::Unreadable { position: height, sentence } | Row::Fault { position: height, sentence }) => {
                return Err(TransferError::Damaged { height, sentence });
            }
            Some(Row::End(announced)) => {
                return self.check_end(announced).map(|()| None);
            }
            None => return Ok(None),
        };
        if position != expected {
            return Err(TransferError::Missing(expected));
        }
        let block = read(position, raw).map_err(|source| TransferError::Decode { height: position, source })?;
        let (sealed, parent) = (block.as_ref(), self.last.map_or(BlockHash::NONE, |(_, hash)| hash));
        if sealed.height() != position || sealed.block.header.parent != parent {
            return Err(TransferError::Parent(position));
        }
        self.last = Some((position, sealed.block.hash()));
        Ok(Some(block))
    }

    fn next_with<T: AsRef<SealedBlock>>(
        &mut self,
        read: impl FnOnce(Height, Vec<u8>) -> Result<T, DecodeError>,
    ) -> Option<Result<T, TransferError>> {
        if self.failed {
            return None;
        }
        let next = self.advance(read);
        self.failed = next.is_err();
        next.transpose()
    }

    /// The next block, with what can be said of it without the ones before.
    pub(super) fn next_ready(&mut self) -> Option<Result<ReadyBlock, TransferError>> {
        self.next_with(|position, raw| {
            let (bytes, decoded) = Prepared::of(position, raw).into_parts();
            Ok(ReadyBlock { bytes, decoded: decoded? })
        })
    }

    fn check_end(&self, announced: Announced) -> Result<(), TransferError> {
        match self.last {
            Some((end, _)) if end < announced.height => Err(TransferError::Short(announced.height)),
            None => Err(TransferError::Short(announced.height)),
            Some((end, hash)) if end == announced.height && hash != announced.block => Err(TransferError::OtherTip(end)),
            Some(_) => Ok(()),
        }
    }
}

impl Iterator for SoundBlocks {
    type Item = Result<(SealedBlock, Vec<u8>), TransferError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_with(|_, raw| Ok(ReadBlock { sealed: SealedBlock::decode(&raw)?, raw }))
            .map(|next| next.map(|read| (read.sealed, read.raw)))
    }
}

/// A block with the bytes it was read from.
struct ReadBlock {
    sealed: SealedBlock,
    raw: Vec<u8>,
}

impl AsRef<SealedBlock> for ReadBlock {
    fn as_ref(&self) -> &SealedBlock {
        &self.sealed
    }
}

/// A block in its place that is ready to be folded.
pub(super) struct ReadyBlock {
    pub(super) bytes: Arc<Vec<u8>>,
    pub(super) decoded: Decoded,
}

impl AsRef<SealedBlock> for ReadyBlock {
    fn as_ref(&self) -> &SealedBlock {
        &self.decoded.sealed
    }
}

/// The state after block `to`, or after the newest. Every rule and root is checked, no signature.
pub fn replay_to(
    blocks: SoundBlocks,
    to: Option<Height>,
    progress: &mut dyn FnMut(Height),
) -> Result<Projections, TransferError> {
    let mut state: Option<Projections> = None;
    for block in blocks {
        let (sealed, _) = block?;
        let next = match state.take() {
            None => Projections::from_genesis(&sealed),
            Some(state) => state.advance(&sealed.block),
        };
        let next = next.map_err(|source| TransferError::Refused { height: sealed.height(), source: Box::new(source) })?;
        progress(next.height());
        if to == Some(next.height()) {
            return Ok(next);
        }
        state = Some(next);
    }
    let state = state.ok_or(TransferError::Empty)?;
    match to {
        Some(wanted) => Err(TransferError::NotThere { wanted, end: state.height() }),
        None => Ok(state),
    }
}

/// Writes a log as one file; gives the writer back with the number of blocks.
pub fn export_log<W: Write>(blocks: SoundBlocks, out: W, progress: &mut dyn FnMut(Height)) -> Result<(W, u64), TransferError> {
    let (mut writer, mut count) = (ExportWriter::new(out)?, 0);
    for block in blocks {
        let (sealed, raw) = block?;
        writer.block(sealed.block.hash(), &raw)?;
        progress(sealed.height());
        count += 1;
    }
    if count == 0 { Err(TransferError::Empty) } else { Ok((writer.finish()?, count)) }
}

/// Makes a ledger folder out of a log, after every check a follower makes, signatures and certificates included. The folder
/// appears under its name once all of it stands there.
pub fn import_log(
    blocks: SoundBlocks,
    pinned: Option<NetworkId>,
    folder: &Path,
    threads: Threads,
    progress: &mut dyn FnMut(Height),
) -> Result<Projections, TransferError> {
    let failed = |source| TransferError::Write { path: folder.to_owned(), source };
    match fs::read_dir(folder).map(|mut entries| entries.next().is_some()) {
        Ok(false) => fs::remove_dir(folder).map_err(failed)?,
        Ok(true) => return Err(TransferError::Occupied(folder.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) if folder.symlink_metadata().is_ok() => return Err(TransferError::Occupied(folder.to_owned())),
        Err(error) => return Err(failed(error)),
    }
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".importing");
    let partial = folder.with_file_name(name);
    // Only an import that was cut off leaves this name behind.
    match fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(TransferError::Write { path: partial, source: error });
        }
        Ok(()) | Err(_) => {}
    }
    fs::create_dir_all(&partial).map_err(failed)?;
    let state = append_checked(blocks, pinned, &partial, threads, progress).inspect_err(|_| {
        // The reason of the failure is worth more than that of a failed clean-up; the next import cleans up as well.
        let _ = fs::remove_dir_all(&partial);
    })?;
    fs::rename(&partial, folder).map_err(failed)?;
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
    Ok(state)
}

fn append_checked(
    blocks: SoundBlocks,
    pinned: Option<NetworkId>,
    folder: &Path,
    threads: Threads,
    progress: &mut dyn FnMut(Height),
) -> Result<Projections, TransferError> {
    let (mut log, _) = BlockLog::open(folder)?;
    let (mut batch, mut batch_bytes) = (vec![], 0);
    let state = fold_checked(blocks, pinned, threads, &mut |block| {
        progress(block.sealed.height());
        batch_bytes += block.bytes.len();
        batch.push(block.sealed);
        if batch_bytes >= IMPORT_BATCH_BYTES {
            log.append_all(&batch)?;
            batch.clear();
            batch_bytes = 0;
        }
        Ok(())
    })?;
    log.append_all(&batch)?;
    Ok(state)
}
