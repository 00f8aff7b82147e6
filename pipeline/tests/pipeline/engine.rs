//! Building with a docker engine, where one answers. The end-to-end tests start an engine of their own.

use std::process::Command;

use pyrsia_pipeline::BuilderChoice;

use super::fixture::{Fixture, Repository};

fn engine_answers() -> bool {
    let version = Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]).output();
    version.is_ok_and(|output| output.status.success())
}

const FILES: &[(&str, &str)] =
    &[("Dockerfile", "FROM scratch\nWORKDIR /w\nCOPY a sub/ /x/\nENV A=1\nCMD [\"/x/a\"]\n"), ("a*", "a"), ("sub/b", "b")];

#[tokio::test]
async fn two_builds_by_the_engine_give_the_same_image() {
    if !engine_answers() {
        println!("SKIPPED: needs a docker engine that runs already");
        return;
    }
    let fixture = Fixture::start(|config| config.builder = BuilderChoice::Docker).await;
    let repository = Repository::new(fixture.folder.path(), FILES);
    let first = fixture.build(repository.request("engine:1")).await;
    // Dates have seconds: only builds in different ones show that nothing of the moment is left.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let second = fixture.build(repository.request("engine:1")).await;
    assert!(first == second, "two builds of one commit differ");
    let manifest: serde_json::Value = serde_json::from_slice(&first["manifest"]).unwrap();
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_engine_that_is_asked_for_and_not_there_is_an_error_with_a_way_out() {
    if engine_answers() {
        println!("SKIPPED: there is an engine");
        return;
    }
    let fixture = Fixture::start(|config| config.builder = BuilderChoice::Docker).await;
    let repository = Repository::new(fixture.folder.path(), FILES);
    let reason = fixture.fail(repository.request("engine:1")).await;
    assert!(reason.contains("there is no docker engine") && reason.contains("--builder embedded"), "{reason}");
}
