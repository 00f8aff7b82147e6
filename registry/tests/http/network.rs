//! Who may change the network, and what is shown of it.

use super::fixture::Fixture;
use pyrsia_registry::wire::{
    ApproveVerifierResponse, AuthorizationState, AuthorizeResponse, BlocksPage, NetworkView, NodeStatus,
};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_knows_the_token_can_authorize_a_node() {
    let fixture = Fixture::founded("http://127.0.0.1:9").await;
    let node = fixture.node.handle().node_id();
    let body = json!({"peer_id": node}).to_string();
    for path in ["/authorized_node", "/api/v1/authorizations"] {
        for token in [None, Some("guess")] {
            let (status, answer) = fixture.send(Method::POST, path, token, &body).await;
            assert_eq!(status, 401, "{answer}");
            assert!(answer.to_string().contains("PYRSIA_ADMIN_TOKEN"), "{answer}");
        }
    }
    let (status, answer) = fixture.post("/authorized_node/", &json!({"peer_id": node})).await;
    assert_eq!(status, 201, "{answer}");
    let answer: AuthorizeResponse = serde_json::from_value(answer).expect("the answer");
    assert_eq!((answer.state, answer.members), (AuthorizationState::Active, 1));

    let (status, again) = fixture.post("/authorized_node", &json!({"peer_id": node})).await;
    assert_eq!(status, 400);
    let words = format!("Node with node ID {node} already exists in transparency log");
    assert_eq!(again, json!({"errors": [{"code": "BAD_REQUEST", "message": words}]}));

    // What is shown of agreement follows the block by a moment.
    fixture.until("the validator is shown", async || fixture.json("/api/v1/network").await["consensus"]["validators"] == 1).await;
    let network: NetworkView = serde_json::from_value(fixture.json("/api/v1/network").await).expect("a network");
    assert_eq!(network.members.iter().map(|member| member.node).collect::<Vec<_>>(), [node]);
    assert_eq!((network.consensus.quorum, network.consensus.validators, network.peers_count), (1, 1, 0));
    assert!(!network.consensus.is_halted && network.consensus.running.is_none(), "{:?}", network.consensus);
    let status: NodeStatus = serde_json::from_value(fixture.json("/api/v1/status").await).expect("a status");
    assert_eq!(status.consensus, Some(network.consensus), "both tell the same of a network at rest");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_node_shows_of_itself_has_the_form_that_clients_expect() {
    let fixture = Fixture::founded("http://127.0.0.1:9").await;
    let status = fixture.json("/status").await;
    assert_eq!(status["peers_count"], 0);
    let status: NodeStatus = serde_json::from_value(status).expect("a status");
    assert_eq!(status.peer_id, fixture.node.handle().node_id());
    assert!(status.peer_addrs[0].ends_with(&format!("/p2p/{}", status.peer_id)), "{:?}", status.peer_addrs);
    assert_eq!(status.network_name.as_deref(), Some("test"));

    let peers = fixture.get("/peers").await;
    assert_eq!(peers.headers()["content-type"], "application/json");
    assert_eq!(peers.text().await.expect("text"), "[]");

    let page: BlocksPage = serde_json::from_value(fixture.json("/api/v1/blocks").await).expect("a page");
    assert_eq!(page.blocks[0].events[0].kind, "NetworkFounded");
    assert_eq!(page.blocks[0].events[0].body["name"], "test");
    assert_eq!(fixture.json("/api/v1/blocks/0").await["hash"], json!(page.blocks[0].hash));

    let metrics = fixture.get("/metrics").await;
    assert!(metrics.headers()["content-type"].to_str().expect("text").starts_with("application/openmetrics-text"));
    let metrics = metrics.text().await.expect("text");
    assert!(metrics.contains("pyrsia_http_requests_total") && metrics.ends_with("# EOF\n"), "{metrics}");
    let document: Value = fixture.json("/api/v1/openapi.json").await;
    assert_eq!(document["openapi"], "3.1.0");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_registry_gives_its_port_back() {
    let fixture = Fixture::without_network().await;
    let address = fixture.registry.address();
    assert_eq!(fixture.get("/livez").await.status(), 200);
    fixture.stop().await;
    std::net::TcpListener::bind(address).expect("the port is free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_knows_the_token_can_approve_a_verifier_and_only_one_the_node_has() {
    let fixture = Fixture::founded("http://127.0.0.1:9").await;
    fixture.authorize().await;
    let network: NetworkView = serde_json::from_value(fixture.json("/api/v1/network").await).expect("a network");
    let module = network.verifiers[0].module;
    let body = json!({"module": module}).to_string();
    for token in [None, Some("guess")] {
        assert_eq!(fixture.send(Method::POST, "/api/v1/verifiers", token, &body).await.0, 401);
    }
    let (status, answer) = fixture.post("/api/v1/verifiers", &json!({"module": module})).await;
    assert_eq!(status, 201, "{answer}");
    let answer: ApproveVerifierResponse = serde_json::from_value(answer).expect("the answer");
    assert_eq!((answer.approvals, answer.needed, answer.current), (1, 1, true));
    let (status, answer) = fixture.post("/api/v1/verifiers", &json!({"module": "0".repeat(64)})).await;
    assert_eq!(status, 404, "{answer}");
    assert_eq!(fixture.post("/api/v1/verifiers", &json!({"module": "docker"})).await.0, 400);
    fixture.stop().await;
}
