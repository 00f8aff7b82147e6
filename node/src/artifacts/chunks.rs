//! Chunk lists, and the plan of who fetches which chunk.
//!
//! An artifact is moved in chunks of 1 MiB; the sha256 of each stands in its chunk list, and the ledger binds the list
//! ([`tree::chunk_root`]). Plain values: nothing here reads a clock, a disk or a peer.

use borsh::{BorshDeserialize, BorshSerialize};
use pyrsia_ledger::tree::{self, CHUNK_BYTES};
use pyrsia_ledger::{NodeId, Sha256Digest};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

/// The largest artifact that is stored or moved, in bytes: its chunk list is 2 MiB and fits in one message.
pub const ARTIFACT_BYTES_MAX: u64 = 64 << 30;
/// How many chunks are asked for in one request.
pub const CHUNKS_PER_RANGE: u64 = 8;

/// The sha256 of each chunk of an artifact, in order.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ChunkList {
    size_bytes: u64,
    chunks: Vec<Sha256Digest>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChunkListError {
    #[error("an artifact of {size_bytes} bytes has {expected} chunks, not {found}")]
    Count { size_bytes: u64, expected: u64, found: usize },
    #[error("an artifact of {size_bytes} bytes is larger than {ARTIFACT_BYTES_MAX}")]
    TooLarge { size_bytes: u64 },
    #[error("the chunk list is not the one that the ledger binds")]
    Root,
}

impl ChunkList {
    pub fn new(size_bytes: u64, chunks: Vec<Sha256Digest>) -> Result<Self, ChunkListError> {
        if size_bytes > ARTIFACT_BYTES_MAX {
            return Err(ChunkListError::TooLarge { size_bytes });
        }
        let expected = tree::chunk_count(size_bytes);
        if expected != chunks.len() as u64 {
            return Err(ChunkListError::Count { size_bytes, expected, found: chunks.len() });
        }
        Ok(Self { size_bytes, chunks })
    }

    /// The list, if it is the one that the ledger binds to an artifact of this size.
    pub fn bound_by(size_bytes: u64, root: &Sha256Digest, chunks: Vec<Sha256Digest>) -> Result<Self, ChunkListError> {
        let list = Self::new(size_bytes, chunks)?;
        if list.root() != *root {
            return Err(ChunkListError::Root);
        }
        Ok(list)
    }

    pub fn root(&self) -> Sha256Digest {
        tree::chunk_root(&self.chunks)
    }

    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    pub fn chunks(&self) -> &[Sha256Digest] {
        &self.chunks
    }

    pub fn count(&self) -> u64 {
        self.chunks.len() as u64
    }

    /// Where in the artifact a chunk lies. The last one may be shorter than the others.
    pub fn bytes_of(&self, chunk: u64) -> Range<u64> {
        bytes_of(chunk, self.size_bytes)
    }

    /// Whether that chunk has this digest.
    pub fn names(&self, chunk: u64, digest: &Sha256Digest) -> bool {
        self.chunks.get(chunk as usize) == Some(digest)
    }

    /// Whether these are the bytes of that chunk.
    pub fn holds(&self, chunk: u64, bytes: &[u8]) -> bool {
        self.names(chunk, &Sha256Digest::of(bytes))
    }
}

/// Where in an artifact of this size a chunk lies.
pub fn bytes_of(chunk: u64, size_bytes: u64) -> Range<u64> {
    let start = (chunk * CHUNK_BYTES as u64).min(size_bytes);
    start..(start + CHUNK_BYTES as u64).min(size_bytes)
}

/// One bit for each chunk, lowest bit of each byte first: the form it has on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap {
    bytes: Vec<u8>,
    count: u64,
    set: u64,
}

impl Bitmap {
    pub fn new(count: u64) -> Self {
        Self { bytes: vec![0; count.div_ceil(8) as usize], count, set: 0 }
    }

