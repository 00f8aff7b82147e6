//! The HTTP API: what the prototype's clients rely on, mistakes of callers, logs, cancelling, limits.

use std::time::Duration;

use futures::StreamExt;
use pyrsia_pipeline::{BuildStatus, BuildView, Phase};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::fixture::{Fixture, Repository, SOON, docker};
use super::upstream::{Content, Reply, Upstream};

/// An upstream whose every answer waits for ever.
async fn silence() -> Upstream {
    Upstream::start(|_, _| Reply { cut_after: Some(0), stalls: true, ..Reply::new(200, "text/plain", "x") }).await
}

async fn error(response: reqwest::Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    let body: Value = response.json().await.unwrap();
    let first = &body["errors"][0];
    (status, first["code"].as_str().unwrap().to_owned(), first["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn mistakes_of_the_caller_are_told_in_a_sentence() {
    let fixture = Fixture::start(|_| {}).await;
    let source = |url: &str, tag: &str| {
        let mut body = docker("a:1");
        body["source_repository"] = json!({ "Git": { "url": url, "tag": tag } });
        body.to_string()
    };
    for (body, status, code) in [
        (String::new(), 400, "BODY_INVALID"),
        ("{".to_owned(), 400, "BODY_INVALID"),
        ("[]".to_owned(), 400, "BODY_INVALID"),
        (json!({"package_type": "Docker"}).to_string(), 400, "BODY_INVALID"),
        (json!({"package_type": "a/b", "package_specific_id": "a"}).to_string(), 400, "PACKAGE_TYPE_INVALID"),
        (json!({"package_type": "Cargo", "package_specific_id": "a@1"}).to_string(), 422, "NO_BUILDER"),
        (json!({"package_type": "Maven2", "package_specific_id": "g:a:v"}).to_string(), 422, "NO_BUILDER"),
        (json!({"package_type": "Docker", "package_specific_id": "a:1", "program": {}}).to_string(), 400, "RECIPE_INVALID"),
        (docker("alpine").to_string(), 400, "NAME_INVALID"),
        (docker("../../etc:1").to_string(), 400, "NAME_INVALID"),
        (docker("alpine@sha256:12").to_string(), 400, "NAME_INVALID"),
        (docker("alpine:3.16.0").to_string(), 422, "NO_MAPPING"),
        (source("--upload-pack=x", "v1"), 400, "SOURCE_INVALID"),
        (source("ext::sh -c x", "v1"), 400, "SOURCE_INVALID"),
        (source("https://git.example/a", "--force"), 400, "SOURCE_INVALID"),
        ("x".repeat(70_000), 413, "TOO_LARGE"),
    ] {
        let (got, name, message) = error(fixture.put(body.clone()).await).await;
        assert_eq!((got, name.as_str()), (status, code), "{body}: {message}");
        assert!(message.len() > 20, "{message}");
    }
    for (path, status, code) in [
        ("/build/nobody", 404, "BUILD_UNKNOWN"),
        ("/build/00000000-0000-4000-8000-000000000000", 404, "BUILD_UNKNOWN"),
        ("/build/00000000-0000-4000-8000-000000000000/log", 404, "BUILD_UNKNOWN"),
        ("/build/00000000-0000-4000-8000-000000000000/artifacts/manifest", 404, "BUILD_UNKNOWN"),
        ("/nothing", 404, "NOT_FOUND"),
    ] {
        let (got, name, _) = error(fixture.get(path).await).await;
        assert_eq!((got, name.as_str()), (status, code), "{path}");
    }
    let wrong_method = fixture.http.post(fixture.url("/build")).send().await.unwrap();
    assert_eq!(error(wrong_method).await.0, 405);
    assert_eq!(fixture.get("/build").await.json::<Vec<BuildView>>().await.unwrap(), []);
}

#[tokio::test]
async fn a_web_page_that_reaches_the_pipeline_can_read_and_not_build() {
    let upstream = silence().await;
    let fixture = Fixture::importing_from(&upstream.url).await;
    let id = fixture.request(docker("a:1")).await;
    let as_page =
        |request: reqwest::RequestBuilder| async { request.header("origin", "http://page.example").send().await.unwrap() };
    let wish = fixture.http.put(fixture.url("/build")).body(docker("a:2").to_string());
    assert_eq!(error(as_page(wish).await).await.0, 403);
    assert_eq!(error(as_page(fixture.http.delete(fixture.url(&format!("/build/{id}")))).await).await.0, 403);
    assert_eq!(fixture.view(&id).await.status, BuildStatus::Running);
    assert_eq!(as_page(fixture.http.get(fixture.url("/status"))).await.status(), StatusCode::OK);
    assert_eq!(fixture.get("/build").await.json::<Vec<BuildView>>().await.unwrap().len(), 1);
}

#[tokio::test]
async fn files_outside_of_the_artifacts_cannot_be_asked_for() {
    let fixture = Fixture::start(|_| {}).await;
    let repository = Repository::new(fixture.folder.path(), &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    let id = fixture.request(repository.request("a:1")).await;
    assert!(matches!(fixture.wait(&id).await.status, BuildStatus::Success { .. }));
    for file in
        ["..%2Frecord.json", "%2e%2e%2frecord.json", "..%2F..%2F..%2Flock", ".", "record.json", "%00", "manifest%2F", "a%20b"]
    {
        let response = fixture.get(&format!("/build/{id}/artifacts/{file}")).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{file}");
        assert!(!response.text().await.unwrap().contains("package_type"), "{file}");
    }
    // What is in the folder but not in the record is not served either.
    let folder = fixture.data().join("builds").join(&id).join("artifacts");
    std::fs::write(folder.join("stray"), "x").unwrap();
    assert_eq!(fixture.get(&format!("/build/{id}/artifacts/stray")).await.status(), StatusCode::NOT_FOUND);
    // A file that lost bytes is not passed off as whole, nor one whose bytes are others.
    let whole = std::fs::read_to_string(folder.join("manifest")).unwrap();
    for damaged in ["{", &whole.replace("sha256:", "sha256;")] {
        std::fs::write(folder.join("manifest"), damaged).unwrap();
        let (status, code, message) = error(fixture.get(&format!("/build/{id}/artifacts/manifest")).await).await;
        assert_eq!((status, code.as_str()), (500, "ARTIFACT_DAMAGED"));
        assert!(message.contains("manifest is damaged on the disk of the pipeline"), "{message}");
    }
}

#[tokio::test]
async fn the_states_of_a_build_have_the_prototypes_answers() {
    let upstream = silence().await;
    let fixture = Fixture::importing_from(&upstream.url).await;
    let id = fixture.request(docker("a:1")).await;
    let running = fixture.wait_until(&id, |view| view.phase == Phase::Fetching).await;
    assert_eq!((running.id.as_str(), running.status), (id.as_str(), BuildStatus::Running));
    let artifact = format!("/build/{id}/artifacts/manifest");
    assert_eq!(fixture.get(&artifact).await.status(), StatusCode::ACCEPTED);

    let cancelled = fixture.http.delete(fixture.url(&format!("/build/{id}"))).send().await.unwrap();
    assert_eq!(cancelled.status(), StatusCode::OK);
    let view: BuildView = cancelled.json().await.unwrap();
    assert_eq!((view.status, view.phase), (BuildStatus::Failure("cancelled".into()), Phase::Done));
    let (status, code, message) = error(fixture.get(&artifact).await).await;
    assert_eq!((status, code.as_str(), message.as_str()), (410, "BUILD_FAILED", "cancelled"));
    let again = fixture.http.delete(fixture.url(&format!("/build/{id}"))).send().await.unwrap();
    assert_eq!(error(again).await.0, 409);
    assert!(!fixture.data().join("builds").join(&id).join("work").exists());
}

#[tokio::test]
async fn a_log_can_be_followed_to_its_end() {
    let upstream = silence().await;
    let fixture = Fixture::importing_from(&upstream.url).await;
    let id = fixture.request(docker("a:1")).await;
    let response = fixture.get(&format!("/build/{id}/log?follow=true")).await;
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    let mut stream = response.bytes_stream();
    let mut text = String::new();
    while !text.contains("importing library/a:1") {
        let piece = tokio::time::timeout(SOON, stream.next()).await.unwrap().expect("the log goes on").unwrap();
        text += std::str::from_utf8(&piece).unwrap();
    }
    fixture.http.delete(fixture.url(&format!("/build/{id}"))).send().await.unwrap();
    while let Some(piece) = tokio::time::timeout(SOON, stream.next()).await.unwrap() {
        text += std::str::from_utf8(&piece.unwrap()).unwrap();
    }
    assert!(text.ends_with("failed: cancelled\n"), "{text}");
    assert_eq!(fixture.log(&id).await, text);
}

#[tokio::test]
async fn builds_wait_in_turn_and_a_full_queue_says_so() {
    let upstream = silence().await;
    let url = upstream.url.parse().unwrap();
    let fixture = Fixture::start(|config| {
        config.upstream = Some(url);
        config.max_concurrent_builds = 1;
        config.max_queued_builds = 1;
    })
    .await;
    let first = fixture.request(docker("a:1")).await;
    fixture.wait_until(&first, |view| view.phase == Phase::Fetching).await;
    let second = fixture.request(docker("a:1")).await;
    assert_ne!(first, second);
    let refused = fixture.put(docker("a:1").to_string()).await;
    assert!(refused.headers().contains_key("retry-after"));
    let (status, code, message) = error(refused).await;
    assert_eq!((status, code.as_str()), (503, "QUEUE_FULL"), "{message}");
    let view = fixture.view(&second).await;
    assert_eq!((view.phase, view.started_at), (Phase::Queued, None));
    let health: Value = fixture.get("/status").await.json().await.unwrap();
    assert_eq!((&health["queued"], &health["running"]), (&json!(1), &json!(1)));

    // A build that waits can be cancelled, and the place of one that ended is the next one's.
    fixture.http.delete(fixture.url(&format!("/build/{second}"))).send().await.unwrap();
    let third = fixture.request(docker("a:1")).await;
    fixture.http.delete(fixture.url(&format!("/build/{first}"))).send().await.unwrap();
    fixture.wait_until(&third, |view| view.phase == Phase::Fetching).await;
}

#[tokio::test]
async fn a_build_that_takes_too_long_is_ended() {
    let upstream = silence().await;
    let url = upstream.url.parse().unwrap();
    let fixture = Fixture::start(|config| {
        config.upstream = Some(url);
        config.build_timeout = Duration::from_millis(200);
    })
    .await;
    let reason = fixture.fail(docker("a:1")).await;
    assert_eq!(reason, "the build took longer than 0.2 seconds (--build-timeout)");
}

#[tokio::test]
async fn only_the_newest_builds_are_kept() {
    let mut content = Content::new("library/a");
    content.image(Some("1"), "amd64", &[]);
    let upstream = Upstream::start(move |request, _| content.answer(request)).await;
    let url = upstream.url.parse().unwrap();
    let fixture = Fixture::start(|config| {
        config.upstream = Some(url);
        config.max_kept_builds = 2;
    })
    .await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        let id = fixture.request(docker("a:1")).await;
        ids.push(id);
    }
    let folders = || std::fs::read_dir(fixture.data().join("builds")).unwrap().count();
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let views: Vec<BuildView> = fixture.get("/build").await.json().await.unwrap();
        if views.len() == 2 && folders() == 2 {
            assert!(views.iter().all(|view| matches!(view.status, BuildStatus::Success { .. })));
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{views:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
