//! What a replica needs of a disk: the node's own, or the simulator's whose power can be cut.

use super::memory::{KeyAge, Memory, MemoryError, MemoryFile};
use super::vote_count::{VoteCount, VoteCountFile};
use pyrsia_ledger::log::{BlockLog, Covered, LogError, StoredTree};
use pyrsia_ledger::{Block, EventId, Height, NodeId, Projections, SealedBlock};
use std::fs;
use std::path::{Path, PathBuf};
use tracing::{info, warn};

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
    fn memory(&self) -> Memory;
    /// Durable at once, whatever is pending.
    fn remember(&mut self, memory: Memory) -> Result<(), MemoryError>;
}

/// The node's disk: its block log, and beside it what tells that votes were lost.
pub struct NodeStore {
    log: BlockLog,
    memory: MemoryFile,
    votes: VoteCountFile,
    covered: Option<Covered>,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error("the folder {} of the ledger cannot be made", folder.display())]
    Folder {
        folder: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl OpenStoreError {
    /// Whether what is on disk is wrong, and not only hard to reach.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Log(error) if error.is_damage())
    }
}

impl NodeStore {
    /// Opens or makes the store of the node `me` in `folder` and folds its blocks; none when it holds no genesis. A folder in
    /// which this key has not lived before, be it new or a copy of another node's, and one whose votes are not all there, make
    /// the node forgetful.
    pub fn open(folder: &Path, me: NodeId, key: KeyAge) -> Result<(Self, Option<Projections>), OpenStoreError> {
        fs::create_dir_all(folder).map_err(|source| OpenStoreError::Folder { folder: folder.to_owned(), source })?;
        let mut memory = MemoryFile::open(folder)?;
        // Before anything is made: a crash in between must not make the folder look as old as the key.
        let is_strange = !BlockLog::exists(folder) || !VoteCountFile::exists(folder, &me);
        if key == KeyAge::Older && is_strange && memory.memory() != Memory::Lost {
            warn!(
                "the key of this node is older than its ledger: if it was an authorized node, it is silent until it is safe to vote"
            );
            memory.write(Memory::Lost)?;
        }
        let (mut log, state) = BlockLog::open(folder)?;
        let opening = log.take_opening();
        for reason in &opening.discarded {
            warn!("{reason}; the start takes longer");
        }
        if opening.has_rebuilt {
            info!("made the stored tree and the indexes of the ledger again");
        }
        let next = state.as_ref().map_or(Height::GENESIS, |state| state.height().next());
        let entries = log.journal_entries(next)?.len() as u64;
        let (votes, counted) = VoteCountFile::open(folder, &me, VoteCount { height: next, entries })?;
        if counted.is_some_and(|counted| counted > VoteCount { height: next, entries }) && memory.memory() != Memory::Lost {
            warn!(height = %next, "votes of this node are gone from its disk: it is silent until it is safe to vote");
            memory.write(Memory::Lost)?;
        }
        Ok((Self { log, memory, votes, covered: opening.covered }, state))
    }

    /// The blocks that were not looked at because of a snapshot, once.
    pub fn take_covered(&mut self) -> Option<Covered> {
        self.covered.take()
    }

    /// The tree and the indexes, for reading beside the consensus.
    pub fn tree(&self) -> StoredTree {
        self.log.tree().clone()
    }
}

impl Store for NodeStore {
    fn append(&mut self, sealed: &SealedBlock) -> Result<(), LogError> {
        self.log.append(sealed)
    }

    fn blocks(&self, from: Height, bytes_max: usize) -> Result<Vec<SealedBlock>, LogError> {
        self.log.blocks(from, bytes_max)
    }

    fn journal(&mut self, height: Height, entry: Vec<u8>) {
        self.votes.count(height);
        self.log.journal(height, entry);
    }

    fn journal_entries(&self, height: Height) -> Result<Vec<Vec<u8>>, LogError> {
        self.log.journal_entries(height)
    }

    fn keep_body(&mut self, block: &Block) {
        self.log.keep_body(block);
    }

    fn bodies(&self) -> Result<Vec<Block>, LogError> {
        self.log.bodies()
    }

    fn outbox_put(&mut self, id: EventId, bytes: Vec<u8>) {
        self.log.outbox_put(id, bytes);
    }

    fn outbox_remove(&mut self, id: EventId) {
        self.log.outbox_remove(id);
    }

    fn outbox(&self) -> Result<Vec<Vec<u8>>, LogError> {
        self.log.outbox()
    }

    fn flush(&mut self) -> Result<(), LogError> {
        self.log.flush()?;
        self.votes.write()
    }

    fn memory(&self) -> Memory {
        self.memory.memory()
    }

    fn remember(&mut self, memory: Memory) -> Result<(), MemoryError> {
        self.memory.write(memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId::from_public_key([1; 32]);

    fn open(folder: &Path, key: KeyAge) -> (NodeStore, Option<Projections>) {
        NodeStore::open(folder, ME, key).expect("opens")
    }

    #[test]
    fn only_a_folder_that_is_younger_than_the_key_makes_forgetful() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(open(folder.path(), KeyAge::Fresh).0.memory(), Memory::Whole);
        assert_eq!(open(folder.path(), KeyAge::Older).0.memory(), Memory::Whole, "the second start on the same folder");
        let emptied = tempfile::tempdir().expect("a folder");
        assert_eq!(open(emptied.path(), KeyAge::Older).0.memory(), Memory::Lost);
        assert_eq!(open(emptied.path(), KeyAge::Older).0.memory(), Memory::Lost, "and it stays so");
        let other = NodeId::from_public_key([2; 32]);
        let (copied, _) = NodeStore::open(folder.path(), other, KeyAge::Older).expect("opens");
        assert_eq!(copied.memory(), Memory::Lost, "the log of another node says nothing about this key");
    }

    #[test]
    fn a_journal_that_lost_its_end_makes_forgetful() {
        let (folder, spare) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let first = Height::GENESIS;
        let (mut store, _) = open(folder.path(), KeyAge::Fresh);
        store.journal(first, vec![1]);
        store.flush().expect("flushes");
        drop(store);
        assert_eq!(open(folder.path(), KeyAge::Older).0.memory(), Memory::Whole, "everything is there");
        // The same count beside a log that has fewer entries.
        drop(open(spare.path(), KeyAge::Fresh));
        let votes = |folder: &Path| VoteCountFile::path(folder, &ME);
        fs::copy(votes(folder.path()), votes(spare.path())).expect("is copied");
        assert_eq!(open(spare.path(), KeyAge::Older).0.memory(), Memory::Lost);
    }
}
