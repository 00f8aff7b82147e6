//! The tip file: which block was announced last, kept apart from the log so that a log which lost its end is noticed.
//!
//! Two slots of 72 bytes (height, block hash, SHA-256 of both) are written in turn, so that a torn write leaves the other
//! one. It is written after the block is durable and not synced: it may lag behind a power cut, never run ahead of the log.

use super::LogError;
use crate::block::BlockHash;
use crate::digest::Sha256Digest;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const SLOT_BYTES: usize = 72;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tip {
    pub(super) height: u64,
    pub(super) block: BlockHash,
}

pub(super) struct TipFile {
    file: File,
    path: PathBuf,
}

fn encode(tip: Tip) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(&tip.height.to_be_bytes());
    slot[8..40].copy_from_slice(tip.block.0.as_bytes());
    let check_sum = Sha256Digest::of(&slot[..40]);
    slot[40..].copy_from_slice(check_sum.as_bytes());
    slot
}

fn decode(slot: &[u8]) -> Option<Tip> {
    let height = u64::from_be_bytes(slot.get(..8)?.try_into().ok()?);
    let block = BlockHash(Sha256Digest::new(slot.get(8..40)?.try_into().ok()?));
    let tip = Tip { height, block };
    (encode(tip).as_slice() == slot).then_some(tip)
}

/// The newest whole slot; none in a file that was made and not yet filled, which is a tip that lags behind, not damage.
pub(super) fn read(slots: &[u8]) -> Result<Option<Tip>, io::Error> {
    let tip = slots.chunks_exact(SLOT_BYTES).take(2).filter_map(decode).max_by_key(|tip| tip.height);
    if tip.is_none() && slots.iter().any(|byte| *byte != 0) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "neither of its two slots is whole"));
    }
    Ok(tip)
}

impl TipFile {
    pub(super) fn open(path: &Path) -> Result<(Self, Option<Tip>), LogError> {
        let failed = |source| LogError::Tip { path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        let mut slots = vec![0; 2 * SLOT_BYTES];
        let read = file.read_at(&mut slots, 0).map_err(failed)?;
        let tip = self::read(&slots[..read]).map_err(failed)?;
        Ok((Self { file, path: path.to_owned() }, tip))
    }

    pub(super) fn write(&mut self, tip: Tip) -> Result<(), LogError> {
        let slot = tip.height % 2 * SLOT_BYTES as u64;
        self.file.write_all_at(&encode(tip), slot).map_err(|source| LogError::Tip { path: self.path.clone(), source })
    }
}