    /// Reads what [`Bitmap::bytes`] gave; none if it belongs to another number of chunks.
    pub fn from_bytes(count: u64, bytes: &[u8]) -> Option<Self> {
        if bytes.len() as u64 != count.div_ceil(8) {
            return None;
        }
        let mut bitmap = Self::new(count);
        for chunk in (0..count).filter(|chunk| bytes[(chunk / 8) as usize] & (1 << (chunk % 8)) != 0) {
            bitmap.insert(chunk);
        }
        Some(bitmap)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn contains(&self, chunk: u64) -> bool {
        chunk < self.count && self.bytes[(chunk / 8) as usize] & (1 << (chunk % 8)) != 0
    }

    /// Whether the chunk was not in it before.
    pub fn insert(&mut self, chunk: u64) -> bool {
        let new = chunk < self.count && !self.contains(chunk);
        if new {
            self.bytes[(chunk / 8) as usize] |= 1 << (chunk % 8);
            self.set += 1;
        }
        new
    }

    pub fn remove(&mut self, chunk: u64) {
        if self.contains(chunk) {
            self.bytes[(chunk / 8) as usize] &= !(1 << (chunk % 8));
            self.set -= 1;
        }
    }

    pub fn is_full(&self) -> bool {
        self.set == self.count
    }

    pub fn missing(&self) -> u64 {
        self.count - self.set
    }
}

/// A range of chunks that one stream is fetching.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimId(u64);

#[derive(Debug)]
struct Claim {
    provider: NodeId,
    rest: Range<u64>,
    /// Chunks that another stream has taken over as well, because this one is slow.
    doubled: bool,
}

/// Which chunks are there, which are being fetched, and which nobody has taken.
#[derive(Debug)]
pub struct FetchPlan {
    done: Bitmap,
    /// Start and end of ranges nobody has taken, lowest first, so that the file fills from its beginning.
    free: BTreeMap<u64, u64>,
    /// Ranges that go before the others, because somebody waits for them.
    preferred: VecDeque<Range<u64>>,
    claims: BTreeMap<ClaimId, Claim>,
    next_claim: u64,
    /// Who had taken a chunk that another one brought first.
    outpaced: BTreeSet<NodeId>,
}

impl FetchPlan {
    /// The plan for what `done` does not have.
    pub fn new(done: Bitmap) -> Self {
        let mut plan = Self {
            done,
            free: BTreeMap::new(),
            preferred: VecDeque::new(),
            claims: BTreeMap::new(),
            next_claim: 0,
            outpaced: BTreeSet::new(),
        };
        plan.release(0..plan.done.count);
        plan
    }

    pub fn is_complete(&self) -> bool {
        self.done.is_full()
    }

    pub fn is_done(&self, chunk: u64) -> bool {
        self.done.contains(chunk)
    }

    pub fn done(&self) -> &Bitmap {
        &self.done
    }

    pub fn missing(&self) -> u64 {
        self.done.missing()
    }

    /// Who had taken a chunk that another provider, asked for it later, brought first.
    pub fn outpaced(&self) -> &BTreeSet<NodeId> {
        &self.outpaced
    }

    /// What is free of these chunks goes before everything that nobody has asked to go first.
    pub fn prefer(&mut self, chunks: Range<u64>) {
        if !chunks.is_empty() {
            self.preferred.push_back(chunks);
        }
    }

    /// Gives `provider` the next range. When nothing is free, it may double what another provider is slow to bring.
    pub fn take(&mut self, provider: NodeId) -> Option<(ClaimId, Range<u64>)> {
        if let Some(range) = self.take_free() {
            return Some(self.claim(provider, range));
        }
        let (_, slow) = self.claims.iter_mut().find(|(_, claim)| claim.provider != provider && !claim.doubled)?;
        slow.doubled = true;
        let rest = slow.rest.clone();
        Some(self.claim(provider, rest))
    }

    fn take_free(&mut self) -> Option<Range<u64>> {
        while let Some(wanted) = self.preferred.front().cloned() {
            let reaches_in = self.free.range(..=wanted.start).next_back().filter(|(_, end)| **end > wanted.start);
            let begins_in = || self.free.range(wanted.start..).next().filter(|(start, _)| **start < wanted.end);
            match reaches_in.or_else(begins_in).map(|(start, end)| (*start, *end)) {
                Some((start, end)) => return Some(self.cut(start..end, start.max(wanted.start), wanted.end)),
                None => self.preferred.pop_front(),
            };
        }
        let (start, end) = self.free.first_key_value().map(|(start, end)| (*start, *end))?;
        Some(self.cut(start..end, start, end))
    }

    /// Takes as much of a free range as may be asked for at once, from a chunk in it on and up to `limit`.
    fn cut(&mut self, free: Range<u64>, from: u64, limit: u64) -> Range<u64> {
        let cut = free.end.min(limit).min(from + CHUNKS_PER_RANGE);
        self.free.remove(&free.start);
        for rest in [free.start..from, cut..free.end].into_iter().filter(|rest| !rest.is_empty()) {
            self.free.insert(rest.start, rest.end);
        }
        from..cut
    }

