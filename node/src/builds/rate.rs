//! How many builds one peer may ask for, and how many all of them may have: buckets of tokens, refilled with time. Plain values,
//! no clock.

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

/// Peer ids cost nothing: all peers together may have so many builds requested at once, …
const REQUESTS_AT_ONCE_MAX: u32 = 1_024;
/// … and then one more in each such time.
const REQUEST_INTERVAL: Duration = Duration::from_secs(1);

/// The new builds that peers ask for, all together.
#[derive(Debug, Default)]
pub(super) struct RequestRate {
    full_at: Option<Instant>,
}

impl RequestRate {
    /// Takes one token, or says how long until there is one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.full_at = Some(full_after(self.full_at, REQUESTS_AT_ONCE_MAX, REQUEST_INTERVAL, now)?);
        Ok(())
    }
}

/// When a bucket is full again from which one token is taken, or how long until there is one.
fn full_after(full_at: Option<Instant>, capacity: u32, interval: Duration, now: Instant) -> Result<Instant, Duration> {
    let full_at = full_at.unwrap_or(now).max(now) + interval;
    let over = full_at.duration_since(now).saturating_sub(interval * capacity);
    if over.is_zero() { Ok(full_at) } else { Err(over) }
}

#[derive(Debug, Default)]
pub(super) struct WishRate {
    /// When the bucket of each peer will be full again. Full buckets need no entry.
    full_at: BTreeMap<NodeId, Instant>,
}

impl WishRate {
    /// Takes one token of a peer, or says how long until there is one.
    pub(super) fn take(&mut self, peer: NodeId, now: Instant) -> Result<(), Duration> {
        let full_at = full_after(self.full_at.get(&peer).copied(), WISHES_AT_ONCE_MAX, WISH_INTERVAL, now)?;
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
    fn many_peers_have_no_more_built_than_a_few() {
        let (mut rate, now) = (RequestRate::default(), Instant::now());
        let granted = (0..10_000).filter(|_| rate.take(now).is_ok()).count();
        assert_eq!(granted, REQUESTS_AT_ONCE_MAX as usize);
        assert_eq!(rate.take(now), Err(REQUEST_INTERVAL));
        assert_eq!(rate.take(now + REQUEST_INTERVAL), Ok(()));
        assert!(rate.take(now + REQUEST_INTERVAL).is_err());
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
