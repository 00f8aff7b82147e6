//! A proof in the hand: one file that shows, to whoever knows no more than the id of a network, that a build was published on its
//! ledger and who stands for its bytes. `docs/proofs.md` is the specification.
//!
//! Owns the file, how it is made out of a ledger and how it is checked. Making one takes a few blocks ([`ProofSource`]);
//! checking one takes nothing but the file: no network, no ledger, no clock.
//!
//! The argument, from the network id on. The genesis block carries the event whose id that is, so its founder is known, who
//! signs the first blocks. Every change of the validators is a link: a header that the set known so far made final and that
//! names the next one. So the set is known that made the block final in which the publication stands, and the set that made
//! the block final in which the build was requested, which is the set of its judges. Every event stands in the tree of the first
//! of these blocks; the request in the second and not in its parent. From there the judges are counted again.
//!
//! ```text
//! network id ── genesis ── link ── link ── … ── block of the request ── … ── block of the publication
//!                founder    set 1   set 2          judges                       root over every event shown
//! ```
//!
//! What it does not show, in words, is [`NOT_SHOWN`]; [`Verified`] carries it along. It is no defence against keys: who has
//! those of a quorum of an earlier set can write another history behind it, and links that lead away from a set and back to it
//! can be left out. Whoever keeps a later block of the network (a checkpoint, a ledger) can hold a proof against that one.

mod count;
mod encoded;
mod prove;
mod said;
mod says;
mod source;
mod tlog;
mod verdict;
mod verify;
mod walk;

use crate::block::{BlockHeader, Height, SealedBlock};
use crate::certificate::{CertificateError, CommitCertificate};
use crate::digest::Sha256Digest;
use crate::identity::NodeId;
use crate::projection::BlockError;
use crate::proof;
use crate::signed::{EventId, NetworkId, SignedEvent};
use says::Says;
use serde::{Deserialize, Serialize};

pub use prove::{ProveError, prove};
#[cfg(any(test, feature = "fuzz"))]
pub use source::BlocksInMemory;
pub use source::{ProofSource, SourceError};
pub use verdict::{BlockOfProof, Judge, NOT_SHOWN, ProvedArtifact, ProvedEvent, ProvedSet, Stand, Verified};

/// The longest proof that is made or read, in bytes: 256 artifacts that fifty judges built, or twenty thousand changes of a set of four.
pub const PROOF_BYTES_MAX: usize = 16 << 20;

/// Why a file is no proof, or proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    #[error("a proof has {size_bytes} bytes, more than {PROOF_BYTES_MAX}")]
    TooLarge { size_bytes: usize },
    #[error("the file is no proof of a publication: {0}")]
    Format(String),
    #[error("the file is not in the one form that this proof has: something in it was changed")]
    NotCanonical,
    #[error("this is a proof for network {found}, not for {pinned}")]
    Network { found: NetworkId, pinned: NetworkId },
    #[error("the genesis block is refused")]
    Genesis(#[source] Box<BlockError>),
    #[error("block {height}: {what}")]
    Block { height: Height, what: &'static str },
    #[error("block {height} is not final")]
    Certificate {
        height: Height,
        #[source]
        source: CertificateError,
    },
    #[error("event {event} does not stand where the proof says")]
    Inclusion {
        event: EventId,
        #[source]
        source: proof::ProofError,
    },
    #[error("the tree of the publication does not continue that of the request")]
    Consistency(#[source] proof::ProofError),
    #[error("event {event}: {what}")]
    Event { event: EventId, what: &'static str },
    #[error("event {event}: the signature of {author} is wrong")]
    Signature { event: EventId, author: NodeId },
    #[error("the events are not in ascending order, the request of the build first")]
    Order,
    #[error("no artifact is shown to be published")]
    NoArtifact,
    #[error("no {needed} of the {judges} judges stand for these bytes: {standing} are shown to")]
    NoMajority { standing: usize, needed: usize, judges: usize },
    #[error("what the proof says in words is not what it shows")]
    Says,
}

/// Names the format and its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "pyrsia-proof/1")]
    V1,
}

/// A change of the validators: the header that names the next ones, made final by the ones before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    #[serde(with = "encoded")]
    header: BlockHeader,
    #[serde(with = "encoded")]
    certificate: CommitCertificate,
    /// The next validators, in ascending order of their keys.
    next: Vec<NodeId>,
}

/// A final block without its events, behind the header of its parent, which tells where they begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FinalBlock {
    #[serde(with = "encoded")]
    parent: BlockHeader,
    #[serde(with = "encoded")]
    header: BlockHeader,
    #[serde(with = "encoded")]
    certificate: CommitCertificate,
}

/// An event with its place in the tree of the publication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlacedInTree {
    index: u64,
    #[serde(with = "encoded")]
    event: SignedEvent,
    path: Vec<Sha256Digest>,
}

/// What is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Evidence {
    #[serde(with = "encoded")]
    genesis: SealedBlock,
    /// In ascending order of their heights, all below that of the publication.
    links: Vec<Link>,
    request: FinalBlock,
    publication: FinalBlock,
    /// That the tree of the publication continues that of the request.
    consistency: Vec<Sha256Digest>,
    /// In the order of the ledger, the request first.
    events: Vec<PlacedInTree>,
}

/// A proof that a build was published. Reading one checks its form; only [`PublicationProof::verify`] says what it is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicationProof {
    /// For people; worth nothing until it is derived again from the evidence.
    says: Says,
    evidence: Evidence,
}

/// The file as it is read. Apart from the proof, which comes out of nothing but its one form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the JSON of a proof")]
struct ReadFile {
    format: Format,
    says: Says,
    evidence: Evidence,
}

/// The file as it is written.
#[derive(Serialize)]
struct WrittenFile<'a> {
    format: Format,
    says: &'a Says,
    evidence: &'a Evidence,
}

impl PublicationProof {
    /// Reads a proof: its one form, to the last byte.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > PROOF_BYTES_MAX {
            return Err(ProofError::TooLarge { size_bytes: bytes.len() });
        }
        let file = serde_json::from_slice(bytes).map_err(|error| ProofError::Format(error.to_string()))?;
        let ReadFile { format: Format::V1, says, evidence } = file;
        let proof = Self { says, evidence };
        if proof.to_text().as_bytes() == bytes { Ok(proof) } else { Err(ProofError::NotCanonical) }
    }

    /// The file.
    pub fn to_text(&self) -> String {
        let file = WrittenFile { format: Format::V1, says: &self.says, evidence: &self.evidence };
        serde_json::to_string_pretty(&file).expect("every part of a proof has a form in JSON") + "\n"
    }

    /// The network that it speaks for, if it holds: the id of the event in its genesis block.
    pub fn network(&self) -> NetworkId {
        self.evidence.network()
    }

    /// Checks everything, for this network; without one, for whichever network the proof is from.
    pub fn verify(&self, pinned: Option<NetworkId>) -> Result<Verified, ProofError> {
        let verified = self.evidence.verify(pinned)?;
        if Says::of(&verified) == self.says { Ok(verified) } else { Err(ProofError::Says) }
    }
}

#[cfg(test)]
mod tests;
