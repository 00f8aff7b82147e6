//! The ledger: the facts of a Pyrsia network and what they mean.
//!
//! Owns events, blocks, certificates, checkpoints, the Merkle tree over all events, the projections that are folded from
//! them, every rule that can refuse one, and the block log on disk. Everything but [`log`] is plain functions over values:
//! no clock, no network, no `async`, no randomness, no thread.

pub mod coordinate;
pub mod digest;
pub mod identity;
mod shared;

pub mod event;
pub mod signed;

pub mod block;
pub mod certificate;
pub mod checkpoint;
pub mod evidence;
pub mod note;
pub mod proof;
pub mod tiles;
pub mod tree;

pub mod policy;
pub mod projection;
pub mod state_root;

pub mod audit;
pub mod log;
pub mod publication_proof;
pub mod search;

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;

pub use block::{Block, BlockHash, BlockHeader, BlockId, Height, SealedBlock};
pub use certificate::{CommitCertificate, ValidatorSet};
pub use coordinate::{ArtifactId, BuildId, PackageCoordinate, PackageId, PackageType};
pub use digest::{RunningSha256, Sha256Digest};
pub use event::Event;
pub use evidence::Evidence;
pub use identity::NodeId;
pub use policy::Refusal;
pub use projection::Projections;
pub use shared::Shared;
pub use signed::{EventId, NetworkId, Purpose, Signature, SignedEvent, UnsignedEvent};
