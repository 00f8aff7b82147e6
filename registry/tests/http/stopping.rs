//! What clients notice of a node that stops: load balancers, idle ones, and one in the middle of a large blob.

use super::arriving::metric;
use super::fixture::{Fixture, PATIENCE, TOKEN};
use super::image::Image;
use super::pipeline::Pipeline;
use super::pull::publish;
use pyrsia_node::p2p::Rate;
use pyrsia_registry::{Registry, RegistryConfig};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// More than sockets and buffers of both sides hold, so that a client that reads little keeps the answer in work.
const LAYER_BYTES: u32 = 32 << 20;
const RECEIVE_BUFFER_BYTES: u32 = 16 << 10;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A client that asked for a blob and has read only the head of the answer and a little more.
struct SlowClient {
    stream: TcpStream,
    body: Vec<u8>,
}

impl SlowClient {
    async fn ask(address: SocketAddr, blob: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).expect("a small buffer");
        let mut stream = socket.connect(address).await.expect("connects");
        let request = format!("GET /v2/library/hello/blobs/{blob} HTTP/1.1\r\nhost: node\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("is taken");
        let mut read = vec![];
        let head = loop {
            let place = read.windows(HEAD_END.len()).position(|bytes| bytes == HEAD_END);
            if let Some(place) = place {
                break place + HEAD_END.len();
            }
            assert!(timeout(PATIENCE, stream.read_buf(&mut read)).await.expect("an answer").expect("reads") > 0, "closed early");
        };
        assert!(read.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&read[..head]));
        Self { stream, body: read.split_off(head) }
    }

    /// Everything that still comes.
    async fn rest(mut self) -> Vec<u8> {
        // A connection that is cut off may end with an error.
        let _ = timeout(PATIENCE, self.stream.read_to_end(&mut self.body)).await.expect("the server closes");
        self.body
    }
}

fn config() -> RegistryConfig {
    RegistryConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), TOKEN.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_a_slow_client_closes_idle_ones_and_cuts_off_who_outlasts_it() {
    let image = Image::of((0..LAYER_BYTES).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[0]).collect());
    let pipeline = Pipeline::start(image.files()).await;
    let fixture = Fixture::founded(&pipeline.url).await;
    publish(&fixture, "library/hello:1.0").await;
    let [_, _, blob] = image.digests();

    // A client that leaves in the middle is counted as that.
    drop(SlowClient::ask(fixture.registry.address(), &blob).await);
    let left = r#"pyrsia_http_broken_off_total{handler="docker",reason="client_left"} 1"#;
    fixture.until("the client that left is counted", async || fixture.text("/metrics").await.contains(left)).await;

    let registry = Registry::start(fixture.node.handle(), config()).await.expect("the registry starts");
    let address = registry.address();
    let slow = SlowClient::ask(address, &blob).await;
    let mut idle = TcpStream::connect(address).await.expect("connects");
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: node\r\n\r\n").await.expect("is taken");
    let mut alive = [0; 15];
    idle.read_exact(&mut alive).await.expect("an answer");
    assert_eq!(&alive, b"HTTP/1.1 200 OK");
    let stop = tokio::spawn(registry.stop());
    timeout(PATIENCE, idle.read_to_end(&mut vec![])).await.expect("an idle connection is closed").expect("reads");
    fixture.until("nobody new is let in", async || TcpStream::connect(address).await.is_err()).await;
    assert!(!stop.is_finished(), "an answer is still in work");
    assert!(slow.rest().await == image.layer, "the slow client has the whole blob");
    timeout(PATIENCE, stop).await.expect("the server ends").expect("in order");

    let short = RegistryConfig { drain_timeout: Duration::from_millis(50), ..config() };
    let registry = Registry::start(fixture.node.handle(), short).await.expect("the registry starts");
    let slow = SlowClient::ask(registry.address(), &blob).await;
    timeout(PATIENCE, registry.stop()).await.expect("the server ends");
    assert!(slow.rest().await.len() < image.layer.len(), "the rest was cut off");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn during_the_grace_a_load_balancer_is_sent_away_and_everybody_else_is_answered() {
    let fixture = Fixture::founded("http://127.0.0.1:9").await;
    let patient = RegistryConfig { stop_grace: PATIENCE, ..config() };
    let mut registry = Registry::start(fixture.node.handle(), patient).await.expect("the registry starts");
    let address = registry.address();
    let status = async |path: &str| {
        fixture.client.get(format!("http://{address}{path}")).send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(status("/readyz").await, 200);
    tokio::select! {
        () = registry.drain() => panic!("the grace is longer than this test"),
        () = fixture.until("the load balancer is sent away", async || status("/readyz").await == 503) => {}
    }
    assert_eq!((status("/livez").await, status("/status").await), (200, 200));
    // A second signal does this.
    timeout(PATIENCE, registry.close()).await.expect("closes without waiting");
    TcpStream::connect(address).await.expect_err("it listens no more");
    fixture.stop().await;
}

/// The blob comes from another node, which takes seconds for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_a_blob_whose_bytes_still_arrive_and_no_longer_than_a_drain_may_take() {
    const BYTES_PER_SECOND: u64 = 2 << 20;
    let image = Image::of((0..24_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect());
    let pipeline = Pipeline::start(image.files()).await;
    let founder = Fixture::founded_with_upload(&pipeline.url, Rate::upload(BYTES_PER_SECOND).expect("not too low")).await;
    publish(&founder, "library/hello:1.0").await;
    let mirror = Fixture::following(&founder).await;
    let [_, _, blob] = image.digests();
    let path = format!("/v2/hello/blobs/{blob}");
    mirror.until("the mirror knows the blob", async || mirror.head(&path).await.status() == 200).await;
    let node = mirror.node.handle();
    let received = async || metric(&mirror.text("/metrics").await, "pyrsia_p2p_artifact_received_bytes_total");

    // Too short a drain ends it: the node stops within the limit, and the client can tell.
    let drain_timeout = Duration::from_millis(500);
    let short = RegistryConfig { drain_timeout, ..config() };
    let registry = Registry::start(node.clone(), short).await.expect("the registry starts");
    let slow = SlowClient::ask(registry.address(), &blob).await;
    let begun = Instant::now();
    timeout(PATIENCE, registry.stop()).await.expect("the server ends");
    assert!(begun.elapsed() >= drain_timeout);
    assert!((received().await as usize) < image.layer.len(), "it had all come before the stop");
    assert!(slow.rest().await.len() < image.layer.len(), "the rest was cut off");

    // What had come is there; the rest arrives while this one stops.
    let registry = Registry::start(node, config()).await.expect("the registry starts");
    let slow = SlowClient::ask(registry.address(), &blob).await;
    let stop = tokio::spawn(registry.stop());
    assert!((received().await as usize) < image.layer.len(), "it had all come before the stop");
    assert!(!stop.is_finished(), "an answer is still in work");
    assert!(slow.rest().await == image.layer, "the client has the whole blob");
    timeout(PATIENCE, stop).await.expect("the server ends").expect("in order");
    assert_eq!(received().await as usize, image.layer.len());
    mirror.stop().await;
    founder.stop().await;
}
