//! Artifacts on this node's disk, named by their sha256.
//!
//! Owns the store, the chunk lists, unfinished downloads, and which build brought what. Nothing is visible under its name before its bytes were
//! hashed and are durable. It never speaks with a peer ([`crate::p2p`] does) and never decides what may be served
//! ([`crate::verification`] does).

pub mod chunks;
pub mod store;

mod brought;
mod inspected;
mod partial;

pub use chunks::{ARTIFACT_BYTES_MAX, ChunkList};
pub(crate) use partial::{Finished, Partial};
pub use store::{ArtifactStore, Ingest, StoreError, Stored};
