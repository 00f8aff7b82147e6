//! Room for downloads, within the budget that an operator gave.
//!
//! A download takes its room before it begins. Where there is none, what was used longest ago leaves, one by one: only published
//! artifacts that this node does not keep for the network ([`crate::storage::retention`]), that nobody reads, and that a keeper has just shown to
//! have; and whatever the bucket behind the store has just shown to have. What this node builds itself is always taken in; [`Rooms::trim`] comes after it.

use super::download::{Patience, ProviderFailure, ask_chunk_list, open_stream};
use super::rate::RateLimit;
use crate::artifacts::{ArtifactStore, Leaving, Reservation, StoreError, StoredArtifact};
use crate::bucket::{Bucket, Noted};
use crate::consensus::LedgerView;
use crate::p2p::FetchError;
use crate::p2p::reach::Reach;
use crate::storage::retention;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use libp2p::Stream;
use libp2p_stream::Control;
use pyrsia_ledger::event::BuiltArtifact;
use pyrsia_ledger::{NodeId, Projections, Sha256Digest};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long the bucket and keepers are asked, for one download, whether they have what could leave.
const ASKING_TIME: Duration = Duration::from_secs(30);
/// Copies in the bucket that are looked at together.
const LOOKS_AT_ONCE: usize = 16;
/// How long one keeper is waited for, from finding it to its answer.
const KEEPER_TIME: Duration = Duration::from_secs(2);
/// How long a keeper that did not answer is asked nothing more: without it, three such keepers would hold up every download anew.
const SILENCE_KNOWN: Duration = Duration::from_secs(60);
/// How often something else is looked for when what was to leave is wanted again, or others have taken its room.
const ROUNDS_MAX: usize = 3;
/// What has just been fetched or sent may be held for a moment by who did it: where nothing can leave, it is tried once more after this.
const READER_PAUSE: Duration = Duration::from_millis(100);
/// How often what was built here is looked at, which may have gone beyond the budget.
const TRIM_INTERVAL: Duration = Duration::from_secs(60);

pub(in crate::p2p) struct Rooms {
    pub(in crate::p2p) me: NodeId,
    pub(in crate::p2p) budget_bytes: Option<u64>,
    /// What has a copy there may leave, even what this node keeps for the network.
    pub(in crate::p2p) bucket: Option<Bucket>,
    pub(in crate::p2p) store: ArtifactStore,
    pub(in crate::p2p) ledger: watch::Receiver<Arc<LedgerView>>,
    pub(in crate::p2p) control: Control,
    pub(in crate::p2p) reach: Reach,
    pub(in crate::p2p) patience: Patience,
    /// For the downloads that take the room.
    pub(in crate::p2p) download: Arc<RateLimit>,
    /// Held by the one who makes room: two could each let go of what is enough for both.
    pub(in crate::p2p) making: Mutex<Silent>,
}

/// The keepers that did not answer of late.
#[derive(Default)]
pub(in crate::p2p) struct Silent(BTreeMap<NodeId, Silence>);

struct Silence {
    since: Instant,
    /// One that could not be reached is asked again as soon as it is connected.
    was_connected: bool,
}

impl Silent {
    fn is_worth_asking(&self, keeper: &NodeId, is_connected: bool) -> bool {
        self.0.get(keeper).is_none_or(|silence| is_connected && !silence.was_connected)
    }
}

/// Why the network loses nothing when this node lets an artifact go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grounds {
    /// The bucket behind the store has shown this copy of it.
    Copied(Noted),
    /// A keeper has it.
    KeptElsewhere,
}

/// What may leave, as far as that is known, and how much it is.
#[derive(Default)]
struct Leavers {
    leaving: Vec<(StoredArtifact, Grounds)>,
    bytes: u64,
}

impl Leavers {
    fn add(&mut self, stored: StoredArtifact, grounds: Grounds) {
        self.bytes += stored.size_bytes;
        self.leaving.push((stored, grounds));
    }
}

