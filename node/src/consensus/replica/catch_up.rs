//! Whom to ask for the blocks this node lacks: who claims to have them, and what is being asked.
//!
//! A claim is only a reason to ask. It is forgotten when the peer does not deliver, so that a liar costs one waiting time.

use pyrsia_ledger::{Height, NodeId};
use std::collections::BTreeMap;

/// How long a peer may take to answer with a range of blocks.
const ANSWER_MS_MAX: u64 = 5_000;
/// How long a running height may need for the block that a peer has already, before it is fetched instead.
const PATIENCE_MS: u64 = 500;
/// The most peers whose claims are remembered.
const CLAIMS_MAX: usize = 1_024;

#[derive(Clone, Copy, Debug)]
struct Claim {
    height: Height,
    since_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Question {
    peer: NodeId,
    asked_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct CatchUp {
    claims: BTreeMap<NodeId, Claim>,
    question: Option<Question>,
}

/// Whether this node is working on the next block itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Idle,
    HeightRuns,
}

impl CatchUp {
    pub(super) fn claim(&mut self, peer: NodeId, height: Height, now_ms: u64) {
        let is_full = self.claims.len() >= CLAIMS_MAX;
        match self.claims.get_mut(&peer) {
            Some(claim) if claim.height >= height => {}
            Some(claim) => *claim = Claim { height, since_ms: now_ms },
            None if is_full => {}
            None => {
                self.claims.insert(peer, Claim { height, since_ms: now_ms });
            }
        }
    }

    pub(super) fn forget(&mut self, peer: &NodeId) {
        self.claims.remove(peer);
        self.answered(peer);
    }

    pub(super) fn answered(&mut self, peer: &NodeId) {
        if self.question.is_some_and(|question| question.peer == *peer) {
            self.question = None;
        }
    }

    pub(super) fn is_asking(&self) -> bool {
        self.question.is_some()
    }

    /// The peer to ask for blocks from `wanted` on, if it is time to ask somebody.
    pub(super) fn ask(&mut self, wanted: Height, work: Work, now_ms: u64) -> Option<NodeId> {
        if let Some(question) = self.question {
            if now_ms < question.asked_ms + ANSWER_MS_MAX {
                return None;
            }
            self.forget(&question.peer);
        }
        let is_due = |claim: &Claim| match work {
            Work::HeightRuns if claim.height == wanted => now_ms >= claim.since_ms + PATIENCE_MS,
            Work::HeightRuns | Work::Idle => claim.height >= wanted,
        };
        let (&peer, _) = self.claims.iter().filter(|(_, claim)| is_due(claim)).max_by_key(|(_, claim)| claim.height)?;
        self.question = Some(Question { peer, asked_ms: now_ms });
        Some(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> NodeId {
        NodeId::from_public_key([n; 32])
    }

    #[test]
    fn a_peer_that_does_not_answer_is_forgotten_and_another_one_is_asked() {
        let mut catch_up = CatchUp::default();
        catch_up.claim(peer(1), Height(900), 0);
        catch_up.claim(peer(2), Height(5), 0);
        assert_eq!(catch_up.ask(Height(1), Work::Idle, 0), Some(peer(1)));
        assert_eq!(catch_up.ask(Height(1), Work::Idle, ANSWER_MS_MAX - 1), None);
        assert_eq!(catch_up.ask(Height(1), Work::Idle, ANSWER_MS_MAX), Some(peer(2)));
        catch_up.answered(&peer(2));
        assert_eq!(catch_up.ask(Height(6), Work::Idle, ANSWER_MS_MAX), None);
    }

    #[test]
    fn a_running_height_gets_a_moment_before_its_block_is_fetched() {
        let mut catch_up = CatchUp::default();
        catch_up.claim(peer(1), Height(3), 0);
        assert_eq!(catch_up.ask(Height(3), Work::HeightRuns, PATIENCE_MS - 1), None);
        assert_eq!(catch_up.ask(Height(3), Work::HeightRuns, PATIENCE_MS), Some(peer(1)));
    }
}
