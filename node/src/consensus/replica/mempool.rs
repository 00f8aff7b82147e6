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
    heard_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct Mempool {
    authors: BTreeMap<NodeId, BTreeMap<u64, Waiting>>,
    count: usize,
}

impl Mempool {
    /// Whether exactly this event waits here, and its signature therefore is good.
    pub(super) fn holds(&self, event: &SignedEvent) -> bool {
        let held = self.authors.get(&event.author()).and_then(|events| events.get(&event.unsigned.sequence));
        held.is_some_and(|held| held.event == *event)
    }

    /// Whether the event has nothing new: it waits here, or a later one stands in its place.
    pub(super) fn knows(&mut self, event: &SignedEvent, now_ms: u64) -> bool {
        let held = self.authors.get_mut(&event.author()).and_then(|events| events.get_mut(&event.unsigned.sequence));
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
        let author = self.authors.entry(event.author()).or_default();
        let is_new = !author.contains_key(&event.unsigned.sequence);
        if is_new && (author.len() >= MEMPOOL_AUTHOR_EVENTS_MAX || self.count >= MEMPOOL_EVENTS_MAX) {
            return Admission::Full;
        }
        self.count += usize::from(is_new);
        author.insert(event.unsigned.sequence, Waiting { event, heard_ms: now_ms });
        Admission::Fresh
    }

    /// Whether some event could stand in the next block.
    pub(super) fn is_ready(&self, state: &Projections) -> bool {
        self.authors.iter().any(|(author, events)| {
            events.get(&state.next_sequence(author)).is_some_and(|waiting| state.check(&waiting.event).is_ok())
        })
    }

    /// What the next block may be made of, each author's events without a gap. Another author comes first at each height, so
    /// that nobody who writes much keeps the others waiting.
    pub(super) fn candidates<'a>(&'a self, state: &'a Projections) -> impl Iterator<Item = &'a SignedEvent> {
        let first = state.height().0.checked_rem(self.authors.len() as u64).unwrap_or(0) as usize;
        self.authors.iter().cycle().skip(first).take(self.authors.len()).flat_map(|(author, events)| {
            let next = state.next_sequence(author);
            events
                .range(next..)
                .zip(next..)
                .take_while(|((at, _), expected)| *at == expected)
                .map(|((_, waiting), _)| &waiting.event)
        })
    }

    /// Lets go of what a new block settled.
    pub(super) fn settle(&mut self, state: &Projections) {
        for (author, events) in &mut self.authors {
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
        for events in self.authors.values_mut() {
            events.retain(|_, waiting| waiting.heard_ms + UNHEARD_MS_MAX > now_ms);
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        self.authors.retain(|_, events| !events.is_empty());
        self.count = self.authors.values().map(BTreeMap::len).sum();
    }

    /// Waiting events in the order in which they can be used, at most so many and so large.
    pub(super) fn sample(&self, events_max: usize, bytes_max: usize) -> Vec<SignedEvent> {
        let waiting = self.authors.values().flat_map(BTreeMap::values);
        super::events::fitting(waiting.map(|waiting| &waiting.event), events_max, bytes_max)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }
}
