//! Every rule that can refuse an event, each once: the proposer, the validator, the follower and the auditor call these.
//!
//! A rule reads the ledger and the event and nothing else: no clock, no opinion of this node. The event's own signature is
//! checked apart, because it does not depend on the ledger and is worth caching; signatures that an event carries as evidence
//! are part of the rule about it.

mod builds;
mod members;
mod refusal;

use crate::event::{Event, NetworkFounded, TEXT_BYTES_MAX};
use crate::projection::Projections;
use crate::signed::{ENVELOPE_VERSION, EVENT_BYTES_MAX, NetworkId, SignedEvent, UnsignedEvent};

pub use builds::UNFINISHED_BUILDS_PER_NODE_MAX;
pub use members::OPEN_CANDIDATES_PER_NODE_MAX;
pub use refusal::{NodeIdErrorText, Refusal};

/// Whether `event` may stand on the ledger next.
pub fn check(state: &Projections, event: &SignedEvent) -> Result<(), Refusal> {
    let unsigned = &event.unsigned;
    envelope(state, unsigned)?;
    let author = unsigned.author;
    match &unsigned.event {
        Event::NetworkFounded(_) => Err(Refusal::FoundedAlready),
        Event::NodeAuthorizationApproved(body) => members::authorization(state, author, body),
        Event::NodeActivated(body) => members::activation(state, author, body),
        Event::NodeRevocationApproved(body) => members::revocation(state, author, body),
        Event::EquivocationProved(body) => members::equivocation(state, author, body),
        Event::VerifierApproved(body) => members::verifier(state, author, body),
        Event::BuildRequested(body) => builds::request(state, author, body),
        Event::BuildResultCommitted(body) => builds::commit(state, author, body),
        Event::BuildResultRevealed(body) => builds::reveal(state, author, body),
        Event::BuildWaitEnded(body) => builds::end_wait(state, author, body),
        Event::BuildCandidateVouched(body) => builds::vouch(state, author, body),
        Event::BuildDisputed(body) => builds::dispute(state, author, body),
        Event::AddArtifact(body) => builds::publication(state, author, body),
    }
}

/// Whether an event of this many bytes may stand on any ledger. Apart from [`check`], because it needs the encoding.
pub fn size(size_bytes: usize) -> Result<(), Refusal> {
    if size_bytes > EVENT_BYTES_MAX { Err(Refusal::TooLarge { size_bytes }) } else { Ok(()) }
}

/// The founding event, which no state comes before.
pub fn founding(unsigned: &UnsignedEvent, body: &NetworkFounded) -> Result<(), Refusal> {
    if unsigned.version != ENVELOPE_VERSION {
        return Err(Refusal::Version { found: unsigned.version });
    }
    if unsigned.network != NetworkId::UNFOUNDED {
        return Err(Refusal::Network { found: unsigned.network });
    }
    if unsigned.sequence != 0 {
        return Err(Refusal::Sequence { expected: 0, found: unsigned.sequence });
    }
    unsigned.author.check()?;
    network_name(&body.name)
}

/// The name that its founder gives a network.
pub fn network_name(name: &str) -> Result<(), Refusal> {
    text(name)
}

fn envelope(state: &Projections, unsigned: &UnsignedEvent) -> Result<(), Refusal> {
    if unsigned.version != ENVELOPE_VERSION {
        return Err(Refusal::Version { found: unsigned.version });
    }
    if unsigned.network != *state.network() {
        return Err(Refusal::Network { found: unsigned.network });
    }
    let expected = state.next_sequence(&unsigned.author);
    if unsigned.sequence != expected {
        return Err(Refusal::Sequence { expected, found: unsigned.sequence });
    }
    Ok(())
}

/// Texts are shown in terminals, logs and pages: nobody may write there what is no text.
fn text(text: &str) -> Result<(), Refusal> {
    text_within(text, TEXT_BYTES_MAX)
}

fn text_within(text: &str, limit_bytes: usize) -> Result<(), Refusal> {
    if text.len() > limit_bytes {
        return Err(Refusal::Text { size_bytes: text.len(), limit_bytes });
    }
    // Without an end before the last byte, so that many are looked at together.
    let has_ascii_control = text.bytes().fold(false, |found, byte| found | byte.is_ascii_control());
    let has_control = has_ascii_control || !text.is_ascii() && text.chars().any(char::is_control);
    if has_control { Err(Refusal::ControlCharacter) } else { Ok(()) }
}
