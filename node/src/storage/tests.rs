//! The scrub of a real node, with a real neighbour.

use super::*;
use crate::artifacts::ArtifactStore;
use crate::bucket::BucketDepth;
use crate::config::StorageConfig;
use crate::p2p::tests::{Setup, TestNode, in_time, noise};
use pyrsia_ledger::event::BuiltArtifact;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const BYTES: usize = 3 << 20;

struct Scrubbed {
    founder: TestNode,
    node: TestNode,
    artifacts: Vec<BuiltArtifact>,
}

impl Scrubbed {
    /// A node that fetched three published artifacts and has one that is not.
    async fn start() -> (Self, Sha256Digest) {
        let founder = Setup::new(1).start().await;
        founder.found().await;
        let node = Setup::new(2).peer(&founder).start().await;
        let mut artifacts = vec![];
        for number in 0..3 {
            let bytes = noise(BYTES, 91 + 2 * number);
            founder.keep(&bytes);
            artifacts.push(founder.publish(&format!("alpine:{number}"), &bytes).await);
        }
        node.wait_for_state(|state| state.packages.digest(&artifacts[2].sha256).is_some()).await;
        for artifact in &artifacts {
            in_time(node.p2p.fetch(artifact, vec![founder.id])).await.expect("fetches");
        }
        node.keep(b"of no package");
        (Self { founder, node, artifacts }, Sha256Digest::of(b"of no package"))
    }

    fn scrubbing(&self, folder: &Path, interval: Option<Duration>, pace: u64) -> (Scrubbing, CancellationToken, JoinHandle<()>) {
        scrubbing(&self.node, folder, interval, pace)
    }

    async fn stop(self) {
        self.node.stop().await;
        self.founder.stop().await;
    }
}

fn scrubbing(
    node: &TestNode,
    folder: &Path,
    interval: Option<Duration>,
    pace: u64,
) -> (Scrubbing, CancellationToken, JoinHandle<()>) {
    let config = StorageConfig { scrub_interval: interval, scrub_bytes_per_second: pace, ..StorageConfig::default() };
    let scrubbing = Scrubbing::open(folder, node.id, config, node.store.clone(), None, node.consensus.watch(), node.p2p.clone());
    let stop = CancellationToken::new();
    let task = tokio::spawn(scrubbing.clone().keep_up(stop.clone()));
    (scrubbing, stop, task)
}

fn rot(store: &ArtifactStore, sha256: &Sha256Digest) {
    let path = store.blob_path(sha256);
    let mut bytes = fs::read(&path).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("rots");
}

#[test]
fn the_record_of_a_scrub_names_no_folder_of_the_node() {
    let path = Path::new("/var/lib/secret/partial").to_owned();
    let disk = StoreError::Disk { action: "write", path, source: std::io::Error::other("it has no room") };
    let reason = scrubbing::reason_of(&Sha256Digest::of(b"lost"), &disk.into());
    assert!(!reason.contains("secret") && reason.contains("log"), "{reason}");
    let reason = scrubbing::reason_of(&Sha256Digest::of(b"lost"), &crate::p2p::FetchError::Busy);
    assert_eq!(reason, crate::p2p::FetchError::Busy.to_string());
}