    fn claim(&mut self, provider: NodeId, range: Range<u64>) -> (ClaimId, Range<u64>) {
        let id = ClaimId(self.next_claim);
        self.next_claim += 1;
        self.claims.insert(id, Claim { provider, rest: range.clone(), doubled: false });
        (id, range)
    }

    /// The next chunk of a claim is verified and written. Whether it was still missing.
    pub fn finish_chunk(&mut self, id: ClaimId, chunk: u64) -> bool {
        let mut provider = None;
        if let Some(claim) = self.claims.get_mut(&id) {
            provider = Some(claim.provider);
            claim.rest.start = claim.rest.start.max(chunk + 1);
            if claim.rest.is_empty() {
                self.claims.remove(&id);
            }
        }
        let is_new = self.done.insert(chunk);
        if is_new {
            let earlier = self.claims.range(..id).map(|(_, claim)| claim);
            let slower = earlier.filter(|claim| claim.rest.contains(&chunk)).map(|claim| claim.provider);
            self.outpaced.extend(slower.filter(|slower| Some(*slower) != provider));
        }
        is_new
    }

    /// The stream of a claim is gone: what it did not bring is free again, unless another stream is fetching it.
    pub fn give_back(&mut self, id: ClaimId) {
        if let Some(claim) = self.claims.remove(&id) {
            // Who was to bring the same brings it no more, and another one may.
            let shares = |other: &&mut Claim| other.rest.start < claim.rest.end && claim.rest.start < other.rest.end;
            self.claims.values_mut().filter(shares).for_each(|other| other.doubled = false);
            self.release(claim.rest);
        }
    }

