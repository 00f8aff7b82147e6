//! Proofs about the tree over all events (RFC 9162, section 2.1; the hashes are those of RFC 6962).
//!
//! An inclusion proof shows that an event stands at a position of the tree with a known root; a consistency proof shows that
//! a tree is a continuation of an older one. Making one takes roots of full subtrees, out of [`TreeHashes`] or of stored
//! tiles ([`crate::tiles`]); checking one takes nothing but the roots, which the blocks state. Proofs of the same thing are the same bytes, here and in every log of this kind.

use crate::digest::Sha256Digest;
use crate::tree::node_hash;
use std::convert::Infallible;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProofError {
    #[error("position {index} is not in a tree of {size} events")]
    NotInTree { index: u64, size: u64 },
    #[error("a tree of {size} events is no continuation of one of {old}")]
    NotOlder { old: u64, size: u64 },
    #[error("the proof has {found} hashes, more or fewer than the sizes call for")]
    Length { found: usize },
    #[error("the proof leads to another root than that of the tree of {size} events")]
    OtherRoot { size: u64 },
}

/// The roots of every full subtree: about two hashes for each event.
#[derive(Clone, Debug, Default)]
pub struct TreeHashes {
    /// `levels[l][i]` is the root over the leaves from `i * 2^l` on, `2^l` of them.
    levels: Vec<Vec<Sha256Digest>>,
}

impl TreeHashes {
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Adds the next leaf, by its [`crate::tree::leaf_hash`].
    pub fn append(&mut self, leaf: Sha256Digest) {
        let mut node = leaf;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(vec![]);
            }
            let row = &mut self.levels[level];
            row.push(node);
            let [.., left, right] = row.as_slice() else { return };
            if row.len() % 2 == 1 {
                return;
            }
            node = node_hash(left, right);
        }
    }

    /// The root of the tree when it had `size` leaves.
    pub fn root(&self, size: u64) -> Result<Sha256Digest, ProofError> {
        match size {
            0 => Ok(Sha256Digest::of(b"")),
            _ if size > self.size() => Err(ProofError::NotInTree { index: size - 1, size: self.size() }),
            _ => Ok(self.over(0, size)),
        }
    }

    /// MTH over the leaves from `begin` on. `begin` is a multiple of the largest power of two up to `count`, as it is for
    /// every part that the RFC's definition divides a tree into.
    fn over(&self, begin: u64, count: u64) -> Sha256Digest {
        let Ok(root) = over(begin, count, &mut self.nodes());
        root
    }

    fn nodes(&self) -> impl FnMut(u32, u64) -> Result<Sha256Digest, Infallible> {
        |level, index| Ok(self.levels[level as usize][index as usize])
    }

    /// That leaf `index` stands in the tree of `size` leaves.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Sha256Digest>, ProofError> {
        check_place(index, size, self.size())?;
        let Ok(path) = inclusion_path(index, size, &mut self.nodes());
        Ok(path)
    }

    /// That the tree of `size` leaves continues that of `old`.
    pub fn consistency(&self, old: u64, size: u64) -> Result<Vec<Sha256Digest>, ProofError> {
        check_older(old, size, self.size())?;
        let Ok(path) = consistency_path(old, size, &mut self.nodes());
        Ok(path)
    }
}

/// The roots of full subtrees, wherever they are kept: `node(l, i)` is the one over the leaves from `i * 2^l` on, `2^l` of them.
pub type Nodes<'a, E> = &'a mut dyn FnMut(u32, u64) -> Result<Sha256Digest, E>;

/// MTH over `count` leaves from `begin` on, which is a multiple of the largest power of two up to `count`.
pub fn over<E>(begin: u64, count: u64, node: Nodes<'_, E>) -> Result<Sha256Digest, E> {
    if count == 0 {
        return Ok(Sha256Digest::of(b""));
    }
    if count.is_power_of_two() {
        let level = count.trailing_zeros();
        return node(level, begin >> level);
    }
    let left = left_part(count);
    let (left_root, right_root) = (over(begin, left, node)?, over(begin + left, count - left, node)?);
    Ok(node_hash(&left_root, &right_root))
}

/// That leaf `index` is one of the tree of `size` leaves, where there are `newest`.
pub(crate) fn check_place(index: u64, size: u64, newest: u64) -> Result<(), ProofError> {
    if index < size && size <= newest { Ok(()) } else { Err(ProofError::NotInTree { index, size: size.min(newest) }) }
}

/// That the tree of `old` leaves is not larger than that of `size`, where there are `newest`.
pub(crate) fn check_older(old: u64, size: u64, newest: u64) -> Result<(), ProofError> {
    if old <= size && size <= newest { Ok(()) } else { Err(ProofError::NotOlder { old, size: size.min(newest) }) }
}

