//! The work on a whole log in three stages, all at once: items are read ahead, the caller's thread folds them in their order, and the
//! work that it hands out, signatures to verify, is done on all cores.
//!
//! Whose threads these are is the caller's. What there is no thread for is done on the one that folds: with none at all it reads an
//! item, folds it and does the work that comes of it, one after the other.

use std::sync::mpsc::{Receiver, SendError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Items that are read ahead.
const ITEMS_AHEAD: usize = 8;
/// Pieces of work that wait for a core, for each core: enough to keep it busy, few enough to bound the memory.
const WORK_WAITING: usize = 4;

/// What is to be done on a thread of its own.
pub type Beside<'a> = Box<dyn FnOnce() + Send + 'a>;

/// The threads of whoever calls: the ledger has none.
#[derive(Clone, Copy)]
pub struct Threads {
    /// How many do the work that is handed out.
    pub cores: usize,
    /// Does each of these on a thread of its own and the last on its own, all at once, for each waits for another; returns when all
    /// are done. Those that no thread can be begun for are dropped before the last is begun, which then does their work.
    pub all_at_once: for<'a> fn(Vec<Beside<'a>>, Box<dyn FnOnce() + 'a>),
}

/// Folds `items`, and does with `work` what that hands out.
pub fn in_stages<'a, I, W, V, T>(
    threads: Threads,
    items: impl Iterator<Item = I> + Send + 'a,
    work: fn(&W) -> V,
    fold: impl FnOnce(Stages<'a, I, W, V>) -> T,
) -> T
where
    I: Send + 'a,
    W: Send,
    V: Send,
{
    let cores = threads.cores.max(1);
    let (ahead, ready) = sync_channel(ITEMS_AHEAD);
    let (pieces, waiting) = sync_channel(WORK_WAITING * cores);
    let (answer, answers) = channel();
    let unread: Unread<'a, I> = Arc::new(Mutex::new(Some(Box::new(items))));
    let stages = Stages { items: Items::Ahead(ready, unread.clone()), pieces, work, answer, answers, outstanding: 0 };
    let mut beside: Vec<Beside<'_>> = vec![];
    {
        // Held by those who work and nobody else: without them nothing can be handed out.
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..cores {
            let waiting = waiting.clone();
            beside.push(Box::new(move || do_all(&waiting, work)));
        }
    }
    // Where there are too few threads, those that take work off this one come first: there is more of it than of reading.
    beside.push(Box::new(move || read_ahead(&unread, &ahead)));
    let mut folded = None;
    (threads.all_at_once)(beside, Box::new(|| folded = Some(fold(stages))));
    folded.expect("what is to be done here is done")
}

/// What the thread that folds has of the other stages.
pub struct Stages<'a, I, W, V> {
    items: Items<'a, I>,
    pieces: SyncSender<Piece<W, V>>,
    work: fn(&W) -> V,
    answer: Sender<Option<V>>,
    answers: Receiver<Option<V>>,
    /// Pieces of work without an answer.
    outstanding: usize,
}

/// Until somebody begins to read.
type Unread<'a, I> = Arc<Mutex<Option<Box<dyn Iterator<Item = I> + Send + 'a>>>>;

enum Items<'a, I> {
    /// By the thread that reads. The end is told as well: that it is gone is none.
    Ahead(Receiver<Option<I>>, Unread<'a, I>),
    Here(Box<dyn Iterator<Item = I> + Send + 'a>),
    Ended,
}

/// A piece of work, with what came of it. However it ends, its answer is given.
struct Piece<W, V> {
    work: W,
    verdict: Option<V>,
    answer: Sender<Option<V>>,
}

impl<W, V> Piece<W, V> {
    fn be_done(mut self, work: fn(&W) -> V) {
        self.verdict = Some(work(&self.work));
    }
}

impl<W, V> Drop for Piece<W, V> {
    fn drop(&mut self) {
        // Unheard where nobody folds any more.
        let _ = self.answer.send(self.verdict.take());
    }
}

impl<I, W, V> Stages<'_, I, W, V> {
    /// The next item; none at the end.
    pub fn next_item(&mut self) -> Option<I> {
        let item = match &mut self.items {
            Items::Ahead(ready, unread) => match ready.recv() {
                Ok(item) => item,
                Err(_) => {
                    let unread = unread.lock().unwrap_or_else(PoisonError::into_inner).take();
                    let mut items = unread.expect("who began to read goes on to the end");
                    let item = items.next();
                    self.items = Items::Here(items);
                    item
                }
            },
            Items::Here(items) => items.next(),
            Items::Ended => None,
        };
        if item.is_none() {
            self.items = Items::Ended;
        }
        item
    }

    /// Waits for a place where the cores have enough to do.
    pub fn hand_out(&mut self, work: W) {
        self.outstanding += 1;
        let piece = Piece { work, verdict: None, answer: self.answer.clone() };
        if let Err(SendError(piece)) = self.pieces.send(piece) {
            piece.be_done(self.work);
        }
    }

    /// What came of a piece of work, if one is done.
    pub fn done(&mut self) -> Option<V> {
        let answer = self.answers.try_recv().ok()?;
        Some(self.heard(answer))
    }

    /// What came of a piece of work, once one is done; none when each was heard of.
    pub fn wait(&mut self) -> Option<V> {
        if self.outstanding == 0 {
            return None;
        }
        let answer = self.answers.recv().expect("answers can be given for as long as these are waited for");
        Some(self.heard(answer))
    }

    fn heard(&mut self, answer: Option<V>) -> V {
        self.outstanding -= 1;
        answer.expect("every piece of work comes to a verdict")
    }
}

