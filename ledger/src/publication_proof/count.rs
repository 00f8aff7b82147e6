//! Counts the judges of a proof again: who stands for the published bytes, by the ledger's own rule, as far as a proof shows.
//!
//! The rule is that of [`crate::projection::builds`]: more than half of all judges built these bytes to the last bit, or built
//! the same but for forgiven noise and vouched for them; results that were not committed to do not count, and neither does the
//! word of a judge that left before the others agreed. What the ledger knows beyond that is in [`super::NOT_SHOWN`].

use super::said::{Said, Shown};
use super::{Judge, ProofError, Stand};
use crate::certificate::{ValidatorSet, absolute_majority};
use crate::digest::Sha256Digest;
use crate::event::{BuildOutcome, BuildSource, Vouch};
use crate::identity::NodeId;
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Count {
    pub(super) source: BuildSource,
    pub(super) artifacts: usize,
    pub(super) judges: Vec<Judge>,
    pub(super) needed: usize,
}

/// A judge's word for some bytes.
#[derive(Clone, Copy)]
struct Support {
    judge: NodeId,
    /// The event that says it.
    index: u64,
    has_built: bool,
}

impl Said<'_> {
    /// `gone` has the judges that left, with how many events the ledger had then.
    pub(super) fn count(&self, judges: &ValidatorSet, gone: &BTreeMap<NodeId, u64>) -> Result<Count, ProofError> {
        let Some((first_added, _)) = self.added.first() else { return Err(ProofError::NoArtifact) };
        let needed = absolute_majority(judges.nodes().len());
        let mut most = 0;
        for result in self.results_with_all_artifacts() {
            let mut supports = self.supports(&result);
            supports.retain(|support| support.index < first_added.index);
            if let Some(agreed_at) = agreed_at(&supports, gone, needed) {
                return Ok(self.counted(&result, judges, gone, agreed_at));
            }
            most = most.max(standing(&supports, gone, first_added.index).count());
        }
        Err(ProofError::NoMajority { standing: most, needed, judges: judges.nodes().len() })
    }

    fn counted_results(&self) -> impl Iterator<Item = (&NodeId, &Shown<'_>)> {
        self.results.iter().filter(|(_, shown)| shown.counted)
    }

    /// The results that count and have every artifact that is published, to the last bit.
    fn results_with_all_artifacts(&self) -> BTreeSet<Sha256Digest> {
        let has_all = |shown: &Shown<'_>| {
            let (_, artifacts) = shown.built()?;
            let all = self.added.iter().all(|(_, added)| artifacts.contains(&added.artifact));
            shown.digests.filter(|_| all).map(|digests| digests.raw)
        };
        self.counted_results().filter_map(|(_, shown)| has_all(shown)).collect()
    }

    fn canonical_of(&self, result: &Sha256Digest) -> Option<Sha256Digest> {
        let digests = self.counted_results().filter_map(|(_, shown)| shown.digests);
        digests.into_iter().find(|digests| digests.raw == *result).map(|digests| digests.canonical)
    }

    fn supports(&self, result: &Sha256Digest) -> Vec<Support> {
        let canonical = self.canonical_of(result);
        let support = |(judge, shown): (&NodeId, &Shown<'_>)| {
            let digests = shown.digests.filter(|digests| Some(digests.canonical) == canonical)?;
            if digests.raw == *result {
                return Some(Support { judge: *judge, index: shown.at.index, has_built: true });
            }
            let (vouched, verdict) = self.vouches.get(&(*judge, *result))?;
            let is_same = **verdict == Vouch::Same && vouched.index > shown.at.index;
            is_same.then_some(Support { judge: *judge, index: vouched.index, has_built: false })
        };
        self.counted_results().filter_map(support).collect()
    }

    fn counted(&self, result: &Sha256Digest, judges: &ValidatorSet, gone: &BTreeMap<NodeId, u64>, agreed_at: u64) -> Count {
        let canonical = self.canonical_of(result);
        let stand = |node: &NodeId| {
            if gone.get(node).is_some_and(|gone| *gone <= agreed_at) {
                return Stand::Left;
            }
            let Some(shown) = self.results.get(node) else { return Stand::Silent };
            match (shown.outcome, shown.digests) {
                _ if !shown.counted => Stand::Late,
                (BuildOutcome::Failed { .. }, _) => Stand::Failed,
                (BuildOutcome::Abstained { .. }, _) => Stand::Abstained,
                (_, Some(digests)) if digests.raw == *result => Stand::Same,
                (_, Some(digests)) if Some(digests.canonical) == canonical => {
                    let vouch = self.vouches.get(&(*node, *result));
                    let vouches = vouch.is_some_and(|(at, verdict)| **verdict == Vouch::Same && at.index > shown.at.index);
                    if vouches { Stand::SameAfterPasses } else { Stand::SameByItsWord }
                }
                _ => Stand::Other,
            }
        };
        let judge = |node: &NodeId| Judge {
            node: *node,
            stand: stand(node),
            revealed: self.results.get(node).map(|shown| shown.at),
            vouched: self.vouches.get(&(*node, *result)).map(|(at, _)| *at),
        };
        let (source, artifacts) = self.chosen(result, gone, agreed_at);
        let needed = absolute_majority(judges.nodes().len());
        Count { source, artifacts, judges: judges.nodes().iter().map(judge).collect(), needed }
    }

    /// The source as most of those who built it named it, of equals the smallest, and the number of artifacts.
    fn chosen(&self, result: &Sha256Digest, gone: &BTreeMap<NodeId, u64>, agreed_at: u64) -> (BuildSource, usize) {
        let (mut named, mut count) = (BTreeMap::<&BuildSource, usize>::new(), 0);
        let supports = self.supports(result);
        for support in standing(&supports, gone, agreed_at).filter(|support| support.has_built) {
            if let Some((source, artifacts)) = self.results.get(&support.judge).and_then(Shown::built) {
                *named.entry(source).or_default() += 1;
                count = artifacts.len();
            }
        }
        let best = named.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best });
        (best.expect("what is agreed on was built").0.clone(), count)
    }
}

/// Whose word stands when the ledger has come to event `at`.
fn standing<'a>(supports: &'a [Support], gone: &'a BTreeMap<NodeId, u64>, at: u64) -> impl Iterator<Item = &'a Support> {
    let is_gone = move |support: &Support| gone.get(&support.judge).is_some_and(|gone| *gone <= at);
    supports.iter().filter(move |support| support.index <= at && !is_gone(support))
}

/// The first event with which enough judges stand for the bytes, one of whom at least built them.
fn agreed_at(supports: &[Support], gone: &BTreeMap<NodeId, u64>, needed: usize) -> Option<u64> {
    let indexes: BTreeSet<u64> = supports.iter().map(|support| support.index).collect();
    indexes.into_iter().find(|at| {
        standing(supports, gone, *at).count() >= needed && standing(supports, gone, *at).any(|support| support.has_built)
    })
}
