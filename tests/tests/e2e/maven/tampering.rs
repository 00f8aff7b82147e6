//! Bytes that are not what the log says: in the store of a node, and on the way from the nodes that have them. Never served.

use super::network::{Network, artifact, greeting, path};
use pyrsia_tests::deadline::{SOON, wait_for};
use pyrsia_tests::network::Node;
use std::path::PathBuf;

/// A stored artifact, by its digest.
fn blob(node: &Node, sha256: &str) -> PathBuf {
    node.folder().join("pyrsia/blobs").join(&sha256[..2]).join(sha256)
}

/// Changes one byte; size, name and list of chunks stay.
fn tamper(node: &Node, sha256: &str) {
    let file = blob(node, sha256);
    let mut bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let other = file.with_extension("other");
    std::fs::write(&other, bytes).expect("the changed file");
    std::fs::rename(other, file).expect("it lies beside it");
}

/// Asks until the right bytes come. Every answer on the way must be a refusal or break off.
async fn is_right_in_the_end(network: &Network, node: &Node, path: &str, sha256: &str) {
    wait_for(format!("{path} from {}", node.name), SOON, || async {
        is_never_wrong(network, node, path, sha256).await.then_some(())
    })
    .await;
}

/// Whether the right bytes came.
async fn is_never_wrong(network: &Network, node: &Node, path: &str, sha256: &str) -> bool {
    match network.get(node, path).await {
        (200, Some(bytes)) => {
            assert_eq!(pyrsia_tests::image::sha256(&bytes), format!("sha256:{sha256}"), "{path} from {}", node.name);
            true
        }
        (200, None) | (500..600, _) => false,
        (status, _) => panic!("{status} for {path} from {}", node.name),
    }
}

pub(super) async fn in_a_store_and_on_the_way(mut network: Network) {
    let jar = path("1.0.0", ".jar");
    let records = network.records(&greeting("1.0.0")).await;
    let sha256 = records[&artifact("1.0.0", ".jar")].clone();

    // In the store of the node that users ask, while it runs and before it starts.
    assert!(is_never_wrong(&network, &network.node, &jar, &sha256).await, "users have it already");
    tamper(&network.node, &sha256);
    is_right_in_the_end(&network, &network.node, &jar, &sha256).await;
    network.node.stop();
    tamper(&network.node, &sha256);
    network.node.start_again().await;
    is_right_in_the_end(&network, &network.node, &jar, &sha256).await;

    // In the stores of all who have it: the node that fetches it looks at what comes.
    let sources = path("1.9.0", "-sources.jar");
    let sha256 = network.records(&greeting("1.9.0")).await[&artifact("1.9.0", "-sources.jar")].clone();
    assert!(!blob(&network.node, &sha256).exists(), "nobody asked the users' node for it");
    let having: Vec<usize> = (0..3).filter(|number| blob(&network.fleet.nodes[*number], &sha256).exists()).collect();
    assert!(!having.is_empty());
    for number in &having {
        tamper(&network.fleet.nodes[*number], &sha256);
    }
    let came = is_never_wrong(&network, &network.node, &sources, &sha256).await;
    assert!(!came, "nobody had the right bytes");
}
