//! Nodes that cannot reach each other, and one that carries their connections.

use super::*;

const MIB: usize = tree::CHUNK_BYTES;

fn through(relay: &TestNode) -> NetworkConfig {
    NetworkConfig { relays: vec![relay.p2p.addresses()[0].clone()], ..NetworkConfig::default() }
}

/// Waits until a node has a place on this relay.
async fn reserved(node: &TestNode, relay: &TestNode) {
    let mut outside = node.p2p.outside.clone();
    in_time(outside.wait_for(|outside| outside.relays == [relay.id])).await.expect("the network runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artifact_comes_through_a_relay_to_a_node_that_can_reach_only_that() {
    let relay = Setup::new(1).network(NetworkConfig { relaying: Relaying::On, ..NetworkConfig::default() }).start().await;
    // Neither listens on an address of its own.
    let founder = Setup::new(2).listen("").network(through(&relay)).start().await;
    founder.found().await;
    reserved(&founder, &relay).await;
    let is_relayed =
        |address: &Multiaddr| address.to_string().contains(&format!("/p2p/{}/p2p-circuit/p2p/{}", relay.id, founder.id));
    assert!(founder.p2p.addresses().iter().any(is_relayed), "{:?}", founder.p2p.addresses());

    let bytes = noise(5 * MIB + 3, 1);
    let artifact = founder.publish("alpine:1", &bytes).await;
    founder.keep(&bytes);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let wanting = Setup::new(3).listen("").network(through(&relay)).start_in(folder.path()).await;
    wanting.wait_for_state(|state| state.packages.digest(&artifact.sha256).is_some()).await;
    wanting.wait_for_peers(|peers| peers.contains(&founder.id)).await;
    assert!(wanting.metrics.relayed_connections.get() > 0);
    in_time(wanting.p2p.fetch(&artifact, vec![founder.id])).await.expect("fetches");
    assert_eq!(wanting.stored(&artifact), Some(bytes));
    assert!(!relay.store.contains(&artifact.sha256), "it carries what it cannot read");
    let remembered = BTreeSet::from([relay.id.to_string()]);
    for node in [wanting, founder, relay] {
        node.stop().await;
    }
    assert_eq!(known_peers::remembered(folder.path()), remembered, "the relay leads to who is behind it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_through_a_relay_makes_way_for_one_without_it() {
    let relay = Setup::new(1).network(NetworkConfig { relaying: Relaying::On, ..NetworkConfig::default() }).start().await;
    let hidden = Setup::new(2).network(through(&relay)).start().await;
    reserved(&hidden, &relay).await;
    let other = Setup::new(3).listen("").peer(&relay).start().await;
    let addresses = hidden.p2p.addresses();
    let carried = addresses.iter().find(|address| addresses::is_relayed(address)).expect("it has a place");
    // A connection to the relay may give way to another one in the moment of a dial.
    for address in [carried, &addresses[0]] {
        let dialed = async {
            while other.p2p.dial(address.clone()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        in_time(dialed).await;
    }
    let closed = async {
        while other.metrics.relayed_connections.get() + hidden.metrics.relayed_connections.get() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    in_time(closed).await;
    assert!(other.p2p.peers().contains(&hidden.id));
    for node in [other, hidden, relay] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gets_its_place_again_when_the_relay_comes_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let on = || NetworkConfig { relaying: Relaying::On, ..NetworkConfig::default() };
    let relay = Setup::new(1).network(on()).start_in(folder.path()).await;
    let hidden = Setup::new(2).listen("").network(through(&relay)).start().await;
    reserved(&hidden, &relay).await;
    let mut address = relay.p2p.addresses()[0].clone();
    address.pop();
    relay.stop().await;
    let mut outside = hidden.p2p.outside.clone();
    in_time(outside.wait_for(|outside| outside.relays.is_empty())).await.expect("the network runs");
    let mut addresses = hidden.p2p.reach.addresses.clone();
    in_time(addresses.wait_for(|addresses| addresses.is_empty())).await.expect("the network runs");
    let listen: &'static str = Box::leak(address.to_string().into_boxed_str());
    let relay = Setup::new(1).listen(listen).network(on()).start_in(folder.path()).await;
    reserved(&hidden, &relay).await;
    hidden.stop().await;
    relay.stop().await;
}
