//! Who is authorized, and who is on the way to be.

use super::{Place, Table};
use crate::block::Height;
use crate::certificate::absolute_majority;
use crate::identity::NodeId;
use crate::state_root::{StateSum, TableId};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::Serialize;

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

#[derive(Clone, Debug)]
pub struct Members {
    active: Table<NodeId, Member>,
    candidates: Table<NodeId, Candidate>,
    changed_at: Height,
}

impl Members {
    pub(super) fn new() -> Self {
        Self { active: Table::new(TableId::Members), candidates: Table::new(TableId::Candidates), changed_at: Height::GENESIS }
    }

    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
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

    /// The height of the newest block that changed the set.
    pub(crate) fn changed_at(&self) -> Height {
        self.changed_at
    }

    pub(super) fn approve(&mut self, sum: &mut StateSum, place: Place, node: NodeId, authorizers: &[NodeId]) {
        let mut candidate = self.candidates.get(&node).cloned().unwrap_or_default();
        candidate.approvals.push(place.author);
        candidate.approvals.sort_unstable();
        let counted = candidate.approvals.iter().filter(|author| authorizers.contains(author)).count();
        if candidate.approved_at.is_none() && counted >= absolute_majority(authorizers.len()) {
            candidate.approved_at = Some(place.height);
        }
        self.candidates.put(sum, node, candidate);
    }

    pub(super) fn activate(&mut self, sum: &mut StateSum, place: Place) {
        self.candidates.take(sum, &place.author);
        self.active.put(sum, place.author, Member { since: place.height.next() });
        self.changed_at = place.height;
    }
}
