//! Which blocks have something to do with what: the index that a search goes by.
//!
//! Derived from the blocks and written with them, one row for each term ([`crate::search`]) of a block. It is no part of the state and of no
//! commitment: a row leads to a block, and the block is what answers.
//!
//! ```text
//! term (7), height (5, be)  -> nothing
//! 0x00, in front of all     -> schema (1), height of the block to come (8, be), number of rows (8, be), sum over them (8, be)
//! ```

use super::LogError;
use crate::block::{Height, SealedBlock};
use crate::digest::Sha256Digest;
use crate::search::{TERM_BYTES, Term, terms_of};
use fjall::config::{CompressionPolicy, FilterPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch};

pub(super) const TERMS: &str = "terms";
/// The row that says how far the index goes.
const SUMMARY: [u8; 1] = [0];
/// Which terms there are and how they are written; with another number the index is made again.
const SCHEMA: u8 = 1;
/// A log of 2^40 blocks would be a hundred thousand years of one block for each second.
const HEIGHT_BYTES: usize = 5;
const KEY_BYTES: usize = TERM_BYTES + HEIGHT_BYTES;

/// The rows of the index; a cheap clone, good on every thread.
#[derive(Clone)]
pub(super) struct Terms {
    rows: Keyspace,
}

/// What the index has to have, so that a row that is lost, or another one, is noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TermsSummary {
    next: Height,
    rows: u64,
    sum: u64,
}

impl TermsSummary {
    fn add(&mut self, key: &[u8]) {
        let digest = Sha256Digest::of(key);
        let first = digest.as_bytes().first_chunk().expect("a digest has 32 bytes");
        self.rows += 1;
        self.sum = self.sum.wrapping_add(u64::from_be_bytes(*first));
    }

    fn encode(&self) -> Vec<u8> {
        let numbers = [self.next.0, self.rows, self.sum];
        [SCHEMA].into_iter().chain(numbers.into_iter().flat_map(u64::to_be_bytes)).collect()
    }

    /// None for a row of another schema.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let numbers = bytes.strip_prefix(&[SCHEMA])?;
        let (numbers, []) = numbers.as_chunks::<8>() else { return None };
        let [next, rows, sum] = <[[u8; 8]; 3]>::try_from(numbers).ok()?.map(u64::from_be_bytes);
        Some(Self { next: Height(next), rows, sum })
    }

    /// The height of the block to come.
    pub(super) const fn next(&self) -> Height {
        self.next
    }
}

fn key(term: &Term, height: Height) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..TERM_BYTES].copy_from_slice(term.as_bytes());
    key[TERM_BYTES..].copy_from_slice(&height.0.min((1 << (8 * HEIGHT_BYTES)) - 1).to_be_bytes()[8 - HEIGHT_BYTES..]);
    key
}

fn height_of(key: &[u8]) -> Option<Height> {
    let mut height = [0; 8];
    height[8 - HEIGHT_BYTES..].copy_from_slice(key.get(TERM_BYTES..).filter(|bytes| bytes.len() == HEIGHT_BYTES)?);
    Some(Height(u64::from_be_bytes(height)))
}

impl Terms {
    pub(super) fn open(database: &Database, memtable_bytes: u64) -> Result<Self, fjall::Error> {
        // The rows are short and all different, and nobody asks for a single one.
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(memtable_bytes)
                .filter_policy(FilterPolicy::disabled())
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        };
        Ok(Self { rows: database.keyspace(TERMS, options)? })
    }

    /// What the index says of itself; none where there is no index, or one of another schema.
    pub(super) fn summary(&self) -> Result<Option<TermsSummary>, LogError> {
        Ok(self.rows.get(SUMMARY)?.and_then(|bytes| TermsSummary::decode(&bytes)))
    }

    /// Adds the rows of a block, which follows the ones before, to a batch.
    pub(super) fn write(&self, summary: &mut TermsSummary, batch: &mut OwnedWriteBatch, sealed: &SealedBlock) {
        for term in terms_of(sealed) {
            let key = key(&term, sealed.height());
            summary.add(&key);
            batch.insert(&self.rows, key, []);
        }
        summary.next = sealed.height().next();
    }

    pub(super) fn write_summary(&self, summary: &TermsSummary, batch: &mut OwnedWriteBatch) {
        batch.insert(&self.rows, SUMMARY, summary.encode());
    }

    pub(super) fn clear(&self) -> Result<(), fjall::Error> {
        self.rows.clear()
    }

    /// The newest block at `height` or below it that has the term.
    pub(super) fn at_or_below(&self, term: &Term, height: Height) -> Result<Option<Height>, LogError> {
        let row = self.rows.range(key(term, Height::GENESIS)..=key(term, height)).next_back();
        Ok(row.map(|row| row.key()).transpose()?.and_then(|key| height_of(&key)))
    }

    /// The oldest block at `height` or above it that has the term.
    pub(super) fn at_or_above(&self, term: &Term, height: Height) -> Result<Option<Height>, LogError> {
        let row = self.rows.range(key(term, height)..=key(term, Height(u64::MAX))).next();
        Ok(row.map(|row| row.key()).transpose()?.and_then(|key| height_of(&key)))
    }

    /// Every block from `from` to `to` that has the term, the oldest first.
    pub(super) fn between(&self, term: &Term, from: Height, to: Height) -> impl Iterator<Item = Result<Height, LogError>> {
        let rows = self.rows.range(key(term, from)..=key(term, to));
        rows.filter_map(|row| row.key().map(|key| height_of(&key)).transpose()).map(|row| Ok(row?))
    }

    /// Whether the rows are those that were written, as they all are at one moment; what is wrong, in words. `step` is told after each row
    /// and says whether to go on; false when it did not.
    pub(super) fn check(&self, found: &mut dyn FnMut(&str), step: &mut dyn FnMut(usize) -> bool) -> bool {
        let (mut stated, mut there) = (None, TermsSummary::default());
        for row in self.rows.iter() {
            match row.into_inner() {
                Ok((key, value)) if *key == SUMMARY => stated = TermsSummary::decode(&value),
                Ok((key, _)) => there.add(&key),
                Err(error) => {
                    found(&format!("the index for searches cannot be read: {error}"));
                    return true;
                }
            }
            if !step(1) {
                return false;
            }
        }
        match stated {
            Some(stated) if (stated.rows, stated.sum) == (there.rows, there.sum) => {}
            Some(stated) if stated.rows != there.rows => {
                found(&format!("the index for searches has {} entries in place of {}", there.rows, stated.rows));
            }
            Some(_) => found("the index for searches has other entries than those that were written"),
            None => found("the index for searches does not say how far it goes"),
        }
        true
    }
}

#[cfg(test)]
impl Terms {
    /// Loses the first row behind the summary.
    pub(super) fn forget_one(&self) -> Result<(), fjall::Error> {
        let row = self.rows.range([1]..).next().expect("a row").key()?;
        self.rows.remove(row)
    }

    /// Has a row that no block has in the place of the first one.
    pub(super) fn replace_one(&self) -> Result<(), fjall::Error> {
        self.forget_one()?;
        self.rows.insert([b'x'; KEY_BYTES], [])
    }

    /// As in a log that was written before there was this index.
    pub(super) fn forget_summary(&self) -> Result<(), fjall::Error> {
        self.rows.remove(SUMMARY)
    }
}