/// PATH of RFC 9162, section 2.1.3.1: that leaf `index` stands in the tree of `size` leaves, which is larger.
pub fn inclusion_path<E>(index: u64, size: u64, node: Nodes<'_, E>) -> Result<Vec<Sha256Digest>, E> {
    let (mut begin, mut count, mut path) = (0, size, vec![]);
    while count > 1 {
        let left = left_part(count);
        if index - begin < left {
            path.push(over(begin + left, count - left, node)?);
            count = left;
        } else {
            path.push(over(begin, left, node)?);
            (begin, count) = (begin + left, count - left);
        }
    }
    path.reverse();
    Ok(path)
}

/// PROOF of RFC 9162, section 2.1.4.1: that the tree of `size` leaves continues that of `old`, which is not larger.
pub fn consistency_path<E>(old: u64, size: u64, node: Nodes<'_, E>) -> Result<Vec<Sha256Digest>, E> {
    if old == 0 || old == size {
        return Ok(vec![]);
    }
    let (mut begin, mut count, mut path) = (0, size, vec![]);
    while begin + count != old {
        let left = left_part(count);
        if old - begin <= left {
            path.push(over(begin + left, count - left, node)?);
            count = left;
        } else {
            path.push(over(begin, left, node)?);
            (begin, count) = (begin + left, count - left);
        }
    }
    // Beginning at the first leaf, the rest is the whole old tree, whose root the verifier has.
    if begin > 0 {
        path.push(over(begin, count, node)?);
    }
    path.reverse();
    Ok(path)
}

/// The largest power of two below `count`, which is above one.
fn left_part(count: u64) -> u64 {
    1 << (u64::BITS - 1 - (count - 1).leading_zeros())
}

/// Where a verifier is: the node it knows on the old edge and on the new one, shifted up level by level.
struct Climb {
    node: u64,
    last: u64,
}

/// On which side of the known node the next hash of a proof stands.
enum Side {
    Left,
    Right,
}

impl Climb {
    fn step(&mut self, found: usize) -> Result<Side, ProofError> {
        if self.last == 0 {
            return Err(ProofError::Length { found });
        }
        let side = if self.node % 2 == 1 || self.node == self.last { Side::Left } else { Side::Right };
        if matches!(side, Side::Left) {
            while self.node.is_multiple_of(2) && self.node != 0 {
                self.up();
            }
        }
        self.up();
        Ok(side)
    }

    fn up(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }
}

/// Checks that the leaf with this hash stands at `index` of the tree of `size` leaves with this root (section 2.1.3.2).
pub fn verify_inclusion(
    leaf: &Sha256Digest,
    index: u64,
    size: u64,
    proof: &[Sha256Digest],
    root: &Sha256Digest,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::NotInTree { index, size });
    }
    let (mut climb, mut reached) = (Climb { node: index, last: size - 1 }, *leaf);
    for hash in proof {
        reached = match climb.step(proof.len())? {
            Side::Left => node_hash(hash, &reached),
            Side::Right => node_hash(&reached, hash),
        };
    }
    match climb.last {
        0 if reached == *root => Ok(()),
        0 => Err(ProofError::OtherRoot { size }),
        _ => Err(ProofError::Length { found: proof.len() }),
    }
}

/// Checks that the tree of `size` leaves with this root continues the one of `old` leaves (section 2.1.4.2).
pub fn verify_consistency(
    (old, old_root): (u64, &Sha256Digest),
    (size, root): (u64, &Sha256Digest),
    proof: &[Sha256Digest],
) -> Result<(), ProofError> {
    let found = proof.len();
    if old > size {
        return Err(ProofError::NotOlder { old, size });
    }
    if old == 0 || old == size {
        let same = if old == 0 { *old_root == Sha256Digest::of(b"") } else { old_root == root };
        return match (found, same) {
            (0, true) => Ok(()),
            (0, false) => Err(ProofError::OtherRoot { size: old }),
            _ => Err(ProofError::Length { found }),
        };
    }
    let mut hashes = proof.iter();
    let begin = if old.is_power_of_two() { Some(old_root) } else { hashes.next() };
    let begin = *begin.ok_or(ProofError::Length { found })?;
    let mut climb = Climb { node: old - 1, last: size - 1 };
    while climb.node % 2 == 1 {
        climb.up();
    }
    let (mut reached_old, mut reached) = (begin, begin);
    for hash in hashes {
        match climb.step(found)? {
            Side::Left => {
                reached_old = node_hash(hash, &reached_old);
                reached = node_hash(hash, &reached);
            }
            Side::Right => reached = node_hash(&reached, hash),
        }
    }
    match climb.last {
        0 if reached_old != *old_root => Err(ProofError::OtherRoot { size: old }),
        0 if reached != *root => Err(ProofError::OtherRoot { size }),
        0 => Ok(()),
        _ => Err(ProofError::Length { found }),
    }
}

#[cfg(test)]
mod tests;
