//! Real nodes on loopback: consensus, block log, store and network, each on a folder of its own.

mod handshakes;
mod known_peers;
mod network_config;
mod relays;

use super::*;
use crate::consensus::{Consensus, ConsensusConfig, ConsensusTask, KeyAge, NodeStore};
use pyrsia_ledger::event::{
    AddArtifact, BuildOutcome, BuildRequested, BuildResultCommitted, BuildResultRevealed, BuildSource, NodeAuthorizationApproved,
    VerifierApproved, commitment,
};
use pyrsia_ledger::projection::builds::BuildStatus;
use pyrsia_ledger::{ArtifactId, BuildId, Event, PackageCoordinate, PackageType, Projections, tree};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Nothing on loopback takes this long, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// What a test node announces at most.
const KEYS_MAX: usize = 64;
/// Where a test node remembers whom it reached, in its folder.
const KNOWN_PEERS: &str = "known_peers.json";
const MODULE: Sha256Digest = Sha256Digest::new([7; 32]);

pub(crate) struct TestNode {
    pub(crate) id: NodeId,
    pub(crate) p2p: P2pHandle,
    pub(crate) consensus: ConsensusHandle,
    pub(crate) store: ArtifactStore,
    pub(super) metrics: Metrics,
    pub(super) requests: mpsc::Receiver<InboundRequest>,
    folder: PathBuf,
    p2p_task: P2pTask,
    consensus_task: ConsensusTask,
    _temporary: Option<tempfile::TempDir>,
}

/// How a test node differs from the usual one.
pub(crate) struct Setup {
    seed: u8,
    listen: &'static str,
    peers: Vec<Multiaddr>,
    patience: Patience,
    artifact_budget: Option<u64>,
    bucket: Option<Bucket>,
    network: NetworkConfig,
}

impl Setup {
    pub(crate) fn new(seed: u8) -> Self {
        Self {
            seed,
            listen: "/ip4/127.0.0.1/tcp/0",
            peers: vec![],
            patience: Patience::default(),
            artifact_budget: None,
            bucket: None,
            network: NetworkConfig::default(),
        }
    }

    pub(crate) fn listen(self, listen: &'static str) -> Self {
        Self { listen, ..self }
    }

    /// What the operator decides about the network.
    pub(super) fn network(self, network: NetworkConfig) -> Self {
        Self { network, ..self }
    }

    pub(super) fn patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    pub(crate) fn budget(self, bytes: u64) -> Self {
        Self { artifact_budget: Some(bytes), ..self }
    }

    pub(crate) fn bucket(self, bucket: Bucket) -> Self {
        Self { bucket: Some(bucket), ..self }
    }

    pub(crate) fn peer(mut self, node: &TestNode) -> Self {
        self.peers.push(node.p2p.addresses()[0].clone());
        self
    }

    pub(crate) async fn start(self) -> TestNode {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let node = self.start_in(folder.path()).await;
        TestNode { _temporary: Some(folder), ..node }
    }

    pub(crate) async fn start_in(self, folder: &Path) -> TestNode {
        let key = SigningKey::from_bytes(&[self.seed; 32]);
        let store = ArtifactStore::open(folder).expect("the store opens");
        let (ledger, state) = NodeStore::open(&folder.join("ledger"), node_id_of(&key), KeyAge::Fresh).expect("the ledger opens");
        let (outgoing, carried) = mpsc::channel(1_024);
        let started = Consensus::start(key.clone(), ledger, state, ConsensusConfig::default(), outgoing);
        let (consensus, consensus_task) = started.expect("the consensus starts");
        let (requests_sender, requests) = mpsc::channel(8);
        let listen = self.listen.split_whitespace().map(|address| address.parse().expect("an address")).collect();
        let config = P2pConfig {
            known_peers: Some(folder.join(KNOWN_PEERS)),
            max_provided_keys: KEYS_MAX,
            artifact_budget: self.artifact_budget,
            bucket: self.bucket,
            network: self.network,
            ..P2pConfig::new(key.clone(), listen, self.peers)
        };
        let metrics = Metrics::default();
        let started =
            P2p::start_with(config, self.patience, consensus.clone(), carried, store.clone(), requests_sender, metrics.clone());
        let (p2p, p2p_task) = started.await.expect("the network starts");
        TestNode {
            id: node_id_of(&key),
            p2p,
            consensus,
            store,
            metrics,
            requests,
            folder: folder.to_owned(),
            p2p_task,
            consensus_task,
            _temporary: None,
        }
    }
}

impl TestNode {
    pub(crate) async fn stop(self) -> PathBuf {
        self.p2p_task.stop().await;
        self.consensus_task.stop().await.expect("the consensus ends well");
        self.folder
    }

    pub(crate) async fn wait_for_state(&self, what: impl Fn(&Projections) -> bool) {
        let mut watch = self.consensus.watch();
        let met = watch.wait_for(|view| view.state.as_ref().is_some_and(|state| what(state)));
        timeout(DEADLINE, met).await.expect("in time").expect("the consensus runs");
    }

