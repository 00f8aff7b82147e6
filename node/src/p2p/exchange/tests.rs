//! Artifacts between real nodes, and from peers that speak the protocol and mean no good.

use super::download::Patience;
use super::feed::Feed;
use super::fetch::Fetched;
use super::*;
use crate::p2p::FetchError;
use crate::p2p::frame::{read_message, write_message};
use crate::p2p::metrics::FetchLabels;
use crate::p2p::peer_id::node_of;
use crate::p2p::tests::{Setup, TestNode, in_time, noise};
use futures::{AsyncWriteExt as _, StreamExt as _};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, Stream, Swarm, Transport as _};
use pyrsia_ledger::event::{BuiltArtifact, NodeAuthorizationApproved};
use pyrsia_ledger::tree::CHUNK_BYTES;
use pyrsia_ledger::{Event, NodeId};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const MIB: usize = CHUNK_BYTES;

/// What a bad provider does when it is asked for chunks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Habit {
    /// It takes every question and answers none.
    Silent,
    /// One bit of the chunk is wrong.
    LieAbout(u64),
    /// The chunk list is another one.
    LieAboutList,
    /// Nothing comes from this chunk on.
    StallAt(u64),
    /// The stream ends at this chunk.
    VanishAt(u64),
}

/// A peer that is no node of ours: it has the bytes and serves them in its own way.
pub(super) struct Rogue {
    pub(super) id: NodeId,
    pub(super) list_requests: Arc<AtomicUsize>,
    pub(super) chunk_requests: Arc<AtomicUsize>,
    swarm: tokio::task::JoinHandle<()>,
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}

impl Rogue {
    pub(super) async fn connect(to: &TestNode, bytes: Vec<u8>, habit: Habit) -> Self {
        let (bytes, [list_requests, chunk_requests]) = (Arc::new(bytes), [(); 2].map(|()| Arc::new(AtomicUsize::new(0))));
        let counted = [list_requests.clone(), chunk_requests.clone()];
        let (id, swarm) = speak(to, move |stream| serve(stream, bytes.clone(), habit, counted.clone())).await;
        Self { id, list_requests, chunk_requests, swarm }
    }
}

/// Connects a peer that is no node of ours, and answers each stream of the protocol as `serve` does.
pub(super) async fn speak<F: Future<Output = ()> + Send + 'static>(
    to: &TestNode,
    serve: impl Fn(Stream) -> F + Send + 'static,
) -> (NodeId, tokio::task::JoinHandle<()>) {
    let key = Keypair::generate_ed25519();
    let transport = libp2p::tcp::tokio::Transport::default()
        .upgrade(Version::V1Lazy)
        .authenticate(libp2p::tls::Config::new(&key).expect("a key"))
        .multiplex(libp2p::yamux::Config::default())
        .boxed();
    let streams = libp2p_stream::Behaviour::new();
    let mut incoming = streams.new_control().accept(PROTOCOL).expect("registered once");
    let config = libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(600));
    let mut swarm = Swarm::new(transport, streams, key.public().to_peer_id(), config);
    let address: Multiaddr = to.p2p.addresses()[0].clone();
    swarm.dial(address).expect("dials");
    let swarm = tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = swarm.select_next_some() => {}
                Some((_, stream)) = incoming.next() => {
                    tokio::spawn(serve(stream));
                }
            }
        }
    });
    let id = node_of(&key.public().to_peer_id()).expect("an ed25519 key");
    to.wait_for_peers(|peers| peers.contains(&id)).await;
    (id, swarm)
}

