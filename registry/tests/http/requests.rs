//! What every answer says of its request, and what is counted of it.

use super::fixture::Fixture;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_carries_the_id_of_its_request_and_so_does_a_problem() {
    let fixture = Fixture::without_network().await;
    for path in ["/livez", "/v2/", "/nowhere", "/maven2/org/example/demo/1.0/demo-1.0.jar", "/api/v1/nowhere"] {
        let asked = fixture.client.get(fixture.url(path)).header("x-request-id", "ab-1");
        assert_eq!(asked.send().await.expect("an answer").headers()["x-request-id"], "ab-1", "{path}");
        let unfit = fixture.client.get(fixture.url(path)).header("x-request-id", "a".repeat(65));
        assert_eq!(unfit.send().await.expect("an answer").headers()["x-request-id"].len(), 36, "{path}");
    }
    let problem = fixture.client.get(fixture.url("/api/v1/nowhere")).header("x-request-id", "ab-2");
    let problem: Value = problem.send().await.expect("an answer").json().await.expect("a problem");
    assert_eq!(problem["request_id"], "ab-2");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_counted_by_handler_method_and_code_and_never_by_path() {
    let fixture = Fixture::founded("http://127.0.0.1:9").await;
    assert_eq!(fixture.get("/v2/library/secret-name/manifests/1.0").await.status(), 404);
    assert_eq!(fixture.head("/livez").await.status(), 200);
    fixture
        .until("both are counted", async || {
            let metrics = fixture.text("/metrics").await;
            assert!(!metrics.contains("secret-name"), "{metrics}");
            [
                r#"pyrsia_http_requests_total{handler="docker",method="GET",code="404"} 1"#,
                r#"pyrsia_http_requests_total{handler="management",method="HEAD",code="200"} 1"#,
                r#"pyrsia_http_request_duration_seconds_count{handler="docker"} 1"#,
                "pyrsia_http_requests_in_flight 1",
            ]
            .iter()
            .all(|line| metrics.contains(line))
        })
        .await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pipeline_is_asked_under_the_id_of_the_request() {
    let pipeline = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let fixture = Fixture::founded(&format!("http://{}", pipeline.local_addr().expect("bound"))).await;
    fixture.authorize().await;
    let asked = tokio::spawn(async move {
        let (stream, _) = pipeline.accept().await.expect("the node asks");
        let (mut stream, mut head) = (BufReader::new(stream), String::new());
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).await.expect("reads") > 0, "{head}");
        }
        stream.write_all(b"HTTP/1.1 422 Unprocessable Content\r\ncontent-length: 0\r\n\r\n").await.expect("is taken");
        head
    });
    let body = json!({"image": "library/hello:1.0"}).to_string();
    let wish = fixture.client.post(fixture.url("/build/docker")).header("x-request-id", "ab-3");
    let wish = wish.header("content-type", "application/json").body(body);
    assert_eq!(wish.send().await.expect("an answer").status(), 422);
    let head = asked.await.expect("no panic");
    assert!(head.starts_with("PUT /mapping ") && head.contains("x-request-id: ab-3\r\n"), "{head}");
    fixture.stop().await;
}
