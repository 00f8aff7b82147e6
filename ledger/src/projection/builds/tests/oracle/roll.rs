//! Who is authorized, and what its coming and going means for the judges of every build.

use super::*;

/// Who is authorized, by the list of approvals alone.
#[derive(Default)]
pub(super) struct Roll {
    pub(super) members: BTreeSet<NodeId>,
    wanted: BTreeMap<NodeId, BTreeSet<NodeId>>,
    approved: BTreeSet<NodeId>,
    unwanted: BTreeMap<(NodeId, Option<u64>), BTreeSet<NodeId>>,
    removed_at: BTreeMap<NodeId, u64>,
}

impl Roll {
    pub(super) fn of(members: Vec<NodeId>) -> Self {
        Self { members: members.into_iter().collect(), ..Self::default() }
    }

    fn is_majority(&self, authors: &BTreeSet<NodeId>) -> bool {
        2 * authors.intersection(&self.members).count() > self.members.len()
    }

    fn remove(&mut self, node: NodeId, height: u64) -> Vec<Said> {
        if !self.members.remove(&node) {
            return vec![];
        }
        self.removed_at.insert(node, height);
        vec![Said::Left(node)]
    }

    /// What an event that stands means for the judges of every build.
    pub(super) fn note(&mut self, height: u64, author: NodeId, event: &Event) -> Vec<Said> {
        match event {
            Event::NodeAuthorizationApproved(body) => {
                let authors = self.wanted.entry(body.node).or_default();
                authors.insert(author);
                let authors = authors.clone();
                if self.is_majority(&authors) {
                    self.approved.insert(body.node);
                }
                vec![]
            }
            Event::NodeActivated(_) => {
                assert!(self.approved.remove(&author), "nobody comes in without a majority");
                self.wanted.remove(&author);
                self.unwanted.retain(|(node, _), _| *node != author);
                self.members.insert(author);
                vec![Said::Returned(author)]
            }
            Event::NodeRevocationApproved(body) => {
                let key = (body.node, body.compromised_since);
                for ((node, since), authors) in &mut self.unwanted {
                    if *node == body.node && *since != body.compromised_since {
                        authors.remove(&author);
                    }
                }
                let authors = self.unwanted.entry(key).or_default();
                authors.insert(author);
                let authors = authors.clone();
                if !self.is_majority(&authors) {
                    return vec![];
                }
                self.unwanted.retain(|(node, _), _| *node != body.node);
                self.wanted.remove(&body.node);
                self.approved.remove(&body.node);
                let mut happened = self.remove(body.node, height);
                let compromised = |since| Said::Compromised(body.node, since, self.removed_at[&body.node]);
                happened.extend(body.compromised_since.map(compromised));
                happened
            }
            Event::EquivocationProved(body) => {
                let accused = body.evidence.accused();
                self.unwanted.retain(|(node, _), _| *node != accused);
                self.wanted.remove(&accused);
                self.approved.remove(&accused);
                self.remove(accused, height)
            }
            _ => vec![],
        }
    }
}
