//! Blocks: a header, the events it carries, and the certificate that makes it final.

use crate::certificate::CommitCertificate;
use crate::digest::Sha256Digest;
use crate::event::Outcomes;
use crate::identity::NodeId;
use crate::signed::{DecodeError, EVENT_BYTES_MAX, NetworkId, SignedEvent, encodes_to};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::ops::Range;

/// The version of the header that this code writes and reads. In version 1 a precommit was no cosignature of a checkpoint; a header of
/// version 2 did not name the validators of the next height.
pub const HEADER_VERSION: u16 = 3;
/// The most events of one block.
pub const EVENTS_PER_BLOCK_MAX: usize = 1_000;
/// The most bytes of events in one block; a block always has room for one event.
pub const BLOCK_EVENT_BYTES_MAX: usize = 1 << 20;
/// The longest encoding of a sealed block: events, header, and a certificate of a thousand signatures.
pub const SEALED_BLOCK_BYTES_MAX: usize = BLOCK_EVENT_BYTES_MAX + EVENT_BYTES_MAX + (1 << 18);

/// The place of a block; genesis is 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Height(pub u64);

impl Height {
    pub const GENESIS: Self = Self(0);

    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The hash of a header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlockHash(pub Sha256Digest);

impl BlockHash {
    /// The parent of genesis.
    pub const NONE: Self = Self(Sha256Digest::new([0; 32]));
}

impl fmt::Display for BlockHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for BlockHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block:{}", hex::encode(&self.0.as_bytes()[..4]))
    }
}

/// What a vote for a block names: its hash, and what of its header its checkpoint states ([`crate::checkpoint`]). It all follows from
/// the header, so a vote with other numbers is a vote for another block; and a vote can be verified before its block is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize, Serialize)]
pub struct BlockId {
    pub hash: BlockHash,
    pub tree_size: u64,
    pub tree_root: Sha256Digest,
    /// Whole seconds of the block's time since the Unix epoch.
    pub time_s: u64,
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hash.fmt(f)
    }
}

/// What the validators sign. The roots and the size are those *after* the block's events.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct BlockHeader {
    pub version: u16,
    pub network: NetworkId,
    pub height: Height,
    pub parent: BlockHash,
    /// Milliseconds since the Unix epoch by the proposer's clock, never below its parent's.
    pub time_ms: u64,
    pub proposer: NodeId,
    /// Events on the ledger, and the root of the RFC 6962 tree over them.
    pub tree_size: u64,
    pub tree_root: Sha256Digest,
    /// Commitment to the projections ([`crate::state_root`]).
    pub state_root: Sha256Digest,
    /// The validators of this height ([`crate::certificate::ValidatorSet::hash`]).
    pub validators: Sha256Digest,
    /// The validators of the next height. Who trusts this header knows whose certificate makes the next one final without the events
    /// in between: a proof of publication walks from set to set by it.
    pub next_validators: Sha256Digest,
}

impl BlockHeader {
    pub fn hash(&self) -> BlockHash {
        let bytes = borsh::to_vec(self).expect("writing to memory cannot fail");
        BlockHash(Sha256Digest::of_parts(&[b"pyrsia/block/v1\0", &bytes]))
    }

    pub fn id(&self) -> BlockId {
        let Self { tree_size, tree_root, time_ms, .. } = *self;
        BlockId { hash: self.hash(), tree_size, tree_root, time_s: time_ms / 1_000 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    pub header: BlockHeader,
    pub events: Vec<SignedEvent>,
}

impl Block {
    pub fn hash(&self) -> BlockHash {
        self.header.hash()
    }

    pub fn id(&self) -> BlockId {
        self.header.id()
    }

    pub fn height(&self) -> Height {
        self.header.height
    }
}

/// A block with the proof that it is final.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SealedBlock {
    pub block: Block,
    pub certificate: CommitCertificate,
}

impl SealedBlock {
    pub fn height(&self) -> Height {
        self.block.height()
    }

    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("writing to memory cannot fail")
    }

    /// How long [`SealedBlock::encode`] is.
    pub fn size_bytes(&self) -> usize {
        borsh::object_length(self).expect("counting cannot fail")
    }

    /// Decodes strictly: nothing follows, and these bytes are the one encoding of the block.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_with_places(bytes).map(|(sealed, _)| sealed)
    }

    /// The block, and where in the bytes each of its events stands.
    pub(crate) fn decode_with_places(bytes: &[u8]) -> Result<(Self, Vec<Range<usize>>), DecodeError> {
        if bytes.len() > SEALED_BLOCK_BYTES_MAX {
            return Err(DecodeError::TooLarge { what: "block", size_bytes: bytes.len(), limit_bytes: SEALED_BLOCK_BYTES_MAX });
        }
        // Before anything else: of another version the rest may mean something else.
        if let Some(version) = bytes.first_chunk().map(|version| u16::from_le_bytes(*version))
            && version != HEADER_VERSION
        {
            return Err(DecodeError::Version { what: "block", version, known: HEADER_VERSION });
        }
        let what = "block";
        let malformed = |source| DecodeError::Malformed { what, source };
        let (mut rest, mut events, mut places, mut outcomes) = (bytes, vec![], vec![], Outcomes::default());
        let header = BlockHeader::deserialize(&mut rest).map_err(malformed)?;
        let count = <u32 as BorshDeserialize>::deserialize(&mut rest).map_err(malformed)?;
        events.reserve_exact((count as usize).min(EVENTS_PER_BLOCK_MAX));
        let mut are_canonical = encodes_to(&(&header, count), &bytes[..bytes.len() - rest.len()]);
        for _ in 0..count {
            let (start, before) = (bytes.len() - rest.len(), rest);
            let event = SignedEvent::read(&mut rest, |rest| outcomes.read(rest)).map_err(malformed)?;
            let encoding = &before[..before.len() - rest.len()];
            are_canonical &= encodes_to(&event, encoding);
            places.push(start..start + encoding.len());
            events.push(event);
        }
        let before = rest;
        let certificate = CommitCertificate::deserialize(&mut rest).map_err(malformed)?;
        if !rest.is_empty() {
            return Err(malformed(io::Error::new(io::ErrorKind::InvalidData, "something follows the certificate")));
        }
        if !are_canonical || !encodes_to(&certificate, before) {
            return Err(DecodeError::NotCanonical { what });
        }
        Ok((Self { block: Block { header, events }, certificate }, places))
    }
}
