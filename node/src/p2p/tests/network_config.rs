//! What an operator decides about the network, between real nodes.

use super::*;
use crate::p2p::network_config::{DOWNLOAD_RATE_MIN, UPLOAD_RATE_MIN};
use futures::StreamExt as _;
use libp2p::Swarm;
use libp2p::swarm::SwarmEvent;
use prometheus_client::metrics::counter::Counter;

const MIB: usize = tree::CHUNK_BYTES;

fn access(allow: &[String], deny: &[String]) -> NetworkConfig {
    let rules = |texts: &[String]| texts.iter().map(|text| text.parse().expect("a rule")).collect();
    NetworkConfig { access: PeerAccess { allow: rules(allow), deny: rules(deny) }, ..NetworkConfig::default() }
}

async fn founded(setup: Setup) -> TestNode {
    let founder = setup.start().await;
    founder.found().await;
    founder
}

/// The limit makes a chunk take longer than its sender may; that the sender is asked once shows that it is not blamed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_own_download_limit_costs_is_no_fault_of_a_peer() {
    let (bytes, founder) = (noise(MIB, 1), founded(Setup::new(1)).await);
    let download_rate = Some(Rate::download(DOWNLOAD_RATE_MIN).expect("the least"));
    let hasty = Patience { chunk: Duration::from_millis(1_500), ..Patience::default() };
    let limited = NetworkConfig { download_rate, ..NetworkConfig::default() };
    let wanting = Setup::new(2).peer(&founder).patience(hasty).network(limited).start().await;
    let artifact = founder.publish("alpine:1", &bytes).await;
    founder.keep(&bytes);
    wanting.wait_for_state(|state| state.packages.digest(&artifact.sha256).is_some()).await;
    in_time(wanting.p2p.fetch(&artifact, vec![founder.id])).await.expect("fetches");
    assert_eq!(wanting.stored(&artifact), Some(bytes));
    assert_eq!(founder.metrics.artifact_bytes_sent.get(), artifact.size_bytes);
    assert!(wanting.metrics.download_bytes_delayed.get() > artifact.size_bytes / 2);
    wanting.stop().await;
    founder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_low_upload_limit_still_serves_everything_it_is_asked_for() {
    let upload_rate = Some(Rate::upload(16 * UPLOAD_RATE_MIN).expect("more than the least"));
    let founder = founded(Setup::new(1).network(NetworkConfig { upload_rate, ..NetworkConfig::default() })).await;
    let bytes = noise(3 * MIB + 7, 2);
    let wanting = Setup::new(2).peer(&founder).start().await;
    let artifact = founder.publish("alpine:1", &bytes).await;
    founder.keep(&bytes);
    wanting.wait_for_state(|state| state.packages.digest(&artifact.sha256).is_some()).await;
    in_time(wanting.p2p.fetch(&artifact, vec![founder.id])).await.expect("fetches");
    assert_eq!(wanting.stored(&artifact), Some(bytes));
    assert!(founder.metrics.upload_bytes_delayed.get() > 0);
    wanting.stop().await;
    founder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_distribute_serves_what_it_is_appointed_to_keep_and_nothing_else() {
    let off = || NetworkConfig { distribution: Distribution::Off, ..NetworkConfig::default() };
    let (bytes, keeper) = (noise(MIB, 3), founded(Setup::new(1).network(off())).await);
    let regular = Setup::new(2).peer(&keeper).network(off()).start().await;
    let wanting = Setup::new(3).peer(&keeper).peer(&regular).start().await;
    wanting.wait_for_peers(|peers| peers.len() == 2).await;
    let artifact = keeper.publish("alpine:1", &bytes).await;
    regular.keep(&bytes);
    for node in [&wanting, &regular] {
        node.wait_for_state(|state| state.packages.digest(&artifact.sha256).is_some()).await;
    }
    let fetched = in_time(wanting.p2p.fetch(&artifact, vec![regular.id])).await;
    assert!(matches!(&fetched, Err(FetchError::Unavailable { reason }) if reason.contains("does not have")), "{fetched:?}");
    regular.p2p.provide(artifact.sha256).await;
    assert_eq!(in_time(regular.p2p.reach.find_providers(artifact.sha256)).await, []);
    keeper.keep(&bytes);
    in_time(wanting.p2p.fetch(&artifact, vec![keeper.id])).await.expect("a keeper owes it to the network");
    assert_eq!((wanting.metrics.distribution.get(), regular.metrics.distribution.get()), (1, 0));
    for node in [wanting, regular, keeper] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_node_is_neither_let_in_nor_dialed() {
    let denied = Setup::new(1).start().await;
    let node = Setup::new(2).network(access(&[], &[denied.id.to_string()])).start().await;
    let dialed = in_time(node.p2p.dial(denied.p2p.addresses()[0].clone())).await;
    assert!(matches!(&dialed, Err(P2pError::Dial { reason, .. }) if reason.contains("denies it")), "{dialed:?}");
    let mut nameless = denied.p2p.addresses()[0].clone();
    nameless.pop();
    let dialed = in_time(node.p2p.dial(nameless)).await;
    assert!(matches!(&dialed, Err(P2pError::Dial { .. })), "{dialed:?}");
    assert_eq!(node.metrics.connections_refused.get(), 1, "it is known once it has shown its key");
    // The other side may think for a moment that it is connected.
    let _ = in_time(denied.p2p.dial(node.p2p.addresses()[0].clone())).await;
    refused(&node, 2).await;
    assert!(node.p2p.peers().is_empty());
    node.stop().await;
    denied.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_address_is_neither_let_in_nor_dialed() {
    let node = Setup::new(1).network(access(&[], &["127.0.0.0/8".to_owned()])).start().await;
    let other = Setup::new(2).start().await;
    for address in [other.p2p.addresses()[0].clone(), "/dns4/localhost/tcp/1".parse().expect("an address")] {
        let dialed = in_time(node.p2p.dial(address)).await;
        assert!(matches!(&dialed, Err(P2pError::Dial { reason, .. }) if reason.contains("denies it")), "{dialed:?}");
    }
    assert_eq!(node.metrics.connections_refused.get(), 0, "none was made that could be ended");
    let dialed = in_time(other.p2p.dial(node.p2p.addresses()[0].clone())).await;
    assert!(matches!(&dialed, Err(P2pError::Dial { .. })), "no handshake: {dialed:?}");
    refused(&node, 1).await;
    node.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_somebody_is_allowed_a_stranger_is_let_in_once_it_is_authorized() {
    let founder = founded(Setup::new(1)).await;
    let closed = Setup::new(2).peer(&founder).network(access(&[founder.id.to_string()], &[])).start().await;
    closed.wait_for_peers(|peers| peers.contains(&founder.id)).await;
    let stranger = Setup::new(3).peer(&founder).peer(&closed).start().await;
    refused(&closed, 1).await;
    assert!(!closed.p2p.peers().contains(&stranger.id));
    founder.propose(Event::NodeAuthorizationApproved(NodeAuthorizationApproved { node: stranger.id })).await;
    closed.wait_for_peers(|peers| peers.contains(&stranger.id)).await;
    assert!(closed.consensus.view().state.as_ref().expect("a network").members.contains(&stranger.id));
    for node in [stranger, closed, founder] {
        node.stop().await;
    }
}

/// Waits until so many connections were refused.
async fn refused(node: &TestNode, count: u64) {
    let counted = async {
        while node.metrics.connections_refused.get() < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    in_time(counted).await;
}

/// Nodes of nobody's network that connect and stay.
struct Crowd {
    strangers: Vec<tokio::task::JoinHandle<()>>,
    /// One word for each that was sent away.
    sent_away: mpsc::UnboundedReceiver<()>,
}

impl Crowd {
    fn around(node: &TestNode, strangers: usize) -> Self {
        let (closed, sent_away) = mpsc::unbounded_channel();
        let stranger = |_| {
            let key = Keypair::generate_ed25519();
            let mut swarm: Swarm<_> = behaviour::build(&key, 1, &NetworkConfig::default(), Counter::default()).expect("a swarm");
            swarm.dial(node.p2p.addresses()[0].clone()).expect("dials");
            let closed = closed.clone();
            tokio::spawn(async move {
                loop {
                    let event = swarm.select_next_some().await;
                    if matches!(event, SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. }) {
                        closed.send(()).expect("the test waits");
                    }
                }
            })
        };
        Self { strangers: (0..strangers).map(stranger).collect(), sent_away }
    }

    /// Waits until so many of them were sent away.
    async fn thinned_by(&mut self, count: usize) {
        for _ in 0..count {
            in_time(self.sent_away.recv()).await.expect("strangers live");
        }
    }

    fn go(self) {
        self.strangers.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// The fewest connections an operator may choose, and how many of them others may make.
const PLACES: usize = CONNECTIONS_MIN as usize;
const INCOMING: usize = PLACES * 3 / 4;

fn few_connections() -> NetworkConfig {
    NetworkConfig { max_connections: CONNECTIONS_MIN, ..NetworkConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_most_connections_strangers_are_sent_away_and_some_room_is_left_for_dials() {
    let node = Setup::new(1).network(few_connections()).start().await;
    let mut crowd = Crowd::around(&node, PLACES + 1);
    crowd.thinned_by(PLACES + 1 - INCOMING).await;
    node.wait_for_peers(|peers| peers.len() == INCOMING).await;
    let other = Setup::new(2).start().await;
    in_time(node.p2p.dial(other.p2p.addresses()[0].clone())).await.expect("there is room for whom this node wants to reach");
    crowd.go();
    other.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authorized_node_gets_in_where_strangers_have_every_place() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let founder = Setup::new(1).start_in(folder.path()).await;
    founder.found().await;
    let node = Setup::new(2).peer(&founder).network(few_connections()).start().await;
    node.wait_for_state(|state| state.members.contains(&founder.id)).await;
    founder.stop().await;
    node.wait_for_peers(<[NodeId]>::is_empty).await;
    let mut crowd = Crowd::around(&node, INCOMING + 1);
    crowd.thinned_by(1).await;
    node.wait_for_peers(|peers| peers.len() == INCOMING).await;
    // It listens nowhere: only a connection that it makes itself can be theirs.
    let founder = Setup::new(1).listen("").peer(&node).start_in(folder.path()).await;
    node.wait_for_peers(|peers| peers.contains(&founder.id)).await;
    assert_eq!(node.p2p.peers().len(), INCOMING + 1, "nobody had to go for it");
    assert_eq!(node.p2p.traffic().direct_connections, INCOMING as u64 + 1);
    crowd.go();
    founder.stop().await;
    node.stop().await;
}
