//! The block log on disk: the only module of the ledger that touches one.
//!
//! Owns a folder with a fjall database (blocks; the consensus journal, undecided block bodies and own unsent events that
//! must outlive a crash) and, beside it, the tip file. One block is one atomic, durable batch. The database alone is not
//! believed: opening folds every block again, and the tip file, which is written after each durable batch, proves that the
//! log did not lose its end. Damage stops the opening with the height; nothing is repaired by guessing.
//!
//! ```text
//! <folder>/db/    fjall:  blocks   height (u64 be)                 -> SealedBlock
//!                         tiles    level (u8), index (u64 be)      -> tile of the tree over all events
//!                         starts   index of first event (u64 be)   -> height (u64 be)
//!                         events   event id                        -> index (u64 be)
//!                         terms    term of the index for searches, height of a block that has it
//!                         journal  height (u64 be), index (u64 be) -> entry of the consensus journal
//!                         bodies   height (u64 be), block hash     -> Block that is proposed and not decided
//!                         outbox   event id                        -> SignedEvent of this node, not on the ledger yet
//! <folder>/tip    two slots of (height, block hash, check sum), written in turn
//! <folder>/snapshots/     the state after some blocks, so that a start folds only what follows
//! ```
//!
//! Tiles, starts, events, terms and snapshots follow from the blocks: whatever of them is missing or wrong is made again.

mod checked;
mod covered;
pub mod export;
mod reader;
mod search;
mod snapshot;
mod stages;
mod stored;
mod terms;
mod tip;
mod transfer;

use crate::block::{Block, Height, SEALED_BLOCK_BYTES_MAX, SealedBlock};
use crate::projection::{BlockError, Projections};
use crate::signed::{DecodeError, EventId, decode_canonical};
use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use std::path::{Path, PathBuf};
use stored::{DERIVED, TreeWriter};
use tip::{Tip, TipFile, read as read_tip};

pub use checked::{FoldedBlock, fold_checked};
pub use covered::{Checked, Covered};
pub use reader::{LedgerReader, ReadError, Row, ledger_folder};
pub(crate) use snapshot::Hashing;
pub use snapshot::{SnapshotError, write_snapshot};
pub use stages::{Beside, Stages, Threads, in_stages};
pub use stored::{PlacedEvent, StoredTree, TreeError};
pub use transfer::{SoundBlocks, TransferError, export_log, import_log, replay_to};

const KEYSPACE_BLOCKS: &str = "blocks";
const KEYSPACES: [&str; 4] = [KEYSPACE_BLOCKS, "journal", "bodies", "outbox"];
/// How much of each keyspace waits in memory for its table: bounds the memory of a node and the time of a start.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// How much of its tables the database keeps in memory: blocks are read once, and a proof takes a few tiles.
const CACHE_BYTES: u64 = 8 << 20;
/// How long the database's own journals grow together before rarely written keyspaces are written to tables as well: bounds
/// the disk and the time of a start.
const JOURNALS_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the block log in {} cannot be opened", folder.display())]
    Open {
        folder: PathBuf,
        #[source]
        source: fjall::Error,
    },
    #[error("the block log in {} is in use by another program", folder.display())]
    Locked { folder: PathBuf },
    #[error("the block log cannot be read or written")]
    Database(#[from] fjall::Error),
    #[error("the tip file {} cannot be read or written", path.display())]
    Tip {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the block log is damaged at height {height}: the block is missing")]
    Missing { height: u64 },
    #[error("the block log is damaged at height {height}: {key} does not decode")]
    Decode {
        height: u64,
        key: &'static str,
        #[source]
        source: DecodeError,
    },
    #[error("the block log is damaged at height {height}: the block does not follow from the ones before")]
    Block {
        height: u64,
        #[source]
        source: Box<BlockError>,
    },
    #[error("the block log ends at {end}, but block {announced} was announced: its end is lost")]
    Short { end: String, announced: u64 },
    #[error("the block log has another block at height {height} than the one that was announced")]
    OtherTip { height: u64 },
    #[error("the block log is damaged at height {height}: the block does not follow from the one before")]
    Chain { height: u64 },
    #[error("the snapshot that was started from is not the state after block {height}; it is deleted, start again")]
    OtherState { height: u64 },
    #[error("what the block log keeps beside its blocks is damaged: {sentence}; start again, and it is made again")]
    Tree { sentence: String },
}

impl LogError {
    /// Whether what is on disk is wrong, and not only hard to reach.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Missing { .. }
            | Self::Decode { .. }
            | Self::Block { .. }
            | Self::Short { .. }
            | Self::OtherTip { .. }
            | Self::Chain { .. }
            | Self::OtherState { .. }
            | Self::Tree { .. } => true,
            Self::Tip { source, .. } => source.kind() == std::io::ErrorKind::InvalidData,
            Self::Open { source, .. } | Self::Database(source) => !matches!(source, fjall::Error::Io(_) | fjall::Error::Locked),
            Self::Locked { .. } => false,
        }
    }
}

