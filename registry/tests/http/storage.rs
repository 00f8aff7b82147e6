//! What is stored on the node: shown to everybody, changed by who knows the token.

use super::fixture::Fixture;
use super::image::Image;
use super::pipeline::Pipeline;
use super::pull::publish;
use pyrsia_ledger::Sha256Digest;
use pyrsia_node::storage::{ScrubStart, Standing};
use pyrsia_registry::wire::{
    ArtifactChange, ArtifactsPage, ArtifactsResponse, CollectResponse, ScrubResponse, StoreView, StoredArtifactView,
};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

const PINS: &str = "/api/v1/store/pins";
const UNPINS: &str = "/api/v1/store/unpins";
const REMOVALS: &str = "/api/v1/store/removals";
const SCRUBS: &str = "/api/v1/store/scrubs";
const COLLECTIONS: &str = "/api/v1/store/collections";

async fn asked<T: DeserializeOwned>(fixture: &Fixture, path: &str, body: Value) -> T {
    let (status, answer) = fixture.post(path, &body).await;
    assert!((200..300).contains(&status), "{path}: {answer}");
    serde_json::from_value(answer).expect("the answer")
}

async fn change(fixture: &Fixture, path: &str, artifact: &Sha256Digest) -> ArtifactChange {
    asked::<ArtifactsResponse>(fixture, path, json!({"artifacts": [artifact]})).await.artifacts[0].outcome
}

async fn page(fixture: &Fixture, query: &str) -> ArtifactsPage {
    serde_json::from_value(fixture.json(&format!("/api/v1/artifacts{query}")).await).expect("a page")
}

async fn store(fixture: &Fixture) -> StoreView {
    serde_json::from_value(fixture.json("/api/v1/store").await).expect("the store")
}

