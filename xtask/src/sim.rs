//! The consensus simulator over a range of seeds. The runner is an example of the node's crate, so that this program stays light.

use crate::{cargo, run};
use anyhow::{Result, bail};

/// `--seeds A..B`, as the runner takes it.
pub(crate) fn sim(arguments: &[&str]) -> Result<()> {
    let ["--seeds", seeds] = arguments else { bail!("usage: cargo xtask sim --seeds A..B") };
    run(&mut cargo(&["run", "--package", "pyrsia-node", "--example", "sim", "--", seeds]))
}
