//! The blocks that a snapshot spared a start: what opening would have found in them, looked for afterwards.
//!
//! A node opens with a snapshot in no time and does this beside its work, slice by slice: nothing here waits, whoever calls
//! decides when the next slice is due.

use super::{LogError, StoredTree};
use crate::block::{BlockHash, Height};
use crate::projection::Projections;
use crate::signed::EncodedEvent;
use crate::tree::{Frontier, leaf_hash};

/// How many bytes of events make a slice: some milliseconds of work.
const SLICE_BYTES: usize = 1 << 20;
/// How many blocks make a slice, however small they are.
const SLICE_BLOCKS: usize = 256;

/// Blocks up to a snapshot, and the state that it gave for them.
pub struct Covered {
    tree: StoredTree,
    state: Projections,
    next: Height,
    previous: BlockHash,
    frontier: Frontier,
}

impl Covered {
    pub(super) fn new(tree: StoredTree, state: Projections) -> Self {
        Self { tree, state, next: Height::GENESIS, previous: BlockHash::NONE, frontier: Frontier::default() }
    }

    /// The height of the snapshot.
    pub fn height(&self) -> Height {
        self.state.height()
    }

    /// How many events the snapshot covers.
    pub fn tree_size(&self) -> u64 {
        self.state.tree_size()
    }

    /// Checks everything: of each block that it is there, decodes, is the child of the one before and has the tree it states;
    /// of the state that its rows add up to what the newest of these blocks states; of the stored tree that it leads to the
    /// newest root. `pause` is called between slices and says whether to go on.
    pub fn check(mut self, pause: &mut dyn FnMut() -> bool) -> Result<(), LogError> {
        while self.next <= self.height() {
            self.check_slice()?;
            if !pause() {
                return Ok(());
            }
        }
        if self.previous != self.state.tip() {
            return Err(LogError::OtherState { height: self.height().0 });
        }
        match self.state.rows_root(pause) {
            Some(root) if root != self.state.state_root() => return Err(LogError::OtherState { height: self.height().0 }),
            Some(_) => {}
            None => return Ok(()),
        }
        let mut first = None;
        self.tree.check(&mut |sentence| {
            first.get_or_insert_with(|| sentence.to_owned());
        })?;
        first.map_or(Ok(()), |sentence| Err(LogError::Tree { sentence }))
    }

    fn check_slice(&mut self) -> Result<(), LogError> {
        let mut size_bytes = 0;
        for _ in 0..SLICE_BLOCKS {
            let height = self.next;
            if height > self.height() || size_bytes >= SLICE_BYTES {
                return Ok(());
            }
            let sealed = self.tree.block(height)?.ok_or(LogError::Missing { height: height.0 })?;
            for event in EncodedEvent::all(&sealed.block.events) {
                self.frontier.append(leaf_hash(&event.bytes));
                size_bytes += event.bytes.len();
            }
            let header = &sealed.block.header;
            let tree = (self.frontier.size(), self.frontier.root());
            if header.height != height || header.parent != self.previous || tree != (header.tree_size, header.tree_root) {
                return Err(LogError::Chain { height: height.0 });
            }
            (self.previous, self.next) = (sealed.block.hash(), height.next());
        }
        Ok(())
    }
}