/// The log of one node, held by one process.
pub struct BlockLog {
    database: Database,
    blocks: Keyspace,
    journal: Keyspace,
    bodies: Keyspace,
    outbox: Keyspace,
    tree: StoredTree,
    writer: TreeWriter,
    tip: TipFile,
    /// Writes that wait for the next [`BlockLog::flush`] or [`BlockLog::append`].
    pending: Option<OwnedWriteBatch>,
    next_journal_index: u64,
    opening: Opening,
}

/// What opening leaves to whoever opened: checks that may be made later, and what to tell the operator.
#[derive(Default)]
pub struct Opening {
    /// The blocks that a snapshot spared, with the state it gave for them.
    pub covered: Option<Covered>,
    /// Why snapshots were not used, in words.
    pub discarded: Vec<String>,
    /// Whether tree and indexes were made again.
    pub has_rebuilt: bool,
}

fn two_part_key(height: Height, rest: &[u8]) -> Vec<u8> {
    let mut key = height.0.to_be_bytes().to_vec();
    key.extend_from_slice(rest);
    key
}

/// The first key behind everything that belongs to `height` or one below it.
fn after(height: Height) -> [u8; 8] {
    height.0.saturating_add(1).to_be_bytes()
}

fn database(folder: &Path) -> Result<Database, fjall::Error> {
    let builder = Database::builder(folder).worker_threads(1).cache_size(CACHE_BYTES);
    builder.max_journaling_size(JOURNALS_BYTES_MAX).open()
}

fn keyspace(database: &Database, name: &str) -> Result<Keyspace, fjall::Error> {
    database.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES))
}

/// Makes the database of a new log. It gets its name when it is complete: the database does not open again what a crash
/// left half made.
fn make_database(folder: &Path) -> Result<(), fjall::Error> {
    let making = folder.join("db.making");
    match std::fs::remove_dir_all(&making) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    {
        let database = database(&making)?;
        for name in KEYSPACES.into_iter().chain(DERIVED) {
            keyspace(&database, name)?;
        }
        database.persist(PersistMode::SyncAll)?;
    }
    std::fs::rename(making, folder.join("db"))?;
    Ok(std::fs::File::open(folder)?.sync_all()?)
}

impl BlockLog {
    /// Whether `folder` holds a log, with or without blocks.
    pub fn exists(folder: &Path) -> bool {
        folder.join("db").exists()
    }

