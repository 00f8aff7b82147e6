//! Very many clients at once: those who hold connections and those who read slowly keep nobody else from a pull.

use super::fixture::{Fixture, PATIENCE};
use super::image::Image;
use super::pipeline::Pipeline;
use super::pull::publish;
use futures::{StreamExt, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const IDLE: usize = 10_000;
const CONNECTING: usize = 256;
/// What one process needs for both ends of all of it: the server holds at most so many connections, and the rest is files of this and of other tests.
const OPEN_FILES: u64 = IDLE as u64 + 4_096;
/// The most connections that the server of a process with so many files holds, and the one it is about to let in.
const SERVED_MAX: u64 = 1_024 + 1;
const SLOW_READERS: usize = 64;
/// More than sockets and buffers of both sides hold.
const LAYER_BYTES: u32 = 16 << 20;
const RECEIVE_BUFFER_BYTES: u32 = 16 << 10;
/// A pull among all the others takes no longer than this.
const PULL: Duration = Duration::from_secs(20);

fn metric(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {metrics}"))
}

/// Whether this process may open so many files, after asking for them.
fn may_open(files: u64) -> bool {
    let limits = getrlimit(Resource::Nofile);
    if limits.current.is_some_and(|current| current < files) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, maximum: limits.maximum });
    }
    getrlimit(Resource::Nofile).current.is_none_or(|current| current >= files)
}

/// A connection that stays open and asks for nothing: silent from the beginning, in the middle of a head, or kept alive after an answer.
async fn idle(address: SocketAddr, number: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    match number % 3 {
        0 => {}
        // The server may have closed it already.
        1 => drop(stream.write_all(b"GET /livez HTTP/1.1\r\nhost: no").await),
        _ => {
            drop(stream.write_all(b"GET /livez HTTP/1.1\r\nhost: node\r\n\r\n").await);
            // Those who wait for an answer keep the others from filling the backlog of the socket, where the system makes them wait for seconds.
            drop(stream.read(&mut [0; 15]).await);
        }
    }
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_keep_nobody_from_a_pull() {
    if !may_open(OPEN_FILES) {
        eprintln!("skipped: this process may not open {OPEN_FILES} files");
        return;
    }
    let image = Image::new();
    let pipeline = Pipeline::start(image.files()).await;
    let fixture = Fixture::founded(&pipeline.url).await;
    publish(&fixture, "library/hello:1.0").await;
    let address = fixture.registry.address();
    let idle: Vec<TcpStream> =
        stream::iter(0..IDLE).map(|number| idle(address, number)).buffer_unordered(CONNECTING).collect().await;
    assert_eq!(idle.len(), IDLE);

    let pull = async {
        // On a connection of its own, which has to be let in.
        let client = reqwest::Client::new();
        let [_, config, layer] = image.digests();
        for (path, bytes) in [
            ("manifests/1.0".to_owned(), &image.manifest),
            (format!("blobs/{config}"), &image.config),
            (format!("blobs/{layer}"), &image.layer),
        ] {
            let response = client.get(fixture.url(&format!("/v2/library/hello/{path}"))).send().await.expect("an answer");
            assert_eq!(response.status(), 200, "{path}");
            assert!(response.bytes().await.expect("the whole body") == bytes[..], "{path}");
        }
    };
    timeout(PULL, pull).await.expect("the pull is not kept waiting");
    // What a connection takes is bounded, and so is the number of them.
    let open = metric(&fixture.text("/metrics").await, "pyrsia_http_connections");
    assert!(open <= SERVED_MAX, "{open} connections are open");
    drop(idle);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_read_a_byte_now_and_then_slow_nobody_else_down() {
    let image = Image::of((0..LAYER_BYTES).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[0]).collect());
    let pipeline = Pipeline::start(image.files()).await;
    let fixture = Fixture::founded(&pipeline.url).await;
    publish(&fixture, "library/hello:1.0").await;
    let [_, _, layer] = image.digests();
    let path = format!("/v2/library/hello/blobs/{layer}");
    let mut readers = vec![];
    for _ in 0..SLOW_READERS {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).expect("a small buffer");
        let mut stream = socket.connect(fixture.registry.address()).await.expect("connects");
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: node\r\n\r\n").as_bytes()).await.expect("is taken");
        let mut status = [0; 15];
        timeout(PATIENCE, stream.read_exact(&mut status)).await.expect("an answer").expect("reads");
        assert_eq!(&status, b"HTTP/1.1 200 OK");
        readers.push(tokio::spawn(async move {
            while stream.read_u8().await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await; // The speed of the reader, not a wait for a condition.
            }
        }));
    }
    for _ in 0..4 {
        let pulled = timeout(PULL, async { fixture.get(&path).await.bytes().await.expect("the whole blob") }).await;
        assert!(pulled.expect("nobody is slowed down") == image.layer);
    }
    let in_flight = metric(&fixture.text("/metrics").await, "pyrsia_http_requests_in_flight");
    assert!(in_flight > SLOW_READERS as u64, "all of them are being served meanwhile: {in_flight}");
    readers.iter().for_each(tokio::task::JoinHandle::abort);
    fixture.stop().await;
}
