//! What peers can make a node with a bucket do.

use super::*;
use crate::bucket::tests::Fixture;
use crate::p2p::exchange::download::{ProviderFailure, ask_chunk_list, open_stream};
use crate::p2p::exchange::{RESPONSE_BYTES_MAX, Request, Response};
use crate::p2p::frame::{read_message, write_message};
use crate::p2p::network_config::{NetworkConfig, Rate, UPLOAD_RATE_MIN};
use crate::p2p::tests::{Setup, in_time, noise};
use futures::AsyncReadExt as _;
use libp2p::Stream;
use prometheus_client::metrics::counter::Counter;
use pyrsia_ledger::tree::CHUNK_BYTES;

const MIB: usize = CHUNK_BYTES;
/// Two looks, at the artifact and at its list, and the list.
const QUESTIONS_PER_LIST: usize = 3;

async fn chunk(stream: &mut Stream, artifact: &BuiltArtifact, number: u64) -> Option<Vec<u8>> {
    let request = Request::Chunks { sha256: artifact.sha256, from: number, count: 1 };
    write_message(stream, &request).await.expect("is taken");
    let response = in_time(read_message::<Response>(stream, RESPONSE_BYTES_MAX)).await.expect("an answer");
    matches!(response, Some(Response::Chunks)).then_some(())?;
    let mut bytes = vec![0; CHUNK_BYTES.min(artifact.size_bytes as usize - number as usize * CHUNK_BYTES)];
    in_time(stream.read_exact(&mut bytes)).await.expect("comes");
    Some(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_asks_again_and_again_costs_the_service_one_look() {
    let (fixture, service) = Fixture::of_service();
    let founder = Setup::new(1).bucket(fixture.bucket.clone()).start().await;
    founder.found().await;
    let asking = Setup::new(2).peer(&founder).start().await;
    asking.wait_for_peers(|peers| peers.contains(&founder.id)).await;
    let bytes = [3, 7, 9].map(|seed| noise(2 * MIB + 5, seed));
    let mut artifacts = vec![];
    for (number, bytes) in bytes.iter().enumerate() {
        artifacts.push(founder.publish(&format!("alpine:{number}"), bytes).await);
    }
    let [copied, gone, never_copied] = &artifacts[..] else { unreachable!("three are published") };
    for bytes in &bytes[..2] {
        fixture.copy_bytes(bytes).await;
    }
    let rooms = asking.p2p.fetcher.rooms();
    let open = || async { in_time(open_stream(&rooms.control, &founder.id, &rooms.patience)).await.expect("opens") };
    let mut stream = open().await;

    let before = service.asked();
    for _ in 0..20 {
        in_time(ask_chunk_list(&mut stream, copied, &rooms.patience)).await.expect("has it");
    }
    assert_eq!(service.asked() - before, QUESTIONS_PER_LIST);
    for number in [0, 2, 1] {
        let at = number as usize * MIB..bytes[0].len().min((number as usize + 1) * MIB);
        assert_eq!(chunk(&mut stream, copied, number).await.as_deref(), Some(&bytes[0][at]));
    }
    assert_eq!(service.asked() - before, QUESTIONS_PER_LIST + 3, "the list of the other request is used");

    let before = service.asked();
    for _ in 0..20 {
        let answer = in_time(ask_chunk_list(&mut stream, never_copied, &rooms.patience)).await;
        assert!(matches!(answer, Err(ProviderFailure::Unavailable)), "{answer:?}");
        assert_eq!(chunk(&mut stream, never_copied, 0).await, None);
    }
    assert_eq!(service.asked(), before, "what is not known to be there is not looked for");

    fixture.lose(&gone.sha256).await;
    assert_eq!(chunk(&mut stream, gone, 0).await, None);
    assert_eq!(fixture.bucket.known_copy(&gone.sha256), None);
    let before = service.asked();
    for _ in 0..20 {
        assert_eq!(chunk(&mut stream, gone, 0).await, None);
    }
    assert_eq!(service.asked(), before, "what is gone is looked for once");
    asking.stop().await;
    founder.stop().await;
}

#[tokio::test]
async fn many_that_ask_at_once_wait_for_one_look_and_looks_have_a_pace() {
    let (fixture, service) = Fixture::of_service();
    let (behind, begun) = (Behind::new(fixture.bucket.clone()), Instant::now());
    let bytes = noise(2 * MIB + 5, 3);
    fixture.copy_bytes(&bytes).await;
    let artifact = fixture.keep(&bytes);
    // None is answered before all have asked.
    let asked = service.asked();
    service.answer(0);
    let asking = futures::future::join_all((0..8).map(|_| behind.shown(&artifact)));
    let answering = async {
        service.wait_until_asked(asked + 1).await;
        service.answer_all();
    };
    let (lists, ()) = in_time(async { tokio::join!(asking, answering) }).await;
    assert!(lists.iter().all(Option::is_some));
    assert_eq!(service.asked() - asked, QUESTIONS_PER_LIST);
    for _ in 0..3 {
        in_time(behind.pass_look()).await;
    }
    assert!(begun.elapsed() >= 3 * LOOK_PACE);
}

#[tokio::test]
async fn a_peer_has_its_share_of_the_room_and_leaves_the_rest_to_others_and_to_this_node() {
    let fixture = Fixture::new();
    let behind = Behind::new(fixture.bucket.clone());
    let peer = |number| NodeId::from_public_key([number; 32]);
    let range = CHUNKS_PER_RANGE as u32;
    let mut taken = vec![];
    for number in 1..=3 {
        taken.extend([in_time(behind.room(peer(number), range)).await, in_time(behind.room(peer(number), range)).await]);
        assert!(futures::poll!(std::pin::pin!(behind.room(peer(number), 1))).is_pending(), "a third range of one peer");
    }
    assert!(futures::poll!(std::pin::pin!(behind.room(peer(4), 1))).is_pending(), "all that is for peers is taken");
    let own = in_time(fixture.bucket.room(range)).await;
    taken.pop();
    drop(own);
    taken.push(in_time(behind.room(peer(4), range)).await);
    drop(taken);
    drop(in_time(behind.room_of_peers.take(peer(5), 1)).await);
    assert_eq!(behind.room_of_peers.of.lock().expect("is whole").len(), 1, "nothing is remembered of who has none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_bucket_does_not_give_is_charged_to_no_upload_and_a_range_comes_whole_at_a_rate() {
    let (fixture, service) = Fixture::of_service();
    let rate = Rate::upload(4 * MIB as u64).expect("more than the least");
    let network = NetworkConfig { upload_rate: Some(rate), ..NetworkConfig::default() };
    let founder = Setup::new(1).bucket(fixture.bucket.clone()).network(network).start().await;
    founder.found().await;
    let asking = Setup::new(2).peer(&founder).start().await;
    asking.wait_for_peers(|peers| peers.contains(&founder.id)).await;
    let bytes = noise(3 * MIB + 5, 3);
    let artifact = founder.publish("alpine:1", &bytes).await;
    fixture.copy_bytes(&bytes).await;
    let rooms = asking.p2p.fetcher.rooms();
    let mut stream = in_time(open_stream(&rooms.control, &founder.id, &rooms.patience)).await.expect("opens");
    let request = Request::Chunks { sha256: artifact.sha256, from: 0, count: 4 };
    write_message(&mut stream, &request).await.expect("is taken");
    let response = in_time(read_message::<Response>(&mut stream, RESPONSE_BYTES_MAX)).await.expect("an answer");
    assert!(matches!(response, Some(Response::Chunks)));
    let mut got = vec![0; bytes.len()];
    in_time(stream.read_exact(&mut got)).await.expect("comes");
    assert!(got == bytes);
    service.fail();
    let begun = Instant::now();
    for _ in 0..40 {
        assert_eq!(chunk(&mut stream, &artifact, 0).await, None);
    }
    // Forty chunks take ten seconds at the rate.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    asking.stop().await;
    founder.stop().await;
}

#[tokio::test]
async fn what_was_read_for_a_peer_counts_against_the_rate_whether_it_takes_it_or_not() {
    let rate = Some(Rate::upload(UPLOAD_RATE_MIN).expect("the least"));
    let upload = RateLimit::new(rate, Counter::default());
    let passes_at_once = async || timeout(Duration::from_millis(50), upload.pass(0)).await.is_ok();
    let bytes = 60 * UPLOAD_RATE_MIN as usize;
    let mut debt = Debt { upload: &upload, bytes };
    debt.pay(1).await;
    assert!(passes_at_once().await);
    drop(debt);
    assert!(!passes_at_once().await, "a minute's bytes have passed");
}

#[test]
fn of_chunk_lists_no_more_is_remembered_than_the_bounds_allow() {
    let digest = |number: u64| Sha256Digest::of(&number.to_le_bytes());
    let list =
        |chunks: u64| Arc::new(ChunkList::new(chunks * CHUNK_BYTES as u64, vec![digest(0); chunks as usize]).expect("a list"));
    let (mut lists, short, long) = (Lists::default(), list(2), list(DIGESTS_MAX / 4));
    for number in 0..2 * LISTS_MAX as u64 {
        lists.keep(digest(number), short.clone());
        lists.keep(digest(number), short.clone());
    }
    assert_eq!((lists.known.len(), lists.order.len(), lists.digests), (LISTS_MAX, LISTS_MAX, 2 * LISTS_MAX as u64));
    assert!(
        lists.get(&digest(0)).is_none() && lists.get(&digest(2 * LISTS_MAX as u64 - 1)).is_some_and(|(_, is_fresh)| is_fresh)
    );
    for number in 0..8 {
        lists.keep(digest(number), long.clone());
        assert!(lists.digests <= DIGESTS_MAX && lists.get(&digest(number)).is_some());
    }
    assert_eq!(lists.known.values().map(|listed| listed.list.count()).sum::<u64>(), lists.digests);
}
