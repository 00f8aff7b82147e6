//! A package type of which the node was told by a module in its folder alone: built, inspected and served as if it had always been there.

use super::fixture::{Fixture, TOKEN};
use super::guest::{self, MEDIA_TYPE, NO_DOCUMENT, SYNTAX};
use super::pipeline::{Pipeline, REVISION};
use pyrsia_ledger::Sha256Digest;
use pyrsia_registry::{Registry, RegistryConfig};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

const CONTENT: &[u8] = b"0123456789";

async fn fixture() -> (Fixture, Pipeline) {
    let pipeline = Pipeline::start(BTreeMap::from([("file".to_owned(), CONTENT.to_vec())])).await;
    let fixture = Fixture::founded_with(&pipeline.url, &[("demo.wasm", guest::component())]).await;
    fixture.authorize().await;
    (fixture, pipeline)
}

/// Asks for a build under any word for the type, and waits until it is published; gives what the seed documents' status says then.
async fn publish(fixture: &Fixture, word: &str, package: &str) -> Value {
    let (status, answer) = fixture.post(&format!("/build/{word}"), &json!({ "package": package })).await;
    assert_eq!((status, &answer["message"]), (200, &Value::Null), "{answer}");
    let mut last = Value::Null;
    fixture
        .until("the build is done", async || {
            last = fixture.post("/build/status", &json!({"build_id": answer["build_id"]})).await.1;
            last != json!("Running")
        })
        .await;
    last
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

/// What a refusal says, which must have the form of a problem.
async fn problem(response: Response, status: u16) -> String {
    assert_eq!((response.status().as_u16(), header(&response, "content-type")), (status, "application/problem+json"));
    let problem: Value = response.json().await.expect("JSON");
    assert_eq!(problem["status"], status);
    problem["detail"].as_str().expect("a sentence").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artifact_of_a_dropped_in_type_is_built_on_a_miss_and_served_with_all_that_http_has() {
    let (fixture, _pipeline) = fixture().await;
    let path = "/demo/a/left@1.0";
    let missed = fixture.get(path).await;
    assert_eq!(header(&missed, "cache-control"), "no-cache");
    let sentence = problem(missed, 404).await;
    assert!(sentence.contains("a build was requested") && sentence.contains("pyrsia inspect-log demo left@1.0"), "{sentence}");
    fixture.until("the artifact is there", async || fixture.head(path).await.status() == 200).await;

    let etag = format!("\"{}\"", Sha256Digest::of(CONTENT).to_oci());
    for spelt in [path, "/demo/a%2Fleft%401.0", "/demo/a/left@1.0/", "/dm/a/left@1.0?query"] {
        let response = fixture.get(spelt).await;
        assert_eq!((response.status().as_u16(), header(&response, "content-type")), (200, MEDIA_TYPE), "{spelt}");
        assert_eq!((header(&response, "etag"), header(&response, "content-length")), (&*etag, "10"), "{spelt}");
        assert_eq!(header(&response, "content-security-policy"), "sandbox; default-src 'none'");
        assert_eq!(response.bytes().await.expect("the body"), CONTENT);
    }
    let head = fixture.head(path).await;
    assert_eq!((header(&head, "content-length"), header(&head, "accept-ranges"), header(&head, "etag")), ("10", "bytes", &*etag));
    assert_eq!(head.bytes().await.expect("no body").len(), 0);
    let asked = async |name: &str, value: &str| {
        fixture.client.get(fixture.url(path)).header(name, value).send().await.expect("an answer")
    };
    let part = asked("range", "bytes=2-4").await;
    assert_eq!((part.status().as_u16(), header(&part, "content-range")), (206, "bytes 2-4/10"));
    assert_eq!(part.bytes().await.expect("the part"), "234");
    assert_eq!(asked("range", "bytes=10-").await.status(), 416);
    let same = asked("if-none-match", &etag).await;
    assert_eq!((same.status().as_u16(), header(&same, "etag"), header(&same, "cache-control")), (304, &*etag, "no-cache"));

    let none = problem(fixture.get("/demo/x").await, 404).await;
    assert_eq!(none, "no demo package has the path /x");
    problem(fixture.get("/demo").await, 404).await;
    problem(fixture.get(&format!("/demo/{}", "a".repeat(3_000))).await, 414).await;
    let posted = fixture.client.post(fixture.url(path)).send().await.expect("an answer");
    assert_eq!(header(&posted, "allow"), "GET, HEAD");
    problem(posted, 405).await;
    // A client of this kind would resolve the steps itself.
    for step in ["..", "%2e%2E", "a%2f..", "."] {
        let request = format!("GET /demo/{step}/a/left@1.0 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = fixture.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("steps `.` and `..`"), "{step}: {answer}");
    }
    let builds = fixture.json("/api/v1/builds?package_type=demo&id=left@1.0").await;
    assert_eq!(builds.as_array().map(Vec::len), Some(1), "one miss and one build: {builds}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_in_type_has_the_management_api_of_every_other() {
    let (fixture, _pipeline) = fixture().await;
    let types = fixture.json("/api/v1/package-types").await;
    let demo = types.as_array().expect("a list").iter().find(|listed| listed["name"] == "demo").expect("the type");
    assert_eq!((&demo["examples"], &demo["aliases"]), (&json!(["left@1.0"]), &json!(["dm"])));
    let known: Vec<&str> = types.as_array().expect("a list").iter().filter_map(|listed| listed["name"].as_str()).collect();

    let done = publish(&fixture, "dm", "left@1.0").await;
    let urls = done["Success"]["artifact_urls"].as_array().unwrap_or_else(|| panic!("{done}")).clone();
    assert_eq!(urls, ["/api/v1/artifacts/demo?id=left%401.0"]);
    let response = fixture.get(urls[0].as_str().expect("a path")).await;
    assert_eq!((response.status().as_u16(), header(&response, "content-type")), (200, MEDIA_TYPE));
    assert_eq!(response.bytes().await.expect("the body"), CONTENT);
    problem(fixture.get("/api/v1/artifacts/demo?id=right@1.0").await, 404).await;
    problem(fixture.get("/api/v1/artifacts/demo?id=a%20b").await, 400).await;

    let (status, records) = fixture.post("/inspect/demo", &json!({"package": "left@1.0"})).await;
    let record = &records[0];
    assert_eq!((status, &record["package_type"], &record["source_hash"]), (200, &json!("Demo"), &json!(REVISION)), "{records}");
    assert_eq!((&record["package_specific_id"], &record["num_artifacts"]), (&json!("left@1.0"), &json!(1)));
    assert_eq!(fixture.json("/api/v1/packages/dm?id=left@1.0").await["package_type"], "demo");
    let again = fixture.post("/api/v1/builds", &json!({"package_type": "DM", "package": "left@1.0"})).await;
    assert_eq!((again.0, &again.1["state"], &again.1["package_type"]), (200, &json!("already_published"), &json!("demo")));

    for path in ["/build/demo", "/inspect/demo"] {
        let (status, answer) = fixture.post(path, &json!({"package": "left"})).await;
        let sentence = answer["errors"][0]["message"].as_str().expect("a sentence");
        assert!(status == 400 && sentence.ends_with(&format!("{SYNTAX} For example: left@1.0")), "{path}: {sentence}");
        let (status, answer) = fixture.post(&path.replace("demo", "cobol"), &json!({"package": "left"})).await;
        let sentence = answer["errors"][0]["message"].as_str().expect("a sentence");
        assert!(status == 404 && known.iter().all(|name| sentence.contains(name)), "{path}: {sentence}");
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_is_made_of_what_is_published_with_links_to_the_node_as_the_client_knows_it() {
    let (fixture, _pipeline) = fixture().await;
    assert_eq!(problem(fixture.get("/demo/d/left@").await, 404).await, NO_DOCUMENT);
    publish(&fixture, "demo", "left@1.0").await;
    publish(&fixture, "demo", "right@1.0").await;

    let first = fixture.get("/demo/d/left@").await;
    assert_eq!((first.status().as_u16(), header(&first, "content-type")), (200, "text/plain"));
    assert_eq!((header(&first, "cache-control"), header(&first, "vary")), ("no-cache", "host"));
    let (etag, length) = (header(&first, "etag").to_owned(), header(&first, "content-length").to_owned());
    let address = fixture.registry.address();
    let text = first.text().await.expect("text");
    assert_eq!(text, format!("http://{address}/demo\nleft@1.0 0123456789"));
    let head = fixture.head("/demo/d/left@").await;
    assert_eq!((header(&head, "etag"), header(&head, "content-length")), (&*etag, &*length));
    let asked = async |name: &str, value: &str| {
        fixture.client.get(fixture.url("/demo/d/left@")).header(name, value).send().await.expect("an answer")
    };
    assert_eq!(asked("if-none-match", &etag).await.status(), 304);

    publish(&fixture, "demo", "left@1.1").await;
    let second = asked("if-none-match", &etag).await;
    assert_eq!(second.status(), 200, "it changed with what is published");
    assert_eq!(second.text().await.expect("text"), format!("{text}\nleft@1.1 -"), "only files it asked for are lent");
    let of_everything = problem(fixture.get("/demo/d/").await, 500).await;
    assert!(of_everything.contains("the verifier gave no answer"), "{of_everything}");

    let named = asked("host", "node.example:80").await.text().await.expect("text");
    assert!(named.starts_with("http://node.example:80/demo\n"), "{named}");
    let forwarded = asked("x-forwarded-host", "evil.example").await.text().await.expect("text");
    assert!(forwarded.starts_with(&text), "{forwarded}");
    problem(asked("host", "a\"b").await, 400).await;

    // A second HTTP side of the same node, behind a proxy.
    let config = RegistryConfig {
        public_url: Some("https://packages.example/".to_owned()),
        ..RegistryConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), TOKEN.to_owned())
    };
    let proxied = Registry::start(fixture.node.handle(), config).await.expect("the registry starts");
    let url = format!("http://{}/demo/d/left@", proxied.address());
    let linked = fixture.client.request(Method::GET, url).send().await.expect("an answer").text().await.expect("text");
    assert!(linked.starts_with("https://packages.example/demo\n"), "{linked}");
    proxied.stop().await;
    fixture.stop().await;
}
