//! Getting a module from another node, piece by piece; the digest of the whole says whether it is the one.

use std::collections::BTreeSet;
use std::time::Duration;

use pyrsia_ledger::{NodeId, Sha256Digest};
use pyrsia_verifiers::limits::MODULE_BYTES_MAX;
use tokio::time::timeout;

use super::ModuleError;
use crate::p2p::{NodeRequest, NodeResponse, P2pHandle, REQUEST_BYTES_MAX, RequestError};

/// What one answer carries: the bound of a message, with room for what stands around the piece.
pub(super) const PIECE_BYTES_MAX: usize = REQUEST_BYTES_MAX as usize - 1024;
/// The code of an answer that the module is not there.
pub(super) const CODE_NOT_HERE: u16 = 404;
/// Nodes that are asked before it is given up for now.
const PROVIDERS_MAX: usize = 8;
/// How long one of them is waited for, all pieces together: the largest module comes at 70 KiB/s. There are others, and later tries.
const PROVIDER_PATIENCE: Duration = Duration::from_secs(60);
/// What is repeated of a peer's reason.
const SENTENCE_CHARS_MAX: usize = 200;

/// Asks the connected nodes, those that vote first: they needed the module to agree on it.
pub(super) async fn module(p2p: &P2pHandle, validators: &[NodeId], digest: &Sha256Digest) -> Result<Vec<u8>, ModuleError> {
    let connected: BTreeSet<NodeId> = p2p.peers().into_iter().collect();
    let first = validators.iter().filter(|node| connected.contains(node));
    let rest = connected.iter().filter(|node| !validators.contains(node));
    let mut reasons = Vec::new();
    for node in first.chain(rest).take(PROVIDERS_MAX) {
        let ask = |offset| p2p.request(*node, NodeRequest::VerifierModule { sha256: *digest, offset });
        match from(ask, digest, PROVIDER_PATIENCE).await {
            Ok(module) => return Ok(module),
            Err(reason) => reasons.push(format!("{node}: {reason}")),
        }
    }
    let reason = if reasons.is_empty() { "no node is connected".into() } else { reasons.join("; ") };
    Err(ModuleError::Unavailable { reason })
}

/// The module from the node that `ask` asks for what it has from an offset on.
async fn from<A>(ask: impl Fn(u64) -> A, digest: &Sha256Digest, patience: Duration) -> Result<Vec<u8>, String>
where
    A: Future<Output = Result<NodeResponse, RequestError>>,
{
    timeout(patience, pieces(ask, digest)).await.unwrap_or_else(|_| Err(format!("it took more than {patience:?}")))
}

async fn pieces<A>(ask: impl Fn(u64) -> A, digest: &Sha256Digest) -> Result<Vec<u8>, String>
where
    A: Future<Output = Result<NodeResponse, RequestError>>,
{
    let mut module = Vec::new();
    loop {
        let (size, piece) = match ask(module.len() as u64).await {
            Ok(NodeResponse::VerifierModule { size_bytes, piece }) => (size_bytes, piece),
            Ok(NodeResponse::Error { sentence, .. }) => return Err(quoted(&sentence)),
            Ok(NodeResponse::Build(_)) => return Err("it answered something else".into()),
            Err(error) => return Err(error.to_string()),
        };
        module.extend_from_slice(&piece);
        let received = module.len() as u64;
        // Byte by byte a module would take millions of requests.
        let is_whole = piece.len() >= PIECE_BYTES_MAX || received == size;
        if size > MODULE_BYTES_MAX || received > size || !is_whole {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::future::{pending, ready};

    /// Longer than anything here takes, also on a busy machine.
    const DEADLINE: Duration = Duration::from_secs(60);

    fn module() -> (Vec<u8>, Sha256Digest) {
        let module: Vec<u8> = (0..2 * PIECE_BYTES_MAX + 1).map(|n| n as u8).collect();
        let digest = Sha256Digest::of(&module);
        (module, digest)
    }

    /// What a node answers that gives pieces of up to `length` bytes.
    fn answer(module: &[u8], offset: u64, length: usize) -> Result<NodeResponse, RequestError> {
        let (size_bytes, mut piece) = piece_of(module, offset);
        piece.truncate(length);
        Ok(NodeResponse::VerifierModule { size_bytes, piece })
    }

    #[tokio::test]
    async fn a_node_that_gives_less_than_it_could_is_asked_no_more() {
        let (module, digest) = module();
        for (length, requests) in [(PIECE_BYTES_MAX, 3), (PIECE_BYTES_MAX - 1, 1), (1, 1), (0, 1)] {
            let asked = Cell::new(0);
            let ask = |offset| {
                asked.set(asked.get() + 1);
                ready(answer(&module, offset, length))
            };
            let got = from(ask, &digest, DEADLINE).await;
            assert_eq!((got.is_ok(), asked.get()), (requests == 3, requests), "{length}: {:?}", got.err());
        }
    }

    #[tokio::test]
    async fn a_node_that_stops_in_the_middle_is_not_waited_for_beyond_its_time() {
        let (module, digest) = module();
        let ask = |offset| {
            let first = answer(&module, 0, PIECE_BYTES_MAX);
            async move { if offset == 0 { first } else { pending().await } }
        };
        let got = timeout(DEADLINE, from(ask, &digest, Duration::from_millis(100))).await;
        assert_eq!(got.expect("in time"), Err("it took more than 100ms".into()));
    }
}