/// What is seen of an artifact at the first look.
enum Look {
    /// It is pinned, read, or of a build that is not over.
    Needed,
    /// The bucket has just shown this copy of it.
    Copied(Noted),
    Uncopied,
}

/// What is known of keepers while room is made.
struct Keepers<'a> {
    silent: &'a mut Silent,
    /// To those that have answered; kept no longer than that, because each takes a place there.
    streams: BTreeMap<NodeId, Stream>,
}

impl<'a> Keepers<'a> {
    fn new(silent: &'a mut Silent) -> Self {
        silent.0.retain(|_, silence| silence.since.elapsed() < SILENCE_KNOWN);
        Self { silent, streams: BTreeMap::new() }
    }
}

impl Rooms {
    /// Takes room for an artifact; none is needed where nothing is bounded.
    pub(super) async fn take(&self, artifact: &BuiltArtifact) -> Result<Option<Reservation>, FetchError> {
        let Some(budget_bytes) = self.budget_bytes else { return Ok(None) };
        let (sha256, size_bytes) = (artifact.sha256, artifact.size_bytes);
        if size_bytes > budget_bytes {
            return Err(FetchError::BeyondBudget { size_bytes, budget_bytes });
        }
        let reserve = || async move {
            let store = self.store.clone();
            let reserved = spawn_blocking(move || store.reserve(&sha256, size_bytes, budget_bytes)).await;
            Ok::<_, FetchError>(reserved.map_err(|_| FetchError::Stopped)??)
        };
        if let Ok(reservation) = reserve().await? {
            return Ok(Some(reservation));
        }
        let mut silent = self.making.lock().await;
        for round in 1..=ROUNDS_MAX {
            let missing = match reserve().await? {
                Ok(reservation) => return Ok(Some(reservation)),
                Err(missing) => missing,
            };
            if self.free(missing, Some(sha256), &mut silent, ASKING_TIME).await? == 0 {
                if round > 1 {
                    break;
                }
                tokio::time::sleep(READER_PAUSE).await;
            }
        }
        reserve().await?.map(Some).map_err(|_| FetchError::NoRoom { size_bytes, budget_bytes })
    }

