//! The attestations that a node signed, held against the proof (docs/proofs.md): one envelope of DSSE v1 on each line, with an in-toto
//! Statement v1.
//!
//! Each signature must hold, and each statement must be about what is proven: its subjects, its network, its build and its proof. What
//! it says beyond that, such as what a judge that only vouched had built itself, is the word of the node that signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use pyrsia_ledger::publication_proof::{Judge, Stand, Verified};
use pyrsia_ledger::{BuildId, NetworkId, NodeId, Sha256Digest};
use pyrsia_node::proofs::pre_authentication_encoding;
use serde::Deserialize;
use std::collections::BTreeSet;

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const SUMMARY: &str = "https://slsa.dev/verification_summary/v1";
const NODE_URI: &str = "pyrsia:node/";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BundleError {
    #[error("line {line} is no attestation: {problem}")]
    Malformed { line: usize, problem: String },
    #[error("the signature on line {line} does not hold")]
    Signature { line: usize },
    #[error("line {line} is signed by {found}, and the first one by {first}")]
    Signer { line: usize, found: NodeId, first: NodeId },
    #[error("line {line} is about something else than the proof: its {what}")]
    Other { line: usize, what: &'static str },
    #[error("there is not one attestation for each judge that stands for the artifacts, and one for all of them")]
    Incomplete,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: String,
    signatures: [EnvelopeSignature; 1],
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    keyid: NodeId,
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Deserialize)]
struct Subject {
    name: String,
    digest: Digests,
}

#[derive(Deserialize)]
struct Digests {
    sha256: Sha256Digest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    /// Of a provenance.
    run_details: Option<RunDetails>,
    #[serde(alias = "pyrsia_ledger", rename = "pyrsia:ledger")]
    ledger: Ledger,
}

#[derive(Deserialize)]
struct RunDetails {
    builder: Builder,
}

#[derive(Deserialize)]
struct Builder {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ledger {
    network: NetworkId,
    build: BuildId,
    proof: Proof,
    attested_by: String,
}

#[derive(Deserialize)]
struct Proof {
    digest: Digests,
}

/// The node that signed all of them. `proof` is the digest of the proof that shows `shown`.
pub(super) fn check(bundle: &str, shown: &Verified, proof: Sha256Digest) -> Result<NodeId, BundleError> {
    let (mut signer, mut builders, mut summaries) = (None, BTreeSet::new(), 0_usize);
    for (line, text) in (1..).zip(bundle.lines()) {
        let (found, statement) = opened(line, text)?;
        let first = *signer.get_or_insert(found);
        if found != first {
            return Err(BundleError::Signer { line, found, first });
        }
        let other = |what| BundleError::Other { line, what };
        let Ledger { network, build, proof: of, attested_by } = &statement.predicate.ledger;
        if (*network, *build, of.digest.sha256) != (shown.network, shown.build_id, proof) {
            return Err(other("network, build or proof"));
        }
        if *attested_by != format!("{NODE_URI}{found}") {
            return Err(other("attestor"));
        }
        match (statement.predicate_type.as_str(), &statement.predicate.run_details) {
            (PROVENANCE, Some(run)) => {
                let by = |judge: &&Judge| run.builder.id == format!("{NODE_URI}{}", judge.node);
                let judge = shown.agreeing().find(by).ok_or_else(|| other("builder"))?;
                are_proven(&statement.subject, judge.stand, shown).then_some(()).ok_or_else(|| other("subject"))?;
                builders.insert(judge.node).then_some(()).ok_or(BundleError::Incomplete)?;
            }
            (SUMMARY, None) => {
                are_proven(&statement.subject, Stand::Same, shown).then_some(()).ok_or_else(|| other("subject"))?;
                summaries += 1;
            }
            _ => return Err(BundleError::Malformed { line, problem: "it is neither a provenance nor a summary".into() }),
        }
    }
    let signer = signer.filter(|_| builders.len() == shown.agreeing().count() && summaries == 1);
    signer.ok_or(BundleError::Incomplete)
}

/// The statement in an envelope whose signature holds, and who signed it.
fn opened(line: usize, text: &str) -> Result<(NodeId, Statement), BundleError> {
    let malformed = |problem: String| BundleError::Malformed { line, problem };
    let envelope: Envelope = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let Envelope { payload_type, payload, signatures: [EnvelopeSignature { keyid, sig }] } = envelope;
    if payload_type != PAYLOAD_TYPE {
        return Err(malformed("it is of another type".into()));
    }
    let decoded = |text: &str| STANDARD.decode(text).map_err(|error| malformed(error.to_string()));
    let (payload, signature) = (decoded(&payload)?, decoded(&sig)?);
    let holds = || {
        let key = VerifyingKey::from_bytes(keyid.public_key()).ok()?;
        let signature = ed25519_dalek::Signature::from_slice(&signature).ok()?;
        key.verify_strict(&pre_authentication_encoding(PAYLOAD_TYPE, &payload), &signature).ok()
    };
    holds().ok_or(BundleError::Signature { line })?;
    let statement: Statement = serde_json::from_slice(&payload).map_err(|error| malformed(error.to_string()))?;
    if statement.statement_type != STATEMENT_TYPE {
        return Err(malformed("its payload is of another type".into()));
    }
    Ok((keyid, statement))
}

/// Whether the subjects are artifacts of the proof: all of them, byte by byte, but for a judge that vouched, which built others.
fn are_proven(subjects: &[Subject], stand: Stand, shown: &Verified) -> bool {
    let is_one = |subject: &Subject| {
        shown.artifacts.iter().map(|proved| &proved.artifact).any(|artifact| {
            artifact.artifact_id.as_str() == subject.name && (artifact.sha256 == subject.digest.sha256 || stand != Stand::Same)
        })
    };
    let names: BTreeSet<&str> = subjects.iter().map(|subject| subject.name.as_str()).collect();
    let is_whole = subjects.len() == shown.artifacts.len() || stand != Stand::Same;
    names.len() == subjects.len() && is_whole && subjects.iter().all(is_one)
}

#[cfg(test)]
mod tests;
