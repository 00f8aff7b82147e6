//! Events on their way into a block: this node's own, which it sees through, and those of others, which it passes on.

use super::mempool::{Admission, MEMPOOL_AUTHOR_EVENTS_MAX, MEMPOOL_EVENTS_MAX};
use super::{Output, Replica, ReplicaError, Store};
use crate::consensus::message::{EVENTS_MESSAGE_BYTES_MAX, EVENTS_PER_MESSAGE_MAX, Message};
use crate::consensus::timer::Timer;
use pyrsia_ledger::event::NodeActivated;
use pyrsia_ledger::{Event, EventId, NodeId, Projections, Refusal, SignedEvent, policy};
use std::collections::BTreeSet;

/// While so many own events wait, requests for builds are not taken: anybody may wish for builds, and no number of wishes may
/// keep this node from saying what it has to say itself.
const REQUESTS_WAITING_MAX: usize = MEMPOOL_AUTHOR_EVENTS_MAX / 2;

/// Why an event was not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProposeError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("this node follows no network yet")]
    NoNetwork,
    #[error("too many events wait for a block")]
    MempoolFull,
    #[error("the node is stopping")]
    Stopped,
}

/// Why another node's event was not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SubmitError {
    #[error("the signature of the event is wrong")]
    Signature,
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

/// What is known of an event's signature before anybody looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signature {
    Good,
    Unchecked,
}

impl Signature {
    fn is_good(self, event: &SignedEvent) -> bool {
        self == Self::Good || event.verify_signature()
    }
}

impl From<Refusal> for SubmitError {
    fn from(refusal: Refusal) -> Self {
        Self::Propose(refusal.into())
    }
}

impl<S: Store> Replica<S> {
    /// Signs facts of this node, keeps them until a block has them, and sends them to the validators: one flush for all of
    /// them. A refused one leaves no gap.
    pub(in crate::consensus) fn propose_events(
        &mut self,
        now_ms: u64,
        events: Vec<Event>,
    ) -> Result<Vec<Result<EventId, ProposeError>>, ReplicaError> {
        self.now_ms = now_ms;
        let answers = self.admit_own(events)?;
        self.go_on()?;
        Ok(answers)
    }

    pub(super) fn admit_own(&mut self, events: Vec<Event>) -> Result<Vec<Result<EventId, ProposeError>>, ReplicaError> {
        let signed: Vec<_> = events.into_iter().map(|event| self.sign_own(event)).collect();
        self.store.flush()?;
        let mut unsent: Vec<&SignedEvent> = signed.iter().flatten().collect();
        if !unsent.is_empty() {
            self.linger();
        }
        for event in &unsent {
            self.mempool.admit((*event).clone(), self.now_ms);
        }
        // A frame for each would be more than a peer keeps of one node.
        while !unsent.is_empty() {
            let events = fitting(unsent.iter().copied(), EVENTS_PER_MESSAGE_MAX, EVENTS_MESSAGE_BYTES_MAX);
            unsent.drain(..events.len().max(1));
            self.broadcast(Message::Events(events));
        }
        Ok(signed.into_iter().map(|signed| signed.map(|event| event.id())).collect())
    }

    pub(in crate::consensus) fn propose_event(
        &mut self,
        now_ms: u64,
        event: Event,
    ) -> Result<Result<EventId, ProposeError>, ReplicaError> {
        let mut answers = self.propose_events(now_ms, vec![event])?;
        Ok(answers.pop().expect("one event has one answer"))
    }

    /// Signs an event with the next free number and puts it into the outbox; durable with the next flush.
    fn sign_own(&mut self, event: Event) -> Result<SignedEvent, ProposeError> {
        let Some(state) = self.state.clone() else { return Err(ProposeError::NoNetwork) };
        may_write(&state, self.id)?;
        let waiting_max = match event {
            Event::BuildRequested(_) => REQUESTS_WAITING_MAX,
            _ => MEMPOOL_AUTHOR_EVENTS_MAX,
        };
        if self.own.pending().len() >= waiting_max || self.mempool.len() >= MEMPOOL_EVENTS_MAX {
            return Err(ProposeError::MempoolFull);
        }
        let signed = self.own.sign(&state, &self.key, self.now_ms, event)?;
        self.store.outbox_put(signed.id(), signed.encode());
        Ok(signed)
    }

    /// Takes a signed event of another node and passes it on.
    pub(in crate::consensus) fn submit(
        &mut self,
        now_ms: u64,
        event: SignedEvent,
    ) -> Result<Result<EventId, SubmitError>, ReplicaError> {
        self.now_ms = now_ms;
        let id = event.id();
        let admitted = self.admit(&event, Signature::Unchecked)?;
        if let Ok(Admission::Fresh) = admitted {
            self.broadcast(Message::Events(vec![event]));
        }
        self.go_on()?;
        Ok(admitted.map(|_| id))
    }

    fn admit(&mut self, event: &SignedEvent, signature: Signature) -> Result<Result<Admission, SubmitError>, ReplicaError> {
        if self.is_suspicious(event) {
            if !signature.is_good(event) {
                return Ok(Err(SubmitError::Signature));
            }
            self.watch_commitment(event)?;
        }
        Ok(self.take_in(event, signature))
    }

