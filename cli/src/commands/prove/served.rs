//! A proof from the running node, checked before it is written.

use super::super::{node, package_failure};
use super::ledger::tlog_proof;
use super::{Asked, FAILED, Proved, at_risk, bundle, checked, only_artifact};
use crate::arguments::{ProofFormat, ProveOptions};
use crate::exit::{Failure, chain};
use crate::node_client::{NodeClient, RequestError, path_segment};
use pyrsia_ledger::publication_proof::{PublicationProof, Verified};
use pyrsia_ledger::{ArtifactId, NetworkId, NodeId, Sha256Digest};
use pyrsia_registry::wire::BuildView;
use reqwest::StatusCode;

pub(super) async fn prove(asked: &Asked, options: &ProveOptions, network: Option<NetworkId>) -> Result<Proved, Failure> {
    let node = node()?;
    let proof = fetch(&node, asked, &options.artifacts, "proof").await?;
    let proof = PublicationProof::parse(proof.as_bytes())
        .map_err(|error| Failure::new(format!("{FAILED}: what the node gives is no proof: {}", chain(&error))))?;
    let shown = checked(&proof, asked, network)?;
    let (text, attested_by) = match options.format {
        ProofFormat::Proof => (proof.to_text(), None),
        ProofFormat::TlogProof => {
            let artifact = only_artifact(asked, options, &shown)?;
            let text = fetch(&node, asked, std::slice::from_ref(&artifact), "tlog-proof").await?;
            (signed_like(text, &tlog_proof(&proof, &artifact))?, None)
        }
        ProofFormat::Slsa => {
            let (text, signer) = attested(fetch(&node, asked, &options.artifacts, "slsa").await?, &shown, &proof)?;
            (text, Some(signer))
        }
    };
    let warnings = match node.get::<BuildView>(&format!("/api/v1/builds/{}", shown.build_id)).await {
        Ok(build) => build.at_risk.map(|risk| at_risk(risk.height)).into_iter().collect(),
        Err(error) => vec![format!("whether it came to be at risk since cannot be told: {error}")],
    };
    Ok(Proved { proof, shown, text, attested_by, warnings })
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

/// What the node gives is what the proof gives, to the byte, and above the cosignatures at most one line more: the node's signature as
/// the log, which is not checked.
fn signed_like(text: String, expected: &str) -> Result<String, Failure> {
    let more = expected
        .rsplit_once("\n\n")
        .and_then(|(head, cosignatures)| text.strip_prefix(head)?.strip_prefix("\n\n")?.strip_suffix(cosignatures));
    let is_signature = |line: &str| {
        let line = line.strip_suffix('\n').unwrap_or_default();
        line.starts_with("— ") && !line.contains(char::is_control)
    };
    if more.is_some_and(|more| more.is_empty() || is_signature(more)) {
        return Ok(text);
    }
    Err(Failure::new(format!("{FAILED}: the tlog-proof that the node gives is not what its proof shows")))
}

/// The attestations, and the node that signed them.
fn attested(text: String, shown: &Verified, proof: &PublicationProof) -> Result<(String, NodeId), Failure> {
    let proof = Sha256Digest::of(proof.to_text().as_bytes());
    match bundle::check(&text, shown, proof) {
        Ok(signer) => Ok((text, signer)),
        Err(error) => {
            Err(Failure::new(format!("{FAILED}: what the node attests is not what its proof shows: {}", chain(&error))))
        }
    }
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
        for other in [
            signed.replace("index 3", "index 4"),
            format!("{signed}— more\n"),
            String::new(),
            expected.replace("index", "— above\nindex"),
            expected.replace("\n\n— ", "\n\nno signature\n— "),
            expected.replace("\n\n— ", "\n— more\n\n— "),
            expected.replace('\n', "\r\n"),
            signed.replace("log\n", "log\r\n"),
            signed.replace("log\n", "log\n\n"),
        ] {
            assert!(signed_like(other.clone(), expected).is_err(), "{other}");
        }
    }
}
