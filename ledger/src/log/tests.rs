use super::*;
use crate::projection::tests::Bench;
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
