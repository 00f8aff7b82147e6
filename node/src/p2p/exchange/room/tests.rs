//! A budget on a node whose neighbour, the only keeper, has everything, or whose bucket has.

use super::{Keepers, LOOKS_AT_ONCE, SILENCE_KNOWN, Silence, Silent};
use crate::artifacts::ChunkList;
use crate::bucket::tests::Fixture;
use crate::p2p::FetchError;
use crate::p2p::exchange::tests::{Habit, Rogue};
use crate::p2p::metrics::FetchLabels;
use crate::p2p::tests::{Setup, TestNode, in_time, noise};
use pyrsia_ledger::Sha256Digest;
use pyrsia_ledger::event::BuiltArtifact;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

const KIB: usize = 1 << 10;

/// A founder that published and has `count` artifacts of 100 KiB.
async fn keeper(folder: &Path, count: u64) -> (TestNode, Vec<BuiltArtifact>) {
    let founder = Setup::new(1).start_in(folder).await;
    founder.found().await;
    let mut artifacts = vec![];
    for number in 0..count {
        let bytes = noise(100 * KIB, 51 + 2 * number);
        founder.keep(&bytes);
        artifacts.push(founder.publish(&format!("alpine:{number}"), &bytes).await);
    }
    (founder, artifacts)
}

async fn start_in(folder: &Path, founder: &TestNode, budget_kib: usize, last: &BuiltArtifact) -> TestNode {
    let node = Setup::new(2).peer(founder).budget((budget_kib * KIB) as u64).start_in(folder).await;
    node.wait_for_state(|state| state.packages.digest(&last.sha256).is_some()).await;
    node.wait_for_peers(|peers| peers.contains(&founder.id)).await;
    node
}

