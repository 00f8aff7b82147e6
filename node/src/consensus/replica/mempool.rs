//! Events that wait for a block, each author's in the order of its sequence numbers.
//!
//! Holds only events whose signature was verified. An event that can never be allowed leaves as soon as a block shows it; one
//! that is not allowed yet waits. When an author sends another event for a number that waits here, the later one by the
//! author's own clock stands: an author renews what it had signed when an earlier event of its own fell away. Authors repeat
//! what waits, so what was not heard for a while is of no use to anybody.

use pyrsia_ledger::{NodeId, Projections, SignedEvent};
use std::collections::BTreeMap;

/// The most events that wait.
pub const MEMPOOL_EVENTS_MAX: usize = 10_000;
/// The most events of one author that wait.
pub const MEMPOOL_AUTHOR_EVENTS_MAX: usize = 1_000;

/// The most bytes of events that wait, and those of one author.
const MEMPOOL_BYTES_MAX: usize = 64 << 20;
const MEMPOOL_AUTHOR_BYTES_MAX: usize = 16 << 20;

/// How long an event waits after it was last heard.
const UNHEARD_MS_MAX: u64 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Fresh,
    Known,
    Full,
}

#[derive(Debug)]
struct Waiting {
    event: SignedEvent,
    size_bytes: usize,
    heard_ms: u64,
}

/// What one author has waiting, by sequence number.
#[derive(Debug, Default)]
struct OfAuthor {
    events: BTreeMap<u64, Waiting>,
    size_bytes: usize,
}

impl OfAuthor {
    fn count_bytes(&mut self) {
        self.size_bytes = self.events.values().map(|waiting| waiting.size_bytes).sum();
    }
}

#[derive(Debug, Default)]
pub(super) struct Mempool {
    authors: BTreeMap<NodeId, OfAuthor>,
    count: usize,
    size_bytes: usize,
}

impl Mempool {
    /// Whether exactly this event waits here, and its signature therefore is good.
    pub(super) fn holds(&self, event: &SignedEvent) -> bool {
        let held = self.authors.get(&event.author()).and_then(|author| author.events.get(&event.unsigned.sequence));
        held.is_some_and(|held| held.event == *event)
    }

