//! Events as sentences.

use super::dispute;
use pyrsia_ledger::NodeId;
use pyrsia_ledger::event::{BuildOutcome, Event, Vouch, WaitPhase};
use pyrsia_ledger::evidence::Evidence;

/// What an event says. Texts that somebody chose are quoted; what a report about a dispute says takes a line of its own for each difference.
pub fn event_in_words(author: NodeId, event: &Event) -> String {
    match event {
        Event::NetworkFounded(body) => format!("{author} founded the network {:?}", body.name),
        Event::NodeAuthorizationApproved(body) => format!("{author} approved the authorization of {}", body.node),
        Event::NodeActivated(_) => format!("{author} became an authorized node"),
        Event::VerifierApproved(body) => {
            format!("{author} approved verifier {} for {}, contract {}", body.module, body.package_type, body.contract_version)
        }
        Event::BuildRequested(body) => {
            let again = if body.attempt == 0 { String::new() } else { format!(", attempt {}", body.attempt + 1) };
            let source = body.source.as_ref().map(|source| format!(" from {source}")).unwrap_or_default();
            format!("{author} requested build {} of {}{again}{source}", body.build_id, body.coordinate)
        }
        Event::NodeRevocationApproved(body) => {
            let since = body.compromised_since.map(|since| format!(" as compromised since block {since}")).unwrap_or_default();
            format!("{author} approved the revocation of {}{since}", body.node)
        }
        Event::EquivocationProved(body) => {
            format!("{author} proved that {} signed {}", body.evidence.accused(), contradiction(&body.evidence))
        }
        Event::BuildResultCommitted(body) => format!("{author} committed to a result of build {}", body.build_id),
        Event::BuildResultRevealed(body) => {
            format!("{author} revealed its result of build {}: {}", body.build_id, outcome(&body.outcome))
        }
        Event::BuildWaitEnded(body) => {
            let phase = match body.phase {
                WaitPhase::Committing => "for more commitments",
                WaitPhase::Revealing => "for more results",
                WaitPhase::Vouching { .. } => "for more words about the candidate",
            };
            format!("{author} does not wait any longer {phase} of build {}", body.build_id)
        }
        Event::BuildCandidateVouched(body) => {
            let verdict = match &body.verdict {
                Vouch::Same => "they are the same as its own but for what the verifier forgives".to_owned(),
                Vouch::Different { reason } => format!("they are different: {reason:?}"),
                Vouch::Unavailable { reason } => format!("it could not look at them: {reason:?}"),
            };
            format!("{author} looked at the bytes of result {} of build {}: {verdict}", body.candidate, body.build_id)
        }
        Event::BuildDisputed(body) => {
            let mut text = format!("{author} reported why build {} is disputed", body.build_id);
            for line in dispute::lines(&body.report) {
                text.push_str(&format!("\n    {}", line.escape_debug()));
            }
            text
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

fn outcome(outcome: &BuildOutcome) -> String {
    match outcome {
        BuildOutcome::Built { source, artifacts } => {
            let files = if artifacts.len() == 1 { "one artifact".to_owned() } else { format!("{} artifacts", artifacts.len()) };
            format!("{files} from {} at {}", source.location.escape_debug(), source.revision.escape_debug())
        }
        BuildOutcome::Failed { reason } => format!("it failed: {reason:?}"),
        BuildOutcome::Abstained { reason } => format!("no result: {reason:?}"),
    }
}

const fn contradiction(evidence: &Evidence) -> &'static str {
    match evidence {
        Evidence::Votes { .. } => "two votes for one round",
        Evidence::Proposals { .. } => "two proposals for one round",
        Evidence::Commitments { .. } => "two commitments for one build",
    }
}
