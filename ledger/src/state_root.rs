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

mod lanes;

use crate::digest::Sha256Digest;
use borsh::BorshSerialize;
use lanes::{LANES_BYTES, Lanes, Sign};
use std::borrow::Cow;
use std::fmt;

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
#[derive(Clone, Default)]
pub struct StateSum {
    lanes: Lanes,
    /// A row that is not in the lanes yet: two are hashed in less time than one after the other.
    waiting: Option<(Vec<u8>, Sign)>,
    /// Room to encode rows in.
    rooms: Vec<Vec<u8>>,
}

impl fmt::Debug for StateSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state:{:?}", self.root())
    }
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
        let [before, after] = [before, after].map(|value| {
            value.map(|value| {
                let mut row = self.rooms.pop().unwrap_or_default();
                encode(&mut row, table, key, value);
                row
            })
        });
        if before == after {
            self.rooms.extend(before.into_iter().chain(after));
            return;
        }
        for (row, sign) in before.map(|row| (row, Sign::Minus)).into_iter().chain(after.map(|row| (row, Sign::Plus))) {
            self.take_in(row, sign);
        }
    }

    fn take_in(&mut self, row: Vec<u8>, sign: Sign) {
        let Some((other, other_sign)) = self.waiting.take() else {
            self.waiting = Some((row, sign));
            return;
        };
        let [digest, other_digest] = Sha256Digest::of_both([[&[], &row], [&[], &other]]);
        self.lanes.add(&digest, sign);
        self.lanes.add(&other_digest, other_sign);
        self.rooms.extend([row, other]);
    }

    /// The lanes with every row in them.
    fn lanes(&self) -> Cow<'_, Lanes> {
        let Some((row, sign)) = &self.waiting else { return Cow::Borrowed(&self.lanes) };
        let mut lanes = self.lanes.clone();
        lanes.add(&Sha256Digest::of(row), *sign);
        Cow::Owned(lanes)
    }

    /// Takes in what waits: no more rows are to come for now.
    pub(crate) fn settle(&mut self) {
        if let Some((row, sign)) = self.waiting.take() {
            self.lanes.add(&Sha256Digest::of(&row), sign);
            self.rooms.push(row);
        }
    }

    /// Adds a row.
    pub fn add<K: BorshSerialize, V: BorshSerialize>(&mut self, table: TableId, key: &K, value: &V) {
        self.replace(table, key, None, Some(value));
    }

    /// The lanes, as a snapshot keeps them.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.lanes().to_bytes()
    }

    pub(crate) fn from_bytes(bytes: &[u8; LANES_BYTES]) -> Self {
        Self { lanes: Lanes::from_bytes(bytes), ..Self::default() }
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
