//! Single blocks of an exported log, and its tree: looked up in the file once all of it was read.
//!
//! In memory are some places in the file, and of the tree the tiles above the leaves: some bytes for a thousand of the file. Leaves are
//! hashed again out of the blocks that they stand in.

use super::{EXPORT_MAGIC, ExportError};
use crate::block::{Height, SEALED_BLOCK_BYTES_MAX, SealedBlock};
use crate::digest::Sha256Digest;
use crate::proof::{Nodes, ProofError, check_older, check_place, consistency_path, inclusion_path};
use crate::signed::DecodeError;
use crate::tiles::{RightEdge, TILE_WIDTH, TileId, with_nodes};
use crate::tree::leaf_hash;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// How far apart the places are that are kept.
const STRIDE_BYTES: u64 = 1 << 17;
/// What a record has in front of its block, and behind it.
const LENGTH_BYTES: u64 = 4;
const CHECK_SUM_BYTES: u64 = 32;

#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error("block {height} does not decode")]
    Decode {
        height: Height,
        #[source]
        source: DecodeError,
    },
    #[error("the tree has no tile {}/{}", .0.level, .0.index)]
    Tile(TileId),
}

/// Where a block begins.
#[derive(Clone, Copy)]
struct Place {
    height: Height,
    offset: u64,
    /// The index of its first event, or of the next block's, where it has none.
    first_event: u64,
}

/// An exported log whose blocks can be asked for in any order.
pub struct ExportedBlocks {
    file: File,
    stride_bytes: u64,
    /// Some of the blocks, in ascending order.
    places: Vec<Place>,
    /// Where the block to come begins.
    end: Place,
    edge: RightEdge,
    /// The full tiles above level 0.
    tiles: BTreeMap<TileId, Vec<Sha256Digest>>,
}

impl ExportedBlocks {
    /// Of a file whose blocks are then added.
    pub fn new(file: File) -> Self {
        let end = Place { height: Height::GENESIS, offset: EXPORT_MAGIC.len() as u64, first_event: 0 };
        Self { file, stride_bytes: STRIDE_BYTES, places: vec![], end, edge: RightEdge::default(), tiles: BTreeMap::new() }
    }

    /// Adds the next block of the file, which stands there in `size_bytes`, by what the tree has of its events.
    pub fn add(&mut self, leaves: impl IntoIterator<Item = Sha256Digest>, size_bytes: usize) {
        if self.places.last().is_none_or(|last| self.end.offset - last.offset >= self.stride_bytes) {
            self.places.push(self.end);
        }
        let Self { edge, tiles, .. } = self;
        for leaf in leaves {
            edge.append(leaf, &mut |id, hashes| {
                if id.level > 0 {
                    tiles.insert(id, hashes.to_vec());
                }
            });
        }
        self.end = Place {
            height: self.end.height.next(),
            offset: self.end.offset + LENGTH_BYTES + size_bytes as u64 + CHECK_SUM_BYTES,
            first_event: edge.size(),
        };
    }

    /// How long the block at an offset is.
    fn size_bytes_at(&self, offset: u64) -> Result<u32, ExportError> {
        let mut length = [0; LENGTH_BYTES as usize];
        self.file.read_exact_at(&mut length, offset)?;
        let size_bytes = u32::from_le_bytes(length);
        if size_bytes as usize > SEALED_BLOCK_BYTES_MAX { Err(ExportError::TooLong { size_bytes }) } else { Ok(size_bytes) }
    }

    /// The block at a place, and where the next one begins.
    fn read(&self, place: Place) -> Result<(SealedBlock, Place), LookupError> {
        let Place { height, offset, first_event } = place;
        let size_bytes = self.size_bytes_at(offset)?;
        let (mut raw, mut check_sum) = (vec![0; size_bytes as usize], [0; CHECK_SUM_BYTES as usize]);
        self.file.read_exact_at(&mut raw, offset + LENGTH_BYTES).map_err(ExportError::Io)?;
        let behind = offset + LENGTH_BYTES + u64::from(size_bytes);
        self.file.read_exact_at(&mut check_sum, behind).map_err(ExportError::Io)?;
        if Sha256Digest::of(&raw).as_bytes() != &check_sum {
            return Err(ExportError::CheckSum(height).into());
        }
        let sealed = SealedBlock::decode(&raw).map_err(|source| LookupError::Decode { height, source })?;
        let first_event = first_event + sealed.block.events.len() as u64;
        Ok((sealed, Place { height: height.next(), offset: behind + CHECK_SUM_BYTES, first_event }))
    }

