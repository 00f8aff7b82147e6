//! The commitment to the projections that every block carries: a homomorphic hash of their rows.
//!
//! LtHash (Lewi et al., "Securing Update Propagation with Homomorphic Hashing", 2019) with 1,024 lanes of 16 bits: each row
//! is expanded to 2 KiB and added lane by lane; removing a row subtracts it. The sum depends on which rows there are and on
//! nothing else, costs the same however many there are, and can be computed afresh from a snapshot to check it. A row is
//! hashed with SHA-256, and the digest expanded by ChaCha20 (RFC 8439, section 2.4: the digest is the key, nonce and first
//! counter are zero).
//!
//! Expanding is what costs. Changes are therefore only noted, and expanded when a block is complete: a row that changes often
//! in a block, such as the count of its author's events, is encoded, hashed and expanded for its first and its last value only.

use crate::digest::Sha256Digest;
use borsh::BorshSerialize;
use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

const LANES: usize = 1_024;
const EXPANSION_BYTES: usize = LANES * 2;
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

/// A value of any table.
trait Row: Send + Sync {
    fn encode(&self) -> Vec<u8>;
}

impl<V: BorshSerialize + Send + Sync> Row for V {
    fn encode(&self) -> Vec<u8> {
        encoded(self)
    }
}

/// What a row was when it was settled last, and what it is.
#[derive(Clone)]
struct Change {
    before: Option<Arc<dyn Row>>,
    after: Option<Arc<dyn Row>>,
}

/// The sum over all rows.
#[derive(Clone)]
pub struct StateSum {
    lanes: Box<[u16; LANES]>,
    /// By table and encoded key.
    noted: BTreeMap<(TableId, Vec<u8>), Change>,
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

/// Whether a row joins the sum or leaves it.
#[derive(Clone, Copy)]
enum Sign {
    Plus,
    Minus,
}

impl StateSum {
    /// Notes that a row changed: it had the value `before`, if it was there, and has the value `after`, if it is.
    pub fn change<K, V>(&mut self, table: TableId, key: &K, before: Option<Arc<V>>, after: Option<Arc<V>>)
    where
        K: BorshSerialize,
        V: BorshSerialize + Send + Sync + 'static,
    {
        let after = after.map(|value| value as Arc<dyn Row>);
        let change = self.noted.entry((table, encoded(key))).or_insert_with(|| {
            let before = before.map(|value| value as Arc<dyn Row>);
            Change { before, after: None }
        });
        change.after = after;
    }

    /// Adds a row at once, as when all rows are summed up afresh.
    pub fn add<K: BorshSerialize, V: BorshSerialize>(&mut self, table: TableId, key: &K, value: &V) {
        self.expand(table, &encoded(key), &encoded(value), Sign::Plus);
    }

    fn expand(&mut self, table: TableId, key: &[u8], value: &[u8], sign: Sign) {
        let key_length = (key.len() as u64).to_le_bytes();
        let seed = Sha256Digest::of_parts(&[b"pyrsia/state-row/v2\0", &[table as u8], &key_length, key, value]);
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

    /// Expands what is noted. Changes no root, only what the next ones cost.
    pub fn settle(&mut self) {
        for ((table, key), change) in std::mem::take(&mut self.noted) {
            let (before, after) = (change.before.map(|row| row.encode()), change.after.map(|row| row.encode()));
            if before == after {
                continue;
            }
            if let Some(value) = before {
                self.expand(table, &key, &value, Sign::Minus);
            }
            if let Some(value) = after {
                self.expand(table, &key, &value, Sign::Plus);
            }
        }
    }

    /// The lanes of a settled sum, as a snapshot keeps them.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut settled = self.clone();
        settled.settle();
        settled.lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect()
    }

    pub(crate) fn from_bytes(bytes: &[u8; EXPANSION_BYTES]) -> Self {
        let mut sum = Self::default();
        for (lane, bytes) in sum.lanes.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *lane = u16::from_le_bytes(*bytes);
        }
        sum
    }

    pub fn root(&self) -> Sha256Digest {
        if !self.noted.is_empty() {
            let mut settled = self.clone();
            settled.settle();
            return settled.root();
        }
        let bytes: Vec<u8> = self.lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect();
        Sha256Digest::of_parts(&[b"pyrsia/state/v2\0", &bytes])
    }
}

fn encoded<T: BorshSerialize>(value: &T) -> Vec<u8> {
    borsh::to_vec(value).expect("writing to memory cannot fail")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Computed apart from this code, from the definition above.
    const EMPTY: &str = "eae6564f6f616b1f9723a4593f4824435c9723202a22c18d253f188d92375e54";
    const TWO_ROWS: &str = "fc2abf7a0c34bead69a7e5df23ca8034457f2047303b7fa8d190e870e6c40ab4";

    fn put(sum: &mut StateSum, table: TableId, key: u32, before: Option<u64>, after: Option<u64>) {
        sum.change(table, &key, before.map(Arc::new), after.map(Arc::new));
    }

    #[test]
    fn the_commitment_to_a_known_state_is_what_it_always_was() {
        let mut sum = StateSum::default();
        assert_eq!(sum.root().to_string(), EMPTY);
        for number in 0..3 {
            put(&mut sum, TableId::Authors, number, None, Some(number.into()));
        }
        sum.settle();
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
                if detour.is_multiple_of(2) {
                    backward.settle();
                }
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
