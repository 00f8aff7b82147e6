//! The bucket against object storages of the crate's own: one in memory, and one in a folder.

pub(crate) mod service;

use super::write::Copied;
use super::*;
use crate::artifacts::ArtifactStore;
use crate::p2p::tests::{TestNode, artifact, in_time, noise};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt as _};
use pyrsia_ledger::event::BuiltArtifact;
use std::io::Write as _;
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const MIB: usize = 1 << 20;

/// A bucket in memory, its records, and a store before it.
pub(crate) struct Fixture {
    pub(crate) bucket: Bucket,
    objects: Arc<dyn ObjectStore>,
    pub(super) store: ArtifactStore,
    folder: TempDir,
}

fn location(objects: &Arc<dyn ObjectStore>) -> Location {
    let prefix = ObjectPath::from("a/prefix");
    Location { objects: objects.clone(), prefix, url: "memory".into(), id: Sha256Digest::of(b"memory") }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(Arc::new(InMemory::new()))
    }

    /// With a service that counts, waits and fails.
    pub(crate) fn of_service() -> (Self, Arc<service::Service>) {
        let service = service::Service::new();
        (Self::with(service.clone()), service)
    }

    fn with(objects: Arc<dyn ObjectStore>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let bucket = Bucket::behind(location(&objects), folder.path()).expect("opens");
        let store = ArtifactStore::open(&folder.path().join("store")).expect("opens");
        Self { bucket, objects, store, folder }
    }

    /// The same bucket after a restart, or for another node when `folder` is another.
    fn again(&self, folder: &Path) -> Bucket {
        Bucket::behind(location(&self.objects), folder).expect("opens")
    }

    pub(crate) fn keep(&self, bytes: &[u8]) -> BuiltArtifact {
        let mut ingest = self.store.begin().expect("begins");
        ingest.write_all(bytes).expect("writes");
        ingest.commit(None).expect("commits");
        artifact("alpine:1", bytes)
    }

    pub(crate) async fn copy(&self, store: &ArtifactStore, sha256: Sha256Digest) {
        self.bucket.copy(store, sha256, &CancellationToken::new()).await.expect("is copied");
    }

    /// The copy of an artifact that no node of the test has stored.
    pub(crate) async fn copy_bytes(&self, bytes: &[u8]) {
        let kept = self.keep(bytes);
        self.copy(&self.store, kept.sha256).await;
    }

    /// Takes an object away as another node would.
    pub(crate) async fn lose(&self, sha256: &Sha256Digest) {
        self.objects.delete(&self.bucket.artifact_path(sha256)).await.expect("deletes");
    }

    /// Replaces an object by something else.
    pub(crate) async fn overwrite(&self, artifact: &BuiltArtifact, bytes: Vec<u8>) {
        self.objects.put(&self.bucket.artifact_path(&artifact.sha256), bytes.into()).await.expect("puts");
    }

    async fn object(&self, path: &ObjectPath) -> Option<Vec<u8>> {
        Some(self.objects.get(path).await.ok()?.bytes().await.expect("reads").to_vec())
    }
}

#[tokio::test]
async fn an_artifact_is_copied_under_its_digest_and_its_chunks_are_found_again() {
    let fixture = Fixture::new();
    for (size, has_list) in [(0, false), (1, false), (MIB, false), (MIB + 1, true), (9 * MIB + 5, true)] {
        let bytes = noise(size, size as u64);
        let kept = fixture.keep(&bytes);
        assert_eq!(
            fixture.bucket.copy(&fixture.store, kept.sha256, &CancellationToken::new()).await.expect("copies"),
            Copied::Written
        );
        assert_eq!(fixture.bucket.known_copy(&kept.sha256), Some(size as u64));
        let name = kept.sha256.to_string();
        let path = ObjectPath::from(format!("a/prefix/sha256/{}/{name}", &name[..2]));
        assert_eq!(fixture.object(&path).await, Some(bytes.clone()), "{size}");
        assert_eq!(fixture.object(&ObjectPath::from(format!("{path}.chunks"))).await.is_some(), has_list, "{size}");
        let list = fixture.bucket.chunk_list(&kept).await.expect("answers");
        let BucketRead::Found(list) = list else { panic!("{size}: no list") };
        assert_eq!(Some(&list), fixture.store.chunk_list(&kept.sha256).expect("reads").as_ref());
        let tail = size as u64 / 2..size as u64;
        let read = fixture.bucket.read(&kept.sha256, tail.clone()).await.expect("answers");
        assert_eq!(read, BucketRead::Found(bytes::Bytes::copy_from_slice(&bytes[size / 2..])));
        assert!(fixture.bucket.still_has(&kept.sha256).await.is_some());
    }
    fixture.bucket.probe().await.expect("is tried out");
    assert_eq!(fixture.bucket.view().artifacts, 5);
    assert_eq!(fixture.again(fixture.folder.path()).view().artifacts, 5, "a restart forgets none");
}

