//! The scrub: every stored artifact is read again, slowly, and what the disk has lost comes back from other nodes, and so does what this
//! node has come to keep for the network without ever having had it.
//!
//! ```text
//! scrub.json    the pass under way and the last one that ended, written aside and renamed
//! ```
//!
//! Owns the schedule, the record and the pace. Artifacts are read in the order of their digests, so a pass that a restart cuts off goes on from
//! where its record stands. What is rotten is out of service before anything else is done about it, and is announced no more until it is back.

use crate::artifacts::{ArtifactStore, Counts, Inspection, Loss};
use crate::bucket::{Bucket, BucketCheck, BucketDepth};
use crate::config::StorageConfig;
use crate::consensus::LedgerView;
use crate::handle::with_cause;
use crate::p2p::{FetchError, P2pHandle};
use crate::storage::retention;
use pyrsia_ledger::{NodeId, Sha256Digest};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const FILE_NAME: &str = "scrub.json";
/// How often the record is written while a pass goes on.
const SAVE_INTERVAL: Duration = Duration::from_secs(30);
/// Findings that a pass keeps the names of; all are counted.
const FINDINGS_MAX: usize = 1_000;
/// How long one artifact is waited for to come back; it is fetched when somebody asks for it, at the latest.
const HEAL_TIME: Duration = Duration::from_secs(15 * 60);
/// A pause of the pace is taken when it is worth waking up for.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// The longest pause at a time, so that a stop is noticed.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// An artifact that was not what its name says, or one that was not here and is pinned or kept for the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub sha256: Sha256Digest,
    pub why: String,
    /// Whether it came back from other nodes; if not, why.
    pub healed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One pass over the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubPass {
    pub started_ms: u64,
    /// None while it goes on.
    pub ended_ms: Option<u64>,
    /// The last artifact that was read.
    pub position: Option<Sha256Digest>,
    pub artifacts: u64,
    pub bytes: u64,
    /// The artifacts that were stored when it began.
    pub of_artifacts: u64,
    pub rotten: u64,
    pub healed: u64,
    /// Artifacts that could not be read for a reason that is no damage.
    pub unreadable: u64,
    pub findings: Vec<Finding>,
    /// What a look at the bucket found; none without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketCheck>,
}

/// What is known of scrubs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubView {
    pub running: Option<ScrubPass>,
    pub last: Option<ScrubPass>,
    /// When the next one begins by itself, in milliseconds since the Unix epoch.
    pub next_ms: Option<u64>,
}

/// What became of the wish for a scrub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScrubStart {
    Started,
    /// One goes on already, and takes the pace that was asked for.
    Running,
}

/// A cheap handle on the scrub of a node.
#[derive(Clone)]
pub(crate) struct Scrubbing(Arc<Shared>);

struct Shared {
    path: PathBuf,
    me: NodeId,
    config: StorageConfig,
    store: ArtifactStore,
    bucket: Option<Bucket>,
    ledger: watch::Receiver<Arc<LedgerView>>,
    p2p: P2pHandle,
    record: Mutex<Record>,
    asked: Notify,
}

struct Record {
    view: ScrubView,
    is_asked: bool,
    /// 0: as fast as the disk allows.
    bytes_per_second: u64,
    /// How closely the bucket is to be looked at.
    depth: BucketDepth,
    /// How closely the pass under way looks at it, once it does.
    looks: Option<BucketDepth>,
    saved: Instant,
}

impl Scrubbing {
    /// A record that cannot be read is as good as none.
    pub(crate) fn open(
        folder: &Path,
        me: NodeId,
        config: StorageConfig,
        store: ArtifactStore,
        bucket: Option<Bucket>,
        ledger: watch::Receiver<Arc<LedgerView>>,
        p2p: P2pHandle,
    ) -> Self {
        let path = folder.join(FILE_NAME);
        let mut view: ScrubView = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        // One that a restart cut off goes on at once; the first of a node begins when it has something to lose.
        view.next_ms = match (&view.running, &view.last) {
            (Some(_), _) => Some(now_ms()),
            (None, last) => config.scrub_interval.map(|interval| {
                let from = last.as_ref().and_then(|last| last.ended_ms).unwrap_or_else(now_ms).min(now_ms());
                from + interval.as_millis() as u64
            }),
        };
        let record = Record {
            view,
            is_asked: false,
            bytes_per_second: config.scrub_bytes_per_second,
            depth: BucketDepth::default(),
            looks: None,
            saved: Instant::now(),
        };
        Self(Arc::new(Shared { path, me, config, store, bucket, ledger, p2p, record: Mutex::new(record), asked: Notify::new() }))
    }

