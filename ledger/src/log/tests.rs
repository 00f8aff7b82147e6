use super::*;
use crate::projection::SNAPSHOT_SCHEMA;
use crate::projection::tests::Bench;
use crate::proof::TreeHashes;
use crate::signed::SignedEvent;
use crate::tiles::{TileId, decode_tile};
use crate::tree::leaf_hash;
use std::os::unix::fs::FileExt;

fn filled(folder: &Path, bench: &Bench) {
    let (mut log, state) = BlockLog::open(folder).expect("opens");
    assert!(state.is_none());
    log.append_genesis(&bench.log[0]).expect("appends");
    for sealed in &bench.log[1..] {
        log.append(sealed).expect("appends");
    }
}

#[test]
fn a_log_opened_again_folds_to_the_same_state() {
    let (folder, bench) = (tempfile::tempdir().expect("a folder"), Bench::with_members(3));
    filled(folder.path(), &bench);
    let (log, state) = BlockLog::open(folder.path()).expect("opens");
    let state = state.expect("founded");
    assert_eq!((state.tip(), state.state_root()), (bench.state.tip(), bench.state.state_root()));
    assert_eq!(log.blocks(Height(0), usize::MAX).expect("reads"), bench.log);
    assert_eq!(log.blocks(Height(2), 1).expect("reads"), bench.log[2..3], "always one, however small the limit");
    assert_eq!(log.block(Height(99)).expect("reads"), None);
}

#[test]
fn a_log_is_held_by_one_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let _held = BlockLog::open(folder.path()).expect("opens");
    assert!(matches!(BlockLog::open(folder.path()), Err(LogError::Locked { .. })));
}

#[test]
fn what_is_flushed_is_there_again_and_what_a_block_settles_is_not() {
    let (folder, bench) = (tempfile::tempdir().expect("a folder"), Bench::with_members(1));
    let (open, next) = (&bench.log[..bench.log.len() - 1], bench.log.last().expect("a block"));
    let height = next.height();
    let id = next.block.events[0].id();
    {
        let (mut log, _) = BlockLog::open(folder.path()).expect("opens");
        for sealed in open {
            log.append(sealed).expect("appends");
        }
        log.journal(height, b"first".to_vec());
        log.journal(height, b"second".to_vec());
        log.journal(height.next(), b"later".to_vec());
        log.keep_body(&next.block);
        log.outbox_put(id, b"event".to_vec());
        log.flush().expect("flushes");
        log.journal(height, b"never flushed".to_vec());
    }
    let (mut log, _) = BlockLog::open(folder.path()).expect("opens");
    assert_eq!(log.journal_entries(height).expect("reads"), [b"first".to_vec(), b"second".to_vec()]);
    assert_eq!(log.bodies().expect("reads"), std::slice::from_ref(&next.block));
    assert_eq!(log.outbox().expect("reads"), [b"event".to_vec()]);
    log.journal(height, b"third".to_vec());
    log.flush().expect("flushes");
    assert_eq!(log.journal_entries(height).expect("reads").len(), 3, "an index is never given twice");
    log.outbox_remove(id);
    log.append(next).expect("appends");
    assert!(log.journal_entries(height).expect("reads").is_empty());
    assert!(log.bodies().expect("reads").is_empty());
    assert!(log.outbox().expect("reads").is_empty());
    assert_eq!(log.journal_entries(height.next()).expect("reads"), [b"later".to_vec()]);
}

fn in_memory(blocks: &[SealedBlock]) -> (TreeHashes, Vec<SignedEvent>) {
    let events: Vec<SignedEvent> = blocks.iter().flat_map(|sealed| sealed.block.events.clone()).collect();
    let mut tree = TreeHashes::default();
    events.iter().for_each(|event| tree.append(leaf_hash(&event.encode())));
    (tree, events)
}

