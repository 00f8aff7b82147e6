//! Who is authorized, who is on the way to be or not to be, and who was.

use super::snapshot::{RowReader, RowWriter};
use super::{Place, Table};
use crate::block::Height;
use crate::certificate::ValidatorSet;
use crate::identity::NodeId;
use crate::signed::EventId;
use crate::state_root::{StateSum, TableId};
use borsh::{BorshDeserialize, BorshSerialize};
use imbl::Vector;
use serde::Serialize;
use std::io;

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Member {
    /// The first height whose block it signs.
    pub since: Height,
}

/// A node that somebody wants to authorize.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Candidate {
    pub approvals: Vec<NodeId>,
    /// When an absolute majority had approved; from then on the node may activate itself.
    pub approved_at: Option<Height>,
}

/// What is revoked: a node, and from which height on what it said about builds does not count.
pub type RevocationKey = (NodeId, Option<u64>);

/// A revocation that no majority has approved yet. Of each member one stands for each node: the newest.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Revocation {
    pub approvals: Vec<NodeId>,
}

/// A node that was authorized.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Former {
    /// The first height whose block it signed, and the last.
    pub since: Height,
    pub until: Height,
    /// From where to `until` its word about builds does not count.
    pub compromised_since: Option<Height>,
    /// The same of times at which it was authorized before, each from and to a height.
    pub compromised_before: Vec<(Height, Height)>,
}

/// A key that signed what no honest node signs. It is never authorized again.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Suspension {
    pub height: Height,
    /// The event that carries the evidence.
    pub event: EventId,
}

#[derive(Clone, Debug)]
pub struct Members {
    active: Table<NodeId, Member>,
    candidates: Table<NodeId, Candidate>,
    revocations: Table<RevocationKey, Revocation>,
    former: Table<NodeId, Former>,
    suspended: Table<NodeId, Suspension>,
    /// The heights of the blocks that changed the set, each once, in ascending order. Follows from the events and is no row.
    changes: Vector<Height>,
}

/// Adds an approval, each author's once.
pub(crate) fn add_approval(approvals: &mut Vec<NodeId>, author: NodeId) {
    if let Err(at) = approvals.binary_search(&author) {
        approvals.insert(at, author);
    }
}

impl Members {
    pub(super) fn new() -> Self {
        Self {
            active: Table::new(TableId::Members),
            candidates: Table::new(TableId::Candidates),
            revocations: Table::new(TableId::Revocations),
            former: Table::new(TableId::Former),
            suspended: Table::new(TableId::Suspended),
            changes: Vector::new(),
        }
    }

    pub(super) fn save(&self, out: &mut RowWriter<'_>) -> io::Result<()> {
        out.table(&self.active)?;
        out.table(&self.candidates)?;
        out.table(&self.revocations)?;
        out.table(&self.former)?;
        out.table(&self.suspended)?;
        out.value(&self.changes.iter().collect::<Vec<_>>())
    }

    pub(super) fn load(rows: &mut RowReader<'_>) -> io::Result<Self> {
        Ok(Self {
            active: rows.table(TableId::Members)?,
            candidates: rows.table(TableId::Candidates)?,
            revocations: rows.table(TableId::Revocations)?,
            former: rows.table(TableId::Former)?,
            suspended: rows.table(TableId::Suspended)?,
            changes: rows.value::<Vec<Height>>()?.into(),
        })
    }

    pub(super) fn add_to(&self, sum: &mut StateSum, pause: &mut dyn FnMut() -> bool) -> Option<()> {
        self.active.add_to(sum, pause)?;
        self.candidates.add_to(sum, pause)?;
        self.revocations.add_to(sum, pause)?;
        self.former.add_to(sum, pause)?;
        self.suspended.add_to(sum, pause)
    }

    pub(super) fn settle(&mut self, sum: &mut StateSum) {
        self.active.settle(sum);
        self.candidates.settle(sum);
        self.revocations.settle(sum);
        self.former.settle(sum);
        self.suspended.settle(sum);
    }

    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    pub fn len(&self) -> usize {
        self.active.len()
    }

