//! The ledger at a million events: start, lookups, proofs, bytes, memory, appending, auditing.
//!
//! `cargo xtask bench ledger [EVENTS]` runs it; each stage is a process of its own, so that its peak of memory is its own.
//! Every figure stands beside its limit: the disk's own syncs, hashing and batched verification of the same bytes.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a measurement takes a clock and starts programs; the ledger does not"
)]

mod network;
mod searches;

use network::{Network, PACKAGES_PER_BLOCK, artifact_id};
use pyrsia_ledger::audit::{Audit, Prepared, SignatureReport, SignatureWork};
use pyrsia_ledger::log::{BlockLog, LedgerReader, Row, write_snapshot};
use pyrsia_ledger::proof::verify_inclusion;
use pyrsia_ledger::tree::leaf_hash;
use pyrsia_ledger::{Event, PackageType, Sha256Digest};
use std::error::Error;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

type Outcome = Result<(), Box<dyn Error>>;

const EVENTS: u64 = 1_000_000;
/// How many lookups and proofs are timed.
const QUESTIONS: u64 = 20_000;
const MIB: f64 = (1 << 20) as f64;

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", folder, events] => make(Path::new(folder), events.parse()?),
        ["start", folder] => start(Path::new(folder), "start with a snapshot"),
        ["replay", folder] => {
            remove_snapshots(Path::new(folder))?;
            start(Path::new(folder), "start without a snapshot (replay)")
        }
        ["snapshot", folder] => snapshot(Path::new(folder)),
        ["ask", folder] => ask(Path::new(folder)),
        ["audit", folder, threads] => audit(Path::new(folder), threads.parse()?),
        ["limit", folder] => limit(Path::new(folder)),
        ["check", folder] => check(Path::new(folder)),
        [] => all(EVENTS),
        [events] => all(events.parse()?),
        _ => Err("usage: ledger_bench [EVENTS]".into()),
    }
}

/// Every stage in its own process.
fn all(events: u64) -> Outcome {
    let folder = std::env::temp_dir().join(format!("pyrsia-ledger-bench-{}", std::process::id()));
    let path = folder.to_str().ok_or("the temporary folder has no name in UTF-8")?;
    let events = events.to_string();
    let cores = thread::available_parallelism()?.to_string();
    let stages: &[&[&str]] = &[
        &["make", path, &events],
        &["start", path],
        &["ask", path],
        &["check", path],
        &["replay", path],
        &["snapshot", path],
        &["limit", path],
        &["audit", path, "1"],
        &["audit", path, &cores],
    ];
    let ran = stages.iter().try_for_each(|stage| {
        let status = Command::new(std::env::current_exe()?).args(*stage).status()?;
        if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", stage[0]).into()) }
    });
    fs::remove_dir_all(&folder)?;
    ran
}

/// The processor time that this thread has had: what a figure takes, however busy the machine is.
fn processor() -> Duration {
    thread_local! {
        /// Kept open: opening it each time would be seen in the figures of the ledger.
        static SCHEDSTAT: Option<File> = File::open("/proc/thread-self/schedstat").ok();
    }
    let mut text = [0; 64];
    let read = SCHEDSTAT.with(|file| file.as_ref().and_then(|file| file.read_at(&mut text, 0).ok())).unwrap_or_default();
    let text = std::str::from_utf8(&text[..read]).unwrap_or_default();
    text.split_whitespace().next().and_then(|nanoseconds| nanoseconds.parse().ok()).map_or(Duration::ZERO, Duration::from_nanos)
}

/// The most memory this process ever had.
fn peak_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).map_or(f64::NAN, |kib| kib / 1024.0)
}

