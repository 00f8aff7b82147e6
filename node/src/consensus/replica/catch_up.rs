//! Whom to ask for the blocks this node lacks: who claims to have them, and what is being asked.
//!
//! A claim is only a reason to ask, and costs nothing to make. Whoever claimed and did not deliver comes after all others, a
//! validator before everybody else, and whoever has delivered before whoever has not: peers that only claim, however many and
//! however high, cannot keep this node from those that have the blocks. Nor does anything wait for the answer of a peer that
//! failed before. What was not asked for is not looked at, and whoever answered with nothing of use gains no time by it: it is asked
//! again no sooner than if it had not answered at all.

use pyrsia_ledger::{Height, NodeId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// How long a peer may take to answer with a range of blocks.
const ANSWER_MS_MAX: u64 = 5_000;
/// How long a running height may need for the block that a peer has already, before it is fetched instead.
const PATIENCE_MS: u64 = 500;
/// The most peers whose claims, failures or deliveries are remembered.
const PEERS_MAX: usize = 1_024;

#[derive(Clone, Copy, Debug)]
struct Claim {
    height: Height,
    since_ms: u64,
    /// Counts the claims: of equals, the peer that this node met first is asked first.
    ordinal: u64,
}

#[derive(Clone, Copy, Debug)]
struct Question {
    peer: NodeId,
    wanted: Height,
    asked_ms: u64,
    /// Whether the peer had not failed when it was asked.
    is_trusted: bool,
}

/// How much a claim is worth: the less, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    failures: u32,
    is_validator: Reverse<bool>,
    has_delivered: Reverse<bool>,
}

impl Standing {
    fn is_trusted(self) -> bool {
        self.failures == 0
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    count: u32,
    /// When it last answered with nothing of use.
    answered_ms: Option<u64>,
}

impl Failures {
    /// Whether the peer is left alone. A clock that was set back must not make the pause longer.
    fn is_pausing(self, now_ms: u64) -> bool {
        self.answered_ms.is_some_and(|answered_ms| (answered_ms..answered_ms + ANSWER_MS_MAX).contains(&now_ms))
    }
}

#[derive(Debug, Default)]
pub(super) struct CatchUp {
    claims: BTreeMap<NodeId, Claim>,
    claims_made: u64,
    question: Option<Question>,
    /// Questions that a connected peer has not answered: an answer may be late.
    unanswered: BTreeMap<NodeId, u32>,
    /// How often a peer did not deliver since it last did. Outlives its connection.
    failures: BTreeMap<NodeId, Failures>,
    delivered: BTreeSet<NodeId>,
}

/// Whether this node is working on the next block itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Idle,
    HeightRuns,
}

impl CatchUp {
    pub(super) fn claim(&mut self, peer: NodeId, height: Height, now_ms: u64) {
        let is_full = self.claims.len() >= PEERS_MAX;
        match self.claims.get_mut(&peer) {
            Some(claim) if claim.height >= height => {}
            Some(claim) => (claim.height, claim.since_ms) = (height, now_ms),
            None if is_full => {}
            None => {
                self.claims_made += 1;
                self.claims.insert(peer, Claim { height, since_ms: now_ms, ordinal: self.claims_made });
            }
        }
    }

    /// The peer is gone, or of another network.
    pub(super) fn forget(&mut self, peer: &NodeId) {
        self.claims.remove(peer);
        self.unanswered.remove(peer);
        if self.end_question(peer) {
            self.count_failure(*peer);
        }
    }

    /// The peer answered with nothing of use.
    fn failed(&mut self, peer: &NodeId, now_ms: u64) {
        self.give_up(peer);
        if let Some(failures) = self.failures.get_mut(peer) {
            failures.answered_ms = Some(now_ms);
        }
    }

    /// The peer answered with a block that does not follow. No other answer of it is listened to until it is asked again.
    pub(super) fn misled(&mut self, peer: &NodeId, now_ms: u64) {
        self.unanswered.remove(peer);
        self.failed(peer, now_ms);
    }

    fn give_up(&mut self, peer: &NodeId) {
        self.claims.remove(peer);
        self.end_question(peer);
        self.count_failure(*peer);
    }

