//! What the log keeps of its tree, and where its events stand: derived from the blocks, written with them.
//!
//! Everything here follows from the blocks and is made again from them when it is not whole. Reading takes a few rows,
//! however long the log is, and no lock. A block's rows survive a crash together, but a reader beside the writer sees them
//! appear one after the other: what is asked of a live tree must hold at a size whose block is complete, and tiles, whose
//! hashes never change, may be wider than that.

use super::LogError;
use super::terms::{TERMS, Terms, TermsSummary};
use crate::block::{BlockHeader, Height, SealedBlock};
use crate::digest::Sha256Digest;
use crate::proof::{Nodes, ProofError, check_older, check_place, consistency_path, inclusion_path, over};
use crate::signed::{EncodedEvent, EventId, SignedEvent};
use crate::tiles::{RightEdge, TILE_WIDTH, TileId, decode_tile, encode_tile, subtree_root, with_nodes};
use borsh::BorshDeserialize;
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

const TILES: &str = "tiles";
const STARTS: &str = "starts";
const EVENTS: &str = "events";
pub(super) const DERIVED: [&str; 4] = [TILES, STARTS, EVENTS, TERMS];
/// A row of `starts`, in front of all others, that says that something here is wrong: the next start makes all again. It
/// outlives blocks that are appended after it.
const DAMAGED: [u8; 1] = [0];
/// How many events a rebuild writes at once.
const REBUILD_BATCH_EVENTS: u64 = 20_000;

#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the stored tree is damaged at tile {}/{}", .0.level, .0.index)]
    Tile(TileId),
}

impl From<fjall::Error> for TreeError {
    fn from(error: fjall::Error) -> Self {
        Self::Log(error.into())
    }
}

/// An event with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedEvent {
    pub index: u64,
    pub height: Height,
    pub event: SignedEvent,
}

/// The tree and the indexes of a log; a cheap clone, good on every thread.
#[derive(Clone)]
pub struct StoredTree {
    blocks: Keyspace,
    tiles: Keyspace,
    /// Index of a block's first event -> height. The last row is that of the block to come, whose first event the size is.
    starts: Keyspace,
    /// Event id -> index.
    events: Keyspace,
    pub(super) terms: Terms,
}

/// Who may write to a tree while it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    Nobody,
    /// Tiles may be wider, and events there may be more, than the size that is checked.
    Writer,
}

/// What the derived rows of the newest block leave to go on from.
#[derive(Clone, Default)]
pub(super) struct TreeWriter {
    edge: RightEdge,
    terms: TermsSummary,
}