fn blob(fixture: &Fixture, sha256: &Sha256Digest) -> PathBuf {
    let name = sha256.to_string();
    fixture.folder.path().join("blobs").join(&name[..2]).join(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_is_shown_pinned_scrubbed_and_removed() {
    let image = Image::new();
    let pipeline = Pipeline::start(image.files()).await;
    let fixture = Fixture::founded(&pipeline.url).await;
    publish(&fixture, "library/hello:1.0").await;
    let [manifest, config, layer]: [Sha256Digest; 3] =
        [&image.manifest, &image.config, &image.layer].map(|bytes| Sha256Digest::of(bytes));

    let whole = page(&fixture, "").await;
    assert_eq!((whole.artifacts.len(), whole.next), (3, None));
    let mut one_by_one: Vec<StoredArtifactView> = vec![];
    let mut after = String::new();
    loop {
        let next = page(&fixture, &format!("?limit=1{after}")).await;
        one_by_one.extend(next.artifacts);
        let Some(next) = next.next else { break };
        after = format!("&after={next}");
    }
    assert_eq!(one_by_one, whole.artifacts);
    let listed = whole.artifacts.iter().find(|artifact| artifact.sha256 == layer).expect("is stored");
    assert_eq!((listed.size_bytes, listed.package.as_deref()), (image.layer.len() as u64, Some("hello:1.0")));
    assert!(!listed.pinned && !listed.at_risk && matches!(listed.standing, Standing::Build | Standing::Kept), "{listed:?}");
    assert_eq!(fixture.get("/api/v1/artifacts?limit=0").await.status(), 400);
    assert_eq!(fixture.get("/api/v1/artifacts?after=x").await.status(), 400);

    let body = json!({"artifacts": [layer]}).to_string();
    for (path, body) in [(PINS, body.as_str()), (UNPINS, &body), (REMOVALS, &body), (SCRUBS, "{}"), (COLLECTIONS, "{}")] {
        let (status, answer) = fixture.send(Method::POST, path, Some("guess"), body).await;
        assert_eq!(status, 401, "{path}: {answer}");
    }
    let unknown = Sha256Digest::of(b"unknown");
    assert_eq!(change(&fixture, PINS, &unknown).await, ArtifactChange::Unknown);
    assert_eq!(change(&fixture, PINS, &layer).await, ArtifactChange::Pinned);
    assert_eq!(change(&fixture, REMOVALS, &layer).await, ArtifactChange::IsPinned);
    // What a build brought stays for a while after its end.
    assert_eq!(change(&fixture, REMOVALS, &config).await, ArtifactChange::IsNeeded);
    assert_eq!(change(&fixture, REMOVALS, &unknown).await, ArtifactChange::NotHere);

    fs::write(blob(&fixture, &layer), b"rotten").expect("rots");
    let started: ScrubResponse = asked(&fixture, SCRUBS, json!({"bytes_per_second": 0})).await;
    assert_eq!(started.state, ScrubStart::Started);
    fixture.until("the scrub has ended", async || store(&fixture).await.scrub.last.is_some()).await;
    let after = store(&fixture).await;
    let last = after.scrub.last.expect("was waited for");
    assert_eq!((last.artifacts, last.rotten, last.healed), (3, 1, 0));
    assert_eq!((last.findings[0].sha256, last.findings[0].healed), (layer, false));
    assert_eq!((after.artifacts, after.pinned, after.missing_pins), (2, 1, vec![layer]));
    let metrics = fixture.get("/metrics").await.text().await.expect("text");
    for line in [
        "pyrsia_store_artifacts 2",
        "pyrsia_store_pinned 1",
        "pyrsia_store_rotten 1",
        "pyrsia_store_healed 0",
        "pyrsia_store_budget_bytes 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    assert_eq!(change(&fixture, PINS, &layer).await, ArtifactChange::PinnedNotHere);
    assert_eq!(change(&fixture, UNPINS, &layer).await, ArtifactChange::Unpinned);
    assert_eq!(change(&fixture, UNPINS, &layer).await, ArtifactChange::WasNotPinned);

    // What clients ask for again and again is sent from memory; that its file has changed is noticed all the same.
    for _ in 0..2 {
        let response = fixture.get("/v2/hello/manifests/1.0").await;
        assert_eq!(response.bytes().await.expect("the body"), image.manifest);
    }
    fs::write(blob(&fixture, &manifest), b"rotten").expect("rots");
    assert_eq!(fixture.get("/v2/hello/manifests/1.0").await.status(), 503);
    fixture.stop().await;
}

/// Puts bytes where the store has its artifacts.
fn store_bytes(fixture: &Fixture, bytes: &[u8]) -> Sha256Digest {
    let sha256 = Sha256Digest::of(bytes);
    let path = blob(fixture, &sha256);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder of the store");
    fs::write(path, bytes).expect("is stored");
    sha256
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leaves_the_disk_when_its_copy_in_the_bucket_cannot_be_removed() {
    let fixture = Fixture::without_network().await;
    let stored = store_bytes(&fixture, b"an artifact");
    let (status, answer) = fixture.post(REMOVALS, &json!({"artifacts": [stored], "bucket": true})).await;
    assert_eq!((status, blob(&fixture, &stored).exists()), (400, true), "{answer}");
    fixture.stop().await;

    let fixture = Fixture::with_bucket().await;
    let [stored, blocked] = [b"an artifact".as_slice(), b"another"].map(|bytes| store_bytes(&fixture, bytes));
    // What stands in the way of the one artifact's folder in the bucket is in no other's.
    let folder = fixture.folder.path().join("bucket-of-test/sha256");
    fs::create_dir_all(&folder).expect("a folder of the bucket");
    assert_ne!(stored.to_string()[..2], blocked.to_string()[..2]);
    fs::write(folder.join(&blocked.to_string()[..2]), b"in the way").expect("is written");
    let answer: ArtifactsResponse = asked(&fixture, REMOVALS, json!({"artifacts": [stored, blocked], "bucket": true})).await;
    let outcomes: Vec<ArtifactChange> = answer.artifacts.iter().map(|artifact| artifact.outcome).collect();
    assert_eq!(outcomes, [ArtifactChange::Removed, ArtifactChange::Failed]);
    assert_eq!((blob(&fixture, &stored).exists(), blob(&fixture, &blocked).exists()), (false, true));
    let (status, answer) = fixture.post(REMOVALS, &json!({"artifacts": [blocked], "bucket": true})).await;
    assert_eq!((status, blob(&fixture, &blocked).exists()), (503, true), "{answer}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nothing_names_is_collected_once_it_is_old() {
    let fixture = Fixture::founded("http://127.0.0.1:9").await;
    let collect = async |dry_run: bool| asked::<CollectResponse>(&fixture, COLLECTIONS, json!({"dry_run": dry_run})).await;
    assert_eq!(collect(false).await, CollectResponse { dry_run: false, downloads: vec![], artifacts: vec![], young: 0 });
    let partial = fixture.folder.path().join("partial").join(Sha256Digest::of(b"a download").to_string());
    let file = File::create(&partial).expect("a download");
    file.set_modified(SystemTime::now() - Duration::from_secs(8 * 24 * 60 * 60)).expect("ages");
    drop(file);
    let found = collect(true).await;
    assert_eq!((found.downloads.len(), found.dry_run, partial.exists()), (1, true, true));
    assert_eq!((collect(false).await.downloads.len(), partial.exists()), (1, false));
    fixture.stop().await;

    let fixture = Fixture::without_network().await;
    let (status, answer) = fixture.post(COLLECTIONS, &json!({})).await;
    assert!(status == 503 && answer["detail"].as_str().is_some_and(|detail| detail.contains("no network")), "{answer}");
    fixture.stop().await;
}
