//! Which of the other validators are heard of: what to tell an operator whose network does not go on.

use pyrsia_ledger::{NodeId, Projections};
use serde::Serialize;
use std::collections::BTreeMap;

/// A validator that says nothing for so long is missed: three of the intervals in which each tells how far it is.
const UNHEARD_MS_MAX: u64 = 3 * super::STATUS_INTERVAL_MS;

/// A validator of whom nothing is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AbsentValidator {
    pub node: NodeId,
    /// When it was last heard, or when this node began to listen, in milliseconds since the Unix epoch by this node's clock.
    pub since_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    at_ms: u64,
    is_lost: bool,
}

#[derive(Debug)]
pub(super) struct Committee {
    began_ms: u64,
    /// Of validators only; a crowd of strangers takes no room here.
    heard: BTreeMap<NodeId, Heard>,
}

impl Committee {
    pub(super) const fn new(now_ms: u64) -> Self {
        Self { began_ms: now_ms, heard: BTreeMap::new() }
    }

    pub(super) fn heard(&mut self, node: NodeId, now_ms: u64) {
        if let Some(heard) = self.heard.get_mut(&node) {
            *heard = Heard { at_ms: now_ms, is_lost: false };
        }
    }

    pub(super) fn lost(&mut self, node: NodeId, now_ms: u64) {
        if let Some(heard) = self.heard.get_mut(&node).filter(|heard| !heard.is_lost) {
            *heard = Heard { at_ms: now_ms, is_lost: true };
        }
    }

    /// Listens for those who are validators.
    pub(super) fn tick(&mut self, state: Option<&Projections>, now_ms: u64) {
        let Some(state) = state else { return };
        self.heard.retain(|node, _| state.is_validator(node));
        let listening = Heard { at_ms: now_ms.max(self.began_ms), is_lost: true };
        for node in state.validators().nodes() {
            self.heard.entry(*node).or_insert(listening);
        }
    }

    /// The validators besides `me` of whom nothing is heard.
    pub(super) fn absent(&self, me: &NodeId, now_ms: u64) -> Vec<AbsentValidator> {
        let is_absent = |heard: &Heard| heard.is_lost || now_ms.saturating_sub(heard.at_ms) > UNHEARD_MS_MAX;
        let others = self.heard.iter().filter(|(node, heard)| *node != me && is_absent(heard));
        others.map(|(node, heard)| AbsentValidator { node: *node, since_ms: heard.at_ms }).collect()
    }
}
