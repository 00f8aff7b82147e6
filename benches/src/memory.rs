//! How much memory a process has, from the kernel.

use anyhow::{Context, Result};

const KIB_PER_MIB: f64 = 1024.0;

/// A process whose memory is watched.
pub(crate) struct Watched {
    id: u32,
    idle_mib: f64,
}

impl Watched {
    /// Notes what the process has, and sets its peak back to that.
    pub(crate) fn from_idle(id: u32) -> Result<Self> {
        // proc(5): 5 resets the peak resident set size.
        std::fs::write(format!("/proc/{id}/clear_refs"), "5").context("resetting the peak needs the process' owner")?;
        Ok(Self { id, idle_mib: field(id, "VmRSS:")? })
    }

    pub(crate) fn idle_mib(&self) -> f64 {
        self.idle_mib
    }

    /// The most it has had since, above idle. Counts mapped files too.
    pub(crate) fn peak_above_idle_mib(&self) -> Result<f64> {
        Ok(field(self.id, "VmHWM:")? - self.idle_mib)
    }
}

fn field(id: u32, name: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("{name} of process {id}"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / KIB_PER_MIB)
}
