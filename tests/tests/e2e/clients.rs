//! The ground the scenarios stand on: engine, registry and image of the tests get along without Pyrsia.

use crate::images::{GREETING, runnable};
use pyrsia_tests::{clients, engine::Engine, upstream::Upstream};

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
