//! The timers of a height and how long they run.

/// A timer that the replica wants. Those of a height are known by round only, so a new height begins with none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Propose(u32),
    Prevote(u32),
    Precommit(u32),
    /// Says again what was said, while a round does not end.
    Rebroadcast(u32),
    /// Waits for more events before a height begins.
    Linger,
}

/// How long each step of a round waits. Waiting longer costs time when somebody is absent, never safety.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub propose_ms: u64,
    /// What every further round adds.
    pub propose_step_ms: u64,
    /// For prevotes and precommits alike.
    pub vote_ms: u64,
    pub vote_step_ms: u64,
    pub rebroadcast_ms: u64,
    pub cap_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { propose_ms: 1_500, propose_step_ms: 500, vote_ms: 500, vote_step_ms: 250, rebroadcast_ms: 2_000, cap_ms: 30_000 }
    }
}

impl Timeouts {
    /// How long `timer` runs; a linger is not part of a round and has its own setting.
    pub(super) fn duration_ms(&self, timer: Timer) -> u64 {
        let grown = |base: u64, step: u64, round: u32| base.saturating_add(step.saturating_mul(u64::from(round)));
        let duration_ms = match timer {
            Timer::Propose(round) => grown(self.propose_ms, self.propose_step_ms, round),
            Timer::Prevote(round) | Timer::Precommit(round) => grown(self.vote_ms, self.vote_step_ms, round),
            Timer::Rebroadcast(_) | Timer::Linger => self.rebroadcast_ms,
        };
        duration_ms.min(self.cap_ms)
    }
}
