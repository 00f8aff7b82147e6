//! `pyrsia audit`: checks everything a ledger says, without a network and without a node.

mod checking;
mod deep;
mod rest;

use super::log::open_ledger;
use super::verify::PinnedBy;
use super::{print, print_json, verify};
use crate::arguments::AuditArguments;
use crate::exit::Failure;
use crate::settings::SettingsFile;
use deep::DeepReport;
use pyrsia_ledger::NetworkId;
use pyrsia_ledger::audit::{Audit, AuditReport};
use rest::RestFile;
use serde::Serialize;
use std::fmt::Write;

#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    report: AuditReport,
    pinned_by: PinnedBy,
    #[serde(skip_serializing_if = "Option::is_none")]
    deep: Option<Deep>,
}

/// What came of `--deep`.
#[derive(Serialize)]
#[serde(untagged)]
enum Deep {
    LookedAt(DeepReport),
    /// What is published is not known where the state is not.
    NotLookedAt,
}

impl Deep {
    /// As lines of a summary.
    fn lines(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::LookedAt(report) => report.lines().collect(),
            Self::NotLookedAt => {
                vec![("artifacts", "not looked at: what is published is not known, because the state cannot be followed".into())]
            }
        }
    }
}

pub(super) fn run(arguments: AuditArguments) -> Result<(), Failure> {
    let (answer, ledger) = audit(&arguments).map_err(Failure::as_could_not_run)?;
    let printed = if arguments.output.json { print_json(&answer) } else { print(&in_words(&ledger, &answer)) };
    printed.map_err(Failure::as_could_not_run)?;
    match answer.report.findings_total {
        0 => Ok(()),
        1 => Err(Failure::new("the audit has one finding")),
        many => Err(Failure::new(format!("the audit has {many} findings"))),
    }
}

fn audit(arguments: &AuditArguments) -> Result<(Answer, String), Failure> {
    let (pinned, pinned_by) = pinned(arguments.network)?;
    let stored = arguments.deep.then(|| deep::stored_outputs(&arguments.ledger)).transpose()?;
    let (_scratch, mut reader) = open_ledger(&arguments.ledger)?;
    let rest = arguments.resume.as_deref().map(RestFile::at);
    let resumed = rest.as_ref().map(|rest| rest.take_up(pinned, &mut reader)).transpose()?.flatten();
    let audit = resumed.unwrap_or_else(|| Audit::new(pinned));
    let (report, state) = checking::check(reader, audit, rest.as_ref())?;
    let (report, deep) = match (stored, &state) {
        (Some(stored), Some(state)) => {
            let (deep, findings) = deep::check(&stored, state)?;
            let total = findings.len() as u64;
            (report.with(findings, total), Some(Deep::LookedAt(deep)))
        }
        (Some(_), None) => (report, Some(Deep::NotLookedAt)),
        (None, _) => (report, None),
    };
    // The program ends with its answer: taking the rows of a million events apart first would take more than a second.
    std::mem::forget(state);
    Ok((Answer { report, pinned_by, deep }, arguments.ledger.display().to_string()))
}

/// The settings pin a network only where there is a place for them: an audit needs none.
fn pinned(given: Option<NetworkId>) -> Result<(Option<NetworkId>, PinnedBy), Failure> {
    if given.is_none() && SettingsFile::of_user().is_err() {
        return Ok((None, PinnedBy::Nobody));
    }
    verify::pinned(given, false)
}

fn in_words(ledger: &str, Answer { report, pinned_by, deep }: &Answer) -> String {
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
    line(
        "pinned",
        match pinned_by {
            PinnedBy::CommandLine => "by --network".into(),
            PinnedBy::Settings => "by 'pyrsia config'".into(),
            PinnedBy::Nobody => "no network: whether this is the one you mean was not checked".into(),
        },
    );
    if let Some(height) = summary.resumed_after {
        line("gone on", format!("behind block {height}: it and those before it were read by an earlier run, not by this one"));
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
    for (name, value) in deep.iter().flat_map(Deep::lines) {
        line(name, value);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_state_is_not_known_no_builds_are_counted_but_said_not_to_be_looked_at() {
        let report = Audit::new(None).finish([]);
        let answer = Answer { report, pinned_by: PinnedBy::Nobody, deep: Some(Deep::NotLookedAt) };
        let text = in_words("ledger", &answer);
        assert!(text.contains("artifacts   not looked at"), "{text}");
        assert!(!text.contains("0 of 0"), "{text}");
        let json = serde_json::to_value(&answer).expect("serializes");
        assert_eq!(json.get("deep"), Some(&serde_json::Value::Null));
    }
}