fn disk_bytes(folder: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { disk_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(sum)
}

fn remove_snapshots(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(folder.join("snapshots")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn make(folder: &Path, wanted: u64) -> Outcome {
    let mut network = Network::found()?;
    let (mut log, _) = BlockLog::open(folder)?;
    for sealed in network.blocks.drain(..) {
        log.append(&sealed)?;
    }
    let probe_path = folder.join("probe");
    let mut probe = File::create(&probe_path)?;
    let (mut appending_cpu, mut appending, mut syncing, mut blocks, mut events) =
        (Duration::ZERO, Duration::ZERO, Duration::ZERO, 0u64, 0u64);
    let (mut raw, mut records, mut record_bytes) = (0u64, 0u64, 0u64);
    while network.state.tree_size() < wanted {
        network.fill_block()?;
        let sealed = network.blocks.pop().ok_or("a block was sealed")?;
        let bytes = sealed.encode();
        raw += bytes.len() as u64;
        for event in &sealed.block.events {
            if matches!(event.event(), Event::AddArtifact(_)) {
                records += 1;
                record_bytes += event.encode().len() as u64;
            }
        }
        let (begin, worked) = (Instant::now(), processor());
        log.append(&sealed)?;
        (appending, appending_cpu) = (appending + begin.elapsed(), appending_cpu + processor() - worked);
        let begin = Instant::now();
        probe.write_all(&bytes)?;
        probe.sync_data()?;
        syncing += begin.elapsed();
        blocks += 1;
        events += sealed.block.events.len() as u64;
    }
    drop(log);
    fs::remove_file(probe_path)?;
    // What the database does in the background is part of what the log takes.
    let (mut log, _) = BlockLog::open(folder)?;
    drop(log.take_opening());
    drop(log);
    let begin = Instant::now();
    write_snapshot(folder, &network.state)?;
    let snapshotting = begin.elapsed();
    let database = disk_bytes(&folder.join("db"))?;
    let per_event = database as f64 / network.state.tree_size() as f64;
    // Leaf and index row of a record are as large as those of any other event; the rest is its share of the blocks.
    let extra = 32.0 * 256.0 / 255.0 + 40.0;
    let share = (record_bytes as f64 / records as f64) / (raw as f64 / events as f64 + extra);
    println!("log        {} events in {} blocks, {records} artifact records", network.state.tree_size(), blocks);
    println!(
        "append     {:.0} events/s, {:.1} blocks/s with a sync each, {:.2} us of processor an event; the disk alone writes and syncs {:.1} such blocks/s",
        events as f64 / appending.as_secs_f64(),
        blocks as f64 / appending.as_secs_f64(),
        1e6 * appending_cpu.as_secs_f64() / events as f64,
        blocks as f64 / syncing.as_secs_f64()
    );
    println!(
        "disk       {:.0} MiB of database, {per_event:.0} bytes for an event; a record of {} bytes takes {:.0} with tree and indexes",
        database as f64 / MIB,
        record_bytes / records.max(1),
        per_event * share + extra * per_event / (raw as f64 / events as f64 + extra)
    );
    println!("snapshot   {:.0} MiB, written in {snapshotting:?}", disk_bytes(&folder.join("snapshots"))? as f64 / MIB);
    Ok(())
}

fn start(folder: &Path, what: &str) -> Outcome {
    let (begin, worked) = (Instant::now(), processor());
    let (mut log, state) = BlockLog::open(folder)?;
    let (took, worked) = (begin.elapsed(), processor() - worked);
    let state = state.ok_or("the log is empty")?;
    for line in log.take_opening().discarded {
        println!("{line}");
    }
    println!(
        "{what}: {took:?}, of which processor {worked:?}, to block {}, {} events; peak {:.0} MiB",
        state.height(),
        state.tree_size(),
        peak_mib()
    );
    Ok(())
}

fn snapshot(folder: &Path) -> Outcome {
    let (_log, state) = BlockLog::open(folder)?;
    write_snapshot(folder, &state.ok_or("the log is empty")?)?;
    println!("replay and snapshot: peak {:.0} MiB", peak_mib());
    Ok(())
}

fn check(folder: &Path) -> Outcome {
    let (mut log, _) = BlockLog::open(folder)?;
    let covered = log.take_opening().covered.ok_or("the log was opened without a snapshot")?;
    let begin = Instant::now();
    covered.check(&mut || true)?;
    println!("check of what the snapshot spared: {:?} without pauses; peak {:.0} MiB", begin.elapsed(), peak_mib());
    Ok(())
}

/// The times of many questions, in words.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    format!("median {:?}, p99 {:?}, worst {:?}", at(0.5), at(0.99), at(1.0))
}

fn ask(folder: &Path) -> Outcome {
    let (log, state) = BlockLog::open(folder)?;
    let state = state.ok_or("the log is empty")?;
    let tree = log.tree();
    let (size, root) = (state.tree_size(), state.tree_root());
    let docker = PackageType::new("docker")?;
    let packages = state.packages.artifact_count() as u64 / 3 / PACKAGES_PER_BLOCK * PACKAGES_PER_BLOCK;
    let (mut random, mut lookups, mut positions, mut proofs, mut events, mut consistencies) =
        (7u64, vec![], vec![], vec![], vec![], vec![]);
    for turn in 0..QUESTIONS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let id = artifact_id((random >> 20) % packages, turn as usize % 3)?;
        let begin = Instant::now();
        let (_, record) = state.packages.artifact(&docker, &id).ok_or("a published artifact is not found")?;
        lookups.push(begin.elapsed());
        let begin = Instant::now();
        let index = tree.index_of(&record.event)?.ok_or("an event is not in the index")?;
        positions.push(begin.elapsed());
        let begin = Instant::now();
        let proof = tree.inclusion(index, size)?;
        proofs.push(begin.elapsed());
        let begin = Instant::now();
        drop(tree.consistency(index + 1, size)?);
        consistencies.push(begin.elapsed());
        if turn % 100 == 0 {
            let begin = Instant::now();
            let placed = tree.event(index)?.ok_or("an event is not in its block")?;
            events.push(begin.elapsed());
            verify_inclusion(&leaf_hash(&placed.event.encode()), index, size, &proof, &root)?;
        }
    }
    println!("lookup by artifact id       {}", spread(lookups));
    println!("position by event id        {}", spread(positions));
    println!("inclusion proof             {}", spread(proofs));
    println!("consistency proof           {}", spread(consistencies));
    println!("event by position           {}", spread(events));
    searches::ask(&log, &state, packages)
}

fn scratch() -> Result<PathBuf, Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("pyrsia-ledger-bench-scratch-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn rows(folder: &Path, scratch: &Path, mut each: impl FnMut(Row)) -> Outcome {
    LedgerReader::open(folder, scratch)?.for_each(&mut each);
    Ok(())
}

/// The same bytes hashed, and the same signatures verified in batches, on one core; processor time.
fn limit(folder: &Path) -> Outcome {
    let scratch = scratch()?;
    let (mut audit, mut hashing, mut verifying) = (Audit::new(None), Duration::ZERO, Duration::ZERO);
    let (mut sum, mut signatures, mut reports) = (0u8, 0, vec![]);
    let (whole, mut folding) = (processor(), Duration::ZERO);
    rows(folder, &scratch, |row| {
        if let Row::Block { position, raw } = row {
            let begin = processor();
            sum ^= Sha256Digest::of(&raw).as_bytes()[0];
            hashing += processor() - begin;
            let begin = processor();
            audit.take_in(Prepared::of(position, raw));
            folding += processor() - begin;
            if let Some(work) = audit.take_work() {
                let begin = processor();
                reports.push(work.verify());
                verifying += processor() - begin;
                signatures += work.len();
            }
        }
    })?;
    let took = processor() - whole - hashing;
    fs::remove_dir_all(scratch)?;
    let events = audit.finish(reports).summary.events as f64;
    let (limit, each) = (hashing + verifying, |time: Duration| 1e6 * time.as_secs_f64() / events);
    println!(
        "limit      hashing {:.2} us an event, {signatures} signatures in batches {:.2} us: {:.0} events/s of a core (check byte {sum:02x})",
        each(hashing),
        each(verifying),
        events / limit.as_secs_f64()
    );
    println!(
        "audit      folding {:.2} us, reading {:.2} us: {:.0} events/s of a core, {:.0} % of the limit",
        each(folding),
        each(took - folding - verifying),
        events / took.as_secs_f64(),
        100.0 * limit.as_secs_f64() / took.as_secs_f64()
    );
    Ok(())
}

/// What comes next of a log.
enum Turn {
    Block(Box<Prepared>),
    Other(Row),
}

fn verify_all(waiting: &Mutex<Receiver<SignatureWork>>) -> Vec<SignatureReport> {
    let next = || waiting.lock().ok()?.recv().ok();
    std::iter::from_fn(next).map(|work| work.verify()).collect()
}

/// As `pyrsia audit`: one thread reads and prepares, one folds, the signatures go to one worker for each core; with one thread
/// everything on it.
fn audit(folder: &Path, threads: usize) -> Outcome {
    let scratch = scratch()?;
    let begin = Instant::now();
    let mut audit = Audit::new(None);
    let (work, waiting) = sync_channel::<SignatureWork>(4 * threads);
    let waiting = Mutex::new(waiting);
    let (prepared, ready) = sync_channel::<Turn>(8);
    let reports: Vec<SignatureReport> = thread::scope(|scope| {
        let mut own = vec![];
        let mut fold = |turn: Turn| {
            match turn {
                Turn::Block(prepared) => audit.take_in(*prepared),
                Turn::Other(Row::Block { position, raw }) => audit.feed(position, &raw),
                Turn::Other(Row::Unreadable { position, sentence }) => audit.unreadable(position, &sentence),
                Turn::Other(Row::Fault { position, sentence }) => audit.storage(position, &sentence),
                Turn::Other(Row::End(announced)) => audit.announce(announced),
            }
            match audit.take_work() {
                Some(piece) if threads == 1 => own.push(piece.verify()),
                // Without a worker left the report says that signatures were not verified.
                Some(piece) => drop(work.send(piece)),
                None => {}
            }
        };
        let turn = |row| match row {
            Row::Block { position, raw } => Turn::Block(Box::new(Prepared::of(position, raw))),
            row => Turn::Other(row),
        };
        let mut workers = vec![];
        let read = if threads == 1 {
            rows(folder, &scratch, |row| fold(turn(row))).map_err(|error| error.to_string())
        } else {
            workers.extend((0..threads).map(|_| scope.spawn(|| verify_all(&waiting))));
            let (folder, scratch) = (folder, &scratch);
            let reading = scope.spawn(move || {
                // Without a thread that folds there is nothing to prepare for.
                rows(folder, scratch, |row| drop(prepared.send(turn(row)))).map_err(|error| error.to_string())
            });
            ready.into_iter().for_each(&mut fold);
            reading.join().unwrap_or_else(|_| Err("the thread that reads it ended".into()))
        };
        if let Err(error) = read {
            println!("the log cannot be read: {error}");
        }
        drop(work);
        own.extend(workers.into_iter().filter_map(|worker| worker.join().ok()).flatten());
        own
    });
    // As the program does, which ends then: the rows of the state are not taken apart.
    std::mem::forget(audit.state().cloned());
    let report = audit.finish(reports);
    let took = begin.elapsed();
    fs::remove_dir_all(scratch)?;
    if !report.clean {
        return Err(format!("the audit of a sound log is not clean: {:?}", report.findings.first()).into());
    }
    println!(
        "audit      on {threads} cores: {took:?}, {:.0} events/s; peak {:.0} MiB",
        report.summary.events as f64 / took.as_secs_f64(),
        peak_mib()
    );
    Ok(())
}
