//! The Merkle tree of RFC 6962 (section 2.1): SHA-256, 0x00 before a leaf, 0x01 before two nodes.
//!
//! The ledger has one such tree over all of its events in order; each block states its size and root after that block. The
//! frontier kept here is what is needed to append: the roots of the full subtrees that the size's binary form names.

use crate::digest::Sha256Digest;
use borsh::{BorshDeserialize, BorshSerialize};

/// The size of the chunks that artifacts are moved in.
pub const CHUNK_BYTES: usize = 1 << 20;

pub fn leaf_hash(leaf: &[u8]) -> Sha256Digest {
    Sha256Digest::of_parts(&leaf_preimage(leaf))
}

pub(crate) fn leaf_preimage(leaf: &[u8]) -> [&[u8]; 2] {
    [&[0], leaf]
}

pub fn node_hash(left: &Sha256Digest, right: &Sha256Digest) -> Sha256Digest {
    Sha256Digest::of_parts(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// The nodes above hashes that stand side by side, two by two; each two of them are worked out in step.
pub(crate) fn nodes_above(hashes: &[Sha256Digest]) -> Vec<Sha256Digest> {
    let (twos, _) = hashes.as_chunks::<2>();
    let (fours, rest) = twos.as_chunks::<2>();
    let mut nodes = Vec::with_capacity(twos.len());
    for four in fours {
        let rooms = four.map(|two| two.map(|hash| *hash.as_bytes()));
        nodes.extend(Sha256Digest::of_both([[&[1], rooms[0].as_flattened()], [&[1], rooms[1].as_flattened()]]));
    }
    nodes.extend(rest.iter().map(|[left, right]| node_hash(left, right)));
    nodes
}

/// The right edge of a tree that grows: the roots of its full subtrees, largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Frontier {
    size: u64,
    subtrees: Vec<Sha256Digest>,
}

impl Frontier {
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn append(&mut self, leaf: Sha256Digest) {
        let mut node = leaf;
        // Every trailing one of the old size is a full subtree of the node's own size: the two become one.
        for _ in 0..self.size.trailing_ones() {
            let left = self.subtrees.pop().expect("a subtree stands for each one in the binary form of the size");
            node = node_hash(&left, &node);
        }
        self.subtrees.push(node);
        self.size += 1;
    }

    /// Appends leaves, one after the other.
    pub fn extend(&mut self, leaves: impl IntoIterator<Item = Sha256Digest>) {
        let mut nodes: Vec<Sha256Digest> = leaves.into_iter().collect();
        let (mut size, mut alone) = (self.size, vec![]);
        self.size += nodes.len() as u64;
        // Level by level: what was left alone there before is the first, and what has no neighbour now stays.
        while !nodes.is_empty() {
            if size % 2 == 1 {
                nodes.insert(0, self.subtrees.pop().expect("a subtree stands for each one in the binary form of the size"));
            }
            if nodes.len() % 2 == 1 {
                alone.extend(nodes.pop());
            }
            (nodes, size) = (nodes_above(&nodes), size / 2);
        }
        self.subtrees.extend(alone.into_iter().rev());
    }

    /// The root; of the empty tree, the SHA-256 of nothing.
    pub fn root(&self) -> Sha256Digest {
        let mut from_right = self.subtrees.iter().rev().copied();
        let Some(last) = from_right.next() else { return Sha256Digest::of(b"") };
        from_right.fold(last, |right, left| node_hash(&left, &right))
    }
}

/// The root over leaves that are hashes already, such as the chunk list of an artifact.
pub fn root_of(leaf_hashes: impl IntoIterator<Item = Sha256Digest>) -> Sha256Digest {
    let mut frontier = Frontier::default();
    for leaf in leaf_hashes {
        frontier.append(leaf);
    }
    frontier.root()
}

/// What an artifact's chunk list is bound to: the root of the tree whose leaves are the sha256 of its chunks of 1 MiB.
pub fn chunk_root(chunks: &[Sha256Digest]) -> Sha256Digest {
    root_of(chunks.iter().map(|chunk| leaf_hash(chunk.as_bytes())))
}

/// How many chunks an artifact of this size has; an empty one has none.
pub const fn chunk_count(size_bytes: u64) -> u64 {
    size_bytes.div_ceil(CHUNK_BYTES as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition of RFC 6962, section 2.1, word for word.
    fn merkle_tree_hash(leaves: &[Vec<u8>]) -> Sha256Digest {
        match leaves.len() {
            0 => Sha256Digest::of(b""),
            1 => leaf_hash(&leaves[0]),
            n => {
                let k = n.next_power_of_two() / 2;
                node_hash(&merkle_tree_hash(&leaves[..k]), &merkle_tree_hash(&leaves[k..]))
            }
        }
    }

    proptest! {
        #[test]
        fn a_frontier_has_the_root_that_the_rfc_defines(leaves in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..70)) {
            let mut frontier = Frontier::default();
            for leaf in &leaves {
                frontier.append(leaf_hash(leaf));
            }
            prop_assert_eq!(frontier.root(), merkle_tree_hash(&leaves));
            prop_assert_eq!(frontier.size(), leaves.len() as u64);
        }

        #[test]
        fn many_leaves_at_once_are_the_same_as_one_after_the_other(counts in prop::collection::vec(0usize..70, 0..6)) {
            let (mut frontier, mut at_once) = (Frontier::default(), Frontier::default());
            for count in counts {
                let leaves: Vec<_> = (0..count).map(|at| leaf_hash(&[count as u8, at as u8])).collect();
                leaves.iter().for_each(|leaf| frontier.append(*leaf));
                at_once.extend(leaves);
                prop_assert_eq!(&at_once, &frontier);
            }
        }
    }

    #[test]
    fn the_known_roots_of_certificate_transparency_come_out() {
        let leaves: [&[u8]; 3] = [b"", b"\x00", b"\x10"];
        let mut frontier = Frontier::default();
        assert_eq!(frontier.root().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for leaf in leaves {
            frontier.append(leaf_hash(leaf));
        }
        assert_eq!(frontier.root().to_string(), "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77");
    }
}
