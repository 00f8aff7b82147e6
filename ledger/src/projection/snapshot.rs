//! A state as bytes that it can be had again from, without its blocks.
//!
//! Rows go out table by table in frames of about a MiB, so that neither writing nor reading holds more than one of them beside
//! the state itself. What follows from other rows and no order of events is not written. The bytes are no part of any
//! commitment and change with [`SNAPSHOT_SCHEMA`]; what was read must be compared with a header's state root.

use super::{Projections, Table};
use crate::block::{BlockHash, Height};
use crate::state_root::{StateSum, TableId};
use crate::tree::Frontier;
use borsh::{BorshDeserialize, BorshSerialize};
use imbl::Vector;
use std::io::{self, Read, Write};

/// Which rows a snapshot has and how they are encoded. Another number is another file, which this code does not read.
pub const SNAPSHOT_SCHEMA: u32 = 3;
/// How many bytes of rows make a frame, unless one row has more.
const FRAME_BYTES: usize = 1 << 20;
/// The longest frame that is read: a row is at most one event and what judges said of it.
const FRAME_BYTES_MAX: usize = 1 << 26;

pub(super) fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Writes rows in frames, each behind its length.
pub(super) struct RowWriter<'a> {
    out: &'a mut dyn Write,
    frame: Vec<u8>,
}

impl RowWriter<'_> {
    pub(super) fn value(&mut self, value: &impl BorshSerialize) -> io::Result<()> {
        value.serialize(&mut self.frame)?;
        if self.frame.len() < FRAME_BYTES { Ok(()) } else { self.end_frame() }
    }

    /// Writes what waits for its frame; a frame is never empty.
    fn end_frame(&mut self) -> io::Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let length = u32::try_from(self.frame.len()).map_err(|_| malformed("a row is too large"))?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&self.frame)?;
        self.frame.clear();
        Ok(())
    }

    pub(super) fn rows<'r, K, V>(&mut self, count: usize, rows: impl Iterator<Item = (&'r K, &'r V)>) -> io::Result<()>
    where
        K: BorshSerialize + 'r,
        V: BorshSerialize + 'r,
    {
        self.value(&(count as u64))?;
        rows.into_iter().try_for_each(|row| self.value(&row))
    }

    pub(super) fn table<K, V>(&mut self, table: &Table<K, V>) -> io::Result<()>
    where
        K: Ord + Clone + BorshSerialize,
        V: Clone + BorshSerialize + Send + Sync + 'static,
    {
        self.rows(table.len(), table.iter())
    }
}

/// Reads what [`RowWriter`] wrote.
pub(super) struct RowReader<'a> {
    input: &'a mut dyn Read,
    frame: Vec<u8>,
    at: usize,
}

impl RowReader<'_> {
    pub(super) fn value<T: BorshDeserialize>(&mut self) -> io::Result<T> {
        if self.at == self.frame.len() {
            self.next_frame()?;
        }
        let mut rest = &self.frame[self.at..];
        let value = T::deserialize(&mut rest)?;
        self.at = self.frame.len() - rest.len();
        Ok(value)
    }

    fn next_frame(&mut self) -> io::Result<()> {
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length == 0 || length > FRAME_BYTES_MAX {
            return Err(malformed("a frame is empty or too large"));
        }
        self.frame.resize(length, 0);
        self.input.read_exact(&mut self.frame)?;
        self.at = 0;
        Ok(())
    }

    /// As many rows as were counted when they were written, each read by `row`.
    pub(super) fn rows<T>(
        &mut self,
        mut row: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> io::Result<impl Iterator<Item = io::Result<T>>> {
        let count: u64 = self.value()?;
        Ok((0..count).map(move |_| row(self)))
    }

    pub(super) fn table<K, V>(&mut self, id: TableId) -> io::Result<Table<K, V>>
    where
        K: Ord + Clone + BorshSerialize + BorshDeserialize,
        V: Clone + BorshSerialize + BorshDeserialize + Send + Sync + 'static,
    {
        Table::of_rows(id, self.rows(Self::value)?)
    }
}

