//! What the store promises, on a folder.

use super::*;

mod model;

fn store() -> (tempfile::TempDir, ArtifactStore) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = ArtifactStore::open(folder.path()).expect("a new store opens");
    (folder, store)
}

fn put(store: &ArtifactStore, bytes: &[u8]) -> Stored {
    let mut ingest = store.begin().expect("begins");
    ingest.write_all(bytes).expect("writes");
    ingest.commit(None).expect("commits")
}

fn files_in(folder: &Path) -> usize {
    fs::read_dir(folder).expect("lists").count()
}

#[test]
fn what_was_stored_reads_back_after_the_store_opens_again() {
    let (folder, store) = store();
    let bytes = vec![7; CHUNK_BYTES + 5];
    let stored = put(&store, &bytes);
    assert_eq!(stored, put(&store, &bytes));
    assert_eq!(store.digests(10), [stored.sha256]);
    drop(store);
    let store = ArtifactStore::open(folder.path()).expect("opens again");
    let mut read = vec![];
    store.open_file(&stored.sha256).expect("opens").expect("is here").read_to_end(&mut read).expect("reads");
    assert_eq!((Sha256Digest::of(&read), read.len() as u64), (stored.sha256, stored.size_bytes));
    let list = store.chunk_list(&stored.sha256).expect("reads").expect("is here");
    assert_eq!((list.root(), list.count()), (stored.chunk_root, 2));
    assert_eq!(files_in(&folder.path().join("tmp")), 0);
}

#[test]
fn bytes_that_are_not_what_was_promised_do_not_get_in() {
    let (folder, store) = store();
    let mut ingest = store.begin().expect("begins");
    ingest.write_all(b"wrong").expect("writes");
    let (expected, found) = (Sha256Digest::of(b"right"), Sha256Digest::of(b"wrong"));
    assert!(matches!(ingest.commit(Some(expected)), Err(StoreError::WrongBytes { found: f, .. }) if f == found));
    assert!(!store.contains(&expected) && !store.contains(&found));
    assert_eq!(files_in(&folder.path().join("tmp")), 0);
}

#[test]
fn what_a_killed_process_left_is_removed_and_what_a_running_one_writes_is_not() {
    let (folder, store) = store();
    let left = folder.path().join("tmp").join("1-0");
    fs::write(&left, b"half").expect("writes");
    let mut running = store.begin().expect("begins");
    ArtifactStore::open(folder.path()).expect("opens");
    assert!(!left.exists());
    running.write_all(b"all of it").expect("writes");
    let stored = running.commit(None).expect("commits");
    assert!(store.contains(&stored.sha256));
}

#[test]
fn a_blob_of_the_wrong_size_is_gone_at_the_next_look() {
    let (_folder, store) = store();
    let stored = put(&store, b"some bytes");
    let path = store.blob_path(&stored.sha256);
    fs::remove_file(&path).expect("removes");
    fs::write(&path, b"some").expect("truncates");
    assert!(!store.contains(&stored.sha256));
    assert!(store.open_file(&stored.sha256).expect("looks").is_none());
    assert!(!path.exists());
    assert_eq!(put(&store, b"some bytes"), stored);
    assert!(store.contains(&stored.sha256));
}

#[test]
fn a_blob_that_was_changed_in_its_place_is_gone_at_the_next_look() {
    let (_folder, store) = store();
    let stored = put(&store, b"these are the bytes");
    assert!(store.open_inspected(&stored.sha256).expect("opens").is_some());
    assert!(store.open_unchanged(&stored.sha256).is_some());
    let path = store.blob_path(&stored.sha256);
    let other = path.with_extension("other");
    fs::write(&other, b"those are the bytes").expect("writes");
    fs::rename(other, &path).expect("renames");
    assert!(store.open_unchanged(&stored.sha256).is_none());
    assert!(store.open_inspected(&stored.sha256).expect("looks").is_none());
    assert!(!path.exists());

    // What lay there while nobody looked is read before it is trusted.
    let stored = put(&store, b"these are the bytes");
    let again = ArtifactStore::open(&store.folder.path).expect("opens again");
    assert!(again.open_unchanged(&stored.sha256).is_none());
    let mut read = vec![];
    again.open_inspected(&stored.sha256).expect("opens").expect("is here").read_to_end(&mut read).expect("reads");
    assert_eq!(read, b"these are the bytes");
    fs::write(&path, b"those are the bytes").expect("writes");
    assert!(ArtifactStore::open(&store.folder.path).expect("opens").open_inspected(&stored.sha256).expect("looks").is_none());
}