    fn release(&mut self, range: Range<u64>) {
        let taken = |chunk: u64| self.claims.values().any(|claim| claim.rest.contains(&chunk));
        let free: Vec<u64> = range.filter(|chunk| !self.done.contains(*chunk) && !taken(*chunk)).collect();
        for run in free.chunk_by(|a, b| a + 1 == *b) {
            self.free.insert(run[0], run[run.len() - 1] + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(seed: u8) -> NodeId {
        NodeId::from_public_key([seed; 32])
    }

    #[test]
    fn a_chunk_list_of_another_size_or_root_is_refused() {
        let chunks = vec![Sha256Digest::of(b"a"), Sha256Digest::of(b"b")];
        let root = tree::chunk_root(&chunks);
        let size = CHUNK_BYTES as u64 + 1;
        assert!(ChunkList::bound_by(size, &root, chunks.clone()).is_ok());
        assert!(matches!(ChunkList::bound_by(size - 1, &root, chunks.clone()), Err(ChunkListError::Count { .. })));
        assert_eq!(ChunkList::bound_by(size, &Sha256Digest::of(b"x"), chunks), Err(ChunkListError::Root));
        let size_bytes = ARTIFACT_BYTES_MAX + 1;
        assert_eq!(ChunkList::new(size_bytes, vec![]), Err(ChunkListError::TooLarge { size_bytes }));
    }

    #[test]
    fn a_range_that_nobody_else_brings_is_doubled_once_and_only_by_another_provider() {
        let mut plan = FetchPlan::new(Bitmap::new(3));
        let (slow, range) = plan.take(node(1)).expect("everything is free");
        assert_eq!(range, 0..3);
        assert!(plan.finish_chunk(slow, 0));
        assert!(plan.take(node(1)).is_none());
        let (fast, range) = plan.take(node(2)).expect("the slow one's rest");
        assert_eq!(range, 1..3);
        assert!(plan.take(node(3)).is_none_or(|(_, range)| range == (1..3)));
        plan.give_back(slow);
        assert!(plan.finish_chunk(fast, 1) && plan.finish_chunk(fast, 2));
        assert!(plan.is_complete());
    }

    #[test]
    fn what_somebody_waits_for_goes_first_and_the_rest_in_order_after_it() {
        let mut plan = FetchPlan::new(Bitmap::new(40));
        plan.prefer(20..30);
        plan.prefer(38..40);
        let mut taken = vec![];
        while let Some((id, range)) = plan.take(node(1)) {
            taken.push(range.clone());
            range.for_each(|chunk| assert!(plan.finish_chunk(id, chunk)));
        }
        assert_eq!(taken, [20..28, 28..30, 38..40, 0..8, 8..16, 16..20, 30..38]);
        plan.prefer(0..40);
        assert!(plan.take(node(1)).is_none() && plan.is_complete());
    }

    #[test]
    fn a_provider_that_others_overtake_is_remembered_and_one_that_is_only_last_is_not() {
        let mut plan = FetchPlan::new(Bitmap::new(3));
        let (slow, _) = plan.take(node(1)).expect("everything is free");
        assert!(plan.finish_chunk(slow, 0));
        let (fast, range) = plan.take(node(2)).expect("the slow one's rest");
        assert!(plan.finish_chunk(slow, 1));
        assert!(!plan.finish_chunk(fast, 1), "the one that was asked first came first");
        assert!(plan.outpaced().is_empty());
        assert!(range.end == 3 && plan.finish_chunk(fast, 2));
        assert_eq!(plan.outpaced().iter().collect::<Vec<_>>(), [&node(1)]);
    }

    #[test]
    fn what_a_second_provider_gives_up_is_doubled_again() {
        let mut plan = FetchPlan::new(Bitmap::new(2));
        let (_slow, _) = plan.take(node(1)).expect("everything is free");
        let (vanishes, _) = plan.take(node(2)).expect("the slow one's rest");
        plan.give_back(vanishes);
        let (fast, range) = plan.take(node(2)).expect("nobody else brings it");
        assert_eq!(range, 0..2);
        assert!(plan.finish_chunk(fast, 0) && plan.finish_chunk(fast, 1) && plan.is_complete());
    }

    proptest! {
        #[test]
        fn a_bitmap_reads_back_what_it_wrote(count in 0u64..70, chunks in prop::collection::vec(0u64..80, 0..40)) {
            let mut bitmap = Bitmap::new(count);
            for chunk in &chunks {
                bitmap.insert(*chunk);
            }
            let there = (0..count).filter(|chunk| chunks.contains(chunk)).count() as u64;
            prop_assert_eq!(bitmap.missing(), count - there);
            prop_assert!((0..90).all(|chunk| bitmap.contains(chunk) == (chunk < count && chunks.contains(&chunk))));
            prop_assert_eq!(Bitmap::from_bytes(count, bitmap.bytes()), Some(bitmap.clone()));
            prop_assert_eq!(Bitmap::from_bytes(count + 9, bitmap.bytes()), None);
        }

        /// Whatever streams do, no chunk is lost: it is there, being fetched, or free, and in the end all are there.
        #[test]
        fn no_chunk_is_ever_forgotten(
            count in 0u64..60,
            have in prop::collection::vec(0u64..60, 0..20),
            steps in prop::collection::vec((0u8..4, 0u8..4, 0usize..8), 0..200),
        ) {
            let mut done = Bitmap::new(count);
            for chunk in have {
                done.insert(chunk);
            }
            let mut plan = FetchPlan::new(done);
            let mut open: Vec<(ClaimId, Range<u64>)> = vec![];
            for (step, provider, which) in steps {
                match step {
                    0 => open.extend(plan.take(node(provider))),
                    1 if !open.is_empty() => {
                        let which = which % open.len();
                        let (id, range) = &mut open[which];
                        plan.finish_chunk(*id, range.start);
                        range.start += 1;
                        if range.is_empty() {
                            open.remove(which);
                        }
                    }
                    2 if !open.is_empty() => plan.give_back(open.remove(which % open.len()).0),
                    3 => plan.prefer(which as u64 * 7..(which as u64 + u64::from(provider)) * 9),
                    _ => {}
                }
                for chunk in 0..count {
                    let free = plan.free.iter().any(|(start, end)| (*start..*end).contains(&chunk));
                    let claimed = open.iter().any(|(_, range)| range.contains(&chunk));
                    prop_assert!(plan.is_done(chunk) || free || claimed, "chunk {} is lost", chunk);
                    prop_assert!(!(plan.is_done(chunk) && free), "chunk {} would be fetched again", chunk);
                }
            }
            for (id, _) in open.drain(..) {
                plan.give_back(id);
            }
            while let Some((id, range)) = plan.take(node(9)) {
                prop_assert!(range.end - range.start <= CHUNKS_PER_RANGE);
                for chunk in range {
                    prop_assert!(plan.finish_chunk(id, chunk));
                }
            }
            prop_assert!(plan.is_complete());
        }
    }
}
