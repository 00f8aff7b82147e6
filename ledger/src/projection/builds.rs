//! Builds: who judges each, what every judge reported, and whether a majority of them got the same result.

use super::{Place, Table};
use crate::block::Height;
use crate::certificate::absolute_majority;
use crate::coordinate::{BuildId, PackageCoordinate};
use crate::digest::Sha256Digest;
use crate::event::{BuildOutcome, BuildRequested, BuildResultReported, BuildSource, BuiltArtifact};
use crate::identity::NodeId;
use crate::state_root::{StateSum, TableId};
use borsh::{BorshDeserialize, BorshSerialize};
use imbl::OrdSet;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub enum BuildStatus {
    /// Judges are at work.
    Open,
    /// An absolute majority reported the same build; its artifacts are being added.
    Agreed { added: u32 },
    /// Every artifact stands on the ledger.
    Published { height: Height },
    /// No majority is possible any more, and most judges could not build it.
    Failed,
    /// No majority is possible any more: the judges got different results.
    Disputed,
}

impl BuildStatus {
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Published { .. } | Self::Failed | Self::Disputed)
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
    pub status: BuildStatus,
    pub agreement: Option<Agreement>,
}

/// What the majority agreed on, fixed when it came about: results that come later change neither part.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Agreement {
    /// Digest over what pins the source and every artifact.
    pub result: Sha256Digest,
    /// The source as most of the majority named it, of equals the smallest: no single judge's word.
    pub source: BuildSource,
    pub artifacts: u32,
}

/// One judge's answer as it stands on the ledger.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct ReportedResult {
    pub height: Height,
    pub outcome: BuildOutcome,
}

#[derive(Clone, Debug)]
pub struct Builds {
    builds: Table<BuildId, Build>,
    results: Table<(BuildId, NodeId), ReportedResult>,
    attempts: Table<PackageCoordinate, u32>,
    /// The builds that are not closed; follows from `builds`.
    unfinished: OrdSet<BuildId>,
}

/// What judges must have in common: what pins the source, and every artifact to the last bit. Not where the source was
/// fetched from: mirrors of one commit are the same source.
///
/// The raw digests are part of it although verifiers compare canonical ones: a canonical digest is only its judge's word.
/// Were it enough, one liar could claim the honest digest for bytes of his own, and a deterministic choice among equals could
/// publish them. Bytes that differ may be published once the judges have a way to vouch for each other's.
fn agreement_key(source: &BuildSource, artifacts: &[BuiltArtifact]) -> Sha256Digest {
    let files: BTreeSet<&BuiltArtifact> = artifacts.iter().collect();
    let bytes = borsh::to_vec(&(&source.kind, &source.revision, files)).expect("writing to memory cannot fail");
    Sha256Digest::of_parts(&[b"pyrsia/agreement/v1\0", &bytes])
}

impl Builds {
    pub(super) fn new() -> Self {
        Self {
            builds: Table::new(TableId::Builds),
            results: Table::new(TableId::Results),
            attempts: Table::new(TableId::Attempts),
            unfinished: OrdSet::new(),
        }
    }

    pub fn get(&self, id: &BuildId) -> Option<&Build> {
        self.builds.get(id)
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&BuildId, &Build)> {
        self.builds.iter()
    }

    /// The builds that are open, or agreed on and not completely published.
    pub fn unfinished(&self) -> impl Iterator<Item = (&BuildId, &Build)> {
        self.unfinished.iter().filter_map(|id| Some((id, self.builds.get(id)?)))
    }

    pub fn unfinished_count(&self) -> usize {
        self.unfinished.len()
    }

    /// How many builds of `coordinate` were ever requested.
    pub fn attempts(&self, coordinate: &PackageCoordinate) -> u32 {
        self.attempts.get(coordinate).copied().unwrap_or(0)
    }

    pub fn result(&self, id: &BuildId, judge: &NodeId) -> Option<&ReportedResult> {
        self.results.get(&(*id, *judge))
    }