#[tokio::test]
async fn another_nodes_copy_counts_once_it_was_read_and_a_damaged_one_is_written_anew() {
    let fixture = Fixture::new();
    let other_folder = tempfile::tempdir().expect("a temporary folder");
    for size in [1_000, 9 * MIB] {
        let kept = fixture.keep(&noise(size, 3));
        assert_eq!(
            fixture.bucket.copy(&fixture.store, kept.sha256, &CancellationToken::new()).await.expect("copies"),
            Copied::Written
        );
        let other = fixture.again(other_folder.path());
        assert_eq!(other.known_copy(&kept.sha256), None);
        assert_eq!(other.copy(&fixture.store, kept.sha256, &CancellationToken::new()).await.expect("looks"), Copied::WasThere);
        assert_eq!(other.known_copy(&kept.sha256), Some(size as u64));
        // Somebody who never saw it, after it rotted.
        fixture.overwrite(&kept, noise(size, 4)).await;
        let third = fixture.again(&other_folder.path().join(size.to_string()));
        assert_eq!(third.copy(&fixture.store, kept.sha256, &CancellationToken::new()).await.expect("mends"), Copied::Written);
        assert_eq!((third.view().wrong, third.counts().wrong.load(Ordering::Relaxed)), (0, 1));
        assert_eq!(fixture.object(&third.artifact_path(&kept.sha256)).await, Some(noise(size, 3)));
    }
}

#[tokio::test]
async fn a_copy_with_another_size_or_other_bytes_is_no_copy() {
    let fixture = Fixture::new();
    let kept: Vec<BuiltArtifact> = (1..=4).map(|number| fixture.keep(&noise(2 * MIB, 2 * number + 1))).collect();
    for artifact in &kept {
        fixture.copy(&fixture.store, artifact.sha256).await;
    }
    let [short, rotten, gone, whole] = &kept[..] else { unreachable!("four were kept") };
    fixture.overwrite(short, noise(MIB, 1)).await;
    fixture.overwrite(rotten, noise(2 * MIB, 99)).await;
    let bucket = &fixture.bucket;
    fixture.objects.delete(&bucket.artifact_path(&gone.sha256)).await.expect("deletes");
    assert!(matches!(bucket.chunk_list(short).await, Err(BucketError::Wrong { .. })));
    assert_eq!(bucket.chunk_list(short).await.expect("knows"), BucketRead::NotThere, "it is not asked for it again");
    assert!(bucket.still_has(&short.sha256).await.is_none());
    bucket.0.copies.note(&short.sha256, 2 * MIB as u64).expect("notes");
    let (check, lost) = bucket.check(BucketDepth::Sizes, |_| Duration::ZERO).await;
    let expected = BucketCheck { copies: 3, wrong: 1, gone: 1, ..BucketCheck::default() };
    assert_eq!((check, lost.len()), (expected, 2), "sizes do not tell the rotten one");
    let (check, lost) = bucket.check(BucketDepth::Bytes, |_| Duration::ZERO).await;
    assert_eq!((check.copies, check.wrong, check.gone, lost), (2, 1, 0, vec![rotten.sha256]));
    assert_eq!(check.bytes_read, 4 * MIB as u64);
    for (artifact, is_there) in [(whole, true), (gone, false), (short, false)] {
        assert_eq!(bucket.still_has(&artifact.sha256).await.is_some(), is_there);
    }
    let again = fixture.again(fixture.folder.path());
    assert_eq!((again.view().artifacts, again.view().wrong), (1, 2), "a restart knows what is damaged");
}

