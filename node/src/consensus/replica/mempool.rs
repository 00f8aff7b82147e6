//! Events that wait for a block, each author's in the order of its sequence numbers.
//!
//! Holds only events whose signature was verified. An event that can never be allowed leaves as soon as a block shows it; one
//! that is not allowed yet waits. When an author sends another event for a number that waits here, the later one by the
//! author's own clock stands: an author renews what it had signed when an earlier event of its own fell away.

use pyrsia_ledger::{NodeId, Projections, SignedEvent};
use std::collections::BTreeMap;

/// The most events that wait.
pub const MEMPOOL_EVENTS_MAX: usize = 10_000;
/// The most events of one author that wait.
pub const MEMPOOL_AUTHOR_EVENTS_MAX: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Fresh,
    Known,
    Full,
}

#[derive(Debug, Default)]
pub(super) struct Mempool {
    authors: BTreeMap<NodeId, BTreeMap<u64, SignedEvent>>,
    count: usize,
}

impl Mempool {
    /// Whether exactly this event waits here, and its signature therefore is good.
    pub(super) fn holds(&self, event: &SignedEvent) -> bool {
        self.at(event) == Some(event)
    }

    /// Whether the event has nothing new: it waits here, or a later one stands in its place.
    pub(super) fn supersedes(&self, event: &SignedEvent) -> bool {
        self.at(event).is_some_and(|held| held.unsigned.claimed_time_ms >= event.unsigned.claimed_time_ms)
    }

    fn at(&self, event: &SignedEvent) -> Option<&SignedEvent> {
        self.authors.get(&event.author())?.get(&event.unsigned.sequence)
    }

    /// Takes an event whose signature is good.
    pub(super) fn admit(&mut self, event: SignedEvent) -> Admission {
        if self.supersedes(&event) {
            return Admission::Known;
        }
        let author = self.authors.entry(event.author()).or_default();
        let is_new = !author.contains_key(&event.unsigned.sequence);
        if is_new && (author.len() >= MEMPOOL_AUTHOR_EVENTS_MAX || self.count >= MEMPOOL_EVENTS_MAX) {
            return Admission::Full;
        }
        self.count += usize::from(is_new);
        author.insert(event.unsigned.sequence, event);
        Admission::Fresh
    }

    /// Whether some event could stand in the next block.
    pub(super) fn is_ready(&self, state: &Projections) -> bool {
        self.authors
            .iter()
            .any(|(author, events)| events.get(&state.next_sequence(author)).is_some_and(|event| state.check(event).is_ok()))
    }

    /// What the next block may be made of, each author's events without a gap. Another author comes first at each height, so
    /// that nobody who writes much keeps the others waiting.
    pub(super) fn candidates<'a>(&'a self, state: &'a Projections) -> impl Iterator<Item = &'a SignedEvent> {
        let first = state.height().0.checked_rem(self.authors.len() as u64).unwrap_or(0) as usize;
        self.authors.iter().cycle().skip(first).take(self.authors.len()).flat_map(|(author, events)| {
            let next = state.next_sequence(author);
            events.range(next..).zip(next..).take_while(|((at, _), expected)| *at == expected).map(|((_, event), _)| event)
        })
    }

    /// Lets go of what a new block settled.
    pub(super) fn settle(&mut self, state: &Projections) {
        for (author, events) in &mut self.authors {
            let next = state.next_sequence(author);
            *events = events.split_off(&next);
            if events.get(&next).is_some_and(|event| state.check(event).is_err_and(|refusal| refusal.is_for_good())) {
                events.remove(&next);
            }
        }
        self.authors.retain(|_, events| !events.is_empty());
        self.count = self.authors.values().map(BTreeMap::len).sum();
    }

    /// Waiting events in the order in which they can be used, at most so many and so large.
    pub(super) fn sample(&self, events_max: usize, bytes_max: usize) -> Vec<SignedEvent> {
        super::fitting(self.authors.values().flat_map(BTreeMap::values), events_max, bytes_max)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }
}
