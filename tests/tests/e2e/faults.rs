//! Power cuts and services that go away: the node goes on, no wrong byte is served, and the same request works afterwards.

use crate::images::runnable;
use pyrsia_tests::deadline::{BUILT, SOON, wait_for};
use pyrsia_tests::image::{Image, LayerFile, pseudo_random};
use pyrsia_tests::network::{Cli, Node, Pipeline};
use pyrsia_tests::random::Random;
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

/// How often the storm strikes where the environment does not say it.
const STRIKES: usize = 4;
const STORM: &str = "a_node_killed_in_the_middle_of_everything_serves_nothing_wrong_and_keeps_a_sound_ledger";

/// Everything that a node does for others and for itself, asked for at once. Whatever becomes of it, the node may be gone at any moment.
fn ask_for_everything(node: &Node, http: &reqwest::Client, digests: &[String]) {
    let token = std::fs::read_to_string(node.folder().join("pyrsia/admin.token")).expect("the token of the node");
    let removed: Vec<&str> = digests.iter().step_by(2).filter_map(|digest| digest.strip_prefix("sha256:")).collect();
    let wishes = [("scrubs", json!({})), ("collections", json!({})), ("removals", json!({ "artifacts": removed }))];
    for (what, body) in wishes {
        let request = http.post(node.url(&format!("/api/v1/store/{what}"))).bearer_auth(token.trim()).json(&body).send();
        tokio::spawn(request);
    }
    for digest in digests {
        let request = http.get(node.url(&format!("/v2/fault/storm/blobs/{digest}"))).send();
        tokio::spawn(async move {
            drop(request.await?.bytes().await?);
            reqwest::Result::Ok(())
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_in_the_middle_of_everything_serves_nothing_wrong_and_keeps_a_sound_ledger() {
    if !clients::present(STORM, &["docker-registry"]) {
        return;
    }
    let strikes = std::env::var("PYRSIA_FAULT_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(STRIKES);
    let mut random = Random::seeded(STORM, 1);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Network { upstream, pipeline: _pipeline, mut node_a } = Network::start(folder.path()).await;
    let address = node_a.address().await;
    let mut nodes = [node_a, Node::start(folder.path(), "nodeB", &["--peer", &address]).await];

    let mut second = Node::reserve(folder.path(), "nodeB", None, &["--peer", &address]);
    second.launch();
    wait_for("a second node on the same folder to be refused", SOON, || {
        let is_running = second.program().is_running();
        async move { (!is_running).then_some(()) }
    })
    .await;
    assert!(second.output().join("\n").contains("in use by another"), "{:?}", second.output());

    let http = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(SOON).build().expect("a client");
    let mut images: Vec<Image> = vec![];
    for strike in 0..strikes {
        let (tag, noise) = (strike.to_string(), pseudo_random(random.number(), 4 << 20));
        let image = Image::new(&[&[LayerFile { path: "srv/noise", contents: &noise, mode: 0o644 }]], &["/none"]);
        image.push(&upstream.url, "fault/storm", &tag).await.expect("the registry takes the image");
        let digests: Vec<String> = images.iter().flat_map(Image::blobs).map(|blob| blob.digest.clone()).collect();
        let wish = json!({ "image": format!("fault/storm:{tag}") });
        let asked = http.post(nodes[0].url("/build/docker")).json(&wish).send();
        let asked = tokio::spawn(asked);
        for node in &nodes {
            ask_for_everything(node, &http, &digests);
        }
        let victim = random.below(nodes.len());
        tokio::time::sleep(Duration::from_millis(random.number() % 400)).await; // The fault's moment, not a wait for a condition.
        nodes[victim].kill();
        nodes[victim].start_again().await;
        drop(asked.await);
        wait_for(format!("a build of {tag}"), SOON, || async {
            let answered = nodes[0].try_post("/build/docker", &wish).await;
            answered.filter(|(status, _)| *status == 200).map(drop)
        })
        .await;
        images.push(image);
        for node in &nodes {
            for (tag, image) in images.iter().enumerate() {
                node.wait_for_records(&format!("fault/storm:{tag}"), image.records(), BUILT).await;
            }
            for blob in images.iter().flat_map(Image::blobs) {
                wait_for(format!("{} at {}", blob.digest, node.name), SOON, || async {
                    let response = http.get(node.url(&format!("/v2/fault/storm/blobs/{}", blob.digest))).send().await.ok()?;
                    let (status, bytes) = (response.status(), response.bytes().await.ok()?);
                    assert!(!status.is_success() || bytes == blob.bytes, "{} served a wrong byte of {}", node.name, blob.digest);
                    status.is_success().then_some(())
                })
                .await;
            }
        }
    }
    for node in &mut nodes {
        node.stop();
        let ledger = node.folder().join("pyrsia");
        let printed = Cli::new(folder.path()).succeed(&["audit", "--json", ledger.to_str().expect("a path in UTF-8")]);
        let report: serde_json::Value = serde_json::from_str(&printed).expect("the report is JSON");
        assert_eq!(report["clean"], true, "{}: {report:#}", node.name);
        assert_clean(node.folder());
    }
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