    /// The authorized nodes, in ascending order of their keys.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.active.iter().map(|(node, _)| *node).collect()
    }

    pub fn contains(&self, node: &NodeId) -> bool {
        self.active.contains(node)
    }

    pub fn active(&self) -> impl DoubleEndedIterator<Item = (&NodeId, &Member)> {
        self.active.iter()
    }

    pub fn candidate(&self, node: &NodeId) -> Option<&Candidate> {
        self.candidates.get(node)
    }

    pub fn candidates(&self) -> impl DoubleEndedIterator<Item = (&NodeId, &Candidate)> {
        self.candidates.iter()
    }

    /// How many candidates without a majority the author approves of.
    pub(crate) fn open_candidates_of(&self, author: &NodeId) -> usize {
        let is_open = |candidate: &Candidate| candidate.approved_at.is_none() && candidate.approvals.contains(author);
        self.candidates().filter(|(_, candidate)| is_open(candidate)).count()
    }

    pub fn revocation(&self, key: &RevocationKey) -> Option<&Revocation> {
        self.revocations.get(key)
    }

    /// Revocations that wait for a majority.
    pub fn revocations(&self) -> impl DoubleEndedIterator<Item = (&RevocationKey, &Revocation)> {
        self.revocations.iter()
    }

    pub fn suspended(&self, node: &NodeId) -> Option<&Suspension> {
        self.suspended.get(node)
    }

    pub fn suspensions(&self) -> impl DoubleEndedIterator<Item = (&NodeId, &Suspension)> {
        self.suspended.iter()
    }

    /// Nodes that were authorized and are not.
    pub fn former(&self) -> impl DoubleEndedIterator<Item = (&NodeId, &Former)> {
        self.former.iter().filter(|(node, _)| !self.active.contains(node))
    }

    /// When a node ceased to be authorized, if it is not.
    pub fn former_member(&self, node: &NodeId) -> Option<&Former> {
        self.former.get(node).filter(|_| !self.active.contains(node))
    }

    /// Whether what `node` said at a height does not count any more.
    pub fn was_compromised(&self, node: &NodeId, at: Height) -> bool {
        self.former.get(node).is_some_and(|former| {
            let newest = former.compromised_since.map(|since| (since, former.until));
            newest.iter().chain(&former.compromised_before).any(|(since, until)| (*since..=*until).contains(&at))
        })
    }

    /// The heights of the blocks that changed the set, in ascending order.
    pub fn changes(&self) -> impl DoubleEndedIterator<Item = Height> {
        self.changes.iter().copied()
    }

    /// The height of the newest block that changed the set.
    pub(crate) fn changed_at(&self) -> Option<Height> {
        self.changes.last().copied()
    }

    pub(super) fn approve(&mut self, place: Place, node: NodeId, authorizers: &ValidatorSet) {
        let mut candidate = self.candidates.get(&node).cloned().unwrap_or_default();
        add_approval(&mut candidate.approvals, place.author);
        if candidate.approved_at.is_none() && authorizers.has_majority(&candidate.approvals) {
            candidate.approved_at = Some(place.height);
        }
        self.candidates.put(node, candidate);
    }

    pub(super) fn activate(&mut self, place: Place) {
        let node = place.author;
        self.candidates.take(&node);
        // What was approved against it is about the time before.
        self.forget_revocations(&node);
        self.active.put(node, Member { since: place.height.next() });
        self.changes.push_back(place.height);
    }

    fn revocations_of(&self, node: &NodeId) -> impl Iterator<Item = (&RevocationKey, &Revocation)> {
        self.revocations.range((*node, None)..=(*node, Some(u64::MAX)))
    }

    fn forget_revocations(&mut self, node: &NodeId) {
        let approved: Vec<RevocationKey> = self.revocations_of(node).map(|(key, _)| *key).collect();
        for key in approved {
            self.revocations.take(&key);
        }
    }

    /// Takes back what `author` approved against the node until then: a height for every event would fill the ledger's state.
    fn withdraw_revocations(&mut self, author: &NodeId, node: &NodeId) {
        let approved = self.revocations_of(node).filter(|(_, revocation)| revocation.approvals.contains(author));
        let approved: Vec<(RevocationKey, Revocation)> = approved.map(|(key, found)| (*key, found.clone())).collect();
        for (key, mut revocation) in approved {
            revocation.approvals.retain(|approver| approver != author);
            if revocation.approvals.is_empty() {
                self.revocations.take(&key);
            } else {
                self.revocations.put(key, revocation);
            }
        }
    }

    /// Adds an approval of a revocation in the place of the author's earlier one; returns whether a majority wants it, which
    /// ends a candidacy.
    pub(super) fn approve_revocation(&mut self, place: Place, key: RevocationKey, authorizers: &ValidatorSet) -> bool {
        let (node, _) = key;
        self.withdraw_revocations(&place.author, &node);
        let mut revocation = self.revocations.get(&key).cloned().unwrap_or_default();
        add_approval(&mut revocation.approvals, place.author);
        let is_decided = authorizers.has_majority(&revocation.approvals);
        if is_decided {
            self.forget_revocations(&node);
            self.candidates.take(&node);
        } else {
            self.revocations.put(key, revocation);
        }
        is_decided
    }

    /// Takes a node out of the set; its former times are kept.
    pub(super) fn remove(&mut self, place: Place, node: NodeId) {
        let member = self.active.get(&node).expect("policy lets only members be removed").clone();
        let before = self.former.get(&node);
        let mut compromised_before = before.map_or(vec![], |former| former.compromised_before.clone());
        compromised_before.extend(before.and_then(|former| Some((former.compromised_since?, former.until))));
        let former = Former { since: member.since, until: place.height, compromised_since: None, compromised_before };
        self.active.take(&node);
        self.former.put(node, former);
        self.changes.push_back(place.height);
    }

    /// Notes from where on the word of a former member does not count.
    pub(super) fn compromise(&mut self, node: NodeId, since: Height) {
        let mut former = self.former.get(&node).expect("policy lets only former members be compromised").clone();
        former.compromised_since = Some(former.compromised_since.map_or(since, |earlier| earlier.min(since)));
        self.former.put(node, former);
    }

    /// Keeps a key from ever being authorized again.
    pub(super) fn suspend(&mut self, place: Place, node: NodeId) {
        self.candidates.take(&node);
        self.forget_revocations(&node);
        self.suspended.put(node, Suspension { height: place.height, event: place.event });
    }
}

#[cfg(test)]
mod tests;
