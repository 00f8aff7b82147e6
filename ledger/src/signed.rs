//! Signatures and the envelope every event travels in.
//!
//! What is signed is `pyrsia/<role>/v1`, a zero byte, the network id, the length of the message as a little-endian u64, and
//! the message: bytes signed for one purpose or network can never stand for another. Verification follows ZIP-215, single
//! and batched alike, so that every node and every later auditor comes to the same answer about the same bytes.
//!
//! Two things are signed in the form of others, so that their tools can check them: a precommit to a block, which is a
//! cosignature, and the checkpoint that a node serves ([`crate::checkpoint`]). The first begins with `cosignature/v1` and a line
//! feed, the second with `pyrsia/` and the id of the network in hexadecimal: no purpose begins so.

pub mod batch;
mod preimage;
mod verdicts;

use crate::digest::Sha256Digest;
use crate::event::{BuildOutcome, Event};
use crate::identity::NodeId;
use crate::shared::Shared;
use crate::tree::leaf_preimage;
use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::io;

pub use batch::{Claim, first_wrong_claim, wrong_claims};
pub use verdicts::remembering;

/// The longest signed event, in bytes: the limit of one entry in a tlog-tiles entry bundle (C2SP tlog-tiles, `uint16` length).
pub const EVENT_BYTES_MAX: usize = 65_535;
/// The version of the envelope that this code writes.
pub const ENVELOPE_VERSION: u16 = 1;

/// A network: the id of the event that founded it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NetworkId(Sha256Digest);

impl NetworkId {
    /// What a founding event carries, which cannot name itself.
    pub const UNFOUNDED: Self = Self(Sha256Digest::new([0; 32]));

    pub const fn new(digest: Sha256Digest) -> Self {
        Self(digest)
    }

    pub const fn digest(&self) -> &Sha256Digest {
        &self.0
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "network:{}", hex::encode(&self.0.as_bytes()[..4]))
    }
}

/// The hash of an event without its signature, so that two encodings of a signature are not two events.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Sha256Digest);

impl EventId {
    fn of_unsigned(bytes: &[u8]) -> Self {
        Self(Sha256Digest::of_parts(&Self::preimage(bytes)))
    }

    fn preimage(unsigned: &[u8]) -> [&[u8]; 2] {
        [b"pyrsia/event-id/v1\0", unsigned]
    }

    pub const fn digest(&self) -> &Sha256Digest {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event:{}", hex::encode(&self.0.as_bytes()[..6]))
    }
}

/// An ed25519 signature (RFC 8032, section 5.1.6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Signature([u8; 64]);

impl Signature {
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signature:{}", hex::encode(&self.0[..4]))
    }
}

/// What a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Event,
    Proposal,
    Vote,
}

impl Purpose {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 3] = [Self::Event, Self::Proposal, Self::Vote];

    pub(crate) const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Event => b"pyrsia/event/v1\0",
            Self::Proposal => b"pyrsia/proposal/v1\0",
            Self::Vote => b"pyrsia/vote/v1\0",
        }
    }
}

pub(crate) fn preimage(purpose: Purpose, network: &NetworkId, message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![];
    write_preimage(&mut bytes, purpose, network, message);
    bytes
}

fn write_preimage(bytes: &mut Vec<u8>, purpose: Purpose, network: &NetworkId, message: &[u8]) {
    let prefix = purpose.prefix();
    bytes.reserve_exact(prefix.len() + 32 + 8 + message.len());
    bytes.extend_from_slice(prefix);
    bytes.extend_from_slice(network.digest().as_bytes());
    bytes.extend_from_slice(&(message.len() as u64).to_le_bytes());
    bytes.extend_from_slice(message);
}

pub fn sign(key: &SigningKey, purpose: Purpose, network: &NetworkId, message: &[u8]) -> Signature {
    sign_bytes(key, &preimage(purpose, network, message))
}

/// Signs bytes that say themselves what they are for.
pub(crate) fn sign_bytes(key: &SigningKey, bytes: &[u8]) -> Signature {
    let signature = Signature(key.sign(bytes).to_bytes());
    verdicts::note_made(key.verifying_key().as_bytes(), &signature, bytes);
    signature
}

/// Verifies one signature under ZIP-215.
pub fn verify(author: &NodeId, purpose: Purpose, network: &NetworkId, message: &[u8], signature: &Signature) -> bool {
    Claim::new(*author, purpose, network, message, *signature).holds()
}

