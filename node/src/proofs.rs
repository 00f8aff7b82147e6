//! Proofs of publication out of the ledger of this node, and what it signs about them.
//!
//! The ledger makes a proof and checks it before it is handed out. The node's key vouches for nothing but what that ledger says: as
//! the log under a checkpoint, and under attestations as DSSE signs them.

use ed25519_dalek::Signer as _;
use pyrsia_ledger::publication_proof::{ProveError, PublicationProof, prove};
use pyrsia_ledger::{ArtifactId, BuildId, Projections, Signature};
use std::sync::Arc;

use crate::handle::NodeHandle;

impl NodeHandle {
    /// Proves that a build was published, all of its artifacts or those named, and answers what `with` makes of the proof, on the
    /// same thread that may block. Who stops waiting ends neither. None when the node is stopping.
    pub async fn prove<T: Send + 'static>(
        &self,
        state: Arc<Projections>,
        build: BuildId,
        artifacts: Option<Vec<ArtifactId>>,
        with: impl FnOnce(Result<PublicationProof, ProveError>) -> T + Send + 'static,
    ) -> Option<T> {
        let asked = self.ask_log(move |tree| Ok(with(prove(tree, &state, &build, artifacts.as_deref())))).await?;
        Some(asked.expect("the question keeps its own errors"))
    }

    /// What a proof shows of one artifact, as programs know it that know nothing of Pyrsia: with this node's signature as that of
    /// the log. None when the proof is not about this artifact.
    pub fn tlog_proof(&self, proof: &PublicationProof, artifact: &ArtifactId) -> Option<String> {
        proof.tlog_proof_signed_by(artifact, self.log_key())
    }

    /// Signs an attestation of what stands on this ledger, as it goes into a DSSE envelope.
    pub fn sign_attestation(&self, payload_type: &str, payload: &[u8]) -> Signature {
        Signature::from_bytes(self.log_key().sign(&pre_authentication_encoding(payload_type, payload)).to_bytes())
    }
}

/// What a signature of DSSE v1 is over (protocol, "Signature Definition"). Nothing else that a node signs begins with its first word.
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_encoded_as_the_specification_shows_it() {
        let encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        // Lengths are in bytes.
        assert_eq!(pre_authentication_encoding("ä", "ö".as_bytes()), "DSSEv1 2 ä 2 ö".as_bytes());
    }
}
