//! A proof from the running node, checked before it is written.

use super::super::{node, package_failure};
use super::ledger::tlog_proof;
use super::{Asked, FAILED, Proved, at_risk, checked, only_artifact};
use crate::arguments::{ProofFormat, ProveOptions};
use crate::exit::{Failure, chain};
use crate::node_client::{NodeClient, RequestError, path_segment};
use pyrsia_ledger::publication_proof::PublicationProof;
use pyrsia_ledger::{ArtifactId, NetworkId};
use pyrsia_registry::wire::BuildView;
use reqwest::StatusCode;
use serde::Deserialize;

pub(super) async fn prove(asked: &Asked, options: &ProveOptions, network: Option<NetworkId>) -> Result<Proved, Failure> {
    let node = node()?;
    let proof = fetch(&node, asked, &options.artifacts, "proof").await?;
    let proof = PublicationProof::parse(proof.as_bytes())
        .map_err(|error| Failure::new(format!("{FAILED}: what the node gives is no proof: {}", chain(&error))))?;
    let shown = checked(&proof, asked, network)?;
    let text = match options.format {
        ProofFormat::Proof => proof.to_text(),
        ProofFormat::TlogProof => {
            let artifact = only_artifact(asked, options, &shown)?;
            let text = fetch(&node, asked, std::slice::from_ref(&artifact), "tlog-proof").await?;
            signed_like(text, &tlog_proof(&proof, &artifact))?
        }
        ProofFormat::Slsa => envelopes(fetch(&node, asked, &options.artifacts, "slsa").await?)?,
    };
    let warnings = match node.get::<BuildView>(&format!("/api/v1/builds/{}", shown.build_id)).await {
        Ok(build) => build.at_risk.map(|risk| at_risk(risk.height)).into_iter().collect(),
        Err(error) => vec![format!("whether it came to be at risk since cannot be told: {error}")],
    };
    Ok(Proved { proof, shown, text, warnings })
}

async fn fetch(node: &NodeClient, asked: &Asked, artifacts: &[ArtifactId], format: &str) -> Result<String, Failure> {
    let mut path = match asked {
        Asked::Package { package_type, package } => {
            format!("/api/v1/proofs/{}?id={}", path_segment(package_type), path_segment(package))
        }
        Asked::Bytes(sha256) => format!("/api/v1/proofs?sha256={sha256}"),
    };
    for artifact in artifacts {
        path.push_str("&artifact=");
        path.push_str(&path_segment(artifact.as_str()));
    }
    path.push_str("&format=");
    path.push_str(format);
    node.get_text(&path).await.map_err(|error| match &error {
        // The node's sentence says what is missing and what to do.
        RequestError::Status { status: StatusCode::NOT_FOUND, message, .. } => Failure::new(format!("{FAILED}: {message}")),
        _ => package_failure(FAILED, &error),
    })
}

/// What the node gives is what the proof gives, and one line more: the node's signature as the log.
fn signed_like(text: String, expected: &str) -> Result<String, Failure> {
    let mut expected = expected.lines();
    let mut next = expected.next();
    let mut more = 0;
    for line in text.lines() {
        if next == Some(line) {
            next = expected.next();
        } else {
            more += 1;
        }
    }
    if next.is_none() && more <= 1 {
        return Ok(text);
    }
    Err(Failure::new(format!("{FAILED}: the tlog-proof that the node gives is not what its proof shows")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
}

/// An envelope on each line. Whose signatures they have is for whoever takes them.
fn envelopes(text: String) -> Result<String, Failure> {
    let is_one = |line: &str| {
        serde_json::from_str::<Envelope>(line).is_ok_and(|envelope| envelope.payload_type == "application/vnd.in-toto+json")
    };
    if !text.is_empty() && text.lines().all(is_one) {
        return Ok(text);
    }
    Err(Failure::new(format!("{FAILED}: what the node gives are no attestations")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_can_add_its_signature_to_a_tlog_proof_and_nothing_else() {
        let expected = "c2sp.org/tlog-proof@v1\nindex 3\n\npyrsia/ab\n4\n\n— pyrsia/ab/node sig\n";
        let signed = expected.replace("\n\n— ", "\n\n— pyrsia/ab log\n— ");
        for taken in [expected, &signed] {
            assert!(signed_like(taken.to_owned(), expected).is_ok(), "{taken}");
        }
        for other in [signed.replace("index 3", "index 4"), format!("{signed}— more\n"), String::new()] {
            assert!(signed_like(other.clone(), expected).is_err(), "{other}");
        }
    }

    #[test]
    fn only_envelopes_are_taken_for_attestations() {
        let envelope = r#"{"payloadType":"application/vnd.in-toto+json","payload":"","signatures":[]}"#;
        assert!(envelopes(format!("{envelope}\n{envelope}\n")).is_ok());
        for other in [String::new(), "<html>".to_owned(), format!("{envelope}\n{{}}\n")] {
            assert!(envelopes(other).is_err());
        }
    }
}