#[test]
fn a_lost_chunk_list_comes_back_from_the_bytes_and_a_damaged_blob_does_not() {
    let (_folder, store) = store();
    let stored = put(&store, b"some bytes");
    for damage in [None, Some(b"not a list")] {
        fs::remove_file(store.list_path(&stored.sha256)).expect("removes");
        if let Some(bytes) = damage {
            fs::write(store.list_path(&stored.sha256), [&10u64.to_le_bytes()[..], bytes].concat()).expect("writes");
        }
        let list = store.chunk_list(&stored.sha256).expect("reads").expect("is here");
        assert_eq!(list.root(), stored.chunk_root);
    }
    let (path, list) = (store.blob_path(&stored.sha256), store.list_path(&stored.sha256));
    fs::remove_file(&list).and_then(|()| fs::remove_file(&path)).expect("removes");
    fs::write(&path, b"sOme bytes").expect("writes");
    assert_eq!(store.chunk_list(&stored.sha256).expect("reads"), None);
    assert!(!path.exists());
}

#[test]
fn what_is_pinned_read_or_brought_by_a_build_is_not_evicted_and_the_rest_is() {
    let (folder, store) = store();
    let [pinned, read, brought, free] = ["pinned", "read", "brought", "free"].map(|bytes| put(&store, bytes.as_bytes()).sha256);
    assert!(store.pin(&pinned).expect("pins") && !store.pin(&pinned).expect("is pinned"));
    let reader = store.open_unchanged(&read).expect("is as it came");
    let build = BuildId::of(
        &pyrsia_ledger::NetworkId::UNFOUNDED,
        &pyrsia_ledger::PackageCoordinate::new("docker", "alpine:1").expect("a coordinate"),
        0,
    );
    store.note_brought(&build, &brought).expect("notes");
    let evict = |sha256: &Sha256Digest| store.evict(sha256).expect("looks");
    assert_eq!(
        [pinned, read, brought, free].map(|sha256| evict(&sha256)),
        [Leaving::Pinned, Leaving::InUse, Leaving::Needed, Leaving::Gone]
    );
    assert_eq!(evict(&free), Leaving::NotHere);
    assert_eq!([pinned, read, brought, free].map(|sha256| store.contains(&sha256)), [true, true, true, false]);
    assert_eq!(store.remove_unneeded(&pinned).expect("looks"), Leaving::Pinned);
    assert_eq!(store.release(&build, |_| false).expect("releases"), 1);
    drop(reader);
    assert_eq!(evict(&read), Leaving::Gone);
    assert_eq!(store.usage().bytes, "pinned".len() as u64);

    let store = ArtifactStore::open(folder.path()).expect("opens again");
    assert!(store.is_pinned(&pinned) && store.unpin(&pinned).expect("unpins") && !store.unpin(&pinned).expect("has none"));
    assert_eq!(store.evict(&pinned).expect("looks"), Leaving::Gone);
    assert_eq!(ArtifactStore::open(folder.path()).expect("opens again").pins().len(), 0);
}

#[test]
fn the_order_of_the_last_uses_survives_a_restart_and_a_clock_that_stood_ahead() {
    let (folder, store) = store();
    let all = ["first", "second", "third"].map(|bytes| put(&store, bytes.as_bytes()).sha256);
    let age = |sha256: &Sha256Digest, age: i64| {
        let step = super::super::catalogue::USE_STEP * age.unsigned_abs() as u32;
        let time = if age < 0 { SystemTime::now() + step } else { SystemTime::now() - step };
        File::open(store.list_path(sha256)).and_then(|list| list.set_modified(time)).expect("ages");
    };
    all.iter().zip([-100, 3, 2]).for_each(|(sha256, steps)| age(sha256, steps));
    let order = |store: &ArtifactStore| store.least_recently_used_first().iter().map(|stored| stored.sha256).collect::<Vec<_>>();
    let [first, second, third] = all;
    let store = ArtifactStore::open(folder.path()).expect("opens again");
    assert_eq!(order(&store), [second, third, first]);
    assert!(store.get(&first).expect("is here").last_use <= SystemTime::now());
    drop(store.open_inspected(&second).expect("opens").expect("is here"));
    let list = fs::metadata(store.list_path(&second)).and_then(|list| list.modified()).expect("a time");
    drop(store.open_inspected(&second).expect("opens").expect("is here"));
    let later = fs::metadata(store.list_path(&second)).and_then(|list| list.modified()).expect("a time");
    assert_eq!(list, later, "a use within the step is not written");
    assert_eq!(order(&ArtifactStore::open(folder.path()).expect("opens again")), [third, second, first]);
}

