//! Who is connected, and who gives way to a newcomer when every place is taken.
//!
//! A connection without a request in work holds its place only while nobody else wants it, however it came to have none: kept alive, opened and left
//! silent, or in the middle of a head that never ends. So those who hold connections keep nobody out. An answer in work is broken off for a newcomer
//! only when its client takes nothing of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Nobody gives way who has been quiet for less: a client that has just connected is about to send its request.
const QUIET_MIN: Duration = Duration::from_millis(100);
/// A client that has taken nothing of its answer for this long gives way when nobody is idle.
const BLOCKED_MIN: Duration = Duration::from_secs(10);

/// One connection, as those see it who decide about its place.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) peer: SocketAddr,
    came: Instant,
    /// When something last happened on the connection, since it came.
    last_ms: AtomicU64,
    /// What the system has taken for this client so far, heads and all.
    written_bytes: AtomicU64,
    /// Whether the system takes nothing more until the client has read.
    is_blocked: AtomicBool,
    answers_in_work: AtomicUsize,
    told_to_leave: CancellationToken,
}

/// Who gives way first, and for how long it has been so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Blocked(Duration),
    Idle(Duration),
}

impl Guest {
    pub(super) fn new(peer: SocketAddr) -> Self {
        Self {
            peer,
            came: Instant::now(),
            last_ms: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            is_blocked: AtomicBool::new(false),
            answers_in_work: AtomicUsize::new(0),
            told_to_leave: CancellationToken::new(),
        }
    }

    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn begin_answer(&self) {
        self.answers_in_work.fetch_add(1, Ordering::Relaxed);
        self.note_activity();
    }

    pub(crate) fn end_answer(&self) {
        // The time first: who looks in between must not find an old one beside no answer.
        self.note_activity();
        self.answers_in_work.fetch_sub(1, Ordering::Release);
    }

    /// The system took so many bytes.
    pub(super) fn wrote(&self, bytes: usize) {
        self.written_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.note_activity();
        self.is_blocked.store(false, Ordering::Release);
    }

    /// The system took none.
    pub(super) fn block(&self) {
        self.is_blocked.store(true, Ordering::Relaxed);
    }

    fn note_activity(&self) {
        self.last_ms.store(self.came.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    pub(super) async fn told_to_leave(&self) {
        self.told_to_leave.cancelled().await;
    }

    /// Whether its place may be taken at this moment.
    pub(super) fn may_be_closed(&self) -> bool {
        self.standing(Instant::now()).is_some()
    }

    /// None for who keeps its place.
    fn standing(&self, now: Instant) -> Option<Standing> {
        let is_busy = self.answers_in_work.load(Ordering::Acquire) > 0;
        let is_blocked = self.is_blocked.load(Ordering::Acquire);
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        let quiet = now.saturating_duration_since(self.came).saturating_sub(last);
        match (is_busy, is_blocked) {
            // What an answer left in the buffers may still be on its way when the answer itself is done.
            (_, true) => (quiet >= BLOCKED_MIN).then_some(Standing::Blocked(quiet)),
            (true, false) => None,
            (false, false) => (quiet >= QUIET_MIN).then_some(Standing::Idle(quiet)),
        }
    }
}

/// Everybody who is connected.
pub(super) struct Guests {
    places: Arc<Semaphore>,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    next_number: u64,
    guests: BTreeMap<u64, Arc<Guest>>,
}

/// A guest's place, which is free again when this is dropped.
pub(super) struct Place {
    guests: Arc<Guests>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

impl Guests {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places: Arc::new(Semaphore::new(places)), list: Mutex::default() })
    }

    /// Waits for a place, and sees to it that there is one.
    pub(super) async fn admit(self: &Arc<Self>, guest: Arc<Guest>) -> Place {
        let permit = loop {
            if let Ok(permit) = self.places.clone().try_acquire_owned() {
                break permit;
            }
            self.make_way(Instant::now());
            // Somebody may have become quiet for long enough meanwhile.
            if let Ok(permit) = tokio::time::timeout(QUIET_MIN, self.places.clone().acquire_owned()).await {
                break permit.expect("the semaphore is never closed");
            }
        };
        let mut list = self.list();
        let number = list.next_number;
        list.next_number += 1;
        list.guests.insert(number, guest);
        Place { guests: self.clone(), number, _permit: permit }
    }

    /// Tells who has been quiet for longest to leave.
    fn make_way(&self, now: Instant) {
        let list = self.list();
        let staying = list.guests.values().filter(|guest| !guest.told_to_leave.is_cancelled());
        let standings = staying.filter_map(|guest| Some((guest.standing(now)?, guest)));
        if let Some((standing, guest)) = standings.max_by_key(|(standing, _)| *standing) {
            tracing::debug!(peer = %guest.peer, ?standing, "every place is taken, a connection gives way");
            guest.told_to_leave.cancel();
        }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // Each change is a single step.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.guests.list().guests.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest() -> Arc<Guest> {
        Arc::new(Guest::new(([127, 0, 0, 1], 1).into()))
    }

    #[test]
    fn who_is_idle_gives_way_before_who_takes_nothing_and_who_is_served_never_does() {
        let [served, idle, fresh, blocked] = [guest(), guest(), guest(), guest()];
        served.begin_answer();
        blocked.begin_answer();
        blocked.block();
        let after = |pause: Duration| Instant::now() + pause;
        assert!([&served, &idle, &fresh, &blocked].iter().all(|guest| guest.standing(Instant::now()).is_none()));
        assert!(matches!(idle.standing(after(QUIET_MIN)), Some(Standing::Idle(_))));
        assert_eq!(served.standing(after(10 * BLOCKED_MIN)), None);
        assert_eq!(blocked.standing(after(BLOCKED_MIN / 2)), None);
        assert!(blocked.standing(after(2 * BLOCKED_MIN)) < idle.standing(after(QUIET_MIN)));

        blocked.wrote(1);
        assert_eq!(blocked.standing(after(2 * BLOCKED_MIN)), None, "it reads again");
        blocked.block();
        blocked.end_answer();
        assert_eq!(blocked.standing(after(BLOCKED_MIN / 2)), None, "the rest of its answer is on its way");
        served.end_answer();
        assert!(matches!(served.standing(after(BLOCKED_MIN)), Some(Standing::Idle(_))));
    }

    #[tokio::test]
    async fn a_newcomer_has_the_place_of_who_was_idle_for_longest() {
        let guests = Guests::new(2);
        let [oldest, served, newcomer] = [guest(), guest(), guest()];
        served.begin_answer();
        let place = guests.admit(oldest.clone()).await;
        let _served = guests.admit(served.clone()).await;
        let leaving = async {
            oldest.told_to_leave().await;
            assert!(oldest.may_be_closed());
            drop(place);
        };
        let ((), _newcomer) = tokio::join!(leaving, guests.admit(newcomer));
        assert!(!served.told_to_leave.is_cancelled());
        assert_eq!(guests.list().guests.len(), 2);
    }
}
