//! Builds: who judges each, what every judge said, and whether a majority of them came to the same result.
//!
//! Owns every row about builds. What judges say is noted in `record`; `phase` alone decides what follows from it; `group`
//! tells who came to the same; `support` counts old majorities again; `tally` says how each judge stands.

mod group;
mod phase;
mod record;
mod rows;
mod statements;
mod support;
mod tally;

use super::{Place, Table};
use crate::block::Height;
use crate::certificate::absolute_majority;
use crate::coordinate::{ArtifactId, BuildId, PackageCoordinate};
use crate::digest::Sha256Digest;
use crate::event::{BuildRequested, BuildSource, BuiltArtifact, PinnedSource, WaitPhase};
use crate::identity::NodeId;
use crate::shared::Shared;
use crate::state_root::TableId;
use borsh::{BorshDeserialize, BorshSerialize};
use imbl::{OrdMap, OrdSet};
use serde::Serialize;
use statements::Statements;

pub use group::{Candidate, Group};
pub use record::{Commitment, Dispute, ResultDigests, RevealedResult, Vouched};
pub use support::AtRisk;
pub use tally::{JudgeState, Tally};

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub enum BuildStatus {
    /// Judges build, and bind themselves to what they got.
    Committing,
    /// Judges show what they committed to.
    Revealing,
    /// A majority came to the same canonical result in different bytes: it looks at one judge's bytes after the other.
    Vouching { candidate: Sha256Digest },
    /// An absolute majority built the same or vouches for it; its artifacts are being added.
    Agreed { added: u32 },
    /// Every artifact stands on the ledger.
    Published { height: Height },
    /// No majority is possible any more, and not because of different results.
    Failed,
    /// No majority is possible any more: the judges got different results. So many of them have reported why.
    Disputed { reports: u32 },
}

impl BuildStatus {
    /// Whether nothing more is to come, but late results and reports.
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Published { .. } | Self::Failed | Self::Disputed { .. })
    }

    /// Whether the judges have not come to an end yet.
    pub const fn is_judging(&self) -> bool {
        self.wait_phase().is_some()
    }

    /// What judges wait for each other in.
    pub const fn wait_phase(&self) -> Option<WaitPhase> {
        match self {
            Self::Committing => Some(WaitPhase::Committing),
            Self::Revealing => Some(WaitPhase::Revealing),
            Self::Vouching { candidate } => Some(WaitPhase::Vouching { candidate: *candidate }),
            Self::Agreed { .. } | Self::Published { .. } | Self::Failed | Self::Disputed { .. } => None,
        }
    }

    const fn is_unfinished(&self) -> bool {
        !self.is_closed() || matches!(self, Self::Disputed { reports: 0 })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Build {
    pub coordinate: PackageCoordinate,
    pub attempt: u32,
    pub verifier: Sha256Digest,
    pub requested_by: NodeId,
    pub requested_at: Height,
    pub requested_time_ms: u64,
    /// The authorized nodes of the height at which the build was requested.
    pub judges: Vec<NodeId>,
    /// Judges that ceased to be authorized while the build was judged: nothing they say counts, even if they return.
    pub left: Vec<NodeId>,
    pub status: BuildStatus,
    /// Judges, and other authorized nodes, that have waited long enough in this phase.
    pub waits: Vec<NodeId>,
    /// Candidates that no majority vouched for.
    pub given_up: Vec<Sha256Digest>,
    /// When the committing was over.
    pub revealing_at: Option<Height>,
    /// When a majority would not wait for the commitments that are missing.
    pub timed_out_at: Option<Height>,
    /// When a majority would not wait for the results that are missing.
    pub withheld_at: Option<Height>,
    /// When the judging was over.
    pub closed_at: Option<Height>,
    pub agreement: Option<Agreement>,
}

impl Build {
    /// How many judges it takes: more than half of all, however many still answer.
    pub fn majority(&self) -> usize {
        absolute_majority(self.judges.len())
    }

    /// The judges whose word counts.
    pub fn active(&self) -> impl Iterator<Item = &NodeId> {
        self.judges.iter().filter(|judge| !self.left.contains(judge))
    }

    pub fn is_active(&self, node: &NodeId) -> bool {
        self.judges.contains(node) && !self.left.contains(node)
    }
}

/// What the majority agreed on, fixed when it came about: results that come later change no part of it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Agreement {
    /// Digest over what pins the source and every artifact.
    pub result: Sha256Digest,
    /// The same over the canonical digests of the artifacts.
    pub canonical: Sha256Digest,
    /// The source as most of those who built these bytes named it, of equals the smallest: no single judge's word.
    pub source: BuildSource,
    pub artifacts: u32,
}

