//! The blocks that a snapshot spared a start: what opening would have found in them, looked for afterwards.
//!
//! A node opens with a snapshot in no time and does this beside its work, slice by slice: nothing here waits, whoever calls
//! decides when the next slice is due. The writer may append meanwhile: everything is held to the height of the snapshot.
//!
//! What is wrong and follows from the blocks is made again at the next start, which this sees to before it tells.

use super::stored::Beside;
use super::{LogError, StoredTree};
use crate::block::{BlockHash, Height};
use crate::projection::Projections;
use crate::signed::EncodedEvent;
use crate::tree::Frontier;
use std::path::PathBuf;

/// How many bytes of events make a slice: some milliseconds of work.
const SLICE_BYTES: usize = 1 << 20;
/// How many blocks make a slice, however small they are.
const SLICE_BLOCKS: usize = 256;
/// How many hashes of tiles and rows of an index make a slice.
const SLICE_ROWS: usize = 1 << 14;

/// Blocks up to a snapshot, and the state that it gave for them.
pub struct Covered {
    tree: StoredTree,
    state: Projections,
    /// Where the state was read from.
    snapshot: PathBuf,
    next: Height,
    previous: BlockHash,
    frontier: Frontier,
}

/// How far a check came that found nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    Everything,
    /// It was told to give up; the next start begins anew.
    Interrupted,
}

impl Covered {
    pub(super) fn new(tree: StoredTree, state: Projections, snapshot: PathBuf) -> Self {
        Self { tree, state, snapshot, next: Height::GENESIS, previous: BlockHash::NONE, frontier: Frontier::default() }
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
    /// of the state that its rows add up to what the newest of these blocks states; of the stored tree that it leads to that
    /// block's root, and of the index that it is whole. `pause` is called between slices and says whether to go on.
    ///
    /// A snapshot that is not the state is deleted, a stored tree that is damaged is marked: the next start does without them.
    pub fn check(mut self, pause: &mut dyn FnMut() -> bool) -> Result<Checked, LogError> {
        while self.next <= self.height() {
            self.check_slice()?;
            if !pause() {
                return Ok(Checked::Interrupted);
            }
        }
        if self.previous != self.state.tip() {
            return Err(self.other_state());
        }
        match self.state.rows_root(pause) {
            Some(root) if root != self.state.state_root() => return Err(self.other_state()),
            Some(_) => {}
            None => return Ok(Checked::Interrupted),
        }
        self.check_tree(pause)
    }

    fn other_state(&self) -> LogError {
        // One that cannot be removed is found again after the next start.
        let _ = std::fs::remove_file(&self.snapshot);
        LogError::OtherState { height: self.height().0 }
    }

    fn check_tree(&self, pause: &mut dyn FnMut() -> bool) -> Result<Checked, LogError> {
        let (mut first, mut since_pause) = (None, 0);
        let mut found = |sentence: &str| {
            first.get_or_insert_with(|| sentence.to_owned());
        };
        let mut step = |rows: usize| {
            since_pause += rows;
            if since_pause < SLICE_ROWS {
                return true;
            }
            since_pause = 0;
            pause()
        };
        let (size, root) = (self.state.tree_size(), self.state.tree_root());
        let is_through = self.tree.check_up_to(size, root, Beside::Writer, &mut found, &mut step);
        match first {
            Some(sentence) => {
                self.tree.mark_damaged()?;
                Err(LogError::Tree { sentence })
            }
            None if is_through => Ok(Checked::Everything),
            None => Ok(Checked::Interrupted),
        }
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
                self.frontier.append(event.leaf);
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

#[cfg(test)]
impl Covered {
    /// As if the last block were another one.
    pub(super) fn stop_short_of_the_tip(&mut self) {
        self.next = self.height().next();
    }
}
