//! The rows that a state consists of, and their share of the state root.

use crate::state_root::{StateSum, TableId};
use borsh::BorshSerialize;
use imbl::OrdMap;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;

/// How many rows are added to a sum at a stretch: about five milliseconds.
pub(super) const ROWS_BETWEEN_PAUSES: usize = 4_096;

/// An ordered map whose every change is also a change of the state root.
///
/// Values are shared, and so are texts in keys: a map that changes copies the rows beside the one that does, which are up to
/// sixty.
#[derive(Clone, Debug)]
pub struct Table<K: Ord + Clone, V: Clone> {
    id: TableId,
    rows: OrdMap<K, Arc<V>>,
    /// The rows that changed since the last settling: a row costs the state root the same, however often it changes in a block.
    changes: BTreeMap<K, Change<V>>,
}

/// What a row was at the last settling, and what it is: as here, without another search for it.
#[derive(Clone, Debug)]
struct Change<V> {
    before: Option<Arc<V>>,
    after: Option<Arc<V>>,
}

impl<K: Ord + Clone + BorshSerialize, V: Clone + BorshSerialize + Send + Sync + 'static> Table<K, V> {
    pub(super) fn new(id: TableId) -> Self {
        Self { id, rows: OrdMap::new(), changes: BTreeMap::new() }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(Arc::as_ref)
    }

    pub fn contains(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.iter().map(|(key, value)| (key, value.as_ref()))
    }

    pub fn range<R: RangeBounds<K>>(&self, range: R) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.range::<R, K>(range).map(|(key, value)| (key, value.as_ref()))
    }

    /// The newest row whose key is not above `key`.
    pub(super) fn last_up_to(&self, key: &K) -> Option<(&K, &V)> {
        self.rows.get_prev(key).map(|(key, value)| (key, value.as_ref()))
    }

    /// The oldest row whose key is not below `key`.
    pub(super) fn first_from(&self, key: &K) -> Option<(&K, &V)> {
        self.rows.get_next(key).map(|(key, value)| (key, value.as_ref()))
    }

    pub(super) fn put(&mut self, key: K, value: V) {
        let value = Arc::new(value);
        let before = self.rows.insert(key.clone(), value.clone());
        self.note(key, before, Some(value));
    }

    pub(super) fn take(&mut self, key: &K) {
        if let Some(before) = self.rows.remove(key) {
            self.note(key.clone(), Some(before), None);
        }
    }

    fn note(&mut self, key: K, before: Option<Arc<V>>, after: Option<Arc<V>>) {
        match self.changes.entry(key) {
            Entry::Vacant(place) => {
                place.insert(Change { before, after });
            }
            Entry::Occupied(change) => change.into_mut().after = after,
        }
    }

    /// Takes what changed over into the sum.
    pub(super) fn settle(&mut self, sum: &mut StateSum) {
        for (key, Change { before, after }) in std::mem::take(&mut self.changes) {
            sum.replace(self.id, &key, before.as_deref(), after.as_deref());
        }
    }

    /// Takes over rows that stand in a snapshot, each behind the one before it.
    pub(super) fn of_rows(id: TableId, rows: impl Iterator<Item = io::Result<(K, V)>>) -> io::Result<Self> {
        let rows = map_of_rows(rows.map(|row| row.map(|(key, value)| (key, Arc::new(value)))))?;
        Ok(Self { id, rows, changes: BTreeMap::new() })
    }

    /// Adds every row to a sum that begins afresh. Gives up when `pause`, called now and then, says so.
    pub(super) fn add_to(&self, sum: &mut StateSum, pause: &mut dyn FnMut() -> bool) -> Option<()> {
        for (index, (key, value)) in self.iter().enumerate() {
            if index % ROWS_BETWEEN_PAUSES == 0 && !pause() {
                return None;
            }
            sum.add(self.id, key, value);
        }
        Some(())
    }
}

/// A map of rows in ascending order. Taken in as they come they would leave every node of the map half empty; every second row
/// comes afterwards and fills them.
pub(super) fn map_of_rows<K: Ord + Clone, V: Clone>(rows: impl Iterator<Item = io::Result<(K, V)>>) -> io::Result<OrdMap<K, V>> {
    let (mut map, mut others, mut last) = (OrdMap::new(), vec![], None);
    for (number, row) in rows.enumerate() {
        let (key, value) = row?;
        if last.is_some_and(|last| last >= key) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the rows of a table are not in their order"));
        }
        last = Some(key.clone());
        if number % 2 == 0 {
            map.insert(key, value);
        } else {
            others.push((key, value));
        }
    }
    map.extend(others);
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_settled_is_the_sum_over_the_rows_that_are_there(
            changes in prop::collection::vec((0u8..8, prop::option::of(any::<u16>()), any::<bool>()), 0..60),
        ) {
            let (mut table, mut sum) = (Table::new(TableId::Authors), StateSum::default());
            for (key, value, is_end) in changes {
                match value {
                    Some(value) => table.put(key, value),
                    None => table.take(&key),
                }
                if is_end {
                    table.settle(&mut sum);
                }
            }
            table.settle(&mut sum);
            let mut afresh = StateSum::default();
            table.add_to(&mut afresh, &mut || true).expect("nobody gives up");
            prop_assert_eq!(sum.root(), afresh.root());
        }
    }
}
