//! What other tasks ask of the swarm task, and what they can see of it.

use super::port_mapping::Forwarding;
use super::request::{NodeRequest, NodeResponse, RequestError};
use libp2p::Multiaddr;
use libp2p::request_response::ResponseChannel;
use pyrsia_ledger::{NodeId, Sha256Digest};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// Whether others can reach this node, as far as those tell that were asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reachability {
    #[default]
    Unknown,
    Public,
    Private,
}

/// How this node looks from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    pub reachability: Reachability,
    /// The relays through which it can be reached.
    pub relays: Vec<NodeId>,
    pub forwarding: Forwarding,
}

/// How many commands may wait for the swarm task.
pub(super) const COMMANDS_WAITING_MAX: usize = 256;
/// How long finding and dialing a node may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the distributed hash table is asked who has an artifact.
const PROVIDERS_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) enum Command {
    Dial { address: Multiaddr, done: oneshot::Sender<Result<(), String>> },
    Connect { to: NodeId, done: oneshot::Sender<()> },
    FindProviders { of: Sha256Digest, found: oneshot::Sender<Vec<NodeId>> },
    Provide { sha256: Sha256Digest },
    Withdraw { sha256: Sha256Digest },
    Request { to: NodeId, request: NodeRequest, reply: oneshot::Sender<Result<NodeResponse, RequestError>> },
    Respond { channel: ResponseChannel<NodeResponse>, response: NodeResponse },
}

/// A handle on the swarm task.
#[derive(Clone)]
pub(super) struct Reach {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) peers: watch::Receiver<Arc<Vec<NodeId>>>,
    pub(super) addresses: watch::Receiver<Arc<Vec<Multiaddr>>>,
}

impl Reach {
    /// Finds and dials a node if it is not connected. Whether it is connected in the end.
    pub(super) async fn connect(&self, to: NodeId) -> bool {
        if self.peers.borrow().binary_search(&to).is_ok() {
            return true;
        }
        let (done, connected) = oneshot::channel();
        let asked = self.commands.send(Command::Connect { to, done }).await.is_ok();
        asked && matches!(timeout(CONNECT_TIMEOUT, connected).await, Ok(Ok(())))
    }

    /// The nodes that announced in the distributed hash table that they have an artifact.
    pub(super) async fn find_providers(&self, of: Sha256Digest) -> Vec<NodeId> {
        let (found, providers) = oneshot::channel();
        if self.commands.send(Command::FindProviders { of, found }).await.is_err() {
            return vec![];
        }
        timeout(PROVIDERS_TIMEOUT, providers).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Announces an artifact, if there is room among the keys this node provides.
    pub(super) async fn provide(&self, sha256: Sha256Digest) {
        // The send fails only when the node is stopping, and then there is nothing to announce.
        let _ = self.commands.send(Command::Provide { sha256 }).await;
    }

    /// Announces an artifact no more, which makes room for the key of another one. What others remember of it runs out by itself.
    pub(super) async fn withdraw(&self, sha256: Sha256Digest) {
        // As above.
        let _ = self.commands.send(Command::Withdraw { sha256 }).await;
    }
}
