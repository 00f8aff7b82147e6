//! Whatever comes in whatever order: a reader gets its bytes, or the beginning of them and an error.

use super::*;
use crate::artifacts::{ArtifactStore, Finished, Leaving};
use crate::p2p::tests::{in_time, noise};
use proptest::prelude::*;
use pyrsia_ledger::Sha256Digest;
use std::sync::atomic::{AtomicBool, Ordering};

const MIB: usize = CHUNK_BYTES;

fn list_of(bytes: &[u8]) -> ChunkList {
    ChunkList::new(bytes.len() as u64, bytes.chunks(MIB).map(Sha256Digest::of).collect()).expect("the list fits its size")
}

async fn read_to_the_end(feed: &mut Feed, mut check: impl FnMut(Range<u64>)) -> (Vec<u8>, bool) {
    let mut got = vec![];
    while let Some(piece) = feed.next().await {
        let Ok(piece) = piece else { return (got, false) };
        let at = feed.rest.start - piece.len() as u64;
        check(at..feed.rest.start);
        got.extend(piece);
    }
    (got, true)
}

/// Lets `order` of the chunks come and then ends; gives what a reader of `range` got, and whether that ended well.
async fn read_while_it_arrives(bytes: &[u8], order: &[usize], range: Range<u64>) -> Option<(Vec<u8>, bool)> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    file.as_file().set_len(bytes.len() as u64).expect("a hole");
    let list = list_of(bytes);
    let arrivals = Arrivals::new(file.reopen().expect("opens"), &list, Bitmap::new(list.count()));
    let here: Arc<Vec<AtomicBool>> = Arc::new((0..=list.count()).map(|_| AtomicBool::new(false)).collect());
    let reader = tokio::spawn({
        let (arriving, here, last) = (arrivals.arriving(), here.clone(), list.count() - 1);
        async move {
            let mut feed = arriving.feed(range).await?;
            let check = |piece: Range<u64>| {
                let chunk = chunk_of(piece.start);
                assert_eq!(chunk, chunk_of(piece.end - 1));
                let waits_for = if chunk == last { last + 1 } else { chunk };
                assert!(here[waits_for as usize].load(Ordering::SeqCst), "chunk {chunk} has not come");
            };
            Some(read_to_the_end(&mut feed, check).await)
        }
    });
    for chunk in order {
        let piece = bytes.chunks(MIB).nth(*chunk).expect("a chunk of it");
        file.as_file().write_all_at(piece, (chunk * MIB) as u64).expect("writes");
        here[*chunk].store(true, Ordering::SeqCst);
        arrivals.chunk_came(*chunk as u64);
        tokio::task::yield_now().await;
    }
    if order.len() as u64 == list.count() {
        here[order.len()].store(true, Ordering::SeqCst);
        arrivals.whole();
    } else {
        arrivals.ended();
    }
    drop(arrivals);
    in_time(reader).await.expect("reads on")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_reader_gets_exactly_its_range_or_the_beginning_of_it_and_an_error(
        size in MIB + 1..4 * MIB,
        keys in prop::collection::vec(any::<u16>(), 4),
        come in 0usize..8,
        (a, b) in (any::<u64>(), any::<u64>()),
    ) {
        let (bytes, size) = (noise(size, a), size as u64);
        let count = size.div_ceil(MIB as u64) as usize;
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|chunk| keys[*chunk]);
        order.truncate(come);
        let (a, b) = (a % (size + 1), b % (size + 1));
        let range = a.min(b)..a.max(b);
        let wanted = &bytes[range.start as usize..range.end as usize];
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime");
        let read = runtime.block_on(read_while_it_arrives(&bytes, &order, range.clone()));
        if order.len() == count {
            prop_assert!(read.as_ref().is_some_and(|(got, whole)| *whole && got == wanted), "all of it is here");
        } else if let Some((got, ended_well)) = read {
            prop_assert!(wanted.starts_with(&got));
            prop_assert_eq!(ended_well, got.len() == wanted.len());
            let needs_the_whole = !range.is_empty() && chunk_of(range.end - 1) as usize == count - 1;
            prop_assert!(!(ended_well && needs_the_whole), "the end of an artifact that is not whole");
        }
    }
}

