//! What can be said of a block without the ones before it: what it decodes to, the hashes of its events, and whose signatures
//! are under them. Blocks can be prepared ahead, on another thread than the one that folds them in order.

use crate::block::{Height, SealedBlock};
use crate::digest::Sha256Digest;
use crate::signed::{Claim, DecodeError, EncodedEvent, EventId, Signature, SignedEvent};
use std::ops::Range;
use std::sync::Arc;

/// A block that is ready for its turn.
pub struct Prepared {
    position: Height,
    bytes: Arc<Vec<u8>>,
    decoded: Result<Decoded, DecodeError>,
}

pub(crate) struct Decoded {
    pub(crate) sealed: SealedBlock,
    pub(crate) marks: Vec<EventMark>,
    /// The signature under each event.
    pub(crate) claims: Vec<Claim>,
}

/// Where an event stands in its block's bytes, and what is a hash of it.
pub(crate) struct EventMark {
    place: Range<usize>,
    pub(crate) id: EventId,
    pub(crate) leaf: Sha256Digest,
}

impl EventMark {
    pub(crate) fn of_event<'a>(&self, signed: &'a SignedEvent, block: &'a [u8]) -> EncodedEvent<'a> {
        EncodedEvent { signed, bytes: block[self.place.clone()].into(), id: self.id, leaf: self.leaf }
    }
}

impl Prepared {
    /// Of the bytes that stand at `position` in a log.
    pub fn of(position: Height, bytes: Vec<u8>) -> Self {
        let bytes = Arc::new(bytes);
        let decoded = SealedBlock::decode_with_places(&bytes).map(|(sealed, places)| {
            let (mut marks, mut claims) = (Vec::with_capacity(places.len()), Vec::with_capacity(places.len()));
            for (signed, place) in sealed.block.events.iter().zip(places) {
                let event = EncodedEvent::of_bytes(signed, bytes[place.clone()].into());
                claims.push(Claim::of_event(signed, &bytes, place.start..place.end - size_of::<Signature>()));
                marks.push(EventMark { id: event.id, leaf: event.leaf, place });
            }
            Decoded { sealed, marks, claims }
        });
        Self { position, bytes, decoded }
    }

    pub fn position(&self) -> Height {
        self.position
    }

    pub(crate) fn into_parts(self) -> (Arc<Vec<u8>>, Result<Decoded, DecodeError>) {
        (self.bytes, self.decoded)
    }
}
