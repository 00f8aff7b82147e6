//! The tree over all events, cut into tiles: what is stored of it, and what is served (C2SP tlog-tiles).
//!
//! A tile of level 0 holds up to 256 leaf hashes, one of level L the roots of up to 256 full tiles of level L-1. Only the
//! tiles on the right edge are partial, and a tile never changes but by growing. Any proof takes a few tiles, however large
//! the tree is. Pure: where tiles are kept is the caller's.

use crate::digest::Sha256Digest;
use crate::proof::Nodes;
use crate::tree::{node_hash, nodes_above};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

/// How many levels of the tree one tile spans.
pub const TILE_HEIGHT: u32 = 8;
/// How many hashes a full tile has.
pub const TILE_WIDTH: usize = 1 << TILE_HEIGHT;
/// The highest level a tile can have: sizes have 64 bits.
pub const TILE_LEVEL_MAX: u8 = 7;

/// A place for a tile; a level above [`TILE_LEVEL_MAX`] is that of no tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TileId {
    pub level: u8,
    pub index: u64,
}

impl TileId {
    /// How many hashes the tile has in a tree of `size` leaves; none is no tile.
    pub fn width(self, size: u64) -> usize {
        let before = self.index.checked_mul(TILE_WIDTH as u64);
        let hashes = before.and_then(|before| hashes_at(size, self.level).checked_sub(before));
        hashes.map_or(0, |hashes| hashes.min(TILE_WIDTH as u64) as usize)
    }

    /// Every tile of a tree of `size` leaves, level by level.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        (0..=TILE_LEVEL_MAX).flat_map(move |level| {
            (0..hashes_at(size, level).div_ceil(TILE_WIDTH as u64)).map(move |index| Self { level, index })
        })
    }
}

/// How many hashes the tiles of a level have together.
fn hashes_at(size: u64, level: u8) -> u64 {
    size.checked_shr(u32::from(level) * TILE_HEIGHT).unwrap_or(0)
}

/// Where the root of a full subtree follows from: the `index`th one of 2^`level` leaves.
fn place_of(level: u32, index: u64) -> (TileId, Range<usize>) {
    let inside = level % TILE_HEIGHT;
    let first = index << inside;
    let at = (first % TILE_WIDTH as u64) as usize;
    (TileId { level: (level / TILE_HEIGHT) as u8, index: first / TILE_WIDTH as u64 }, at..at + (1 << inside))
}

/// What a proof makes of the nodes of a tree in tiles, each of which is read once. `missing` is for one that has too few hashes.
pub(crate) fn with_nodes<T, E>(
    mut tile: impl FnMut(TileId) -> Result<Vec<Sha256Digest>, E>,
    missing: impl Fn(TileId) -> E,
    proof: impl FnOnce(Nodes<'_, E>) -> Result<T, E>,
) -> Result<T, E> {
    let mut read = BTreeMap::<TileId, Vec<Sha256Digest>>::new();
    proof(&mut |level, index| {
        let (id, range) = place_of(level, index);
        let nodes = match read.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(tile(id)?),
        };
        nodes.get(range).map(subtree_root).ok_or_else(|| missing(id))
    })
}

/// The root over the hashes of a full subtree, whose number is a power of two.
pub(crate) fn subtree_root(hashes: &[Sha256Digest]) -> Sha256Digest {
    debug_assert!(hashes.len().is_power_of_two(), "{} hashes are no full subtree", hashes.len());
    if let [hash] = hashes {
        return *hash;
    }
    let mut nodes = nodes_above(hashes);
    while nodes.len() > 1 {
        nodes = nodes_above(&nodes);
    }
    nodes[0]
}

/// The partial tiles of a tree that grows: at most one of each level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RightEdge {
    size: u64,
    partial: Vec<Vec<Sha256Digest>>,
}

