//! The replica in a world of faults: virtual time, one seed, power cuts that lose unflushed writes, loss, delay, duplication,
//! reordering, partitions, a malicious member, and a set of members that grows from one to seven.
//!
//! The replicas are the ones the node runs; only the disk and the network are of this module. An [`oracle`] that knows nothing
//! of the engine watches every block and every signature: no fork, no honest node that contradicts itself, and when the faults
//! end, everybody at the same state and able to go on. The same seed gives the same run, to the last byte.

mod disk;
mod malicious;
mod oracle;
mod random;
mod scenario;
#[cfg(test)]
mod tests;
mod workload;
mod world;

pub use disk::Flushes;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What runs amounted to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub seeds: u64,
    pub blocks: u64,
    pub empty_blocks: u64,
    pub events: u64,
    pub members: u64,
    pub power_cuts: u64,
    /// Starts that found a journal of the height under way.
    pub recoveries: u64,
    pub partitions: u64,
    pub messages: u64,
    pub equivocations: u64,
    pub highest_round: u32,
    /// A digest over every byte that was sent and when.
    pub fingerprint: u64,
}

impl Summary {
    fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.blocks += other.blocks;
        self.empty_blocks += other.empty_blocks;
        self.events += other.events;
        self.members += other.members;
        self.power_cuts += other.power_cuts;
        self.recoveries += other.recoveries;
        self.partitions += other.partitions;
        self.messages += other.messages;
        self.equivocations += other.equivocations;
        self.highest_round = self.highest_round.max(other.highest_round);
        self.fingerprint = self.fingerprint.rotate_left(1) ^ other.fingerprint;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} seeds: no fork, no honest node contradicts itself, all alive after healing; {} blocks ({} empty), {} events, \
             {} members, {} power cuts, {} recoveries from a journal, {} partitions, {} messages, {} proofs of equivocation, \
             highest round {}, fingerprint {:016x}",
            self.seeds,
            self.blocks,
            self.empty_blocks,
            self.events,
            self.members,
            self.power_cuts,
            self.recoveries,
            self.partitions,
            self.messages,
            self.equivocations,
            self.highest_round,
            self.fingerprint
        )
    }
}

/// A seed that broke a promise.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("seed {seed}: {reason}")]
pub struct SeedFailure {
    pub seed: u64,
    pub reason: String,
}

/// Runs each seed of the range, until one fails.
pub fn run_seeds(seeds: Range<u64>) -> Result<Summary, SeedFailure> {
    run_seeds_on(seeds, Flushes::Kept)
}

/// [`run_seeds`] on disks that may forget what was flushed: shows that the simulator would notice.
pub fn run_seeds_on(seeds: Range<u64>, flushes: Flushes) -> Result<Summary, SeedFailure> {
    let mut total = Summary::default();
    for seed in seeds {
        let run = catch_unwind(AssertUnwindSafe(|| scenario::run(seed, flushes)));
        let result = run.unwrap_or_else(|panic| Err(format!("panicked: {}", panic_text(&*panic))));
        total.add(&result.map_err(|reason| SeedFailure { seed, reason })?);
    }
    Ok(total)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a text".to_owned())
}
