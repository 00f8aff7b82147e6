//! What a change must pass, cheapest first, and which tests were skipped for want of a client.

use crate::{GUESTS, cargo, clients, format, fuzz, guests, kit, lint, package, requires_clients, run};
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

pub(crate) fn everything() -> Result<()> {
    format(&["--check"])?;
    lint()?;
    run(&mut cargo(&["test", "--workspace", "--test", "house_rules"]))?;
    package::check()?;
    run(cargo(&["test"]).args(GUESTS))?;
    only("")?;
    fuzz::seeds_of_test()?;
    // With the program that the tests were built with.
    if guests::can_build()? {
        return kit::author();
    }
    let skipped = "the author's kit, for which `rustup target add wasm32-unknown-unknown` is needed";
    ensure!(!requires_clients(), "PYRSIA_REQUIRE_CLIENTS=1, and this could not be tested: {skipped}");
    println!("SKIPPED {skipped}");
    Ok(())
}

/// The tests of the workspace whose names contain `filter`.
pub(crate) fn only(filter: &str) -> Result<()> {
    let missing = clients::missing();
    if requires_clients() {
        ensure!(missing.is_empty(), "PYRSIA_REQUIRE_CLIENTS=1, and these are not installed:\n  {}", missing.join("\n  "));
    }
    // The end-to-end tests start the programs; a test does not build another package's.
    run(&mut cargo(&["build", "--workspace", "--bins", "--examples"]))?;
    let skipped = cargo_test(filter)?;
    for client in &missing {
        println!("MISSING {client}");
    }
    for test in &skipped {
        println!("{test}");
    }
    Ok(())
}

/// Runs the tests and passes on what they print. What passing tests print is hidden but for their `SKIPPED` lines, which are
/// returned.
fn cargo_test(filter: &str) -> Result<Vec<String>> {
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast", "--", "--show-output"]);
    if !filter.is_empty() {
        command.arg(filter);
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("cargo does not start")?;
    let (mut skipped, mut hidden) = (Vec::new(), false);
    for line in BufReader::new(child.stdout.take().context("a piped stream")?).lines() {
        let line = line?;
        match line.as_str() {
            "successes:" => hidden = true,
            "failures:" => hidden = false,
            text if text.starts_with("test result:") => hidden = false,
            text if hidden && text.starts_with("SKIPPED") => skipped.push(text.to_owned()),
            _ => {}
        }
        if !hidden {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "tests failed: cargo test ended with {status}");
    Ok(skipped)
}
