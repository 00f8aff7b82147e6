//! The commitment to the projections that every block carries: a homomorphic hash of their rows.
//!
//! LtHash (Lewi et al., "Securing Update Propagation with Homomorphic Hashing", 2019) with 1,024 lanes of 16 bits: each row
//! is expanded to 2 KiB and added lane by lane; removing a row subtracts it. The sum depends on which rows there are and on
//! nothing else, costs the same however many there are, and can be computed afresh from a snapshot to check it. A row is
//! hashed with SHA-256, and the digest expanded by ChaCha20 (RFC 8439, section 2.4: the digest is the key, nonce and first
//! counter are zero).
//!
//! Expanding is what costs: a row that changes often in a block is expanded for its first and its last value only, which the
//! tables see to ([`crate::projection::Table`]).

use crate::digest::Sha256Digest;
use borsh::BorshSerialize;
use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::fmt;

const LANES: usize = 1_024;
const EXPANSION_BYTES: usize = LANES * 2;
const ROW_PURPOSE: &[u8] = b"pyrsia/state-row/v2\0";

/// Names the table a row is of; numbers are part of the commitment and are never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Room to encode a row in.
    row: Vec<u8>,
}

impl Default for StateSum {
    fn default() -> Self {
        Self { lanes: Box::new([0; LANES]), row: vec![] }
    }
}

impl fmt::Debug for StateSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state:{:?}", self.root())
    }
}

/// Whether a row joins the sum or leaves it.
#[derive(Clone, Copy)]
enum Sign {
    Plus,
    Minus,
}

impl StateSum {
    /// A row that had the value `before`, if it was there, has the value `after`, if it is.
    pub fn replace<K: BorshSerialize, V: BorshSerialize>(
        &mut self,
        table: TableId,
        key: &K,
        before: Option<&V>,
        after: Option<&V>,
    ) {
        let before = before.map(|value| {
            let mut row = vec![];
            encode(&mut row, table, key, value);
            row
        });
        let mut row = std::mem::take(&mut self.row);
        if let Some(value) = after {
            encode(&mut row, table, key, value);
        }
        let is_same = after.is_some() && before.as_ref() == Some(&row);
        if let Some(before) = before.filter(|_| !is_same) {
            self.expand(&before, Sign::Minus);
        }
        if after.is_some() && !is_same {
            self.expand(&row, Sign::Plus);
        }
        self.row = row;
    }

    /// Adds a row.
    pub fn add<K: BorshSerialize, V: BorshSerialize>(&mut self, table: TableId, key: &K, value: &V) {
        self.replace(table, key, None, Some(value));
    }

    fn expand(&mut self, row: &[u8], sign: Sign) {
        let seed = Sha256Digest::of(row);
        let mut expanded = [0; EXPANSION_BYTES];
        ChaCha20Rng::from_seed(*seed.as_bytes()).fill_bytes(&mut expanded);
        let (rows, _) = expanded.as_chunks::<2>();
        for (lane, row) in self.lanes.iter_mut().zip(rows) {
            let row = u16::from_le_bytes(*row);
            *lane = match sign {
                Sign::Plus => lane.wrapping_add(row),
                Sign::Minus => lane.wrapping_sub(row),
            };
        }
    }

    /// The lanes, as a snapshot keeps them.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect()
    }

    pub(crate) fn from_bytes(bytes: &[u8; EXPANSION_BYTES]) -> Self {
        let mut sum = Self::default();
        for (lane, bytes) in sum.lanes.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *lane = u16::from_le_bytes(*bytes);
        }
        sum
    }

    pub fn root(&self) -> Sha256Digest {
        Sha256Digest::of_parts(&[b"pyrsia/state/v2\0", &self.to_bytes()])
    }
}

/// What a row's digest is over: purpose, table, length of the key, key, value.
fn encode<K: BorshSerialize, V: BorshSerialize>(row: &mut Vec<u8>, table: TableId, key: &K, value: &V) {
    row.clear();
    row.extend_from_slice(ROW_PURPOSE);
    row.push(table as u8);
    let length_at = row.len();
    row.extend_from_slice(&[0; size_of::<u64>()]);
    let key_at = row.len();
    key.serialize(row).expect("writing to memory cannot fail");
    let length = (row.len() - key_at) as u64;
    row[length_at..key_at].copy_from_slice(&length.to_le_bytes());
    value.serialize(row).expect("writing to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Computed apart from this code, from the definition above.
    const EMPTY: &str = "eae6564f6f616b1f9723a4593f4824435c9723202a22c18d253f188d92375e54";
    const TWO_ROWS: &str = "fc2abf7a0c34bead69a7e5df23ca8034457f2047303b7fa8d190e870e6c40ab4";

    fn put(sum: &mut StateSum, table: TableId, key: u32, before: Option<u64>, after: Option<u64>) {
        sum.replace(table, &key, before.as_ref(), after.as_ref());
    }

    #[test]
    fn the_commitment_to_a_known_state_is_what_it_always_was() {
        let mut sum = StateSum::default();
        assert_eq!(sum.root().to_string(), EMPTY);
        for number in 0..3 {
            put(&mut sum, TableId::Authors, number, None, Some(number.into()));
        }
        put(&mut sum, TableId::Authors, 1, Some(1), None);
        assert_eq!(sum.root().to_string(), TWO_ROWS);
        let mut afresh = StateSum::default();
        afresh.add(TableId::Authors, &0u32, &0u64);
        afresh.add(TableId::Authors, &2u32, &2u64);
        assert_eq!(afresh.root(), sum.root());
        let bytes = sum.to_bytes().try_into().expect("as many as there are");
        assert_eq!(StateSum::from_bytes(&bytes).root(), sum.root());
    }

    proptest! {
        #[test]
        fn the_sum_depends_on_the_rows_and_not_on_how_they_came(rows in prop::collection::btree_map(any::<u32>(), any::<u64>(), 1..12), detour in any::<u64>()) {
            let mut forward = StateSum::default();
            for (key, value) in &rows {
                put(&mut forward, TableId::Builds, *key, None, Some(*value));
            }
            let mut backward = StateSum::default();
            for (key, value) in rows.iter().rev() {
                put(&mut backward, TableId::Builds, *key, None, Some(detour));
                put(&mut backward, TableId::Builds, *key, Some(detour), Some(*value));
            }
            prop_assert_eq!(forward.root(), backward.root());
            let (key, value) = rows.iter().next().expect("at least one");
            put(&mut backward, TableId::Builds, *key, Some(*value), None);
            prop_assert_ne!(forward.root(), backward.root());
            put(&mut backward, TableId::Results, *key, None, Some(*value));
            prop_assert_ne!(forward.root(), backward.root());
            put(&mut backward, TableId::Results, *key, Some(*value), None);
            put(&mut backward, TableId::Builds, *key, None, Some(*value));
            prop_assert_eq!(forward.root(), backward.root());
        }
    }
}