#[tokio::test]
async fn what_is_read_since_it_arrived_is_not_evicted_under_its_reader() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = ArtifactStore::open(folder.path()).expect("opens");
    let bytes = noise(2 * MIB, 1);
    let sha256 = Sha256Digest::of(&bytes);
    let partial = store.begin_partial(&sha256, list_of(&bytes)).expect("begins");
    let done = partial.resume().expect("nothing is there");
    let arrivals = Arrivals::new(partial.reader().expect("opens"), partial.list(), done);
    let reading = tokio::spawn(arrivals.arriving().feed(0..bytes.len() as u64));
    for (chunk, piece) in (0..).zip(bytes.chunks(MIB)) {
        partial.write_chunk(chunk, piece).expect("writes");
        arrivals.chunk_came(chunk);
    }
    let mut feed = in_time(reading).await.expect("runs").expect("its first chunk is here");
    let first = in_time(feed.next()).await.expect("a piece").expect("reads");
    assert_eq!(partial.finish(|_| true, || arrivals.whole()).expect("ends"), Finished::Stored);
    arrivals.stored();
    drop((partial, arrivals));
    assert_eq!(store.evict(&sha256).expect("looks"), Leaving::InUse);
    let (rest, whole) = in_time(read_to_the_end(&mut feed, |_| {})).await;
    assert!(whole && [first, rest].concat() == bytes);
    drop(feed);
    assert_eq!(store.evict(&sha256).expect("looks"), Leaving::Gone);
}

#[tokio::test]
async fn the_end_of_what_the_disk_did_not_take_does_not_leave() {
    let bytes = noise(2 * MIB, 1);
    let list = list_of(&bytes);
    let file = tempfile::NamedTempFile::new().expect("a file");
    file.as_file().write_all_at(&bytes, 0).expect("writes");
    for fails in [false, true] {
        let arrivals = Arrivals::new(file.reopen().expect("opens"), &list, Bitmap::new(list.count()));
        (0..list.count()).for_each(|chunk| arrivals.chunk_came(chunk));
        let mut feed = in_time(arrivals.arriving().feed(0..bytes.len() as u64)).await.expect("its first chunk is here");
        arrivals.whole();
        if fails {
            arrivals.failed();
        } else {
            arrivals.ended();
        }
        let (got, whole) = in_time(read_to_the_end(&mut feed, |_| {})).await;
        assert_eq!((whole, bytes.starts_with(&got), got.len() < bytes.len()), (!fails, true, fails));
    }
}

#[tokio::test]
async fn who_begins_in_the_middle_asks_for_that_and_who_begins_at_the_beginning_for_nothing() {
    let bytes = noise(2 * MIB, 1);
    let list = ChunkList::new(9 * MIB as u64, vec![Sha256Digest::of(b"any"); 9]).expect("a list");
    let file = tempfile::tempfile().expect("a file");
    let arrivals = Arrivals::new(file, &list, Bitmap::new(9));
    let (first, middle) = (MIB as u64 - 1, 4 * MIB as u64 + 7);
    for range in [0..bytes.len() as u64, first..first + 1, middle..middle + 1, middle..5 * MIB as u64 + 1, middle..middle + 2] {
        let waiting = arrivals.arriving().feed(range);
        assert!(futures::FutureExt::now_or_never(waiting).is_none(), "nothing has come");
    }
    assert_eq!(arrivals.take_wanted(), [4..5, 4..6]);
    assert_eq!(arrivals.take_wanted(), []);
    for chunk in 0..2 * WANTED_RANGES_MAX as u64 {
        let at = (1 + chunk % 7) * MIB as u64;
        let _ = futures::FutureExt::now_or_never(arrivals.arriving().feed(at..at + 1 + chunk * MIB as u64));
    }
    assert_eq!(arrivals.take_wanted().len(), WANTED_RANGES_MAX);
}