    pub(crate) fn view(&self) -> ScrubView {
        self.0.record().view.clone()
    }

    /// Begins a pass, at `bytes_per_second` if that is given; 0 is as fast as the disk allows.
    pub(crate) fn start(&self, bytes_per_second: Option<u64>, depth: BucketDepth) -> ScrubStart {
        let mut record = self.0.record();
        record.ask(bytes_per_second.unwrap_or(self.0.config.scrub_bytes_per_second), depth);
        if record.view.running.is_some() || record.is_asked {
            return ScrubStart::Running;
        }
        record.is_asked = true;
        self.0.asked.notify_one();
        ScrubStart::Started
    }

    /// Begins each pass when it is due, and has it known what is lost, until `stop`.
    pub(crate) async fn keep_up(self, stop: CancellationToken) {
        tokio::select! {
            () = self.scrub_when_due(&stop) => {}
            () = self.0.withdraw_losses() => {}
        }
    }

    async fn scrub_when_due(&self, stop: &CancellationToken) {
        let shared = &self.0;
        while !stop.is_cancelled() {
            let wait = shared.record().view.next_ms.map(|next_ms| Duration::from_millis(next_ms.saturating_sub(now_ms())));
            let due = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = shared.asked.notified() => {}
                () = due => {}
            }
            shared.pass(stop).await;
        }
    }
}

impl Record {
    fn ask(&mut self, bytes_per_second: u64, depth: BucketDepth) {
        self.depth = self.depth.max(depth);
        self.bytes_per_second = bytes_per_second;
    }

    /// The look at the bucket begins, this closely.
    fn look(&mut self) -> BucketDepth {
        *self.looks.insert(self.depth)
    }

    /// A pass ends; whether another begins at once, for a closer look that was asked for while this one was under way.
    fn ends(&mut self, bytes_per_second: u64) -> bool {
        self.is_asked = self.looks.take().is_some_and(|looks| self.depth > looks);
        if !self.is_asked {
            self.depth = BucketDepth::default();
            self.bytes_per_second = bytes_per_second;
        }
        self.is_asked
    }
}

impl Shared {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the pass under way.
    fn note(&self, change: impl FnOnce(&mut ScrubPass)) {
        if let Some(running) = &mut self.record().view.running {
            change(running);
        }
    }

    async fn pass(self: &Arc<Self>, stop: &CancellationToken) {
        let of_artifacts = self.store.usage().artifacts;
        let mut position = {
            let mut record = self.record();
            let begun = || ScrubPass { started_ms: now_ms(), of_artifacts, ..ScrubPass::default() };
            record.view.running.get_or_insert_with(begun).position
        };
        tracing::info!(artifacts = of_artifacts, "a scrub of the artifact store begins");
        while let Some(stored) = self.store.page(position.as_ref(), 1).pop() {
            if stop.is_cancelled() {
                return self.save().await;
            }
            match self.inspect(stored.sha256, stop).await {
                Some(Inspection::Interrupted) | None => return self.save().await,
                Some(Inspection::Rotten { why }) => self.heal(stored.sha256, why, stop).await,
                Some(Inspection::Whole | Inspection::NotHere) => {}
            }
            position = Some(stored.sha256);
            self.note(|running| {
                running.position = position;
                running.artifacts += 1;
            });
            let is_due = self.record().saved.elapsed() >= SAVE_INTERVAL;
            if is_due {
                self.save().await;
            }
        }
        for sha256 in self.store.pins() {
            let is_published = self.ledger.borrow().state.as_ref().is_some_and(|state| state.packages.digest(&sha256).is_some());
            if is_published && !self.store.contains(&sha256) && !self.has_found(&sha256) {
                self.heal(sha256, "is pinned and was not here".into(), stop).await;
            }
        }
        for sha256 in self.missing_of_kept().await {
            // With nobody to ask, each would be waited for in vain.
            if stop.is_cancelled() || self.p2p.peers().is_empty() {
                break;
            }
            if !self.store.contains(&sha256) && !self.has_copy(&sha256) && !self.has_found(&sha256) {
                self.heal(sha256, "is kept here for the network and was not here".into(), stop).await;
            }
        }
        self.check_bucket(stop).await;
        if stop.is_cancelled() {
            return self.save().await;
        }
        self.end();
        self.save().await;
    }