fn check_tree(log: &BlockLog, blocks: &[SealedBlock]) {
    let (memory, events) = in_memory(blocks);
    let (stored, size) = (log.tree(), memory.size());
    assert_eq!(stored.size().expect("reads"), size);
    for at in 0..size {
        assert_eq!(stored.inclusion(at, size).expect("a proof"), memory.inclusion(at, size).expect("a proof"));
        assert_eq!(stored.consistency(at, size).expect("a proof"), memory.consistency(at, size).expect("a proof"));
        assert_eq!(stored.root(at + 1).expect("a root"), memory.root(at + 1).expect("a root"));
        let placed = stored.event(at).expect("reads").expect("is there");
        assert_eq!((placed.index, &placed.event), (at, &events[at as usize]));
        assert!(blocks[placed.height.0 as usize].block.events.contains(&placed.event));
        assert_eq!(stored.index_of(&placed.event.id()).expect("reads"), Some(at));
    }
    assert!(stored.inclusion(size, size + 1).is_err() && stored.event(size).expect("reads").is_none());
    let bundle = stored.entry_bundle(0, size as usize).expect("reads").expect("is there");
    let (mut rest, mut found) = (bundle.as_slice(), vec![]);
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let (event, behind) = behind.split_at(u16::from_be_bytes(*length).into());
        found.push(SignedEvent::decode(event).expect("an event"));
        rest = behind;
    }
    assert_eq!(found, events);
    assert_eq!(stored.entry_bundle(0, size as usize + 1).expect("reads"), None);
    let tile = stored.tile(TileId { level: 0, index: 0 }, size as usize).expect("reads").expect("is there");
    assert_eq!(decode_tile(&tile).expect("a tile").first(), Some(&leaf_hash(&events[0].encode())));
    assert_eq!(stored.tile(TileId { level: 0, index: 0 }, size as usize + 1).expect("reads"), None);
    let mut faults = vec![];
    stored.check(&mut |sentence| faults.push(sentence.to_owned())).expect("reads");
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn the_tree_on_disk_is_that_of_the_events_and_is_made_again_when_it_is_gone() {
    let (folder, bench) = (tempfile::tempdir().expect("a folder"), Bench::with_members(4));
    filled(folder.path(), &bench);
    let (mut log, _) = BlockLog::open(folder.path()).expect("opens");
    assert!(!log.take_opening().has_rebuilt);
    check_tree(&log, &bench.log);
    log.tree.clear().expect("clears");
    drop(log);
    let (mut log, state) = BlockLog::open(folder.path()).expect("opens");
    assert!(log.take_opening().has_rebuilt);
    assert_eq!(state.expect("founded").state_root(), bench.state.state_root());
    check_tree(&log, &bench.log);
}

#[test]
fn a_tile_that_says_something_else_is_found() {
    let (folder, bench) = (tempfile::tempdir().expect("a folder"), Bench::with_members(4));
    filled(folder.path(), &bench);
    let (log, _) = BlockLog::open(folder.path()).expect("opens");
    log.tree.damage(TileId { level: 0, index: 0 }).expect("damages");
    let mut faults = vec![];
    log.tree.check(&mut |sentence| faults.push(sentence.to_owned())).expect("reads");
    assert!(!faults.is_empty());
    drop(log);
    let scratch = tempfile::tempdir().expect("a folder");
    let reader = LedgerReader::open(folder.path(), scratch.path()).expect("opens");
    assert!(reader.into_iter().any(|row| matches!(row, Row::Fault { .. })), "an audit finds it as well");
    let (mut log, _) = BlockLog::open(folder.path()).expect("opens");
    assert!(log.take_opening().has_rebuilt, "the right edge is compared at every start");
    check_tree(&log, &bench.log);
}

/// The snapshot files of a folder, newest first.
fn snapshots(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("snapshots")).expect("a folder");
    let mut found: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.sort();
    found.reverse();
    found
}

/// States after each block of the bench.
fn states(bench: &Bench) -> Vec<Projections> {
    let mut states = vec![Projections::from_genesis(&bench.log[0]).expect("founds")];
    for sealed in &bench.log[1..] {
        states.push(states[states.len() - 1].apply(&sealed.block).expect("follows"));
    }
    states
}

#[test]
fn a_start_with_a_snapshot_comes_to_the_same_state_and_only_two_are_kept() {
    let (folder, bench) = (tempfile::tempdir().expect("a folder"), Bench::with_members(4));
    filled(folder.path(), &bench);
    let states = states(&bench);
    assert!(states.len() > 5);
    for state in &states[1..5] {
        write_snapshot(folder.path(), state).expect("writes");
    }
    assert_eq!(snapshots(folder.path()).len(), 2);
    let (mut log, state) = BlockLog::open(folder.path()).expect("opens");
    assert_eq!(format!("{:?}", state.expect("founded")), format!("{:?}", bench.state));
    let opening = log.take_opening();
    assert_eq!(opening.discarded, Vec::<String>::new());
    let covered = opening.covered.expect("a snapshot was used");
    assert_eq!(covered.height(), Height(4));
    covered.check(&mut || true).expect("everything is as it must be");
}

