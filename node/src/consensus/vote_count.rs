//! How many entries the consensus journal of the height under way has, kept apart from the log: a disk that loses the end of
//! the journal would make a validator forget a vote without anything looking wrong.
//!
//! Two slots of 48 bytes (height, entries, SHA-256 of both) are written in turn, so that a torn write leaves the other one. As
//! with the tip of the log it is written after the journal is durable and not synced: it may lag behind, never run ahead. The file
//! has the name of its node: in a folder without it this key has never signed anything.

use pyrsia_ledger::log::LogError;
use pyrsia_ledger::{Height, NodeId, Sha256Digest};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const SLOT_BYTES: usize = 48;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct VoteCount {
    pub(super) height: Height,
    pub(super) entries: u64,
}

fn encode(count: VoteCount) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(&count.height.0.to_be_bytes());
    slot[8..16].copy_from_slice(&count.entries.to_be_bytes());
    let check_sum = Sha256Digest::of(&slot[..16]);
    slot[16..].copy_from_slice(check_sum.as_bytes());
    slot
}

fn decode(slot: &[u8]) -> Option<VoteCount> {
    let number = |range| Some(u64::from_be_bytes(slot.get::<std::ops::Range<usize>>(range)?.try_into().ok()?));
    let count = VoteCount { height: Height(number(0..8)?), entries: number(8..16)? };
    (encode(count).as_slice() == slot).then_some(count)
}

pub(super) struct VoteCountFile {
    file: File,
    path: PathBuf,
    count: VoteCount,
    is_written: bool,
    slot: u64,
}

impl VoteCountFile {
    pub(super) fn path(folder: &Path, me: &NodeId) -> PathBuf {
        folder.join(format!("votes-{me}"))
    }

    pub(super) fn exists(folder: &Path, me: &NodeId) -> bool {
        Self::path(folder, me).exists()
    }

    /// `here` is what the journal has; the answer is what it had when it was last counted.
    pub(super) fn open(folder: &Path, me: &NodeId, here: VoteCount) -> Result<(Self, Option<VoteCount>), LogError> {
        let path = Self::path(folder, me);
        let failed = |source| LogError::Tip { path: path.clone(), source };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        let mut slots = vec![0; 2 * SLOT_BYTES];
        let read = file.read_at(&mut slots, 0).map_err(failed)?;
        let counted = slots[..read].chunks(SLOT_BYTES).zip(0..).filter_map(|(slot, index)| Some((decode(slot)?, index))).max();
        let slot = counted.map_or(0, |(_, index)| 1 - index);
        Ok((Self { file, path, count: here, is_written: true, slot }, counted.map(|(count, _)| count)))
    }

    /// One more entry of `height` is about to be written.
    pub(super) fn count(&mut self, height: Height) {
        if self.count.height != height {
            self.count = VoteCount { height, entries: 0 };
        }
        self.count.entries += 1;
        self.is_written = false;
    }

    /// What was counted is durable.
    pub(super) fn write(&mut self) -> Result<(), LogError> {
        if !self.is_written {
            let written = self.file.write_all_at(&encode(self.count), self.slot * SLOT_BYTES as u64);
            written.map_err(|source| LogError::Tip { path: self.path.clone(), source })?;
            (self.is_written, self.slot) = (true, 1 - self.slot);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_slot_counts_and_a_torn_write_leaves_the_other_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let start = VoteCount { height: Height(4), entries: 0 };
        let me = NodeId::from_public_key([1; 32]);
        let open = || VoteCountFile::open(folder.path(), &me, start).expect("opens");
        let (mut file, counted) = open();
        assert_eq!(counted, None);
        for entries in 1..=3 {
            file.count(Height(5));
            file.write().expect("writes");
            assert_eq!(open().1, Some(VoteCount { height: Height(5), entries }));
        }
        // The third write went to the first slot again.
        let path = VoteCountFile::path(folder.path(), &me);
        let mut bytes = std::fs::read(&path).expect("is read");
        bytes[9] ^= 1;
        std::fs::write(&path, bytes).expect("is written");
        assert_eq!(open().1, Some(VoteCount { height: Height(5), entries: 2 }));
    }
}