    /// The peer answered with a block that follows.
    pub(super) fn delivered(&mut self, peer: &NodeId) {
        self.failures.remove(peer);
        if self.delivered.len() >= PEERS_MAX {
            self.delivered.pop_first();
        }
        self.delivered.insert(*peer);
    }

    /// Whether an answer of this peer is waited for, which begins with the block at `first`. Each question is answered once; whoever
    /// answers it with no block, or from another one on, has not answered it.
    pub(super) fn answered(&mut self, peer: &NodeId, first: Option<Height>, now_ms: u64) -> bool {
        let Some(questions) = self.unanswered.get_mut(peer) else { return false };
        *questions -= 1;
        if *questions == 0 {
            self.unanswered.remove(peer);
        }
        let question = self.take_question(peer);
        if first.is_none() || question.is_some_and(|question| first != Some(question.wanted)) {
            self.failed(peer, now_ms);
        }
        true
    }

    fn take_question(&mut self, peer: &NodeId) -> Option<Question> {
        self.question.take_if(|question| question.peer == *peer)
    }

    /// This node is free again to hear the answer, which may have come long ago: it has its time from here on.
    pub(super) fn listen_again(&mut self, now_ms: u64) {
        if let Some(question) = &mut self.question {
            question.asked_ms = now_ms;
        }
    }

    fn end_question(&mut self, peer: &NodeId) -> bool {
        self.take_question(peer).is_some()
    }

    fn count_failure(&mut self, peer: NodeId) {
        if !self.failures.contains_key(&peer) && self.failures.len() >= PEERS_MAX {
            let least = self.failures.iter().min_by_key(|(_, failures)| failures.count).map(|(peer, _)| *peer);
            least.and_then(|least| self.failures.remove(&least));
        }
        let failures = self.failures.entry(peer).or_default();
        failures.count = failures.count.saturating_add(1);
    }

    pub(super) fn is_asking(&self) -> bool {
        self.question.is_some()
    }

    /// Whether there is reason to believe that this node is behind: the claim of a peer that failed before is none.
    pub(super) fn is_behind(&self) -> bool {
        self.question.is_some_and(|question| question.is_trusted)
    }

    fn standing(&self, peer: &NodeId, is_validator: impl Fn(&NodeId) -> bool) -> Standing {
        Standing {
            failures: self.failures.get(peer).map_or(0, |failures| failures.count),
            is_validator: Reverse(is_validator(peer)),
            has_delivered: Reverse(self.delivered.contains(peer)),
        }
    }

