//! The replica in a world of faults: virtual time, one seed, power cuts that lose unflushed writes, loss, delay, duplication,
//! reordering, partitions, lost disks, malicious validators, judges that cheat, and a set of one to thirteen members that grows
//! and shrinks.
//!
//! The replicas and the plan of the judges are the ones the node runs; the disk, the network and what builds come to are of
//! this module. An [`oracle`] that knows nothing of the engine watches every block and every signature: no fork, no honest node
//! that contradicts itself, no time that honest clocks do not bear out, nothing published that no honest judge stands for, and when the faults end, everybody at the same
//! state, every build closed, and the network able to go on. The same seed gives the same run, to the last byte.

mod disk;
mod factory;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod judges;
mod malicious;
mod oracle;
mod random;
mod scenario;
#[cfg(test)]
mod tests;
mod workload;
mod world;

use pyrsia_ledger::signed::remembering;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A fault of our own that the simulator has to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    None,
    /// A replica does not flush before it publishes.
    FlushesForgotten,
    /// A node that lost its disk votes as if it had not.
    LossUnnoticed,
    /// Validators vote for blocks of any time.
    AnyTimeBelieved,
    /// Judges vouch for candidates that they did not look at.
    VouchesUnseen,
}

/// What runs amounted to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub seeds: u64,
    pub blocks: u64,
    pub empty_blocks: u64,
    pub events: u64,
    pub members: u64,
    pub revoked: u64,
    pub suspended: u64,
    pub builds: u64,
    pub published: u64,
    pub failed: u64,
    pub disputed: u64,
    pub vouched: u64,
    pub at_risk: u64,
    pub power_cuts: u64,
    pub disk_losses: u64,
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
    /// Together with other runs; the order of the runs does not matter.
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.blocks += other.blocks;
        self.empty_blocks += other.empty_blocks;
        self.events += other.events;
        self.members += other.members;
        self.revoked += other.revoked;
        self.suspended += other.suspended;
        self.builds += other.builds;
        self.published += other.published;
        self.failed += other.failed;
        self.disputed += other.disputed;
        self.vouched += other.vouched;
        self.at_risk += other.at_risk;
        self.power_cuts += other.power_cuts;
        self.disk_losses += other.disk_losses;
        self.recoveries += other.recoveries;
        self.partitions += other.partitions;
        self.messages += other.messages;
        self.equivocations += other.equivocations;
        self.highest_round = self.highest_round.max(other.highest_round);
        self.fingerprint = self.fingerprint.wrapping_add(other.fingerprint);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} seeds: no fork, no wrong byte published, no honest node contradicts itself, all alive after healing; {} blocks \
             ({} empty), {} events, {} members, {} revoked, {} suspended, {} builds ({} published, {} failed, {} disputed, {} \
             vouches, {} at risk), {} power cuts, {} lost disks, {} recoveries from a journal, {} partitions, {} messages, {} \
             contradictions seen, highest round {}, fingerprint {:016x}",
            self.seeds,
            self.blocks,
            self.empty_blocks,
            self.events,
            self.members,
            self.revoked,
            self.suspended,
            self.builds,
            self.published,
            self.failed,
            self.disputed,
            self.vouched,
            self.at_risk,
            self.power_cuts,
            self.disk_losses,
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
    run_mutated(seeds, Mutation::None)
}

/// [`run_seeds`] with a fault of our own: shows that the simulator would notice.
pub fn run_mutated(seeds: Range<u64>, mutation: Mutation) -> Result<Summary, SeedFailure> {
    let mut total = Summary::default();
    for seed in seeds {
        let run = catch_unwind(AssertUnwindSafe(|| remembering(|| scenario::run(seed, mutation))));
        let result = run.unwrap_or_else(|panic| Err(format!("panicked: {}", panic_text(&*panic))));
        total.add(&result.map_err(|reason| SeedFailure { seed, reason })?);
    }
    Ok(total)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a text".to_owned())
}
