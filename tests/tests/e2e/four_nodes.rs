//! Two build nodes, and behind each a node that knows only that one.

use pyrsia_tests::deadline::BUILT;
use pyrsia_tests::image::Image;
use pyrsia_tests::network::{Cli, Node, Pipeline};
use pyrsia_tests::{clients, upstream::Upstream};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn builds_asked_on_either_side_arrive_on_all_four_nodes() {
    if !clients::present("builds_asked_on_either_side_arrive_on_all_four_nodes", &["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let upstream = Upstream::start(folder).await;
    let images = [Image::small("asked of C"), Image::small("asked of D")];
    for (image, name) in images.iter().zip(["left", "right"]) {
        image.push(&upstream.url, &format!("side/{name}"), "1").await.expect("the registry takes the image");
    }
    let pipeline_a = Pipeline::start(folder, "pipelineA", &["--upstream", &upstream.url]).await;
    let pipeline_b = Pipeline::start(folder, "pipelineB", &["--upstream", &upstream.url]).await;
    let cli = Cli::new(folder);

    let arguments = ["--pipeline-service-endpoint", &pipeline_a.url, "--listen-only", "--init-blockchain"];
    let mut node_a = Node::start(folder, "nodeA", &arguments).await;
    cli.authorize(&node_a, &node_a).await;
    let arguments = ["--pipeline-service-endpoint", &pipeline_b.url, "--peer", &node_a.address().await];
    let mut node_b = Node::start(folder, "nodeB", &arguments).await;
    node_b.wait_until_synced(&node_a).await;
    cli.authorize(&node_a, &node_b).await;
    let node_c = Node::start(folder, "nodeC", &["--peer", &node_a.address().await]).await;
    let node_d = Node::start(folder, "nodeD", &["--peer", &node_b.address().await]).await;
    node_c.wait_until_synced(&node_a).await;
    node_d.wait_until_synced(&node_a).await;

    let (left, right) = (json!({ "image": "side/left:1" }), json!({ "image": "side/right:1" }));
    let (first, second) = tokio::join!(node_c.post("/build/docker", &left), node_d.post("/build/docker", &right));
    for (status, answer) in [first, second] {
        assert!(status == 200 && answer["build_id"].is_string(), "{status} {answer}");
    }
    for node in [&node_a, &node_b, &node_c, &node_d] {
        for (image, name) in images.iter().zip(["left", "right"]) {
            let records = node.wait_for_records(&format!("side/{name}:1"), image.records(), BUILT).await;
            assert_eq!(records.len(), image.records());
            let pulled = node.pull(&format!("side/{name}"), "1").await;
            assert_eq!(pulled.manifest, image.manifest.digest);
        }
    }
}
