//! The commitment to the projections that every block carries: a homomorphic hash of their rows.
//!
//! LtHash (Lewi et al., "Securing Update Propagation with Homomorphic Hashing", 2019) with 1,024 lanes of 16 bits: each row
//! is expanded to 2 KiB and added lane by lane; removing a row subtracts it. The sum depends on which rows there are and on
//! nothing else, costs the same however many there are, and can be computed afresh from a snapshot to check it. The
//! expansion is MGF1 with SHA-256 (RFC 8017, appendix B.2.1).
//!
//! Expanding is what costs. Changes are therefore noted by their seeds and expanded when a block is complete: a row that
//! changes often in a block, such as the count of its author's events, is expanded for its first and its last value only.

use crate::digest::Sha256Digest;
use borsh::BorshSerialize;
use sha2::block_api::compress256;
use std::collections::BTreeMap;
use std::fmt;

const LANES: usize = 1_024;
const EXPANSION_BLOCKS: u32 = (LANES * 2 / 32) as u32;
/// Where SHA-256 begins (FIPS 180-4, section 5.3.3).
const INITIAL_HASH: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

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
    Commitments = 10,
    Vouches = 11,
    Disputes = 12,
    AtRisk = 13,
    Tallies = 14,
    Revocations = 15,
    Former = 16,
    Suspended = 17,
    Sources = 18,
}

/// The sum over all rows.
#[derive(Clone)]
pub struct StateSum {
    lanes: Box<[u16; LANES]>,
    /// How often the row with this seed is to be added; below zero, removed.
    noted: BTreeMap<Sha256Digest, i32>,
}

impl Default for StateSum {
    fn default() -> Self {
        Self { lanes: Box::new([0; LANES]), noted: BTreeMap::new() }
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
        self.note(row_seed(table, key, value), 1);
    }

    pub fn remove<K: BorshSerialize, V: BorshSerialize>(&mut self, table: TableId, key: &K, value: &V) {
        self.note(row_seed(table, key, value), -1);
    }

    fn note(&mut self, seed: Sha256Digest, times: i32) {
        let noted = self.noted.entry(seed).or_default();
        *noted += times;
        if *noted == 0 {
            self.noted.remove(&seed);
        }
    }

    /// Expands what is noted. Changes no root, only what the next ones cost.
    pub fn settle(&mut self) {
        for (seed, times) in std::mem::take(&mut self.noted) {
            // A seed and a counter fill one block of SHA-256 together with its padding (FIPS 180-4, section 5.1.1), so that
            // the compression function can be called on it as it is: half the time of a hash that does not know its length.
            let mut block = [0; 64];
            block[..32].copy_from_slice(seed.as_bytes());
            block[36] = 0x80;
            block[56..].copy_from_slice(&(36 * 8u64).to_be_bytes());
            for (counter, lanes) in (0..EXPANSION_BLOCKS).zip(self.lanes.chunks_exact_mut(16)) {
                block[32..36].copy_from_slice(&counter.to_be_bytes());
                let mut hash = INITIAL_HASH;
                compress256(&mut hash, &[block]);
                for (word, lanes) in hash.iter().zip(lanes.chunks_exact_mut(2)) {
                    let [a, b, c, d] = word.to_be_bytes();
                    for (lane, row) in lanes.iter_mut().zip([u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]) {
                        *lane = lane.wrapping_add(row.wrapping_mul(times as u16));
                    }
                }
            }
        }
    }

    pub fn root(&self) -> Sha256Digest {
        if !self.noted.is_empty() {
            let mut settled = self.clone();
            settled.settle();
            return settled.root();
        }
        let bytes: Vec<u8> = self.lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect();
        Sha256Digest::of_parts(&[b"pyrsia/state/v1\0", &bytes])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Computed apart from this code, from the definition above.
    const EMPTY: &str = "1a74436d32b7af124f26c33b83a8cfa2a2dbf8acd9713f34a84034fdf344f1da";
    const TWO_ROWS: &str = "97a40c98be2ffc1b30efa003e4096d1c52fa0ab0ecb98b3f3375fa977998b74d";

    #[test]
    fn the_commitment_to_a_known_state_is_what_it_always_was() {
        let mut sum = StateSum::default();
        assert_eq!(sum.root().to_string(), EMPTY);
        for number in 0u32..3 {
            sum.add(TableId::Authors, &number, &u64::from(number));
        }
        sum.remove(TableId::Authors, &1u32, &1u64);
        assert_eq!(sum.root().to_string(), TWO_ROWS);
    }

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
                if detour % 2 == 0 {
                    backward.settle();
                }
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