    /// None where the log does not go so far.
    pub fn block(&self, height: Height) -> Result<Option<SealedBlock>, LookupError> {
        if height >= self.end.height {
            return Ok(None);
        }
        let at = self.places.partition_point(|place| place.height <= height) - 1; // The first is that of genesis.
        let mut place = self.places[at];
        while place.height < height {
            let size_bytes = self.size_bytes_at(place.offset)?;
            let offset = place.offset + LENGTH_BYTES + u64::from(size_bytes) + CHECK_SUM_BYTES;
            place = Place { height: place.height.next(), offset, ..place };
        }
        Ok(Some(self.read(place)?.0))
    }

    /// The hashes of up to [`TILE_WIDTH`] events from `first` on, as many as there are.
    fn leaves(&self, first: u64) -> Result<Vec<Sha256Digest>, LookupError> {
        let behind = self.end.first_event.min(first.saturating_add(TILE_WIDTH as u64));
        let at = self.places.partition_point(|place| place.first_event <= first).saturating_sub(1);
        let (mut leaves, mut next) = (vec![], self.places.get(at).copied());
        while let Some(place) = next.filter(|place| place.first_event < behind && place.height < self.end.height) {
            let (sealed, following) = self.read(place)?;
            let wanted = (place.first_event..).zip(&sealed.block.events).filter(|(index, _)| (first..behind).contains(index));
            leaves.extend(wanted.map(|(_, event)| leaf_hash(&event.encode())));
            next = Some(following);
        }
        Ok(leaves)
    }

    fn tile(&self, id: TileId) -> Result<Vec<Sha256Digest>, LookupError> {
        if id.level == 0 {
            return self.leaves(id.index.saturating_mul(TILE_WIDTH as u64));
        }
        let partial = || self.edge.tiles().find(|(edge, _)| *edge == id).map(|(_, hashes)| hashes.to_vec());
        self.tiles.get(&id).cloned().or_else(partial).ok_or(LookupError::Tile(id))
    }

    fn with_nodes<T>(&self, proof: impl FnOnce(Nodes<'_, LookupError>) -> Result<T, LookupError>) -> Result<T, LookupError> {
        with_nodes(|id| self.tile(id), LookupError::Tile, proof)
    }

    /// That event `index` stands in the tree of `size` events.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Sha256Digest>, LookupError> {
        check_place(index, size, self.end.first_event)?;
        self.with_nodes(|node| inclusion_path(index, size, node))
    }

