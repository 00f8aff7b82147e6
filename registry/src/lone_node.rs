//! A node that has founded a network by itself, for tests within this crate.

use pyrsia_node::{Node, NodeConfig};
use tempfile::TempDir;

/// The node, and its folder, which is to outlive it.
pub(crate) async fn lone_node() -> (Node, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = NodeConfig {
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().expect("a multiaddress")],
        listen_only: true,
        init_network: Some("test".to_owned()),
        ..NodeConfig::new(folder.path())
    };
    (Node::start(config).await.expect("the node starts"), folder)
}
