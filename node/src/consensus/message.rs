//! What replicas say to each other. One frame is one message in canonical borsh.

use super::ballot::{PolkaCertificate, Proposal, RoundCertificate, Vote};
use borsh::{BorshDeserialize, BorshSerialize};
use pyrsia_ledger::signed::{DecodeError, decode_canonical};
use pyrsia_ledger::{Block, Height, NetworkId, SealedBlock, SignedEvent};

/// The longest frame, in bytes: a proposal with its block, or a range of blocks, with room to spare.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// The most bytes of blocks in one answer; one block is always sent whole.
pub(super) const BLOCK_RANGE_BYTES_MAX: usize = 1 << 20;
/// The most events in one message, and the most bytes of them.
pub(super) const EVENTS_PER_MESSAGE_MAX: usize = 64;
pub(super) const EVENTS_MESSAGE_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) enum Message {
    /// The block travels with its proposal, so that there is no half of one.
    Proposal {
        proposal: Proposal,
        block: Box<Block>,
    },
    Vote(Vote),
    /// A vote sent again because its height does not move on: a sign that the sender may be behind.
    VoteAgain(Vote),
    PolkaCertificate(PolkaCertificate),
    RoundCertificate(RoundCertificate),
    Events(Vec<SignedEvent>),
    /// How far the sender is; none before it knows its network.
    Status {
        network: Option<NetworkId>,
        height: Option<Height>,
    },
    GetBlocks {
        from: Height,
    },
    Blocks(Vec<SealedBlock>),
    /// How far is the receiver? The number makes the answer one to this question and not to one of an earlier life.
    AskTip {
        nonce: u64,
    },
    Tip {
        nonce: u64,
        height: Option<Height>,
    },
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("writing to memory cannot fail")
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > FRAME_BYTES_MAX {
            return Err(DecodeError::TooLarge { what: "frame", size_bytes: bytes.len(), limit_bytes: FRAME_BYTES_MAX });
        }
        decode_canonical("frame", bytes)
    }

    /// The height that an agreement message is about.
    pub(super) fn ballot_height(&self) -> Option<Height> {
        match self {
            Self::Proposal { proposal, .. } => Some(proposal.height),
            Self::Vote(vote) | Self::VoteAgain(vote) => Some(vote.height),
            Self::PolkaCertificate(certificate) => Some(certificate.height),
            Self::RoundCertificate(certificate) => Some(certificate.height),
            Self::Events(_)
            | Self::Status { .. }
            | Self::GetBlocks { .. }
            | Self::Blocks(_)
            | Self::AskTip { .. }
            | Self::Tip { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_frame_makes_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert_eq!(message.encode(), bytes);
            }
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_it_is_read() {
        let error = Message::decode(&vec![0; FRAME_BYTES_MAX + 1]);
        assert!(matches!(error, Err(DecodeError::TooLarge { .. })));
    }
}
