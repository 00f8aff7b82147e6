//! Places on relays, for a node that others cannot reach.
//!
//! Plain values: time and randomness are arguments. The relays that an operator gave are asked always, unless this node is known to be
//! reachable; those that connected nodes offer only when it is known not to be. One place on each relay, on [`PLACES_MAX`] of them at
//! most. A place is never given up: libp2p's relay client does not expect that a listener is closed while the relay answers it.

use super::addresses::peer_in;
use super::dialing::pause;
use super::reach::Reachability;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use std::collections::BTreeMap;
use std::time::Instant;

/// Relays on which this node has a place at once: with two, one may go.
pub(super) const PLACES_MAX: usize = 2;
/// Offers of connected nodes that are remembered.
const OFFERS_MAX: usize = 64;
/// Relays that are remembered because they gave no place.
const RESTING_MAX: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Reservations {
    given: BTreeMap<PeerId, Multiaddr>,
    offered: BTreeMap<PeerId, Multiaddr>,
    asked: BTreeMap<PeerId, Asked>,
}

#[derive(Debug)]
enum Asked {
    /// A listener stands for the place, or for the wish to have it.
    Listening {
        listener: ListenerId,
        is_held: bool,
        failures: u32,
    },
    Resting {
        until: Instant,
        failures: u32,
    },
}

impl Reservations {
    /// `given` are addresses that end in the relay's peer id.
    pub(super) fn new(given: impl IntoIterator<Item = Multiaddr>) -> Self {
        let given = given.into_iter().filter_map(|address| Some((peer_in(&address)?, address))).collect();
        Self { given, ..Self::default() }
    }

    /// A connected node offers to relay.
    pub(super) fn offer(&mut self, relay: PeerId, address: Multiaddr) {
        if self.offered.len() < OFFERS_MAX || self.offered.contains_key(&relay) {
            self.offered.insert(relay, address);
        }
    }

    pub(super) fn withdraw_offer(&mut self, relay: &PeerId) {
        self.offered.remove(relay);
    }

    /// The relays to ask for a place, and what to listen on for it.
    pub(super) fn due(&self, reachability: Reachability, now: Instant) -> Vec<(PeerId, Multiaddr)> {
        let offered = match reachability {
            Reachability::Public => return vec![],
            Reachability::Unknown => None,
            Reachability::Private => Some(&self.offered),
        };
        let taken = self.asked.values().filter(|asked| matches!(asked, Asked::Listening { .. })).count();
        let is_due = |relay: &PeerId| match self.asked.get(relay) {
            None => true,
            Some(Asked::Listening { .. }) => false,
            Some(Asked::Resting { until, .. }) => *until <= now,
        };
        let offered = offered.into_iter().flatten().filter(|(relay, _)| !self.given.contains_key(relay));
        let due = self.given.iter().chain(offered).filter(|(relay, _)| is_due(relay));
        due.take(PLACES_MAX.saturating_sub(taken)).map(|(relay, address)| (*relay, place_on(relay, address))).collect()
    }

    pub(super) fn asked(&mut self, relay: PeerId, listener: ListenerId) {
        let failures = self.failures(&relay);
        self.asked.insert(relay, Asked::Listening { listener, is_held: false, failures });
    }

    pub(super) fn failed_at_once(&mut self, relay: PeerId, now: Instant, chance: u32) {
        let failures = self.failures(&relay);
        self.asked.insert(relay, Asked::Resting { until: now + pause(failures, chance), failures: failures + 1 });
        self.forget(now);
    }

    /// Forgets the relays that were asked without success and are asked no more: everybody may offer to be one, and go.
    fn forget(&mut self, now: Instant) {
        let Self { given, offered, asked } = self;
        let is_left = |relay: &PeerId| !given.contains_key(relay) && !offered.contains_key(relay);
        asked.retain(|relay, asked| !matches!(asked, Asked::Resting { until, .. } if *until <= now && is_left(relay)));
        let until = |asked: &Asked| match asked {
            Asked::Resting { until, .. } => Some(*until),
            Asked::Listening { .. } => None,
        };
        let resting = asked.iter().filter(|(relay, _)| is_left(relay)).filter_map(|(relay, asked)| Some((until(asked)?, *relay)));
        let mut resting: Vec<_> = resting.collect();
        if resting.len() > RESTING_MAX {
            resting.sort_unstable();
            for (_, relay) in &resting[..resting.len() - RESTING_MAX] {
                asked.remove(relay);
            }
        }
    }

    /// The relay has given this node a place.
    pub(super) fn granted(&mut self, relay: &PeerId) {
        if let Some(Asked::Listening { is_held, failures, .. }) = self.asked.get_mut(relay) {
            (*is_held, *failures) = (true, 0);
        }
    }