#[tokio::test]
async fn a_lost_or_false_chunk_list_is_made_anew_from_the_bytes() {
    let fixture = Fixture::new();
    let (bucket, kept) = (&fixture.bucket, fixture.keep(&noise(9 * MIB + 5, 1)));
    fixture.copy(&fixture.store, kept.sha256).await;
    let path = bucket.list_path(&kept.sha256);
    let list = fixture.object(&path).await.expect("there is a list");
    let whole = BucketCheck { copies: 1, ..BucketCheck::default() };
    for damage in [None, Some(noise(7, 1)), Some(noise(list.len(), 2))] {
        let damage_it = || async {
            match &damage {
                None => fixture.objects.delete(&path).await.expect("deletes"),
                Some(bytes) => fixture.objects.put(&path, bytes.clone().into()).await.map(drop).expect("puts"),
            }
        };
        damage_it().await;
        // Many ask at once, and it is read once.
        let before = bucket.counts().read_bytes.load(Ordering::Relaxed);
        let asked = futures::future::join_all((0..8).map(|_| bucket.chunk_list(&kept))).await;
        let is_found = |answer: &Result<_, _>| matches!(answer, Ok(BucketRead::Found(_)));
        assert!(asked.iter().all(is_found), "{asked:?}");
        assert_eq!(fixture.object(&path).await.as_ref(), Some(&list));
        let read = bucket.counts().read_bytes.load(Ordering::Relaxed) - before;
        assert!(read < 10 * MIB as u64, "{read}");

        // A look at the sizes finds it where the length tells, one at the bytes in any case.
        damage_it().await;
        let is_seen = damage.as_ref().is_none_or(|bytes| bytes.len() != list.len());
        let (check, lost) = bucket.check(BucketDepth::Sizes, |_| Duration::ZERO).await;
        let bytes_read = if is_seen { kept.size_bytes } else { 0 };
        assert_eq!((check, lost), (BucketCheck { bytes_read, ..whole.clone() }, vec![]));
        assert_eq!(fixture.object(&path).await.as_ref() == Some(&list), is_seen);
        bucket.check(BucketDepth::Bytes, |_| Duration::ZERO).await;
        assert_eq!(fixture.object(&path).await.as_ref(), Some(&list));
    }
    // Without the right bytes there is no list to be made.
    fixture.overwrite(&kept, noise(9 * MIB + 5, 3)).await;
    fixture.objects.delete(&path).await.expect("deletes");
    assert!(matches!(bucket.chunk_list(&kept).await, Err(BucketError::Wrong { .. })));
    assert_eq!((bucket.view().wrong, fixture.object(&path).await), (1, None));
}

#[tokio::test]
async fn a_rotten_artifact_gets_no_copy() {
    let fixture = Fixture::new();
    for size in [1_000, 9 * MIB] {
        let kept = fixture.keep(&noise(size, 5));
        let path = fixture.store.blob_path(&kept.sha256);
        std::fs::write(&path, noise(size, 6)).expect("rots");
        assert!(matches!(
            fixture.bucket.copy(&fixture.store, kept.sha256, &CancellationToken::new()).await,
            Err(BucketError::Rotten)
        ));
        assert_eq!(fixture.object(&fixture.bucket.artifact_path(&kept.sha256)).await, None);
        assert_eq!(fixture.bucket.known_copy(&kept.sha256), None);
    }
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_copy_leaves_no_part_of_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let fixture = Fixture::with(Arc::new(LocalFileSystem::new_with_prefix(folder.path()).expect("opens")));
    let kept = fixture.keep(&noise(40 * MIB, 1));
    let object = folder.path().join(fixture.bucket.artifact_path(&kept.sha256).as_ref());
    let shard = object.parent().expect("lies in a folder").to_owned();
    // The list has parts as well, for a moment, and a name of its own.
    let part = format!("{}#", object.file_name().expect("has a name").to_string_lossy());
    let unfinished = || {
        std::fs::read_dir(&shard)
            .into_iter()
            .flatten()
            .flatten()
            .any(|file| file.file_name().to_string_lossy().starts_with(&part))
    };
    let stop = CancellationToken::new();
    let (bucket, store, sha256, stopped) = (fixture.bucket.clone(), fixture.store.clone(), kept.sha256, stop.clone());
    let copying = tokio::spawn(async move { bucket.copy(&store, sha256, &stopped).await });
    in_time(async {
        while !unfinished() {
            assert!(!copying.is_finished(), "it was too fast to be stopped");
            tokio::task::yield_now().await;
        }
    })
    .await;
    stop.cancel();
    assert!(matches!(in_time(copying).await.expect("ends"), Err(BucketError::Stopped)));
    assert!(!unfinished(), "the part stays");
    assert_eq!(fixture.bucket.known_copy(&kept.sha256), None);
}

