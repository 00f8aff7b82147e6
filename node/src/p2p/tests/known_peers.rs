//! Nodes that start again and go back to those they had reached.

use super::*;
use serde_json::{Value, json};
use std::fs;

/// Whom a node has written down.
pub(super) fn remembered(folder: &Path) -> BTreeSet<String> {
    let Ok(text) = fs::read_to_string(folder.join(KNOWN_PEERS)) else { return BTreeSet::new() };
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let peers = document["peers"].as_array().expect("peers").iter();
    peers.map(|peer| peer["peer_id"].as_str().expect("a peer id").to_owned()).collect()
}

/// Writes down for a node that `peers` were reached at these addresses, the first of them last.
fn write_down(folder: &Path, peers: &[(NodeId, &Multiaddr)]) {
    let entry = |(place, (peer, address)): (usize, &(NodeId, &Multiaddr))| {
        let reached_ms = u64::MAX - place as u64;
        json!({ "peer_id": peer, "addresses": [{ "address": address, "reached_ms": reached_ms }] })
    };
    let peers: Vec<Value> = peers.iter().enumerate().map(entry).collect();
    fs::write(folder.join(KNOWN_PEERS), json!({ "version": 1, "peers": peers }).to_string()).expect("writes");
}

impl TestNode {
    async fn wait_for_known(&self, count: i64) {
        in_time(async {
            while self.metrics.known_peers.get() != count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_remembers_whom_it_dialed_and_not_who_dialed_it() {
    let folders: [_; 2] = std::array::from_fn(|_| tempfile::tempdir().expect("a temporary folder"));
    let dialed = Setup::new(1).start_in(folders[0].path()).await;
    let dialing = Setup::new(2).peer(&dialed).start_in(folders[1].path()).await;
    dialing.wait_for_known(1).await;
    dialed.wait_for_peers(|peers| peers.contains(&dialing.id)).await;
    let id = dialed.id.to_string();
    dialing.stop().await;
    dialed.stop().await;
    assert_eq!(folders.each_ref().map(|folder| remembered(folder.path())), [BTreeSet::new(), BTreeSet::from([id])]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_at_which_somebody_else_answers_is_forgotten_at_once() {
    let (folder, other) = (tempfile::tempdir().expect("a temporary folder"), Setup::new(1).start().await);
    let gone = node_id_of(&SigningKey::from_bytes(&[9; 32]));
    let mut address = other.p2p.addresses()[0].clone();
    address.pop();
    write_down(folder.path(), &[(gone, &address)]);
    let node = Setup::new(2).start_in(folder.path()).await;
    node.wait_for_known(0).await;
    assert!(node.p2p.peers().is_empty());
    node.stop().await;
    assert_eq!(remembered(folder.path()), BTreeSet::new());
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_found_where_it_is_though_a_host_is_silent_where_it_was() {
    let (folder, hub) = (tempfile::tempdir().expect("a temporary folder"), Setup::new(1).start().await);
    let moved = Setup::new(2).peer(&hub).start().await;
    hub.wait_for_peers(|peers| peers.contains(&moved.id)).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = silent.local_addr().expect("bound").port();
    write_down(folder.path(), &[(moved.id, &format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("an address"))]);
    let node = Setup::new(3).peer(&hub).start_in(folder.path()).await;
    let _dialed = in_time(silent.accept()).await.expect("it is dialed where it was");
    assert!(node.p2p.reach.connect(moved.id).await, "the dial that is under way lasts longer than anybody waits");
    node.stop().await;
    moved.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_denied_is_not_dialed_though_it_was_reached_before() {
    let (folder, allowed) = (tempfile::tempdir().expect("a temporary folder"), Setup::new(1).start().await);
    let denied = node_id_of(&SigningKey::from_bytes(&[9; 32]));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let address = format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("an address");
    write_down(folder.path(), &[(denied, &address), (allowed.id, &allowed.p2p.addresses()[0])]);
    let access = PeerAccess { deny: vec![PeerRule::Node(denied)], allow: vec![] };
    let node = Setup::new(2).network(NetworkConfig { access, ..NetworkConfig::default() }).start_in(folder.path()).await;
    // It comes after the other one.
    node.wait_for_peers(|peers| peers == [allowed.id]).await;
    let dialed = timeout(Duration::ZERO, listener.accept()).await;
    assert!(dialed.is_err(), "{dialed:?}");
    node.stop().await;
    assert_eq!(remembered(folder.path()).len(), 2, "the rule may be lifted");
    allowed.stop().await;
}