    fn take_in(&mut self, event: &SignedEvent, signature: Signature) -> Result<Admission, SubmitError> {
        let Some(state) = self.state.clone() else { return Err(ProposeError::NoNetwork.into()) };
        may_write(&state, event.author())?;
        if self.mempool.knows(event, self.now_ms) {
            return Ok(Admission::Known);
        }
        // What is not allowed yet may be when its turn comes.
        if let Err(refusal) = state.check(event)
            && refusal.is_for_good()
        {
            return Err(refusal.into());
        }
        // One that is allowed and too long would keep every proposer busy with a block it can never stand in.
        policy::size(event.encode().len())?;
        if !signature.is_good(event) {
            return Err(SubmitError::Signature);
        }
        match self.mempool.admit(event.clone(), self.now_ms) {
            Admission::Full => Err(ProposeError::MempoolFull.into()),
            Admission::Fresh => {
                self.linger();
                Ok(Admission::Fresh)
            }
            Admission::Known => Ok(Admission::Known),
        }
    }

    pub(super) fn on_events(&mut self, from: NodeId, mut events: Vec<SignedEvent>) -> Result<(), ReplicaError> {
        let is_validator = self.state.as_ref().is_some_and(|state| state.validators().contains(&from));
        events.truncate(EVENTS_PER_MESSAGE_MAX);
        // Only of a validator, which has a name to lose: anybody else's forgery costs one check, not one for all that came along.
        let unknown = || events.iter().filter(|event| !self.mempool.holds(event));
        let are_good = is_validator && SignedEvent::verify_signatures(unknown());
        let signature = if are_good { Signature::Good } else { Signature::Unchecked };
        let mut fresh = vec![];
        for event in events {
            match self.admit(&event, signature)? {
                Ok(Admission::Fresh) => fresh.push(event),
                Ok(Admission::Known | Admission::Full) | Err(SubmitError::Propose(_)) => {}
                // Nobody honest passes a forgery on: a flood of them costs one check for each message.
                Err(SubmitError::Signature) => break,
            }
        }
        // A validator has told the others itself; anybody else may know this node only.
        if !fresh.is_empty() && !is_validator {
            self.broadcast(Message::Events(fresh));
        }
        Ok(())
    }

    pub(super) fn repeat_own_events(&mut self) {
        if self.own.pending().is_empty() {
            return;
        }
        for event in self.own.pending() {
            self.mempool.admit(event.clone(), self.now_ms);
        }
        let events = fitting(self.own.pending(), EVENTS_PER_MESSAGE_MAX, EVENTS_MESSAGE_BYTES_MAX);
        self.broadcast(Message::Events(events));
    }

    pub(super) fn settle_own_events(&mut self, included: &BTreeSet<EventId>) -> Result<(), ReplicaError> {
        let Some(state) = self.state.clone() else { return Ok(()) };
        let settled = self.own.settle(&state, &self.key, self.now_ms, included);
        for id in settled.gone {
            self.store.outbox_remove(id);
        }
        if settled.renewed.is_empty() {
            return Ok(());
        }
        for event in &settled.renewed {
            self.store.outbox_put(event.id(), event.encode());
            self.mempool.admit(event.clone(), self.now_ms);
        }
        self.store.flush()?;
        let events = fitting(&settled.renewed, EVENTS_PER_MESSAGE_MAX, EVENTS_MESSAGE_BYTES_MAX);
        self.broadcast(Message::Events(events));
        Ok(())
    }

    fn linger(&mut self) {
        if self.config.linger_ms > 0 && !self.is_lingering {
            self.is_lingering = true;
            self.outputs.push(Output::SetTimer { timer: Timer::Linger, after_ms: self.config.linger_ms });
        }
    }

    /// An approved candidate says by itself that it is there. A block that became too old in the meantime makes the event
    /// fall away, and this says it again with a newer one.
    pub(super) fn activate(&mut self) -> Result<(), ReplicaError> {
        let Some(state) = &self.state else { return Ok(()) };
        let is_approved = state.members.candidate(&self.id).is_some_and(|candidate| candidate.approved_at.is_some());
        if !is_approved || self.is_behind() || self.own.awaits_activation() {
            return Ok(());
        }
        let event = NodeActivated { recent_height: state.height().0, recent_block: state.tip().0 };
        // A refusal leaves it for the next block or tick.
        self.admit_own(vec![Event::NodeActivated(event)]).map(|_| ())
    }
}

/// Who may send events at all: keeps a stranger from filling the mempool. What each may say is the ledger's business.
fn may_write(state: &Projections, author: NodeId) -> Result<(), Refusal> {
    let is_candidate = || state.members.candidate(&author).is_some_and(|candidate| candidate.approved_at.is_some());
    if state.validators().contains(&author) || author == state.founder() || is_candidate() {
        return Ok(());
    }
    Err(Refusal::NotAuthorized { author })
}

/// The first events that fit into one message.
pub(super) fn fitting<'a>(
    events: impl IntoIterator<Item = &'a SignedEvent>,
    events_max: usize,
    bytes_max: usize,
) -> Vec<SignedEvent> {
    let mut size_bytes = 0;
    let fits = |event: &&SignedEvent| {
        size_bytes += event.encode().len();
        size_bytes <= bytes_max
    };
    events.into_iter().take(events_max).take_while(fits).cloned().collect()
}