async fn wait_for(scrubbing: &Scrubbing, what: impl Fn(&ScrubView) -> bool) -> ScrubView {
    in_time(async {
        loop {
            let view = scrubbing.view();
            if what(&view) {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrub_finds_what_has_rotten_and_gets_it_back_where_that_can_be() {
    let (scrubbed, unpublished) = Scrubbed::start().await;
    let store = scrubbed.node.store.clone();
    let [rotten, lost, ..] = [&scrubbed.artifacts[0], &scrubbed.artifacts[1]].map(|artifact| artifact.sha256);
    rot(&store, &rotten);
    rot(&store, &unpublished);
    store.pin(&lost).expect("pins");
    store.remove(&lost).expect("loses");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (scrubbing, stop, task) = scrubbed.scrubbing(folder.path(), None, 0);
    assert_eq!(
        (scrubbing.start(None, BucketDepth::Sizes), scrubbing.start(None, BucketDepth::Sizes)),
        (ScrubStart::Started, ScrubStart::Running)
    );
    let view = wait_for(&scrubbing, |view| view.last.is_some()).await;
    let last = view.last.expect("was waited for");
    assert_eq!((last.rotten, last.healed, last.artifacts, last.of_artifacts, last.unreadable), (3, 2, 3, 3, 0));
    let healed = |sha256| last.findings.iter().find(|finding| finding.sha256 == sha256).map(|finding| finding.healed);
    assert_eq!([rotten, lost, unpublished].map(healed), [Some(true), Some(true), Some(false)]);
    assert_eq!([rotten, lost, unpublished].map(|sha256| store.contains(&sha256)), [true, true, false]);
    assert!(store.open_inspected(&rotten).expect("reads").is_some());
    let counts = store.counts();
    let count = |count: &std::sync::atomic::AtomicU64| count.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((count(&counts.rotten), count(&counts.healed)), (2, 2));
    stop.cancel();
    task.await.expect("ends");

    // The result outlives a restart, and the interval counts from it.
    let interval = Duration::from_secs(1_000);
    let (scrubbing, stop, task) = scrubbed.scrubbing(folder.path(), Some(interval), 0);
    let view = scrubbing.view();
    assert_eq!(view.next_ms, last.ended_ms.map(|ended_ms| ended_ms + interval.as_millis() as u64));
    assert_eq!((view.running, view.last), (None, Some(last)));
    stop.cancel();
    task.await.expect("ends");
    scrubbed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrub_keeps_its_pace_and_goes_on_where_a_restart_cut_it_off() {
    let (scrubbed, _) = Scrubbed::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Ten minutes for each artifact, unless somebody asks for more.
    let (scrubbing, stop, task) = scrubbed.scrubbing(folder.path(), Some(Duration::ZERO), BYTES as u64 / 600);
    wait_for(&scrubbing, |view| view.running.as_ref().is_some_and(|running| running.bytes > 0)).await;
    assert!(scrubbing.view().running.is_some_and(|running| running.artifacts <= 1));
    stop.cancel();
    in_time(task).await.expect("a stop does not wait for the pace");

    let begun = scrubbing.view().running.expect("goes on");
    let (scrubbing, stop, task) = scrubbed.scrubbing(folder.path(), None, BYTES as u64 / 600);
    assert_eq!(scrubbing.view().running.map(|running| running.started_ms), Some(begun.started_ms));
    wait_for(&scrubbing, |view| view.running.as_ref().is_some_and(|running| running.bytes > begun.bytes)).await;
    assert_eq!(scrubbing.start(Some(0), BucketDepth::Sizes), ScrubStart::Running);
    let last = wait_for(&scrubbing, |view| view.last.is_some()).await.last.expect("was waited for");
    assert_eq!((last.started_ms, last.artifacts, last.rotten), (begun.started_ms, 4, 0));
    assert!(last.bytes >= 3 * BYTES as u64);
    stop.cancel();
    task.await.expect("ends");
    scrubbed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrub_brings_a_keeper_what_it_keeps_for_the_network_and_does_not_have() {
    let (scrubbed, _) = Scrubbed::start().await;
    let keeper = &scrubbed.founder;
    let kept = scrubbed.artifacts[1].sha256;
    keeper.store.remove(&kept).expect("loses");
    // A node that keeps nothing for the network has no need of it.
    scrubbed.node.store.remove(&scrubbed.artifacts[2].sha256).expect("loses");
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
    let (of_keeper, stop, task) = scrubbing(keeper, folders[0].path(), None, 0);
    of_keeper.start(None, BucketDepth::Sizes);
    let last = wait_for(&of_keeper, |view| view.last.is_some()).await.last.expect("was waited for");
    assert_eq!((last.rotten, last.healed), (1, 1), "{:?}", last.findings);
    assert_eq!((last.findings[0].sha256, last.findings[0].healed), (kept, true));
    assert!(keeper.store.contains(&kept));
    stop.cancel();
    task.await.expect("ends");

    let (of_other, stop, task) = scrubbed.scrubbing(folders[1].path(), None, 0);
    of_other.start(None, BucketDepth::Sizes);
    let last = wait_for(&of_other, |view| view.last.is_some()).await.last.expect("was waited for");
    assert_eq!((last.rotten, last.findings), (0, vec![]));
    stop.cancel();
    task.await.expect("ends");
    scrubbed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_is_announced_no_more_until_it_is_back() {
    let [of_founder, of_node] = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
    let founder = Setup::new(1).start_in(of_founder.path()).await;
    founder.found().await;
    let node = Setup::new(2).peer(&founder).start().await;
    let mut artifacts = vec![];
    for number in 0..4 {
        let bytes = noise(BYTES, 191 + 2 * number);
        founder.keep(&bytes);
        artifacts.push(founder.publish(&format!("alpine:{number}"), &bytes).await);
    }
    node.wait_for_state(|state| state.packages.digest(&artifacts[3].sha256).is_some()).await;
    for artifact in &artifacts {
        in_time(node.p2p.fetch(artifact, vec![founder.id])).await.expect("fetches");
    }
    // It remembers for a day what was announced to it.
    founder.stop().await;
    node.wait_for_peers(<[_]>::is_empty).await;
    let [met, scrubbed, vanished, whole] = [0, 1, 2, 3].map(|number: usize| artifacts[number].sha256);
    for sha256 in [met, scrubbed, vanished, whole] {
        wait_until_announced(&node, sha256, true).await;
    }

    let (scrubbing, stop, task) = scrubbing(&node, of_node.path(), None, 0);
    rot(&node.store, &met);
    assert!(node.store.open_inspected(&met).expect("reads").is_none());
    wait_until_announced(&node, met, false).await;
    rot(&node.store, &scrubbed);
    fs::remove_file(node.store.blob_path(&vanished)).expect("vanishes");
    node.store.pin(&scrubbed).expect("pins");
    scrubbing.start(None, BucketDepth::Sizes);
    let last = wait_for(&scrubbing, |view| view.last.is_some()).await.last.expect("was waited for");
    assert_eq!((last.rotten, last.healed), (1, 0), "{:?}", last.findings);
    for (sha256, is_announced) in [(scrubbed, false), (vanished, false), (whole, true)] {
        wait_until_announced(&node, sha256, is_announced).await;
    }

    let founder = Setup::new(1).peer(&node).start_in(of_founder.path()).await;
    node.wait_for_peers(|peers| peers.contains(&founder.id)).await;
    in_time(node.p2p.fetch(&artifacts[0], vec![founder.id])).await.expect("fetches");
    node.store.pin(&vanished).expect("pins");
    scrubbing.start(None, BucketDepth::Sizes);
    wait_for(&scrubbing, |view| view.running.is_none() && view.last.as_ref().is_some_and(|last| last.healed == 2)).await;
    for sha256 in [met, scrubbed, vanished, whole] {
        wait_until_announced(&node, sha256, true).await;
    }
    stop.cancel();
    task.await.expect("ends");
    node.stop().await;
    founder.stop().await;
}

async fn wait_until_announced(node: &TestNode, sha256: Sha256Digest, is_announced: bool) {
    in_time(async {
        while node.p2p.providers(sha256).await.contains(&node.id) != is_announced {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
