//! The simulator over a range of seeds. The runner is an example of the node's crate, so that this program stays light.

use crate::{built, cargo, run};
use anyhow::{Result, bail};
use std::process::Command;

/// `--seeds A..B [--jobs N]`, as the runner takes it.
pub(crate) fn sim(arguments: &[&str]) -> Result<()> {
    let (seeds, jobs) = match arguments {
        ["--seeds", seeds] => (seeds, None),
        ["--seeds", seeds, "--jobs", jobs] => (seeds, Some(jobs)),
        _ => bail!("usage: cargo xtask sim --seeds A..B [--jobs N]"),
    };
    let every_core = || std::thread::available_parallelism().map_or(1, usize::from).to_string();
    let jobs = jobs.map_or_else(every_core, |jobs| (*jobs).to_owned());
    run(&mut cargo(&["build", "--workspace", "--bins", "--examples"]))?;
    run(Command::new(built("debug/examples/sim")?).arg(seeds).arg(jobs))
}