    /// A listener is gone. Which relay it stood for, if it was for a place, and whether that was held.
    pub(super) fn closed(&mut self, closed: ListenerId, now: Instant, chance: u32) -> Option<(PeerId, bool)> {
        let stood_for = |asked: &Asked| matches!(asked, Asked::Listening { listener, .. } if *listener == closed);
        let relay = self.asked.iter().find(|(_, asked)| stood_for(asked)).map(|(relay, _)| *relay)?;
        let was_held = self.held().any(|held| *held == relay);
        self.failed_at_once(relay, now, chance);
        Some((relay, was_held))
    }

    /// The relays on which this node has a place.
    pub(super) fn held(&self) -> impl Iterator<Item = &PeerId> {
        self.asked.iter().filter(|(_, asked)| matches!(asked, Asked::Listening { is_held: true, .. })).map(|(relay, _)| relay)
    }

    fn failures(&self, relay: &PeerId) -> u32 {
        match self.asked.get(relay) {
            Some(Asked::Listening { failures, .. } | Asked::Resting { failures, .. }) => *failures,
            None => 0,
        }
    }
}

fn place_on(relay: &PeerId, address: &Multiaddr) -> Multiaddr {
    let named = match peer_in(address) {
        Some(_) => address.clone(),
        None => address.clone().with(Protocol::P2p(*relay)),
    };
    named.with(Protocol::P2pCircuit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn relay(port: u16) -> (PeerId, Multiaddr) {
        (PeerId::random(), format!("/ip4/192.0.2.1/tcp/{port}").parse().expect("an address"))
    }

    #[test]
    fn relays_that_were_given_are_asked_until_this_node_is_known_to_be_reachable() {
        let ((peer, address), now) = (relay(1), Instant::now());
        let mut reservations = Reservations::new([address.clone().with(Protocol::P2p(peer))]);
        let due = reservations.due(Reachability::Unknown, now);
        assert_eq!(due, [(peer, format!("{address}/p2p/{peer}/p2p-circuit").parse().expect("an address"))]);
        assert_eq!(reservations.due(Reachability::Private, now), due);
        assert_eq!(reservations.due(Reachability::Public, now), []);
        reservations.asked(peer, ListenerId::next());
        assert_eq!(reservations.due(Reachability::Private, now), []);
    }

    #[test]
    fn relays_that_are_offered_are_asked_by_a_node_that_cannot_be_reached_and_by_no_other() {
        let (mut reservations, now) = (Reservations::default(), Instant::now());
        let relays: Vec<_> = (1..5).map(relay).collect();
        for (peer, address) in &relays {
            reservations.offer(*peer, address.clone());
        }
        assert_eq!(reservations.due(Reachability::Unknown, now), []);
        assert_eq!(reservations.due(Reachability::Private, now).len(), PLACES_MAX);
        let first = reservations.due(Reachability::Private, now)[0].0;
        reservations.asked(first, ListenerId::next());
        assert_eq!(reservations.due(Reachability::Private, now).len(), PLACES_MAX - 1);
        relays.iter().for_each(|(peer, _)| reservations.withdraw_offer(peer));
        assert_eq!(reservations.due(Reachability::Private, now), []);
    }

    #[test]
    fn a_lost_place_is_asked_for_again_after_growing_pauses() {
        let ((peer, address), mut now) = (relay(1), Instant::now());
        let mut reservations = Reservations::new([address.with(Protocol::P2p(peer))]);
        let mut pauses = vec![];
        for _ in 0..4 {
            let listener = ListenerId::next();
            reservations.asked(peer, listener);
            assert_eq!(reservations.closed(listener, now, u32::MAX / 2), Some((peer, false)));
            let mut next = now;
            while reservations.due(Reachability::Private, next).is_empty() {
                next += Duration::from_millis(50);
            }
            pauses.push(next - now);
            now = next;
        }
        assert!(pauses.is_sorted() && pauses[3] > pauses[0], "{pauses:?}");
        let listener = ListenerId::next();
        reservations.asked(peer, listener);
        reservations.granted(&peer);
        assert_eq!(reservations.held().collect::<Vec<_>>(), [&peer]);
        assert_eq!(reservations.closed(ListenerId::next(), now, 0), None);
        assert_eq!(reservations.closed(listener, now, 0), Some((peer, true)));
        assert!(reservations.held().next().is_none() && reservations.due(Reachability::Private, now + pauses[1]).len() == 1);
    }

    #[test]
    fn relays_that_offer_fail_and_go_are_forgotten() {
        let (mut reservations, start) = (Reservations::default(), Instant::now());
        for (at, wait) in (0..2 * RESTING_MAX as u32).map(|number| (start + Duration::from_millis(number.into()), number)) {
            let (peer, address) = relay(1);
            reservations.offer(peer, address);
            reservations.asked(peer, ListenerId::next());
            reservations.withdraw_offer(&peer);
            reservations.failed_at_once(peer, at, wait);
        }
        assert_eq!(reservations.asked.len(), RESTING_MAX);
        let ((peer, address), later) = (relay(2), start + Duration::from_secs(24 * 60 * 60));
        reservations.offer(peer, address);
        reservations.failed_at_once(peer, later, 0);
        assert_eq!(reservations.asked.keys().collect::<Vec<_>>(), [&peer]);
    }
}
