//! Clients other than the tutorial's, and the ground it stands on: engine, registry and image get along without Pyrsia.

use crate::distribution_spec;
use crate::images::{GREETING, repository, runnable};
use crate::proofs;
use pyrsia_tests::brittle_wire::BrittleWire;
use pyrsia_tests::containerd::Containerd;
use pyrsia_tests::deadline::BUILT;
use pyrsia_tests::image::{Blob, Image, push_index, sha256};
use pyrsia_tests::network::{Cli, Node, Pipeline};
use pyrsia_tests::program::{run, succeed};
use pyrsia_tests::{clients, engine::Engine, upstream::Upstream};
use serde_json::json;
use std::path::{Path, PathBuf};
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

/// What the clients pull: an image of two platforms under a name of the public registry, and the node that has it.
struct Published<'a> {
    node: &'a Node,
    folder: &'a Path,
    index: Blob,
    here: &'a Image,
    elsewhere: &'a Image,
}

const TAG: &str = "3.16.2";
/// The large layer, and where its download breaks off.
const LAYER_BYTES: usize = 8 << 20;
const BREAK_AFTER_BYTES: u64 = 6 << 20;
/// What a broken download can have in flight and lose, and the heads of requests.
const LOST_BYTES_MAX: u64 = 3 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn every_client_pulls_an_image_of_two_platforms_by_tag_and_digest() {
    let needed = ["dockerd", "docker", "docker-registry", "busybox", "skopeo", "podman", "containerd", "ctr", "curl"];
    if !clients::present("every_client_pulls_an_image_of_two_platforms_by_tag_and_digest", &needed) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let upstream = Upstream::start(folder).await;
    let (here, elsewhere) = (runnable(LAYER_BYTES).oci(), Image::small("another platform").oci());
    let platforms = [("arm64", &elsewhere), ("amd64", &here)];
    let index = push_index(&upstream.url, "library/alpine", TAG, &platforms).await.expect("the registry takes the index");
    for tag in ["1", "2"] {
        // With Docker's own media types.
        Image::small("a deep name").push(&upstream.url, "deep/er/one", tag).await.expect("the registry takes the image");
    }
    let pipeline = Pipeline::start(folder, "pipeline", &["--upstream", &upstream.url]).await;
    let arguments = ["--pipeline-service-endpoint", &pipeline.url, "--listen-only", "--init-blockchain"];
    let mut node = Node::start(folder, "nodeA", &arguments).await;
    let cli = Cli::new(folder);
    cli.authorize(&node, &node).await;
    for image in ["alpine:3.16.2", "deep/er/one:1", "deep/er/one:2"] {
        cli.succeed(&["build", "docker", "--image", image, "--wait"]);
    }
    // The index under tag and digest; of each platform the manifest, the configuration and the layers.
    node.wait_for_records("alpine:3.16.2", 2 + 2 + here.layers.len() + 2 + elsewhere.layers.len(), BUILT).await;

    let published = Published { node: &node, folder, index, here: &here, elsewhere: &elsewhere };
    docker_pulls(&published).await;
    containerd_pulls(&published).await;
    podman_pulls(&published);
    skopeo_copies(&published);
    curl_resumes(&published);
    let subject = distribution_spec::Subject {
        repository: "library/alpine",
        tag: TAG,
        index: &published.index,
        manifests: &[&here.manifest, &elsewhere.manifest],
        blobs: &[&here.config, &here.layers[1], &elsewhere.layers[0]],
    };
    distribution_spec::pulls_follow_it(&node, &subject).await;
    distribution_spec::lists_follow_it(&node).await;
    let proof = distribution_spec::referrers_follow_it(&node, &subject).await;
    distribution_spec::pushes_are_refused(&node, &subject).await;

    // What was attached to the image says what the log says, and is there under its digest when nobody has asked for it since the node started.
    std::fs::write(folder.join("proof.json"), &proof.file.bytes).expect("the file of the proof");
    let network = node.status().await["network"].as_str().expect("the id of the network").to_owned();
    let digest = here.manifest.digest.clone();
    let printed = cli.succeed(&["verify", &digest, "--proof", "proof.json", "--network", &network]);
    assert!(printed.contains("alpine:3.16.2"), "{printed}");
    let source = format!("localhost:{}/alpine:{TAG}", node.port);
    proofs::a_copied_image_is_verified(&cli, folder, &source, ("alpine:3.16.2", &network));
    node.stop();
    node.start_again().await;
    assert_eq!(distribution_spec::bytes_of(&node, "alpine", "manifests", &proof.manifest.digest).await, proof.manifest.bytes);
    assert_eq!(distribution_spec::bytes_of(&node, "alpine", "blobs", &proof.file.digest).await, proof.file.bytes);
}