#[test]
fn a_scrub_finds_what_changed_in_place_and_mends_chunk_lists() {
    let (_folder, store) = store();
    let [whole, rotten, listless] = ["whole bytes", "other bytes", "more bytes"].map(|bytes| put(&store, bytes.as_bytes()));
    fs::write(store.blob_path(&rotten.sha256), b"Other bytes").expect("rots");
    fs::write(store.list_path(&listless.sha256), b"no list at all").expect("rots");
    let inspect = |stored: &Stored| store.inspect(&stored.sha256, |_| true).expect("reads");
    assert_eq!(inspect(&whole), crate::artifacts::Inspection::Whole);
    let found = inspect(&rotten);
    assert!(matches!(&found, crate::artifacts::Inspection::Rotten { why } if why.contains("sha256")), "{found:?}");
    assert!(!store.contains(&rotten.sha256) && store.get(&rotten.sha256).is_none());
    assert_eq!(inspect(&rotten), crate::artifacts::Inspection::NotHere);
    assert_eq!(inspect(&listless), crate::artifacts::Inspection::Whole);
    assert_eq!(store.read_list(&listless.sha256).map(|list| list.root()), Some(listless.chunk_root));
    assert_eq!(store.inspect(&whole.sha256, |_| false).expect("stops"), crate::artifacts::Inspection::Interrupted);
    assert_eq!(store.counts().rotten.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_vanishes_or_cannot_be_removed_is_lost_whoever_meets_it() {
    let (_folder, store) = store();
    let [read, scrubbed, stuck, taken] = [b"read", b"scru", b"stuc", b"take"].map(|bytes| put(&store, bytes).sha256);
    for sha256 in [read, scrubbed, stuck] {
        fs::remove_file(store.blob_path(&sha256)).expect("vanishes");
    }
    // Nobody, root neither, removes a folder as if it were a file.
    fs::create_dir(store.blob_path(&stuck)).expect("a folder in its place");
    assert!(store.open_file(&read).expect("looks").is_none());
    assert_eq!(store.inspect(&scrubbed, |_| true).expect("looks"), crate::artifacts::Inspection::NotHere);
    assert!(store.open_file(&stuck).is_err(), "it cannot be removed");
    store.remove(&taken).expect("removes");
    assert!(store.open_file(&taken).expect("looks").is_none());
    assert_eq!(store.lost().await, BTreeMap::from([(read, Loss::Gone), (scrubbed, Loss::Gone), (stuck, Loss::Stuck)]));
    assert_eq!(store.digests(10), [stuck]);
}

#[test]
fn a_good_copy_that_came_while_a_damaged_one_was_read_stays() {
    let (folder, store) = store();
    let stored = put(&store, b"some bytes");
    let path = store.blob_path(&stored.sha256);
    let aside = folder.path().join("aside");
    let replace = |bytes: &[u8]| fs::write(&aside, bytes).and_then(|()| fs::rename(&aside, &path)).expect("replaces");
    replace(b"sOme bytes");
    let found = store.inspect(&stored.sha256, |_| {
        replace(b"some bytes");
        true
    });
    assert_eq!(found.expect("reads"), crate::artifacts::Inspection::NotHere);
    assert!(store.open_inspected(&stored.sha256).expect("opens").is_some());
    assert_eq!(store.counts().rotten.load(std::sync::atomic::Ordering::Relaxed), 0);

    let whole = File::open(&path).expect("opens");
    replace(b"sOme bytes");
    let damaged = File::open(&path).expect("opens");
    assert!(!store.take_file_out_of_service(&stored.sha256, &whole, "is another").expect("looks") && path.exists());
    assert!(store.take_file_out_of_service(&stored.sha256, &damaged, "is damaged").expect("removes") && !path.exists());
    assert!(!store.take_file_out_of_service(&stored.sha256, &damaged, "is damaged").expect("finds nothing"));
}

#[test]
fn nothing_is_pinned_or_unpinned_while_what_a_build_brought_is_taken_out() {
    let (_folder, store) = store();
    let build = BuildId::of(
        &pyrsia_ledger::NetworkId::UNFOUNDED,
        &pyrsia_ledger::PackageCoordinate::new("docker", "alpine:1").expect("a coordinate"),
        0,
    );
    let sha256 = put(&store, b"brought").sha256;
    store.note_brought(&build, &sha256).expect("notes");
    // Whether it is wanted is asked before it is taken out: a pin between the two would be lost.
    let stays = |_: &Sha256Digest| {
        assert!(store.folder.leaving.try_lock().is_err(), "a pin would not wait");
        true
    };
    assert_eq!(store.remove_brought(&build, stays).expect("looks"), 0);
    assert_eq!(store.release(&build, stays).expect("looks"), 0);

    store.pin(&sha256).expect("pins");
    let leaving = store.leaving();
    let (unpinned, other) = (std::sync::mpsc::channel(), store.clone());
    std::thread::spawn(move || unpinned.0.send(other.unpin(&sha256).expect("unpins")));
    assert!(unpinned.1.recv_timeout(std::time::Duration::from_millis(200)).is_err(), "an unpin does not wait");
    drop(leaving);
    assert_eq!(unpinned.1.recv_timeout(std::time::Duration::from_secs(10)), Ok(true));
}

#[test]
fn a_download_that_finds_no_room_leaves_the_unfinished_ones_alone() {
    let (folder, store) = store();
    let evictable = put(&store, &[1; 600]).sha256;
    let begun = ["oldest", "newest"].map(|name| Sha256Digest::of(name.as_bytes()));
    for sha256 in &begun {
        let list = ChunkList::new(5_000, vec![Sha256Digest::of(b"x")]).expect("a list");
        store.begin_partial(sha256, list).and_then(|partial| partial.write_chunk(0, &[7; 5_000])).expect("writes");
    }
    let wanted = Sha256Digest::of(b"wanted");
    let missing = store.reserve(&wanted, 500, 1_000).expect("looks").expect_err("too much is stored");
    assert_eq!((missing, files_in(&folder.path().join("partial"))), (100, 4), "no eviction is asked for what downloads take");
    assert_eq!(store.evict(&evictable).expect("looks"), Leaving::Gone);
    let reserved = store.reserve(&wanted, 500, 1_000).expect("looks").expect("the downloads make room");
    assert_eq!(files_in(&folder.path().join("partial")), 0);
    drop(reserved);
}

#[test]
fn a_chunk_list_that_a_kill_left_without_its_blob_is_removed_by_the_next_start() {
    let (folder, store) = store();
    let stored = put(&store, b"some bytes");
    fs::remove_file(store.blob_path(&stored.sha256)).expect("removes");
    let store = ArtifactStore::open(folder.path()).expect("opens again");
    assert!(!store.list_path(&stored.sha256).exists());
    assert_eq!(store.usage(), Usage::default());
}

#[test]
fn room_is_taken_from_unfinished_downloads_first_and_given_back() {
    let (folder, store) = store();
    put(&store, &[1; 600]);
    let lost = Sha256Digest::of(b"lost");
    let list = ChunkList::new(5_000, vec![Sha256Digest::of(b"x")]).expect("a list");
    let partial = store.begin_partial(&lost, list).expect("begins");
    partial.write_chunk(0, &[7; 5_000]).expect("writes");
    let (wanted, other) = (Sha256Digest::of(b"wanted"), Sha256Digest::of(b"other"));
    assert!(store.reserve(&wanted, 400, 1_000).expect("looks").is_err(), "somebody is at the download");
    drop(partial);
    let reserved = store.reserve(&wanted, 400, 1_000).expect("looks").expect("the download makes room");
    assert!(!folder.path().join("partial").join(lost.to_string()).exists());
    assert_eq!(files_in(&folder.path().join("partial")), 0);
    assert_eq!(store.reserve(&other, 1, 1_000).expect("looks").expect_err("is full"), 1);
    assert_eq!(store.usage().reserved_bytes, 400);
    drop(reserved);
    assert_eq!(store.usage().reserved_bytes, 0);
    assert!(store.reserve(&other, 400, 1_000).expect("looks").is_ok());
}
