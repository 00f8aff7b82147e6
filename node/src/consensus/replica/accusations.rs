//! Nodes that were caught contradicting themselves, until the ledger says so.
//!
//! Everybody who saw the contradiction could report it, and one report is enough: the validators take turns, each waiting for
//! those before it. What the ledger has is let go of. Evidence is checked before it is kept, so that nothing forged waits here.

use super::{Output, Replica, ReplicaError, Store};
use pyrsia_ledger::event::{BuildResultCommitted, EquivocationProved};
use pyrsia_ledger::evidence::SignedCommitment;
use pyrsia_ledger::{Event, Evidence, NodeId, Projections, SignedEvent};
use std::collections::BTreeMap;
use tracing::warn;

/// How long each validator leaves a report to the one before it.
const TURN_MS: u64 = 2_000;
/// The most accused nodes whose contradictions wait: as many as there are validators is enough.
const ACCUSED_MAX: usize = 256;

#[derive(Debug)]
struct Accusation {
    evidence: Evidence,
    since_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct Accusations {
    waiting: BTreeMap<NodeId, Accusation>,
}

impl Accusations {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl<S: Store> Replica<S> {
    /// Takes note of a contradiction; returns whether it is one that was not known.
    pub(super) fn accuse(&mut self, evidence: Evidence) -> bool {
        let Some(state) = self.state.clone() else { return false };
        let accused = evidence.accused();
        if accused == self.id || !is_punishable(&state, &accused) || self.accusations.waiting.contains_key(&accused) {
            return false;
        }
        if self.accusations.len() >= ACCUSED_MAX || evidence.check(state.network()).is_err() {
            return false;
        }
        warn!(node = %accused, "a node signed two statements that contradict each other");
        self.outputs.push(Output::Equivocation(accused));
        self.accusations.waiting.insert(accused, Accusation { evidence, since_ms: self.now_ms });
        true
    }

    /// Reports what it is this node's turn to report.
    pub(super) fn report_accusations(&mut self) -> Result<(), ReplicaError> {
        let Some(state) = self.state.clone().filter(|_| self.accusations.len() > 0) else { return Ok(()) };
        self.accusations.waiting.retain(|accused, _| is_punishable(&state, accused));
        if !self.is_validator() {
            return Ok(());
        }
        let validators = state.validators();
        let others: Vec<NodeId> = validators.nodes().to_vec();
        let turn_ms = |accused: &NodeId| {
            let judges = others.iter().filter(|node| *node != accused);
            let behind = judges.clone().filter(|node| *node > accused).count();
            let rank = judges.clone().position(|node| *node == self.id).unwrap_or(0);
            // The first is the one behind the accused in the order of their keys.
            let count = judges.count().max(1);
            ((rank + behind) % count) as u64 * TURN_MS
        };
        let is_due = |accused: &NodeId, accusation: &Accusation| {
            self.now_ms.abs_diff(accusation.since_ms) >= turn_ms(accused) && !self.own.accuses(accused)
        };
        let due = self.accusations.waiting.iter().filter(|(accused, accusation)| is_due(accused, accusation));
        let events: Vec<Event> = due
            .map(|(_, accusation)| Box::new(accusation.evidence.clone()))
            .map(|evidence| Event::EquivocationProved(EquivocationProved { evidence }))
            .collect();
        if events.is_empty() {
            return Ok(());
        }
        // A refusal leaves it for the next tick.
        self.admit_own(events).map(|_| ())
    }

    /// Looks whether a commitment contradicts one that its author signed before: one that stands on the ledger, or one that waits
    /// for a block. The signature of `event` is good.
    pub(super) fn watch_commitment(&mut self, event: &SignedEvent) -> Result<(), ReplicaError> {
        let (Event::BuildResultCommitted(body), Some(state)) = (event.event(), self.state.clone()) else { return Ok(()) };
        let author = event.author();
        let contradicts = |first: &SignedEvent| {
            first.author() == author
                && matches!(first.event(), Event::BuildResultCommitted(BuildResultCommitted { build_id, commitment })
                    if *build_id == body.build_id && *commitment != body.commitment)
        };
        let waiting = self.mempool.of_author(&author).find(|first| contradicts(first)).cloned();
        let first = match (waiting, state.builds.commitment(&body.build_id, &author)) {
            (Some(waiting), _) => Some(waiting),
            (None, Some((height, commitment))) if commitment != body.commitment => {
                let block = self.store.blocks(height, 1)?.into_iter().next();
                block.and_then(|sealed| sealed.block.events.into_iter().find(contradicts))
            }
            (None, _) => None,
        };
        if let Some((first, second)) = first.as_ref().and_then(SignedCommitment::of).zip(SignedCommitment::of(event)) {
            self.accuse(Evidence::Commitments { first, second });
        }
        Ok(())
    }

    /// Whether an event, before its signature is checked, is a commitment that could prove something against its author.
    pub(super) fn is_suspicious(&self, event: &SignedEvent) -> bool {
        let (Event::BuildResultCommitted(body), Some(state)) = (event.event(), &self.state) else { return false };
        let author = event.author();
        let is_other = |commitment| commitment != body.commitment;
        author != self.id
            && !self.accusations.waiting.contains_key(&author)
            && is_punishable(state, &author)
            && (state.builds.commitment(&body.build_id, &author).is_some_and(|(_, commitment)| is_other(commitment))
                || self.mempool.of_author(&author).any(|waiting| {
                    matches!(waiting.event(), Event::BuildResultCommitted(first)
                        if first.build_id == body.build_id && is_other(first.commitment))
                }))
    }
}

fn is_punishable(state: &Projections, node: &NodeId) -> bool {
    state.members.suspended(node).is_none() && (state.members.contains(node) || state.members.candidate(node).is_some())
}
