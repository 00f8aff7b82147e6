//! What each judge said of a build: a row for each of both, kept build by build, because who looks at one looks at the others too.

use crate::coordinate::BuildId;
use crate::identity::NodeId;
use crate::projection::snapshot::{RowReader, RowWriter, malformed};
use crate::projection::table::{ROWS_BETWEEN_PAUSES, map_of_rows};
use crate::state_root::{StateSum, TableId};
use borsh::{BorshDeserialize, BorshSerialize};
use imbl::OrdMap;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// The judges in ascending order.
type OfBuild<V> = Vec<(NodeId, V)>;

/// Rows that are added and replaced, and never taken away. Every change is also one of the state root.
#[derive(Clone, Debug)]
pub(super) struct Statements<V: Clone> {
    id: TableId,
    builds: OrdMap<BuildId, Arc<OfBuild<V>>>,
    rows: usize,
    /// The builds of which something was said since the last settling, with what stood there then.
    changes: BTreeMap<BuildId, Option<Arc<OfBuild<V>>>>,
}

impl<V: Clone + PartialEq + BorshSerialize> Statements<V> {
    pub(super) fn new(id: TableId) -> Self {
        Self { id, builds: OrdMap::new(), rows: 0, changes: BTreeMap::new() }
    }

    /// What was said of a build, judge by judge.
    pub(super) fn of(&self, build: &BuildId) -> &[(NodeId, V)] {
        self.builds.get(build).map_or(&[], |said| said.as_slice())
    }

    pub(super) fn get(&self, build: &BuildId, judge: &NodeId) -> Option<&V> {
        by(self.of(build), judge)
    }

