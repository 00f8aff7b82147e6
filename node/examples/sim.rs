//! Runs the simulator: `sim A..B [JOBS]`. Exit code 1 when a seed breaks a promise; it names the seed and how to run it again.

use pyrsia_node::consensus::simulation::{SeedFailure, Summary, run_seeds};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// After how many seeds it says how far it is.
const SEEDS_PER_LINE: u64 = 100;

fn range(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?).filter(|range| !range.is_empty())
}

/// What the threads have in common.
struct Progress {
    total: Summary,
    failures: Vec<SeedFailure>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seeds = arguments.first().and_then(|text| range(text));
    let jobs = arguments.get(1).map_or(Some(1), |text| text.parse::<usize>().ok().filter(|jobs| *jobs > 0));
    let (Some(seeds), Some(jobs)) = (seeds, jobs) else {
        eprintln!("usage: sim A..B [JOBS]");
        return ExitCode::from(2);
    };
    let (next, began) = (AtomicU64::new(seeds.start), Instant::now());
    let progress = Mutex::new(Progress { total: Summary::default(), failures: vec![] });
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let result = run_seeds(seed..seed + 1);
            let mut progress = progress.lock().expect("a seed that panics is caught");
            match result {
                Ok(summary) => progress.total.add(&summary),
                Err(failure) => {
                    eprintln!("error: {failure}\n  again: cargo xtask sim --seeds {seed}..{}", seed + 1);
                    progress.failures.push(failure);
                }
            }
            let done = progress.total.seeds + progress.failures.len() as u64;
            if done.is_multiple_of(SEEDS_PER_LINE) {
                println!("{done} seeds in {:.1} s", began.elapsed().as_secs_f64());
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(work);
        }
    });
    let progress = progress.into_inner().expect("no thread panicked");
    println!("{:.1} s: {}", began.elapsed().as_secs_f64(), progress.total);
    if progress.failures.is_empty() {
        return ExitCode::SUCCESS;
    }
    let failed: Vec<String> = progress.failures.iter().map(|failure| failure.seed.to_string()).collect();
    eprintln!("error: {} seeds failed: {}", failed.len(), failed.join(", "));
    ExitCode::FAILURE
}
