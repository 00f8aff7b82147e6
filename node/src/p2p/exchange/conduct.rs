//! What this node remembers of the nodes it asked for artifacts: proven lies, and who was slow.
//!
//! Kept in memory, bounded, the oldest forgotten first. It decides nothing: a liar is left out, and who was slow comes last.

use pyrsia_ledger::{NodeId, Sha256Digest};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Proven lies that are remembered.
const LIARS_MAX: usize = 1_024;
/// Slow nodes that are remembered.
const SLOW_MAX: usize = 1_024;
/// How long a node is taken for slow: what slowed it down may be over.
const SLOW_KNOWN: Duration = Duration::from_secs(10 * 60);

/// Who was caught with wrong bytes of what: named by the root of its chunks, because a judge may have revealed the digest of
/// another's bytes with a false root, and nobody is a liar who does not have what never was.
#[derive(Default)]
pub(super) struct Liars {
    known: BTreeSet<(Sha256Digest, NodeId)>,
    oldest_first: VecDeque<(Sha256Digest, NodeId)>,
}

impl Liars {
    /// Whether this is new.
    pub(super) fn remember(&mut self, chunk_root: Sha256Digest, node: NodeId) -> bool {
        if !self.known.insert((chunk_root, node)) {
            return false;
        }
        self.oldest_first.push_back((chunk_root, node));
        if self.oldest_first.len() > LIARS_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    pub(super) fn has(&self, chunk_root: Sha256Digest, node: NodeId) -> bool {
        self.known.contains(&(chunk_root, node))
    }
}

/// Who stalled, or brought a chunk later than a node that was asked for it afterwards.
#[derive(Default)]
pub(super) struct Slow(BTreeMap<NodeId, Instant>);

impl Slow {
    pub(super) fn remember(&mut self, node: NodeId, now: Instant) {
        self.0.insert(node, now);
        if self.0.len() > SLOW_MAX
            && let Some(oldest) = self.0.iter().min_by_key(|(_, since)| **since).map(|(node, _)| *node)
        {
            self.0.remove(&oldest);
        }
    }

    /// Puts those that were slow of late behind the others; the order is the same otherwise.
    pub(super) fn put_last(&self, nodes: &mut [NodeId], now: Instant) {
        let is_slow = |node: &NodeId| self.0.get(node).is_some_and(|since| now.duration_since(*since) < SLOW_KNOWN);
        nodes.sort_by_key(is_slow);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: usize) -> NodeId {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        NodeId::from_public_key(key)
    }

    #[test]
    fn who_was_slow_comes_last_for_a_while_and_otherwise_the_order_stays() {
        let (mut slow, start) = (Slow::default(), Instant::now());
        slow.remember(node(1), start);
        slow.remember(node(3), start + SLOW_KNOWN / 2);
        let order_at = |now| {
            let mut nodes: Vec<NodeId> = (0..5).map(node).collect();
            slow.put_last(&mut nodes, now);
            nodes
        };
        assert_eq!(order_at(start + SLOW_KNOWN / 2), [0, 2, 4, 1, 3].map(node));
        assert_eq!(order_at(start + SLOW_KNOWN), [0, 1, 2, 4, 3].map(node));
        assert_eq!(order_at(start + SLOW_KNOWN * 2), [0, 1, 2, 3, 4].map(node));
    }

    #[test]
    fn the_oldest_is_forgotten_when_too_many_are_known() {
        let (mut slow, mut liars, start) = (Slow::default(), Liars::default(), Instant::now());
        let root = Sha256Digest::of(b"a root");
        for number in 0..=SLOW_MAX.max(LIARS_MAX) {
            slow.remember(node(number), start + Duration::from_millis(number as u64));
            assert!(liars.remember(root, node(number)) && !liars.remember(root, node(number)));
        }
        assert_eq!((slow.0.len(), slow.0.contains_key(&node(0))), (SLOW_MAX, false));
        assert_eq!((liars.known.len(), liars.has(root, node(0)), liars.has(root, node(1))), (LIARS_MAX, false, true));
    }
}