impl RightEdge {
    /// The edge of a tree of `size` leaves, whose partial tiles `tile` knows. None when one of them is not as wide as it must be.
    pub fn load<E>(size: u64, mut tile: impl FnMut(TileId) -> Result<Option<Vec<Sha256Digest>>, E>) -> Result<Option<Self>, E> {
        let mut partial = vec![];
        for level in 0..=TILE_LEVEL_MAX {
            let hashes = hashes_at(size, level);
            let width = (hashes % TILE_WIDTH as u64) as usize;
            let id = TileId { level, index: hashes / TILE_WIDTH as u64 };
            let found = if width == 0 { vec![] } else { tile(id)?.unwrap_or_default() };
            if found.len() != width {
                return Ok(None);
            }
            partial.push(found);
        }
        while partial.last().is_some_and(Vec::is_empty) {
            partial.pop();
        }
        Ok(Some(Self { size, partial }))
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds the next leaf; `full` is given each tile that becomes full by it.
    pub fn append(&mut self, leaf: Sha256Digest, full: &mut impl FnMut(TileId, &[Sha256Digest])) {
        self.size += 1;
        let mut hash = leaf;
        for level in 0..=TILE_LEVEL_MAX {
            if usize::from(level) == self.partial.len() {
                self.partial.push(Vec::with_capacity(TILE_WIDTH));
            }
            let tile = &mut self.partial[usize::from(level)];
            tile.push(hash);
            if tile.len() < TILE_WIDTH {
                return;
            }
            full(TileId { level, index: hashes_at(self.size, level) / TILE_WIDTH as u64 - 1 }, tile);
            hash = subtree_root(tile);
            tile.clear();
        }
    }

    /// The tiles that are not full, the lowest level first.
    pub fn tiles(&self) -> impl Iterator<Item = (TileId, &[Sha256Digest])> {
        let partial = (0..).zip(&self.partial).filter(|(_, tile)| !tile.is_empty());
        partial.map(|(level, tile)| (TileId { level, index: hashes_at(self.size, level) / TILE_WIDTH as u64 }, tile.as_slice()))
    }

    /// The root of the whole tree.
    pub fn root(&self) -> Sha256Digest {
        let mut from_right = self.partial.iter().flat_map(|tile| binary_parts(tile).into_iter().rev());
        let Some(last) = from_right.next() else { return Sha256Digest::of(b"") };
        from_right.fold(last, |right, left| node_hash(&left, &right))
    }
}

/// The roots of the full subtrees that the length's binary form names, the largest first.
fn binary_parts(mut hashes: &[Sha256Digest]) -> Vec<Sha256Digest> {
    let mut parts = vec![];
    while !hashes.is_empty() {
        let (part, rest) = hashes.split_at(1 << hashes.len().ilog2());
        parts.push(subtree_root(part));
        hashes = rest;
    }
    parts
}

/// A tile as it is stored and served: its hashes, one after the other.
pub fn encode_tile(hashes: &[Sha256Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// The hashes of a stored or fetched tile; none if the bytes are no tile.
pub fn decode_tile(bytes: &[u8]) -> Option<Vec<Sha256Digest>> {
    let (hashes, []) = bytes.as_chunks::<32>() else { return None };
    (1..=TILE_WIDTH).contains(&hashes.len()).then(|| hashes.iter().copied().map(Sha256Digest::new).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::proof::{TreeHashes, consistency_path, inclusion_path};
    use crate::tree::leaf_hash;
    use proptest::prelude::*;
    use std::convert::Infallible;

    /// A tree of some leaves: in memory, and every tile of it.
    pub(crate) struct Grown {
        edge: RightEdge,
        pub(crate) memory: TreeHashes,
        pub(crate) stored: BTreeMap<TileId, Vec<Sha256Digest>>,
    }

    impl Grown {
        pub(crate) fn to(size: u64) -> Self {
            let (mut edge, mut memory, mut stored) = (RightEdge::default(), TreeHashes::default(), BTreeMap::new());
            for leaf in 0..size {
                let leaf = leaf_hash(&leaf.to_le_bytes());
                memory.append(leaf);
                edge.append(leaf, &mut |id, hashes| {
                    stored.insert(id, hashes.to_vec());
                });
            }
            stored.extend(edge.tiles().map(|(id, hashes)| (id, hashes.to_vec())));
            Self { edge, memory, stored }
        }

        fn node(&self) -> impl FnMut(u32, u64) -> Result<Sha256Digest, Infallible> {
            |level, index| {
                let (id, range) = place_of(level, index);
                Ok(subtree_root(&self.stored[&id][range]))
            }
        }

        fn check(&self) {
            let size = self.edge.size();
            assert_eq!(self.edge.root(), self.memory.root(size).expect("a root"), "{size}");
            let ids: Vec<TileId> = TileId::all(size).collect();
            assert_eq!(ids, self.stored.keys().copied().collect::<Vec<_>>(), "{size}");
            assert!(self.stored.iter().all(|(id, hashes)| id.width(size) == hashes.len()), "{size}");
            let loaded = RightEdge::load(size, |id| Ok::<_, Infallible>(self.stored.get(&id).cloned())).expect("loads");
            assert_eq!(loaded.expect("is whole").root(), self.edge.root(), "{size}");
        }
    }

    #[test]
    fn tiles_are_those_of_the_tree_in_memory_at_every_size() {
        for size in (0..600).chain([65_535, 65_536, 65_537, 65_536 + 300]) {
            Grown::to(size).check();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn proofs_out_of_tiles_are_those_of_the_tree_in_memory(size in 1u64..3_000, index in any::<u64>(), old in any::<u64>()) {
            let grown = Grown::to(size);
            let (index, old) = (index % size, old % (size + 1));
            let Ok(inclusion) = inclusion_path(index, size, &mut grown.node());
            prop_assert_eq!(inclusion, grown.memory.inclusion(index, size).expect("a proof"));
            let Ok(consistency) = consistency_path(old, size, &mut grown.node());
            prop_assert_eq!(consistency, grown.memory.consistency(old, size).expect("a proof"));
        }

        #[test]
        fn a_tile_reads_back_and_other_bytes_are_none(count in 0usize..300, cut in 1usize..32) {
            let hashes: Vec<_> = (0..count).map(|at| leaf_hash(&at.to_le_bytes())).collect();
            let bytes = encode_tile(&hashes);
            prop_assert_eq!(decode_tile(&bytes), (1..=TILE_WIDTH).contains(&count).then_some(hashes));
            prop_assert_eq!(decode_tile(&[&bytes[..], &[0; 31][..cut - 1]].concat()).is_some(), cut == 1 && (1..=TILE_WIDTH).contains(&count));
        }
    }

    #[test]
    fn no_place_is_out_of_reach() {
        assert_eq!(TileId { level: 7, index: u64::MAX }.width(u64::MAX), 0);
        assert_eq!(TileId { level: 63, index: 0 }.width(u64::MAX), 0);
        assert_eq!(TileId { level: 7, index: 0 }.width(u64::MAX), 255);
        assert_eq!(place_of(63, 1), (TileId { level: 7, index: 0 }, 128..256));
    }
}
