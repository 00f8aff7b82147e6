//! Runs the consensus simulator: `sim A..B`. Exit code 1 with the seed when one breaks a promise.

use pyrsia_node::consensus::simulation::run_seeds;
use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

/// After how many seeds it says how far it is.
const SEEDS_PER_LINE: u64 = 50;

fn range(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}

fn main() -> ExitCode {
    let Some(seeds) = std::env::args().nth(1).and_then(|text| range(&text)) else {
        eprintln!("usage: sim A..B");
        return ExitCode::from(2);
    };
    let mut from = seeds.start;
    while from < seeds.end {
        let to = seeds.end.min(from + SEEDS_PER_LINE);
        let began = Instant::now();
        match run_seeds(from..to) {
            Ok(summary) => println!("{from}..{to} in {:.1} s: {summary}", began.elapsed().as_secs_f64()),
            Err(failure) => {
                eprintln!("error: {failure}");
                return ExitCode::FAILURE;
            }
        }
        from = to;
    }
    ExitCode::SUCCESS
}
