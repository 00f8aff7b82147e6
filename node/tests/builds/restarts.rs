//! Nodes that start again without the one through which they found their network.

use std::io::Read as _;

use pyrsia_ledger::{ArtifactId, Sha256Digest};
use pyrsia_node::{Node, NodeConfig, NodeHandle};
use tempfile::TempDir;

use super::docker;
use crate::nodes::{LoneNode, config, published, request, wait_for, wish};
use crate::pipeline::{Image, Pipeline};

/// A regular node, with all it needs to be started again at the same address.
struct Regular {
    node: Option<Node>,
    handle: NodeHandle,
    config: NodeConfig,
    _folder: TempDir,
}

impl Regular {
    /// One that knows this node only.
    async fn start(bootstrap: &NodeHandle, pipeline: &Pipeline) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = NodeConfig { peers: bootstrap.addresses(), ..config(folder.path(), pipeline) };
        config.init_network = None;
        let node = Node::start(config.clone()).await.unwrap();
        let mut address = node.handle().addresses()[0].clone();
        // What is listened on has no peer id.
        address.pop();
        config.listen = vec![address];
        Self { handle: node.handle(), node: Some(node), config, _folder: folder }
    }

    async fn stop(&mut self) {
        self.node.take().expect("it runs").stop().await;
    }

    async fn start_again(&mut self) {
        let node = Node::start(self.config.clone()).await.unwrap();
        (self.handle, self.node) = (node.handle(), Some(node));
    }

    async fn read(&self, id: &str) -> Vec<u8> {
        let mut opened = self.handle.open_artifact(&docker(), &ArtifactId::new(id).unwrap()).await.unwrap();
        let mut bytes = vec![];
        opened.file.read_to_end(&mut bytes).unwrap();
        bytes
    }
}

fn is_connected(one: &NodeHandle, other: &NodeHandle) -> bool {
    one.peers().contains(&other.node_id())
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_find_each_other_after_a_restart_though_the_one_they_know_is_gone() {
    let image = Image::new("hello");
    let lone = LoneNode::start(&image).await;
    let bootstrap = lone.node.handle();
    let coordinate = bootstrap.parse_coordinate("docker", "library/hello:1.0").await.unwrap();
    let build = request(&bootstrap, wish(&coordinate)).await;
    published(&bootstrap, &build).await;

    let mut first = Regular::start(&bootstrap, &lone.pipeline).await;
    let mut second = Regular::start(&bootstrap, &lone.pipeline).await;
    wait_for("the nodes to meet through the one they know", || is_connected(&first.handle, &second.handle)).await;
    for node in [&first, &second] {
        let height = || node.handle.ledger().state.as_ref().map(|state| state.height());
        wait_for("the ledger", || height() == bootstrap.ledger().state.as_ref().map(|state| state.height())).await;
    }
    let layer = format!("hello@{}", Sha256Digest::of(&image.layer).to_oci());
    assert_eq!(first.read(&layer).await, image.layer);
    for node in [&mut first, &mut second] {
        node.stop().await;
    }
    lone.node.stop().await;

    for node in [&mut first, &mut second] {
        node.start_again().await;
    }
    wait_for("the nodes to meet again", || is_connected(&first.handle, &second.handle)).await;
    assert_eq!(second.read(&layer).await, image.layer);
    for node in [&mut first, &mut second] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_to_dial_nobody_knows_nobody_it_had_reached_until_it_may_dial_again() {
    let image = Image::new("hello");
    let lone = LoneNode::start(&image).await;
    let mut regular = Regular::start(&lone.node.handle(), &lone.pipeline).await;
    let knows = |node: &Regular, count: u64| {
        let line = format!("pyrsia_p2p_known_peers {count}");
        node.handle.metrics().lines().any(|metric| metric == line)
    };
    wait_for("the founder to be remembered", || knows(&regular, 1)).await;
    lone.node.stop().await;
    for (listen_only, known) in [(true, 0), (false, 1)] {
        regular.stop().await;
        regular.config.listen_only = listen_only;
        regular.start_again().await;
        assert!(knows(&regular, known), "{}", regular.handle.metrics());
    }
    regular.stop().await;
}
