//! Whatever instant the writer of a log is killed at, and whichever write or sync of its files fails: opened again, the log
//! has the last block it announced or a later one, nothing is torn, and an audit finds nothing.
//!
//! The writer is this test program itself, started again as a child. A block counts as announced once the child has printed
//! its height, which it does when the append has returned.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the test starts, times and kills programs; the ledger does not"
)]
#![expect(clippy::disallowed_types, reason = "reading what a child says while it lives takes a clock")]

mod chain;

use pyrsia_ledger::log::{BlockLog, LogError, write_snapshot};
use pyrsia_ledger::{Height, Projections, SealedBlock};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const FOLDER: &str = "PYRSIA_CRASH_FOLDER";
const UP_TO: &str = "PYRSIA_CRASH_UP_TO";
/// Fills memtables, so that the database also rotates journals and writes tables while it is killed.
const JOURNAL_ENTRY_BYTES: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(120);

/// The child: appends from wherever the log stands, journals like a validator before each block, and says each height.
#[test]
fn child_appends() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let up_to: u64 = std::env::var(UP_TO).unwrap().parse().unwrap();
    if let Err(error) = append_up_to(Path::new(&folder), up_to, say) {
        print_line(&format!("stopped: {error}"));
    }
}

fn say(height: Height) {
    print_line(&format!("appended {height}"));
}

fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
}

fn append_up_to(folder: &Path, up_to: u64, announce: fn(Height)) -> Result<(), LogError> {
    let (mut log, mut state) = BlockLog::open(folder)?;
    loop {
        let sealed = match &state {
            None => chain::genesis_block(),
            Some(state) => chain::next_block(state, 1),
        };
        let height = sealed.height();
        if height.0 > up_to {
            return Ok(());
        }
        log.keep_body(&sealed.block);
        log.journal(height, vec![height.0 as u8; JOURNAL_ENTRY_BYTES]);
        log.flush()?;
        log.append(&sealed)?;
        announce(height);
        let next = match &state {
            None => Projections::from_genesis(&sealed),
            Some(state) => state.apply(&sealed.block),
        };
        let next = next.unwrap();
        // A snapshot that cannot be written costs nothing but the time of the next start.
        if height.0 % 2 == 1
            && let Err(error) = write_snapshot(folder, &next)
        {
            print_line(&format!("no snapshot: {error}"));
        }
        state = Some(next);
    }
}

fn child(folder: &Path, up_to: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_appends", "--nocapture"]).env(FOLDER, folder).env(UP_TO, up_to.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// The newest height the child announced, and why it stopped, if it says so.
fn listen(child: &mut Child) -> (Option<u64>, Option<String>) {
    let (mut announced, mut stopped) = (None, None);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some((_, height)) = line.split_once("appended ") {
            announced = Some(height.parse().unwrap());
        } else if let Some((_, reason)) = line.split_once("stopped: ") {
            stopped = Some(reason.to_owned());
        }
    }
    child.wait().unwrap();
    (announced, stopped)
}

/// Opens the log again: everything announced must be there, byte for byte, and nothing else.
fn check(folder: &Path, announced: Option<u64>, blocks: &[SealedBlock], context: &str) -> Option<u64> {
    let (mut log, state) = BlockLog::open(folder).unwrap_or_else(|error| panic!("{context}: {error}: {error:?}"));
    let opening = log.take_opening();
    assert!(opening.discarded.is_empty(), "{context}: a snapshot is whole or not there: {:?}", opening.discarded);
    assert!(!opening.has_rebuilt || announced.is_none(), "{context}: the tree is written with its block");
    if let Some(covered) = opening.covered {
        covered.check(&mut || true).unwrap_or_else(|error| panic!("{context}: {error}"));
    }
    let end = state.as_ref().map(|state| state.height().0);
    assert!(end >= announced, "{context}: {announced:?} was announced, the log ends at {end:?}");
    if let Some(state) = &state {
        assert_eq!(state.tip(), chain::hash_at(blocks, state.height()), "{context}");
        assert!(log.journal_entries(state.height()).unwrap().is_empty(), "{context}: a block settles the journal of its height");
    }
    drop(log);
    let (report, rows) = chain::audit(folder);
    if let Some(end) = end {
        assert!(report.clean, "{context}: {:#?}", report.findings);
        assert_eq!(rows.len() as u64, end + 1, "{context}");
        assert!(rows.iter().zip(blocks).all(|(row, sealed)| *row == sealed.encode()), "{context}");
    }
    end
}

#[test]
fn a_writer_killed_at_any_instant_keeps_what_it_announced() {
    let seed = std::env::var("PYRSIA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed_u64);
    println!("PYRSIA_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let blocks = chain::blocks(2_000);
    let (mut random, mut end) = (seed, None);
    for round in 0..20 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wait = Duration::from_micros((random >> 33) % 120_000);
        let mut writer = child(folder.path(), 1_999).spawn().unwrap();
        let id = writer.id().to_string();
        let begun = Instant::now();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(wait);
            Command::new("kill").args(["-9", &id]).status().unwrap();
        });
        let (announced, stopped) = listen(&mut writer);
        killer.join().unwrap();
        assert!(begun.elapsed() < PATIENCE);
        assert_eq!(stopped, None, "round {round}");
        let found = check(folder.path(), announced.or(end), &blocks, &format!("round {round}, killed after {wait:?}"));
        assert!(found >= end, "round {round}: a log never gets shorter");
        end = found;
    }
    assert!(end > Some(3), "the writer got nowhere: {end:?}");
}

