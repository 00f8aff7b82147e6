//! The commitment to the projections that every block carries: a homomorphic hash of their rows.
//!
//! LtHash (Lewi et al., "Securing Update Propagation with Homomorphic Hashing", 2019) with 1,024 lanes of 16 bits: each row
//! is expanded to 2 KiB and added lane by lane; removing a row subtracts it. The sum depends on which rows there are and on
//! nothing else, costs the same however many there are, and can be computed afresh from a snapshot to check it. The
//! expansion is MGF1 with SHA-256 (RFC 8017, appendix B.2.1).

use crate::digest::Sha256Digest;
use borsh::BorshSerialize;
use std::fmt;

const LANES: usize = 1_024;
const EXPANSION_BLOCKS: u32 = (LANES * 2 / 32) as u32;

/// Names the table a row is of; numbers are part of the commitment and are never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TableId {
    Authors = 1,
    Members = 2,
    Candidates = 3,
    Verifiers = 4,
    Builds = 5,
    Results = 6,
    Records = 7,
    Artifacts = 8,
    Attempts = 9,
}

/// The sum over all rows.
#[derive(Clone, PartialEq, Eq)]
pub struct StateSum(Box<[u16; LANES]>);

impl Default for StateSum {
    fn default() -> Self {
        Self(Box::new([0; LANES]))
    }
}

impl fmt::Debug for StateSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state:{:?}", self.root())
    }
}

fn row_seed<K: BorshSerialize, V: BorshSerialize>(table: TableId, key: &K, value: &V) -> Sha256Digest {
    let key = borsh::to_vec(key).expect("writing to memory cannot fail");
    let value = borsh::to_vec(value).expect("writing to memory cannot fail");
    let key_length = (key.len() as u64).to_le_bytes();
    Sha256Digest::of_parts(&[b"pyrsia/state-row/v1\0", &[table as u8], &key_length, &key, &value])
}

impl StateSum {
    pub fn add<K: BorshSerialize, V: BorshSerialize>(&mut self, table: TableId, key: &K, value: &V) {
        self.combine(&row_seed(table, key, value), u16::wrapping_add);
    }

    pub fn remove<K: BorshSerialize, V: BorshSerialize>(&mut self, table: TableId, key: &K, value: &V) {
        self.combine(&row_seed(table, key, value), u16::wrapping_sub);
    }

    fn combine(&mut self, seed: &Sha256Digest, with: fn(u16, u16) -> u16) {
        let mut lanes = self.0.iter_mut();
        for counter in 0..EXPANSION_BLOCKS {
            let block = Sha256Digest::of_parts(&[seed.as_bytes(), &counter.to_be_bytes()]);
            for (pair, lane) in block.as_bytes().chunks_exact(2).zip(&mut lanes) {
                *lane = with(*lane, u16::from_le_bytes([pair[0], pair[1]]));
            }
        }
    }

    pub fn root(&self) -> Sha256Digest {
        let bytes: Vec<u8> = self.0.iter().flat_map(|lane| lane.to_le_bytes()).collect();
        Sha256Digest::of_parts(&[b"pyrsia/state/v1\0", &bytes])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_sum_depends_on_the_rows_and_not_on_how_they_came(rows in prop::collection::btree_map(any::<u32>(), any::<u64>(), 1..12), detour in any::<u64>()) {
            let mut forward = StateSum::default();
            for (key, value) in &rows {
                forward.add(TableId::Builds, key, value);
            }
            let mut backward = StateSum::default();
            for (key, value) in rows.iter().rev() {
                backward.add(TableId::Builds, key, &detour);
                backward.add(TableId::Builds, key, value);
                backward.remove(TableId::Builds, key, &detour);
            }
            prop_assert_eq!(forward.root(), backward.root());
            let (key, value) = rows.iter().next().expect("at least one");
            backward.remove(TableId::Builds, key, value);
            prop_assert_ne!(forward.root(), backward.root());
            backward.add(TableId::Results, key, value);
            prop_assert_ne!(forward.root(), backward.root());
        }
    }
}
