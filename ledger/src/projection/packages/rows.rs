//! The rows about packages in a snapshot.
//!
//! A record names its build, which has the coordinate and the artifact already; the indexes name records by their number. So
//! nothing stands there, or in memory afterwards, twice.

use super::{ArtifactRecord, Packages, RecordKey};
use crate::block::Height;
use crate::coordinate::{BuildId, PackageCoordinate};
use crate::event::BuiltArtifact;
use crate::identity::NodeId;
use crate::projection::builds::Builds;
use crate::projection::snapshot::{RowReader, RowWriter, malformed};
use crate::projection::table::{Table, map_of_rows};
use crate::signed::EventId;
use crate::state_root::TableId;
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeMap;
use std::io;

/// What a record is about.
#[derive(BorshSerialize, BorshDeserialize)]
enum Subject {
    /// The artifact at this place of what its build agreed on.
    OfBuild(u32),
    /// Its build does not say it any more.
    Itself(PackageCoordinate, BuiltArtifact),
}

fn subject(builds: &Builds, key: &RecordKey, record: &ArtifactRecord) -> Subject {
    let place = || {
        let (_, artifacts) = builds.chosen(&record.build_id)?;
        let build = builds.get(&record.build_id).filter(|build| build.coordinate == key.coordinate);
        build.and(artifacts.iter().position(|artifact| *artifact == record.artifact))
    };
    place()
        .map_or_else(|| Subject::Itself(key.coordinate.clone(), record.artifact.clone()), |place| Subject::OfBuild(place as u32))
}

/// What records refer to; those of one build stand together mostly.
struct Subjects<'a> {
    builds: &'a Builds,
    newest: Option<(BuildId, PackageCoordinate, Vec<BuiltArtifact>)>,
}

impl Subjects<'_> {
    fn resolve(&mut self, build_id: &BuildId, subject: Subject) -> io::Result<(PackageCoordinate, BuiltArtifact)> {
        let place = match subject {
            Subject::Itself(coordinate, artifact) => return Ok((coordinate, artifact)),
            Subject::OfBuild(place) => place as usize,
        };
        if self.newest.as_ref().is_none_or(|(id, ..)| id != build_id) {
            let found = self.builds.get(build_id).zip(self.builds.chosen(build_id));
            self.newest = found.map(|(build, (_, artifacts))| (*build_id, build.coordinate.clone(), artifacts.to_vec()));
        }
        let found = self.newest.as_ref().and_then(|(_, coordinate, of_build)| Some((coordinate, of_build.get(place)?)));
        let (coordinate, artifact) = found.ok_or_else(|| malformed("a record is of no build"))?;
        Ok((coordinate.clone(), artifact.clone()))
    }
}

impl Packages {
    pub(in crate::projection) fn save(&self, builds: &Builds, out: &mut RowWriter<'_>) -> io::Result<()> {
        let mut numbers = BTreeMap::new();
        out.value(&(self.records.len() as u64))?;
        for ((key, record), number) in self.records.iter().zip(0u64..) {
            numbers.insert(key, number);
            let ArtifactRecord { event, height, time_ms, build_id, author, .. } = record;
            out.value(&(key.position, event, height, time_ms, build_id, author, subject(builds, key, record)))?;
        }
        let keys: [(usize, &mut dyn Iterator<Item = &RecordKey>); 2] = [
            (self.artifacts.len(), &mut self.artifacts.iter().map(|(_, key)| key)),
            (self.by_digest.len(), &mut self.by_digest.values()),
        ];
        for (count, keys) in keys {
            out.value(&(count as u64))?;
            for key in keys {
                out.value(numbers.get(key).ok_or_else(|| malformed("an artifact has no record"))?)?;
            }
        }
        Ok(())
    }

    pub(in crate::projection) fn load(builds: &Builds, rows: &mut RowReader<'_>) -> io::Result<Self> {
        let (mut keys, mut subjects) = (vec![], Subjects { builds, newest: None });
        let records = Table::of_rows(
            TableId::Records,
            rows.rows(|rows| {
                let (position, event, height, time_ms, build_id, author, subject): (
                    u32,
                    EventId,
                    Height,
                    u64,
                    BuildId,
                    NodeId,
                    Subject,
                ) = rows.value()?;
                let (coordinate, artifact) = subjects.resolve(&build_id, subject)?;
                let key = RecordKey { coordinate, position };
                keys.push((key.clone(), artifact.artifact_id.clone(), artifact.sha256));
                Ok((key, ArtifactRecord { event, height, time_ms, build_id, author, artifact }))
            })?,
        )?;
        let known = |rows: &mut RowReader<'_>| {
            let number: u64 = rows.value()?;
            keys.get(number as usize).ok_or_else(|| malformed("an artifact has no record"))
        };
        let artifacts = Table::of_rows(
            TableId::Artifacts,
            rows.rows(|rows| {
                let (key, artifact_id, _) = known(rows)?;
                Ok(((key.coordinate.package_type.clone(), artifact_id.clone()), key.clone()))
            })?,
        )?;
        let by_digest = rows.rows(|rows| known(rows).map(|(key, _, sha256)| (*sha256, key.clone())))?;
        Ok(Self { records, artifacts, by_digest: map_of_rows(by_digest)? })
    }
}