#[test]
fn a_snapshot_that_is_wrong_in_any_way_is_discarded_and_the_one_before_is_used() {
    let (folder, bench) = (tempfile::tempdir().expect("a folder"), Bench::with_members(4));
    filled(folder.path(), &bench);
    let states = states(&bench);
    let whole = |state: &Projections| {
        write_snapshot(folder.path(), state).expect("writes");
        snapshots(folder.path())
            .into_iter()
            .find(|path| path.ends_with(format!("{}-{SNAPSHOT_SCHEMA}.snapshot", state.height())))
            .expect("is there")
    };
    let older = whole(&states[2]);
    let newest = whole(&states[4]);
    let bytes = std::fs::read(&newest).expect("reads");
    let opened = |expected: Option<Height>| {
        let (mut log, state) = BlockLog::open(folder.path()).expect("opens");
        assert_eq!(state.expect("founded").state_root(), bench.state.state_root());
        let opening = log.take_opening();
        assert_eq!(opening.covered.map(|covered| covered.height()), expected, "{:?}", opening.discarded);
        opening.discarded.len()
    };
    for at in (0..bytes.len()).step_by(97) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&newest, &damaged).expect("writes");
        assert_eq!(opened(Some(Height(2))), 1, "byte {at}");
        assert!(!newest.exists() && older.exists());
    }
    for cut in [0, 10, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&newest, &bytes[..cut]).expect("writes");
        assert_eq!(opened(Some(Height(2))), 1, "cut at {cut}");
    }
    std::fs::write(&newest, [&bytes[..], b"more"].concat()).expect("writes");
    assert_eq!(opened(Some(Height(2))), 1, "something behind the end");
    std::fs::write(&older, &bytes).expect("writes");
    assert_eq!(opened(None), 1, "the state of another height");
    std::fs::write(newest.with_file_name(format!("99-{SNAPSHOT_SCHEMA}.snapshot")), &bytes).expect("writes");
    assert_eq!(opened(None), 1, "the state of another height than its name says, which the log does not have");
    let mut changed = bytes.clone();
    changed[20..28].copy_from_slice(&99u64.to_le_bytes());
    std::fs::write(newest.with_file_name(format!("99-{SNAPSHOT_SCHEMA}.snapshot")), &changed).expect("writes");
    assert_eq!(opened(None), 1, "no whole snapshot of a block that the log does not have");
}

#[test]
fn a_whole_snapshot_of_a_block_that_is_not_there_says_that_the_log_lost_its_end() {
    let (folder, bench) = (tempfile::tempdir().expect("a folder"), Bench::with_members(4));
    filled(folder.path(), &bench);
    write_snapshot(folder.path(), &bench.state).expect("writes");
    let last = bench.state.height().0;
    let without = |height: u64| {
        let database = database(&folder.path().join("db")).expect("opens");
        let blocks = keyspace(&database, KEYSPACE_BLOCKS).expect("opens");
        blocks.remove(height.to_be_bytes()).expect("removes");
        drop((blocks, database));
        BlockLog::open(folder.path()).map(|_| ()).expect_err("blocks are gone")
    };
    // Without the file that announces the tip as well.
    std::fs::remove_file(folder.path().join("tip")).expect("removes");
    let refused = without(last);
    assert!(matches!(&refused, LogError::Short { announced, .. } if *announced == last), "{refused}");
    assert_eq!(snapshots(folder.path()).len(), 1, "the evidence stays");
    write_snapshot(folder.path(), &states(&bench)[2]).expect("writes");
    std::fs::remove_file(folder.path().join(format!("snapshots/{last}-{SNAPSHOT_SCHEMA}.snapshot"))).expect("removes");
    let refused = without(2);
    assert!(matches!(refused, LogError::Missing { height: 2 }), "{refused}");
}

