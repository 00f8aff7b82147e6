//! The rows that a state consists of, and their share of the state root.

use crate::state_root::{StateSum, TableId};
use borsh::BorshSerialize;
use imbl::OrdMap;
use std::ops::RangeBounds;
use std::sync::Arc;

/// An ordered map whose every change is also a change of the state root.
///
/// Keys and values are shared: a map that changes copies the rows beside the one that does, which are up to sixty.
#[derive(Clone, Debug)]
pub struct Table<K: Ord + Clone, V: Clone> {
    id: TableId,
    rows: OrdMap<Arc<K>, Arc<V>>,
}

impl<K: Ord + Clone + BorshSerialize, V: Clone + BorshSerialize> Table<K, V> {
    pub(super) fn new(id: TableId) -> Self {
        Self { id, rows: OrdMap::new() }
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
        self.rows.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    pub fn range<R: RangeBounds<K>>(&self, range: R) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.range::<R, K>(range).map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    pub(super) fn put(&mut self, sum: &mut StateSum, key: K, value: V) {
        sum.add(self.id, &key, &value);
        let key = Arc::new(key);
        if let Some(old) = self.rows.insert(Arc::clone(&key), Arc::new(value)) {
            sum.remove(self.id, key.as_ref(), old.as_ref());
        }
    }

    pub(super) fn take(&mut self, sum: &mut StateSum, key: &K) {
        if let Some(old) = self.rows.remove(key) {
            sum.remove(self.id, key, old.as_ref());
        }
    }
}