/// The node that `key` is the secret of.
pub fn node_id_of(key: &SigningKey) -> NodeId {
    NodeId::from_public_key(key.verifying_key().to_bytes())
}

/// An event with everything its author vouches for.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct UnsignedEvent {
    pub version: u16,
    pub network: NetworkId,
    pub author: NodeId,
    /// Counts the author's events on the ledger from 0, strictly +1, so that none can be replayed.
    pub sequence: u64,
    /// Milliseconds since the Unix epoch by the author's clock. Informative: no rule reads it.
    pub claimed_time_ms: u64,
    pub event: Event,
}

impl UnsignedEvent {
    pub fn new(network: NetworkId, author: NodeId, sequence: u64, claimed_time_ms: u64, event: Event) -> Self {
        Self { version: ENVELOPE_VERSION, network, author, sequence, claimed_time_ms, event }
    }

    fn bytes(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("writing to memory cannot fail")
    }

    pub fn id(&self) -> EventId {
        EventId::of_unsigned(&self.bytes())
    }
}

/// A fact as it stands on the ledger: one leaf of the tree.
///
/// The encoding is the concatenation of [`UnsignedEvent`] and the signature of 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct SignedEvent {
    pub unsigned: UnsignedEvent,
    pub signature: Signature,
}

impl BorshDeserialize for SignedEvent {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        Self::read(reader, Shared::deserialize_reader)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("{what} does not decode")]
    Malformed {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{what} is not in its one canonical encoding")]
    NotCanonical { what: &'static str },
    #[error("this {what} is of version {version}, and this program reads version {known} only")]
    Version { what: &'static str, version: u16, known: u16 },
    #[error("{what} has {size_bytes} bytes, more than {limit_bytes}")]
    TooLarge { what: &'static str, size_bytes: usize, limit_bytes: usize },
}

/// Decodes strictly: no trailing bytes, and what was read must encode to the same bytes again.
pub fn decode_canonical<T: BorshDeserialize + BorshSerialize>(what: &'static str, bytes: &[u8]) -> Result<T, DecodeError> {
    let value = T::try_from_slice(bytes).map_err(|source| DecodeError::Malformed { what, source })?;
    if encodes_to(&value, bytes) { Ok(value) } else { Err(DecodeError::NotCanonical { what }) }
}

/// Whether exactly these bytes are the encoding of a value, which is not put together for it.
pub(crate) fn encodes_to<T: BorshSerialize>(value: &T, bytes: &[u8]) -> bool {
    let mut expected = Expected { rest: bytes };
    value.serialize(&mut expected).is_ok() && expected.rest.is_empty()
}

/// Takes what it expects and fails at the first other byte.
struct Expected<'a> {
    rest: &'a [u8],
}

impl io::Write for Expected<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest = self.rest.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SignedEvent {
    /// Reads an event, and what a judge came to with `outcome`.
    pub(crate) fn read<R: io::Read>(
        reader: &mut R,
        outcome: impl FnOnce(&mut R) -> io::Result<Shared<BuildOutcome>>,
    ) -> io::Result<Self> {
        let unsigned = UnsignedEvent {
            version: u16::deserialize_reader(reader)?,
            network: NetworkId::deserialize_reader(reader)?,
            author: NodeId::deserialize_reader(reader)?,
            sequence: u64::deserialize_reader(reader)?,
            claimed_time_ms: u64::deserialize_reader(reader)?,
            event: Event::read(reader, outcome)?,
        };
        Ok(Self { unsigned, signature: Signature::deserialize_reader(reader)? })
    }

    pub fn new(key: &SigningKey, unsigned: UnsignedEvent) -> Self {
        let signature = sign(key, Purpose::Event, &unsigned.network, &unsigned.bytes());
        Self { unsigned, signature }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > EVENT_BYTES_MAX {
            return Err(DecodeError::TooLarge { what: "event", size_bytes: bytes.len(), limit_bytes: EVENT_BYTES_MAX });
        }
        decode_canonical("event", bytes)
    }

    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("writing to memory cannot fail")
    }

    pub fn id(&self) -> EventId {
        self.unsigned.id()
    }

    pub fn author(&self) -> NodeId {
        self.unsigned.author
    }

    pub fn event(&self) -> &Event {
        &self.unsigned.event
    }

    pub fn verify_signature(&self) -> bool {
        self.claim().holds()
    }

    /// Whether every one of them has a good signature, at half of the cost of asking each.
    pub fn verify_signatures<'a>(events: impl IntoIterator<Item = &'a Self>) -> bool {
        let claims: Vec<Claim> = events.into_iter().map(Self::claim).collect();
        batch::hold(&claims.iter().collect::<Vec<_>>())
    }

    fn claim(&self) -> Claim {
        let unsigned = &self.unsigned;
        Claim::new(unsigned.author, Purpose::Event, &unsigned.network, &unsigned.bytes(), self.signature)
    }
}

