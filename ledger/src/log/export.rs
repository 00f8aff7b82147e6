//! A whole log as one file: for moving it, keeping it, and auditing it elsewhere. `docs/log-format.md` is the specification.
//!
//! ```text
//! magic    13 bytes   "pyrsia-log/1\n"
//! record   for each block, from genesis on:
//!            u32 le   length of the block, at least 1
//!            bytes    SealedBlock, in its canonical encoding
//!            32 bytes SHA-256 of the block's bytes
//! trailer  u32 le     0
//!          u64 le     number of blocks
//!          32 bytes   hash of the newest block's header
//!          32 bytes   SHA-256 of everything before
//! ```
//!
//! The check sums tell an accident from a forgery and name the place; what makes a log true is in the blocks.

mod placed;

use crate::block::{BlockHash, Height, SEALED_BLOCK_BYTES_MAX};
use crate::digest::Sha256Digest;
use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};

pub use placed::{ExportedBlocks, LookupError};

/// The first bytes of every exported log, with the version of the format.
pub const EXPORT_MAGIC: &[u8; 13] = b"pyrsia-log/1\n";

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("the file cannot be read or written")]
    Io(#[from] io::Error),
    #[error("it does not begin with {:?}", String::from_utf8_lossy(EXPORT_MAGIC))]
    Magic,
    #[error("the file is damaged: it ends in the middle of {what}")]
    Truncated { what: &'static str },
    #[error("the file is damaged: a block of {size_bytes} bytes is longer than {SEALED_BLOCK_BYTES_MAX}")]
    TooLong { size_bytes: u32 },
    #[error("the file is damaged: the check sum of block {0} does not match")]
    CheckSum(Height),
    #[error("the file is damaged: {0}")]
    Trailer(&'static str),
}

/// Writes an exported log.
pub struct ExportWriter<W: Write> {
    out: W,
    sum: Sha256,
    blocks: u64,
    tip: BlockHash,
}

impl<W: Write> ExportWriter<W> {
    pub fn new(out: W) -> Result<Self, ExportError> {
        let mut writer = Self { out, sum: Sha256::new(), blocks: 0, tip: BlockHash::NONE };
        writer.put(EXPORT_MAGIC)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.sum.update(bytes);
        Ok(self.out.write_all(bytes)?)
    }

    /// Adds the next block, as its canonical bytes and the hash of its header.
    pub fn block(&mut self, hash: BlockHash, raw: &[u8]) -> Result<(), ExportError> {
        let size_bytes = u32::try_from(raw.len()).ok().filter(|size| *size as usize <= SEALED_BLOCK_BYTES_MAX);
        let size_bytes = size_bytes.ok_or(ExportError::TooLong { size_bytes: u32::MAX })?;
        self.put(&size_bytes.to_le_bytes())?;
        self.put(raw)?;
        self.put(Sha256Digest::of(raw).as_bytes())?;
        (self.blocks, self.tip) = (self.blocks + 1, hash);
        Ok(())
    }

    /// Writes the trailer and gives the writer back, flushed.
    pub fn finish(mut self) -> Result<W, ExportError> {
        self.put(&0u32.to_le_bytes())?;
        self.put(&self.blocks.to_le_bytes())?;
        let tip = self.tip;
        self.put(tip.0.as_bytes())?;
        let sum: [u8; 32] = self.sum.finalize().into();
        self.out.write_all(&sum)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// What comes next in an exported log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A block's bytes; `whole` when their check sum matches.
    Block { raw: Vec<u8>, whole: bool },
    /// The end, as the trailer states it.
    End { blocks: u64, tip: BlockHash },
}

/// Reads an exported log, record by record, in bounded memory.
pub struct ExportReader<R: Read> {
    input: R,
    sum: Sha256,
    blocks: u64,
}

impl<R: Read> ExportReader<R> {
    pub fn new(input: R) -> Result<Self, ExportError> {
        let mut reader = Self { input, sum: Sha256::new(), blocks: 0 };
        let mut magic = [0; EXPORT_MAGIC.len()];
        match reader.get("the magic", &mut magic) {
            Ok(()) if magic == *EXPORT_MAGIC => Ok(reader),
            Ok(()) | Err(ExportError::Truncated { .. }) => Err(ExportError::Magic),
            Err(error) => Err(error),
        }
    }

    /// What it reads from.
    pub fn input(&self) -> &R {
        &self.input
    }

    fn get(&mut self, what: &'static str, bytes: &mut [u8]) -> Result<(), ExportError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ExportError::Truncated { what },
            _ => ExportError::Io(error),
        })?;
        self.sum.update(&*bytes);
        Ok(())
    }

    /// The next record. After an error, or the end, nothing more can be read.
    pub fn next_record(&mut self) -> Result<Record, ExportError> {
        let mut length = [0; 4];
        self.get("a record", &mut length)?;
        let size_bytes = u32::from_le_bytes(length);
        if size_bytes == 0 {
            return self.trailer();
        }
        if size_bytes as usize > SEALED_BLOCK_BYTES_MAX {
            return Err(ExportError::TooLong { size_bytes });
        }
        let (mut raw, mut sum) = (vec![0; size_bytes as usize], [0; 32]);
        self.get("a block", &mut raw)?;
        self.get("a check sum", &mut sum)?;
        self.blocks += 1;
        let whole = Sha256Digest::of(&raw).as_bytes() == &sum;
        Ok(Record::Block { raw, whole })
    }

    fn trailer(&mut self) -> Result<Record, ExportError> {
        let (mut blocks, mut tip, mut sum) = ([0; 8], [0; 32], [0; 32]);
        self.get("the trailer", &mut blocks)?;
        self.get("the trailer", &mut tip)?;
        let expected: [u8; 32] = self.sum.clone().finalize().into();
        self.get("the trailer", &mut sum)?;
        if sum != expected {
            return Err(ExportError::Trailer("the check sum over the whole file does not match"));
        }
        let blocks = u64::from_le_bytes(blocks);
        if blocks != self.blocks {
            return Err(ExportError::Trailer("the number of blocks in the trailer is another than there are"));
        }
        if self.input.read(&mut [0])? != 0 {
            return Err(ExportError::Trailer("something follows the trailer"));
        }
        Ok(Record::End { blocks, tip: BlockHash(Sha256Digest::new(tip)) })
    }
}