    fn end(&self) {
        let mut record = self.record();
        if record.ends(self.config.scrub_bytes_per_second) {
            self.asked.notify_one();
        }
        let ended_ms = now_ms();
        record.view.next_ms = self.config.scrub_interval.map(|interval| ended_ms + interval.as_millis() as u64);
        let ended = record.view.running.take().map(|running| ScrubPass { ended_ms: Some(ended_ms), position: None, ..running });
        if let Some(ScrubPass { artifacts, bytes, rotten, healed, unreadable, .. }) = ended {
            tracing::info!(artifacts, bytes, rotten, healed, unreadable, "a scrub of the artifact store has ended");
        }
        record.view.last = ended;
    }

    /// What this node keeps for the network and does not have: it has lost it, or became a keeper when another one left the network.
    async fn missing_of_kept(self: &Arc<Self>) -> Vec<Sha256Digest> {
        let Some(state) = self.ledger.borrow().state.clone() else { return vec![] };
        if !state.members.contains(&self.me) {
            return vec![];
        }
        let shared = self.clone();
        let missing = spawn_blocking(move || {
            let missing = state.packages.digests().filter(|(sha256, record)| {
                !shared.store.contains(sha256) && retention::keepers(&state, record).contains(&shared.me)
            });
            missing.map(|(sha256, _)| *sha256).collect()
        });
        missing.await.unwrap_or_default()
    }

    fn has_copy(&self, sha256: &Sha256Digest) -> bool {
        self.bucket.as_ref().is_some_and(|bucket| bucket.known_copy(sha256).is_some())
    }

    /// Looks at the copies in the bucket. What is damaged or gone there and not on the disk either comes back from other nodes, and is copied anew.
    async fn check_bucket(&self, stop: &CancellationToken) {
        let Some(bucket) = &self.bucket else { return };
        let (begun, mut read) = (Instant::now(), 0);
        let depth = self.record().look();
        let checking = bucket.check(depth, |bytes| {
            read += bytes;
            self.pause(begun, read).unwrap_or_default()
        });
        let Some((check, lost)) = stop.run_until_cancelled(checking).await else { return };
        self.note(|running| running.bucket = Some(check));
        for sha256 in lost {
            if !self.store.contains(&sha256) && !stop.is_cancelled() && !self.has_found(&sha256) {
                self.heal(sha256, "was in the bucket alone, and its copy there is damaged or gone".into(), stop).await;
            }
        }
    }

    fn has_found(&self, sha256: &Sha256Digest) -> bool {
        let record = self.record();
        record.view.running.iter().flat_map(|running| &running.findings).any(|finding| finding.sha256 == *sha256)
    }

    /// None when the node is stopping.
    async fn inspect(self: &Arc<Self>, sha256: Sha256Digest, stop: &CancellationToken) -> Option<Inspection> {
        let (shared, stop) = (self.clone(), stop.clone());
        let inspected = spawn_blocking(move || {
            let (begun, mut read) = (Instant::now(), 0u64);
            shared.store.inspect(&sha256, |bytes| {
                read += bytes as u64;
                Counts::add(&shared.store.counts().scrubbed_bytes, bytes as u64);
                shared.note(|running| running.bytes += bytes as u64);
                shared.keep_pace(begun, read, &stop)
            })
        });
        match inspected.await.ok()? {
            Ok(inspection) => Some(inspection),
            Err(error) => {
                tracing::warn!(%sha256, %error, "a stored artifact cannot be read by the scrub");
                self.note(|running| running.unreadable += 1);
                Some(Inspection::NotHere)
            }
        }
    }

    /// Waits until `read` bytes since `begun` are no more than the pace allows; false when the node stops.
    fn keep_pace(&self, begun: Instant, read: u64, stop: &CancellationToken) -> bool {
        loop {
            if stop.is_cancelled() {
                return false;
            }
            match self.pause(begun, read) {
                Some(pause) => std::thread::sleep(pause.min(PAUSE_MAX)),
                None => return true,
            }
        }
    }

    /// How long to wait before more is read, if that is worth it.
    fn pause(&self, begun: Instant, read: u64) -> Option<Duration> {
        let allowed_after = match self.record().bytes_per_second {
            0 => Duration::ZERO,
            pace => Duration::from_secs_f64(read as f64 / pace as f64),
        };
        Some(allowed_after.saturating_sub(begun.elapsed())).filter(|pause| *pause >= PAUSE_MIN).map(|pause| pause.min(PAUSE_MAX))
    }

