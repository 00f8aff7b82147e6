//! Restarts and crashes: finished builds stay, unfinished ones end with a reason.

use std::path::Path;

use pyrsia_pipeline::{BuildStatus, Phase, Pipeline, ServeError};
use reqwest::StatusCode;

use super::fixture::{Fixture, Repository, config, docker};
use super::upstream::{Reply, Upstream};

const INTERRUPTED: &str = "interrupted by a restart or a fault of the pipeline";

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn finished_builds_outlive_a_restart() {
    let mut fixture = Fixture::start(|_| {}).await;
    let repository = Repository::new(fixture.folder.path(), &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    let id = fixture.request(repository.request("a:1")).await;
    let before = fixture.wait(&id).await;
    let manifest = format!("/build/{id}/artifacts/manifest");
    let bytes = fixture.get(&manifest).await.bytes().await.unwrap();
    let log = fixture.log(&id).await;
    fixture.restart().await;
    assert_eq!(fixture.view(&id).await, before);
    assert_eq!(fixture.get(&manifest).await.bytes().await.unwrap(), bytes);
    assert_eq!(fixture.log(&id).await, log);
    let followed = fixture.get(&format!("/build/{id}/log?follow=true")).await.text().await.unwrap();
    assert_eq!(followed, log);
}

#[tokio::test]
async fn builds_that_a_crash_or_a_stop_interrupts_end_with_that_reason() {
    let upstream = Upstream::start(|_, _| Reply { cut_after: Some(0), stalls: true, ..Reply::new(200, "text/plain", "x") }).await;
    let url: url::Url = upstream.url.parse().unwrap();
    let mut fixture = Fixture::start(|config| {
        config.upstream = Some(url);
        config.max_concurrent_builds = 1;
    })
    .await;
    let running = fixture.request(docker("a:1")).await;
    let queued = fixture.request(docker("a:2")).await;
    fixture.wait_until(&running, |view| view.phase == Phase::Fetching).await;

    // What is on the disk at this moment is what a crash would leave.
    let left = fixture.folder.path().join("left");
    copy(&fixture.data(), &left);
    std::fs::write(left.join("builds").join(&running).join("artifacts/manifest"), "{}").unwrap();
    let survivor = Pipeline::start(config(&left)).await.unwrap();
    for id in [&running, &queued] {
        let url = format!("{}/build/{id}", survivor.url());
        let view: pyrsia_pipeline::BuildView = fixture.http.get(url).send().await.unwrap().json().await.unwrap();
        assert_eq!((view.status, view.phase), (BuildStatus::Failure(INTERRUPTED.into()), Phase::Interrupted));
        assert!(!left.join("builds").join(id).join("work").exists());
        assert_eq!(std::fs::read_dir(left.join("builds").join(id).join("artifacts")).unwrap().count(), 0);
        let artifact = format!("{}/build/{id}/artifacts/manifest", survivor.url());
        assert_eq!(fixture.http.get(artifact).send().await.unwrap().status(), StatusCode::GONE);
    }
    survivor.stop().await.unwrap();

    fixture.restart().await;
    for id in [&running, &queued] {
        let view = fixture.view(id).await;
        assert_eq!((view.status, view.phase), (BuildStatus::Failure(INTERRUPTED.into()), Phase::Interrupted));
    }
}

#[tokio::test]
async fn a_build_whose_record_cannot_be_written_counts_as_interrupted_and_not_as_failed() {
    let upstream = Upstream::start(|_, _| Reply { cut_after: Some(0), stalls: true, ..Reply::new(200, "text/plain", "x") }).await;
    let fixture = Fixture::importing_from(&upstream.url).await;
    let id = fixture.request(docker("a:1")).await;
    fixture.wait_until(&id, |view| view.phase == Phase::Fetching).await;
    // A folder in the place of the file that the record is written to.
    std::fs::create_dir(fixture.data().join("builds").join(&id).join("record.json.new")).unwrap();
    fixture.http.delete(fixture.url(&format!("/build/{id}"))).send().await.unwrap();
    let view = fixture.wait(&id).await;
    assert_eq!((view.status, view.phase), (BuildStatus::Failure(INTERRUPTED.into()), Phase::Interrupted));
}

#[tokio::test]
async fn a_data_directory_belongs_to_one_pipeline() {
    let fixture = Fixture::start(|_| {}).await;
    let second = Pipeline::start(config(&fixture.data())).await;
    assert!(matches!(second, Err(ServeError::DataDirInUse { .. })));
}
