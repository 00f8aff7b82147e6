//! What a process has used of the processor and the disk so far, from the kernel (proc(5)).

use anyhow::{Context, Result};
use std::time::Duration;

/// `_SC_CLK_TCK`: the kernel's unit of processor time towards programs, the same on every Linux.
const TICKS_PER_SECOND: u64 = 100;

/// Where the words about user and system time begin, counted from behind the name.
const ITSELF: usize = 11;
const ENDED_CHILDREN: usize = 13;

fn processor(stat: &str, place: usize) -> Result<Duration> {
    // The name, in parentheses, may hold anything.
    let (_, words) = stat.rsplit_once(')').context("a name in parentheses")?;
    let ticks: u64 = words.split_whitespace().skip(place).take(2).map(|word| word.parse::<u64>().unwrap_or(0)).sum();
    Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) processor: Duration,
    /// Bytes that had to go to a disk.
    pub(crate) written_bytes: u64,
}

impl Usage {
    pub(crate) fn of(id: u32) -> Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        let io = std::fs::read_to_string(format!("/proc/{id}/io"))?;
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes:")).context("bytes written")?;
        Ok(Self { processor: processor(&stat, ITSELF)?, written_bytes: written.trim().parse()? })
    }

    pub(crate) fn of_this_process() -> Result<Self> {
        Self::of(std::process::id())
    }

    /// Processor time of the programs that this one started and that have ended.
    pub(crate) fn of_ended_children() -> Result<Duration> {
        processor(&std::fs::read_to_string("/proc/self/stat")?, ENDED_CHILDREN)
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        let written_bytes = self.written_bytes.saturating_sub(earlier.written_bytes);
        Self { processor: self.processor.saturating_sub(earlier.processor), written_bytes }
    }
}
