//! What the events of a proof say about its build, judge by judge, each checked to be one that the ledger allows there.

use super::{ProofError, ProvedEvent};
use crate::certificate::ValidatorSet;
use crate::coordinate::BuildId;
use crate::digest::Sha256Digest;
use crate::event::{
    AddArtifact, BuildOutcome, BuildRequested, BuildResultRevealed, BuildSource, BuiltArtifact, Event, Vouch, commitment,
};
use crate::identity::NodeId;
use crate::projection::builds::ResultDigests;
use crate::signed::{NetworkId, SignedEvent};
use std::collections::BTreeMap;

/// A result as its judge shows it.
pub(super) struct Shown<'a> {
    pub(super) at: ProvedEvent,
    pub(super) outcome: &'a BuildOutcome,
    /// Whether the commitment that it opens is shown as well.
    pub(super) counted: bool,
    /// Of what was built.
    pub(super) digests: Option<ResultDigests>,
}

impl Shown<'_> {
    pub(super) fn built(&self) -> Option<(&BuildSource, &[BuiltArtifact])> {
        match self.outcome {
            BuildOutcome::Built { source, artifacts } => Some((source, artifacts)),
            BuildOutcome::Failed { .. } | BuildOutcome::Abstained { .. } => None,
        }
    }
}

/// Everything that is said about the build.
pub(super) struct Said<'a> {
    pub(super) request: (ProvedEvent, NodeId, &'a BuildRequested),
    pub(super) results: BTreeMap<NodeId, Shown<'a>>,
    /// By judge and candidate.
    pub(super) vouches: BTreeMap<(NodeId, Sha256Digest), (ProvedEvent, &'a Vouch)>,
    /// In the order of the ledger.
    pub(super) added: Vec<(ProvedEvent, &'a AddArtifact)>,
    /// Until the result that each opens into is met.
    commitments: BTreeMap<NodeId, (ProvedEvent, Sha256Digest)>,
}

fn wrong<T>(at: ProvedEvent, what: &'static str) -> Result<T, ProofError> {
    Err(ProofError::Event { event: at.event, what })
}

impl<'a> Said<'a> {
    /// `events` in the order of the ledger.
    pub(super) fn of(
        network: &NetworkId,
        judges: &ValidatorSet,
        events: &[(ProvedEvent, &'a SignedEvent)],
    ) -> Result<Self, ProofError> {
        let Some(((at, first), others)) = events.split_first() else { return Err(ProofError::Order) };
        let Event::BuildRequested(request) = first.event() else { return Err(ProofError::Order) };
        if request.build_id != BuildId::of(network, &request.coordinate, request.attempt) {
            return wrong(*at, "the id of the build does not follow from what is requested");
        }
        let request = (*at, first.author(), request);
        let (results, vouches, commitments) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut said = Self { request, results, vouches, added: vec![], commitments };
        for (at, signed) in others {
            said.note(network, *at, signed)?;
        }
        if let Some((at, _)) = said.commitments.values().next() {
            return wrong(*at, "the result that it commits to is not shown");
        }
        match events.iter().find(|(_, signed)| !judges.contains(&signed.author())) {
            Some((at, _)) => wrong(*at, "its author is no judge of the build"),
            None => Ok(said),
        }
    }

    fn note(&mut self, network: &NetworkId, at: ProvedEvent, signed: &'a SignedEvent) -> Result<(), ProofError> {
        let (author, build_id) = (signed.author(), self.request.2.build_id);
        let (of_build, is_new) = match signed.event() {
            Event::BuildResultCommitted(body) => {
                if !self.results.is_empty() {
                    return wrong(at, "it commits to a result when another one is shown already");
                }
                (body.build_id, self.commitments.insert(author, (at, body.commitment)).is_none())
            }
            Event::BuildResultRevealed(body) => {
                let counted = self.opens(network, at, author, body)?;
                let digests = match &*body.outcome {
                    BuildOutcome::Built { source, artifacts } => Some(ResultDigests::of(source, artifacts)),
                    BuildOutcome::Failed { .. } | BuildOutcome::Abstained { .. } => None,
                };
                let shown = Shown { at, outcome: &body.outcome, counted, digests };
                (body.build_id, self.results.insert(author, shown).is_none())
            }
            Event::BuildCandidateVouched(body) => {
                (body.build_id, self.vouches.insert((author, body.candidate), (at, &body.verdict)).is_none())
            }
            Event::AddArtifact(body) => {
                if body.coordinate != self.request.2.coordinate {
                    return wrong(at, "it publishes an artifact of another package");
                }
                let is_new = self.added.iter().all(|(_, added)| added.artifact.artifact_id != body.artifact.artifact_id);
                self.added.push((at, body));
                (body.build_id, is_new)
            }
            _ => return wrong(at, "it says nothing that belongs into a proof of this build"),
        };
        match (of_build == build_id, is_new) {
            (false, _) => wrong(at, "it is about another build"),
            (true, false) => wrong(at, "the same was said before"),
            (true, true) => Ok(()),
        }
    }

    /// Whether the author was bound to this result, which must be the one then.
    fn opens(
        &mut self,
        network: &NetworkId,
        at: ProvedEvent,
        author: NodeId,
        body: &BuildResultRevealed,
    ) -> Result<bool, ProofError> {
        let Some((_, committed)) = self.commitments.remove(&author) else { return Ok(false) };
        if committed == commitment(network, &body.build_id, &author, &body.salt, &body.outcome) {
            Ok(true)
        } else {
            wrong(at, "it shows another result than its author committed to")
        }
    }
}
