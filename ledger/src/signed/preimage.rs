//! The bytes under a signature: those of an event are put together when they are looked at, out of the block they stand in, which is
//! kept until then.

use super::{NetworkId, Purpose, write_preimage};
use std::ops::Range;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Preimage {
    Own(Vec<u8>),
    OfEvent {
        network: NetworkId,
        block: Arc<Vec<u8>>,
        /// Where its unsigned part stands.
        unsigned: Range<usize>,
    },
}

impl Preimage {
    /// The bytes, in `room` where they stand nowhere as they are.
    pub(super) fn bytes<'a>(&'a self, room: &'a mut Vec<u8>) -> &'a [u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::OfEvent { network, block, unsigned } => {
                room.clear();
                write_preimage(room, Purpose::Event, network, &block[unsigned.clone()]);
                room
            }
        }
    }
}
