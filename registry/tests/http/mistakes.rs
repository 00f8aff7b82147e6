//! Every mistake of a caller gets a status that says whose it is and a sentence that says what to do.

use super::fixture::{Fixture, TOKEN};
use reqwest::Method;
use serde_json::{Value, json};

/// The sentence of an error in each of the three forms.
fn sentence(body: &Value) -> &str {
    body["errors"][0]["message"].as_str().or(body["detail"].as_str()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_of_a_caller_are_answered_with_a_sentence() {
    let fixture = Fixture::founded("http://127.0.0.1:9").await;
    let long = format!(r#"{{"image":"{}"}}"#, "a".repeat(9_000));
    let cases: &[(Method, &str, &str, u16, &str)] = &[
        (Method::GET, "/nothing", "", 404, "there is nothing at /nothing"),
        (Method::GET, "/api/v1/nothing", "", 404, "there is nothing"),
        (Method::DELETE, "/status", "", 405, "takes GET"),
        (Method::GET, "/build/docker", "", 405, "takes POST"),
        (Method::POST, "/build/docker", "", 400, "not the JSON that is expected"),
        (Method::POST, "/build/docker", "{", 400, "not the JSON that is expected"),
        (Method::POST, "/build/docker", r#"{"gav":"g:a:1"}"#, 400, "missing field `image`"),
        (Method::POST, "/build/docker", r#"{"image":7}"#, 400, "invalid type"),
        (Method::POST, "/build/docker", &long, 413, "longer than 8192 bytes"),
        (Method::POST, "/build/docker", r#"{"image":"UPPER:1"}"#, 400, "UPPER:1"),
        (Method::POST, "/build/docker", r#"{"image":"alpine:3.16.0"}"#, 503, "No authorized nodes found"),
        (Method::POST, "/build/cobol", r#"{"package":"x"}"#, 404, "is no package type of this node"),
        (Method::POST, "/build/status", r#"{"build_id":"x"}"#, 400, "a build id is a UUID"),
        (Method::POST, "/build/status", r#"{"build_id":"c9ca3e57-aa84-8fab-a8be-381ab31e4916"}"#, 404, "no build with ID"),
        (Method::POST, "/inspect/docker", r#"{"image":"x","output_params":{"content":{"fields":["Foo"]}}}"#, 400, "Foo"),
        (Method::POST, "/authorized_node", r#"{"peer_id":"notapeer"}"#, 400, "PeerId has invalid format: notapeer"),
        (Method::GET, "/api/v1/builds", "", 400, "missing field"),
        (Method::GET, "/api/v1/builds/x", "", 400, "a build id is a UUID"),
        (Method::GET, "/api/v1/blocks/x", "", 400, "not the height of a block"),
        (Method::GET, "/api/v1/blocks/18446744073709551615", "", 404, "has no block"),
        (Method::GET, "/api/v1/packages/docker", "", 400, "missing field"),
        (Method::GET, "/v2/UPPER/manifests/1", "", 400, "is not an image name"),
        (Method::GET, "/v2/a/manifests/.1", "", 404, "is not a tag"),
        (Method::GET, "/v2/a/blobs/sha256:1", "", 400, "is not a digest"),
        (Method::GET, "/v2/a/unheard/of", "", 404, "there is nothing"),
        (Method::GET, "/v2/a/manifests/1?ns=registry.example", "", 404, "mirrors docker.io"),
        (Method::GET, "/v2/a/tags/list", "", 404, "no image a is published"),
        (Method::PUT, "/v2/a/manifests/1", "{}", 405, "nothing can be pushed here"),
        (Method::PUT, "/v2/a/manifests/sha256:1", "{}", 400, "is not a digest"),
        (Method::POST, "/v2/a/blobs/uploads/", "", 405, "nothing can be pushed here"),
    ];
    for (method, path, body, status, words) in cases {
        let (found, answer) = fixture.send(method.clone(), path, Some(TOKEN), body).await;
        assert_eq!(found, *status, "{method} {path} {body}: {answer}");
        assert!(sentence(&answer).contains(words), "{method} {path} {body}: {answer}");
    }
    let unsupported =
        fixture.client.post(fixture.url("/build/docker")).header("content-type", "text/plain").body("{}").send().await;
    assert_eq!(unsupported.expect("an answer").status(), 415);
    let other_site =
        fixture.client.post(fixture.url("/build/docker")).header("origin", "https://site.example").body("{}").send().await;
    assert_eq!(other_site.expect("an answer").status(), 403);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_path_or_header_leads_out_of_the_grammar_or_stops_the_server() {
    let fixture = Fixture::without_network().await;
    let paths = [
        "/v2/../../etc/passwd",
        "/v2/a/%2e%2e/manifests/1",
        "/v2/a%2fb/manifests/1",
        "/v2//manifests/1",
        "/v2/a/blobs/sha256:../../../etc/passwd",
        "/v2/a%00/manifests/1",
        "/v2/%ff/manifests/1",
        "/v2/a\\b/manifests/1",
        "/v2/v2/v2/",
        "//v2/",
        "/%2e%2e/status",
    ];
    for path in paths {
        let answer = fixture.raw(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 40"), "{path}: {answer}");
    }
    let huge = format!("GET /status HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(100_000));
    assert!(fixture.raw(huge.as_bytes()).await.starts_with("HTTP/1.1 431"));
    assert!(fixture.raw(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    assert_eq!(fixture.get("/livez").await.status(), 200);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_network_serves_what_it_can_and_says_what_it_lacks() {
    let fixture = Fixture::without_network().await;
    assert_eq!(fixture.get("/livez").await.status(), 200);
    let (status, answer) = fixture.send(Method::GET, "/readyz", None, "").await;
    assert_eq!(status, 503);
    assert!(sentence(&answer).contains("--init-blockchain"), "{answer}");
    assert_eq!(fixture.json("/status").await["network"], Value::Null);
    for path in ["/v2", "/v2/"] {
        let response = fixture.get(path).await;
        assert_eq!(response.headers()["docker-distribution-api-version"], "registry/2.0");
        assert_eq!(response.json::<Value>().await.expect("JSON"), json!({}));
    }
    let (status, answer) = fixture.send(Method::GET, "/v2/alpine/manifests/3.16.0", None, "").await;
    assert!(matches!(status, 404 | 503), "{answer}");
    assert!(sentence(&answer).contains("no network"), "{answer}");
    fixture.stop().await;
}