/// Checks that a client went on where its download broke off.
#[track_caller]
fn assert_resumed(wire: &BrittleWire, published: &Published<'_>) {
    let whole: usize = published.here.blobs().map(|blob| blob.bytes.len()).sum();
    assert!(wire.has_broken(), "the download was long enough to break");
    let carried = wire.carried_bytes();
    assert!(carried < whole as u64 + LOST_BYTES_MAX, "{carried} bytes were carried for {whole}: it began again");
}

/// The engine with its own image store, by the node's name and with the node as its mirror.
async fn docker_pulls(published: &Published<'_>) {
    let Published { node, folder, index, here, .. } = published;
    let wire = BrittleWire::start(node.host(), node.port, BREAK_AFTER_BYTES);
    let engine = Engine::start(folder, &node.url("")).await;
    engine.succeed(&["pull", &format!("localhost:{}/library/alpine:{TAG}", wire.port)]);
    assert_resumed(&wire, published);
    let named = format!("localhost:{}/alpine", node.port);
    for name in ["alpine:3.16.2".to_owned(), format!("{named}:{TAG}"), format!("alpine@{}", index.digest)] {
        engine.succeed(&["pull", &name]);
        assert_eq!(engine.image_id(&name), here.config.digest, "{name}");
    }
    assert_eq!(engine.succeed(&["run", "--rm", "--network", "none", &format!("{named}:{TAG}")]), GREETING);
    engine.succeed(&["pull", &format!("localhost:{}/deep/er/one:1", node.port)]);

    let missing = engine.docker(&["pull", &format!("{named}:nobody-has-it")]);
    assert!(missing.code != 0 && missing.stderr.contains("is not published in this network"), "{missing:?}");
    engine.succeed(&["tag", &format!("{named}:{TAG}"), &format!("{named}:mine")]);
    let pushed = engine.docker(&["push", &format!("{named}:mine")]);
    assert!(pushed.code != 0 && pushed.stderr.contains("unsupported: nothing can be pushed here"), "{pushed:?}");
}

/// containerd with the node as the only host of the registry it mirrors, as `pyrsia settings containerd` writes it.
async fn containerd_pulls(published: &Published<'_>) {
    let Published { node, folder, index, .. } = published;
    let containerd = Containerd::start(folder).await;
    let wire = BrittleWire::start(node.host(), node.port, BREAK_AFTER_BYTES);
    let pulled = containerd.pull(&["--plain-http", &format!("127.0.0.1:{}/alpine:{TAG}", wire.port)]);
    assert_eq!(pulled.code, 0, "{pulled:?}");
    assert_resumed(&wire, published);

    let hosts = folder.join("certs.d");
    std::fs::create_dir_all(hosts.join("docker.io")).expect("a folder for the hosts");
    let settings = Cli::new(folder).succeed(&["settings", "containerd", "--url", &node.url("")]);
    std::fs::write(hosts.join("docker.io/hosts.toml"), settings).expect("the hosts of the registry");
    let pull = |name: &str| containerd.pull(&["--hosts-dir", hosts.to_str().expect("a path in UTF-8"), name]);
    for name in [format!("docker.io/library/alpine:{TAG}"), format!("docker.io/library/alpine@{}", index.digest)] {
        let pulled = pull(&name);
        assert_eq!(pulled.code, 0, "{name}: {pulled:?}");
        assert!(
            containerd.ctr(&["images", "ls"]).stdout.lines().any(|line| line.contains(&name) && line.contains(&index.digest))
        );
    }
    // Nobody else is asked for what the network did not publish.
    let missing = pull("docker.io/library/alpine:nobody-has-it");
    let told = format!("{}{}", missing.stdout, missing.stderr);
    assert!(missing.code != 0 && told.contains("not found") && !told.contains("dial"), "{told}");
}

