//! Events as sentences.

use pyrsia_ledger::NodeId;
use pyrsia_ledger::event::{BuildOutcome, Event};

pub(super) fn event_in_words(author: NodeId, event: &Event) -> String {
    match event {
        Event::NetworkFounded(body) => format!("{author} founded the network {:?}", body.name),
        Event::NodeAuthorizationApproved(body) => format!("{author} approved the authorization of {}", body.node),
        Event::NodeActivated(_) => format!("{author} became an authorized node"),
        Event::VerifierApproved(body) => {
            format!("{author} approved verifier {} for {}, contract {}", body.module, body.package_type, body.contract_version)
        }
        Event::BuildRequested(body) => {
            let again = if body.attempt == 0 { String::new() } else { format!(", attempt {}", body.attempt + 1) };
            format!("{author} requested build {} of {}{again}", body.build_id, body.coordinate)
        }
        Event::BuildResultReported(body) => {
            let outcome = match &body.outcome {
                BuildOutcome::Built { source, artifacts } => {
                    let files =
                        if artifacts.len() == 1 { "one artifact".to_owned() } else { format!("{} artifacts", artifacts.len()) };
                    format!("{files} from {} at {}", source.location.escape_debug(), source.revision.escape_debug())
                }
                BuildOutcome::Failed { reason } => format!("it failed: {reason:?}"),
                BuildOutcome::Abstained { reason } => format!("no result: {reason:?}"),
            };
            format!("{author} reported on build {}: {outcome}", body.build_id)
        }
        Event::AddArtifact(body) => {
            let artifact = &body.artifact;
            format!(
                "{author} published {} of {}: {} bytes, sha256 {}",
                artifact.artifact_id, body.coordinate, artifact.size_bytes, artifact.sha256
            )
        }
    }
}
