//! `pyrsia log replay`: the state of a network as it was after a block.

use super::super::{print, print_json};
use super::{open_sound, progress_bar, refused};
use crate::arguments::OutputArguments;
use crate::exit::Failure;
use pyrsia_ledger::log::replay_to;
use pyrsia_ledger::projection::builds::BuildStatus;
use pyrsia_ledger::projection::members::Former;
use pyrsia_ledger::projection::verifiers::Module;
use pyrsia_ledger::{Height, NodeId, PackageType, Projections, Sha256Digest};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

#[derive(Serialize)]
struct State<'a> {
    network: String,
    name: &'a str,
    height: Height,
    tip: String,
    time_ms: u64,
    events: u64,
    tree_root: Sha256Digest,
    state_root: Sha256Digest,
    founder: NodeId,
    members: Vec<MemberView>,
    candidates: Vec<CandidateView<'a>>,
    former: Vec<FormerView<'a>>,
    verifiers: Vec<VerifierView<'a>>,
    builds: BuildCounts,
    artifacts: usize,
    builds_at_risk: usize,
}

#[derive(Serialize)]
struct MemberView {
    node: NodeId,
    since: Height,
}

#[derive(Serialize)]
struct CandidateView<'a> {
    node: NodeId,
    approvals: &'a [NodeId],
    approved_at: Option<Height>,
}

#[derive(Serialize)]
struct FormerView<'a> {
    node: NodeId,
    #[serde(flatten)]
    how: &'a Former,
    suspended: bool,
}

#[derive(Serialize)]
struct VerifierView<'a> {
    package_type: &'a PackageType,
    module: Sha256Digest,
    #[serde(flatten)]
    details: &'a Module,
    current: bool,
}

#[derive(Default, Serialize)]
struct BuildCounts {
    open: usize,
    agreed: usize,
    published: usize,
    failed: usize,
    disputed: usize,
}

pub(super) fn run(ledger: &Path, to: Option<Height>, output: OutputArguments) -> Result<(), Failure> {
    let (_scratch, blocks) = open_sound(ledger)?;
    let end = to.into_iter().chain(blocks.newest()).min();
    let bar = progress_bar(end);
    let replayed = replay_to(blocks, to, &mut |height| bar.set_position(height.0 + 1));
    bar.finish_and_clear();
    let state = replayed.map_err(|error| refused("the log cannot be replayed", ledger, &error))?;
    let view = view(&state);
    if output.json { print_json(&view) } else { print(&in_words(&view)) }
}

fn view<'a>(state: &'a Projections) -> State<'a> {
    let mut builds = BuildCounts::default();
    for (_, build) in state.builds.iter() {
        *match build.status {
            BuildStatus::Committing | BuildStatus::Revealing | BuildStatus::Vouching { .. } => &mut builds.open,
            BuildStatus::Agreed { .. } => &mut builds.agreed,
            BuildStatus::Published { .. } => &mut builds.published,
            BuildStatus::Failed => &mut builds.failed,
            BuildStatus::Disputed { .. } => &mut builds.disputed,
        } += 1;
    }
    let verifier = |(key, details): (&'a (PackageType, Sha256Digest), &'a Module)| VerifierView {
        package_type: &key.0,
        module: key.1,
        details,
        current: state.verifiers.current(&key.0) == Some(key.1),
    };
    State {
        network: state.network().to_string(),
        name: state.name(),
        height: state.height(),
        tip: state.tip().to_string(),
        time_ms: state.time_ms(),
        events: state.tree_size(),
        tree_root: state.tree_root(),
        state_root: state.state_root(),
        founder: state.founder(),
        members: state.members.active().map(|(node, member)| MemberView { node: *node, since: member.since }).collect(),
        candidates: state
            .members
            .candidates()
            .map(|(node, found)| CandidateView { node: *node, approvals: &found.approvals, approved_at: found.approved_at })
            .collect(),
        former: state
            .members
            .former()
            .map(|(node, how)| FormerView { node: *node, how, suspended: state.members.suspended(node).is_some() })
            .collect(),
        verifiers: state.verifiers.modules().map(verifier).collect(),
        builds,
        artifacts: state.packages.artifact_count(),
        builds_at_risk: state.builds.all_at_risk().count(),
    }
}

pub(in crate::commands) fn moment(time_ms: u64) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_millis(time_ms)) {
        // The end of the year 9999; the formatter knows no later one.
        Some(time) if time_ms < 253_402_300_800_000 => humantime::format_rfc3339_seconds(time).to_string(),
        _ => format!("{time_ms} ms"),
    }
}

fn in_words(view: &State<'_>) -> String {
    let mut text = format!(
        "Network {} ({}) after block {}, {}\n",
        view.network,
        view.name.escape_debug(),
        view.height,
        moment(view.time_ms)
    );
    let mut line = |words: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {words}");
    };
    line(format!("block {}", view.tip));
    line(format!("state root {}", view.state_root));
    line(format!("{} events, tree root {}", view.events, view.tree_root));
    line(format!("founded by {}", view.founder));
    for member in &view.members {
        line(format!("authorized: {} since block {}", member.node, member.since));
    }
    for candidate in &view.candidates {
        let state = if candidate.approved_at.is_some() { "approved, not active yet" } else { "not approved yet" };
        line(format!("candidate: {} with {} approvals, {state}", candidate.node, candidate.approvals.len()));
    }
    for former in &view.former {
        let why = if former.suspended { "suspended" } else { "revoked" };
        line(format!("{why}: {}, blocks {} to {}", former.node, former.how.since, former.how.until));
    }
    for verifier in &view.verifiers {
        let current = if verifier.current { ", in use" } else { "" };
        line(format!("verifier of {}: {}{current}", verifier.package_type, verifier.module));
    }
    let builds = &view.builds;
    line(format!(
        "builds: {} published, {} open, {} agreed, {} failed, {} disputed",
        builds.published, builds.open, builds.agreed, builds.failed, builds.disputed
    ));
    line(format!("published artifacts: {}", view.artifacts));
    if view.builds_at_risk > 0 {
        line(format!("published builds at risk: {}", view.builds_at_risk));
    }
    text
}