impl Projections {
    /// Writes the state. The hashes of recent blocks are left out: they stand in the log.
    pub fn write_snapshot(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut rows = RowWriter { out, frame: vec![] };
        rows.value(&(&self.network, &self.name, &self.founder, self.height, self.tip, self.time_ms))?;
        rows.value(&self.frontier)?;
        rows.value(&self.sum.to_bytes())?;
        rows.table(&self.authors)?;
        self.members.save(&mut rows)?;
        self.verifiers.save(&mut rows)?;
        self.builds.save(&mut rows)?;
        self.packages.save(&self.builds, &mut rows)?;
        rows.end_frame()
    }

    /// Reads a state. `recent` gives the hashes of the newest blocks up to a height, newest last.
    pub fn read_snapshot(input: &mut dyn Read, recent: impl FnOnce(Height) -> io::Result<Vec<BlockHash>>) -> io::Result<Self> {
        let mut rows = RowReader { input, frame: vec![], at: 0 };
        let (network, name, founder, height, tip, time_ms) = rows.value()?;
        let frontier: Frontier = rows.value()?;
        let lanes: Vec<u8> = rows.value()?;
        let lanes = lanes.as_slice().try_into().map_err(|_| malformed("the sum has another length"))?;
        let recent = Vector::from(recent(height)?);
        if recent.last() != Some(&tip) {
            return Err(malformed("its block is not in the log"));
        }
        let authors = rows.table(TableId::Authors)?;
        let members = super::Members::load(&mut rows)?;
        let verifiers = super::Verifiers::load(&mut rows)?;
        let mut builds = super::Builds::load(&mut rows)?;
        let packages = super::Packages::load(&builds, &mut rows)?;
        builds.pend(&packages);
        let state = Self {
            network,
            name,
            founder,
            height,
            tip,
            time_ms,
            frontier,
            sum: StateSum::from_bytes(lanes),
            recent,
            authors,
            members,
            verifiers,
            builds,
            packages,
        };
        if rows.at == rows.frame.len() { Ok(state) } else { Err(malformed("something follows the last table")) }
    }

    /// The state root by the rows alone, summed up afresh; none when `pause`, called between slices, says to give up.
    pub fn rows_root(&self, pause: &mut dyn FnMut() -> bool) -> Option<crate::digest::Sha256Digest> {
        let mut sum = StateSum::default();
        self.authors.add_to(&mut sum, pause)?;
        self.members.add_to(&mut sum, pause)?;
        self.verifiers.add_to(&mut sum, pause)?;
        self.builds.add_to(&mut sum, pause)?;
        self.packages.add_to(&mut sum, pause)?;
        Some(sum.root())
    }
}

/// Whether a state reads back from its snapshot to the last field, and its rows add up to its root.
#[cfg(test)]
pub(super) fn check_round_trip(state: &Projections) {
    let mut bytes = vec![];
    state.write_snapshot(&mut bytes).expect("writes");
    let recent: Vec<BlockHash> = state.recent.iter().copied().collect();
    let again = Projections::read_snapshot(&mut bytes.as_slice(), |_| Ok(recent.clone())).expect("reads");
    assert_eq!(format!("{again:?}"), format!("{state:?}"));
    assert_eq!(state.rows_root(&mut || true), Some(state.state_root()));
    bytes.push(0);
    let cut = &bytes[..bytes.len() / 2];
    assert!(Projections::read_snapshot(&mut &*cut, |_| Ok(recent.clone())).is_err());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_back_whether_or_not_the_last_one_fills_a_frame() {
        for length in [1, FRAME_BYTES - 5, FRAME_BYTES - 4, FRAME_BYTES - 3, 2 * FRAME_BYTES] {
            let (mut bytes, row) = (vec![], vec![7u8; length]);
            let mut rows = RowWriter { out: &mut bytes, frame: vec![] };
            rows.value(&1u8).and_then(|()| rows.end_frame()).expect("writes");
            rows.value(&row).and_then(|()| rows.end_frame()).expect("writes");
            let mut input = bytes.as_slice();
            let mut reader = RowReader { input: &mut input, frame: vec![], at: 0 };
            assert_eq!(reader.value::<u8>().expect("reads"), 1);
            assert!(reader.value::<Vec<u8>>().expect("reads") == row, "a row of {length} bytes");
            assert_eq!(reader.at, reader.frame.len());
            assert!(input.is_empty(), "nothing follows a last row of {length} bytes, which takes four more");
        }
    }
}
