//! Moving artifacts between nodes: `/pyrsia/artifact/1`, on streams of their own.
//!
//! ```text
//! fetching node                         serving node
//!   ChunkList{sha256}          ->
//!                              <-       ChunkList{chunks} | Unavailable
//!   Chunks{sha256, from, count} ->
//!                              <-       Chunks, then the bytes of the chunks | Unavailable
//!   …any number of requests, one after the other…
//! ```
//!
//! The ledger binds the chunk list and with it each chunk, so a peer needs no trust: a wrong chunk is noticed when it
//! arrives, never written, and its sender is not asked for this artifact again.

pub(super) mod conduct;
pub(super) mod download;
pub(super) mod feed;
pub(super) mod fetch;
pub(super) mod rate;
pub(super) mod room;
pub(super) mod serve;

use crate::artifacts::ARTIFACT_BYTES_MAX;
use borsh::{BorshDeserialize, BorshSerialize};
use libp2p::StreamProtocol;
use pyrsia_ledger::Sha256Digest;
use pyrsia_ledger::tree::chunk_count;

pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/pyrsia/artifact/1");
/// The longest request, in bytes.
const REQUEST_BYTES_MAX: usize = 256;
/// The longest response without the bytes of chunks: the chunk list of the largest artifact, and room.
const RESPONSE_BYTES_MAX: usize = chunk_count(ARTIFACT_BYTES_MAX) as usize * 32 + 64;

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) enum Request {
    ChunkList { sha256: Sha256Digest },
    Chunks { sha256: Sha256Digest, from: u64, count: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) enum Response {
    ChunkList {
        chunks: Vec<Sha256Digest>,
    },
    /// The bytes follow.
    Chunks,
    /// This node does not have the artifact, or may not give it out.
    Unavailable,
}

#[cfg(test)]
mod faulty_pulls;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod tests;
