//! The same publication as a proof of C2SP (tlog-proof): the event that published an artifact, its path, and the checkpoint of
//! the block that the validators cosigned. Other programs check it by `/log/policy`; of the sets and the judges it says nothing.

use super::PublicationProof;
use crate::block::{Block, SealedBlock};
use crate::coordinate::ArtifactId;
use crate::event::Event;
use crate::note::SignedNote;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

impl PublicationProof {
    /// None when the proof is not about this artifact. The extra data is the event: the entry whose hash the path begins with.
    pub fn tlog_proof(&self, artifact: &ArtifactId) -> Option<String> {
        self.tlog_proof_with(artifact, &self.published_block().checkpoint())
    }

    /// [`PublicationProof::tlog_proof`] with the signature of a node, as that of the log, above the cosignatures.
    pub fn tlog_proof_signed_by(&self, artifact: &ArtifactId, key: &SigningKey) -> Option<String> {
        self.tlog_proof_with(artifact, &self.published_block().checkpoint_signed_by(key))
    }

    fn tlog_proof_with(&self, artifact: &ArtifactId, checkpoint: &SignedNote) -> Option<String> {
        let publishes = |event: &Event| matches!(event, Event::AddArtifact(body) if body.artifact.artifact_id == *artifact);
        let placed = self.evidence.events.iter().find(|placed| publishes(placed.event.event()))?;
        let mut lines = vec![
            FIRST_LINE.to_owned(),
            format!("extra {}", STANDARD.encode(placed.event.encode())),
            format!("index {}", placed.index),
        ];
        lines.extend(placed.path.iter().map(|hash| STANDARD.encode(hash.as_bytes())));
        Some(format!("{}\n\n{checkpoint}", lines.join("\n")))
    }

    /// The block of the publication as far as its checkpoint goes, which its header gives.
    fn published_block(&self) -> SealedBlock {
        let published = &self.evidence.publication;
        let block = Block { header: published.header.clone(), events: vec![] };
        SealedBlock { block, certificate: published.certificate.clone() }
    }
}
