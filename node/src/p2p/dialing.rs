//! Whom to stay connected with, and when to dial again.
//!
//! Plain values: time and randomness are arguments. Two kinds of targets are dialed for ever: the addresses an operator
//! gave, and the validators that the ledger names. Nodes that were reached before are dialed when the others were tried and too
//! few nodes are connected. The pause doubles with each failure up to a bound, with jitter, so that a network that comes back is
//! not stormed.

use super::addresses::peer_in;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// The same for a node that was reached before, while others are connected.
const KNOWN_RETRY_MAX: Duration = Duration::from_secs(10 * 60);
/// Nodes that were reached before and are dialed at once.
const KNOWN_DIALS_MAX: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Address(Multiaddr),
    Validator(PeerId),
    /// A node that was reached before.
    Known(PeerId),
}

#[derive(Debug)]
struct Schedule {
    /// Who answers there: said by the address, or learned.
    peer: Option<PeerId>,
    failures: u32,
    next_at: Instant,
    dialing: Option<ConnectionId>,
    /// Whether a dial has ended, however it did.
    is_tried: bool,
    /// Whether the peer has shown over an open connection that it speaks our protocols. Until then nothing has succeeded.
    is_ours: bool,
}

impl Schedule {
    fn new(peer: Option<PeerId>, now: Instant) -> Self {
        Self { peer, failures: 0, next_at: now, dialing: None, is_tried: false, is_ours: false }
    }

    fn failed(&mut self, now: Instant, longest: Duration, chance: u32) {
        self.dialing = None;
        self.is_tried = true;
        self.next_at = now + pause_within(longest, self.failures, chance);
        self.failures += 1;
    }
}

/// The pause before the next attempt; `chance` is uniform.
pub(super) fn pause(failures: u32, chance: u32) -> Duration {
    pause_within(RETRY_MAX, failures, chance)
}

fn pause_within(longest: Duration, failures: u32, chance: u32) -> Duration {
    let full = (RETRY_MIN * 2u32.saturating_pow(failures.min(16))).min(longest);
    // Between three quarters and five quarters.
    full * 3 / 4 + full.mul_f64(f64::from(chance) / f64::from(u32::MAX) / 2.0)
}

#[derive(Debug, Default)]
pub(super) struct Dialing {
    targets: BTreeMap<Target, Schedule>,
    /// As [`Dialing::set_alone`] was told.
    is_alone: bool,
}

impl Dialing {
    pub(super) fn add(&mut self, target: Target, now: Instant) {
        let peer = match &target {
            Target::Address(address) => peer_in(address),
            Target::Validator(peer) | Target::Known(peer) => Some(*peer),
        };
        self.targets.entry(target).or_insert(Schedule::new(peer, now));
    }

    /// Makes the validators that are dialed exactly these.
    pub(super) fn set_validators(&mut self, validators: &BTreeSet<PeerId>, now: Instant) {
        self.targets.retain(|target, _| match target {
            Target::Validator(peer) => validators.contains(peer),
            Target::Address(_) | Target::Known(_) => true,
        });
        for peer in validators {
            self.add(Target::Validator(*peer), now);
        }
    }

    pub(super) fn is_validator(&self, peer: &PeerId) -> bool {
        self.targets.contains_key(&Target::Validator(*peer))
    }

    /// What to dial of what is dialed for ever. A target stays due until [`Dialing::dialed`] or [`Dialing::failed_at_once`] says what came of it.
    pub(super) fn due(&self, now: Instant, is_connected: impl Fn(&PeerId) -> bool) -> Vec<Target> {
        let open = |schedule: &Schedule| schedule.dialing.is_none() && !schedule.peer.as_ref().is_some_and(&is_connected);
        let due = self.targets.iter().filter(|(target, _)| !matches!(target, Target::Known(_)));
        due.filter(|(_, schedule)| schedule.next_at <= now && open(schedule)).map(|(target, _)| target.clone()).collect()
    }

    /// Whom to dial of these, which were reached before: those whose dials failed least often first, and of them those that are first by `place`, so that
    /// many who do not answer keep nobody from being tried. Nobody before all that is dialed for ever was tried once.
    pub(super) fn due_known<P: Ord>(
        &mut self,
        known: &BTreeSet<PeerId>,
        now: Instant,
        is_connected: impl Fn(&PeerId) -> bool,
        place: impl Fn(&PeerId) -> P,
    ) -> Vec<PeerId> {
        self.targets.retain(|target, schedule| match target {
            Target::Known(peer) => known.contains(peer) || schedule.dialing.is_some(),
            _ => true,
        });
        let waits = |schedule: &Schedule| !schedule.is_tried && !schedule.peer.as_ref().is_some_and(&is_connected);
        if self.targets.iter().any(|(target, schedule)| !matches!(target, Target::Known(_)) && waits(schedule)) {
            return vec![];
        }
        for peer in known {
            if !self.is_validator(peer) {
                self.add(Target::Known(*peer), now);
            }
        }
        let (mut due, mut dialing) = (vec![], 0);
        for (target, schedule) in &self.targets {
            match target {
                Target::Known(_) if schedule.dialing.is_some() => dialing += 1,
                Target::Known(peer) if schedule.next_at <= now && known.contains(peer) && !is_connected(peer) => {
                    due.push((schedule.failures, *peer));
                }
                _ => {}
            }
        }
        due.sort_by_cached_key(|(failures, peer)| (*failures, place(peer)));
        due.truncate(KNOWN_DIALS_MAX.saturating_sub(dialing));
        due.into_iter().map(|(_, peer)| peer).collect()
    }

