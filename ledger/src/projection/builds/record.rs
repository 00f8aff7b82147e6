//! What judges said of a build, as it stands on the ledger.
//!
//! Notes each statement, which policy has allowed, and hands the build to `phase`. Decides nothing itself.

use super::{BuildStatus, Builds};
use crate::block::Height;
use crate::coordinate::BuildId;
use crate::digest::Sha256Digest;
use crate::event::{
    BuildCandidateVouched, BuildDisputed, BuildOutcome, BuildResultCommitted, BuildResultRevealed, BuildSource, BuildWaitEnded,
    BuiltArtifact, DisputeReport, Vouch,
};
use crate::identity::NodeId;
use crate::projection::{Place, members::Members};
use crate::shared::Shared;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::Serialize;
use std::collections::BTreeSet;

/// What a judge bound itself to.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Commitment {
    pub height: Height,
    pub commitment: Sha256Digest,
}

/// One judge's answer.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct RevealedResult {
    pub height: Height,
    /// Kept once for all judges that came to the same.
    pub outcome: Shared<BuildOutcome>,
    /// Whether it was committed to and came in time.
    pub counted: bool,
    /// Of what was built.
    pub digests: Option<ResultDigests>,
}

impl RevealedResult {
    pub fn built(&self) -> Option<(&BuildSource, &[BuiltArtifact])> {
        match &*self.outcome {
            BuildOutcome::Built { source, artifacts } => Some((source, artifacts)),
            BuildOutcome::Failed { .. } | BuildOutcome::Abstained { .. } => None,
        }
    }
}

/// What two results have in common when they are the same. Not where the source was fetched from: mirrors of one commit are
/// the same source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct ResultDigests {
    /// Over what pins the source, and every artifact to the last bit.
    pub raw: Sha256Digest,
    /// Over what pins the source, and every artifact without the noise that its verifier forgives: only its judge's word.
    pub canonical: Sha256Digest,
}

impl ResultDigests {
    fn of_outcome(outcome: &BuildOutcome) -> Option<Self> {
        match outcome {
            BuildOutcome::Built { source, artifacts } => Some(Self::of(source, artifacts)),
            BuildOutcome::Failed { .. } | BuildOutcome::Abstained { .. } => None,
        }
    }

    pub fn of(source: &BuildSource, artifacts: &[BuiltArtifact]) -> Self {
        let files: BTreeSet<&BuiltArtifact> = artifacts.iter().collect();
        let canonical: BTreeSet<_> =
            artifacts.iter().map(|file| (&file.artifact_id, &file.media_type, &file.canonical)).collect();
        let raw = borsh::to_vec(&(&source.kind, &source.revision, files)).expect("writing to memory cannot fail");
        let canonical = borsh::to_vec(&(&source.kind, &source.revision, canonical)).expect("writing to memory cannot fail");
        let messages: [[&[u8]; 2]; 2] = [[b"pyrsia/agreement/v1\0", &raw], [b"pyrsia/canonical-agreement/v1\0", &canonical]];
        let [raw, canonical] = Sha256Digest::of_both(messages);
        Self { raw, canonical }
    }
}

/// A judge's word about the bytes of others.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Vouched {
    pub judge: NodeId,
    pub candidate: Sha256Digest,
    pub height: Height,
    pub verdict: Vouch,
}

/// Why the judges did not agree, as one of them sees it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Dispute {
    pub height: Height,
    pub report: DisputeReport,
}

impl Builds {
    pub fn commitment(&self, id: &BuildId, judge: &NodeId) -> Option<(Height, Sha256Digest)> {
        self.commitments.get(id, judge).map(|committed| (committed.height, committed.commitment))
    }

    pub fn result(&self, id: &BuildId, judge: &NodeId) -> Option<&RevealedResult> {
        self.results.get(id, judge)
    }

    /// What was revealed for a build, judge by judge.
    pub fn results(&self, id: &BuildId) -> impl Iterator<Item = (&NodeId, &RevealedResult)> {
        self.results.of(id).iter().map(|(judge, result)| (judge, result))
    }