    /// What waits of one author, in the order of its sequence numbers.
    pub(super) fn of_author<'a>(&'a self, author: &NodeId) -> impl Iterator<Item = &'a SignedEvent> + use<'a> {
        self.authors.get(author).into_iter().flat_map(|author| author.events.values()).map(|waiting| &waiting.event)
    }

    /// Whether the event has nothing new: it waits here, or a later one stands in its place.
    pub(super) fn knows(&mut self, event: &SignedEvent, now_ms: u64) -> bool {
        let held = self.authors.get_mut(&event.author()).and_then(|author| author.events.get_mut(&event.unsigned.sequence));
        let Some(held) = held.filter(|held| held.event.unsigned.claimed_time_ms >= event.unsigned.claimed_time_ms) else {
            return false;
        };
        if held.event == *event {
            held.heard_ms = now_ms;
        }
        true
    }

    /// Takes an event whose signature is good.
    pub(super) fn admit(&mut self, event: SignedEvent, now_ms: u64) -> Admission {
        if self.knows(&event, now_ms) {
            return Admission::Known;
        }
        let size_bytes = event.encode().len();
        let author = self.authors.entry(event.author()).or_default();
        let replaced = author.events.get(&event.unsigned.sequence).map(|waiting| waiting.size_bytes);
        let of_author_bytes = author.size_bytes - replaced.unwrap_or(0) + size_bytes;
        let all_bytes = self.size_bytes - replaced.unwrap_or(0) + size_bytes;
        let is_full = author.events.len() >= MEMPOOL_AUTHOR_EVENTS_MAX || self.count >= MEMPOOL_EVENTS_MAX;
        if replaced.is_none() && is_full || of_author_bytes > MEMPOOL_AUTHOR_BYTES_MAX || all_bytes > MEMPOOL_BYTES_MAX {
            return Admission::Full;
        }
        self.count += usize::from(replaced.is_none());
        (author.size_bytes, self.size_bytes) = (of_author_bytes, all_bytes);
        author.events.insert(event.unsigned.sequence, Waiting { event, size_bytes, heard_ms: now_ms });
        Admission::Fresh
    }

    /// Whether some event could stand in the next block.
    pub(super) fn is_ready(&self, state: &Projections) -> bool {
        self.authors.iter().any(|(author, of_author)| {
            of_author.events.get(&state.next_sequence(author)).is_some_and(|waiting| state.check(&waiting.event).is_ok())
        })
    }

    /// What the next block may be made of, each author's events without a gap. Another author comes first at each height, so
    /// that nobody who writes much keeps the others waiting.
    pub(super) fn candidates<'a>(&'a self, state: &'a Projections) -> impl Iterator<Item = &'a SignedEvent> {
        let first = state.height().0.checked_rem(self.authors.len() as u64).unwrap_or(0) as usize;
        self.authors.iter().cycle().skip(first).take(self.authors.len()).flat_map(|(author, of_author)| {
            let next = state.next_sequence(author);
            of_author
                .events
                .range(next..)
                .zip(next..)
                .take_while(|((at, _), expected)| *at == expected)
                .map(|((_, waiting), _)| &waiting.event)
        })
    }

    /// Lets go of what a new block settled.
    pub(super) fn settle(&mut self, state: &Projections) {
        for (author, OfAuthor { events, .. }) in &mut self.authors {
            let next = state.next_sequence(author);
            *events = events.split_off(&next);
            let is_lost = |waiting: &Waiting| state.check(&waiting.event).is_err_and(|refusal| refusal.is_for_good());
            if events.get(&next).is_some_and(is_lost) {
                events.remove(&next);
            }
        }
        self.tidy();
    }

    /// Lets go of what its author does not repeat.
    pub(super) fn expire(&mut self, now_ms: u64) {
        for OfAuthor { events, .. } in self.authors.values_mut() {
            events.retain(|_, waiting| waiting.heard_ms + UNHEARD_MS_MAX > now_ms);
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        self.authors.retain(|_, author| !author.events.is_empty());
        self.authors.values_mut().for_each(OfAuthor::count_bytes);
        self.count = self.authors.values().map(|author| author.events.len()).sum();
        self.size_bytes = self.authors.values().map(|author| author.size_bytes).sum();
    }

    /// Waiting events in the order in which they can be used, at most so many and so large.
    pub(super) fn sample(&self, events_max: usize, bytes_max: usize) -> Vec<SignedEvent> {
        let waiting = self.authors.values().flat_map(|author| author.events.values());
        super::events::fitting(waiting.map(|waiting| &waiting.event), events_max, bytes_max)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use pyrsia_ledger::event::{BuildOutcome, BuildResultRevealed};
    use pyrsia_ledger::signed::node_id_of;
    use pyrsia_ledger::{BuildId, Event, NetworkId, PackageCoordinate, UnsignedEvent};

    fn event(key: &SigningKey, sequence: u64, claimed_time_ms: u64, reason_bytes: usize) -> SignedEvent {
        let coordinate = PackageCoordinate::new("docker", "alpine:1").expect("a coordinate");
        let build_id = BuildId::of(&NetworkId::UNFOUNDED, &coordinate, 0);
        let outcome = BuildOutcome::Failed { reason: "x".repeat(reason_bytes) };
        let event = Event::BuildResultRevealed(BuildResultRevealed { build_id, outcome: outcome.into(), salt: [0; 32] });
        SignedEvent::new(key, UnsignedEvent::new(NetworkId::UNFOUNDED, node_id_of(key), sequence, claimed_time_ms, event))
    }

    #[test]
    fn an_author_fills_only_its_own_room_and_what_left_makes_room_again() {
        let (mut mempool, greedy, modest) =
            (Mempool::default(), SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let reason_bytes = 60_000;
        let taken = (0..1_000).filter(|n| mempool.admit(event(&greedy, *n, 1, reason_bytes), 0) == Admission::Fresh).count();
        assert!(
            taken * reason_bytes <= MEMPOOL_AUTHOR_BYTES_MAX && (taken + 1) * (reason_bytes + 300) > MEMPOOL_AUTHOR_BYTES_MAX
        );
        assert_eq!(mempool.admit(event(&modest, 0, 1, reason_bytes), 0), Admission::Fresh);
        // One that is renewed takes the place of the old one.
        assert_eq!(mempool.admit(event(&greedy, 0, 2, reason_bytes), 0), Admission::Fresh);
        assert_eq!((mempool.len(), mempool.admit(event(&greedy, 999, 1, reason_bytes), 0)), (taken + 1, Admission::Full));
        mempool.expire(UNHEARD_MS_MAX);
        assert_eq!((mempool.len(), mempool.size_bytes), (0, 0));
        assert_eq!(mempool.admit(event(&greedy, 999, 1, reason_bytes), 0), Admission::Fresh);
    }
}