/// Compiles the library that makes the disk fail.
fn shim(folder: &Path) -> PathBuf {
    let library = folder.join("shim.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/shim.c");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    assert!(compiled.unwrap().success(), "building needs a C compiler, and so does this test");
    library
}

fn run_with_fault(shim: &Path, folder: &Path, up_to: u64, mode: &str, at: u64) -> (Option<u64>, Option<String>, Option<u64>) {
    let steps = folder.with_extension("steps");
    let mut command = child(folder, up_to);
    command.env("LD_PRELOAD", shim).env("FAULT_FOLDER", folder).env("FAULT_MODE", mode).env("FAULT_AT", at.to_string());
    let (announced, stopped) = listen(&mut command.env("FAULT_STEPS", &steps).spawn().unwrap());
    let count = std::fs::read_to_string(&steps).ok().and_then(|count| count.parse().ok());
    (announced, stopped, count)
}

/// Making a database takes some three hundred steps, mostly alike: unless `PYRSIA_SWEEP=all`, about this many are tried.
const STEPS_TRIED: u64 = 30;

fn stride(steps: u64) -> usize {
    let all = std::env::var_os("PYRSIA_SWEEP").is_some_and(|value| value == "all");
    if all { 1 } else { steps.div_ceil(STEPS_TRIED) as usize }
}

/// Each step of `up_to` blocks goes wrong in each of the ways, on a new log or on one that has its genesis.
fn sweep(new: bool, up_to: u64, modes: &[&str]) {
    let tools = tempfile::tempdir().unwrap();
    let (shim, blocks) = (shim(tools.path()), chain::blocks(up_to + 2));
    let begin = |root: &Path| {
        let folder = root.join("log");
        if !new {
            append_up_to(&folder, 0, |_| ()).unwrap();
        }
        folder
    };
    let (announced, stopped, steps) = run_with_fault(&shim, &begin(tools.path()), up_to, "none", 0);
    assert_eq!((announced, stopped), (Some(up_to), None));
    let steps = steps.unwrap();
    println!("{steps} steps");
    assert!(steps > 10, "the shim sees the writes: {steps}");
    for mode in modes {
        for at in (1..=steps).step_by(stride(steps)) {
            let root = tempfile::tempdir().unwrap();
            let folder = begin(root.path());
            let (announced, stopped, _) = run_with_fault(&shim, &folder, up_to, mode, at);
            let context = format!("{mode} at step {at} of {steps}, announced {announced:?}, stopped {stopped:?}");
            if *mode == "short" {
                assert_eq!((announced, &stopped), (Some(up_to), &None), "{context}: a short write is no fault");
            }
            let announced = announced.or((!new).then_some(0));
            check(&folder, announced, &blocks, &context);
            // The same log goes on from there.
            append_up_to(&folder, up_to + 1, |_| ()).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(check(&folder, announced, &blocks, &context), Some(up_to + 1));
        }
    }
}

#[test]
fn a_fault_at_any_write_or_sync_of_an_append_loses_nothing_that_was_announced() {
    sweep(false, 2, &["eio", "enospc", "short", "kill", "torn"]);
}

#[test]
fn a_log_whose_making_was_cut_off_anywhere_is_made_at_the_next_start() {
    sweep(true, 0, &["eio", "kill"]);
}

/// The same while the database writes tables and drops journals, at steps spread over the whole run.
#[test]
fn a_fault_while_the_database_tidies_up_loses_nothing_that_was_announced() {
    let tools = tempfile::tempdir().unwrap();
    let shim = shim(tools.path());
    let blocks = chain::blocks(40);
    let up_to = 24;
    let sound = tempfile::tempdir().unwrap();
    let (announced, _, steps) = run_with_fault(&shim, &sound.path().join("log"), up_to, "eio", 0);
    assert_eq!(announced, Some(up_to));
    assert!(has_table(sound.path()), "the run is long enough for tables to be written");
    let steps = steps.unwrap();
    println!("{steps} steps");
    for (turn, mode) in ["kill", "torn", "eio", "enospc"].into_iter().enumerate() {
        for at in (1 + turn as u64..=steps).step_by((steps / 16).max(1) as usize) {
            let root = tempfile::tempdir().unwrap();
            let folder = root.path().join("log");
            let (announced, stopped, _) = run_with_fault(&shim, &folder, up_to, mode, at);
            let context = format!("{mode} at step {at} of {steps}, announced {announced:?}, stopped {stopped:?}");
            let end = check(&folder, announced, &blocks, &context);
            let next = end.map_or(0, |end| end + 1);
            append_up_to(&folder, next, |_| ()).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(check(&folder, Some(next), &blocks, &context), Some(next));
        }
    }
}

fn has_table(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let entry = entry.unwrap();
        let is_table = folder.file_name().is_some_and(|name| name == "tables");
        is_table || (entry.file_type().unwrap().is_dir() && has_table(&entry.path()))
    })
}
