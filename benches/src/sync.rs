//! A newcomer takes in a long log from a peer over loopback, beside the import of the same log from a file.
//!
//! Both check all that an auditor checks. The clock says how long a newcomer waits on this machine as busy as it is; the
//! processor's time says what it costs.

use crate::usage::Usage;
use anyhow::{Context, Result, ensure};
use pyrsia_tests::deadline::BUILT;
use pyrsia_tests::network::Node;
use pyrsia_tests::program::{example, ours, succeed};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

const EVENTS: u64 = 100_000;
/// How often the newcomer is asked how far it is: little beside what it measures.
const LOOK: Duration = Duration::from_millis(25);
const ROUNDS: usize = 3;

pub(crate) async fn measure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let mut keeper = Node::reserve(folder, "keeper", None, &["--listen-only"]);
    keeper.log("pyrsia=info");
    let ledger = keeper.folder().join("pyrsia").join("blockchain");
    std::fs::create_dir_all(&ledger)?;
    succeed(Command::new(example("ledger_bench")).arg("make").arg(&ledger).arg(EVENTS.to_string()));
    let exported = folder.join("exported");
    succeed(Command::new(ours("pyrsia")).args(["log", "export"]).arg(&ledger).arg(&exported));
    keeper.start_again_within(BUILT).await;
    let address = keeper.address().await;
    let wanted = keeper.network().await;
    let events = wanted["tree_size"].as_u64().context("the size of the tree")?;
    let (mut joins, mut imports) = (vec![], vec![]);
    for round in 0..ROUNDS {
        imports.push(import(folder, &exported, round)?);
        let serving = Usage::of(keeper.process_id())?;
        let (name, joined) = (format!("newcomer{round}"), wanted["tip"].clone());
        let mut newcomer = Node::reserve(folder, &name, None, &["--peer", &address]);
        newcomer.log("pyrsia=info");
        let begin = Instant::now();
        newcomer.launch();
        let there = async {
            while newcomer.try_status().await.is_none_or(|status| status["height"] != wanted["height"]) {
                sleep(LOOK).await;
            }
        };
        timeout(BUILT, there).await.context("the newcomer does not get there")?;
        let took = begin.elapsed();
        ensure!(newcomer.network().await["tip"] == joined, "the newcomer follows another log");
        let (used, served) = (Usage::of(newcomer.process_id())?, Usage::of(keeper.process_id())?.since(serving));
        joins.push((took, used.processor, served.processor));
        newcomer.stop();
    }
    joins.sort_unstable();
    imports.sort_unstable();
    let (took, used, served) = joins[ROUNDS / 2];
    let (importing, import_used) = imports[ROUNDS / 2];
    let (rate, each) =
        (|time: Duration| events as f64 / time.as_secs_f64(), |time: Duration| 1e6 * time.as_secs_f64() / events as f64);
    println!(
        "| newcomer takes in {events} events from its start on, by the clock (goal: 20,000) | {:.0} events/s, slowest of {ROUNDS} {:.0} |",
        rate(took),
        rate(joins[ROUNDS - 1].0)
    );
    println!("| `pyrsia log import` of the same log, by the clock | {:.0} events/s |", rate(importing));
    println!("| processor of the newcomer, its start included | {:.1} µs an event |", each(used));
    println!("| processor of the import | {:.1} µs an event |", each(import_used));
    println!("| processor of who serves it | {:.1} µs an event |", each(served));
    Ok(())
}

/// By the clock, and of the processor.
fn import(folder: &Path, exported: &Path, round: usize) -> Result<(Duration, Duration)> {
    let (before, begin) = (Usage::of_ended_children()?, Instant::now());
    let into = folder.join(format!("imported{round}"));
    succeed(Command::new(ours("pyrsia")).args(["log", "import"]).arg(exported).arg(into));
    Ok((begin.elapsed(), Usage::of_ended_children()?.saturating_sub(before)))
}