    /// Whether no node is connected of which more is known than that it came. With the last one goes what was learned of those that were reached before.
    pub(super) fn set_alone(&mut self, is_alone: bool, now: Instant) {
        if is_alone && !self.is_alone {
            let known = self.targets.iter_mut().filter(|(target, _)| matches!(target, Target::Known(_)));
            for (_, schedule) in known.filter(|(_, schedule)| schedule.failures > 0) {
                (schedule.failures, schedule.next_at) = (0, now);
            }
        }
        self.is_alone = is_alone;
    }

    pub(super) fn dialed(&mut self, target: &Target, connection: ConnectionId) {
        if let Some(schedule) = self.targets.get_mut(target) {
            schedule.dialing = Some(connection);
        }
    }

    pub(super) fn failed_at_once(&mut self, target: &Target, now: Instant, chance: u32) {
        let longest = longest_pause(target, self.is_alone);
        if let Some(schedule) = self.targets.get_mut(target) {
            schedule.failed(now, longest, chance);
        }
    }

    pub(super) fn established(&mut self, connection: ConnectionId, peer: PeerId) {
        for schedule in self.targets.values_mut() {
            if schedule.dialing == Some(connection) {
                schedule.dialing = None;
                schedule.peer = Some(peer);
                schedule.is_tried = true;
            }
        }
    }

    /// The peer has shown that it speaks our protocols.
    pub(super) fn identified(&mut self, peer: &PeerId) {
        for schedule in self.targets.values_mut().filter(|schedule| schedule.peer.as_ref() == Some(peer)) {
            (schedule.failures, schedule.is_ours) = (0, true);
        }
    }

    pub(super) fn failed(&mut self, connection: ConnectionId, now: Instant, chance: u32) {
        let dialed = self.targets.iter().find(|(_, schedule)| schedule.dialing == Some(connection));
        if let Some(target) = dialed.map(|(target, _)| target.clone()) {
            self.failed_at_once(&target, now, chance);
        }
    }

    pub(super) fn disconnected(&mut self, peer: &PeerId, now: Instant, chance: u32) {
        let is_alone = self.is_alone;
        for (target, schedule) in self.targets.iter_mut().filter(|(_, schedule)| schedule.peer.as_ref() == Some(peer)) {
            if std::mem::take(&mut schedule.is_ours) {
                schedule.next_at = now + pause(0, chance);
            } else if schedule.dialing.is_none() {
                schedule.failed(now, longest_pause(target, is_alone), chance);
            }
            // Somebody else may answer at an address that names nobody.
            schedule.peer = match target {
                Target::Address(address) => peer_in(address),
                Target::Validator(peer) | Target::Known(peer) => Some(*peer),
            };
        }
    }
}