#[derive(Clone, Debug)]
pub struct Builds {
    builds: Table<BuildId, Build>,
    commitments: Statements<Commitment>,
    /// What each build was requested to be built from; none where the request does not say.
    sources: Table<BuildId, PinnedSource>,
    results: Statements<RevealedResult>,
    vouches: Table<BuildId, Vec<Vouched>>,
    disputes: Statements<Dispute>,
    at_risk: Table<BuildId, AtRisk>,
    tallies: Table<NodeId, Tally>,
    attempts: Table<PackageCoordinate, u32>,
    /// The builds that something is to come of; follows from `builds`.
    unfinished: OrdSet<BuildId>,
    /// How many of them each node requested; follows from `builds`.
    unfinished_of: OrdMap<NodeId, usize>,
    /// The artifacts of agreed builds that are not added yet; follows from `builds`, `results` and the records of packages.
    pending: OrdMap<(BuildId, ArtifactId), Shared<BuiltArtifact>>,
}

impl Builds {
    pub(super) fn new() -> Self {
        Self {
            builds: Table::new(TableId::Builds),
            commitments: Statements::new(TableId::Commitments),
            sources: Table::new(TableId::Sources),
            results: Statements::new(TableId::Results),
            vouches: Table::new(TableId::Vouches),
            disputes: Statements::new(TableId::Disputes),
            at_risk: Table::new(TableId::AtRisk),
            tallies: Table::new(TableId::Tallies),
            attempts: Table::new(TableId::Attempts),
            unfinished: OrdSet::new(),
            unfinished_of: OrdMap::new(),
            pending: OrdMap::new(),
        }
    }

    pub fn get(&self, id: &BuildId) -> Option<&Build> {
        self.builds.get(id)
    }

    /// What the request says the build is made from.
    pub fn source(&self, id: &BuildId) -> Option<&PinnedSource> {
        self.sources.get(id)
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&BuildId, &Build)> {
        self.builds.iter()
    }

    /// The builds that are judged, agreed on and not completely published, or disputed without a report.
    pub fn unfinished(&self) -> impl Iterator<Item = (&BuildId, &Build)> {
        self.unfinished.iter().filter_map(|id| Some((id, self.builds.get(id)?)))
    }

    pub fn unfinished_count(&self) -> usize {
        self.unfinished.len()
    }

    /// How many of the unfinished builds `node` requested.
    pub fn unfinished_of(&self, node: &NodeId) -> usize {
        self.unfinished_of.get(node).copied().unwrap_or(0)
    }

    /// How many builds of `coordinate` were ever requested.
    pub fn attempts(&self, coordinate: &PackageCoordinate) -> u32 {
        self.attempts.get(coordinate).copied().unwrap_or(0)
    }

    /// Every package that a build was ever requested of, in ascending order from `first` on, with how many.
    pub fn requested_from(&self, first: &PackageCoordinate) -> impl Iterator<Item = (&PackageCoordinate, u32)> {
        self.attempts.range(first.clone()..).map(|(coordinate, attempts)| (coordinate, *attempts))
    }

    /// The judges that built, to the last bit, what is agreed on.
    pub fn agreeing(&self, id: &BuildId) -> Vec<NodeId> {
        self.agreed(id).map(|(judge, _)| *judge).collect()
    }

