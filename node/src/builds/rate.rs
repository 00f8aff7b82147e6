//! How many builds one peer may ask for: a bucket of tokens for each, refilled with time. Plain values, no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use pyrsia_ledger::NodeId;
use tokio::time::Instant;

/// A list of images is asked for at once, …
const WISHES_AT_ONCE_MAX: u32 = 256;
/// … and then one more in each such time.
const WISH_INTERVAL: Duration = Duration::from_millis(250);
/// Peers beyond this number are remembered instead of those whose buckets have been full for longest.
const PEERS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct WishRate {
    /// When the bucket of each peer will be full again. Full buckets need no entry.
    full_at: BTreeMap<NodeId, Instant>,
}

impl WishRate {
    /// Takes one token of a peer, or says how long until there is one.
    pub(super) fn take(&mut self, peer: NodeId, now: Instant) -> Result<(), Duration> {
        let capacity = WISH_INTERVAL * WISHES_AT_ONCE_MAX;
        let full_at = self.full_at.get(&peer).copied().unwrap_or(now).max(now) + WISH_INTERVAL;
        let over = full_at.duration_since(now).saturating_sub(capacity);
        if !over.is_zero() {
            return Err(over);
        }
        if self.full_at.len() >= PEERS_MAX {
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        if self.full_at.len() >= PEERS_MAX
            && let Some(fullest) = self.full_at.iter().min_by_key(|(_, full_at)| **full_at).map(|(peer, _)| *peer)
        {
            self.full_at.remove(&fullest);
        }
        self.full_at.insert(peer, full_at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_may_ask_for_many_at_once_and_then_for_one_at_a_time() {
        let (mut rate, now) = (WishRate::default(), Instant::now());
        let [greedy, modest] = [1, 2].map(|byte| NodeId::from_public_key([byte; 32]));
        let granted = (0..10_000).filter(|_| rate.take(greedy, now).is_ok()).count();
        assert_eq!(granted, WISHES_AT_ONCE_MAX as usize);
        assert_eq!(rate.take(greedy, now), Err(WISH_INTERVAL));
        assert_eq!(rate.take(modest, now), Ok(()));
        assert_eq!(rate.take(greedy, now + WISH_INTERVAL), Ok(()));
        assert!(rate.take(greedy, now + WISH_INTERVAL).is_err());
    }

    #[test]
    fn what_is_remembered_of_peers_is_bounded() {
        let (mut rate, now) = (WishRate::default(), Instant::now());
        for peer in 0..3 * PEERS_MAX as u64 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&peer.to_be_bytes());
            rate.take(NodeId::from_public_key(key), now).unwrap();
        }
        assert!(rate.full_at.len() <= PEERS_MAX);
    }
}
