//! Whom to stay connected with, and when to dial again.
//!
//! Plain values: time and randomness are arguments. Two kinds of targets are dialed for ever: the addresses an operator
//! gave, and the validators that the ledger names. The pause doubles with each failure up to a bound, with jitter, so that
//! a network that comes back is not stormed.

use super::addresses::peer_in;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Address(Multiaddr),
    Validator(PeerId),
}

#[derive(Debug)]
struct Schedule {
    /// Who answers there: said by the address, or learned.
    peer: Option<PeerId>,
    failures: u32,
    next_at: Instant,
    dialing: Option<ConnectionId>,
}

/// The pause before the next attempt; `chance` is uniform.
pub(super) fn pause(failures: u32, chance: u32) -> Duration {
    let full = (RETRY_MIN * 2u32.saturating_pow(failures.min(10))).min(RETRY_MAX);
    // Between three quarters and five quarters.
    full * 3 / 4 + full.mul_f64(f64::from(chance) / f64::from(u32::MAX) / 2.0)
}

#[derive(Debug, Default)]
pub(super) struct Dialing {
    targets: BTreeMap<Target, Schedule>,
}

impl Dialing {
    pub(super) fn add(&mut self, target: Target, now: Instant) {
        let peer = match &target {
            Target::Address(address) => peer_in(address),
            Target::Validator(peer) => Some(*peer),
        };
        self.targets.entry(target).or_insert(Schedule { peer, failures: 0, next_at: now, dialing: None });
    }

    /// Makes the validators that are dialed exactly these.
    pub(super) fn set_validators(&mut self, validators: &BTreeSet<PeerId>, now: Instant) {
        self.targets.retain(|target, _| match target {
            Target::Validator(peer) => validators.contains(peer),
            Target::Address(_) => true,
        });
        for peer in validators {
            self.add(Target::Validator(*peer), now);
        }
    }

    /// What to dial. A target stays due until [`Dialing::dialed`] or [`Dialing::failed_at_once`] says what came of it.
    pub(super) fn due(&self, now: Instant, is_connected: impl Fn(&PeerId) -> bool) -> Vec<Target> {
        let open = |schedule: &Schedule| schedule.dialing.is_none() && !schedule.peer.as_ref().is_some_and(&is_connected);
        self.targets.iter().filter(|(_, schedule)| schedule.next_at <= now && open(schedule)).map(|(t, _)| t.clone()).collect()
    }

    pub(super) fn dialed(&mut self, target: &Target, connection: ConnectionId) {
        if let Some(schedule) = self.targets.get_mut(target) {
            schedule.dialing = Some(connection);
        }
    }

    pub(super) fn failed_at_once(&mut self, target: &Target, now: Instant, chance: u32) {
        if let Some(schedule) = self.targets.get_mut(target) {
            schedule.next_at = now + pause(schedule.failures, chance);
            schedule.failures += 1;
        }
    }

    pub(super) fn established(&mut self, connection: ConnectionId, peer: PeerId) {
        for schedule in self.targets.values_mut() {
            if schedule.dialing == Some(connection) {
                schedule.dialing = None;
                schedule.peer = Some(peer);
            }
            if schedule.peer == Some(peer) {
                schedule.failures = 0;
            }
        }
    }

    pub(super) fn failed(&mut self, connection: ConnectionId, now: Instant, chance: u32) {
        for schedule in self.targets.values_mut().filter(|schedule| schedule.dialing == Some(connection)) {
            schedule.dialing = None;
            schedule.next_at = now + pause(schedule.failures, chance);
            schedule.failures += 1;
        }
    }

    pub(super) fn disconnected(&mut self, peer: &PeerId, now: Instant, chance: u32) {
        for (target, schedule) in &mut self.targets {
            if schedule.peer.as_ref() == Some(peer) {
                schedule.next_at = now + pause(0, chance);
                // Somebody else may answer at an address that names nobody.
                schedule.peer = match target {
                    Target::Address(address) => peer_in(address),
                    Target::Validator(peer) => Some(*peer),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    #[test]
    fn a_target_is_dialed_again_for_ever_with_growing_and_bounded_pauses() {
        let (mut dialing, start) = (Dialing::default(), Instant::now());
        let target = Target::Address("/ip4/127.0.0.1/tcp/1".parse().expect("an address"));
        dialing.add(target.clone(), start);
        let (mut now, mut pauses) = (start, vec![]);
        for attempt in 0..20 {
            assert_eq!(dialing.due(now, |_| false), std::slice::from_ref(&target));
            dialing.dialed(&target, connection(attempt));
            assert!(dialing.due(now + RETRY_MAX * 9, |_| false).is_empty(), "a dial is under way");
            dialing.failed(connection(attempt), now, u32::MAX / 2);
            let mut next = now;
            while dialing.due(next, |_| false).is_empty() {
                next += Duration::from_millis(50);
            }
            pauses.push(next - now);
            now = next;
        }
        assert!(pauses.is_sorted() && pauses[0] >= RETRY_MIN * 3 / 4, "{pauses:?}");
        assert!(pauses[19] > RETRY_MAX * 3 / 4 && pauses[19] <= RETRY_MAX * 5 / 4 + Duration::from_millis(50), "{pauses:?}");
    }

    #[test]
    fn an_address_without_a_name_learns_who_is_there_and_rests_while_that_one_is_connected() {
        let (mut dialing, start) = (Dialing::default(), Instant::now());
        let target = Target::Address("/ip4/127.0.0.1/tcp/1".parse().expect("an address"));
        let peer = PeerId::random();
        dialing.add(target.clone(), start);
        dialing.dialed(&target, connection(1));
        dialing.established(connection(1), peer);
        let later = start + RETRY_MAX * 2;
        assert!(dialing.due(later, |other| *other == peer).is_empty());
        dialing.disconnected(&peer, later, 0);
        assert!(dialing.due(later, |_| false).is_empty(), "not at once");
        assert_eq!(dialing.due(later + RETRY_MIN * 2, |_| false), [target]);
    }

    #[test]
    fn validators_that_leave_the_set_are_left_alone() {
        let (mut dialing, now) = (Dialing::default(), Instant::now());
        let (stays, leaves) = (PeerId::random(), PeerId::random());
        dialing.set_validators(&BTreeSet::from([stays, leaves]), now);
        assert_eq!(dialing.due(now, |_| false).len(), 2);
        dialing.set_validators(&BTreeSet::from([stays]), now);
        assert_eq!(dialing.due(now, |_| false), [Target::Validator(stays)]);
    }
}