    /// The judges, and other authorized nodes, that have waited long enough in the phase the build is in.
    pub fn waits(&self, id: &BuildId) -> &[NodeId] {
        self.get(id).map_or(&[], |build| &build.waits)
    }

    /// Every word about the bytes of others, of all candidates, in the order of the ledger.
    pub fn vouches(&self, id: &BuildId) -> &[Vouched] {
        self.vouches.get(id).map_or(&[], Vec::as_slice)
    }

    /// A judge's word about one candidate.
    pub fn vouch(&self, id: &BuildId, candidate: &Sha256Digest, judge: &NodeId) -> Option<&Vouched> {
        self.vouches(id).iter().find(|vouched| vouched.candidate == *candidate && vouched.judge == *judge)
    }

    /// The reports about a dispute, judge by judge.
    pub fn disputes(&self, id: &BuildId) -> impl Iterator<Item = (&NodeId, &Dispute)> {
        self.disputes.of(id).iter().map(|(judge, dispute)| (judge, dispute))
    }

    pub(crate) fn has_reported(&self, id: &BuildId, judge: &NodeId) -> bool {
        self.disputes.contains(id, judge)
    }

    pub(in crate::projection) fn commit(&mut self, place: Place, body: &BuildResultCommitted, members: &Members) {
        let committed = Commitment { height: place.height, commitment: body.commitment };
        self.commitments.put(body.build_id, place.author, committed);
        self.evaluate(place.height, body.build_id, members, |_| ());
    }

    pub(in crate::projection) fn reveal(&mut self, place: Place, body: &BuildResultRevealed, members: &Members) {
        let (id, judge) = (body.build_id, place.author);
        let build = self.builds.get(&id).expect("policy refuses results of unknown builds");
        let counted = self.commitments.contains(&id, &judge) && build.withheld_at.is_none();
        let was_judging = build.status.is_judging();
        let same = self.results(&id).map(|(_, other)| other).find(|other| other.outcome == body.outcome);
        let (outcome, digests) = match same {
            Some(same) => (same.outcome.clone(), same.digests),
            None => (body.outcome.clone(), ResultDigests::of_outcome(&body.outcome)),
        };
        let revealed = RevealedResult { height: place.height, outcome, counted, digests };
        self.results.put(id, judge, revealed);
        if !counted {
            return;
        }
        if was_judging {
            self.evaluate(place.height, id, members, |_| ());
        } else {
            // It was bound to this result before anybody showed one: it says as much as those that were quicker.
            self.count_in(&id, &judge);
            self.recount(place.height, &id, members);
        }
    }

    pub(in crate::projection) fn end_wait(&mut self, place: Place, body: &BuildWaitEnded, members: &Members) {
        self.evaluate(place.height, body.build_id, members, |build| {
            let build = build.to_mut();
            build.waits.push(place.author);
            build.waits.sort_unstable();
        });
    }

    pub(in crate::projection) fn note_vouch(&mut self, place: Place, body: &BuildCandidateVouched, members: &Members) {
        let mut vouches = self.vouches(&body.build_id).to_vec();
        vouches.push(Vouched {
            judge: place.author,
            candidate: body.candidate,
            height: place.height,
            verdict: body.verdict.clone(),
        });
        self.vouches.put(body.build_id, vouches);
        self.evaluate(place.height, body.build_id, members, |_| ());
    }

    pub(in crate::projection) fn note_dispute(&mut self, place: Place, body: &BuildDisputed) {
        let dispute = Dispute { height: place.height, report: body.report.clone() };
        self.disputes.put(body.build_id, place.author, dispute);
        let mut build = self.builds.get(&body.build_id).expect("policy refuses reports about unknown builds").clone();
        if let BuildStatus::Disputed { reports } = &mut build.status {
            *reports += 1;
        }
        self.put(body.build_id, build);
    }
}