    /// The source and the artifacts of the build that the majority agreed on.
    pub fn chosen<'a>(&'a self, id: &'a BuildId) -> Option<(&'a BuildSource, &'a [BuiltArtifact])> {
        let (_, revealed) = self.agreed(id).next()?;
        let (_, artifacts) = revealed.built()?;
        Some((&self.get(id)?.agreement.as_ref()?.source, artifacts))
    }

    /// An artifact of an agreed build that is to be added.
    pub(crate) fn pending(&self, id: &BuildId, artifact_id: &ArtifactId) -> Option<&BuiltArtifact> {
        self.pending.get(&(*id, artifact_id.clone())).map(|artifact| &**artifact)
    }

    fn agreed<'a>(&'a self, id: &'a BuildId) -> impl Iterator<Item = (&'a NodeId, &'a RevealedResult)> {
        let agreed = self.get(id).and_then(|build| Some((build, build.agreement.as_ref()?.result)));
        agreed.into_iter().flat_map(move |(build, result)| {
            self.counted(id, build).filter(move |(_, revealed)| revealed.digests.is_some_and(|digests| digests.raw == result))
        })
    }

    /// The results that count, judge by judge.
    fn counted<'a>(&'a self, id: &'a BuildId, build: &'a Build) -> impl Iterator<Item = (&'a NodeId, &'a RevealedResult)> {
        self.results(id).filter(|(judge, revealed)| revealed.counted && !build.left.contains(judge))
    }

    fn put(&mut self, id: BuildId, build: Build) {
        let (was_unfinished, is_unfinished) = (self.unfinished.contains(&id), build.status.is_unfinished());
        if was_unfinished != is_unfinished {
            let (requester, count) = (build.requested_by, self.unfinished_of(&build.requested_by));
            if is_unfinished {
                self.unfinished.insert(id);
                self.unfinished_of.insert(requester, count + 1);
            } else {
                self.unfinished.remove(&id);
                match count {
                    0 | 1 => self.unfinished_of.remove(&requester),
                    _ => self.unfinished_of.insert(requester, count - 1),
                };
            }
        }
        self.builds.put(id, build);
    }

    pub(super) fn open(&mut self, place: Place, body: &BuildRequested, coordinate: PackageCoordinate, judges: Vec<NodeId>) {
        self.attempts.put(coordinate.clone(), body.attempt + 1);
        if let Some(source) = &body.source {
            self.sources.put(body.build_id, source.clone());
        }
        let build = Build {
            coordinate,
            attempt: body.attempt,
            verifier: body.verifier,
            requested_by: place.author,
            requested_at: place.height,
            requested_time_ms: place.time_ms,
            judges,
            left: vec![],
            status: BuildStatus::Committing,
            waits: vec![],
            given_up: vec![],
            revealing_at: None,
            timed_out_at: None,
            withheld_at: None,
            closed_at: None,
            agreement: None,
        };
        self.put(body.build_id, build);
    }

    /// Counts one more artifact in; returns it as the build has it, how many were added before, and whether the build is complete.
    pub(super) fn publish(&mut self, place: Place, id: &BuildId, artifact_id: &ArtifactId) -> (Option<BuiltArtifact>, u32, bool) {
        let artifact = self.pending.remove(&(*id, artifact_id.clone()));
        let build = self.builds.get(id).expect("policy refuses artifacts of unknown builds");
        let (BuildStatus::Agreed { added }, Some(agreement)) = (&build.status, &build.agreement) else {
            unreachable!("policy refuses artifacts of builds that are not agreed on")
        };
        let added = *added;
        let complete = added + 1 == agreement.artifacts;
        let status = match complete {
            true => BuildStatus::Published { height: place.height },
            false => BuildStatus::Agreed { added: added + 1 },
        };
        let build = Build { status, ..build.clone() };
        self.put(*id, build);
        (artifact.map(|artifact| BuiltArtifact::clone(&artifact)), added, complete)
    }
}

#[cfg(test)]
mod tests;