/// Writes a file that stands in for `/etc/containers/registries.conf.d/pyrsia.conf`.
fn registries(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, text).expect("the registries of a client");
    file
}

/// podman as `pyrsia settings podman` has it: the node stands in for the public registry, and nothing else may be asked.
fn podman_pulls(published: &Published<'_>) {
    let Published { node, folder, index, here, .. } = published;
    let settings = Cli::new(folder).succeed(&["settings", "podman", "--url", &node.url("")]);
    let blocked = "\n[[registry]]\nprefix = \"*.example\"\nlocation = \"registry.example\"\nblocked = true\n";
    let file = registries(folder, "podman.conf", &format!("{settings}{blocked}"));
    let podman = |arguments: &[&str]| {
        let mut command = Command::new("podman");
        command.env("CONTAINERS_REGISTRIES_CONF", &file).env("HOME", folder);
        command.arg("--root").arg(folder.join("podman/root")).arg("--runroot").arg(folder.join("podman/run"));
        command.args(["--storage-driver", "vfs", "--events-backend", "none", "--cgroup-manager", "cgroupfs"]);
        run(command.args(arguments))
    };
    let id = here.config.digest.trim_start_matches("sha256:");
    for name in [format!("docker.io/library/alpine:{TAG}"), format!("docker.io/library/alpine@{}", index.digest)] {
        let pulled = podman(&["pull", "--quiet", &name]);
        assert!(pulled.code == 0 && pulled.stdout.trim() == id, "{name}: {pulled:?}");
    }
    let missing = podman(&["pull", "docker.io/library/alpine:nobody-has-it"]);
    assert!(missing.code != 0 && missing.stderr.contains("is not published in this network"), "{missing:?}");
    assert!(!missing.stderr.contains("dial"), "nobody else is asked: {missing:?}");
    let refused = podman(&["pull", "registry.example/anything:1"]);
    assert!(refused.code != 0 && refused.stderr.contains("blocked"), "{refused:?}");
}

/// skopeo with the mirrored registry's host in the path; all platforms are copied.
fn skopeo_copies(published: &Published<'_>) {
    let Published { node, folder, index, elsewhere, .. } = published;
    let text =
        format!("[[registry]]\nprefix = \"docker.io\"\nlocation = \"localhost:{}/docker.io\"\ninsecure = true\n", node.port);
    let (file, copy) = (registries(folder, "skopeo.conf", &text), folder.join("copy"));
    let mut skopeo = Command::new("skopeo");
    skopeo.arg("--registries-conf").arg(file).args(["--insecure-policy", "copy", "--all"]);
    succeed(skopeo.arg(format!("docker://docker.io/library/alpine:{TAG}")).arg(format!("dir:{}", copy.display())));
    assert_eq!(sha256(&std::fs::read(copy.join("manifest.json")).expect("the index")), index.digest);
    let layer = elsewhere.layers[0].digest.trim_start_matches("sha256:");
    assert!(copy.join(layer).is_file(), "skopeo copied the other platform too");
}

/// curl goes on with a part of a file.
fn curl_resumes(published: &Published<'_>) {
    let Published { node, folder, here, .. } = published;
    let wire = BrittleWire::start(node.host(), node.port, BREAK_AFTER_BYTES);
    let (layer, file) = (&here.layers[1], folder.join("layer"));
    let url = format!("http://127.0.0.1:{}/v2/alpine/blobs/{}", wire.port, layer.digest);
    let curl = || run(Command::new("curl").args(["--silent", "--fail", "--continue-at", "-", "--output"]).arg(&file).arg(&url));
    assert_ne!(curl().code, 0, "the first download breaks off");
    assert_eq!(curl().code, 0);
    assert_eq!(sha256(&std::fs::read(&file).expect("the layer")), layer.digest);
    assert_resumed(&wire, published);
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
