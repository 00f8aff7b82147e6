//! The checkpoint of a block (C2SP tlog-checkpoint): size and root of the tree over all events as a text that the validators
//! cosign and that existing clients, witnesses and monitors read.
//!
//! Owns that text. A precommit *is* a cosignature of it ([`crate::certificate`]), so it names what a precommit is about: the
//! height, the round and the block, on the one extension line. The time of every cosignature is the time of the block, not
//! that of the signer's clock: votes of one block are over the same bytes, and an auditor needs no other time than the header's.
//!
//! One cosignature is one vote. A validator that precommits to a block in one round may precommit to another one of the
//! same size in a later round, when a quorum moved on without it; what is final is what a quorum cosigned with one height and
//! round. Who configures a client or a witness lists every cosigner in one group and demands a quorum of them.

use crate::block::{BlockHash, BlockId, Height, SealedBlock};
use crate::digest::Sha256Digest;
use crate::identity::NodeId;
use crate::note::{NoteKey, NoteSignature, SignatureType, SignedNote, cosignature_text};
use crate::signed::{NetworkId, Signature};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use std::fmt;
use std::str::FromStr;

/// What the origin of every ledger begins with; the id of its network follows.
pub(crate) const ORIGIN_START: &str = "pyrsia/";
/// What the extension line begins with.
const BLOCK_LINE_START: &str = "pyrsia/block ";

/// What the checkpoint of a block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub network: NetworkId,
    pub tree_size: u64,
    pub tree_root: Sha256Digest,
    pub height: Height,
    pub round: u32,
    pub block: BlockHash,
}

/// Why a text is no checkpoint of a ledger.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum CheckpointError {
    #[error("the first line is not the origin of a ledger")]
    Origin,
    #[error("the second line is not the size of a tree")]
    Size,
    #[error("the third line is not the root of a tree")]
    Root,
    #[error("the fourth line does not name a block")]
    Block,
    #[error("a checkpoint of a ledger has four lines")]
    Lines,
}

/// The name of a network's log: what its checkpoints begin with, and what its keys are called after.
pub fn origin(network: &NetworkId) -> String {
    format!("{ORIGIN_START}{network}")
}

/// The key that a node signs checkpoints with when it serves them.
pub fn log_key(network: &NetworkId, node: NodeId) -> NoteKey {
    NoteKey::new(origin(network), SignatureType::Ed25519, node).expect("an origin is a name")
}

/// The key that a validator cosigns checkpoints with.
pub fn cosigner_key(network: &NetworkId, node: NodeId) -> NoteKey {
    let name = format!("{}/{node}", origin(network));
    NoteKey::new(name, SignatureType::Cosignature, node).expect("an origin and a peer id are a name")
}

impl Checkpoint {
    pub fn new(network: NetworkId, height: Height, round: u32, block: &BlockId) -> Self {
        let BlockId { hash, tree_size, tree_root, .. } = *block;
        Self { network, tree_size, tree_root, height, round, block: hash }
    }
}

/// The text, each line ended by a line feed.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, tree_size, tree_root, height, round, block } = self;
        let root = STANDARD.encode(tree_root.as_bytes());
        writeln!(f, "{ORIGIN_START}{network}\n{tree_size}\n{root}\n{BLOCK_LINE_START}{height} {round} {block}")
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.strip_suffix('\n').ok_or(CheckpointError::Lines)?.split('\n');
        let mut line = || lines.next().ok_or(CheckpointError::Lines);
        let network = line()?.strip_prefix(ORIGIN_START).and_then(digest).ok_or(CheckpointError::Origin)?;
        let tree_size = number(line()?).ok_or(CheckpointError::Size)?;
        let root = STANDARD.decode(line()?).ok().and_then(|root| root.try_into().ok()).ok_or(CheckpointError::Root)?;
        let mut block = line()?.strip_prefix(BLOCK_LINE_START).ok_or(CheckpointError::Block)?.split(' ');
        let mut word = || block.next().ok_or(CheckpointError::Block);
        let height = number(word()?).ok_or(CheckpointError::Block)?;
        let round = number(word()?).ok_or(CheckpointError::Block)?;
        let hash = digest(word()?).ok_or(CheckpointError::Block)?;
        if block.next().is_some() {
            return Err(CheckpointError::Block);
        }
        if lines.next().is_some() {
            return Err(CheckpointError::Lines);
        }
        Ok(Self {
            network: NetworkId::new(network),
            tree_size,
            tree_root: Sha256Digest::new(root),
            height: Height(height),
            round,
            block: BlockHash(hash),
        })
    }
}

/// A number without a sign and without zeros before it.
fn number<N: FromStr + ToString>(text: &str) -> Option<N> {
    text.parse().ok().filter(|number: &N| number.to_string() == text)
}

/// 64 hexadecimal digits in lower case.
fn digest(text: &str) -> Option<Sha256Digest> {
    let bytes: [u8; 32] = hex::decode(text).ok()?.try_into().ok()?;
    (hex::encode(bytes) == text).then(|| Sha256Digest::new(bytes))
}

/// What a validator signs when it precommits to a block: the cosignature of its checkpoint, at the time of the block.
pub(crate) fn precommit_bytes(network: &NetworkId, height: Height, round: u32, block: &BlockId) -> Vec<u8> {
    cosignature_text(block.time_s, &Checkpoint::new(*network, height, round, block).to_string()).into_bytes()
}

impl SealedBlock {
    /// What the certificate of this block cosigns.
    pub fn checkpoint_text(&self) -> Checkpoint {
        let header = &self.block.header;
        Checkpoint::new(header.network, header.height, self.certificate.round, &header.id())
    }

    /// The checkpoint with the cosignatures of the certificate, in the order of the keys.
    pub fn checkpoint(&self) -> SignedNote {
        let network = self.block.header.network;
        let time_s = self.block.header.id().time_s;
        let line = |(node, signature): &(NodeId, Signature)| cosigner_key(&network, *node).cosignature_line(time_s, signature);
        SignedNote::new(self.checkpoint_text().to_string(), self.certificate.signatures.iter().map(line).collect())
    }

    /// The checkpoint as a node serves it: with its own signature, as that of the log, above the cosignatures.
    pub fn checkpoint_signed_by(&self, key: &SigningKey) -> SignedNote {
        let log = log_key(&self.block.header.network, crate::signed::node_id_of(key));
        let signature = key.sign(self.checkpoint_text().to_string().as_bytes());
        let line: NoteSignature = log.line(signature.to_bytes().to_vec());
        self.checkpoint().signed_first_by(line)
    }
}

#[cfg(test)]
mod tests;
