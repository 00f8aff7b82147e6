//! docs/tutorial.md, command by command: two nodes, a pipeline, an imported image and one built from source, docker at the end.

use crate::images::{GREETING, SOURCE_GREETING, mapping, repository, runnable};
use crate::proofs;
use pyrsia_tests::deadline::{BUILT, SOON, wait_for};
use pyrsia_tests::engine::Engine;
use pyrsia_tests::image::Image;
use pyrsia_tests::network::{Cli, Node, Pipeline};
use pyrsia_tests::upstream::Upstream;
use pyrsia_tests::{clients, image};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// One layer is larger than what the predecessor could move at all.
const LARGE_LAYER_BYTES: usize = 152 << 20;

const FIELDS: [&str; 13] = [
    "artifact_hash",
    "artifact_id",
    "id",
    "node_id",
    "node_public_key",
    "num_artifacts",
    "operation",
    "package_specific_artifact_id",
    "package_specific_id",
    "package_type",
    "source_hash",
    "source_id",
    "timestamp",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorial_runs_as_printed() {
    let needed = ["dockerd", "docker", "docker-registry", "busybox", "git"];
    if !clients::present("the_tutorial_runs_as_printed", &needed) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let upstream = Upstream::start(folder.path()).await;
    let alpine = runnable(LARGE_LAYER_BYTES);
    alpine.push(&upstream.url, "library/alpine", "3.16.0").await.expect("the registry takes the image");
    let repository = repository(folder.path());
    let mapping = mapping(folder.path(), &repository);
    let cli = Cli::new(folder.path());

    // Run Pyrsia node A; run the build pipeline; authorize node A as a build node.
    let pipeline_arguments = ["--upstream", &upstream.url, "--mapping", mapping.to_str().expect("a path in UTF-8")];
    let mut pipeline = Pipeline::reserve(folder.path(), "pipeline", &pipeline_arguments);
    let arguments = ["--pipeline-service-endpoint", &pipeline.url, "--listen-only", "--init-blockchain"];
    let mut node_a = Node::start(folder.path(), "nodeA", &arguments).await;
    pipeline.start_again().await;
    assert!(
        cli.succeed(&["config", "-e", "--port", &node_a.port.to_string()]).to_lowercase().contains("node configuration saved !!")
    );
    let peer_id = node_a.peer_id().await;
    assert!(cli.succeed(&["authorize", "--peer", &peer_id]).contains("Authorize request successfully handled."));

    // Run Pyrsia node B; trigger a build on it, which it relays to node A; wait for the build to finish.
    let node_b = Node::start(folder.path(), "nodeB", &["--peer", &node_a.address().await]).await;
    node_b.wait_until_synced(&node_a).await;
    cli.succeed(&["config", "-e", "--port", &node_b.port.to_string()]);
    let build_id = build_id(&cli.succeed(&["build", "docker", "--image", "alpine:3.16.0"]));
    wait_for("the build to succeed", BUILT, || async {
        let printed = cli.succeed(&["build", "status", "--id", &build_id]);
        assert!(!printed.contains("FAILED"), "{printed}");
        (printed.lines().next() == Some(&format!("Build status for '{build_id}' is 'SUCCESS'"))).then_some(())
    })
    .await;
    let completed =
        format!("Build with ID {build_id} completed successfully for package type Docker and package specific ID alpine:3.16.0");
    node_a.program().line("the completed build", BUILT, |line| line.contains(&completed).then_some(())).await;
    node_b.wait_for_records("alpine:3.16.0", alpine.records(), BUILT).await;

    // Use Pyrsia with docker pull: node B is the engine's registry mirror.
    let engine = Engine::start(folder.path(), &node_b.url("")).await;
    engine.succeed(&["pull", "alpine:3.16.0"]);
    assert_eq!(engine.image_id("alpine:3.16.0"), alpine.config.digest);
    assert_eq!(engine.succeed(&["run", "--rm", "--network", "none", "alpine:3.16.0"]), GREETING);

    // Inspect the transparency logs.
    let printed = cli.succeed(&["inspect-log", "docker", "--image", "alpine:3.16.0"]);
    let records: Vec<Value> = serde_json::from_str(&printed).expect("the log is printed as JSON");
    check_records(&records, &alpine, &peer_id, &public_key(node_a.folder()));

    // The second image, built from source, by the node's own name.
    let printed = cli.succeed(&["build", "docker", "--image", "hello:1.0", "--wait"]);
    assert!(printed.contains("Build request successfully handled."), "{printed}");
    let hello = format!("localhost:{}/hello:1.0", node_b.port);
    engine.succeed(&["pull", &hello]);
    assert_eq!(engine.succeed(&["run", "--rm", "--network", "none", &hello]), SOURCE_GREETING);
    let network = node_b.status().await["network"].as_str().expect("the id of the network").to_owned();
    proofs::a_pulled_image_is_verified(&cli, &engine, folder.path(), (&hello, &network));
    let records = node_b.records("hello:1.0").await;
    assert!(records.iter().all(|record| record["source_hash"] == repository.commit.as_str()), "{records:#?}");

    // Asked again it needs no build.
    let printed = cli.succeed(&["build", "docker", "--image", "alpine:3.16.0"]);
    assert!(printed.contains("Artifact already exists. Fresh build not required"), "{printed}");

    // Node A goes; node B has what it served, and serves it on.
    node_a.stop();
    let named = format!("localhost:{}/alpine:3.16.0", node_b.port);
    for name in ["alpine:3.16.0", &hello] {
        engine.succeed(&["rmi", name]);
        assert_ne!(engine.docker(&["image", "inspect", name]).code, 0, "{name} is still in the engine");
        engine.succeed(&["pull", name]);
    }
    engine.succeed(&["pull", &named]);
    assert_eq!(engine.image_id(&named), alpine.config.digest);
    wait_for("node B to warn that it is alone", SOON, || async {
        let answer = reqwest::get(node_b.url("/v2/alpine/manifests/3.16.0")).await.ok()?;
        answer.headers().get("warning")?.to_str().ok()?.contains("connected to no other node").then_some(())
    })
    .await;
    assert_eq!(engine.succeed(&["run", "--rm", "--network", "none", "alpine:3.16.0"]), GREETING);
}

/// The id in `Build request successfully handled. Build with ID '…' has been started.`
fn build_id(printed: &str) -> String {
    let (start, rest) = printed.split_once("Build with ID '").unwrap_or_else(|| panic!("no build id: {printed}"));
    assert_eq!(start, "Build request successfully handled. ");
    let (id, end) = rest.split_once('\'').expect("a closing quote");
    assert_eq!(end.trim_end(), " has been started.");
    id.to_owned()
}

/// The public half of a node's key, from its key file.
fn public_key(node_folder: &Path) -> String {
    let key = std::fs::read(node_folder.join("pyrsia/p2p_keypair.ser")).expect("the node's key file");
    assert_eq!(key.len(), 64, "secret and public key");
    hex::encode(&key[32..])
}

/// The thirteen fields of each record, with the builder's real peer id and key.
fn check_records(records: &[Value], image: &Image, peer_id: &str, public_key: &str) {
    assert_eq!(records.len(), image.records());
    for record in records {
        let fields: Vec<&str> = record.as_object().expect("a record").keys().map(String::as_str).collect();
        assert_eq!(fields, FIELDS);
        assert_eq!(record["node_id"], peer_id);
        assert_eq!(record["node_public_key"], public_key);
        assert_eq!(record["num_artifacts"], image.records());
        assert_eq!(record["operation"], "AddArtifact");
        assert_eq!(record["package_type"], "Docker");
        assert_eq!(record["package_specific_id"], "alpine:3.16.0");
        assert_eq!(record["source_hash"], image.manifest.digest.as_str());
        assert!(record["timestamp"].as_u64().is_some_and(|seconds| seconds > 1_700_000_000), "{record}");
    }
    let text = |record: &Value, field: &str| record[field].as_str().expect("text").to_owned();
    let distinct: BTreeSet<String> = records.iter().map(|record| text(record, "id")).collect();
    assert_eq!(distinct.len(), records.len(), "each record has an id of its own");
    let mut expected = vec![("alpine:3.16.0".to_owned(), hash(&image.manifest))];
    let objects = std::iter::once(&image.manifest).chain(image.blobs());
    expected.extend(objects.map(|object| (format!("alpine@{}", object.digest), hash(object))));
    let named: Vec<_> =
        records.iter().map(|record| (text(record, "package_specific_artifact_id"), text(record, "artifact_hash"))).collect();
    assert_eq!(named, expected);
}

fn hash(object: &image::Blob) -> String {
    object.digest["sha256:".len()..].to_owned()
}
