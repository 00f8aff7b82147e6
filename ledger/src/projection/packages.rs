//! What is published: the log records of every package, and which record stands for an artifact id.

mod rows;

use super::{Place, Table};
use crate::block::Height;
use crate::coordinate::{ArtifactId, BuildId, PackageCoordinate, PackageId, PackageType};
use crate::digest::Sha256Digest;
use crate::event::BuiltArtifact;
use crate::identity::NodeId;
use crate::signed::EventId;
use crate::state_root::{StateSum, TableId};
use borsh::{BorshDeserialize, BorshSerialize};
use imbl::OrdMap;
use serde::Serialize;

/// A record's place in the log of its package: in the order of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize)]
pub struct RecordKey {
    pub coordinate: PackageCoordinate,
    pub position: u32,
}

/// One `AddArtifact` as it stands on the ledger.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct ArtifactRecord {
    pub event: EventId,
    pub height: Height,
    pub time_ms: u64,
    pub build_id: BuildId,
    /// The judge that added it.
    pub author: NodeId,
    pub artifact: BuiltArtifact,
}

#[derive(Clone, Debug)]
pub struct Packages {
    records: Table<RecordKey, ArtifactRecord>,
    /// The newest completely published record of each artifact id.
    artifacts: Table<(PackageType, ArtifactId), RecordKey>,
    /// Some record of each published digest; follows from the order in which `artifacts` came to be.
    by_digest: OrdMap<Sha256Digest, RecordKey>,
}

impl Packages {
    pub(super) fn new() -> Self {
        Self { records: Table::new(TableId::Records), artifacts: Table::new(TableId::Artifacts), by_digest: OrdMap::new() }
    }

    pub(super) fn add_to(&self, sum: &mut StateSum, pause: &mut dyn FnMut() -> bool) -> Option<()> {
        self.records.add_to(sum, pause)?;
        self.artifacts.add_to(sum, pause)
    }

    pub(super) fn settle(&mut self, sum: &mut StateSum) {
        self.records.settle(sum);
        self.artifacts.settle(sum);
    }

    /// Every record of a package, oldest first, of builds that are completely published and of the one being published.
    pub fn records<'a>(&'a self, coordinate: &'a PackageCoordinate) -> impl DoubleEndedIterator<Item = &'a ArtifactRecord> {
        let first = RecordKey { coordinate: coordinate.clone(), position: 0 };
        let last = RecordKey { coordinate: coordinate.clone(), position: u32::MAX };
        self.records.range(first..=last).map(|(_, record)| record)
    }

    /// The record that vouches for an artifact id.
    pub fn artifact(&self, package_type: &PackageType, id: &ArtifactId) -> Option<(&PackageCoordinate, &ArtifactRecord)> {
        self.record(self.artifacts.get(&(package_type.clone(), id.clone()))?)
    }

    /// A record that vouches for these bytes.
    pub fn digest(&self, sha256: &Sha256Digest) -> Option<(&PackageCoordinate, &ArtifactRecord)> {
        self.record(self.by_digest.get(sha256)?)
    }

    /// Every published digest with a record that vouches for it, in ascending order.
    pub fn digests(&self) -> impl Iterator<Item = (&Sha256Digest, &ArtifactRecord)> {
        self.by_digest.iter().filter_map(|(sha256, key)| Some((sha256, self.records.get(key)?)))
    }

    fn record<'a>(&'a self, key: &'a RecordKey) -> Option<(&'a PackageCoordinate, &'a ArtifactRecord)> {
        self.records.get(key).map(|record| (&key.coordinate, record))
    }

    /// Artifact ids of a type, in ascending order, from `from` on.
    pub fn artifact_ids(&self, package_type: &PackageType, from: &ArtifactId) -> impl Iterator<Item = &ArtifactId> {
        let package_type = package_type.clone();
        let first = (package_type.clone(), from.clone());
        self.artifacts.range(first..).take_while(move |((found, _), _)| *found == package_type).map(|((_, id), _)| id)
    }

    /// Every record that vouches for its artifact id, of the packages whose id begins with `prefix`, in ascending order of package and artifact id.
    pub fn published_with_prefix<'a>(
        &'a self,
        package_type: &'a PackageType,
        prefix: &'a PackageId,
    ) -> impl Iterator<Item = (&'a PackageCoordinate, &'a ArtifactRecord)> {
        let coordinate = PackageCoordinate { package_type: package_type.clone(), id: prefix.clone() };
        let first = RecordKey { coordinate, position: 0 };
        let has_prefix = move |key: &RecordKey| {
            key.coordinate.package_type == *package_type && key.coordinate.id.as_str().starts_with(prefix.as_str())
        };
        let mut rest = self.records.range(first..).take_while(move |(key, _)| has_prefix(key)).peekable();
        std::iter::from_fn(move || {
            let (key, record) = rest.next()?;
            let mut of_package = vec![(key, record)];
            while let Some(next) = rest.next_if(|(next, _)| next.coordinate == key.coordinate) {
                of_package.push(next);
            }
            let vouches = |key: &RecordKey, record: &ArtifactRecord| {
                let id = (package_type.clone(), record.artifact.artifact_id.clone());
                self.artifacts.get(&id) == Some(key)
            };
            of_package.retain(|(key, record)| vouches(key, record));
            of_package.sort_by(|(_, a), (_, b)| a.artifact.artifact_id.cmp(&b.artifact.artifact_id));
            Some(of_package.into_iter().map(|(key, record)| (&key.coordinate, record)))
        })
        .flatten()
    }

    pub fn artifact_count(&self) -> usize {
        self.artifacts.len()
    }

    /// Where the next record of a package stands.
    fn next_position(&self, coordinate: &PackageCoordinate) -> u32 {
        let last = RecordKey { coordinate: coordinate.clone(), position: u32::MAX };
        let newest = self.records.last_up_to(&last).filter(|(key, _)| key.coordinate == *coordinate);
        newest.map_or(0, |(key, _)| key.position + 1)
    }

    /// Adds a record, at `position` where that is known without a search; with the last one of a build, all of them begin to vouch for
    /// their artifact ids.
    pub(super) fn add(
        &mut self,
        place: Place,
        coordinate: &PackageCoordinate,
        (build_id, artifact): (BuildId, BuiltArtifact),
        position: Option<u32>,
        published: bool,
    ) {
        debug_assert!(position.is_none_or(|position| position == self.next_position(coordinate)));
        let position = position.unwrap_or_else(|| self.next_position(coordinate));
        let record = ArtifactRecord {
            event: place.event,
            height: place.height,
            time_ms: place.time_ms,
            build_id,
            author: place.author,
            artifact,
        };
        self.records.put(RecordKey { coordinate: coordinate.clone(), position }, record);
        if !published {
            return;
        }
        let complete: Vec<(RecordKey, ArtifactId, Sha256Digest)> = (0..=position)
            .rev()
            .map_while(|position| {
                let key = RecordKey { coordinate: coordinate.clone(), position };
                let record = self.records.get(&key).filter(|record| record.build_id == build_id)?;
                Some((key, record.artifact.artifact_id.clone(), record.artifact.sha256))
            })
            .collect();
        for (key, id, sha256) in complete {
            self.artifacts.put((coordinate.package_type.clone(), id), key.clone());
            self.by_digest.insert(sha256, key);
        }
    }
}
