//! A disk whose power can be cut: what was not flushed is gone with the replica that wrote it.

use super::Mutation;
use crate::builds::simulated::Seal;
use crate::consensus::memory::{Memory, MemoryError};
use crate::consensus::message::Message;
use crate::consensus::store::Store;
use pyrsia_ledger::log::LogError;
use pyrsia_ledger::{Block, BlockHash, BuildId, EventId, Height, Projections, SealedBlock};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Contents {
    blocks: Vec<SealedBlock>,
    journal: Vec<(Height, Vec<u8>)>,
    bodies: BTreeMap<BlockHash, Block>,
    outbox: BTreeMap<EventId, Vec<u8>>,
    memory: Memory,
    seals: BTreeMap<BuildId, Seal>,
}

/// Outlives the replicas that use it, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    contents: Arc<Mutex<Contents>>,
    mutation: Mutation,
}

impl Disk {
    pub(super) fn new(mutation: Mutation) -> Self {
        Self { contents: Arc::default(), mutation }
    }

    /// A panic while the disk is held ends the run of its seed anyway.
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk of a node that lost one and kept its key.
    pub(super) fn replaced(&self) -> Self {
        let disk = Self::new(self.mutation);
        if self.mutation != Mutation::LossUnnoticed {
            disk.contents().memory = Memory::Lost;
        }
        disk
    }

    pub(super) fn block_count(&self) -> u64 {
        self.contents().blocks.len() as u64
    }

    pub(super) fn blocks(&self) -> Vec<SealedBlock> {
        self.contents().blocks.clone()
    }

    /// Sealed at once, as the real node does before it commits.
    pub(super) fn seal(&self, id: BuildId, seal: Seal) {
        self.contents().seals.entry(id).or_insert(seal);
    }

    pub(super) fn sealed(&self, id: &BuildId) -> Option<Seal> {
        self.contents().seals.get(id).cloned()
    }

    pub(super) fn memory(&self) -> Memory {
        self.contents().memory
    }

    pub(super) fn holds_journal(&self) -> bool {
        let contents = self.contents();
        let next = Height(contents.blocks.len() as u64);
        contents.journal.iter().any(|(height, _)| *height == next)
    }

    /// Folds the blocks as the block log does when it is opened.
    pub(super) fn replay(&self) -> Result<Option<Projections>, String> {
        let mut state: Option<Projections> = None;
        for sealed in &self.contents().blocks {
            let next = match &state {
                None => Projections::from_genesis(sealed),
                Some(state) => state.apply(&sealed.block),
            };
            state = Some(next.map_err(|error| format!("a disk does not replay: {error}"))?);
        }
        Ok(state)
    }
}

type Write = Box<dyn FnOnce(&mut Contents) + Send>;

/// A replica's hold on its disk, with the writes that are not flushed.
pub(super) struct DiskStore {
    disk: Disk,
    pending: Vec<Write>,
}

impl DiskStore {
    pub(super) fn on(disk: Disk) -> Self {
        Self { disk, pending: vec![] }
    }

    fn write(&mut self, write: impl FnOnce(&mut Contents) + Send + 'static) {
        self.pending.push(Box::new(write));
    }
}

impl Store for DiskStore {
    fn append(&mut self, sealed: &SealedBlock) -> Result<(), LogError> {
        let mut contents = self.disk.contents();
        for write in self.pending.drain(..) {
            write(&mut contents);
        }
        let height = sealed.height();
        assert_eq!(contents.blocks.len() as u64, height.0, "blocks are appended one after the other");
        contents.blocks.push(sealed.clone());
        contents.journal.retain(|(at, _)| *at > height);
        contents.bodies.retain(|_, block| block.height() > height);
        Ok(())
    }

    fn blocks(&self, from: Height, bytes_max: usize) -> Result<Vec<SealedBlock>, LogError> {
        let contents = self.disk.contents();
        let (mut blocks, mut size_bytes) = (vec![], 0);
        for sealed in contents.blocks.iter().skip(usize::try_from(from.0).unwrap_or(usize::MAX)) {
            size_bytes += Message::Blocks(vec![sealed.clone()]).encode().len();
            if !blocks.is_empty() && size_bytes > bytes_max {
                break;
            }
            blocks.push(sealed.clone());
        }
        Ok(blocks)
    }

    fn journal(&mut self, height: Height, entry: Vec<u8>) {
        self.write(move |contents| contents.journal.push((height, entry)));
    }

    fn journal_entries(&self, height: Height) -> Result<Vec<Vec<u8>>, LogError> {
        let contents = self.disk.contents();
        Ok(contents.journal.iter().filter(|(at, _)| *at == height).map(|(_, entry)| entry.clone()).collect())
    }

    fn keep_body(&mut self, block: &Block) {
        let block = block.clone();
        self.write(move |contents| {
            contents.bodies.insert(block.hash(), block);
        });
    }

    fn bodies(&self) -> Result<Vec<Block>, LogError> {
        Ok(self.disk.contents().bodies.values().cloned().collect())
    }

    fn outbox_put(&mut self, id: EventId, bytes: Vec<u8>) {
        self.write(move |contents| {
            contents.outbox.insert(id, bytes);
        });
    }

    fn outbox_remove(&mut self, id: EventId) {
        self.write(move |contents| {
            contents.outbox.remove(&id);
        });
    }

    fn outbox(&self) -> Result<Vec<Vec<u8>>, LogError> {
        Ok(self.disk.contents().outbox.values().cloned().collect())
    }

    fn flush(&mut self) -> Result<(), LogError> {
        if self.disk.mutation != Mutation::FlushesForgotten {
            let mut contents = self.disk.contents();
            for write in self.pending.drain(..) {
                write(&mut contents);
            }
        }
        Ok(())
    }

    fn memory(&self) -> Memory {
        self.disk.contents().memory
    }

    fn remember(&mut self, memory: Memory) -> Result<(), MemoryError> {
        self.disk.contents().memory = memory;
        Ok(())
    }
}
