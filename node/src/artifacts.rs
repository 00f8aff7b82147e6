//! Artifacts on this node's disk, named by their sha256.
//!
//! Owns the store, the chunk lists, unfinished downloads, pins, and which build brought what. Nothing is visible under its name before its bytes were
//! hashed and are durable. It never speaks with a peer ([`crate::p2p`] does) and never decides what may be served
//! ([`crate::verification`] does).

pub mod chunks;
pub mod store;

mod brought;
mod catalogue;
mod error;
mod ingest;
mod inspected;
mod lock;
mod losses;
mod partial;
mod pins;
mod scrub;
mod temporary;

pub(crate) use catalogue::Counts;
pub use catalogue::{StoredArtifact, Usage};
pub use chunks::{ARTIFACT_BYTES_MAX, ChunkList};
pub use error::StoreError;
pub(crate) use ingest::ArtifactHasher;
pub use ingest::Ingest;
pub(crate) use lock::FolderLock;
pub(crate) use losses::Loss;
pub(crate) use partial::{Finished, Partial};
pub(crate) use scrub::Inspection;
pub use store::{ArtifactStore, Leaving, Stored};
pub(crate) use store::{Reservation, hashed};
