//! This node's own events that are not on the ledger yet: signed, in the outbox on disk, sent again until they are seen.
//!
//! Sequence numbers leave no gap. When an event falls away because somebody else was first, those behind it are signed again
//! with the numbers that became free: what they say is the same, and no two of them can both stand on the ledger.

use ed25519_dalek::SigningKey;
use pyrsia_ledger::signed::node_id_of;
use pyrsia_ledger::{Event, EventId, NodeId, Projections, Refusal, SignedEvent, UnsignedEvent};
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(super) struct OwnEvents {
    /// In the order of their sequence numbers.
    pending: Vec<SignedEvent>,
    /// The state as it would be with everything pending; none when it must be folded afresh.
    ahead: Option<Projections>,
}

/// What a new block changed about the pending events.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) gone: Vec<EventId>,
    pub(super) renewed: Vec<SignedEvent>,
}

impl OwnEvents {
    pub(super) fn recovered(mut pending: Vec<SignedEvent>) -> Self {
        pending.sort_by_key(|event| event.unsigned.sequence);
        Self { pending, ahead: None }
    }

    pub(super) fn pending(&self) -> &[SignedEvent] {
        &self.pending
    }

    pub(super) fn holds(&self, id: &EventId) -> bool {
        self.pending.iter().any(|event| event.id() == *id)
    }

    /// Whether a report about `node` waits already.
    pub(super) fn accuses(&self, node: &NodeId) -> bool {
        self.pending
            .iter()
            .any(|event| matches!(event.event(), Event::EquivocationProved(body) if body.evidence.accused() == *node))
    }

    pub(super) fn awaits_activation(&self) -> bool {
        self.pending.iter().any(|event| matches!(event.event(), Event::NodeActivated(_)))
    }

    /// Signs `event` with the next free number if the ledger would allow it behind everything pending.
    pub(super) fn sign(
        &mut self,
        state: &Projections,
        key: &SigningKey,
        now_ms: u64,
        event: Event,
    ) -> Result<SignedEvent, Refusal> {
        let author = node_id_of(key);
        let sequence = self.pending.last().map_or_else(|| state.next_sequence(&author), |last| last.unsigned.sequence + 1);
        let unsigned = UnsignedEvent::new(*state.network(), author, sequence, now_ms, event);
        let signed = SignedEvent::new(key, unsigned);
        let mut ahead = self.ahead.take().unwrap_or_else(|| state.clone());
        let mut some_wait = false;
        if ahead.next_sequence(&author) != sequence {
            let folded = ahead.propose(author, now_ms, &self.pending);
            some_wait = folded.next.next_sequence(&author) != sequence;
            ahead = folded.next;
        }
        let folded = ahead.propose(author, now_ms, [&signed]);
        match folded.refused.into_iter().next() {
            // Behind an event that still waits nothing can be said about this one.
            Some((_, Refusal::Sequence { .. })) if some_wait => self.ahead = None,
            Some((_, refusal)) => {
                self.ahead = Some(ahead);
                return Err(refusal);
            }
            None => self.ahead = Some(folded.next),
        }
        self.pending.push(signed.clone());
        Ok(signed)
    }

    /// Drops what is on the ledger or never can be, and renumbers the rest.
    pub(super) fn settle(&mut self, state: &Projections, key: &SigningKey, now_ms: u64, included: &BTreeSet<EventId>) -> Settled {
        let mut settled = Settled::default();
        self.ahead = None;
        let mut next = state.next_sequence(&node_id_of(key));
        for mut event in std::mem::take(&mut self.pending) {
            let id = event.id();
            if included.contains(&id) {
                continue;
            }
            let is_renewed = event.unsigned.sequence != next;
            if is_renewed {
                event.unsigned.sequence = next;
                event.unsigned.claimed_time_ms = now_ms.max(event.unsigned.claimed_time_ms + 1);
            }
            // Those behind the first may depend on it; their turn comes.
            let is_first = self.pending.is_empty();
            if is_first && state.check(&event).is_err_and(|refusal| is_lost(&refusal)) {
                settled.gone.push(id);
                continue;
            }
            if is_renewed {
                event = SignedEvent::new(key, event.unsigned);
                settled.gone.push(id);
                settled.renewed.push(event.clone());
            }
            self.pending.push(event);
            next += 1;
        }
        settled
    }
}

/// Whether an own event, which the ledger would have allowed when it was signed, is to be given up when its turn has come. What
/// it was about may come back, a right that was lost or an agreement that was recounted, but nothing this node has to say may
/// wait behind it: not even that it is there again. Who still means it proposes it again.
fn is_lost(refusal: &Refusal) -> bool {
    !matches!(refusal, Refusal::SetChangesInThisBlock)
}