    pub(super) fn contains(&self, build: &BuildId, judge: &NodeId) -> bool {
        self.get(build, judge).is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.rows
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = ((&BuildId, &NodeId), &V)> {
        let rows = |(build, said)| <[(NodeId, V)]>::iter(said).map(move |(judge, value)| ((build, judge), value));
        self.builds.iter().map(|(build, said)| (build, said.as_slice())).flat_map(rows)
    }

    pub(super) fn put(&mut self, build: BuildId, judge: NodeId, value: V) {
        let Some(said) = self.builds.get_mut(&build) else {
            self.builds.insert(build, Arc::new(vec![(judge, value)]));
            self.changes.entry(build).or_insert(None);
            self.rows += 1;
            return;
        };
        self.changes.entry(build).or_insert_with(|| Some(said.clone()));
        let said = Arc::make_mut(said);
        match said.binary_search_by(|(other, _)| other.cmp(&judge)) {
            Ok(at) => said[at].1 = value,
            Err(at) => {
                // Most builds have few judges, and a ledger many builds.
                said.reserve_exact(1);
                said.insert(at, (judge, value));
                self.rows += 1;
            }
        }
    }

    /// Takes what changed over into the sum.
    pub(super) fn settle(&mut self, sum: &mut StateSum) {
        for (build, before) in std::mem::take(&mut self.changes) {
            let before = before.as_ref().map_or(&[][..], |said| said.as_slice());
            for (judge, value) in self.of(&build) {
                let was = by(before, judge);
                if was != Some(value) {
                    sum.replace(self.id, &(build, judge), was, Some(value));
                }
            }
        }
    }

    /// Adds every row to a sum that begins afresh. Gives up when `pause`, called now and then, says so.
    pub(super) fn add_to(&self, sum: &mut StateSum, pause: &mut dyn FnMut() -> bool) -> Option<()> {
        for (index, (key, value)) in self.iter().enumerate() {
            if index % ROWS_BETWEEN_PAUSES == 0 && !pause() {
                return None;
            }
            sum.add(self.id, &key, value);
        }
        Some(())
    }

    pub(super) fn save(&self, out: &mut RowWriter<'_>) -> io::Result<()> {
        out.value(&(self.rows as u64))?;
        self.iter().try_for_each(|row| out.value(&row))
    }

    pub(super) fn load(id: TableId, rows: &mut RowReader<'_>) -> io::Result<Self>
    where
        V: BorshDeserialize,
    {
        let rows = rows.rows(RowReader::value)?;
        Self::of_rows(id, rows)
    }

    /// Takes over rows that stand in a snapshot, each behind the one before it.
    pub(super) fn of_rows(id: TableId, rows: impl Iterator<Item = io::Result<((BuildId, NodeId), V)>>) -> io::Result<Self> {
        let (mut rows, mut count) = (rows.peekable(), 0);
        let builds = std::iter::from_fn(|| {
            let ((build, judge), value) = match rows.next()? {
                Ok(row) => row,
                Err(error) => return Some(Err(error)),
            };
            let mut said = vec![(judge, value)];
            while let Some(Ok(((_, judge), value))) = rows.next_if(|row| matches!(row, Ok(((other, _), _)) if *other == build)) {
                said.push((judge, value));
            }
            said.shrink_to_fit();
            count += said.len();
            let is_in_order = said.is_sorted_by(|(judge, _), (next, _)| judge < next);
            let said = is_in_order.then(|| (build, Arc::new(said)));
            Some(said.ok_or_else(|| malformed("the judges of a build are not in their order")))
        });
        let builds = map_of_rows(builds)?;
        Ok(Self { id, builds, rows: count, changes: BTreeMap::new() })
    }
}

/// What `judge` said, of what was said of a build.
pub(super) fn by<'a, V>(said: &'a [(NodeId, V)], judge: &NodeId) -> Option<&'a V> {
    said.binary_search_by(|(other, _)| other.cmp(judge)).ok().map(|at| &said[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::Table;
    use crate::signed::NetworkId;
    use crate::{PackageCoordinate, Sha256Digest};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_kept_build_by_build_are_those_of_a_plain_table(
            said in prop::collection::vec((0u32..4, 0u8..5, any::<u16>(), any::<bool>(), any::<bool>()), 0..60),
        ) {
            let coordinate = PackageCoordinate::new("docker", "alpine").expect("a coordinate");
            let network = NetworkId::new(Sha256Digest::of(b"network"));
            let (mut plain, mut plain_sum) = (Table::new(TableId::Results), StateSum::default());
            let (mut statements, mut sum) = (Statements::new(TableId::Results), StateSum::default());
            let mut kept = vec![];
            for (build, judge, value, is_end, is_kept) in said {
                let (build, judge) = (BuildId::of(&network, &coordinate, build), NodeId::from_public_key([judge; 32]));
                plain.put((build, judge), value);
                statements.put(build, judge, value);
                prop_assert_eq!(statements.get(&build, &judge), Some(&value));
                if is_end {
                    plain.settle(&mut plain_sum);
                    statements.settle(&mut sum);
                    prop_assert_eq!(sum.root(), plain_sum.root());
                }
                if is_kept {
                    kept.push((statements.clone(), format!("{statements:?}")));
                }
            }
            plain.settle(&mut plain_sum);
            statements.settle(&mut sum);
            prop_assert_eq!(sum.root(), plain_sum.root());
            let mut afresh = StateSum::default();
            statements.add_to(&mut afresh, &mut || true).expect("nobody gives up");
            prop_assert_eq!(afresh.root(), plain_sum.root());
            prop_assert_eq!(statements.len(), plain.len());
            let rows: Vec<_> = statements.iter().map(|((build, judge), value)| ((*build, *judge), *value)).collect();
            prop_assert_eq!(&rows, &plain.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>());
            let read = |rows: &[((BuildId, NodeId), u16)]| Statements::of_rows(TableId::Results, rows.iter().copied().map(Ok));
            prop_assert_eq!(format!("{:?}", read(&rows).expect("reads")), format!("{statements:?}"));
            let backwards: Vec<_> = rows.iter().rev().copied().collect();
            prop_assert_eq!(read(&backwards).is_ok(), rows.len() < 2);
            for (earlier, shown) in kept {
                prop_assert_eq!(format!("{earlier:?}"), shown, "what is kept does not change with what is said later");
            }
        }
    }
}