#[tokio::test]
async fn what_is_removed_is_gone_with_its_list() {
    let fixture = Fixture::new();
    let kept = fixture.keep(&noise(2 * MIB, 1));
    fixture.copy(&fixture.store, kept.sha256).await;
    assert!(fixture.bucket.remove(&kept.sha256).await.expect("removes"));
    assert!(!fixture.bucket.remove(&kept.sha256).await.expect("removes nothing"));
    let left: Vec<_> = futures::StreamExt::collect(fixture.objects.list(None)).await;
    let left: Vec<_> = left.into_iter().map(|object| object.expect("is listed").location).collect();
    assert_eq!(left, [fixture.bucket.mark_path()]);
    assert_eq!(fixture.bucket.view().artifacts, 0);
}

#[tokio::test]
async fn a_folder_that_vanishes_is_a_bucket_that_is_left_alone_until_it_is_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = folder.path().join("bucket");
    std::fs::create_dir(&place).expect("makes");
    let url = url::Url::from_directory_path(&place).expect("a URL");
    let config = BucketConfig { url, endpoint: None, region: None, credentials: None, allow_http: false };
    let bucket = Bucket::open(&config, folder.path()).await.expect("opens");
    let store = ArtifactStore::open(&folder.path().join("store")).expect("opens");
    let mut ingest = store.begin().expect("begins");
    ingest.write_all(b"bytes").expect("writes");
    let stored = ingest.commit(None).expect("commits");
    // A file where the folder was: nothing can be made in it.
    let aside = folder.path().join("aside");
    std::fs::rename(&place, &aside).expect("vanishes");
    std::fs::write(&place, b"").expect("writes");
    assert!(bucket.copy(&store, stored.sha256, &CancellationToken::new()).await.is_err());
    assert!(!bucket.is_well());
    assert!(matches!(bucket.copy(&store, stored.sha256, &CancellationToken::new()).await, Err(BucketError::Resting { .. })));
    assert_eq!(bucket.known_copy(&stored.sha256), None);
    std::fs::remove_file(&place).expect("removes");
    std::fs::rename(&aside, &place).expect("is back");
    let copied = in_time(async {
        loop {
            match bucket.copy(&store, stored.sha256, &CancellationToken::new()).await {
                Ok(copied) => return copied,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    assert_eq!(copied.await, Copied::Written);
    assert!(bucket.is_well());
}

#[tokio::test]
async fn a_disk_that_is_not_mounted_takes_nothing_and_is_no_reason_to_believe_that_copies_are_gone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (place, disk) = (folder.path().join("mnt"), folder.path().join("disk"));
    std::fs::create_dir(&place).expect("makes");
    let url = url::Url::from_directory_path(&place).expect("a URL");
    let config = BucketConfig { url, endpoint: None, region: None, credentials: None, allow_http: false };
    let store = ArtifactStore::open(&folder.path().join("store")).expect("opens");
    let [first, second] = [b"first", b"later"].map(|bytes| {
        let mut ingest = store.begin().expect("begins");
        ingest.write_all(bytes).expect("writes");
        ingest.commit(None).expect("commits").sha256
    });
    let bucket = Bucket::open(&config, folder.path()).await.expect("opens");
    let stop = CancellationToken::new();
    bucket.copy(&store, first, &stop).await.expect("copies");

    // The empty folder below the mount.
    std::fs::rename(&place, &disk).expect("is unmounted");
    std::fs::create_dir(&place).expect("makes");
    assert!(matches!(bucket.copy(&store, second, &stop).await, Err(BucketError::Unmarked { .. })));
    assert!(!bucket.is_well());
    let again = Bucket::open(&config, folder.path()).await;
    assert!(matches!(again, Err(OpenBucketError::Probe { source: BucketError::Unmarked { .. }, .. })), "{again:?}");
    let unmounted = Bucket::behind(location::open(&config).expect("opens"), folder.path()).expect("opens");
    let (check, lost) = unmounted.check(BucketDepth::Sizes, |_| Duration::ZERO).await;
    assert!(check.reason.is_some() && (check.gone, lost) == (0, vec![]));
    let unmounted = Bucket::behind(location::open(&config).expect("opens"), folder.path()).expect("opens");
    assert!(unmounted.still_has(&first).await.is_none(), "it must not leave the disk either");
    assert_eq!((unmounted.known_copy(&first), std::fs::read_dir(&place).expect("reads").count()), (Some(5), 0));

    std::fs::remove_dir(&place).expect("removes");
    std::fs::rename(&disk, &place).expect("is mounted");
    let again = Bucket::open(&config, folder.path()).await.expect("opens");
    assert!(again.still_has(&first).await.is_some());
    again.copy(&store, second, &stop).await.expect("copies");
}

async fn fetch(node: &TestNode, artifact: &BuiltArtifact) -> Result<(), crate::p2p::FetchError> {
    in_time(node.p2p.fetch(artifact, vec![])).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_bucket_has_leaves_the_disk_of_its_keeper_and_comes_back_without_a_peer() {
    let fixture = Fixture::new();
    let sizes = [3 * MIB as u64, 3 * MIB as u64];
    let founder = crate::p2p::tests::Setup::new(1).budget(4 * MIB as u64).bucket(fixture.bucket.clone()).start().await;
    founder.found().await;
    let mut published = vec![];
    for (seed, size) in sizes.into_iter().enumerate() {
        let bytes = noise(size as usize, seed as u64 + 1);
        founder.keep(&bytes);
        published.push((founder.publish(&format!("alpine:{seed}"), &bytes).await, bytes));
    }
    // Of the two, which this node alone keeps for the network, only one that has a copy may leave.
    assert_eq!(founder.store.usage().artifacts, 2);
    for (artifact, _) in &published {
        fixture.copy(&founder.store, artifact.sha256).await;
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while founder.store.usage().artifacts > 1 {
        assert!(Instant::now() < deadline, "nothing leaves");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // To bring one back takes the place of the other.
    for (artifact, bytes) in published.iter().chain(&published) {
        fetch(&founder, artifact).await.expect("comes back from the bucket");
        assert_eq!(founder.stored(artifact).as_ref(), Some(bytes));
        assert_eq!(founder.store.usage().artifacts, 1);
    }
    assert!(fixture.bucket.counts().recalled.load(Ordering::Relaxed) >= 3);

    // A peer gets from this node what is in its bucket alone.
    let peer = crate::p2p::tests::Setup::new(2).peer(&founder).start().await;
    peer.wait_for_state(|state| state.packages.digest(&published[1].0.sha256).is_some()).await;
    let (away, bytes) = published.iter().find(|(artifact, _)| !founder.store.contains(&artifact.sha256)).expect("one is away");
    fetch(&peer, away).await.expect("comes from the bucket of the other node");
    assert_eq!(peer.stored(away).as_ref(), Some(bytes));
    assert!(!founder.store.contains(&away.sha256), "it touched no disk there");

    // The bucket lies: nothing of it is stored, and the peer brings what it kept.
    fixture.overwrite(away, noise(3 * MIB, 77)).await;
    fetch(&founder, away).await.expect("comes from the peer");
    assert_eq!(founder.stored(away).as_ref(), Some(bytes));
    assert_eq!(fixture.bucket.view().wrong, 1);
    fixture.copy(&founder.store, away.sha256).await;
    assert_eq!(fixture.bucket.view().wrong, 0);
    assert_eq!(fixture.object(&fixture.bucket.artifact_path(&away.sha256)).await.as_ref(), Some(bytes));
    peer.stop().await;
    founder.stop().await;
}
