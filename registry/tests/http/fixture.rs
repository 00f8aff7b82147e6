//! A lone node with its registry, and a client.

use pyrsia_node::bucket::BucketConfig;
use pyrsia_node::p2p::{NetworkConfig, Rate};
use pyrsia_node::{Multiaddr, Node, NodeConfig};
use pyrsia_registry::{Registry, RegistryConfig};
use reqwest::{Method, Response};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) const TOKEN: &str = "the-admin-token-of-this-test";
/// How long anything may take that a test waits for.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Fixture {
    pub(super) node: Node,
    pub(super) registry: Registry,
    pub(super) client: reqwest::Client,
    pub(super) folder: tempfile::TempDir,
}

impl Fixture {
    /// A node that follows no network.
    pub(super) async fn without_network() -> Self {
        Self::start(None, vec![], "http://127.0.0.1:9", &[]).await
    }

    /// A node that follows the network of another one and builds nothing.
    pub(super) async fn following(other: &Self) -> Self {
        let peer = other.node.handle().addresses()[0].clone();
        Self::start(None, vec![peer], "http://127.0.0.1:9", &[]).await
    }

    /// A node that has founded a network.
    pub(super) async fn founded(pipeline_url: &str) -> Self {
        Self::founded_with(pipeline_url, &[]).await
    }

    /// Such a node, in whose folder of verifiers somebody dropped `modules`.
    pub(super) async fn founded_with(pipeline_url: &str, modules: &[(&str, Vec<u8>)]) -> Self {
        Self::start(Some("test".to_owned()), vec![], pipeline_url, modules).await
    }

    /// A node that follows no network, with a bucket in its folder.
    pub(super) async fn with_bucket() -> Self {
        Self::start_in(None, vec![], "http://127.0.0.1:9", &[], true, NetworkConfig::default()).await
    }

    /// A node that has founded a network and sends artifacts to other nodes at this rate.
    pub(super) async fn founded_with_upload(pipeline_url: &str, rate: Rate) -> Self {
        let network = NetworkConfig { upload_rate: Some(rate), ..NetworkConfig::default() };
        Self::start_in(Some("test".to_owned()), vec![], pipeline_url, &[], false, network).await
    }

    async fn start(init_network: Option<String>, peers: Vec<Multiaddr>, pipeline_url: &str, modules: &[(&str, Vec<u8>)]) -> Self {
        Self::start_in(init_network, peers, pipeline_url, modules, false, NetworkConfig::default()).await
    }

    async fn start_in(
        init_network: Option<String>,
        peers: Vec<Multiaddr>,
        pipeline_url: &str,
        modules: &[(&str, Vec<u8>)],
        has_bucket: bool,
        network: NetworkConfig,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let verifiers = folder.path().join("verifiers");
        std::fs::create_dir(&verifiers).expect("a folder of verifiers");
        for (name, module) in modules {
            std::fs::write(verifiers.join(name), module).expect("a module");
        }
        let bucket = has_bucket.then(|| {
            let folder = folder.path().join("bucket-of-test");
            std::fs::create_dir(&folder).expect("a folder for the bucket");
            let url = format!("file://{}", folder.display()).parse().expect("a URL");
            BucketConfig { url, endpoint: None, region: None, credentials: None, allow_http: false }
        });
        let config = NodeConfig {
            bucket,
            network,
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().expect("a multiaddress")],
            listen_only: peers.is_empty(),
            peers,
            init_network,
            pipeline_endpoint: pipeline_url.parse().expect("a URL"),
            verifiers_path: Some(verifiers),
            pipeline_patience: Duration::from_secs(1),
            ..NodeConfig::new(folder.path())
        };
        let node = Node::start(config).await.expect("the node starts");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = RegistryConfig::new(address, TOKEN.to_owned());
        let registry = Registry::start(node.handle(), config).await.expect("the registry starts");
        Self { node, registry, client: reqwest::Client::new(), folder }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.registry.address())
    }

    pub(super) async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.expect("an answer")
    }

    pub(super) async fn head(&self, path: &str) -> Response {
        self.client.head(self.url(path)).send().await.expect("an answer")
    }

    pub(super) async fn text(&self, path: &str) -> String {
        self.get(path).await.text().await.expect("text")
    }

    pub(super) async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.expect("JSON")
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(Method::POST, path, Some(TOKEN), &body.to_string()).await
    }

    /// The status and the JSON of an answer; null when it has no body.
    pub(super) async fn send(&self, method: Method, path: &str, token: Option<&str>, body: &str) -> (u16, Value) {
        let mut request = self.client.request(method, self.url(path)).body(body.to_owned());
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let text = response.text().await.expect("text");
        let json =
            if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}")) };
        (status, json)
    }

    /// Sends bytes as they are and reads until the server closes.
    pub(super) async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.registry.address()).await.expect("connects");
        stream.write_all(request).await.expect("is taken");
        let mut answer = vec![];
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes");
        read.expect("reads");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Makes the node an authorized node, and waits until builds of every type it knows can be asked for.
    pub(super) async fn authorize(&self) {
        let (status, answer) = self.post("/authorized_node", &serde_json::json!({"peer_id": self.node.handle().node_id()})).await;
        assert_eq!(status, 201, "{answer}");
        self.until("the verifiers are approved", async || {
            let network = self.json("/api/v1/network").await;
            let list = |field: &str| network[field].as_array().expect("a list").clone();
            let current = list("verifiers").into_iter().filter(|verifier| verifier["current"] == true).count();
            current == list("package_types").len()
        })
        .await;
    }

    pub(super) async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let begun = Instant::now();
        while !holds().await {
            assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) async fn stop(self) {
        self.registry.stop().await;
        self.node.stop().await;
    }
}