/// A folder with the first `count` blocks of the bench and a snapshot of the newest of them, opened.
fn opened_with_snapshot(folder: &Path, bench: &Bench, count: usize) -> (BlockLog, Covered) {
    {
        let (mut log, _) = BlockLog::open(folder).expect("opens");
        log.append_all(&bench.log[..count]).expect("appends");
    }
    write_snapshot(folder, &states(bench)[count - 1]).expect("writes");
    let (mut log, _) = BlockLog::open(folder).expect("opens");
    let covered = log.take_opening().covered.expect("a snapshot");
    (log, covered)
}

#[test]
fn blocks_that_are_appended_while_the_rest_is_checked_are_no_damage() {
    let (folder, bench) = (tempfile::tempdir().expect("a folder"), Bench::with_members(4));
    let (mut log, covered) = opened_with_snapshot(folder.path(), &bench, 4);
    let mut coming = bench.log[4..].iter();
    let checked = covered.check(&mut || {
        coming.by_ref().take(2).for_each(|sealed| log.append(sealed).expect("appends"));
        true
    });
    assert_eq!(checked.expect("nothing is damaged"), Checked::Everything);

    let folder = tempfile::tempdir().expect("a folder");
    let (mut log, _covered) = opened_with_snapshot(folder.path(), &bench, 4);
    let (tree, header) = (log.tree().clone(), &bench.log[3].block.header);
    let (mut coming, mut faults) = (bench.log[4..].iter(), vec![]);
    let mut found = |sentence: &str| faults.push(sentence.to_owned());
    // One block between any two pieces: tiles and rows.
    let is_through = tree.check_up_to(header.tree_size, header.tree_root, stored::Beside::Writer, &mut found, &mut |_| {
        coming.next().into_iter().for_each(|sealed| log.append(sealed).expect("appends"));
        true
    });
    assert!(is_through && faults.is_empty(), "{faults:?}");
    assert!(coming.len() < bench.log.len() - 4, "blocks were appended");
    let mut found = |sentence: &str| faults.push(sentence.to_owned());
    tree.check_up_to(header.tree_size, header.tree_root, stored::Beside::Nobody, &mut found, &mut |_| true);
    assert!(!faults.is_empty(), "where nobody writes, what is behind the end is wrong");
}

#[test]
fn a_damaged_index_is_found_beside_the_work_and_made_again_at_the_next_start() {
    let (folder, bench) = (tempfile::tempdir().expect("a folder"), Bench::with_members(4));
    let (mut log, covered) = opened_with_snapshot(folder.path(), &bench, 4);
    log.tree.forget(&bench.log[2].block.events[0].id()).expect("forgets");
    let found = covered.check(&mut || true).expect_err("a row is missing");
    assert!(matches!(found, LogError::Tree { .. }) && found.is_damage(), "{found}");
    // What comes after it does not hide it.
    bench.log[4..].iter().for_each(|sealed| log.append(sealed).expect("appends"));
    drop(log);
    let (mut log, _) = BlockLog::open(folder.path()).expect("opens");
    let opening = log.take_opening();
    assert!(opening.has_rebuilt);
    check_tree(&log, &bench.log);
    let checked = opening.covered.expect("the snapshot is as good as before").check(&mut || true);
    assert_eq!(checked.expect("nothing is damaged"), Checked::Everything);
    drop(log);
    let (mut log, _) = BlockLog::open(folder.path()).expect("opens");
    assert!(!log.take_opening().has_rebuilt, "once is enough");
}

#[test]
fn a_snapshot_that_is_not_the_state_is_deleted_when_that_is_found() {
    let (folder, bench) = (tempfile::tempdir().expect("a folder"), Bench::with_members(4));
    let (log, _) = opened_with_snapshot(folder.path(), &bench, 4);
    let path = snapshots(folder.path()).pop().expect("is there");
    // The blocks end in another one than the state's.
    let mut covered = Covered::new(log.tree.clone(), states(&bench)[3].clone(), path.clone());
    covered.stop_short_of_the_tip();
    let found = covered.check(&mut || true).expect_err("another state");
    assert!(matches!(found, LogError::OtherState { height: 3 }), "{found}");
    assert!(!path.exists());
    drop(log);
    assert!(BlockLog::open(folder.path()).expect("opens").0.take_opening().covered.is_none(), "all blocks are folded");
}

