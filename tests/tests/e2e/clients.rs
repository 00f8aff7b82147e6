//! The fixtures' own foundation: the docker engine, the registry and the image of the tests get along without Pyrsia.

use pyrsia_tests::{
    clients,
    engine::Engine,
    image::{Image, LayerFile, pseudo_random},
    upstream::Upstream,
};

#[tokio::test(flavor = "multi_thread")]
async fn docker_runs_the_image_of_the_tests_from_a_plain_registry() {
    if !clients::present(
        "docker_runs_the_image_of_the_tests_from_a_plain_registry",
        &["dockerd", "docker", "docker-registry", "busybox"],
    ) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let upstream = Upstream::start(folder.path()).await;
    let image = runnable_image(1 << 20);
    image.push(&upstream.url, "library/alpine", "3.16.0").await.expect("the registry takes the image");

    let engine = Engine::start(folder.path(), &upstream.url).await;
    engine.succeed(&["pull", "alpine:3.16.0"]);
    assert_eq!(engine.image_id("alpine:3.16.0"), image.config.digest);
    assert_eq!(engine.succeed(&["run", "--rm", "--network", "none", "alpine:3.16.0"]), GREETING);
}

/// What the image prints when it runs.
pub(crate) const GREETING: &str = "hello from a layer\n";

/// An image of three layers that runs: a static shell, a large file, and what it prints.
pub(crate) fn runnable_image(large_bytes: usize) -> Image {
    let busybox = clients::find("busybox").expect("the test asked for busybox");
    let busybox = std::fs::read(busybox).expect("the program can be read");
    let large = pseudo_random(7, large_bytes);
    let shell = [LayerFile { path: "bin/busybox", contents: &busybox, mode: 0o755 }];
    let large = [LayerFile { path: "srv/large", contents: &large, mode: 0o644 }];
    let greeting = [LayerFile { path: "etc/greeting", contents: GREETING.as_bytes(), mode: 0o644 }];
    Image::new(&[&shell, &large, &greeting], &["/bin/busybox", "cat", "/etc/greeting"])
}
