//! What a replica needs of a disk: the node's block log, or the simulator's disk whose power can be cut.

use pyrsia_ledger::log::{BlockLog, LogError};
use pyrsia_ledger::{Block, EventId, Height, SealedBlock};

/// Writes are pending until [`Store::flush`] or [`Store::append`] returns; a crash before that loses them.
pub(super) trait Store {
    /// One atomic, durable batch: the block, everything pending, and the end of the journal and bodies of its height.
    fn append(&mut self, sealed: &SealedBlock) -> Result<(), LogError>;
    fn blocks(&self, from: Height, bytes_max: usize) -> Result<Vec<SealedBlock>, LogError>;
    fn journal(&mut self, height: Height, entry: Vec<u8>);
    fn journal_entries(&self, height: Height) -> Result<Vec<Vec<u8>>, LogError>;
    fn keep_body(&mut self, block: &Block);
    fn bodies(&self) -> Result<Vec<Block>, LogError>;
    fn outbox_put(&mut self, id: EventId, bytes: Vec<u8>);
    fn outbox_remove(&mut self, id: EventId);
    fn outbox(&self) -> Result<Vec<Vec<u8>>, LogError>;
    /// The barrier before anything signed leaves the node.
    fn flush(&mut self) -> Result<(), LogError>;
}

impl Store for BlockLog {
    fn append(&mut self, sealed: &SealedBlock) -> Result<(), LogError> {
        Self::append(self, sealed)
    }

    fn blocks(&self, from: Height, bytes_max: usize) -> Result<Vec<SealedBlock>, LogError> {
        Self::blocks(self, from, bytes_max)
    }

    fn journal(&mut self, height: Height, entry: Vec<u8>) {
        Self::journal(self, height, entry);
    }

    fn journal_entries(&self, height: Height) -> Result<Vec<Vec<u8>>, LogError> {
        Self::journal_entries(self, height)
    }

    fn keep_body(&mut self, block: &Block) {
        Self::keep_body(self, block);
    }

    fn bodies(&self) -> Result<Vec<Block>, LogError> {
        Self::bodies(self)
    }

    fn outbox_put(&mut self, id: EventId, bytes: Vec<u8>) {
        Self::outbox_put(self, id, bytes);
    }

    fn outbox_remove(&mut self, id: EventId) {
        Self::outbox_remove(self, id);
    }

    fn outbox(&self) -> Result<Vec<Vec<u8>>, LogError> {
        Self::outbox(self)
    }

    fn flush(&mut self) -> Result<(), LogError> {
        Self::flush(self)
    }
}
