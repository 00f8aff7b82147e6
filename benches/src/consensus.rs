//! How fast validators agree, what they do when there is nothing to agree on, and what one more of them costs.

use crate::full_blocks;
use crate::usage::Usage;
use crate::validators::{Validators, propose, reached};
use anyhow::{Context, Result};
use pyrsia_tests::fleet::{Fleet, SHORT_WAITS};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const VALIDATORS: usize = 4;
const REQUESTS: usize = 100;
/// Between two requests the validators come to rest.
const REST: Duration = Duration::from_millis(60);
/// One after the other between a request and its block: the outbox of who asks, the round, the proposal, a prevote and a precommit
/// of the slowest that is needed, the block.
const SYNCS_IN_A_ROW: u32 = 6;
/// What a sync of a journal entry writes, in bytes.
const SYNCED_BYTES: usize = 4_096;
const IDLE: Duration = Duration::from_secs(30);
const SIZES: [usize; 6] = [4, 7, 13, 19, 25, 31];
const BLOCKS_OF_A_SIZE: u32 = 20;

pub(crate) async fn measure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut validators = Validators::on_loopback(folder.path());
    validators.grow_to(VALIDATORS).await?;
    latency(&mut validators, folder.path()).await?;
    full_blocks::measure(&validators).await?;
    validators.stop().await?;
    idle().await?;
    growth().await
}

/// From the request at one validator to the final block there.
async fn latency(validators: &mut Validators, folder: &Path) -> Result<()> {
    let (mut finals, mut everywhere, mut syncs) = (vec![], vec![], vec![]);
    for round in 0..REQUESTS {
        sleep(REST).await;
        syncs.push(sync_time(folder)?);
        let event = validators.next_event()?;
        let asked = &validators.handles[round % VALIDATORS];
        let (author, before) = (asked.node_id(), sequence(validators, round % VALIDATORS)?);
        let start = Instant::now();
        propose(asked, event).await?;
        reached(asked, |state| state.next_sequence(&author) > before).await?;
        finals.push(start.elapsed());
        for other in &validators.handles {
            reached(other, |state| state.next_sequence(&author) > before).await?;
        }
        everywhere.push(start.elapsed());
    }
    let (median, sync) = (median(&mut finals), median(&mut syncs));
    let (slowest, everywhere) = (finals[finals.len() * 99 / 100], self::median(&mut everywhere));
    let without = median.saturating_sub(sync * SYNCS_IN_A_ROW);
    row(&format!("{VALIDATORS} validators on loopback, request to final block, median of {REQUESTS}"), &millis(median));
    row("the same, the slowest of 100; on all validators, median", &format!("{}; {}", millis(slowest), millis(everywhere)));
    row(
        &format!("one sync of the disk while {VALIDATORS} write, median; {SYNCS_IN_A_ROW} stand in a row"),
        &format!("{:.2} ms", sync.as_secs_f64() * 1_000.0),
    );
    row("request to final block without the disk's syncs, median (goal: under 50 ms)", &millis(without));
    Ok(())
}

/// Whole nodes with nothing to do.
async fn idle() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut fleet = Fleet::start(folder.path(), VALIDATORS, &SHORT_WAITS).await;
    fleet.publish(0, "bench/idle:1").await;
    fleet.wait_until_level().await;
    let usages = |fleet: &Fleet| fleet.nodes.iter().map(|node| Usage::of(node.process_id())).collect::<Result<Vec<_>>>();
    let tip = fleet.nodes[0].network().await["tip"].clone();
    let before = usages(&fleet)?;
    sleep(IDLE).await;
    let used: Vec<Usage> = usages(&fleet)?.into_iter().zip(before).map(|(now, before)| now.since(before)).collect();
    anyhow::ensure!(fleet.nodes[0].network().await["tip"] == tip, "a block was made while nobody asked for anything");
    let busiest = used.iter().map(|usage| usage.processor).max().context("there are nodes")?;
    let written: u64 = used.iter().map(|usage| usage.written_bytes).sum();
    row(
        &format!("{VALIDATORS} idle nodes, processor of the busiest (goal: under 1 %)"),
        &format!("{:.2} %", 100.0 * busiest.as_secs_f64() / IDLE.as_secs_f64()),
    );
    row(
        &format!("{VALIDATORS} idle nodes, written to disk in {} s (goal: nothing)", IDLE.as_secs()),
        &format!("{written} bytes"),
    );
    fleet.stop_and_audit();
    Ok(())
}

/// What a block costs by the number of validators, on a disk that costs nothing.
async fn growth() -> Result<()> {
    let folder = tempfile::tempdir_in(memory_disk())?;
    let (mut validators, carried) = Validators::on_queues(folder.path());
    for size in SIZES {
        validators.grow_to(size).await?;
        sleep(REST).await;
        let (frames, bytes) = (carried.frames.load(Ordering::Relaxed), carried.bytes.load(Ordering::Relaxed));
        let (start, used) = (Instant::now(), Usage::of_this_process()?);
        for number in 0..BLOCKS_OF_A_SIZE as usize {
            let event = validators.next_event()?;
            let asked = &validators.handles[number % size];
            let (author, before) = (asked.node_id(), sequence(&validators, number % size)?);
            propose(asked, event).await?;
            for handle in &validators.handles {
                reached(handle, |state| state.next_sequence(&author) > before).await?;
            }
        }
        let (taken, used) = (start.elapsed() / BLOCKS_OF_A_SIZE, Usage::of_this_process()?.since(used));
        let each = |total: u64| total / u64::from(BLOCKS_OF_A_SIZE);
        row(
            &format!("{size} validators in one process, for each block of one event"),
            &format!(
                "{} until all have it, {:.1} ms of one processor, {} messages, {} KiB",
                millis(taken),
                used.processor.as_secs_f64() * 1_000.0 / f64::from(BLOCKS_OF_A_SIZE),
                each(carried.frames.load(Ordering::Relaxed) - frames),
                each(carried.bytes.load(Ordering::Relaxed) - bytes) / 1_024,
            ),
        );
    }
    validators.stop().await
}

/// A folder in memory where the system has one.
fn memory_disk() -> PathBuf {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() }
}

fn sequence(validators: &Validators, number: usize) -> Result<u64> {
    let handle = &validators.handles[number];
    Ok(handle.view().state.as_deref().context("a network")?.next_sequence(&handle.node_id()))
}

/// How long one small write takes until it is on the disk, while the others' disks, which are the same one, write as well.
fn sync_time(folder: &Path) -> Result<Duration> {
    let sync = |number: usize| -> Result<Duration> {
        let mut file = File::options().create(true).append(true).open(folder.join(format!("sync{number}")))?;
        let start = Instant::now();
        file.write_all(&[0x5a; SYNCED_BYTES])?;
        file.sync_data()?;
        Ok(start.elapsed())
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..VALIDATORS).map(|number| scope.spawn(move || sync(number))).collect();
        let mut times = vec![];
        for one in all {
            times.push(one.join().map_err(|_| anyhow::anyhow!("a write panicked"))??);
        }
        Ok(median(&mut times))
    })
}

/// Sorts, and takes the middle.
fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

fn row(what: &str, measured: &str) {
    println!("| {what} | {measured} |");
}
