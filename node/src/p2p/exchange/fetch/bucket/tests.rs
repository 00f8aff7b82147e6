//! A bucket and peers, of which some are slow or silent.

use crate::bucket::tests::Fixture;
use crate::p2p::FetchError;
use crate::p2p::exchange::download::Patience;
use crate::p2p::exchange::fetch::attempt::FRUITLESS_ROUNDS_MAX;
use crate::p2p::exchange::tests::{Habit, Rogue};
use crate::p2p::tests::{Setup, TestNode, in_time, noise};
use pyrsia_ledger::event::BuiltArtifact;
use pyrsia_ledger::tree::CHUNK_BYTES;
use std::sync::atomic::Ordering;
use std::time::Duration;

const MIB: usize = CHUNK_BYTES;

/// A founder, and a node with a bucket that has a copy of what the founder published and does not have.
async fn network(fixture: &Fixture, bytes: &[u8]) -> (TestNode, TestNode, BuiltArtifact) {
    let founder = Setup::new(1).start().await;
    founder.found().await;
    // Nothing but what others do in the meantime brings a fetch to its end.
    let patience = Patience { answer: Duration::from_secs(5), chunk: Duration::from_secs(600) };
    let wanting = Setup::new(2).peer(&founder).patience(patience).bucket(fixture.bucket.clone()).start().await;
    let artifact = founder.publish("alpine:1", bytes).await;
    wanting.wait_for_state(|state| state.packages.digest(&artifact.sha256).is_some()).await;
    wanting.wait_for_peers(|peers| peers.contains(&founder.id)).await;
    fixture.copy_bytes(bytes).await;
    (founder, wanting, artifact)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_does_not_answer_holds_up_nothing_that_peers_have() {
    let (fixture, service) = Fixture::of_service();
    let bytes = noise(9 * MIB + 3, 1);
    let (founder, wanting, artifact) = network(&fixture, &bytes).await;
    founder.keep(&bytes);
    // It says nothing at all, or has given its chunk list and takes ranges that never come.
    for answers in [0, 3] {
        service.answer(answers);
        in_time(wanting.p2p.fetch(&artifact, vec![founder.id])).await.expect("comes from the founder");
        assert_eq!(wanting.stored(&artifact).as_ref(), Some(&bytes));
        wanting.store.remove(&artifact.sha256).expect("removes");
    }
    service.answer_all();
    wanting.stop().await;
    founder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_stalls_holds_up_nothing_that_the_bucket_has() {
    let (fixture, service) = Fixture::of_service();
    let bytes = noise(9 * MIB + 3, 2);
    let (founder, wanting, artifact) = network(&fixture, &bytes).await;
    let stalling = Rogue::connect(&wanting, bytes.clone(), Habit::StallAt(1)).await;
    service.answer(0);
    let fetching = wanting.p2p.fetch(&artifact, vec![stalling.id]);
    let answering = async {
        while stalling.chunk_requests.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        service.answer_all();
    };
    let (fetched, ()) = in_time(async { tokio::join!(fetching, answering) }).await;
    fetched.expect("comes from the bucket");
    assert_eq!(wanting.stored(&artifact), Some(bytes));
    assert_eq!(fixture.bucket.counts().recalled.load(Ordering::Relaxed), 1);
    wanting.stop().await;
    founder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_are_asked_again_when_a_bucket_fails_that_they_were_to_spare() {
    let (fixture, service) = Fixture::of_service();
    let bytes = noise(9 * MIB + 3, 3);
    let (founder, wanting, artifact) = network(&fixture, &bytes).await;
    let vanishing = Rogue::connect(&wanting, bytes.clone(), Habit::VanishAt(0)).await;
    let asked = service.asked();
    service.answer(3);
    let fetching = wanting.p2p.fetch(&artifact, vec![vanishing.id, founder.id]);
    let failing = async {
        service.wait_until_asked(asked + 4).await;
        // It has asked the peers as often as it does, nobody has brought anything, and the bucket is still waited for.
        while vanishing.chunk_requests.load(Ordering::SeqCst) < FRUITLESS_ROUNDS_MAX as usize {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        founder.keep(&bytes);
        service.fail();
    };
    let (fetched, ()) = in_time(async { tokio::join!(fetching, failing) }).await;
    fetched.expect("comes from the founder");
    assert_eq!(wanting.stored(&artifact), Some(bytes));

    wanting.store.remove(&artifact.sha256).expect("removes");
    founder.store.remove(&artifact.sha256).expect("removes");
    let fetched = in_time(wanting.p2p.fetch(&artifact, vec![founder.id])).await;
    assert!(matches!(fetched, Err(FetchError::Unavailable { .. })), "{fetched:?}");
    wanting.stop().await;
    founder.stop().await;
}
