//! Where a proof is made from: a ledger's blocks and its tree.

use crate::block::{Height, SealedBlock};
use crate::digest::Sha256Digest;
use crate::log::StoredTree;
use crate::log::export::ExportedBlocks;
use std::error::Error;

/// A ledger could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the ledger cannot be read")]
pub struct SourceError(#[source] Box<dyn Error + Send + Sync>);

impl SourceError {
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// What a proof takes of a ledger. Nothing it gives is believed: a proof is checked before it is handed out.
pub trait ProofSource {
    /// None where the ledger does not go so far.
    fn block(&self, height: Height) -> Result<Option<SealedBlock>, SourceError>;

    /// That event `index` stands in the tree of `size` events.
    fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Sha256Digest>, SourceError>;

    /// That the tree of `size` events continues that of `old`.
    fn consistency(&self, old: u64, size: u64) -> Result<Vec<Sha256Digest>, SourceError>;
}

/// For what answers the same questions with errors of its own.
macro_rules! gives_proofs {
    ($source:ty) => {
        impl ProofSource for $source {
            fn block(&self, height: Height) -> Result<Option<SealedBlock>, SourceError> {
                Self::block(self, height).map_err(SourceError::new)
            }

            fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Sha256Digest>, SourceError> {
                Self::inclusion(self, index, size).map_err(SourceError::new)
            }

            fn consistency(&self, old: u64, size: u64) -> Result<Vec<Sha256Digest>, SourceError> {
                Self::consistency(self, old, size).map_err(SourceError::new)
            }
        }
    };
}

// The tree of a ledger folder, of a node or read offline: a few rows for each question.
gives_proofs!(StoredTree);
// An exported log: a piece of the file for each question.
gives_proofs!(ExportedBlocks);

/// A short ledger, in memory.
#[cfg(any(test, feature = "fuzz"))]
#[derive(Clone, Debug, Default)]
pub struct BlocksInMemory {
    blocks: Vec<SealedBlock>,
    tree: crate::proof::TreeHashes,
}

#[cfg(any(test, feature = "fuzz"))]
impl FromIterator<SealedBlock> for BlocksInMemory {
    /// Genesis first.
    fn from_iter<I: IntoIterator<Item = SealedBlock>>(blocks: I) -> Self {
        let mut memory = Self::default();
        for sealed in blocks {
            sealed.block.events.iter().for_each(|event| memory.tree.append(crate::tree::leaf_hash(&event.encode())));
            memory.blocks.push(sealed);
        }
        memory
    }
}

#[cfg(any(test, feature = "fuzz"))]
impl ProofSource for BlocksInMemory {
    fn block(&self, height: Height) -> Result<Option<SealedBlock>, SourceError> {
        let at = usize::try_from(height.0).map_err(SourceError::new)?;
        Ok(self.blocks.get(at).cloned())
    }

    fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Sha256Digest>, SourceError> {
        self.tree.inclusion(index, size).map_err(SourceError::new)
    }

    fn consistency(&self, old: u64, size: u64) -> Result<Vec<Sha256Digest>, SourceError> {
        self.tree.consistency(old, size).map_err(SourceError::new)
    }
}