fn read_ahead<I>(unread: &Unread<'_, I>, ahead: &SyncSender<Option<I>>) {
    let Some(mut items) = unread.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    loop {
        let item = items.next();
        let is_end = item.is_none();
        // Refused when nobody folds any more.
        if ahead.send(item).is_err() || is_end {
            return;
        }
    }
}

fn do_all<W, V>(waiting: &Mutex<Receiver<Piece<W, V>>>, work: fn(&W) -> V) {
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
    std::iter::from_fn(next).for_each(|piece| piece.be_done(work));
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests have the threads that the ledger is lent")]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    const ITEMS: u32 = 200;
    const CRASH: u32 = ITEMS / 2;
    /// Where there is a thread for each that verifies and one that reads.
    const CORES: usize = 2;
    /// How long what hangs is waited for.
    const WITHIN: Duration = Duration::from_secs(60);

    /// On the first so many threads that are asked for.
    fn on_the_first<'a, const BEGUN: usize>(mut beside: Vec<Beside<'a>>, here: Box<dyn FnOnce() + 'a>) {
        beside.truncate(BEGUN);
        thread::scope(move |scope| {
            for work in beside {
                scope.spawn(work);
            }
            here();
        });
    }

    const EACH_NUMBER_OF_THREADS: [Threads; CORES + 2] = [
        Threads { cores: CORES, all_at_once: on_the_first::<0> },
        Threads { cores: CORES, all_at_once: on_the_first::<1> },
        Threads { cores: CORES, all_at_once: on_the_first::<2> },
        Threads { cores: CORES, all_at_once: on_the_first::<3> },
    ];

    /// The items in their order, and what came of each; none where that panics.
    fn folded(
        threads: Threads,
        items: impl Iterator<Item = u32> + Send + 'static,
        work: fn(&u32) -> u32,
    ) -> Option<(Vec<u32>, Vec<u32>)> {
        let (told, heard) = channel();
        let fold = move |mut stages: Stages<'_, u32, u32, u32>| {
            let (mut folded, mut done) = (vec![], vec![]);
            while let Some(item) = stages.next_item() {
                folded.push(item);
                stages.hand_out(item);
                done.extend(stages.done());
            }
            assert_eq!(stages.next_item(), None);
            done.extend(std::iter::from_fn(|| stages.wait()));
            done.sort_unstable();
            (folded, done)
        };
        thread::spawn(move || told.send(catch_unwind(AssertUnwindSafe(|| in_stages(threads, items, work, fold))).ok()));
        heard.recv_timeout(WITHIN).expect("the fold comes to an end")
    }

    #[test]
    fn whatever_threads_there_are_each_item_is_folded_in_its_order_and_all_work_is_done() {
        for threads in EACH_NUMBER_OF_THREADS {
            let expected = ((0..ITEMS).collect(), (0..ITEMS).map(|item| 2 * item).collect());
            assert_eq!(folded(threads, 0..ITEMS, |item| 2 * item), Some(expected));
        }
    }

    #[test]
    fn work_is_done_on_the_threads_that_there_are_and_elsewhere_only_without_any() {
        static ELSEWHERE: AtomicUsize = AtomicUsize::new(0);
        for (threads, expected) in EACH_NUMBER_OF_THREADS.into_iter().zip([ITEMS as usize, 0, 0, 0]) {
            ELSEWHERE.store(0, Ordering::Relaxed);
            let fold = |mut stages: Stages<'_, u32, thread::ThreadId, ()>| {
                while stages.next_item().is_some() {
                    stages.hand_out(thread::current().id());
                }
                while stages.wait().is_some() {}
            };
            let note = |folds: &thread::ThreadId| {
                ELSEWHERE.fetch_add(usize::from(thread::current().id() == *folds), Ordering::Relaxed);
            };
            in_stages(threads, 0..ITEMS, note, fold);
            assert_eq!(ELSEWHERE.load(Ordering::Relaxed), expected);
        }
    }

    #[test]
    fn a_crash_is_none_of_the_ends_and_nobody_waits_for_it() {
        for threads in EACH_NUMBER_OF_THREADS {
            let crashing = |item: &u32| if *item == CRASH { panic!("a bug") } else { *item };
            assert_eq!(folded(threads, 0..ITEMS, crashing), None, "work");
            let crashing = (0..ITEMS).inspect(|item| assert!(*item < CRASH, "a bug"));
            assert_eq!(folded(threads, crashing, |item| *item), None, "reading");
        }
    }
}