#[test]
fn a_check_that_is_told_to_give_up_says_so_at_any_point() {
    let (folder, bench) = (tempfile::tempdir().expect("a folder"), Bench::with_members(4));
    let (log, covered) = opened_with_snapshot(folder.path(), &bench, 4);
    drop(covered);
    for pauses in 0.. {
        let covered = Covered::new(log.tree.clone(), states(&bench)[3].clone(), folder.path().join("none"));
        let mut left = pauses;
        let mut pause = || {
            left -= 1;
            left >= 0
        };
        let checked = covered.check(&mut pause).expect("nothing is damaged");
        assert_eq!(checked == Checked::Interrupted, left < 0, "after {pauses} pauses");
        if checked == Checked::Everything {
            assert!(pauses > 0);
            return;
        }
    }
}

#[test]
fn damage_below_a_snapshot_is_found_after_the_start() {
    let (folder, bench) = (tempfile::tempdir().expect("a folder"), Bench::with_members(4));
    filled(folder.path(), &bench);
    write_snapshot(folder.path(), &states(&bench)[4]).expect("writes");
    {
        let (log, _) = BlockLog::open(folder.path()).expect("opens");
        let mut sealed = bench.log[2].clone();
        sealed.block.header.time_ms += 1;
        log.blocks.insert(2u64.to_be_bytes(), sealed.encode()).expect("inserts");
        log.database.persist(PersistMode::SyncAll).expect("persists");
    }
    let (mut log, _) = BlockLog::open(folder.path()).map_err(|error| error.to_string()).expect("the snapshot spares block 2");
    let found = log.take_opening().covered.expect("a snapshot").check(&mut || true).expect_err("damage");
    assert!(found.to_string().contains("height 3") && found.is_damage(), "{found}");
}

#[test]
fn a_log_that_lost_its_end_is_refused() {
    let (folder, bench) = (tempfile::tempdir().expect("a folder"), Bench::with_members(2));
    filled(folder.path(), &bench);
    {
        let (log, _) = BlockLog::open(folder.path()).expect("opens");
        let last = bench.state.height().0.to_be_bytes();
        log.blocks.remove(last).expect("removes");
        log.database.persist(PersistMode::SyncAll).expect("persists");
    }
    let refused = BlockLog::open(folder.path()).map(|_| ()).expect_err("the end is lost");
    assert!(matches!(refused, LogError::Short { announced, .. } if announced == bench.state.height().0), "{refused}");
    assert!(refused.is_damage());
}

#[test]
fn a_hole_and_a_changed_block_are_named_by_their_height() {
    for changed in [false, true] {
        let (folder, bench) = (tempfile::tempdir().expect("a folder"), Bench::with_members(2));
        filled(folder.path(), &bench);
        {
            let (log, _) = BlockLog::open(folder.path()).expect("opens");
            if changed {
                let mut sealed = bench.log[2].clone();
                sealed.block.header.time_ms += 1;
                log.blocks.insert(2u64.to_be_bytes(), sealed.encode()).expect("inserts");
            } else {
                log.blocks.remove(2u64.to_be_bytes()).expect("removes");
            }
            log.database.persist(PersistMode::SyncAll).expect("persists");
        }
        let refused = BlockLog::open(folder.path()).map(|_| ()).expect_err("damage");
        // A changed header is a valid block of its own: the block after it has another parent.
        let expected = if changed { "height 3" } else { "height 2" };
        assert!(refused.to_string().contains(expected), "{refused}");
    }
}

#[test]
fn a_torn_tip_leaves_the_one_before_and_a_missing_one_is_no_damage() {
    let (folder, bench) = (tempfile::tempdir().expect("a folder"), Bench::with_members(1));
    filled(folder.path(), &bench);
    let tip = folder.path().join("tip");
    let torn = std::fs::OpenOptions::new().write(true).open(&tip).expect("opens");
    let newest = bench.state.height().0 % 2 * 72;
    torn.write_all_at(b"torn", newest).expect("writes");
    BlockLog::open(folder.path()).expect("the older slot is whole");
    torn.write_all_at(b"torn", 72 - newest).expect("writes");
    assert!(matches!(BlockLog::open(folder.path()), Err(LogError::Tip { .. })));
    std::fs::remove_file(&tip).expect("removes");
    BlockLog::open(folder.path()).expect("a tip that lags behind is no damage");
}
