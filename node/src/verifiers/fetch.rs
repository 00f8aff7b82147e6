//! Getting a module from another node, piece by piece; the digest of the whole says whether it is the one.

use std::io;
use std::pin::pin;
use std::time::Duration;

use pyrsia_ledger::{NodeId, Sha256Digest};
use pyrsia_verifiers::limits::MODULE_BYTES_MAX;
use tokio::time::sleep;

use super::ModuleError;
use crate::p2p::{NodeRequest, NodeResponse, P2pHandle, REQUEST_BYTES_MAX, RequestError};

/// What one answer carries: the bound of a message, with room for what stands around the piece.
pub(super) const PIECE_BYTES_MAX: usize = REQUEST_BYTES_MAX as usize - 1024;
/// The code of an answer that the module is not there.
pub(super) const CODE_NOT_HERE: u16 = 404;
/// Nodes that are asked before it is given up for now.
const PROVIDERS_MAX: usize = 8;
/// How long a piece is waited for, so that whoever sends byte by byte is given up as soon as who sends nothing.
const PIECE_PATIENCE: Duration = Duration::from_secs(15);
/// How long a node has for a whole module, however its pieces come: the largest takes that long at 14 KiB a second.
const MODULE_PATIENCE: Duration = Duration::from_secs(5 * 60);
/// What is repeated of a peer's reason.
const SENTENCE_CHARS_MAX: usize = 200;

/// Asks the connected nodes one after the other. That takes at most [`PROVIDERS_MAX`] times [`MODULE_PATIENCE`].
pub(super) async fn module(p2p: &P2pHandle, validators: &[NodeId], digest: &Sha256Digest) -> Result<Vec<u8>, ModuleError> {
    let mut order = [0; 8];
    getrandom::fill(&mut order).map_err(io::Error::other)?;
    let mut reasons = Vec::new();
    for node in providers(p2p.peers(), validators, order).take(PROVIDERS_MAX) {
        let ask = |offset| p2p.request(node, NodeRequest::VerifierModule { sha256: *digest, offset });
        match from(ask, digest, || sleep(PIECE_PATIENCE), sleep(MODULE_PATIENCE)).await {
            Ok(module) => return Ok(module),
            Err(reason) => reasons.push(format!("{node}: {reason}")),
        }
    }
    let reason = if reasons.is_empty() { "no node is connected".into() } else { reasons.join("; ") };
    Err(ModuleError::Unavailable { reason })
}

/// Those that vote first: they needed the module to agree on it. Otherwise in an `order` that nobody can choose an identity for, another one each time:
/// whoever sends slowly is not asked first again.
fn providers(connected: impl IntoIterator<Item = NodeId>, validators: &[NodeId], order: [u8; 8]) -> impl Iterator<Item = NodeId> {
    let mut nodes: Vec<NodeId> = connected.into_iter().collect();
    let place = |node: &NodeId| Sha256Digest::of(&[&order, node.to_string().as_bytes()].concat());
    nodes.sort_by_cached_key(|node| (!validators.contains(node), place(node)));
    nodes.into_iter()
}

/// The module from the node that `ask` asks for what it has from an offset on, each piece and the whole for as long as the patience with it lasts.
async fn from<A, P>(
    ask: impl Fn(u64) -> A,
    digest: &Sha256Digest,
    with_a_piece: impl Fn() -> P,
    with_the_whole: impl Future<Output = ()>,
) -> Result<Vec<u8>, String>
where
    A: Future<Output = Result<NodeResponse, RequestError>>,
    P: Future<Output = ()>,
{
    let mut with_the_whole = pin!(with_the_whole);
    let mut module = Vec::new();
    loop {
        let answer = tokio::select! {
            biased;
            () = &mut with_the_whole => return Err(format!("it has not sent all of it within {} s", MODULE_PATIENCE.as_secs())),
            answer = ask(module.len() as u64) => answer,
            () = with_a_piece() => return Err(format!("it has not sent a piece within {} s", PIECE_PATIENCE.as_secs())),
        };
        let (size, piece) = match answer {
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
    use std::collections::BTreeSet;
    use std::future::{pending, ready};
    use tokio::task::yield_now;

    /// So many looks at whoever waits.
    async fn looks(count: usize) {
        for _ in 0..count {
            yield_now().await;
        }
    }

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
            let got = from(ask, &digest, pending, pending()).await;
            assert_eq!((got.is_ok(), asked.get()), (requests == 3, requests), "{length}: {:?}", got.err());
        }
    }

    #[tokio::test]
    async fn a_slow_node_is_waited_for_as_long_as_its_pieces_come_and_no_longer_than_the_whole_may_take() {
        const PATIENCE: usize = 10;
        const WHOLE: usize = 100;
        let (module, digest) = module();
        let (late, too_late) = ("it has not sent a piece within 15 s", "it has not sent all of it within 300 s");
        for (piece_takes, whole, requests, given_up) in [
            (PATIENCE - 1, WHOLE, 3, None),
            (PATIENCE + 1, WHOLE, 1, Some(late)),
            (usize::MAX, WHOLE, 1, Some(late)),
            (PATIENCE - 1, 2 * PATIENCE, 3, Some(too_late)),
        ] {
            let asked = Cell::new(0);
            let ask = |offset| {
                asked.set(asked.get() + 1);
                let answer = answer(&module, offset, PIECE_BYTES_MAX);
                async move {
                    looks(piece_takes).await;
                    answer
                }
            };
            let got = from(ask, &digest, || looks(PATIENCE), looks(whole)).await;
            assert_eq!((got.err().as_deref(), asked.get()), (given_up, requests), "{piece_takes}, {whole}");
        }
    }

    #[test]
    fn connected_nodes_that_vote_are_asked_first_and_each_begins_once() {
        let node = |number| NodeId::from_public_key([number; 32]);
        let connected: Vec<NodeId> = (0..6).map(node).collect();
        let validators = [node(1), node(3), node(9)];
        let mut first = BTreeSet::new();
        for order in 0..100u64 {
            let asked: Vec<NodeId> = providers(connected.clone(), &validators, order.to_le_bytes()).collect();
            assert_eq!(asked.iter().collect::<BTreeSet<_>>(), connected.iter().collect(), "each of them, once");
            assert!(asked[..2].iter().all(|node| validators.contains(node)), "{asked:?}");
            first.extend([(0, asked[0]), (2, asked[2])]);
        }
        assert_eq!(first.len(), 2 + 4, "{first:?}");
    }
}
