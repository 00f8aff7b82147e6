//! What became of a build, in words: how far it is, how it ended, and what each build node did when it went wrong.

use crate::exit::Failure;
use pyrsia_ledger::event::Vouch;
use pyrsia_ledger::projection::builds::JudgeState;
use pyrsia_registry::wire::{BuildState, BuildView, JudgeView, dispute};

pub(super) fn is_closed(view: &BuildView) -> bool {
    view.state.is_closed()
}

/// A closed build is published, or the failure that says why not.
pub(super) fn settled(view: &BuildView) -> Result<(), Failure> {
    if view.state == BuildState::Published { Ok(()) } else { Err(Failure::new(in_words(view))) }
}

/// One line; a build that came to nothing has another for each judge and each difference.
pub(in crate::commands) fn in_words(view: &BuildView) -> String {
    let (id, package, judges) = (view.build_id, &view.package, view.judges.len());
    let count = |is: fn(&JudgeView) -> bool| view.judges.iter().filter(|judge| is(judge)).count();
    let agreeing = count(|judge| judge.agrees);
    match view.state {
        BuildState::Committing => {
            let committed = count(|judge| judge.committed_at.is_some());
            format!("{committed} of {judges} build nodes have a result{}{}", waits(view), local(view))
        }
        BuildState::Revealing => {
            let shown = count(|judge| judge.outcome.is_some());
            format!("{shown} of {judges} build nodes have shown their result{}{}", waits(view), local(view))
        }
        BuildState::Vouching => {
            let vouched = view.vouches.iter().filter(|vouch| vouch.verdict == Vouch::Same).count();
            format!(
                "the build nodes got the same but for what the verifier forgives; {vouched} looked at each other's bytes{}{}",
                waits(view),
                local(view)
            )
        }
        BuildState::Agreed => format!("{agreeing} of {judges} build nodes agree; the artifacts are being published"),
        BuildState::Published => published(view, agreeing),
        BuildState::Failed => format!("The build '{id}' of {package} failed:{}", on_record(view)),
        BuildState::Disputed => {
            let mut text = format!(
                "The build '{id}' of {package} is not published: the build nodes got different results{}",
                on_record(view)
            );
            // Honest reports are the same: one tells it.
            for line in view.disputes.first().map(|told| dispute::lines(&told.report)).unwrap_or_default() {
                text.push_str(&format!("\n  {line}"));
            }
            text
        }
    }
}

fn published(view: &BuildView, agreeing: usize) -> String {
    let (id, package, judges) = (view.build_id, &view.package, view.judges.len());
    let artifacts = view.agreement.as_ref().map_or(0, |agreement| agreement.artifacts);
    let height = view.published_at.map(|height| format!(" in block {height}")).unwrap_or_default();
    let after = if view.judges.iter().any(|judge| judge.state == JudgeState::AgreesAfterPasses) {
        ", but for what the verifier forgives,"
    } else {
        ""
    };
    let mut text = format!(
        "{package} is published: {artifacts} artifacts{height}, the same{after} on {agreeing} of {judges} build nodes (build '{id}')"
    );
    if let Some(risk) = &view.at_risk {
        text.push_str(&format!("; at risk since block {}, and not served", risk.height));
    }
    // A dissent stands on record, and whoever looks at the build should see it.
    for judge in view.judges.iter().filter(|judge| !judge.agrees) {
        text.push_str(&line(judge));
    }
    text
}

fn waits(view: &BuildView) -> String {
    match view.waits.len() {
        0 => String::new(),
        waits => format!(" ({waits} will not wait longer)"),
    }
}

fn local(view: &BuildView) -> String {
    let Some(local) = &view.local else { return String::new() };
    let message = local.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    format!("; this node: {}{message}", local.phase)
}

fn on_record(view: &BuildView) -> String {
    view.judges.iter().map(line).collect()
}

fn line(judge: &JudgeView) -> String {
    let reason = judge.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let height = judge.height.map(|height| format!(" (block {height})")).unwrap_or_default();
    format!("\n  {}  {}{reason}{height}", judge.node, judge.means)
}