    /// Opens or makes the log in `folder` and folds what is there; none when it holds no genesis.
    pub fn open(folder: &Path) -> Result<(Self, Option<Projections>), LogError> {
        let open = |source| match source {
            fjall::Error::Locked => LogError::Locked { folder: folder.to_owned() },
            source => LogError::Open { folder: folder.to_owned(), source },
        };
        std::fs::create_dir_all(folder).map_err(|source| open(source.into()))?;
        if !Self::exists(folder) {
            make_database(folder).map_err(open)?;
        }
        let database = database(&folder.join("db")).map_err(open)?;
        let [blocks, journal, bodies, outbox] = KEYSPACES.map(|name| keyspace(&database, name));
        let (blocks, journal, bodies, outbox) = (blocks?, journal?, bodies?, outbox?);
        let tree = StoredTree::open(&database, &blocks, MEMTABLE_BYTES)?;
        let (tip, announced) = TipFile::open(&folder.join("tip"))?;
        let mut log = Self {
            database,
            blocks,
            journal,
            bodies,
            outbox,
            tree,
            writer: TreeWriter::default(),
            tip,
            pending: None,
            next_journal_index: 0,
            opening: Opening::default(),
        };
        log.next_journal_index = match log.journal.last_key_value() {
            Some(last) => {
                let key = last.key()?;
                key.get(8..16).and_then(|index| index.try_into().ok()).map_or(0, u64::from_be_bytes) + 1
            }
            None => 0,
        };
        let loaded = snapshot::load_newest(folder, &log.blocks, &mut log.opening.discarded)?;
        log.opening.covered = loaded.clone().map(|(state, path)| Covered::new(log.tree.clone(), state, path));
        let state = log.replay(loaded.map(|(state, _)| state))?;
        check_tip(&log, state.as_ref(), announced)?;
        match log.tree.writer() {
            Ok(Some(writer)) => log.writer = writer,
            Ok(None) | Err(_) => {
                log.writer = log.tree.rebuild(&log.database)?;
                log.opening.has_rebuilt = true;
            }
        }
        Ok((log, state))
    }

    /// What opening left to do and to tell, once.
    pub fn take_opening(&mut self) -> Opening {
        std::mem::take(&mut self.opening)
    }

    /// The tree and the indexes, for reading beside the writer.
    pub fn tree(&self) -> &StoredTree {
        &self.tree
    }

    /// Folds what follows a snapshot, or the whole log. Signatures and certificates were checked before a block was appended;
    /// here its place in the chain and everything its header states is.
    fn replay(&self, mut state: Option<Projections>) -> Result<Option<Projections>, LogError> {
        let first = state.as_ref().map_or(0, |state| state.height().next().0);
        for row in self.blocks.range(first.to_be_bytes()..) {
            let (key, value) = row.into_inner()?;
            let height = key.as_ref().try_into().map_or(u64::MAX, u64::from_be_bytes);
            let expected = state.as_ref().map_or(0, |state| state.height().next().0);
            if height != expected {
                return Err(LogError::Missing { height: expected });
            }
            let sealed = decode_block(height, &value)?;
            let next = match state.take() {
                None => Projections::from_genesis(&sealed),
                Some(state) => state.advance(&sealed.block),
            };
            state = Some(next.map_err(|source| LogError::Block { height, source: Box::new(source) })?);
        }
        Ok(state)
    }

    /// Appends the founding block to an empty log.
    pub fn append_genesis(&mut self, sealed: &SealedBlock) -> Result<(), LogError> {
        self.append(sealed)
    }

    /// Appends a block for good, together with everything pending, and forgets the journal and the bodies of its height.
    /// When this returns, the block survives a power cut.
    pub fn append(&mut self, sealed: &SealedBlock) -> Result<(), LogError> {
        self.append_all(std::slice::from_ref(sealed))
    }

    /// [`BlockLog::append`] for several blocks with one sync: all of them, or none.
    pub fn append_all(&mut self, blocks: &[SealedBlock]) -> Result<(), LogError> {
        let Some(last) = blocks.last() else { return Ok(()) };
        let mut batch = self.pending.take().unwrap_or_else(|| self.database.batch());
        for sealed in blocks {
            batch.insert(&self.blocks, sealed.height().0.to_be_bytes(), sealed.encode());
        }
        for keyspace in [&self.journal, &self.bodies] {
            for row in keyspace.range(..after(last.height())) {
                batch.remove(keyspace, row.key()?);
            }
        }
        // Kept only with the batch: the rows of a block that was not written must not be built upon.
        let mut writer = self.writer.clone();
        writer.append(&self.tree, &mut batch, blocks);
        batch.durability(Some(PersistMode::SyncData)).commit()?;
        self.writer = writer;
        self.tip.write(Tip { height: last.height().0, block: last.block.hash() })
    }

    pub fn block(&self, height: Height) -> Result<Option<SealedBlock>, LogError> {
        self.blocks.get(height.0.to_be_bytes())?.map(|bytes| decode_block(height.0, &bytes)).transpose()
    }