fn here(node: &TestNode, artifacts: &[BuiltArtifact]) -> Vec<bool> {
    artifacts.iter().map(|artifact| node.store.contains(&artifact.sha256)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_used_longest_ago_makes_room_unless_it_is_pinned_or_being_read() {
    let [folder, own] = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
    let (founder, artifacts) = keeper(own.path(), 6).await;
    let node = start_in(folder.path(), &founder, 350, &artifacts[5]).await;
    let fetch = |number: usize| in_time(node.p2p.fetch(&artifacts[number], vec![founder.id]));
    for number in 0..3 {
        fetch(number).await.expect("there is room");
    }
    node.store.pin(&artifacts[0].sha256).expect("pins");
    let reader = node.store.open_inspected(&artifacts[1].sha256).expect("opens").expect("is here");
    fetch(3).await.expect("the third makes room");
    assert_eq!(here(&node, &artifacts), [true, true, false, true, false, false]);
    fetch(4).await.expect("the fourth makes room");
    let second_reader = node.store.open_inspected(&artifacts[4].sha256).expect("opens").expect("is here");
    let full = fetch(5).await.expect_err("all is pinned or read");
    assert!(matches!(full, FetchError::NoRoom { .. }), "{full}");
    assert_eq!(here(&node, &artifacts), [true, true, false, false, true, false]);
    drop((reader, second_reader));
    fetch(5).await.expect("nobody reads the second any more");
    assert_eq!(here(&node, &artifacts), [true, false, false, false, true, true]);
    assert_eq!(node.store.usage().bytes, 3 * 100 * KIB as u64);
    assert_eq!(node.metrics.fetches.get_or_create(&FetchLabels { result: "no_room" }).get(), 1);
    // The founder remembers what was announced to it: alone, the node tells what it announces itself.
    let founder_id = founder.id;
    founder.stop().await;
    node.wait_for_peers(|peers| !peers.contains(&founder_id)).await;
    let mut announced = vec![];
    for artifact in &artifacts {
        announced.push(in_time(node.p2p.reach.find_providers(artifact.sha256)).await.contains(&node.id));
    }
    assert_eq!(announced, here(&node, &artifacts), "what has left is announced no more");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_keeper_has_stays_and_so_does_what_this_node_keeps_itself() {
    let [folder, own] = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
    let (founder, artifacts) = keeper(own.path(), 3).await;
    let node = start_in(folder.path(), &founder, 250, &artifacts[2]).await;
    for artifact in &artifacts[..2] {
        in_time(node.p2p.fetch(artifact, vec![founder.id])).await.expect("there is room");
    }
    for artifact in &artifacts[..2] {
        founder.store.remove(&artifact.sha256).expect("loses it");
    }
    let full = in_time(node.p2p.fetch(&artifacts[2], vec![founder.id])).await.expect_err("these are the last copies");
    assert!(matches!(full, FetchError::NoRoom { .. }), "{full}");
    assert_eq!(here(&node, &artifacts), [true, true, false]);
    // The founder gets one back: it is its keeper, and the other node may let it go.
    in_time(founder.p2p.fetch(&artifacts[1], vec![node.id])).await.expect("comes back");
    in_time(node.p2p.fetch(&artifacts[2], vec![founder.id])).await.expect("the second makes room");
    assert_eq!(here(&node, &artifacts), [true, false, true]);
    let too_large = BuiltArtifact { size_bytes: 251 * KIB as u64, ..artifacts[1].clone() };
    let refused = in_time(node.p2p.fetch(&too_large, vec![founder.id])).await.expect_err("never fits");
    assert!(matches!(refused, FetchError::BeyondBudget { .. }), "{refused}");
    assert!(refused.to_string().contains("256000"), "{refused}");
    node.stop().await;
    founder.stop().await;

    let founder = Setup::new(1).budget(1).start_in(own.path()).await;
    let refused = in_time(founder.p2p.fetch(&artifacts[0], vec![])).await.expect_err("nothing may leave");
    assert!(matches!(refused, FetchError::BeyondBudget { .. }), "{refused}");
    assert_eq!(here(&founder, &artifacts), [false, true, true], "what a keeper has does not leave for any budget");
    founder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_nobody_goes_on_with_leaves_while_the_node_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let node = Setup::new(1).start_in(folder.path()).await;
    let sha256 = Sha256Digest::of(b"abandoned");
    let list = ChunkList::new(10, vec![Sha256Digest::of(b"some bytes")]).expect("a list");
    drop(node.store.begin_partial(&sha256, list).expect("begins"));
    let path = folder.path().join("partial").join(sha256.to_string());
    let long_ago = SystemTime::now() - Duration::from_secs(30 * 24 * 60 * 60);
    File::open(&path).and_then(|file| file.set_modified(long_ago)).expect("ages");
    let trimming = tokio::spawn(node.p2p.fetcher.rooms().clone().trim());
    in_time(async {
        while path.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    trimming.abort();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keepers_that_say_nothing_are_waited_for_at_once_and_only_once() {
    let own = tempfile::tempdir().expect("a temporary folder");
    let (founder, artifacts) = keeper(own.path(), 1).await;
    let node = Setup::new(2).peer(&founder).start().await;
    node.wait_for_state(|state| state.packages.digest(&artifacts[0].sha256).is_some()).await;
    node.wait_for_peers(|peers| peers.contains(&founder.id)).await;
    let rooms = node.p2p.fetcher.rooms();
    let silent_one = || Rogue::connect(&node, vec![], Habit::Silent);
    let rogues = [silent_one().await, silent_one().await, silent_one().await];
    let silent_ids = rogues.iter().map(|rogue| rogue.id);
    let asked = || rogues.iter().map(|rogue| rogue.list_requests.load(Ordering::SeqCst)).collect::<Vec<_>>();

    // One that answers is enough, wherever it stands: nobody has waited until a silent one was given up.
    let mut silent = Silent::default();
    let all = silent_ids.clone().chain([founder.id]).collect();
    assert!(in_time(rooms.is_shown(all, &artifacts[0], &mut Keepers::new(&mut silent))).await);
    assert!(silent.0.is_empty());

    assert!(!in_time(rooms.is_shown(silent_ids.clone().collect(), &artifacts[0], &mut Keepers::new(&mut silent))).await);
    let before = asked();
    assert!(silent_ids.clone().eq(before.iter().zip(&rogues).filter(|(asked, _)| **asked > 0).map(|(_, rogue)| rogue.id)));
    let since: Vec<Instant> = silent.0.values().map(|silence| silence.since).collect();
    assert_eq!(since.len(), 3);
    let apart = since.iter().max().expect("three").duration_since(*since.iter().min().expect("three"));
    assert!(apart < super::KEEPER_TIME, "they were waited for one after the other, {apart:?} apart");
    assert!(!in_time(rooms.is_shown(silent_ids.collect(), &artifacts[0], &mut Keepers::new(&mut silent))).await);
    assert_eq!(asked(), before, "who did not answer is asked nothing for a while");
    node.stop().await;
    founder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_looked_at_together_and_what_was_shown_in_time_leaves() {
    const COUNT: usize = LOOKS_AT_ONCE + 8;
    let (fixture, service) = Fixture::of_service();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let node = Setup::new(1).bucket(fixture.bucket.clone()).start_in(folder.path()).await;
    node.found().await;
    for number in 0..COUNT {
        let bytes = noise(KIB, 2 * number as u64 + 1);
        node.keep(&bytes);
        let published = node.publish(&format!("alpine:{number}"), &bytes).await;
        fixture.copy(&node.store, published.sha256).await;
    }
    let rooms = node.p2p.fetcher.rooms().clone();
    let free = async |count: usize, time| {
        let (rooms, wanted) = (rooms.clone(), Sha256Digest::of(b"wanted"));
        let freed = rooms.free((count * KIB) as u64, Some(wanted), &mut Silent::default(), time).await.expect("frees");
        freed as usize / KIB
    };
    // A service that answers no question before it has got as many as are asked together.
    let (plenty, asked) = (Duration::from_secs(600), service.asked());
    service.answer(0);
    let answering = async {
        service.wait_until_asked(asked + LOOKS_AT_ONCE).await;
        service.answer_all();
    };
    let (freed, ()) = in_time(async { tokio::join!(free(LOOKS_AT_ONCE, plenty), answering) }).await;
    assert_eq!((freed, service.asked() - asked), (LOOKS_AT_ONCE, LOOKS_AT_ONCE), "no more is asked than would do");

    // What it shows until the time is over leaves; the next attempt begins behind it.
    let freed = in_time(async {
        let mut freed = 0;
        // As often as the machine is too busy to look at three within a second.
        while freed < 3 {
            service.answer(3 - freed);
            freed += free(8, Duration::from_secs(1)).await;
        }
        freed
    });
    assert_eq!(freed.await, 3);
    assert_eq!(node.store.usage().artifacts as usize, COUNT - LOOKS_AT_ONCE - 3);
    service.answer_all();
    // Where all has been looked at, nothing leaves for what finds no room anyway.
    assert_eq!(in_time(free(8, plenty)).await, 0);
    assert_eq!(in_time(free(5, plenty)).await, 5);
    node.stop().await;
}

#[test]
fn a_keeper_is_asked_again_after_a_while_or_when_it_has_come_back() {
    let [answers_not, was_away, long_ago] = [1, 2, 3].map(|number| pyrsia_ledger::NodeId::from_public_key([number; 32]));
    let now = Instant::now() + SILENCE_KNOWN;
    let silence = |since, was_connected| Silence { since, was_connected };
    let mut silent = Silent([(answers_not, silence(now, true)), (was_away, silence(now, false))].into());
    if let Some(since) = Instant::now().checked_sub(SILENCE_KNOWN + Duration::from_secs(1)) {
        silent.0.insert(long_ago, silence(since, true));
    }
    Keepers::new(&mut silent);
    let asked = |keeper, is_connected| silent.is_worth_asking(&keeper, is_connected);
    assert_eq!([asked(answers_not, true), asked(answers_not, false)], [false; 2]);
    assert_eq!([asked(was_away, true), asked(was_away, false)], [true, false]);
    assert_eq!([asked(long_ago, true), asked(long_ago, false)], [true; 2]);
}