    /// Lets go of what is beyond the budget, and of downloads that nobody has gone on with for long, again and again.
    pub(in crate::p2p) async fn trim(self: Arc<Self>) {
        let budget_bytes = self.budget_bytes.unwrap_or(u64::MAX);
        // Where a copy in the bucket is what may let something go, nothing is said before the interval is over.
        let mut last_due: Option<Instant> = None;
        loop {
            // Listens from its first poll on: no copy falls between the look and the wait.
            let mut next_copy = pin!(self.next_copy());
            let _ = futures::poll!(next_copy.as_mut());
            let is_due = last_due.is_none_or(|last| last.elapsed() >= TRIM_INTERVAL);
            if is_due {
                last_due = Some(Instant::now());
                self.forget_abandoned_downloads().await;
            }
            let usage = self.store.usage();
            let beyond = (usage.bytes + usage.reserved_bytes).saturating_sub(budget_bytes);
            if beyond > 0 {
                let mut silent = self.making.lock().await;
                match self.free(beyond, None, &mut silent, ASKING_TIME).await {
                    Ok(freed) if freed < beyond && is_due => {
                        let missing_bytes = beyond - freed;
                        tracing::warn!(
                            missing_bytes,
                            budget_bytes,
                            "more is stored than the budget allows, and none of it may leave"
                        );
                    }
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "nothing of what is stored can leave"),
                }
            }
            let until_due = last_due.map_or(Duration::ZERO, |last| TRIM_INTERVAL.saturating_sub(last.elapsed()));
            let _ = timeout(until_due, next_copy).await;
        }
    }

    /// Resolves when the bucket has got one more copy.
    async fn next_copy(&self) {
        match &self.bucket {
            Some(bucket) => bucket.next_copy().await,
            None => std::future::pending().await,
        }
    }

    async fn forget_abandoned_downloads(&self) {
        let store = self.store.clone();
        if let Ok(Err(error)) = spawn_blocking(move || store.remove_abandoned_downloads()).await {
            tracing::warn!(%error, "the downloads that nobody goes on with cannot be removed");
        }
    }

    /// Lets artifacts go until `bytes` are free; returns how many are. For a download nothing leaves unless all of it finds room, but for what the
    /// bucket has shown until the time was over: it comes back, and what is asked next begins behind it.
    async fn free(
        &self,
        bytes: u64,
        for_download: Option<Sha256Digest>,
        silent: &mut Silent,
        time: Duration,
    ) -> Result<u64, StoreError> {
        let Some(state) = self.ledger.borrow().state.clone() else { return Ok(0) };
        let (mut leavers, mut keepers) = (Leavers::default(), Keepers::new(silent));
        let finding = async {
            let all = self.store.least_recently_used_first();
            let mut candidates = all.into_iter().filter(|stored| Some(stored.sha256) != for_download).peekable();
            while leavers.bytes < bytes && candidates.peek().is_some() {
                // No more than what would do, if all of it may leave.
                let (mut together, mut hoped) = (vec![], 0);
                while together.len() < LOOKS_AT_ONCE
                    && leavers.bytes + hoped < bytes
                    && let Some(stored) = candidates.next()
                {
                    hoped += stored.size_bytes;
                    together.push(stored);
                }
                self.find_leavers(&state, together, bytes, &mut leavers, &mut keepers).await;
            }
        };
        let is_out_of_time = timeout(time, finding).await.is_err();
        if is_out_of_time {
            tracing::warn!("those who keep what could leave do not answer in time");
        }
        let Leavers { mut leaving, bytes: found } = leavers;
        if found < bytes && for_download.is_some() {
            leaving.retain(|(_, grounds)| is_out_of_time && matches!(grounds, Grounds::Copied(_)));
        }
        let (store, bucket) = (self.store.clone(), self.bucket.clone());
        let evicted = spawn_blocking(move || {
            let mut gone = vec![];
            for (stored, grounds) in leaving {
                let evict = || store.evict(&stored.sha256);
                let evicted = match grounds {
                    Grounds::KeptElsewhere => Some(evict()),
                    // The copy may have been removed, or found to be damaged, while others were looked at.
                    Grounds::Copied(copy) => bucket.as_ref().and_then(|bucket| bucket.while_copied(&stored.sha256, copy, evict)),
                };
                match evicted.unwrap_or(Ok(Leaving::Needed)) {
                    Ok(Leaving::Gone | Leaving::NotHere) => {
                        tracing::info!(sha256 = %stored.sha256, size_bytes = stored.size_bytes, "evicted an artifact that others or the bucket keep");
                        gone.push(stored);
                    }
                    Ok(Leaving::Pinned | Leaving::Needed | Leaving::InUse) => {}
                    Err(error) => return (gone, Err(error)),
                }
            }
            (gone, Ok(()))
        });
        let (gone, evicted) = evicted.await.unwrap_or((vec![], Ok(())));
        for stored in &gone {
            // What the bucket has is given out from there.
            if self.bucket.as_ref().is_none_or(|bucket| bucket.known_copy(&stored.sha256).is_none()) {
                self.reach.withdraw(stored.sha256).await;
            }
        }
        evicted.map(|()| gone.iter().map(|stored| stored.size_bytes).sum())
    }

    /// Finds those of some artifacts that may leave, until `bytes` are found in all; the bucket is asked about all of them at once.
    async fn find_leavers(
        &self,
        state: &Projections,
        together: Vec<StoredArtifact>,
        bytes: u64,
        leavers: &mut Leavers,
        keepers: &mut Keepers<'_>,
    ) {
        let look = |stored: StoredArtifact| async move { (self.look(state, &stored.sha256).await, stored) };
        let mut looks: FuturesUnordered<_> = together.into_iter().map(look).collect();
        let mut uncopied = vec![];
        while let Some((look, stored)) = looks.next().await {
            match look {
                Look::Needed => {}
                Look::Copied(copy) => leavers.add(stored, Grounds::Copied(copy)),
                Look::Uncopied => uncopied.push(stored),
            }
        }
        uncopied.sort_unstable_by_key(|stored| (stored.last_use, stored.sha256));
        for stored in uncopied {
            if leavers.bytes < bytes && self.is_kept_elsewhere(state, &stored.sha256, keepers).await {
                leavers.add(stored, Grounds::KeptElsewhere);
            }
        }
    }

    async fn look(&self, state: &Projections, sha256: &Sha256Digest) -> Look {
        let is_needed = self.store.is_pinned(sha256) || !self.store.builds_that_brought(sha256).is_empty();
        if is_needed || state.packages.digest(sha256).is_none() || self.is_in_use(*sha256).await {
            return Look::Needed;
        }
        match &self.bucket {
            Some(bucket) => bucket.still_has(sha256).await.map_or(Look::Uncopied, Look::Copied),
            None => Look::Uncopied,
        }
    }

    /// Whether the network loses nothing if this node, which keeps it not for the network, lets an artifact go.
    async fn is_kept_elsewhere(&self, state: &Projections, sha256: &Sha256Digest, asked: &mut Keepers<'_>) -> bool {
        let Some((_, record)) = state.packages.digest(sha256) else { return false };
        let keepers = retention::keepers(state, record);
        if !retention::may_leave(&keepers, &self.me) || self.is_in_use(*sha256).await {
            return false;
        }
        self.is_shown(keepers, &record.artifact, asked).await
    }

    /// Whether one of these nodes has an artifact: those that are connected are asked first, all at once, and the others after them.
    async fn is_shown(&self, keepers: Vec<NodeId>, artifact: &BuiltArtifact, asked: &mut Keepers<'_>) -> bool {
        let connected = self.reach.peers.borrow().clone();
        let (near, far): (Vec<_>, Vec<_>) = keepers.into_iter().partition(|keeper| connected.binary_search(keeper).is_ok());
        for (keepers, was_connected) in [(near, true), (far, false)] {
            let worth_asking = keepers.into_iter().filter(|keeper| asked.silent.is_worth_asking(keeper, was_connected));
            let mut asking: FuturesUnordered<_> = worth_asking
                .map(|keeper| {
                    let stream = asked.streams.remove(&keeper);
                    async move { (keeper, timeout(KEEPER_TIME, self.ask(keeper, stream, artifact)).await) }
                })
                .collect();
            while let Some((keeper, answered)) = asking.next().await {
                let Ok(Some((stream, has_it))) = answered else {
                    tracing::debug!(%keeper, "a keeper is asked nothing more for now");
                    asked.silent.0.insert(keeper, Silence { since: Instant::now(), was_connected });
                    continue;
                };
                asked.silent.0.remove(&keeper);
                asked.streams.insert(keeper, stream);
                if has_it {
                    return true;
                }
            }
        }
        false
    }

    async fn is_in_use(&self, sha256: Sha256Digest) -> bool {
        let store = self.store.clone();
        spawn_blocking(move || store.is_in_use(&sha256)).await.unwrap_or(true)
    }

    /// Whether a node has an artifact, as its chunk list proves as far as that can be; None when it gives no answer of use.
    async fn ask(&self, keeper: NodeId, stream: Option<Stream>, artifact: &BuiltArtifact) -> Option<(Stream, bool)> {
        let mut stream = match stream {
            Some(stream) => stream,
            None if self.reach.connect(keeper).await => open_stream(&self.control, &keeper, &self.patience).await.ok()?,
            None => return None,
        };
        match ask_chunk_list(&mut stream, artifact, &self.patience).await {
            Ok(_) => Some((stream, true)),
            Err(ProviderFailure::Unavailable) => Some((stream, false)),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
