//! A publication as in-toto attestations, for tools that know SLSA and not Pyrsia: a provenance for each builder that agreed, and a
//! verification summary for their majority.
//!
//! Follows in-toto Statement v1, SLSA provenance v1 and verification summary v1 (1.1), DSSE v1 and the attestation bundle, which is one
//! envelope in JSON on each line. The builders signed events of the ledger and none of this: each envelope is signed by the node that
//! serves it, which vouches for what its ledger says, and names the events, the checkpoint and the proof by which that can be checked.
//! Nothing is attested that the proof does not show, but what the builders that only vouched had built themselves.

mod names;
mod provenance;
mod summary;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use names::{node_uri, package_uri};
use pyrsia_ledger::checkpoint::Checkpoint;
use pyrsia_ledger::event::{BuildSource, BuiltArtifact};
use pyrsia_ledger::publication_proof::{PublicationProof, Verified};
use pyrsia_ledger::{BlockId, BuildId, EventId, NetworkId, NodeId, Projections, Sha256Digest, Signature};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Of a bundle (in-toto attestation framework, "Bundle layer").
pub(crate) const BUNDLE_MEDIA_TYPE: &str = "application/vnd.in-toto.bundle";
/// Of a proof of publication (docs/proofs.md).
pub(crate) const PROOF_MEDIA_TYPE: &str = "application/vnd.pyrsia.proof.v1+json";
/// Of every statement in an envelope (in-toto attestation framework, "Envelope layer").
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const MS_PER_SECOND: u64 = 1_000;

/// A judge that stands for what is published, and what it built itself.
pub(crate) struct Builder {
    node: NodeId,
    source: BuildSource,
    /// Of those that are proved.
    artifacts: Vec<BuiltArtifact>,
    revealed: EventId,
    /// By which it vouched for what is published, which then is not what it built.
    vouched: Option<EventId>,
}

/// What is attested.
pub(crate) struct Publication {
    shown: Verified,
    proof: Sha256Digest,
    builders: Vec<Builder>,
    /// The node that serves this.
    served_by: NodeId,
}

impl Publication {
    /// What a proof of this ledger shows.
    pub(crate) fn new(state: &Projections, proof: &PublicationProof, shown: Verified, served_by: NodeId) -> Self {
        let proved: BTreeSet<_> = shown.artifacts.iter().map(|proved| &proved.artifact.artifact_id).collect();
        let builder = |judge: &pyrsia_ledger::publication_proof::Judge| {
            let (source, artifacts) = state.builds.result(&shown.build_id, &judge.node)?.built()?;
            Some(Builder {
                node: judge.node,
                source: source.clone(),
                artifacts: artifacts.iter().filter(|artifact| proved.contains(&artifact.artifact_id)).cloned().collect(),
                revealed: judge.revealed?.event,
                vouched: judge.vouched.map(|vouched| vouched.event),
            })
        };
        let builders = shown.agreeing().filter_map(builder).collect();
        Self { proof: Sha256Digest::of(proof.to_text().as_bytes()), builders, served_by, shown }
    }

    /// The bundle. `verified_at` is the time of the summary, `sign` signs a payload of the type [`PAYLOAD_TYPE`].
    pub(crate) fn bundle(&self, verified_at: jiff::Timestamp, sign: impl Fn(&[u8]) -> Signature) -> String {
        let provenances = self.builders.iter().map(|builder| self.provenance(builder).to_json());
        let payloads = provenances.chain([self.summary(verified_at).to_json()]);
        payloads.map(|payload| Envelope::new(self.served_by, &payload, &sign(&payload)).line()).collect()
    }

    fn package_uri(&self) -> String {
        package_uri(&self.shown.coordinate)
    }

    /// Where this stands on the ledger.
    fn ledger(&self, events: BTreeMap<&'static str, Vec<EventId>>) -> Ledger<'_> {
        let published = &self.shown.published;
        let block = BlockId {
            hash: published.block,
            tree_size: published.tree_size,
            tree_root: published.tree_root,
            time_s: published.time_ms / MS_PER_SECOND,
        };
        Ledger {
            network: self.shown.network,
            network_name: &self.shown.network_name,
            build: self.shown.build_id,
            height: published.height.0,
            checkpoint: Checkpoint::new(self.shown.network, published.height, published.round, &block).to_string(),
            cosigned_by: self.shown.cosigners.iter().copied().map(node_uri).collect(),
            events,
            proof: ResourceDescriptor { media_type: Some(PROOF_MEDIA_TYPE), ..ResourceDescriptor::sha256(&self.proof) },
            attested_by: node_uri(self.served_by),
        }
    }

    fn publishing_events(&self) -> Vec<EventId> {
        self.shown.artifacts.iter().map(|proved| proved.published_by.event).collect()
    }
}

/// What of the ledger stands behind a predicate, in an extension field of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ledger<'a> {
    network: NetworkId,
    network_name: &'a str,
    build: BuildId,
    height: u64,
    /// Which those in `cosigned_by` signed (C2SP tlog-checkpoint, tlog-cosignature).
    checkpoint: String,
    cosigned_by: Vec<String>,
    /// By what they say; each is signed by its author.
    events: BTreeMap<&'static str, Vec<EventId>>,
    proof: ResourceDescriptor,
    /// Who signed the envelope: not the builder.
    attested_by: String,
}

type DigestSet = BTreeMap<&'static str, String>;

/// In-toto attestation framework, "ResourceDescriptor".
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceDescriptor {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    digest: DigestSet,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<&'static str>,
}

impl ResourceDescriptor {
    fn sha256(digest: &Sha256Digest) -> Self {
        Self { digest: BTreeMap::from([("sha256", digest.to_string())]), ..Self::default() }
    }

    fn artifact(artifact: &BuiltArtifact) -> Self {
        Self { name: Some(artifact.artifact_id.to_string()), ..Self::sha256(&artifact.sha256) }
    }
}

/// In-toto attestation framework, "Statement layer".
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Statement<Predicate> {
    #[serde(rename = "_type")]
    statement_type: &'static str,
    subject: Vec<ResourceDescriptor>,
    predicate_type: &'static str,
    predicate: Predicate,
}

impl<Predicate: Serialize> Statement<Predicate> {
    fn new(subject: Vec<ResourceDescriptor>, predicate_type: &'static str, predicate: Predicate) -> Self {
        Self { statement_type: STATEMENT_TYPE, subject, predicate_type, predicate }
    }

    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a statement has text keys only")
    }
}

/// DSSE v1, "Standard JSON envelope".
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: &'static str,
    payload: String,
    signatures: [EnvelopeSignature; 1],
}

#[derive(Serialize)]
struct EnvelopeSignature {
    /// The peer id, in which the key is.
    keyid: String,
    sig: String,
}

impl Envelope {
    fn new(node: NodeId, payload: &[u8], signature: &Signature) -> Self {
        let signature = EnvelopeSignature { keyid: node.to_string(), sig: STANDARD.encode(signature.as_bytes()) };
        Self { payload_type: PAYLOAD_TYPE, payload: STANDARD.encode(payload), signatures: [signature] }
    }

    fn line(&self) -> String {
        serde_json::to_string(self).expect("text serializes") + "\n"
    }
}

#[cfg(test)]
mod tests;
