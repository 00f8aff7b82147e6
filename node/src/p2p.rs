//! The node in the network: connections, frames of the ledger, artifacts, and requests from node to node.
//!
//! ```text
//!   swarm task        connections, identify, ping, kad, autonat, requests   (the only owner of the swarm)
//!   ledger_frames     /pyrsia/ledger/1     consensus frames, one stream to each peer
//!   exchange          /pyrsia/artifact/1   artifacts in verified chunks, from several peers at once
//!   request           /pyrsia/request/1    wishes for builds
//! ```
//!
//! It moves bytes and knows who is there. It holds no rule of the ledger: what a frame means is said by the consensus, what
//! may be served by [`crate::verification`], and which bytes are right by the digests that the ledger names.

mod access;
mod addresses;
mod behaviour;
mod dialing;
mod exchange;
mod frame;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod gate;
mod handshakes;
mod known_peers;
mod ledger_frames;
mod metrics;
mod network_config;
mod peer_id;
mod port_mapping;
mod provider_records;
mod reach;
mod relaying;
mod request;
mod reservations;
mod swarm_task;
mod tasks;
mod tls;

pub use access::{InvalidPeerRule, PeerAccess, PeerRule};
pub use exchange::feed::Feed;
pub use exchange::fetch::{FetchError, Fetched, Incoming};
pub use metrics::Traffic;
pub use network_config::{
    CONNECTIONS, CONNECTIONS_MAX, CONNECTIONS_MIN, Distribution, NetworkConfig, PortMapping, Rate, RateTooLow, Relaying,
};
pub use port_mapping::Forwarding;
pub use reach::{Outside, Reachability};
pub use request::{
    CODE_BUSY, CODE_TIMED_OUT, InboundRequest, NodeRequest, NodeResponse, REQUEST_BYTES_MAX, RequestError, WireReceipt,
};

use crate::artifacts::ArtifactStore;
use crate::bucket::Bucket;
use crate::config::MAX_PROVIDED_KEYS;
use crate::consensus::{ConsensusHandle, Outgoing};
use addresses::AddressBook;
use dialing::{Dialing, Target};
use ed25519_dalek::SigningKey;
use exchange::download::Patience;
use exchange::fetch::Fetcher;
use exchange::rate::RateLimit;
use exchange::room::Rooms;
use exchange::serve::{self, Server};
use known_peers::KnownPeers;
use known_peers::file::{self as known_peers_file, SAVE_PAUSE};
use ledger_frames::LedgerFrames;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::tls::certificate::GenError;
use libp2p::{Multiaddr, TransportError};
use metrics::Metrics;
use peer_id::peer_of;
use prometheus_client::registry::Registry;
use pyrsia_ledger::event::BuiltArtifact;
use pyrsia_ledger::signed::node_id_of;
use pyrsia_ledger::{NodeId, Sha256Digest};
use reach::{COMMANDS_WAITING_MAX, Command, Reach};
use reservations::Reservations;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use swarm_task::remembering::Remembering;
use swarm_task::{Pending, SwarmTask};
use tasks::Tasks;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::timeout;

/// How long a listener may take to tell its address.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Stored artifacts that are announced in the distributed hash table after a start, at most, and the pause between two.
const ANNOUNCED_AT_START_MAX: usize = 1_024;
const ANNOUNCE_PAUSE: Duration = Duration::from_millis(100);

/// What an operator decides about the network.
#[derive(Clone, Debug)]
pub struct P2pConfig {
    pub key: SigningKey,
    pub listen: Vec<Multiaddr>,
    /// Nodes to stay connected with; with or without `/p2p/<peer id>`.
    pub peers: Vec<Multiaddr>,
    /// The file in which nodes that were reached are remembered; none: until this one stops.
    pub known_peers: Option<PathBuf>,
    /// Nodes that tell whether this one can be reached from outside.
    pub probe: Vec<Multiaddr>,
    /// Replaces the address in what this node tells others about itself.
    pub external_ip: Option<Ipv4Addr>,
    /// Artifacts announced in the distributed hash table, each under a key of its own.
    pub max_provided_keys: usize,
    /// The most bytes that artifacts fetched from others may bring the store to.
    pub artifact_budget: Option<u64>,
    /// The tier behind the store.
    pub bucket: Option<Bucket>,
    pub network: NetworkConfig,
}

