//! The consensus simulator over a range of seeds. The runner is an example of the node's crate, so that this program stays light.

use crate::{built, cargo, run};
use anyhow::{Result, bail};
use std::process::Command;

/// `--seeds A..B`, as the runner takes it.
pub(crate) fn sim(arguments: &[&str]) -> Result<()> {
    let ["--seeds", seeds] = arguments else { bail!("usage: cargo xtask sim --seeds A..B") };
    run(&mut cargo(&["build", "--workspace", "--bins", "--examples"]))?;
    run(Command::new(built("debug/examples/sim")?).arg(seeds))
}
