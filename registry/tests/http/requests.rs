//! What every answer says of its request, and what is counted of it.

use super::fixture::Fixture;
use serde_json::Value;

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