fn longest_pause(target: &Target, is_alone: bool) -> Duration {
    match target {
        Target::Known(_) if !is_alone => KNOWN_RETRY_MAX,
        _ => RETRY_MAX,
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

    fn peers(count: usize) -> Vec<PeerId> {
        std::iter::repeat_with(PeerId::random).take(count).collect()
    }

    /// The first of `known` has the first place.
    fn due_known(dialing: &mut Dialing, known: &[PeerId], now: Instant, is_connected: impl Fn(&PeerId) -> bool) -> Vec<PeerId> {
        let place = |peer: &PeerId| known.iter().position(|other| other == peer);
        dialing.due_known(&known.iter().copied().collect(), now, is_connected, place)
    }

    #[test]
    fn many_who_do_not_answer_keep_nobody_from_being_tried() {
        for is_alone in [false, true] {
            let (mut dialing, mut now, known) = (Dialing::default(), Instant::now(), peers(128));
            dialing.set_alone(is_alone, now);
            let mut tried = BTreeSet::new();
            while tried.len() < known.len() {
                let due = due_known(&mut dialing, &known, now, |_| false);
                // As long as a dial of somebody silent takes.
                now += Duration::from_secs(10);
                for peer in due {
                    assert!(tried.insert(peer), "{} were tried when one was for the second time", tried.len());
                    dialing.dialed(&Target::Known(peer), connection(tried.len()));
                    dialing.failed(connection(tried.len()), now, 0);
                }
            }
        }
    }

    #[test]
    fn the_pauses_grow_for_who_answers_and_goes_before_it_has_shown_that_it_is_one_of_us() {
        let (mut dialing, mut now, known) = (Dialing::default(), Instant::now(), peers(1));
        let given = Target::Address(format!("/ip4/127.0.0.1/tcp/1/p2p/{}", known[0]).parse().expect("an address"));
        dialing.add(given.clone(), now);
        let mut pauses = vec![];
        for attempt in 0..10 {
            for (place, target) in [given.clone(), Target::Known(known[0])].into_iter().enumerate() {
                dialing.add(target.clone(), now);
                dialing.dialed(&target, connection(2 * attempt + place));
                dialing.established(connection(2 * attempt + place), known[0]);
            }
            dialing.disconnected(&known[0], now, 0);
            let left = now;
            while dialing.due(now, |_| false).is_empty() || due_known(&mut dialing, &known, now, |_| false).is_empty() {
                now += Duration::from_millis(50);
            }
            pauses.push(now - left);
        }
        assert!(pauses.is_sorted() && pauses[9] > RETRY_MAX, "{pauses:?}");
        for target in [given, Target::Known(known[0])] {
            dialing.dialed(&target, connection(100));
            dialing.established(connection(100), known[0]);
        }
        dialing.identified(&known[0]);
        dialing.disconnected(&known[0], now, 0);
        let soon = now + RETRY_MIN * 2;
        assert_eq!((dialing.due(soon, |_| false).len(), due_known(&mut dialing, &known, soon, |_| false).len()), (1, 1));
    }

    #[test]
    fn those_that_were_reached_before_are_dialed_when_all_others_were_tried_in_their_order_and_a_few_at_once() {
        let (mut dialing, now, known) = (Dialing::default(), Instant::now(), peers(3 * KNOWN_DIALS_MAX));
        let (given, silent) = (Target::Address("/ip4/127.0.0.1/tcp/1".parse().expect("an address")), PeerId::random());
        dialing.add(given.clone(), now);
        dialing.set_validators(&BTreeSet::from([silent, known[1]]), now);
        assert_eq!(due_known(&mut dialing, &known, now, |_| false), []);
        dialing.dialed(&given, connection(1));
        dialing.failed_at_once(&Target::Validator(silent), now, 0);
        dialing.failed(connection(1), now, 0);
        assert_eq!(due_known(&mut dialing, &known, now, |_| false), [], "one validator was not tried");
        // A validator is dialed as such, and one that is connected by itself needs no dial.
        let is_connected = |peer: &PeerId| [known[1], known[2]].contains(peer);
        let due = due_known(&mut dialing, &known, now, is_connected);
        assert_eq!(due[..3], [known[0], known[3], known[4]]);
        assert_eq!((due.len(), dialing.due(now + RETRY_MAX * 2, is_connected).len()), (KNOWN_DIALS_MAX, 2));
        for (place, peer) in due.iter().enumerate() {
            dialing.dialed(&Target::Known(*peer), connection(10 + place));
        }
        assert_eq!(due_known(&mut dialing, &known, now, is_connected), []);
        dialing.failed(connection(10), now, 0);
        dialing.established(connection(11), due[1]);
        let is_connected = |peer: &PeerId| is_connected(peer) || *peer == due[1];
        let next = due_known(&mut dialing, &known, now, is_connected);
        assert_eq!(next, known[KNOWN_DIALS_MAX + 2..KNOWN_DIALS_MAX + 4]);
        // Who is remembered no more is not dialed again.
        assert_eq!(due_known(&mut dialing, &known[..1], now + RETRY_MAX * 2, is_connected), known[..1]);
        assert_eq!(due_known(&mut dialing, &[], now + RETRY_MAX * 2, is_connected), []);
    }

    #[test]
    fn the_pauses_of_those_that_were_reached_before_are_longer_until_nobody_is_connected() {
        let (mut dialing, start, known) = (Dialing::default(), Instant::now(), peers(1));
        let target = Target::Known(known[0]);
        let fail = |dialing: &mut Dialing, now| (0..20).for_each(|_| dialing.failed_at_once(&target, now, u32::MAX / 2));
        assert_eq!(due_known(&mut dialing, &known, start, |_| false), known);
        fail(&mut dialing, start);
        assert_eq!(due_known(&mut dialing, &known, start + RETRY_MAX * 2, |_| false), []);
        assert_eq!(due_known(&mut dialing, &known, start + KNOWN_RETRY_MAX * 2, |_| false), known);
        dialing.set_alone(true, start);
        assert_eq!(due_known(&mut dialing, &known, start, |_| false), known, "the others may have gone for the same reason");
        fail(&mut dialing, start);
        assert_eq!(due_known(&mut dialing, &known, start, |_| false), []);
        dialing.set_alone(true, start);
        assert_eq!(due_known(&mut dialing, &known, start, |_| false), [], "that is no news");
        assert_eq!(due_known(&mut dialing, &known, start + RETRY_MAX * 2, |_| false), known);
    }
}