impl P2pConfig {
    /// What a node does that was told nothing else.
    pub fn new(key: SigningKey, listen: Vec<Multiaddr>, peers: Vec<Multiaddr>) -> Self {
        Self {
            key,
            listen,
            peers,
            known_peers: None,
            probe: vec![],
            external_ip: None,
            max_provided_keys: MAX_PROVIDED_KEYS,
            artifact_budget: None,
            bucket: None,
            network: NetworkConfig::default(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum P2pError {
    #[error("the key of this node cannot vouch for a certificate, which secures connections")]
    Key(#[source] GenError),
    #[error("this node cannot listen on {address}")]
    Listen {
        address: Multiaddr,
        #[source]
        source: io::Error,
    },
    #[error("{address} cannot be dialed: {reason}")]
    Dial { address: Multiaddr, reason: String },
    #[error("the node is stopping")]
    Stopped,
}

pub struct P2p;

impl P2p {
    /// Starts the network of a node. Returns when it listens.
    ///
    /// Requests of other nodes go to `requests`; what the consensus says is taken from `outgoing`.
    pub async fn start(
        config: P2pConfig,
        consensus: ConsensusHandle,
        outgoing: mpsc::Receiver<Outgoing>,
        store: ArtifactStore,
        requests: mpsc::Sender<InboundRequest>,
        registry: &mut Registry,
    ) -> Result<(P2pHandle, P2pTask), P2pError> {
        let metrics = Metrics::register(registry);
        Self::start_with(config, Patience::default(), consensus, outgoing, store, requests, metrics).await
    }

    async fn start_with(
        config: P2pConfig,
        patience: Patience,
        consensus: ConsensusHandle,
        outgoing: mpsc::Receiver<Outgoing>,
        store: ArtifactStore,
        requests: mpsc::Sender<InboundRequest>,
        metrics: Metrics,
    ) -> Result<(P2pHandle, P2pTask), P2pError> {
        let me = node_id_of(&config.key);
        let key = Keypair::ed25519_from_bytes(config.key.to_bytes()).expect("a secret key of 32 bytes is an ed25519 key");
        let mut swarm = behaviour::build(&key, config.max_provided_keys, &config.network, metrics.connections_refused.clone())
            .map_err(P2pError::Key)?;
        let mut listeners = HashSet::new();
        for address in config.listen {
            let listening = check_free(&address).and_then(|()| swarm.listen_on(address.clone()).map_err(io_error));
            listeners.insert(listening.map_err(|source| P2pError::Listen { address, source })?);
        }

        let (tasks, control) = (Tasks::default(), swarm.behaviour().streams.new_control());
        let (commands, command_queue) = mpsc::channel(COMMANDS_WAITING_MAX);
        let (peers_sender, peers) = watch::channel(Arc::new(vec![]));
        let (addresses_sender, addresses) = watch::channel(Arc::new(vec![]));
        let forwarding = Forwarding::of(config.network.port_mapping);
        let (outside_sender, outside) = watch::channel(Outside { forwarding, ..Outside::default() });
        let reach = Reach { commands: commands.clone(), peers, addresses };
        let only_here = "the protocol is registered nowhere else";
        let frames = LedgerFrames::start(control.clone(), consensus.clone(), outgoing, metrics.clone(), tasks.clone());
        let frames = frames.expect(only_here);
        let network = config.network;
        let server = Server::new(me, store.clone(), consensus.watch(), metrics.clone(), &network).behind(config.bucket.clone());
        metrics.distribution.set(i64::from(network.distribution == Distribution::On));
        serve::start(control.clone(), server, &tasks).expect(only_here);

        let known = read_known_peers(config.known_peers.clone(), me).await;
        metrics.known_peers.set(known.len() as i64);
        let (known_sender, known_changes) = watch::channel(known.clone());
        if let Some(path) = config.known_peers {
            tasks.spawn_to_the_end(known_peers_file::keep(path, known_changes, SAVE_PAUSE, tasks.stopping()));
        }

        let mut dialing = Dialing::default();
        for address in config.peers.into_iter().chain(config.probe.iter().cloned()) {
            dialing.add(Target::Address(address), Instant::now());
        }
        let mut swarm_task = SwarmTask {
            me,
            swarm,
            commands: command_queue,
            own_commands: commands.downgrade(),
            requests,
            peers: peers_sender,
            addresses: addresses_sender,
            external_ip: config.external_ip,
            ledger: consensus.watch(),
            frames,
            metrics: metrics.clone(),
            tasks: tasks.clone(),
            dialing,
            probes: config.probe,
            book: AddressBook::default(),
            remembering: Remembering::new(known, known_sender),
            local_peers: BTreeSet::new(),
            outside: outside_sender,
            distribution: network.distribution,
            relaying: network.relaying,
            reservations: Reservations::new(network.relays.clone()),
            relayed: BTreeMap::new(),
            members: BTreeSet::new(),
            pending: Pending::default(),
        };
        if timeout(LISTEN_TIMEOUT, swarm_task.settle(listeners)).await.is_err() {
            tracing::warn!("not every address is listened on yet");
        }
        tasks.spawn_to_the_end(swarm_task.run());

        let rooms = Arc::new(Rooms {
            me,
            budget_bytes: config.artifact_budget,
            bucket: config.bucket.clone(),
            store: store.clone(),
            ledger: consensus.watch(),
            control,
            reach: reach.clone(),
            patience,
            download: Arc::new(RateLimit::new(network.download_rate, metrics.download_bytes_delayed.clone())),
            making: Mutex::default(),
        });
        tasks.spawn(rooms.clone().trim());
        let fetcher = Fetcher::new(rooms, metrics.clone(), tasks.clone());
        if network.distribution == Distribution::On {
            tasks.spawn(announce_stored(
                reach.clone(),
                store,
                config.bucket,
                config.max_provided_keys.min(ANNOUNCED_AT_START_MAX),
            ));
        }
        Ok((P2pHandle { reach, fetcher, outside, network: Arc::new(network), metrics }, P2pTask { tasks }))
    }
}

async fn read_known_peers(path: Option<PathBuf>, me: NodeId) -> KnownPeers {
    let Some(path) = path else { return KnownPeers::default() };
    let read = tokio::task::spawn_blocking(move || known_peers_file::open(&path, &peer_of(&me)));
    // It fails only where the runtime ends.
    read.await.unwrap_or_default()
}

fn io_error(error: TransportError<io::Error>) -> io::Error {
    match error {
        TransportError::Other(error) => error,
        error @ TransportError::MultiaddrNotSupported(_) => io::Error::new(io::ErrorKind::InvalidInput, error.to_string()),
    }
}

/// Binds a TCP port for a moment: libp2p shares ports, and two nodes on one port would each get half of the connections.
fn check_free(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    let ip = match parts.next() {
        Some(Protocol::Ip4(ip)) => IpAddr::from(ip),
        Some(Protocol::Ip6(ip)) => IpAddr::from(ip),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => TcpListener::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}

/// Announces what is stored, once there is somebody to hear it.
async fn announce_stored(mut reach: Reach, store: ArtifactStore, bucket: Option<Bucket>, count_max: usize) {
    if reach.peers.wait_for(|peers| !peers.is_empty()).await.is_err() {
        return;
    }
    let listed = store.clone();
    let stored = tokio::task::spawn_blocking(move || listed.digests(count_max)).await.unwrap_or_default();
    let behind = bucket.as_ref().map(|bucket| bucket.page(None, count_max - stored.len())).unwrap_or_default();
    for sha256 in stored.into_iter().chain(behind.into_iter().map(|(sha256, _)| sha256)) {
        // It can have been lost, or made room, since it was listed.
        if !store.contains(&sha256) && bucket.as_ref().is_none_or(|bucket| bucket.known_copy(&sha256).is_none()) {
            continue;
        }
        reach.provide(sha256).await;
        tokio::time::sleep(ANNOUNCE_PAUSE).await;
    }
}

/// The tasks of a running network.
pub struct P2pTask {
    tasks: Tasks,
}

impl P2pTask {
    /// Closes all connections and waits for every task. What was being fetched goes on after the next start.
    pub async fn stop(self) {
        self.tasks.stop().await;
    }
}

/// What the rest of the node may ask of the network; a cheap clone.
#[derive(Clone)]
pub struct P2pHandle {
    reach: Reach,
    fetcher: Fetcher,
    outside: watch::Receiver<Outside>,
    network: Arc<NetworkConfig>,
    metrics: Metrics,
}

impl P2pHandle {
    /// Connected nodes, in ascending order of their keys.
    pub fn peers(&self) -> Vec<NodeId> {
        self.reach.peers.borrow().to_vec()
    }

    /// The same, to wait for changes.
    pub fn watch_peers(&self) -> watch::Receiver<Arc<Vec<NodeId>>> {
        self.reach.peers.clone()
    }

    /// Where this node can be reached, with its peer id; the first is the most useful to others on this host.
    pub fn addresses(&self) -> Vec<Multiaddr> {
        self.reach.addresses.borrow().to_vec()
    }

    /// What the operator decided about the network.
    pub fn network_config(&self) -> &NetworkConfig {
        &self.network
    }

    /// How this node looks from outside.
    pub fn outside(&self) -> Outside {
        self.outside.borrow().clone()
    }

    /// How this node is connected, and what has passed since its start.
    pub fn traffic(&self) -> Traffic {
        self.metrics.traffic()
    }

    /// Dials an address once.
    pub async fn dial(&self, address: Multiaddr) -> Result<(), P2pError> {
        let (done, dialed) = oneshot::channel();
        let command = Command::Dial { address: address.clone(), done };
        self.reach.commands.send(command).await.map_err(|_| P2pError::Stopped)?;
        let dialed = dialed.await.map_err(|_| P2pError::Stopped)?;
        dialed.map_err(|reason| P2pError::Dial { address, reason })
    }

    /// Asks a node, which is found and dialed if it is not connected.
    pub async fn request(&self, to: NodeId, request: NodeRequest) -> Result<NodeResponse, RequestError> {
        if !self.reach.connect(to).await {
            return Err(RequestError::Unreachable(to));
        }
        let (reply, answered) = oneshot::channel();
        let command = Command::Request { to, request, reply };
        self.reach.commands.send(command).await.map_err(|_| RequestError::Stopped)?;
        answered.await.unwrap_or(Err(RequestError::Stopped))
    }

    /// Fetches an artifact into the store from whoever has it; `builders` are the nodes that the ledger says have built it.
    /// All who want the same artifact share one download.
    pub async fn fetch(&self, artifact: &BuiltArtifact, builders: Vec<NodeId>) -> Result<(), FetchError> {
        self.fetcher.fetch(artifact, builders).await
    }

    /// The same for who reads it, which may begin before it is all here.
    pub async fn begin_fetch(&self, artifact: &BuiltArtifact, builders: Vec<NodeId>) -> Result<Fetched, FetchError> {
        self.fetcher.begin(artifact, builders).await
    }

    /// Announces in the distributed hash table that this node has an artifact, as far as there is room for keys.
    pub async fn provide(&self, sha256: Sha256Digest) {
        self.reach.provide(sha256).await;
    }

    /// Announces no more an artifact that is gone.
    pub async fn withdraw(&self, sha256: Sha256Digest) {
        self.reach.withdraw(sha256).await;
    }
}

#[cfg(test)]
pub(crate) mod tests;