/// An event with its encoding and what is a hash of it, each made once however many checks need them.
pub(crate) struct EncodedEvent<'a> {
    pub(crate) signed: &'a SignedEvent,
    pub(crate) bytes: Cow<'a, [u8]>,
    pub(crate) id: EventId,
    pub(crate) leaf: Sha256Digest,
}

impl<'a> EncodedEvent<'a> {
    pub(crate) fn new(signed: &'a SignedEvent) -> Self {
        Self::of_bytes(signed, signed.encode().into())
    }

    /// With the bytes that the event was decoded from.
    pub(crate) fn of_bytes(signed: &'a SignedEvent, bytes: Cow<'a, [u8]>) -> Self {
        let [id, leaf] = Sha256Digest::of_both([EventId::preimage(unsigned_part(&bytes)), leaf_preimage(&bytes)]);
        Self { signed, bytes, id: EventId(id), leaf }
    }

    pub(crate) fn all(events: &'a [SignedEvent]) -> Vec<Self> {
        events.iter().map(Self::new).collect()
    }

    pub(crate) fn claim(&self) -> Claim {
        let unsigned = &self.signed.unsigned;
        Claim::new(unsigned.author, Purpose::Event, &unsigned.network, unsigned_part(&self.bytes), self.signed.signature)
    }
}

/// An event's encoding without the signature it ends with.
fn unsigned_part(encoded: &[u8]) -> &[u8] {
    &encoded[..encoded.len() - size_of::<Signature>()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{NetworkFounded, NodeAuthorizationApproved};
    use proptest::prelude::*;

    fn founded(seed: u8) -> (SigningKey, SignedEvent) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let event = Event::NetworkFounded(NetworkFounded { name: "test".into(), nonce: [seed; 32] });
        let unsigned = UnsignedEvent::new(NetworkId::UNFOUNDED, node_id_of(&key), 0, 1, event);
        (key.clone(), SignedEvent::new(&key, unsigned))
    }

    #[test]
    fn a_signature_is_good_for_one_purpose_and_one_network_only() {
        let (key, event) = founded(1);
        let node = node_id_of(&key);
        let here = NetworkId::new(*event.id().digest());
        let signature = sign(&key, Purpose::Vote, &here, b"message");
        assert!(verify(&node, Purpose::Vote, &here, b"message", &signature));
        assert!(!verify(&node, Purpose::Proposal, &here, b"message", &signature));
        assert!(!verify(&node, Purpose::Vote, &NetworkId::UNFOUNDED, b"message", &signature));
        assert!(!verify(&node, Purpose::Vote, &here, b"massage", &signature));
    }

    #[test]
    fn the_id_of_an_event_does_not_depend_on_its_signature() {
        let (_, event) = founded(2);
        let mut other = event.clone();
        other.signature = Signature::from_bytes([9; 64]);
        assert_eq!(event.id(), other.id());
        assert!(event.verify_signature());
        assert!(!other.verify_signature());
    }

    proptest! {
        #[test]
        fn any_changed_byte_of_an_event_is_noticed(seed in 1u8.., at in any::<prop::sample::Index>(), flip in 1u8..) {
            let key = SigningKey::from_bytes(&[seed; 32]);
            let event = Event::NodeAuthorizationApproved(NodeAuthorizationApproved { node: node_id_of(&key) });
            let network = NetworkId::new(Sha256Digest::of(b"n"));
            let signed = SignedEvent::new(&key, UnsignedEvent::new(network, node_id_of(&key), 7, 8, event));
            let mut bytes = signed.encode();
            prop_assert_eq!(&SignedEvent::decode(&bytes).expect("decodes"), &signed);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(SignedEvent::decode(&bytes).map_or(true, |changed| !changed.verify_signature()));
        }
    }
}
