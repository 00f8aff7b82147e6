//! Searching the ledger over HTTP.

use super::fixture::Fixture;
use pyrsia_registry::wire::{SearchOrder, SearchPage};
use serde_json::json;

const IMAGES: [&str; 3] = ["alpine:3.16.0", "alpine:3.17", "busybox:1"];

async fn search(fixture: &Fixture, query: &str) -> SearchPage {
    serde_json::from_value(fixture.json(&format!("/api/v1/search?{query}")).await).expect("a page")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_is_searched_page_by_page_and_says_up_to_where() {
    let fixture = Fixture::founded("http://127.0.0.1:9").await;
    fixture.authorize().await;
    // The pipeline cannot be reached: each build is asked for, committed to and revealed as one that came to nothing.
    for image in IMAGES {
        let wish = json!({"package_type": "docker", "package": image});
        fixture.until("a build is taken", async || fixture.post("/api/v1/builds", &wish).await.0 < 300).await;
    }
    let state = || fixture.node.handle().ledger().state.clone().expect("a network");
    let ended = || state().builds.iter().filter(|(_, build)| build.status.is_closed()).count();
    fixture.until("the builds are over", async || ended() == IMAGES.len()).await;
    let (height, node) = (state().height(), fixture.node.handle().node_id());

    let everything = search(&fixture, "").await;
    assert_eq!(everything.events.len() as u64, state().tree_size());
    assert_eq!((everything.complete, everything.holds_to_height, everything.order), (true, height, SearchOrder::Newest));
    assert_eq!(everything.events.last().map(|found| found.operation.as_str()), Some("NetworkFounded"));

    let alpine = search(&fixture, "q=alpine&type=docker").await;
    let operations: Vec<&str> = alpine.events.iter().rev().map(|found| found.operation.as_str()).collect();
    assert_eq!(operations.iter().filter(|operation| **operation == "BuildRequested").count(), 2, "{operations:?}");
    assert_eq!(alpine.events.len(), 6);
    assert!(alpine.events.iter().all(|found| found.package.as_deref().is_some_and(|package| package.starts_with("alpine:"))));
    let reveal = alpine.events.iter().find(|found| found.operation == "BuildResultRevealed").expect("a result");
    let view = serde_json::to_value(reveal).expect("JSON");
    assert_eq!((&view["stands"], &view["package_type"]), (&json!("abstained"), &json!("docker")));
    assert!(reveal.says.contains("revealed its result of build"), "{}", reveal.says);

    // Page by page, from the other end.
    let (mut pages, mut cursor) = (vec![], String::new());
    loop {
        let page = search(&fixture, &format!("coordinate=alpine&order=oldest&limit=4{cursor}")).await;
        assert!(page.events.len() <= 4);
        pages.extend(page.events);
        match page.cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break assert!(page.complete),
        }
    }
    pages.reverse();
    assert_eq!(pages, alpine.events);

    let first = &alpine.events[0];
    for (query, count) in [
        (format!("sha256={}", first.event.id), 1),
        (format!("q={}", first.build_id.expect("a build")), 3),
        (format!("builder={node}&role=asked"), 3),
        (format!("builder={node}&role=agreed"), 0),
        (format!("operation=buildrequested&from={}&to={}", first.height, first.height), 0),
        (format!("since=2020-01-01&until=2020-01-02&q={node}"), 0),
        ("operation=NetworkFounded&until=2999-12-31".to_owned(), 1),
        ("coordinate=%2Anothing%2A".to_owned(), 0),
    ] {
        let page = search(&fixture, &query).await;
        assert_eq!((page.events.len(), page.complete), (count, true), "{query}");
        assert!(page.holds_to_height >= height);
    }
    for (query, words) in [
        ("sha256=1", "sha256: a sha256 digest is"),
        ("operation=delete", "NetworkFounded, NodeAuthorizationApproved"),
        ("since=now", "such as 2026-11-21"),
        ("limit=9999", "a number from 1 to 1000"),
        ("q=a%20b%20c", "one word too many"),
        ("colour=red", "unknown field `colour`"),
        ("from=3&to=2", "ends before it begins"),
        ("coordinate=%00%0a%ff", "coordinate"),
    ] {
        let response = fixture.get(&format!("/api/v1/search?{query}")).await;
        assert_eq!(response.status(), 400, "{query}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let said = response.text().await.expect("text");
        assert!(said.contains(words), "{query}: {said}");
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_network_nothing_is_said_to_be_absent() {
    let fixture = Fixture::without_network().await;
    assert_eq!(fixture.get("/api/v1/search?q=alpine").await.status(), 503);
    assert_eq!(fixture.get("/api/v1/search?sha256=x").await.status(), 400);
    fixture.stop().await;
}
