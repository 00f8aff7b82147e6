//! Clients other than the tutorial's, and the ground it stands on: engine, registry and image get along without Pyrsia.

use crate::images::{GREETING, repository, runnable};
use pyrsia_tests::deadline::BUILT;
use pyrsia_tests::image::{Image, push_index, sha256};
use pyrsia_tests::network::{Cli, Node, Pipeline};
use pyrsia_tests::program::succeed;
use pyrsia_tests::{clients, engine::Engine, upstream::Upstream};
use serde_json::json;
use std::process::Command;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn docker_runs_the_image_of_the_tests_from_a_plain_registry() {
    let needed = ["dockerd", "docker", "docker-registry", "busybox"];
    if !clients::present("docker_runs_the_image_of_the_tests_from_a_plain_registry", &needed) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let upstream = Upstream::start(folder.path()).await;
    let image = runnable(1 << 20);
    image.push(&upstream.url, "library/alpine", "3.16.0").await.expect("the registry takes the image");

    let engine = Engine::start(folder.path(), &upstream.url).await;
    engine.succeed(&["pull", "alpine:3.16.0"]);
    assert_eq!(engine.image_id("alpine:3.16.0"), image.config.digest);
    assert_eq!(engine.succeed(&["run", "--rm", "--network", "none", "alpine:3.16.0"]), GREETING);
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_and_skopeo_pull_an_image_of_two_platforms() {
    let needed = ["dockerd", "docker", "docker-registry", "busybox", "skopeo"];
    if !clients::present("docker_and_skopeo_pull_an_image_of_two_platforms", &needed) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let upstream = Upstream::start(folder).await;
    let (here, elsewhere) = (runnable(1 << 10), Image::small("another platform"));
    let platforms = [("arm64", &elsewhere), ("amd64", &here)];
    let index = push_index(&upstream.url, "deep/er/both", "1", &platforms).await.expect("the registry takes the index");
    let pipeline = Pipeline::start(folder, "pipeline", &["--upstream", &upstream.url]).await;
    let arguments = ["--pipeline-service-endpoint", &pipeline.url, "--listen-only", "--init-blockchain"];
    let node = Node::start(folder, "nodeA", &arguments).await;
    let cli = Cli::new(folder);
    cli.authorize(&node, &node).await;
    cli.succeed(&["build", "docker", "--image", "deep/er/both:1", "--wait"]);
    // The index under tag and digest; of each platform the manifest, the configuration and the layers.
    node.wait_for_records("deep/er/both:1", 2 + 2 + here.layers.len() + 2 + elsewhere.layers.len(), BUILT).await;

    let name = format!("localhost:{}/deep/er/both", node.port);
    let engine = Engine::start(folder, &node.url("")).await;
    engine.succeed(&["pull", &format!("{name}:1")]);
    assert_eq!(engine.image_id(&format!("{name}:1")), here.config.digest);
    assert_eq!(engine.succeed(&["run", "--rm", "--network", "none", &format!("{name}:1")]), GREETING);
    engine.succeed(&["pull", &format!("{name}@{}", index.digest)]);

    let copy = folder.join("copy");
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--all", "--src-tls-verify=false", &format!("docker://{name}:1")]);
    succeed(skopeo.arg(format!("dir:{}", copy.display())));
    assert_eq!(sha256(&std::fs::read(copy.join("manifest.json")).expect("the index")), index.digest);
    let layer = elsewhere.layers[0].digest.trim_start_matches("sha256:");
    assert!(copy.join(layer).is_file(), "skopeo copied the other platform too");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_of_a_pipeline_builds_the_same_image_twice() {
    let needed = ["dockerd", "docker", "busybox", "git"];
    if !clients::present("the_engine_of_a_pipeline_builds_the_same_image_twice", &needed) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let repository = repository(folder);
    let engine = Engine::start(folder, "http://127.0.0.1:9").await;
    let wish = json!({
        "package_type": "Docker", "package_specific_id": "hello:1.0", "build_spec_url": null,
        "source_repository": { "Git": { "url": repository.url(), "commit": repository.commit } },
    });
    let mut manifests = Vec::new();
    for name in ["first", "second"] {
        // Pipelines that have nothing in common, and dates that differ in their seconds.
        let pipeline = Pipeline::start_with(&engine, folder, name).await;
        manifests.push(String::from_utf8(pipeline.build(&wish).await).expect("a manifest is text"));
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    assert_eq!(manifests[0], manifests[1]);
}
