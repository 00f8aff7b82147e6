//! Changed build outputs for the shipped verifiers. The runner is an example of the verifiers' crate, so that this program stays light.

use crate::{built, cargo, run};
use anyhow::{Result, bail};
use std::process::Command;

/// What every change must pass; half a minute.
const SEEDS_OF_TEST: &str = "0..1000";

/// `--seeds A..B [--type T] [--modules DIR]`, as the runner takes it.
pub(crate) fn fuzz(arguments: &[&str]) -> Result<()> {
    let ["--seeds", seeds, kind @ ..] = arguments else {
        bail!("usage: cargo xtask fuzz --seeds A..B [--type PACKAGE-TYPE] [--modules DIR]")
    };
    run(&mut cargo(&["build", "--workspace", "--bins", "--examples"]))?;
    run(Command::new(built("debug/examples/fuzz")?).arg(seeds).args(kind))
}

/// The same seeds every time, after a build of the whole.
pub(crate) fn seeds_of_test() -> Result<()> {
    run(Command::new(built("debug/examples/fuzz")?).arg(SEEDS_OF_TEST))
}