    /// The peer to ask for blocks from `wanted` on, if it is time to ask somebody. A question to a peer that failed before is
    /// left as soon as there is a better one to ask; its answer is welcome all the same.
    pub(super) fn ask(
        &mut self,
        wanted: Height,
        work: Work,
        now_ms: u64,
        is_validator: impl Fn(&NodeId) -> bool,
    ) -> Option<NodeId> {
        if let Some(question) = self.question {
            // A clock that was set back must not make a lost question wait until then.
            if !(question.asked_ms..question.asked_ms + ANSWER_MS_MAX).contains(&now_ms) {
                self.give_up(&question.peer);
            } else if question.is_trusted {
                return None;
            }
        }
        let is_due = |claim: &Claim| match work {
            Work::HeightRuns if claim.height == wanted => now_ms.abs_diff(claim.since_ms) >= PATIENCE_MS,
            Work::HeightRuns | Work::Idle => claim.height >= wanted,
        };
        let is_pausing = |peer: &NodeId| self.failures.get(peer).is_some_and(|failures| failures.is_pausing(now_ms));
        let due = self.claims.iter().filter(|(peer, claim)| is_due(claim) && !is_pausing(peer));
        let ranked = due.map(|(peer, claim)| (self.standing(peer, &is_validator), claim.ordinal, *peer));
        let (standing, _, peer) = ranked.min()?;
        let is_better = |question: Question| standing < self.standing(&question.peer, &is_validator);
        if !self.question.is_none_or(is_better) {
            return None;
        }
        self.question = Some(Question { peer, wanted, asked_ms: now_ms, is_trusted: standing.is_trusted() });
        *self.unanswered.entry(peer).or_default() += 1;
        Some(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> NodeId {
        NodeId::from_public_key([n; 32])
    }

    fn answers(catch_up: &mut CatchUp, peer: &NodeId, first: u64) -> bool {
        catch_up.answered(peer, Some(Height(first)), 0)
    }

    fn ask(catch_up: &mut CatchUp, wanted: u64, now_ms: u64) -> Option<NodeId> {
        catch_up.ask(Height(wanted), Work::Idle, now_ms, |_| false)
    }

    #[test]
    fn a_peer_that_does_not_answer_is_forgotten_and_another_one_is_asked() {
        let mut catch_up = CatchUp::default();
        catch_up.claim(peer(1), Height(900), 0);
        catch_up.claim(peer(2), Height(5), 0);
        assert_eq!(ask(&mut catch_up, 1, 0), Some(peer(1)));
        assert_eq!(ask(&mut catch_up, 1, ANSWER_MS_MAX - 1), None);
        assert_eq!(ask(&mut catch_up, 1, ANSWER_MS_MAX), Some(peer(2)));
        assert!(answers(&mut catch_up, &peer(2), 1));
        assert_eq!(ask(&mut catch_up, 6, ANSWER_MS_MAX), None);
    }

    #[test]
    fn peers_that_only_claim_come_after_one_that_delivers_however_often_they_claim() {
        let mut catch_up = CatchUp::default();
        let liars = [1, 2, 3].map(peer);
        let claim_again = |catch_up: &mut CatchUp, now_ms| {
            for liar in liars {
                catch_up.claim(liar, Height(u64::MAX), now_ms);
            }
        };
        let (mut now_ms, mut asked) = (0, vec![]);
        claim_again(&mut catch_up, now_ms);
        catch_up.claim(peer(9), Height(50), now_ms);
        for wanted in 1..=50 {
            let one = ask(&mut catch_up, wanted, now_ms).expect("somebody claims to have it");
            asked.push(one);
            if one == peer(9) {
                assert!(answers(&mut catch_up, &one, wanted));
                catch_up.delivered(&one);
            } else {
                now_ms += ANSWER_MS_MAX;
            }
            claim_again(&mut catch_up, now_ms);
        }
        assert_eq!(asked.iter().filter(|one| liars.contains(one)).count(), liars.len(), "each liar costs one waiting time");
    }

    #[test]
    fn validators_are_asked_first_and_then_those_who_were_met_first() {
        let mut catch_up = CatchUp::default();
        for (n, height) in [(1, 5), (2, 900), (3, 7)] {
            catch_up.claim(peer(n), Height(height), 0);
        }
        assert_eq!(catch_up.ask(Height(1), Work::Idle, 0, |node| *node == peer(3)), Some(peer(3)));
        catch_up.failed(&peer(3), 0);
        assert_eq!(catch_up.ask(Height(1), Work::Idle, 0, |node| *node == peer(3)), Some(peer(1)));
    }

    #[test]
    fn a_question_to_a_peer_that_failed_gives_way_to_a_better_one_and_holds_nothing_up() {
        let (liar, other) = (peer(1), peer(2));
        let mut catch_up = CatchUp::default();
        catch_up.claim(liar, Height(u64::MAX), 0);
        assert_eq!(ask(&mut catch_up, 1, 0), Some(liar));
        assert!(catch_up.is_behind(), "nothing is known against it yet");
        catch_up.claim(other, Height(5), 1);
        assert_eq!(ask(&mut catch_up, 1, 1), None, "the other one is no better");
        catch_up.forget(&other);
        assert_eq!(ask(&mut catch_up, 1, ANSWER_MS_MAX), None);
        catch_up.claim(liar, Height(u64::MAX), ANSWER_MS_MAX);
        assert_eq!(ask(&mut catch_up, 1, ANSWER_MS_MAX), Some(liar));
        assert!(catch_up.is_asking() && !catch_up.is_behind());
        catch_up.claim(other, Height(5), ANSWER_MS_MAX + 1);
        assert_eq!(ask(&mut catch_up, 1, ANSWER_MS_MAX + 1), Some(other));
        assert!(catch_up.is_behind());
        assert!(answers(&mut catch_up, &liar, 1), "its answer is welcome all the same");
        catch_up.delivered(&liar);
        assert_eq!(ask(&mut catch_up, 1, 2 * ANSWER_MS_MAX + 1), Some(liar), "who delivers is believed again");
        assert!(catch_up.is_behind());
    }

    #[test]
    fn an_answer_counts_once_also_when_it_is_late_and_only_if_there_was_a_question() {
        let mut catch_up = CatchUp::default();
        assert!(!answers(&mut catch_up, &peer(1), 1));
        catch_up.claim(peer(1), Height(9), 0);
        assert_eq!(ask(&mut catch_up, 1, 0), Some(peer(1)));
        assert_eq!(ask(&mut catch_up, 1, ANSWER_MS_MAX), None);
        assert!(answers(&mut catch_up, &peer(1), 1) && !answers(&mut catch_up, &peer(1), 1));
    }

    #[test]
    fn who_answers_with_other_blocks_than_those_asked_for_comes_after_all_others() {
        for first in [None, Some(Height(1)), Some(Height(900))] {
            let mut catch_up = CatchUp::default();
            catch_up.claim(peer(1), Height(900), 0);
            catch_up.claim(peer(2), Height(900), 0);
            assert_eq!(ask(&mut catch_up, 5, 0), Some(peer(1)));
            assert!(catch_up.answered(&peer(1), first, 0), "it was asked");
            catch_up.claim(peer(1), Height(900), 0);
            assert_eq!(ask(&mut catch_up, 5, 0), Some(peer(2)), "{first:?}");
        }
    }

    #[test]
    fn who_answers_with_nothing_of_use_is_left_alone_for_a_while_however_it_claims_or_connects() {
        let start_ms = 1_000_000;
        for is_empty in [true, false] {
            let mut catch_up = CatchUp::default();
            let claim = |catch_up: &mut CatchUp, now_ms| catch_up.claim(peer(1), Height(u64::MAX), now_ms);
            claim(&mut catch_up, start_ms);
            assert_eq!(ask(&mut catch_up, 1, start_ms), Some(peer(1)));
            assert!(catch_up.answered(&peer(1), (!is_empty).then_some(Height(1)), start_ms));
            if !is_empty {
                assert_eq!(ask(&mut catch_up, 2, start_ms), Some(peer(1)), "before its answer is checked");
                catch_up.misled(&peer(1), start_ms);
                assert!(!answers(&mut catch_up, &peer(1), 2), "one is enough");
            }
            for now_ms in (start_ms..start_ms + ANSWER_MS_MAX).step_by(100) {
                claim(&mut catch_up, now_ms);
                assert_eq!(ask(&mut catch_up, 1, now_ms), None);
                catch_up.forget(&peer(1));
            }
            claim(&mut catch_up, start_ms + ANSWER_MS_MAX);
            assert_eq!(ask(&mut catch_up, 1, start_ms + ANSWER_MS_MAX), Some(peer(1)));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_make_a_lost_question_wait() {
        let mut catch_up = CatchUp::default();
        for n in [1, 2] {
            catch_up.claim(peer(n), Height(9), 1_000_000);
        }
        assert_eq!(ask(&mut catch_up, 1, 1_000_000), Some(peer(1)));
        assert_eq!(ask(&mut catch_up, 1, 500_000), Some(peer(2)));
    }

    #[test]
    fn an_answer_that_this_node_had_no_time_to_hear_is_not_late() {
        let mut catch_up = CatchUp::default();
        for n in [1, 2] {
            catch_up.claim(peer(n), Height(9), 0);
        }
        assert_eq!(ask(&mut catch_up, 1, 0), Some(peer(1)));
        catch_up.listen_again(3 * ANSWER_MS_MAX);
        assert_eq!(ask(&mut catch_up, 1, 4 * ANSWER_MS_MAX - 1), None);
        assert_eq!(ask(&mut catch_up, 1, 4 * ANSWER_MS_MAX), Some(peer(2)));
    }

    #[test]
    fn a_running_height_gets_a_moment_before_its_block_is_fetched() {
        let mut catch_up = CatchUp::default();
        catch_up.claim(peer(1), Height(3), 0);
        assert_eq!(catch_up.ask(Height(3), Work::HeightRuns, PATIENCE_MS - 1, |_| false), None);
        assert_eq!(catch_up.ask(Height(3), Work::HeightRuns, PATIENCE_MS, |_| false), Some(peer(1)));
    }
}
