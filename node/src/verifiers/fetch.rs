//! Getting a module from another node, piece by piece; the digest of the whole says whether it is the one.

use std::collections::BTreeSet;

use pyrsia_ledger::{NodeId, Sha256Digest};
use pyrsia_verifiers::limits::MODULE_BYTES_MAX;

use super::ModuleError;
use crate::p2p::{NodeRequest, NodeResponse, P2pHandle, REQUEST_BYTES_MAX};

/// What one answer carries: the bound of a message, with room for what stands around the piece.
pub(super) const PIECE_BYTES_MAX: usize = REQUEST_BYTES_MAX as usize - 1024;
/// The code of an answer that the module is not there.
pub(super) const CODE_NOT_HERE: u16 = 404;
/// Nodes that are asked before it is given up for now.
const PROVIDERS_MAX: usize = 8;
/// What is repeated of a peer's reason.
const SENTENCE_CHARS_MAX: usize = 200;

/// Asks the connected nodes, those that vote first: they needed the module to agree on it.
pub(super) async fn module(p2p: &P2pHandle, validators: &[NodeId], digest: &Sha256Digest) -> Result<Vec<u8>, ModuleError> {
    let connected: BTreeSet<NodeId> = p2p.peers().into_iter().collect();
    let first = validators.iter().filter(|node| connected.contains(node));
    let rest = connected.iter().filter(|node| !validators.contains(node));
    let mut reasons = Vec::new();
    for node in first.chain(rest).take(PROVIDERS_MAX) {
        match from(p2p, *node, digest).await {
            Ok(module) => return Ok(module),
            Err(reason) => reasons.push(format!("{node}: {reason}")),
        }
    }
    let reason = if reasons.is_empty() { "no node is connected".into() } else { reasons.join("; ") };
    Err(ModuleError::Unavailable { reason })
}

async fn from(p2p: &P2pHandle, node: NodeId, digest: &Sha256Digest) -> Result<Vec<u8>, String> {
    let mut module = Vec::new();
    loop {
        let request = NodeRequest::VerifierModule { sha256: *digest, offset: module.len() as u64 };
        let (size, piece) = match p2p.request(node, request).await {
            Ok(NodeResponse::VerifierModule { size_bytes, piece }) => (size_bytes, piece),
            Ok(NodeResponse::Error { sentence, .. }) => return Err(quoted(&sentence)),
            Ok(NodeResponse::Build(_)) => return Err("it answered something else".into()),
            Err(error) => return Err(error.to_string()),
        };
        module.extend_from_slice(&piece);
        let received = module.len() as u64;
        if size > MODULE_BYTES_MAX || received > size || piece.is_empty() && received < size {
            return Err(format!("it announced {size} bytes and sent {received}"));
        }
        if received == size {
            let is_it = Sha256Digest::of(&module) == *digest;
            return if is_it { Ok(module) } else { Err("it sent another module".into()) };
        }
    }
}

/// A peer's words, as they may stand in a log.
fn quoted(sentence: &str) -> String {
    sentence.chars().filter(|c| !c.is_control()).take(SENTENCE_CHARS_MAX).collect()
}

/// The size of a module in memory, and what it has from `offset` on.
pub(super) fn piece_of(module: &[u8], offset: u64) -> (u64, Vec<u8>) {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(module.len());
    let piece = &module[from..(from.saturating_add(PIECE_BYTES_MAX)).min(module.len())];
    (module.len() as u64, piece.to_vec())
}