    /// Gets an artifact back from the bucket or from other nodes.
    async fn heal(&self, sha256: Sha256Digest, why: String, stop: &CancellationToken) {
        let wanted = self.ledger.borrow().state.as_deref().and_then(|state| {
            let (_, record) = state.packages.digest(&sha256)?;
            Some((record.artifact.clone(), retention::builders(state, record)))
        });
        let reason = match wanted {
            None => Some("it is not published, so that no other node is asked for it".to_owned()),
            Some((artifact, builders)) => {
                let fetch = stop.run_until_cancelled(timeout(HEAL_TIME, self.p2p.fetch(&artifact, builders)));
                match fetch.await {
                    Some(Ok(Ok(()))) => None,
                    Some(Ok(Err(error))) => Some(reason_of(&sha256, &error)),
                    Some(Err(_)) => Some(format!("it did not come within {} s", HEAL_TIME.as_secs())),
                    None => Some("the node stopped".to_owned()),
                }
            }
        };
        let healed = reason.is_none();
        match &reason {
            None => {
                Counts::add(&self.store.counts().healed, 1);
                tracing::info!(%sha256, "a lost or damaged artifact came back from other nodes");
            }
            Some(reason) => {
                tracing::error!(%sha256, reason, "a lost or damaged artifact does not come back for now");
                self.withdraw_unless_here(sha256).await;
            }
        }
        self.note(|running| {
            running.rotten += 1;
            running.healed += u64::from(healed);
            if running.findings.len() < FINDINGS_MAX {
                running.findings.push(Finding { sha256, why, healed, reason });
            }
        });
    }

    /// Announces no more what the disk turns out to have lost, whoever met the damage. Never ends.
    async fn withdraw_losses(&self) {
        loop {
            for (sha256, loss) in self.store.lost().await {
                match loss {
                    Loss::Gone => self.withdraw_unless_here(sha256).await,
                    Loss::Stuck if self.has_copy(&sha256) => {}
                    Loss::Stuck => self.p2p.withdraw(sha256).await,
                }
            }
        }
    }

    async fn withdraw_unless_here(&self, sha256: Sha256Digest) {
        let is_here = || self.store.contains(&sha256) || self.has_copy(&sha256);
        if is_here() {
            return;
        }
        self.p2p.withdraw(sha256).await;
        // It may have come back, and been announced, just before it was withdrawn.
        if is_here() {
            self.p2p.provide(sha256).await;
        }
    }

    async fn save(self: &Arc<Self>) {
        let view = {
            let mut record = self.record();
            record.saved = Instant::now();
            record.view.clone()
        };
        let shared = self.clone();
        let saved = spawn_blocking(move || write(&shared.path, &view)).await;
        if let Ok(Err(error)) = saved {
            tracing::warn!(%error, "the record of the scrub cannot be written");
        }
    }
}

/// Why an artifact did not come, as the record says it to anybody: where this node stores things is for its log only.
pub(super) fn reason_of(sha256: &Sha256Digest, error: &FetchError) -> String {
    match error {
        FetchError::Store(error) => {
            tracing::error!(%sha256, error = with_cause(&**error), "an artifact that came back cannot be stored");
            "its disk cannot be read or written; the node's log says why".to_owned()
        }
        error => error.to_string(),
    }
}

fn write(path: &Path, view: &ScrubView) -> io::Result<()> {
    let aside = path.with_extension("json.new");
    let mut file = File::create(&aside)?;
    file.write_all(&serde_json::to_vec_pretty(view)?)?;
    file.sync_all()?;
    fs::rename(aside, path)
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

impl crate::handle::NodeHandle {
    /// Begins to read every stored artifact again, and to look at the bucket.
    pub fn scrub(&self, bytes_per_second: Option<u64>, depth: BucketDepth) -> ScrubStart {
        self.scrubbing().start(bytes_per_second, depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closer_look_at_the_bucket_is_taken_back_by_none_and_forgotten_by_none() {
        let (view, saved) = (ScrubView::default(), Instant::now());
        let mut record = Record { view, is_asked: true, bytes_per_second: 1, depth: BucketDepth::default(), looks: None, saved };
        record.ask(5, BucketDepth::Bytes);
        record.ask(6, BucketDepth::Sizes);
        assert_eq!((record.look(), record.bytes_per_second), (BucketDepth::Bytes, 6));
        record.ask(6, BucketDepth::Bytes);
        assert!(!record.ends(1), "it has just been done");
        assert_eq!((record.look(), record.bytes_per_second), (BucketDepth::Sizes, 1));
        record.ask(7, BucketDepth::Bytes);
        assert!(record.ends(1) && record.is_asked, "it came too late for this pass");
        assert_eq!((record.look(), record.bytes_per_second), (BucketDepth::Bytes, 7));
        assert!(!record.ends(1) && !record.is_asked);
        // Without a bucket there is nothing to look at.
        record.ask(7, BucketDepth::Bytes);
        assert!(!record.ends(1));
    }
}