    /// That the tree of `size` events continues that of `old`.
    pub fn consistency(&self, old: u64, size: u64) -> Result<Vec<Sha256Digest>, LookupError> {
        check_older(old, size, self.end.first_event)?;
        self.with_nodes(|node| consistency_path(old, size, node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinate::PackageType;
    use crate::event::{Event, VerifierApproved};
    use crate::log::export::ExportWriter;
    use crate::projection::tests::{Bench, MODULE};
    use crate::proof::TreeHashes;
    use crate::signed::{SignedEvent, UnsignedEvent};
    use crate::tiles::tests::Grown;

    /// A network's log with blocks of so many events.
    fn log(counts: impl IntoIterator<Item = u64>) -> Bench {
        let mut bench = Bench::founded();
        for count in counts {
            let (author, network) = (bench.node(0), *bench.state.network());
            let first = bench.state.next_sequence(&author);
            let event = |sequence: u64| {
                let package_type = PackageType::new(format!("t{sequence}")).expect("a type");
                let event = Event::VerifierApproved(VerifierApproved { package_type, module: MODULE, contract_version: 1 });
                SignedEvent::new(&bench.keys[0], UnsignedEvent::new(network, author, sequence, 5, event))
            };
            let events: Vec<SignedEvent> = (first..first + count).map(event).collect();
            let proposal = bench.state.propose(author, bench.state.time_ms() + 10, &events);
            assert!(proposal.refused.is_empty(), "{:?}", proposal.refused);
            bench.log.push(bench.seal(proposal.block));
            bench.state = proposal.next;
        }
        bench
    }

    fn exported(blocks: &[SealedBlock], stride_bytes: u64) -> ExportedBlocks {
        let mut writer = ExportWriter::new(tempfile::tempfile().expect("a file")).expect("is written");
        for sealed in blocks {
            writer.block(sealed.block.hash(), &sealed.encode()).expect("is written");
        }
        let mut exported = ExportedBlocks { stride_bytes, ..ExportedBlocks::new(writer.finish().expect("is written")) };
        for sealed in blocks {
            exported.add(sealed.block.events.iter().map(|event| leaf_hash(&event.encode())), sealed.encode().len());
        }
        exported
    }

    #[test]
    fn every_block_and_every_path_of_an_exported_log_is_the_one_of_the_blocks_in_memory() {
        let bench = log([1, 0, 255, 1, 0, 0, 300, 700, 3]);
        let mut memory = TreeHashes::default();
        bench.log.iter().flat_map(|sealed| &sealed.block.events).for_each(|event| memory.append(leaf_hash(&event.encode())));
        let size = bench.state.tree_size();
        assert_eq!((size, memory.root(size)), (memory.size(), Ok(bench.state.tree_root())));
        for stride_bytes in [1, 40_000, STRIDE_BYTES] {
            let exported = exported(&bench.log, stride_bytes);
            for (height, sealed) in (0..).map(Height).zip(&bench.log) {
                assert_eq!(exported.block(height).expect("reads").as_ref(), Some(sealed), "{stride_bytes}");
            }
            assert_eq!(exported.block(bench.state.height().next()).expect("reads"), None);
            for size in [1, 2, 257, 258, 512, 513, size] {
                for index in [0, 1, 255, 256, 257, 511, 512, size - 1].into_iter().filter(|index| *index < size) {
                    let path = exported.inclusion(index, size).expect("a path");
                    assert_eq!(path, memory.inclusion(index, size).expect("a path"), "{stride_bytes}: {index} of {size}");
                    let path = exported.consistency(index + 1, size).expect("a path");
                    assert_eq!(path, memory.consistency(index + 1, size).expect("a path"), "{stride_bytes}: {index} to {size}");
                }
            }
            assert!(exported.inclusion(0, size + 1).is_err() && exported.inclusion(size, size).is_err());
            assert!(exported.consistency(1, size + 1).is_err() && exported.consistency(2, 1).is_err());
        }
    }

    #[test]
    fn the_tiles_above_the_leaves_are_those_of_a_tree_that_has_more_than_one_of_them() {
        const SIZE: u64 = 65_536 + 300;
        let grown = Grown::to(SIZE);
        let mut exported = ExportedBlocks::new(tempfile::tempfile().expect("a file"));
        let leaves: Vec<Sha256Digest> =
            (0..).map_while(|index| grown.stored.get(&TileId { level: 0, index })).flatten().copied().collect();
        leaves.chunks(1_000).for_each(|block| exported.add(block.iter().copied(), 0));
        assert_eq!((exported.edge.size(), exported.edge.root()), (SIZE, grown.memory.root(SIZE).expect("a root")));
        let above = |id: &TileId| id.level > 0;
        let tiles: Vec<TileId> = TileId::all(SIZE).filter(above).collect();
        assert_eq!(tiles.iter().map(|id| (id.level, id.index)).collect::<Vec<_>>(), [(1, 0), (1, 1), (2, 0)]);
        for id in tiles {
            assert_eq!(exported.tile(id).expect("is there"), grown.stored[&id], "{id:?}");
        }
        let beyond = TileId { level: 2, index: 1 };
        assert!(matches!(exported.tile(beyond), Err(LookupError::Tile(id)) if id == beyond));
    }

    #[test]
    fn a_file_that_is_another_one_by_then_is_noticed() {
        let bench = log([1, 1, 1]);
        let exported = exported(&bench.log, STRIDE_BYTES);
        let offset = EXPORT_MAGIC.len() as u64 + LENGTH_BYTES + 7;
        exported.file.write_all_at(b"other", offset).expect("is written");
        assert!(matches!(exported.block(Height(0)), Err(LookupError::Export(ExportError::CheckSum(Height(0))))));
        assert_eq!(exported.block(Height(2)).expect("reads").as_ref(), Some(&bench.log[2]));
        exported.file.set_len(offset).expect("is cut");
        assert!(exported.block(Height(2)).is_err() && exported.inclusion(0, 3).is_err());
    }
}
