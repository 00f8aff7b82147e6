//! Modules that come to running nodes: into the operator's folder, and from other nodes because the ledger names them.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pyrsia_ledger::{PackageType, Sha256Digest};
use pyrsia_node::{ApproveVerifierError, Node, NodeConfig, NodeHandle, NotStanding};
use pyrsia_verifiers::SHIPPED;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(60);

async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A shipped module with a custom section behind it: the same verifier with another digest.
fn another(name: &str) -> (Vec<u8>, Sha256Digest) {
    let shipped = SHIPPED.iter().find(|(name, _)| *name == "docker.wasm").unwrap().1;
    let section = [&[0, name.len() as u8 + 1, name.len() as u8], name.as_bytes()].concat();
    let module = [shipped, &section].concat();
    let digest = Sha256Digest::of(&module);
    (module, digest)
}

fn docker() -> PackageType {
    PackageType::new("docker").unwrap()
}

fn current(node: &NodeHandle) -> Option<Sha256Digest> {
    node.ledger().state.as_ref().and_then(|state| state.verifiers.current(&docker()))
}

fn config(folder: &Path) -> NodeConfig {
    let verifiers = folder.join("verifiers");
    fs::create_dir_all(&verifiers).unwrap();
    NodeConfig {
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        verifiers_path: Some(verifiers),
        ..NodeConfig::new(folder)
    }
}

async fn founder(folder: &Path) -> Node {
    let node = Node::start(NodeConfig { init_network: Some("test".into()), ..config(folder) }).await.unwrap();
    let handle = node.handle();
    handle.authorize(handle.node_id()).await.unwrap();
    wait_for("the shipped verifier", || current(&handle).is_some()).await;
    node
}

async fn joined(folder: &Path, founder: &NodeHandle) -> Node {
    let node = Node::start(NodeConfig { peers: founder.addresses(), ..config(folder) }).await.unwrap();
    let handle = node.handle();
    wait_for("the ledger of the network", || handle.ledger().state.is_some()).await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_node_uses_what_is_put_into_its_folder_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let node = founder(folder.path()).await;
    let handle = node.handle();
    let (module, digest) = another("newer");
    fs::write(folder.path().join("verifiers/newer.wasm"), &module).unwrap();
    fs::write(folder.path().join("verifiers/broken.wasm"), b"nothing of the kind").unwrap();
    wait_for("the new verifier", || current(&handle) == Some(digest)).await;
    assert_eq!(handle.parse_coordinate("docker", "alpine:3.16.0").await.unwrap().id.as_str(), "alpine:3.16.0");

    // What is taken out of the folder stays available, here and for other nodes.
    fs::remove_file(folder.path().join("verifiers/newer.wasm")).unwrap();
    node.stop().await;
    let node = Node::start(config(folder.path())).await.unwrap();
    let handle = node.handle();
    wait_for("the ledger", || current(&handle) == Some(digest)).await;
    assert!(handle.parse_coordinate("docker", "alpine:3.16.0").await.is_ok());
    assert!(folder.path().join("modules").join(format!("{digest}.wasm")).exists());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_waits_for_an_answer_waits_for_a_module_that_comes_slowly() {
    let folder = tempfile::tempdir().unwrap();
    let node = founder(folder.path()).await;
    let (module, digest) = another("slow");
    fs::write(folder.path().join("verifiers/slow.wasm"), &module).unwrap();
    let handle = node.handle();
    wait_for("the new verifier", || current(&handle) == Some(digest)).await;
    node.stop().await;

    // The node has it in a place that gives its bytes later.
    fs::remove_file(folder.path().join("verifiers/slow.wasm")).unwrap();
    let kept = folder.path().join("modules").join(format!("{digest}.wasm"));
    fs::remove_file(&kept).unwrap();
    assert!(Command::new("mkfifo").arg(&kept).status().unwrap().success());
    let mut later = File::options().read(true).write(true).open(&kept).unwrap();
    let node = Node::start(config(folder.path())).await.unwrap();
    let handle = node.handle();
    wait_for("the ledger", || current(&handle) == Some(digest)).await;
    let parsed = timeout(DEADLINE, handle.parse_coordinate("docker", "alpine:3.16.0")).await.unwrap();
    assert_eq!(parsed.unwrap().id.as_str(), "alpine:3.16.0", "by the verifier that is there");
    let approved = timeout(DEADLINE, handle.approve_verifier(digest)).await.unwrap();
    let is_coming = |reason: &str| reason.contains("still being got");
    assert!(matches!(&approved, Err(ApproveVerifierError::Unusable { reason, .. }) if is_coming(reason)), "{approved:?}");

    later.write_all(&module).unwrap();
    drop(later);
    let standing = timeout(DEADLINE, async {
        loop {
            match handle.approve_verifier(digest).await {
                Err(ApproveVerifierError::Unusable { reason, .. }) if is_coming(&reason) => {}
                approved => break approved.unwrap(),
            }
        }
    });
    assert!(standing.await.unwrap().current);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_offered_approved_by_a_majority_and_comes_to_nodes_that_lack_it() {
    let folders: [_; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let first = founder(folders[0].path()).await;
    let one = first.handle();
    let second = joined(folders[1].path(), &one).await;
    let two = second.handle();
    one.authorize(two.node_id()).await.unwrap();
    wait_for("two validators", || {
        let count = |node: &NodeHandle| node.ledger().state.as_ref().map(|state| state.validators().nodes().len());
        count(&one) == Some(2) && count(&two) == Some(2)
    })
    .await;
    let third = joined(folders[2].path(), &one).await;
    let three = third.handle();
    let shipped = current(&one).unwrap();

    let (module, digest) = another("newer");
    fs::write(folders[0].path().join("verifiers/newer.wasm"), &module).unwrap();
    wait_for("the offer", || one.offered_verifiers().iter().any(|offered| offered.module == digest)).await;
    assert_eq!(current(&one), Some(shipped));
    assert!(matches!(two.approve_verifier(digest).await, Err(ApproveVerifierError::Unknown { .. })));
    assert!(matches!(
        three.approve_verifier(digest).await,
        Err(ApproveVerifierError::NotStanding(NotStanding::NotAuthorized(_)))
    ));

    let standing = one.approve_verifier(digest).await.unwrap();
    assert_eq!((standing.approvals, standing.needed, standing.current), (1, 2, false));
    assert_eq!(one.offered_verifiers()[0].approvals, [one.node_id()]);
    wait_for("the first approval at the second node", || {
        let named = |state: &pyrsia_ledger::Projections| state.verifiers.module(&docker(), &digest).is_some();
        two.ledger().state.as_deref().is_some_and(named)
    })
    .await;
    // It has the module from the first node by then.
    let standing = two.approve_verifier(digest).await.unwrap();
    assert_eq!((standing.approvals, standing.needed, standing.current), (2, 2, true));

    for (node, folder) in [(&one, &folders[0]), (&two, &folders[1]), (&three, &folders[2])] {
        wait_for("the module at every node", || {
            current(node) == Some(digest) && folder.path().join("modules").join(format!("{digest}.wasm")).exists()
        })
        .await;
        assert!(node.parse_coordinate("docker", "alpine").await.is_ok());
        assert!(node.offered_verifiers().iter().all(|offered| offered.module != digest));
    }
    for node in [third, second, first] {
        node.stop().await;
    }
}