async fn serve(mut stream: Stream, bytes: Arc<Vec<u8>>, habit: Habit, [list_requests, chunk_requests]: [Arc<AtomicUsize>; 2]) {
    while let Ok(Some(request)) = read_message::<Request>(&mut stream, REQUEST_BYTES_MAX).await {
        match request {
            Request::ChunkList { .. } => {
                list_requests.fetch_add(1, Ordering::SeqCst);
                if matches!(habit, Habit::Silent) {
                    std::future::pending::<()>().await;
                }
                let mut chunks: Vec<Sha256Digest> = bytes.chunks(MIB).map(Sha256Digest::of).collect();
                if matches!(habit, Habit::LieAboutList) {
                    chunks[0] = Sha256Digest::of(b"something else");
                }
                write_message(&mut stream, &Response::ChunkList { chunks }).await.ok();
            }
            Request::Chunks { from, count, .. } => {
                chunk_requests.fetch_add(1, Ordering::SeqCst);
                write_message(&mut stream, &Response::Chunks).await.ok();
                for chunk in from..from + count {
                    let at = chunk as usize * MIB;
                    let mut piece = bytes[at..(at + MIB).min(bytes.len())].to_vec();
                    match habit {
                        Habit::LieAbout(wrong) if wrong == chunk => piece[77] ^= 1,
                        Habit::StallAt(last) if chunk >= last => {
                            stream.flush().await.ok();
                            std::future::pending().await
                        }
                        Habit::VanishAt(last) if chunk >= last => {
                            stream.close().await.ok();
                            return;
                        }
                        _ => {}
                    }
                    if stream.write_all(&piece).await.is_err() {
                        return;
                    }
                }
                stream.flush().await.ok();
            }
        }
    }
}

fn hasty() -> Patience {
    Patience { answer: Duration::from_secs(2), chunk: Duration::from_secs(1) }
}

/// A founder, a published artifact whose bytes it does not have, and a node that wants it.
async fn network_of_two(bytes: &[u8]) -> (TestNode, TestNode, BuiltArtifact) {
    let founder = Setup::new(1).start().await;
    founder.found().await;
    let wanting = Setup::new(2).peer(&founder).patience(hasty()).start().await;
    let artifact = founder.publish("alpine:1", bytes).await;
    wanting.wait_for_state(|state| state.packages.digest(&artifact.sha256).is_some()).await;
    (founder, wanting, artifact)
}

fn received(node: &TestNode) -> u64 {
    node.metrics.artifact_bytes_received.get()
}