    pub(crate) async fn wait_for_peers(&self, what: impl Fn(&[NodeId]) -> bool) {
        let mut watch = self.p2p.watch_peers();
        timeout(DEADLINE, watch.wait_for(|peers| what(peers))).await.expect("in time").expect("the network runs");
    }

    /// Founds a network of which this node is the only authorized one.
    pub(crate) async fn found(&self) {
        self.consensus.found("test".into()).await.expect("founds");
        self.propose(Event::NodeAuthorizationApproved(NodeAuthorizationApproved { node: self.id })).await;
        let verifier =
            VerifierApproved { package_type: PackageType::new("docker").expect("a type"), module: MODULE, contract_version: 1 };
        self.propose(Event::VerifierApproved(verifier)).await;
        let package_type = PackageType::new("docker").expect("a type");
        self.wait_for_state(|state| state.members.contains(&self.id) && state.verifiers.current(&package_type).is_some()).await;
    }

    pub(crate) async fn propose(&self, event: Event) {
        self.consensus.propose(event).await.expect("the event is accepted");
    }

    /// Puts an artifact on the ledger that this node says it built. Its bytes go nowhere.
    pub(crate) async fn publish(&self, name: &str, bytes: &[u8]) -> BuiltArtifact {
        let (build_id, coordinate, artifact) = self.reveal(name, bytes).await;
        self.propose(Event::AddArtifact(AddArtifact { build_id, coordinate, artifact: artifact.clone() })).await;
        self.wait_for_state(|state| state.packages.digest(&artifact.sha256).is_some()).await;
        artifact
    }

    /// The same up to the publication.
    pub(crate) async fn reveal(&self, name: &str, bytes: &[u8]) -> (BuildId, PackageCoordinate, BuiltArtifact) {
        let artifact = artifact(name, bytes);
        let coordinate = PackageCoordinate::new("docker", name).expect("a coordinate");
        let network = *self.consensus.view().state.as_ref().expect("a network").network();
        let build_id = BuildId::of(&network, &coordinate, 0);
        let request = BuildRequested { build_id, coordinate: coordinate.clone(), attempt: 0, verifier: MODULE, source: None };
        self.propose(Event::BuildRequested(request)).await;
        self.wait_for_state(|state| state.builds.get(&build_id).is_some()).await;
        let source = BuildSource { kind: "git".into(), location: "file:///test".into(), revision: "c0ffee".into() };
        let outcome = BuildOutcome::Built { source, artifacts: vec![artifact.clone()] };
        let salt = [1; 32];
        let commitment = commitment(&network, &build_id, &self.id, &salt, &outcome);
        self.propose(Event::BuildResultCommitted(BuildResultCommitted { build_id, commitment })).await;
        self.wait_for_state(|state| state.builds.get(&build_id).is_some_and(|build| build.revealing_at.is_some())).await;
        self.propose(Event::BuildResultRevealed(BuildResultRevealed { build_id, outcome: outcome.into(), salt })).await;
        let is_agreed = |state: &Projections| {
            matches!(state.builds.get(&build_id).map(|build| &build.status), Some(BuildStatus::Agreed { .. }))
        };
        self.wait_for_state(is_agreed).await;
        (build_id, coordinate, artifact)
    }

    pub(crate) fn keep(&self, bytes: &[u8]) {
        let mut ingest = self.store.begin().expect("begins");
        ingest.write_all(bytes).expect("writes");
        ingest.commit(None).expect("commits");
    }

    pub(crate) fn stored(&self, artifact: &BuiltArtifact) -> Option<Vec<u8>> {
        let mut file = self.store.open_file(&artifact.sha256).expect("looks")?;
        let mut bytes = vec![];
        io::Read::read_to_end(&mut file, &mut bytes).expect("reads");
        Some(bytes)
    }
}

pub(crate) fn artifact(name: &str, bytes: &[u8]) -> BuiltArtifact {
    let chunks: Vec<Sha256Digest> = bytes.chunks(tree::CHUNK_BYTES).map(Sha256Digest::of).collect();
    let sha256 = Sha256Digest::of(bytes);
    BuiltArtifact {
        artifact_id: ArtifactId::new(name).expect("an id"),
        media_type: "application/octet-stream".into(),
        size_bytes: bytes.len() as u64,
        sha256,
        canonical: sha256,
        chunk_root: tree::chunk_root(&chunks),
    }
}

/// Bytes without repetition (xorshift).
pub(crate) fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    let words = std::iter::repeat_with(|| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()
    });
    words.flatten().take(size).collect()
}

pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_knows_only_another_one_gets_the_blocks_and_finds_the_validator() {
    let founder = Setup::new(1).start().await;
    founder.found().await;
    let middle = Setup::new(2).peer(&founder).start().await;
    middle.wait_for_peers(|peers| peers.contains(&founder.id)).await;
    let far = Setup::new(3).listen("/ip4/127.0.0.1/udp/0/quic-v1").peer(&middle).start().await;
    let published = founder.publish("alpine:1", b"bytes").await;
    far.wait_for_state(|state| state.packages.digest(&published.sha256).is_some()).await;
    far.wait_for_peers(|peers| peers.contains(&founder.id)).await;
    for node in [far, middle, founder] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_comes_back_by_itself() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Setup::new(1).start_in(folder.path()).await;
    server.found().await;
    let mut address = server.p2p.addresses()[0].clone();
    let (id, with_id) = (server.id, Setup::new(2).peer(&server));
    // An address without a peer id has to be enough.
    assert!(matches!(address.pop(), Some(Protocol::P2p(_))));
    let nameless = Setup { peers: vec![address.clone()], ..Setup::new(3) };
    let clients = [with_id.start().await, nameless.start().await];
    for client in &clients {
        client.wait_for_state(|state| state.members.contains(&id)).await;
    }
    server.stop().await;
    for client in &clients {
        client.wait_for_peers(|peers| !peers.contains(&id)).await;
    }
    let listen: &'static str = Box::leak(address.to_string().into_boxed_str());
    let server = Setup::new(1).listen(listen).start_in(folder.path()).await;
    let published = server.publish("alpine:1", b"bytes").await;
    for client in clients {
        client.wait_for_state(|state| state.packages.digest(&published.sha256).is_some()).await;
        client.stop().await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_or_say_why_not() {
    let mut asked = Setup::new(1).start().await;
    let asking = Setup::new(2).peer(&asked).start().await;
    asking.wait_for_peers(|peers| peers.contains(&asked.id)).await;
    let coordinate = PackageCoordinate::new("docker", "alpine:3.16.0").expect("a coordinate");
    let wish = NodeRequest::Build { coordinate: coordinate.clone(), again: false };
    let receipt = NodeResponse::Build(WireReceipt::AlreadyPublished { coordinate, artifacts: 3 });

    let (response, ()) = in_time(async {
        tokio::join!(asking.p2p.request(asked.id, wish.clone()), async {
            let inbound = asked.requests.recv().await.expect("the network runs");
            assert_eq!((inbound.from, &inbound.request), (asking.id, &wish));
            inbound.reply.send(receipt.clone()).expect("somebody waits");
        })
    })
    .await;
    assert_eq!(response, Ok(receipt));

    let (response, ()) =
        in_time(async { tokio::join!(asking.p2p.request(asked.id, wish.clone()), async { drop(asked.requests.recv().await) }) })
            .await;
    assert!(matches!(response, Ok(NodeResponse::Error { code: CODE_BUSY, .. })), "{response:?}");

    let nobody = node_id_of(&SigningKey::from_bytes(&[99; 32]));
    assert_eq!(in_time(asking.p2p.request(nobody, wish)).await, Err(RequestError::Unreachable(nobody)));
    asking.stop().await;
    asked.stop().await;
}

/// Strangers who connect and say nothing, more than may be waited for at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_connect_and_say_nothing_keep_nobody_out_for_long() {
    let node = Setup::new(1).start().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = silent.local_addr().expect("bound").port();
    let dialing = node.p2p.clone();
    let dialed =
        tokio::spawn(async move { dialing.dial(format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("an address")).await });
    let address = node.p2p.addresses()[0].clone();
    let Some(Protocol::Tcp(port)) = address.iter().nth(1) else { panic!("{address} is no TCP address") };
    let mut strangers = vec![];
    for _ in 0..100 {
        strangers.push(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("the backlog has room"));
    }
    let late = Setup::new(2).peer(&node).start().await;
    late.wait_for_peers(|peers| peers.contains(&node.id)).await;
    assert!(matches!(in_time(dialed).await, Ok(Err(P2pError::Dial { .. }))));
    drop((strangers, silent));
    late.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_withdrawn_is_announced_no_more_and_leaves_its_place_to_another() {
    let node = Setup::new(1).start().await;
    let digests: Vec<Sha256Digest> = (0..=KEYS_MAX).map(|number| Sha256Digest::of(&number.to_be_bytes())).collect();
    let (first, last) = (digests[0], digests[KEYS_MAX]);
    let announced = |sha256| in_time(node.p2p.reach.find_providers(sha256));
    for sha256 in &digests {
        node.p2p.provide(*sha256).await;
    }
    assert_eq!([announced(first).await, announced(last).await], [vec![node.id], vec![]]);
    node.p2p.withdraw(first).await;
    node.p2p.provide(last).await;
    assert_eq!([announced(first).await, announced(last).await], [vec![], vec![node.id]]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_an_error_that_names_the_address() {
    let first = Setup::new(1).start().await;
    let mut taken = first.p2p.addresses()[0].clone();
    taken.pop();
    let dialed = first.p2p.dial("/ip4/127.0.0.1/tcp/1".parse().expect("an address")).await;
    assert!(matches!(dialed, Err(P2pError::Dial { .. })), "{dialed:?}");
    assert!(matches!(check_free(&taken), Err(error) if error.kind() == io::ErrorKind::AddrInUse));
    first.stop().await;
}