fn tile_key(id: TileId) -> [u8; 9] {
    let mut key = [id.level; 9];
    key[1..].copy_from_slice(&id.index.to_be_bytes());
    key
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// The header that a block's encoding begins with.
pub(super) fn header_of(height: u64, bytes: &[u8]) -> Result<BlockHeader, LogError> {
    let malformed = |source| LogError::Decode {
        height,
        key: "the header",
        source: crate::signed::DecodeError::Malformed { what: "header", source },
    };
    BlockHeader::deserialize(&mut &*bytes).map_err(malformed)
}

impl TreeWriter {
    /// Adds the rows of a block to a batch.
    fn write(&mut self, tree: &StoredTree, batch: &mut OwnedWriteBatch, sealed: &SealedBlock) {
        let (tiles, mut index) = (&tree.tiles, self.edge.size());
        batch.insert(&tree.starts, index.to_be_bytes(), sealed.height().0.to_be_bytes());
        for event in EncodedEvent::all(&sealed.block.events) {
            batch.insert(&tree.events, *event.id.digest().as_bytes(), index.to_be_bytes());
            self.edge.append(event.leaf, &mut |id, hashes| batch.insert(tiles, tile_key(id), encode_tile(hashes)));
            index += 1;
        }
        tree.terms.write(&mut self.terms, batch, sealed);
    }

    /// Adds what later blocks replace: the partial tiles, where the block to come begins, and how far the index for searches goes.
    fn write_edge(&self, tree: &StoredTree, batch: &mut OwnedWriteBatch, last: Height) {
        tree.terms.write_summary(&self.terms, batch);
        batch.insert(&tree.starts, self.edge.size().to_be_bytes(), last.next().0.to_be_bytes());
        for (id, hashes) in self.edge.tiles() {
            batch.insert(&tree.tiles, tile_key(id), encode_tile(hashes));
        }
    }

    /// Adds what belongs to `blocks`, which follow the ones before.
    pub(super) fn append(&mut self, tree: &StoredTree, batch: &mut OwnedWriteBatch, blocks: &[SealedBlock]) {
        for sealed in blocks {
            self.write(tree, batch, sealed);
        }
        if let Some(last) = blocks.last() {
            self.write_edge(tree, batch, last.height());
        }
    }
}

impl StoredTree {
    pub(super) fn open(database: &Database, blocks: &Keyspace, memtable_bytes: u64) -> Result<Self, fjall::Error> {
        // Hashes do not get smaller by being compressed.
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(memtable_bytes)
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        };
        let [tiles, starts, events] = [TILES, STARTS, EVENTS].map(|name| database.keyspace(name, options));
        let terms = Terms::open(database, memtable_bytes)?;
        Ok(Self { blocks: blocks.clone(), tiles: tiles?, starts: starts?, events: events?, terms })
    }

    fn last_header(&self) -> Result<Option<BlockHeader>, LogError> {
        let Some(last) = self.blocks.last_key_value() else { return Ok(None) };
        let (key, bytes) = last.into_inner()?;
        header_of(number(&key).unwrap_or(u64::MAX), &bytes).map(Some)
    }

    /// How many events the newest block's tree has.
    pub fn size(&self) -> Result<u64, LogError> {
        Ok(self.end()?.map_or(0, |(size, _)| size))
    }

    /// Where the block to come begins, and its height.
    fn end(&self) -> Result<Option<(u64, Height)>, LogError> {
        let Some(last) = self.starts.last_key_value() else { return Ok(None) };
        let (size, height) = last.into_inner()?;
        Ok(number(&size).zip(number(&height).map(Height)))
    }

    /// What to append to. None if the rows there do not lead to the newest block's root, as in a log that was written without,
    /// or were found damaged.
    pub(super) fn writer(&self) -> Result<Option<TreeWriter>, LogError> {
        let Some(header) = self.last_header()? else { return Ok(Some(TreeWriter::default())) };
        if self.starts.contains_key(DAMAGED)? {
            return Ok(None);
        }
        let size = header.tree_size;
        let edge = RightEdge::load(size, |id| Ok::<_, LogError>(self.stored(id)?.filter(|tile| tile.len() == id.width(size))))?;
        let is_whole = self.end()? == Some((size, header.height.next()));
        let terms = self.terms.summary()?.filter(|terms| terms.next() == header.height.next());
        let edge = edge.filter(|edge| is_whole && edge.root() == header.tree_root);
        Ok(edge.zip(terms).map(|(edge, terms)| TreeWriter { edge, terms }))
    }

    /// Has the next start make all rows again.
    pub(super) fn mark_damaged(&self) -> Result<(), LogError> {
        Ok(self.starts.insert(DAMAGED, "")?)
    }

    /// Makes all rows again out of the blocks.
    pub(super) fn rebuild(&self, database: &Database) -> Result<TreeWriter, LogError> {
        for keyspace in [&self.tiles, &self.starts, &self.events] {
            keyspace.clear()?;
        }
        self.terms.clear()?;
        let (mut writer, mut batch, mut written, mut last) = (TreeWriter::default(), database.batch(), 0, Height::GENESIS);
        for row in self.blocks.iter() {
            let (key, bytes) = row.into_inner()?;
            let sealed = super::decode_block(number(&key).unwrap_or(u64::MAX), &bytes)?;
            last = sealed.height();
            writer.write(self, &mut batch, &sealed);
            if writer.edge.size() - written >= REBUILD_BATCH_EVENTS {
                written = writer.edge.size();
                batch.commit()?;
                batch = database.batch();
            }
        }
        writer.write_edge(self, &mut batch, last);
        batch.durability(Some(PersistMode::SyncData)).commit()?;
        Ok(writer)
    }

    fn stored(&self, id: TileId) -> Result<Option<Vec<Sha256Digest>>, fjall::Error> {
        Ok(self.tiles.get(tile_key(id))?.and_then(|bytes| decode_tile(&bytes)))
    }

    /// The first `width` hashes of a tile, one after the other (C2SP tlog-tiles). None where the tree has no such tile.
    pub fn tile(&self, id: TileId, width: usize) -> Result<Option<Vec<u8>>, TreeError> {
        let bytes = self.tiles.get(tile_key(id))?.filter(|_| (1..=TILE_WIDTH).contains(&width));
        Ok(bytes.and_then(|bytes| Some(bytes.get(..width * 32)?.to_vec())))
    }

    /// The first `width` events of those that tile `index` of level 0 has the hashes of, each behind its length of two bytes
    /// (C2SP tlog-tiles). None where there are not so many.
    pub fn entry_bundle(&self, index: u64, width: usize) -> Result<Option<Vec<u8>>, TreeError> {
        let first = index.checked_mul(TILE_WIDTH as u64).filter(|_| (1..=TILE_WIDTH).contains(&width));
        let Some(first) = first.filter(|first| first.checked_add(width as u64).is_some()) else { return Ok(None) };
        let events = self.events_from(first, width)?;
        if events.len() < width {
            return Ok(None);
        }
        let mut bundle = vec![];
        for PlacedEvent { event, .. } in events {
            let bytes = event.encode();
            let length = u16::try_from(bytes.len()).expect("a leaf has at most 65,535 bytes");
            bundle.extend_from_slice(&length.to_be_bytes());
            bundle.extend_from_slice(&bytes);
        }
        Ok(Some(bundle))
    }

    /// Up to `count` events from `first` on.
    pub fn events_from(&self, first: u64, count: usize) -> Result<Vec<PlacedEvent>, LogError> {
        let mut events = vec![];
        let Some(start) = self.starts.range(..=first.to_be_bytes()).next_back() else { return Ok(events) };
        let (start, height) = start.into_inner()?;
        let (Some(mut index), Some(height)) = (number(&start), number(&height)) else { return Ok(events) };
        for row in self.blocks.range(height.to_be_bytes()..) {
            let (key, bytes) = row.into_inner()?;
            let sealed = super::decode_block(number(&key).unwrap_or(u64::MAX), &bytes)?;
            let height = sealed.height();
            for event in sealed.block.events {
                if index >= first && events.len() < count {
                    events.push(PlacedEvent { index, height, event });
                }
                index += 1;
            }
            if events.len() == count {
                break;
            }
        }
        Ok(events)
    }

    pub fn block(&self, height: Height) -> Result<Option<SealedBlock>, LogError> {
        Ok(self.block_and_size(height)?.map(|(sealed, _)| sealed))
    }

    /// A block, and of how many bytes it was read.
    pub(super) fn block_and_size(&self, height: Height) -> Result<Option<(SealedBlock, usize)>, LogError> {
        let Some(bytes) = self.blocks.get(height.0.to_be_bytes())? else { return Ok(None) };
        Ok(Some((super::decode_block(height.0, &bytes)?, bytes.len())))
    }

    pub fn event(&self, index: u64) -> Result<Option<PlacedEvent>, LogError> {
        Ok(self.events_from(index, 1)?.pop())
    }

    /// The height of the block that has event `index`.
    pub(super) fn height_of(&self, index: u64) -> Result<Option<Height>, LogError> {
        let Some(start) = self.starts.range(..=index.to_be_bytes()).next_back() else { return Ok(None) };
        Ok(number(&start.value()?).map(Height))
    }

    /// The height of the block that has the event with this id.
    pub(super) fn height_of_event(&self, id: &Sha256Digest) -> Result<Option<Height>, LogError> {
        let index = self.events.get(id.as_bytes())?.and_then(|index| number(&index));
        index.map_or(Ok(None), |index| self.height_of(index))
    }

    /// The header of a block.
    pub(super) fn header(&self, height: Height) -> Result<Option<BlockHeader>, LogError> {
        self.blocks.get(height.0.to_be_bytes())?.map(|bytes| header_of(height.0, &bytes)).transpose()
    }

    /// Where the event with this id stands.
    pub fn index_of(&self, id: &EventId) -> Result<Option<u64>, LogError> {
        Ok(self.events.get(id.digest().as_bytes())?.and_then(|index| number(&index)))
    }

    fn with_nodes<T>(&self, proof: impl FnOnce(Nodes<'_, TreeError>) -> Result<T, TreeError>) -> Result<T, TreeError> {
        with_nodes(|id| self.stored(id)?.ok_or(TreeError::Tile(id)), TreeError::Tile, proof)
    }

    /// The root of the tree when it had `size` events.
    pub fn root(&self, size: u64) -> Result<Sha256Digest, TreeError> {
        let newest = self.size()?;
        if size > newest {
            return Err(ProofError::NotInTree { index: size - 1, size: newest }.into());
        }
        self.with_nodes(|node| over(0, size, node))
    }

    /// That event `index` stands in the tree of `size` events.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Sha256Digest>, TreeError> {
        check_place(index, size, self.size()?)?;
        self.with_nodes(|node| inclusion_path(index, size, node))
    }

    /// That the tree of `size` events continues that of `old`.
    pub fn consistency(&self, old: u64, size: u64) -> Result<Vec<Sha256Digest>, TreeError> {
        check_older(old, size, self.size()?)?;
        self.with_nodes(|node| consistency_path(old, size, node))
    }

    /// Compares what is stored in a log that nobody writes to with itself up to the newest block's root, and calls `found` for
    /// each tile that is not as it must be and once for an index that is not whole.
    pub fn check(&self, found: &mut dyn FnMut(&str)) -> Result<(), LogError> {
        let Some(header) = self.last_header()? else { return Ok(()) };
        if matches!(self.end(), Ok(None)) {
            // A log that was never opened since there are stored trees.
            return Ok(());
        }
        self.check_up_to(header.tree_size, header.tree_root, Beside::Nobody, found, &mut |_| true);
        match self.end() {
            Ok(end) if end == Some((header.tree_size, header.height.next())) => {}
            Ok(_) => found("the index of blocks by their events does not end with the newest block"),
            Err(error) => found(&format!("the index of blocks by their events cannot be read: {error}")),
        }
        if !matches!(self.terms.summary(), Ok(Some(terms)) if terms.next() == header.height.next()) {
            found("the index for searches does not end with the newest block");
        }
        if self.starts.contains_key(DAMAGED)? {
            found("the stored tree was found damaged before and is made again at the next start");
        }
        Ok(())
    }

    /// Compares what is stored of the first `size` events with itself and with the root they have. `step` is told after each
    /// piece how many hashes or rows it had and says whether to go on; false when it did not.
    pub(super) fn check_up_to(
        &self,
        size: u64,
        root: Sha256Digest,
        beside: Beside,
        found: &mut dyn FnMut(&str),
        step: &mut dyn FnMut(usize) -> bool,
    ) -> bool {
        let grows = beside == Beside::Writer;
        for id in TileId::all(size) {
            let name = format!("tile {}/{} of the stored tree", id.level, id.index);
            let width = id.width(size);
            match self.stored(id) {
                Ok(Some(tile)) if tile.len() == width || (grows && tile.len() > width) => {
                    let above = TileId { level: id.level + 1, index: id.index / TILE_WIDTH as u64 };
                    if width == TILE_WIDTH
                        && let Ok(Some(parent)) = self.stored(above)
                        && parent.get((id.index % TILE_WIDTH as u64) as usize) != Some(&subtree_root(&tile))
                    {
                        found(&format!("{name} does not have the root that the tile above states"));
                    }
                }
                Ok(tile) => found(&format!("{name} has {} hashes in place of {width}", tile.map_or(0, |tile| tile.len()))),
                Err(error) => found(&format!("{name} cannot be read: {error}")),
            }
            if !step(width) {
                return false;
            }
        }
        match self.with_nodes(|node| over(0, size, node)) {
            Ok(led) if led == root => {}
            Ok(_) => found("the stored tree does not lead to the root that its block states"),
            Err(error) => found(&format!("the stored tree does not lead to a root: {error}")),
        }
        let mut count = 0;
        for row in self.events.iter() {
            match row.value() {
                Ok(index) if grows && number(&index).is_some_and(|index| index >= size) => {}
                Ok(_) => count += 1,
                Err(error) => {
                    found(&format!("the index of events by their ids cannot be read: {error}"));
                    return true;
                }
            }
            if !step(1) {
                return false;
            }
        }
        if count != size {
            found(&format!("the index of events by their ids has {count} entries in place of {size}"));
        }
        self.terms.check(found, step)
    }
}

#[cfg(test)]
impl StoredTree {
    /// As in a log that was written before there were stored trees.
    pub(super) fn clear(&self) -> Result<(), fjall::Error> {
        [&self.tiles, &self.starts, &self.events].into_iter().try_for_each(Keyspace::clear)?;
        self.terms.clear()
    }

    /// Puts another hash into a tile.
    pub(super) fn damage(&self, id: TileId) -> Result<(), fjall::Error> {
        let mut tile = self.stored(id)?.expect("the tile is there");
        tile[0] = Sha256Digest::of(b"other");
        self.tiles.insert(tile_key(id), encode_tile(&tile))
    }

    /// Loses an event's row of the index.
    pub(super) fn forget(&self, id: &EventId) -> Result<(), fjall::Error> {
        self.events.remove(id.digest().as_bytes())
    }
}