    /// Blocks from `from` on, as many as fit in `bytes_max`, but always one where there is one.
    pub fn blocks(&self, from: Height, bytes_max: usize) -> Result<Vec<SealedBlock>, LogError> {
        let (mut blocks, mut size_bytes) = (vec![], 0);
        for (row, height) in self.blocks.range(from.0.to_be_bytes()..).zip(from.0..) {
            let bytes = row.value()?;
            size_bytes += bytes.len();
            if !blocks.is_empty() && size_bytes > bytes_max {
                break;
            }
            blocks.push(decode_block(height, &bytes)?);
        }
        Ok(blocks)
    }

    fn pending(&mut self) -> &mut OwnedWriteBatch {
        self.pending.get_or_insert_with(|| self.database.batch())
    }

    /// Adds an entry to the consensus journal of `height`; durable with the next flush.
    pub fn journal(&mut self, height: Height, entry: Vec<u8>) {
        let key = two_part_key(height, &self.next_journal_index.to_be_bytes());
        self.next_journal_index += 1;
        let keyspace = self.journal.clone();
        self.pending().insert(&keyspace, key, entry);
    }

    /// Keeps a block that may be decided; durable with the next flush.
    pub fn keep_body(&mut self, block: &Block) {
        let key = two_part_key(block.height(), block.hash().0.as_bytes());
        let bytes = borsh::to_vec(block).expect("writing to memory cannot fail");
        let keyspace = self.bodies.clone();
        self.pending().insert(&keyspace, key, bytes);
    }

    /// Keeps an own event until it stands on the ledger; durable with the next flush.
    pub fn outbox_put(&mut self, id: EventId, bytes: Vec<u8>) {
        let keyspace = self.outbox.clone();
        self.pending().insert(&keyspace, id.digest().as_bytes().to_vec(), bytes);
    }

    pub fn outbox_remove(&mut self, id: EventId) {
        let keyspace = self.outbox.clone();
        self.pending().remove(&keyspace, id.digest().as_bytes().to_vec());
    }

    /// Makes everything pending durable: the barrier before anything signed leaves the node.
    pub fn flush(&mut self) -> Result<(), LogError> {
        match self.pending.take() {
            Some(batch) => Ok(batch.durability(Some(PersistMode::SyncData)).commit()?),
            None => Ok(()),
        }
    }

    /// The journal of `height`, oldest entry first.
    pub fn journal_entries(&self, height: Height) -> Result<Vec<Vec<u8>>, LogError> {
        self.journal.range(height.0.to_be_bytes()..after(height)).map(|row| Ok(row.value()?.to_vec())).collect()
    }

    pub fn bodies(&self) -> Result<Vec<Block>, LogError> {
        let decode = |row: Guard| {
            let (key, value) = row.into_inner()?;
            let height = key.get(..8).and_then(|bytes| bytes.try_into().ok()).map_or(u64::MAX, u64::from_be_bytes);
            decode_canonical("body", &value).map_err(|source| LogError::Decode { height, key: "an undecided block", source })
        };
        self.bodies.iter().map(decode).collect()
    }

    pub fn outbox(&self) -> Result<Vec<Vec<u8>>, LogError> {
        self.outbox.iter().map(|row| Ok(row.value()?.to_vec())).collect()
    }
}

fn decode_block(height: u64, bytes: &[u8]) -> Result<SealedBlock, LogError> {
    debug_assert!(bytes.len() <= SEALED_BLOCK_BYTES_MAX, "no larger block was appended");
    SealedBlock::decode(bytes).map_err(|source| LogError::Decode { height, key: "the block", source })
}

/// The log must reach the announced tip and have the announced block there. It may be longer: the tip is written last.
fn check_tip(log: &BlockLog, state: Option<&Projections>, announced: Option<Tip>) -> Result<(), LogError> {
    let Some(announced) = announced else { return Ok(()) };
    let end = state.map(|state| state.height().0);
    if end.is_none_or(|end| end < announced.height) {
        let end = end.map_or("nothing".to_owned(), |end| format!("height {end}"));
        return Err(LogError::Short { end, announced: announced.height });
    }
    let found = log.block(Height(announced.height))?.map(|sealed| sealed.block.hash());
    if found == Some(announced.block) { Ok(()) } else { Err(LogError::OtherTip { height: announced.height }) }
}

#[cfg(test)]
mod tests;
