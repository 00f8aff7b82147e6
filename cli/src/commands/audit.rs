//! `pyrsia audit`: checks everything a ledger says, without a network and without a node.
//!
//! One thread reads and folds, which has to happen in order; the signatures go to one worker for each core.

use super::log::{open_ledger, progress_bar};
use super::{print, print_json};
use crate::arguments::AuditArguments;
use crate::exit::Failure;
use pyrsia_ledger::audit::{Audit, AuditReport, SignatureReport, SignatureWork};
use pyrsia_ledger::log::{LedgerReader, Row};
use std::fmt::Write;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Pieces of work that wait for a core, for each core: enough to keep it busy, few enough to bound the memory.
const WORK_WAITING: usize = 4;

pub(super) fn run(arguments: AuditArguments) -> Result<(), Failure> {
    let (_scratch, reader) = open_ledger(&arguments.ledger).map_err(Failure::as_could_not_run)?;
    let report = audit(reader, Audit::new(arguments.network));
    if arguments.output.json {
        print_json(&report)?;
    } else {
        print(&in_words(&arguments.ledger.display().to_string(), &report))?;
    }
    match report.findings_total {
        0 => Ok(()),
        1 => Err(Failure::new("the audit has one finding")),
        many => Err(Failure::new(format!("the audit has {many} findings"))),
    }
}

fn audit(reader: LedgerReader, mut audit: Audit) -> AuditReport {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let bar = progress_bar(reader.newest());
    let (work, waiting) = sync_channel::<SignatureWork>(WORK_WAITING * cores);
    let waiting = Mutex::new(waiting);
    let reports: Vec<SignatureReport> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(|| verify_all(&waiting))).collect();
        for row in reader {
            match row {
                Row::Block { position, raw } => {
                    audit.feed(position, &raw);
                    bar.set_position(position.0 + 1);
                }
                Row::Unreadable { position, sentence } => audit.unreadable(position, &sentence),
                Row::Fault { position, sentence } => audit.storage(position, &sentence),
                Row::End(announced) => audit.announce(announced),
            }
            if let Some(piece) = audit.take_work() {
                // Without a worker left the report says that signatures were not verified.
                let _ = work.send(piece);
            }
        }
        drop(work);
        workers.into_iter().filter_map(|worker| worker.join().ok()).flatten().collect()
    });
    bar.finish_and_clear();
    audit.finish(reports)
}

fn verify_all(waiting: &Mutex<Receiver<SignatureWork>>) -> Vec<SignatureReport> {
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
    std::iter::from_fn(next).map(|work| work.verify()).collect()
}

fn in_words(ledger: &str, report: &AuditReport) -> String {
    let summary = &report.summary;
    let mut text = format!("Audit of {ledger}\n");
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<11} {value}");
    };
    if let Some(network) = summary.network {
        line(
            "network",
            summary.name.as_ref().map_or_else(|| network.to_string(), |name| format!("{network} ({})", name.escape_debug())),
        );
    }
    match (summary.from, summary.to) {
        (Some(from), Some(to)) => line("blocks", format!("{from} to {to}, {} in all", summary.blocks)),
        _ => line("blocks", "none".into()),
    }
    line("events", summary.events.to_string());
    line("signatures", format!("{} verified", summary.signatures));
    if let (Some(height), Some(tip), Some(state)) = (summary.followed_to, summary.tip, summary.state_root) {
        line("followed to", format!("block {height}, {tip}"));
        line("state root", state.to_string());
    }
    if let (Some(size), Some(root)) = (summary.tree_size, summary.tree_root) {
        line("tree", format!("{size} events, root {root}"));
    }
    text.push('\n');
    if report.clean {
        text.push_str("Clean: every block follows from the ones before it, every signature holds, and every block is final.\n");
        return text;
    }
    for finding in &report.findings {
        let _ = writeln!(text, "{:<12} {}", finding.what.to_string(), finding.sentence);
    }
    let hidden = report.findings_total - report.findings.len() as u64;
    if hidden > 0 {
        let _ = writeln!(text, "and {hidden} more");
    }
    text
}
