//! Reading an artifact while it is on its way in.
//!
//! ```text
//! Download -> Arrivals: which chunks are verified and written -> Arriving -> any number of Feed, each a range
//! ```
//!
//! A feed gives out the bytes of its range in order, each as soon as its chunk and all before it in the range are verified and written. The last
//! chunk of the artifact waits until the whole is hashed: nobody gets all of an artifact that is not what the ledger says. All
//! feeds read from one file handle, which stays good when the file gets its name; a slow reader holds nobody up, and one that leaves ends nothing.
//! What may be served is decided before ([`crate::verification`]).

use crate::artifacts::chunks::{Bitmap, ChunkList};
use pyrsia_ledger::tree::CHUNK_BYTES;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

/// How much of the file one read takes, in bytes: a chunk is a whole number of these.
const PIECE_BYTES: u64 = 256 << 10;
/// Ranges that are remembered to be asked for before others.
const WANTED_RANGES_MAX: usize = 16;

/// What has come, as the download tells it.
pub(super) struct Arrivals {
    source: Arc<Source>,
    reached: watch::Sender<Reached>,
}

struct Source {
    file: Arc<File>,
    chunks: u64,
    /// Chunks that somebody waits for, out of the usual order.
    wanted: Mutex<Vec<Range<u64>>>,
}

#[derive(Debug)]
struct Reached {
    done: Bitmap,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Arriving,
    /// All of it is verified, and on its way into the store.
    Whole,
    Stored,
    /// The download came to nothing.
    Ended,
}

impl Arrivals {
    /// `file` is a handle of its own on the file that the chunks are written to.
    pub(super) fn new(file: File, list: &ChunkList, done: Bitmap) -> Self {
        let source = Source { file: Arc::new(file), chunks: list.count(), wanted: Mutex::default() };
        Self { source: Arc::new(source), reached: watch::Sender::new(Reached { done, stage: Stage::Arriving }) }
    }

    pub(super) fn arriving(&self) -> Arriving {
        Arriving { source: self.source.clone(), reached: self.reached.subscribe() }
    }

    /// A chunk is verified and written.
    pub(super) fn chunk_came(&self, chunk: u64) {
        self.reached.send_modify(|reached| {
            reached.done.insert(chunk);
        });
    }

    /// The whole is verified: who reads it need not wait for the disk.
    pub(super) fn whole(&self) {
        self.go_on(&[Stage::Arriving], Stage::Whole);
    }

    /// It is durable and has its name.
    pub(super) fn stored(&self) {
        // Readers of what is stored share a lock on its file, so that it is not evicted; where there are no locks there are no evictions.
        let _ = self.source.file.try_lock_shared();
        self.go_on(&[Stage::Whole], Stage::Stored);
    }

    /// Nothing more comes; what came whole can be read on.
    pub(super) fn ended(&self) {
        self.go_on(&[Stage::Arriving], Stage::Ended);
    }

    /// The disk did not take it, and may give other bytes from here on.
    pub(super) fn failed(&self) {
        self.go_on(&[Stage::Arriving, Stage::Whole], Stage::Ended);
    }

    fn go_on(&self, from: &[Stage], to: Stage) {
        self.reached.send_if_modified(|reached| {
            let goes_on = from.contains(&reached.stage);
            if goes_on {
                reached.stage = to;
            }
            goes_on
        });
    }

    /// The chunks that somebody has come to wait for since this was last asked.
    pub(super) fn take_wanted(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut *self.source.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An artifact on its way in, for whoever wants to read it.
#[derive(Clone)]
pub(super) struct Arriving {
    source: Arc<Source>,
    reached: watch::Receiver<Reached>,
}

impl Arriving {
    /// The bytes of a range, as soon as the first of them may leave; none if the download ends before.
    pub(super) async fn feed(self, range: Range<u64>) -> Option<Feed> {
        self.want(&range);
        let Self { source, reached } = self;
        let mut feed = Feed { source, reached, rest: range };
        feed.may_go_on().await.then_some(feed)
    }

    /// Chunks come in order anyway for who begins at the first one.
    fn want(&self, range: &Range<u64>) {
        let chunks = chunk_of(range.start)..range.end.div_ceil(CHUNK_BYTES as u64);
        let mut wanted = self.source.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if chunks.start > 0 && wanted.len() < WANTED_RANGES_MAX && !wanted.contains(&chunks) {
            wanted.push(chunks);
        }
    }
}

fn chunk_of(byte: u64) -> u64 {
    byte / CHUNK_BYTES as u64
}

/// Bytes of an artifact in order, as they come. It ends after the last byte of its range; before that only with an error, after which what was read is
/// the beginning of something that may never be whole.
pub struct Feed {
    source: Arc<Source>,
    reached: watch::Receiver<Reached>,
    rest: Range<u64>,
}

impl Feed {
    /// The next bytes, none at the end.
    pub async fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        let range = match self.next_range(PIECE_BYTES).await? {
            Ok(range) => range,
            Err(error) => return Some(Err(error)),
        };
        let file = self.file();
        let read = spawn_blocking(move || {
            let mut piece = vec![0; (range.end - range.start) as usize];
            file.read_exact_at(&mut piece, range.start).map(|()| piece)
        });
        Some(read.await.unwrap_or_else(|error| Err(io::Error::other(error))))
    }

    /// Where in the file the next bytes that may leave are: as far as the next multiple of `piece_bytes`, of which a chunk is a whole number.
    async fn next_range(&mut self, piece_bytes: u64) -> Option<io::Result<Range<u64>>> {
        if self.rest.is_empty() {
            return None;
        }
        if !self.may_go_on().await {
            return Some(Err(io::Error::other("the rest of the artifact cannot be had from other nodes")));
        }
        let from = self.rest.start;
        self.rest.start = ((from / piece_bytes + 1) * piece_bytes).min(self.rest.end);
        Some(Ok(from..self.rest.start))
    }

    /// The file that [`Self::next_chunk`] speaks of.
    pub fn file(&self) -> Arc<File> {
        self.source.file.clone()
    }

    /// What [`Self::next`] would give up to the end of a chunk, as its place in the file, for who sends it without reading it.
    pub async fn next_chunk(&mut self) -> Option<io::Result<Range<u64>>> {
        self.next_range(CHUNK_BYTES as u64).await
    }

    /// Waits until the next byte may leave; false when it never will.
    async fn may_go_on(&mut self) -> bool {
        let chunk = chunk_of(self.rest.start);
        let is_last = chunk + 1 >= self.source.chunks;
        let known = |reached: &Reached| reached.stage != Stage::Arriving || (!is_last && reached.done.contains(chunk));
        self.reached.wait_for(known).await.is_ok_and(|reached| reached.stage != Stage::Ended)
    }
}

#[cfg(test)]
mod tests;