/// The last byte leaves when the whole is hashed, which is before it is in the store.
async fn until(is_so: impl Fn() -> bool) {
    in_time(async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Reads a range while it arrives, or afterwards; what was read to its end is in the store then.
async fn read(node: &TestNode, artifact: &BuiltArtifact, from: &[NodeId], range: Range<usize>) -> Vec<u8> {
    match in_time(node.p2p.begin_fetch(artifact, from.to_vec())).await.expect("begins") {
        Fetched::Incoming(incoming) => {
            let feed = in_time(incoming.feed(range.start as u64..range.end as u64)).await.expect("comes");
            let (read, whole) = drain(feed, usize::MAX).await;
            assert!(whole, "broken off after {} bytes", read.len());
            if range.end as u64 == artifact.size_bytes {
                until(|| node.store.contains(&artifact.sha256)).await;
            }
            read
        }
        Fetched::Stored => node.stored(artifact).expect("is stored")[range].to_vec(),
    }
}

/// Begins to read an artifact that is not here.
async fn feed(node: &TestNode, artifact: &BuiltArtifact, from: &[NodeId], range: Range<usize>) -> Result<Feed, FetchError> {
    match in_time(node.p2p.begin_fetch(artifact, from.to_vec())).await? {
        Fetched::Incoming(incoming) => in_time(incoming.feed(range.start as u64..range.end as u64)).await,
        Fetched::Stored => panic!("nobody has read of it yet"),
    }
}

/// What comes of it, and whether that is all.
pub(super) async fn drain(mut feed: Feed, bytes_max: usize) -> (Vec<u8>, bool) {
    let mut got = vec![];
    while got.len() < bytes_max {
        match in_time(feed.next()).await {
            Some(Ok(piece)) => got.extend(piece),
            Some(Err(_)) => return (got, false),
            None => break,
        }
    }
    (got, true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_gets_what_has_come_before_the_rest_does_and_the_end_when_all_is_verified() {
    let bytes = noise(7 * MIB, 12);
    let (founder, wanting, artifact) = network_of_two(&bytes).await;
    let stalling = Rogue::connect(&wanting, bytes.clone(), Habit::StallAt(5)).await;
    let mut reader = feed(&wanting, &artifact, &[stalling.id], 0..bytes.len()).await.expect("its beginning comes");
    let middle = feed(&wanting, &artifact, &[stalling.id], 3 * MIB + 5..4 * MIB + 9).await.expect("comes too");
    let (read, whole) = drain(middle, usize::MAX).await;
    assert!(whole && read == bytes[3 * MIB + 5..4 * MIB + 9]);
    let mut read = vec![];
    while read.len() < 5 * MIB {
        read.extend(in_time(reader.next()).await.expect("more").expect("reads"));
    }
    assert!(!wanting.store.contains(&artifact.sha256));
    founder.keep(&bytes);
    let (rest, whole) = drain(reader, usize::MAX).await;
    assert!(whole && [read, rest].concat() == bytes);
    until(|| wanting.store.contains(&artifact.sha256)).await;
    wanting.stop().await;
    founder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_gets_no_byte_of_a_liar_and_is_broken_off_when_nobody_else_has_the_rest() {
    let bytes = noise(5 * MIB, 13);
    for wrong in [0, 2, 4] {
        let (founder, wanting, artifact) = network_of_two(&bytes).await;
        let liar = Rogue::connect(&wanting, bytes.clone(), Habit::LieAbout(wrong)).await;
        match feed(&wanting, &artifact, &[liar.id], 0..bytes.len()).await {
            Err(error) => assert!(wrong == 0 && matches!(error, FetchError::Unavailable { .. }), "{wrong}: {error}"),
            Ok(reader) => {
                let (read, whole) = drain(reader, usize::MAX).await;
                assert!(wrong > 0 && !whole && bytes.starts_with(&read) && read.len() <= wrong as usize * MIB, "{}", read.len());
            }
        }
        assert!(!wanting.store.contains(&artifact.sha256));
        wanting.stop().await;
        founder.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artifact_moves_on_from_node_to_node_by_tcp_and_by_quic() {
    let bytes = noise(20 * MIB + 123, 1);
    let (founder, middle, artifact) = network_of_two(&bytes).await;
    founder.keep(&bytes);
    in_time(middle.p2p.fetch(&artifact, vec![founder.id])).await.expect("fetches");
    assert_eq!(middle.stored(&artifact), Some(bytes.clone()));
    let far = Setup::new(3).listen("/ip4/127.0.0.1/udp/0/quic-v1").start().await;
    in_time(middle.p2p.dial(far.p2p.addresses()[0].clone())).await.expect("dials by QUIC");
    far.wait_for_state(|state| state.packages.digest(&artifact.sha256).is_some()).await;
    let gone = founder.id;
    founder.stop().await;
    in_time(far.p2p.fetch(&artifact, vec![gone])).await.expect("the middle node serves on");
    assert_eq!(far.stored(&artifact), Some(bytes));
    far.stop().await;
    middle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_want_the_same_artifact_share_one_download() {
    let bytes = noise(5 * MIB, 2);
    let (founder, wanting, artifact) = network_of_two(&bytes).await;
    founder.keep(&bytes);
    let all = (0..16).map(|_| wanting.p2p.fetch(&artifact, vec![founder.id]));
    let readers = (0..64).map(async |number| {
        let range = if number % 2 == 0 { 0..bytes.len() } else { number * 70_000..bytes.len() - number };
        assert!(read(&wanting, &artifact, &[founder.id], range.clone()).await == bytes[range], "reader {number}");
    });
    // Who leaves in the middle ends nothing.
    let leaver = feed(&wanting, &artifact, &[founder.id], 0..bytes.len()).await.expect("reads");
    drain(leaver, 1).await;
    let (all, _) = in_time(futures::future::join(futures::future::join_all(all), futures::future::join_all(readers))).await;
    for fetched in all {
        fetched.expect("fetches");
    }
    let fetches = wanting.metrics.fetches.get_or_create(&FetchLabels { result: "fetched" }).get();
    assert_eq!((fetches, received(&wanting)), (1, artifact.size_bytes));
    wanting.stop().await;
    founder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_artifact_and_one_of_exactly_one_chunk_arrive() {
    for bytes in [vec![], noise(MIB, 3)] {
        let (founder, wanting, artifact) = network_of_two(&bytes).await;
        founder.keep(&bytes);
        in_time(wanting.p2p.fetch(&artifact, vec![founder.id])).await.expect("fetches");
        assert_eq!(wanting.stored(&artifact), Some(bytes));
        wanting.stop().await;
        founder.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_not_published_do_not_leave_the_node() {
    let bytes = noise(MIB, 4);
    let (founder, wanting, _) = network_of_two(b"other bytes").await;
    founder.keep(&bytes);
    let secret = crate::p2p::tests::artifact("secret:1", &bytes);
    let fetched = in_time(wanting.p2p.fetch(&secret, vec![founder.id])).await;
    assert!(matches!(&fetched, Err(FetchError::Unavailable { reason }) if reason.contains("does not have")), "{fetched:?}");
    wanting.stop().await;
    founder.stop().await;
}

/// What a judge revealed must be looked at before it is published, and by nobody but judges.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revealed_bytes_that_are_not_published_go_to_authorized_nodes_alone() {
    let bytes = noise(MIB, 6);
    let founder = Setup::new(1).start().await;
    founder.found().await;
    let wanting = Setup::new(2).peer(&founder).patience(hasty()).start().await;
    let (build_id, _, artifact) = founder.reveal("alpine:1", &bytes).await;
    founder.store.note_brought(&build_id, &artifact.sha256).expect("notes");
    founder.keep(&bytes);
    wanting.wait_for_state(|state| state.builds.result(&build_id, &founder.id).is_some()).await;
    let stranger = in_time(wanting.p2p.fetch(&artifact, vec![founder.id])).await;
    assert!(matches!(&stranger, Err(FetchError::Unavailable { .. })), "{stranger:?}");

    founder.propose(Event::NodeAuthorizationApproved(NodeAuthorizationApproved { node: wanting.id })).await;
    founder.wait_for_state(|state| state.members.contains(&wanting.id)).await;
    in_time(wanting.p2p.fetch(&artifact, vec![founder.id])).await.expect("judges look at each other's bytes");
    assert_eq!(wanting.stored(&artifact), Some(bytes));
    wanting.stop().await;
    founder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_liar_costs_nothing_but_its_own_chunk_and_is_not_asked_again() {
    for habit in [Habit::LieAbout(3), Habit::LieAboutList] {
        let bytes = noise(12 * MIB + 9, 5);
        let (founder, wanting, artifact) = network_of_two(&bytes).await;
        let liar = Rogue::connect(&wanting, bytes.clone(), habit).await;
        let alone = in_time(wanting.p2p.fetch(&artifact, vec![liar.id])).await;
        assert!(matches!(&alone, Err(FetchError::Unavailable { .. })), "{alone:?}");
        assert_eq!(wanting.metrics.liars.get(), 1);
        assert!(!wanting.store.contains(&artifact.sha256));
        let asked = liar.chunk_requests.load(Ordering::SeqCst);
        founder.keep(&bytes);
        in_time(wanting.p2p.fetch(&artifact, vec![liar.id, founder.id])).await.expect("the honest node has it");
        assert_eq!(wanting.stored(&artifact), Some(bytes));
        assert_eq!(received(&wanting), artifact.size_bytes, "no chunk came twice");
        wanting.store.remove(&artifact.sha256).expect("removes");
        in_time(wanting.p2p.fetch(&artifact, vec![liar.id, founder.id])).await.expect("fetches again");
        assert_eq!((liar.chunk_requests.load(Ordering::SeqCst), wanting.metrics.liars.get()), (asked, 1));
        wanting.stop().await;
        founder.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_stalls_or_vanishes_only_costs_time() {
    for habit in [Habit::StallAt(2), Habit::VanishAt(2), Habit::StallAt(23), Habit::VanishAt(23)] {
        let bytes = noise(24 * MIB, 6);
        let (founder, wanting, artifact) = network_of_two(&bytes).await;
        founder.keep(&bytes);
        let bad = Rogue::connect(&wanting, bytes.clone(), habit).await;
        let read = read(&wanting, &artifact, &[bad.id, founder.id], 0..bytes.len()).await;
        assert!(read == bytes, "a reader sees nothing of it");
        assert_eq!(wanting.stored(&artifact), Some(bytes));
        wanting.stop().await;
        founder.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_goes_on_where_it_stopped_even_after_a_restart() {
    let bytes = noise(6 * MIB + 1, 7);
    for stop_at in [0u64, 1, 3, 6] {
        let founder = Setup::new(1).start().await;
        founder.found().await;
        let artifact = founder.publish("alpine:1", &bytes).await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let wanting = Setup::new(2).peer(&founder).patience(hasty()).start_in(folder.path()).await;
        wanting.wait_for_state(|state| state.packages.digest(&artifact.sha256).is_some()).await;
        let bad = Rogue::connect(&wanting, bytes.clone(), Habit::VanishAt(stop_at)).await;
        let fetched = in_time(wanting.p2p.fetch(&artifact, vec![bad.id])).await;
        assert!(matches!(fetched, Err(FetchError::Unavailable { .. })), "{fetched:?}");
        let before = received(&wanting);
        assert_eq!(before, stop_at * MIB as u64);
        wanting.stop().await;

        if stop_at == 3 {
            // What a power cut may leave: the bitmap says a chunk is there, and its bytes are not.
            let partial = folder.path().join("partial").join(artifact.sha256.to_string());
            let file = std::fs::OpenOptions::new().write(true).open(partial).expect("the download is kept");
            std::os::unix::fs::FileExt::write_all_at(&file, &[0; 64], MIB as u64).expect("damages");
        }
        let damaged = if stop_at == 3 { MIB as u64 } else { 0 };
        founder.keep(&bytes);
        let wanting = Setup::new(2).peer(&founder).patience(hasty()).start_in(folder.path()).await;
        wanting.wait_for_peers(|peers| peers.contains(&founder.id)).await;
        let read = read(&wanting, &artifact, &[founder.id], 0..bytes.len()).await;
        assert!(read == bytes, "stopped at chunk {stop_at}");
        assert_eq!(wanting.stored(&artifact).as_deref(), Some(bytes.as_slice()));
        assert_eq!(before + received(&wanting), artifact.size_bytes + damaged, "stopped at chunk {stop_at}");
        until(|| std::fs::read_dir(folder.path().join("partial")).expect("lists").count() == 0).await;
        wanting.stop().await;
        founder.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_whose_digests_contradict_each_other_is_refused() {
    let bytes = noise(2 * MIB, 8);
    let (founder, wanting, honest) = network_of_two(&bytes).await;
    founder.keep(&bytes);
    // The chunks are those of the honest artifact, the sha256 is that of other bytes: only a wrong record says so.
    let rogue = Rogue::connect(&wanting, bytes, Habit::VanishAt(u64::MAX)).await;
    let contradictory = BuiltArtifact { sha256: Sha256Digest::of(b"other bytes"), ..honest.clone() };
    let fetched = in_time(wanting.p2p.fetch(&contradictory, vec![rogue.id])).await;
    assert!(matches!(fetched, Err(FetchError::Damaged { found }) if found == honest.sha256), "{fetched:?}");
    assert!(!wanting.store.contains(&contradictory.sha256));
    wanting.stop().await;
    founder.stop().await;
}
