//! Power cuts and services that go away: the node goes on, no wrong byte is served, and the same request works afterwards.

use crate::images::runnable;
use pyrsia_tests::deadline::{BUILT, SOON, wait_for};
use pyrsia_tests::image::Image;
use pyrsia_tests::network::{Cli, Node, Pipeline};
use pyrsia_tests::{clients, upstream::Upstream};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// A network of one build node that imports from a registry.
struct Network {
    upstream: Upstream,
    pipeline: Pipeline,
    node_a: Node,
}

impl Network {
    async fn start(folder: &Path) -> Self {
        let upstream = Upstream::start(folder).await;
        let pipeline = Pipeline::start(folder, "pipeline", &["--upstream", &upstream.url]).await;
        let arguments = ["--pipeline-service-endpoint", &pipeline.url, "--init-blockchain", "--listen-only"];
        let node_a = Node::start(folder, "nodeA", &arguments).await;
        Cli::new(folder).authorize(&node_a, &node_a).await;
        Self { upstream, pipeline, node_a }
    }

    async fn push(&self, image: &Image, name: &str) {
        image.push(&self.upstream.url, &format!("fault/{name}"), "1").await.expect("the registry takes the image");
    }

    /// Asks for a build until one is under way or the image is there.
    async fn wish(&self, name: &str) {
        wait_for(format!("a build of {name}"), SOON, || async {
            let (status, answer) = self.node_a.post("/build/docker", &json!({ "image": format!("fault/{name}:1") })).await;
            assert!(matches!(status, 200 | 503 | 504), "{status} {answer}");
            (status == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_node_killed_at_any_moment_goes_on_where_it_was() {
    if !clients::present("a_build_node_killed_at_any_moment_goes_on_where_it_was", &["docker-registry", "busybox"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut network = Network::start(folder.path()).await;
    // The whole life of a build takes about as long as the longest of these.
    for (round, delay_ms) in [0, 30, 80, 150, 250, 400, 700].into_iter().enumerate() {
        let image = Image::small(&format!("round {round}"));
        let name = format!("killed{round}");
        network.push(&image, &name).await;
        network.wish(&name).await;
        tokio::time::sleep(Duration::from_millis(delay_ms)).await; // The fault's moment, not a wait for a condition.
        network.node_a.kill();
        network.node_a.start_again().await;
        network.wish(&name).await;
        let records = network.node_a.wait_for_records(&format!("fault/{name}:1"), image.records(), BUILT).await;
        assert_eq!(records.len(), image.records(), "killed after {delay_ms} ms");
        assert_eq!(network.node_a.pull(&format!("fault/{name}"), "1").await.manifest, image.manifest.digest);
    }
    assert_clean(network.node_a.folder());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_while_it_fetches_serves_the_whole_image_after_its_restart() {
    if !clients::present(
        "a_node_killed_while_it_fetches_serves_the_whole_image_after_its_restart",
        &["docker-registry", "busybox"],
    ) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut network = Network::start(folder.path()).await;
    let image = runnable(64 << 20);
    network.push(&image, "large").await;
    network.wish("large").await;
    network.node_a.wait_for_records("fault/large:1", image.records(), BUILT).await;
    let address = network.node_a.address().await;
    let mut node_b = Node::start(folder.path(), "nodeB", &["--peer", &address]).await;
    node_b.wait_for_records("fault/large:1", image.records(), BUILT).await;
    for delay_ms in [20, 120, 300] {
        let digest = &image.layers[1].digest;
        let url = node_b.url(&format!("/v2/fault/large/blobs/{digest}"));
        let request = tokio::spawn(async move { reqwest::get(url).await });
        tokio::time::sleep(Duration::from_millis(delay_ms)).await; // The fault's moment, not a wait for a condition.
        node_b.kill();
        drop(request.await);
        node_b.start_again().await;
    }
    wait_for("node B to be connected again", SOON, || async { (node_b.peers().await > 0).then_some(()) }).await;
    assert_eq!(node_b.pull("fault/large", "1").await.manifest, image.manifest.digest);
    assert_clean(node_b.folder());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_whose_pipeline_is_killed_is_told_and_works_once_it_is_back() {
    if !clients::present("a_build_whose_pipeline_is_killed_is_told_and_works_once_it_is_back", &["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut network = Network::start(folder.path()).await;
    let image = Image::small("pipeline");
    network.push(&image, "pipeline").await;
    network.pipeline.kill();
    network.wish("pipeline").await;
    // The node is not held up by it.
    assert_eq!(network.node_a.status().await["authorized"], true);
    assert!(network.node_a.records("fault/pipeline:1").await.is_empty());
    network.pipeline.start_again().await;
    wait_for("the image once the pipeline is back", BUILT, || async {
        network.wish("pipeline").await;
        (network.node_a.records("fault/pipeline:1").await.len() == image.records()).then_some(())
    })
    .await;
    assert_eq!(network.node_a.pull("fault/pipeline", "1").await.manifest, image.manifest.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_nobody_has_is_missing_and_asked_to_be_built_once() {
    if !clients::present("an_image_that_nobody_has_is_missing_and_asked_to_be_built_once", &["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let network = Network::start(folder.path()).await;
    let image = Image::small("wished by a pull");
    network.push(&image, "pulled").await;
    let (status, body) = network.node_a.get_manifest("fault/pulled", "1").await;
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(status == 404 && body.contains("MANIFEST_UNKNOWN"), "{status} {body}");
    network.node_a.wait_for_records("fault/pulled:1", image.records(), BUILT).await;
    assert_eq!(network.node_a.pull("fault/pulled", "1").await.manifest, image.manifest.digest);

    // What the registry does not have either is not requested, and the node says why.
    let (status, answer) = network.node_a.post("/build/docker", &json!({ "image": "fault/nowhere:1" })).await;
    let told = answer.to_string();
    assert!(status == 422 && told.contains("fault/nowhere") && told.contains("404"), "{status} {told}");
}

/// Every file of the store is what its name says, and nothing half-written lies about.
fn assert_clean(node_folder: &Path) {
    let store = node_folder.join("pyrsia");
    let leftovers: Vec<_> = std::fs::read_dir(store.join("tmp")).map(|entries| entries.flatten().collect()).unwrap_or_default();
    assert!(leftovers.is_empty(), "{leftovers:?}");
    let mut blobs = 0;
    for folder in std::fs::read_dir(store.join("blobs")).expect("a store of blobs").flatten() {
        for file in std::fs::read_dir(folder.path()).expect("a folder of blobs").flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name.len() == 64 {
                let bytes = std::fs::read(file.path()).expect("a blob");
                assert_eq!(pyrsia_tests::image::sha256(&bytes), format!("sha256:{name}"));
                blobs += 1;
            }
        }
    }
    assert!(blobs > 0, "the store is empty");
}
