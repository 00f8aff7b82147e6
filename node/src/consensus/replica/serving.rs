//! Answering peers that lack blocks, within bounds: reading blocks is work for the thread that also agrees on them.
//!
//! One question of each peer waits, they are answered in turn, and only so many bytes are read in a second for all of them.
//! A peer that asks without pause waits as long as everybody else.

use pyrsia_ledger::{Height, NodeId};
use std::collections::VecDeque;

/// What is read for peers in a second, about a fifth of the time of the thread, and at once after a quiet time.
const BYTES_PER_SECOND: i64 = 24 << 20;
const BYTES_AT_ONCE_MAX: i64 = 32 << 20;
/// What an answer costs at least.
const ANSWER_BYTES_MIN: i64 = 8 << 10;
/// The most peers whose questions wait.
const QUESTIONS_MAX: usize = 1_024;

#[derive(Debug)]
pub(super) struct Serving {
    questions: VecDeque<(NodeId, Height)>,
    /// Below zero after an answer that was longer than what was left.
    left_bytes: i64,
    refilled_ms: u64,
}

impl Serving {
    pub(super) fn new(now_ms: u64) -> Self {
        Self { questions: VecDeque::new(), left_bytes: BYTES_AT_ONCE_MAX, refilled_ms: now_ms }
    }

    /// A peer wants blocks from `first` on. What it asked before and waits for is replaced.
    pub(super) fn ask(&mut self, peer: NodeId, first: Height) {
        let is_full = self.questions.len() >= QUESTIONS_MAX;
        match self.questions.iter_mut().find(|(asking, _)| *asking == peer) {
            Some(question) => question.1 = first,
            None if is_full => {}
            None => self.questions.push_back((peer, first)),
        }
    }

    pub(super) fn forget(&mut self, peer: &NodeId) {
        self.questions.retain(|(asking, _)| asking != peer);
    }

    /// The question to answer, if it is time to answer one.
    pub(super) fn next(&mut self, now_ms: u64) -> Option<(NodeId, Height)> {
        let passed_ms = i64::try_from(now_ms.saturating_sub(self.refilled_ms)).unwrap_or(i64::MAX);
        let refill_bytes = passed_ms.saturating_mul(BYTES_PER_SECOND) / 1_000;
        self.left_bytes = self.left_bytes.saturating_add(refill_bytes).min(BYTES_AT_ONCE_MAX);
        self.refilled_ms = now_ms;
        if self.left_bytes > 0 { self.questions.pop_front() } else { None }
    }

    pub(super) fn answered(&mut self, size_bytes: usize) {
        let size_bytes = i64::try_from(size_bytes).unwrap_or(i64::MAX);
        self.left_bytes = self.left_bytes.saturating_sub(size_bytes.max(ANSWER_BYTES_MIN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> NodeId {
        NodeId::from_public_key([n; 32])
    }

    #[test]
    fn a_peer_that_asks_without_pause_waits_its_turn_and_gets_only_so_much() {
        let mut serving = Serving::new(0);
        let range_bytes = 1 << 20;
        let mut served = vec![];
        for now_ms in 0..10_000 {
            for _ in 0..10 {
                serving.ask(peer(1), Height(0));
            }
            serving.ask(peer(2), Height(7));
            while let Some((asking, _)) = serving.next(now_ms) {
                serving.answered(range_bytes);
                served.push(asking);
            }
        }
        let bound = (BYTES_AT_ONCE_MAX + 10 * BYTES_PER_SECOND) as usize / range_bytes + 1;
        assert!(served.len() <= bound, "{} ranges in ten seconds", served.len());
        let modest = served.iter().filter(|asking| **asking == peer(2)).count();
        assert!(modest >= served.len() / 2 - 1, "{modest} of {} for the one that asks once", served.len());
    }

    #[test]
    fn only_the_newest_question_of_a_peer_waits_and_none_of_one_that_is_gone() {
        let mut serving = Serving::new(0);
        serving.ask(peer(1), Height(1));
        serving.ask(peer(2), Height(2));
        serving.ask(peer(1), Height(3));
        serving.forget(&peer(2));
        assert_eq!(serving.next(0), Some((peer(1), Height(3))));
        assert_eq!(serving.next(0), None);
    }
}