    /// What was reported for a build, judge by judge.
    pub fn results<'a>(&'a self, id: &'a BuildId) -> impl Iterator<Item = (&'a NodeId, &'a ReportedResult)> {
        let first = (*id, NodeId::from_public_key([0; 32]));
        self.results.range(first..).take_while(move |((found, _), _)| found == id).map(|((_, judge), result)| (judge, result))
    }

    /// The judges that reported the build the majority agreed on.
    pub fn agreeing(&self, id: &BuildId) -> Vec<NodeId> {
        self.agreed(id).map(|(judge, ..)| *judge).collect()
    }

    /// The source and the artifacts of the build that the majority agreed on.
    pub fn chosen<'a>(&'a self, id: &'a BuildId) -> Option<(&'a BuildSource, &'a [BuiltArtifact])> {
        let (_, _, artifacts) = self.agreed(id).next()?;
        Some((&self.get(id)?.agreement.as_ref()?.source, artifacts))
    }

    fn agreed<'a>(&'a self, id: &'a BuildId) -> impl Iterator<Item = (&'a NodeId, &'a BuildSource, &'a [BuiltArtifact])> {
        let result = self.get(id).and_then(|build| build.agreement.as_ref()).map(|agreement| agreement.result);
        self.built(id).filter(move |(_, source, artifacts)| Some(agreement_key(source, artifacts)) == result)
    }

    fn built<'a>(&'a self, id: &'a BuildId) -> impl Iterator<Item = (&'a NodeId, &'a BuildSource, &'a [BuiltArtifact])> {
        self.results(id).filter_map(|(judge, reported)| match &reported.outcome {
            BuildOutcome::Built { source, artifacts } => Some((judge, source, artifacts.as_slice())),
            BuildOutcome::Failed { .. } | BuildOutcome::Abstained { .. } => None,
        })
    }

    fn put(&mut self, sum: &mut StateSum, id: BuildId, build: Build) {
        if build.status.is_closed() {
            self.unfinished.remove(&id);
        } else {
            self.unfinished.insert(id);
        }
        self.builds.put(sum, id, build);
    }

    pub(super) fn open(&mut self, sum: &mut StateSum, place: Place, body: &BuildRequested, judges: Vec<NodeId>) {
        self.attempts.put(sum, body.coordinate.clone(), body.attempt + 1);
        let build = Build {
            coordinate: body.coordinate.clone(),
            attempt: body.attempt,
            verifier: body.verifier,
            requested_by: place.author,
            requested_at: place.height,
            requested_time_ms: place.time_ms,
            judges,
            status: BuildStatus::Open,
            agreement: None,
        };
        self.put(sum, body.build_id, build);
    }

    pub(super) fn report(&mut self, sum: &mut StateSum, place: Place, body: &BuildResultReported) {
        let reported = ReportedResult { height: place.height, outcome: body.outcome.clone() };
        self.results.put(sum, (body.build_id, place.author), reported);
        let build = self.builds.get(&body.build_id).expect("policy refuses results of unknown builds");
        if build.status != BuildStatus::Open {
            return; // A late result is on record and changes nothing.
        }
        let (status, agreement) = self.judged(&body.build_id, build);
        let build = Build { status, agreement, ..build.clone() };
        self.put(sum, body.build_id, build);
    }

    /// The status that follows from the results so far.
    fn judged(&self, id: &BuildId, build: &Build) -> (BuildStatus, Option<Agreement>) {
        let (mut votes, mut answered, mut failed) = (BTreeMap::<Sha256Digest, (usize, u32)>::new(), 0, 0);
        for (_, reported) in self.results(id) {
            answered += 1;
            match &reported.outcome {
                BuildOutcome::Built { source, artifacts } => {
                    votes.entry(agreement_key(source, artifacts)).or_insert((0, artifacts.len() as u32)).0 += 1;
                }
                BuildOutcome::Failed { .. } | BuildOutcome::Abstained { .. } => failed += 1,
            }
        }
        let majority = absolute_majority(build.judges.len());
        if let Some((&result, &(_, artifacts))) = votes.iter().find(|(_, (count, _))| *count >= majority) {
            let agreement = Agreement { result, source: self.source(id, result), artifacts };
            return (BuildStatus::Agreed { added: 0 }, Some(agreement));
        }
        let missing = build.judges.len() - answered;
        let best = votes.values().map(|(count, _)| *count).max().unwrap_or(0);
        let status = match best + missing >= majority {
            true => BuildStatus::Open,
            false if failed >= majority || best == 0 => BuildStatus::Failed,
            false => BuildStatus::Disputed,
        };
        (status, None)
    }

    fn source(&self, id: &BuildId, result: Sha256Digest) -> BuildSource {
        let mut named: BTreeMap<&BuildSource, usize> = BTreeMap::new();
        for (_, source, _) in self.built(id).filter(|(_, source, artifacts)| agreement_key(source, artifacts) == result) {
            *named.entry(source).or_default() += 1;
        }
        let best = named.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.expect("an agreed result was reported").0.clone()
    }

    /// Counts one more artifact in; returns whether the build is complete with it.
    pub(super) fn publish(&mut self, sum: &mut StateSum, place: Place, id: &BuildId) -> bool {
        let build = self.builds.get(id).expect("policy refuses artifacts of unknown builds");
        let (BuildStatus::Agreed { added }, Some(agreement)) = (&build.status, &build.agreement) else {
            unreachable!("policy refuses artifacts of builds that are not agreed on")
        };
        let complete = added + 1 == agreement.artifacts;
        let status = match complete {
            true => BuildStatus::Published { height: place.height },
            false => BuildStatus::Agreed { added: added + 1 },
        };
        let build = Build { status, ..build.clone() };
        self.put(sum, *id, build);
        complete
    }
}
