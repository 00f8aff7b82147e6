//! What became of a build, in words: how far it is, how it ended, and what each build node said when it went wrong.

use crate::exit::Failure;
use pyrsia_registry::wire::{BuildState, BuildView, OutcomeKind};

pub(super) fn is_closed(view: &BuildView) -> bool {
    matches!(view.state, BuildState::Published | BuildState::Failed | BuildState::Disputed)
}

/// A closed build is published, or the failure that says why not.
pub(super) fn settled(view: &BuildView) -> Result<(), Failure> {
    match view.state {
        BuildState::Published => Ok(()),
        BuildState::Open | BuildState::Agreed | BuildState::Failed | BuildState::Disputed => Err(Failure::new(in_words(view))),
    }
}

/// One line; a build that came to nothing has another for each reason.
pub(super) fn in_words(view: &BuildView) -> String {
    let (id, package, judges) = (view.build_id, &view.package, view.judges.len());
    let answered = view.judges.iter().filter(|judge| judge.outcome.is_some()).count();
    let agreeing = view.judges.iter().filter(|judge| judge.agrees).count();
    match view.state {
        BuildState::Open => format!("{answered} of {judges} build nodes have a result{}", local(view)),
        BuildState::Agreed => format!("{agreeing} of {judges} build nodes agree; the artifacts are being published"),
        BuildState::Published => {
            let artifacts = view.agreement.as_ref().map_or(0, |agreement| agreement.artifacts);
            let height = view.published_at.map(|height| format!(" in block {height}")).unwrap_or_default();
            format!(
                "{package} is published: {artifacts} artifacts{height}, the same on {agreeing} of {judges} build nodes (build '{id}')"
            )
        }
        BuildState::Failed => format!("The build '{id}' of {package} failed:{}", reasons(view)),
        BuildState::Disputed => {
            format!("The build '{id}' of {package} is not published: the build nodes got different results{}", reasons(view))
        }
    }
}

fn local(view: &BuildView) -> String {
    let Some(local) = &view.local else { return String::new() };
    let message = local.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    format!("; this node: {}{message}", local.phase)
}

fn reasons(view: &BuildView) -> String {
    let mut lines = String::new();
    for judge in &view.judges {
        let said = match judge.outcome {
            None => "no result yet",
            Some(OutcomeKind::Built) => "built it",
            Some(OutcomeKind::Failed) => "the build failed",
            Some(OutcomeKind::Abstained) => "could not build it",
        };
        let reason = judge.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        lines.push_str(&format!("\n  {}  {said}{reason}", judge.node));
    }
    lines
}
