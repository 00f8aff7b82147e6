//! The task that takes this node's builds from the request on the ledger to the publication, step by step.
//!
//! It owns the runs, the work of a judge, and what was proposed for each build; what to do is decided by [`super::plan`].
//! Everything it knows can be lost but the seals: after a restart the ledger, the seals and the notes lead to the same steps.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures::future::join_all;
use pyrsia_ledger::event::{
    AddArtifact, BuildCandidateVouched, BuildDisputed, BuildResultCommitted, BuildResultRevealed, BuildWaitEnded, DisputeReport,
    Vouch,
};
use pyrsia_ledger::projection::builds::BuildStatus;
use pyrsia_ledger::{BuildId, Event, NodeId, Projections, Sha256Digest};
use tokio::sync::Semaphore;
use tokio::task::{self, AbortHandle, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::judge::{self, Case, Judge};
use super::leftovers::Leftovers;
use super::plan::{Fact, PROPOSE_AGAIN_AFTER, Planner, Progress, Step, Vouching, Work};
use super::run::{Order, Run, Runner};
use super::sealed::{RunResult, Seals};
use super::view::LocalPhase;
use crate::config::JudgePatience;
use crate::consensus::{ConsensusHandle, ProposeError};
use crate::p2p::P2pHandle;

/// A build that was requested so long ago may be settled in blocks that this node has not caught up with.
const OLD_REQUEST: Duration = Duration::from_secs(60);
/// How long such a build is left alone.
const CATCH_UP_WAIT: Duration = Duration::from_secs(5);
/// Steps of one build that are taken in a row, before the others have their turn.
const STEPS_IN_A_ROW_MAX: usize = 8;
/// Candidates and groups that the verifier looks at at the same time.
const JUDGED_AT_ONCE_MAX: usize = 2;
/// Disputes whose groups are fetched and compared at the same time.
const COMPARED_AT_ONCE_MAX: usize = 2;

pub(super) struct Driver {
    me: NodeId,
    consensus: ConsensusHandle,
    p2p: P2pHandle,
    runner: Arc<Runner>,
    judge: Judge,
    seals: Seals,
    leftovers: Leftovers,
    run_limit: Duration,
    patience: JudgePatience,
    builds: BTreeMap<BuildId, Progress>,
    work: JoinSet<Ended>,
    working: HashMap<task::Id, Working>,
    started: Instant,
}

/// What work came to.
enum Ended {
    /// None when others settled the build before it began.
    Run(Option<Run>),
    Vouched(Vouch),
    Compared(DisputeReport),
}

/// Work under way, and for which build.
struct Working {
    id: BuildId,
    kind: Kind,
    abort: AbortHandle,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Run,
    Vouch,
    Compare,
}

/// How a driver is set up.
pub(super) struct Setup {
    pub(super) me: NodeId,
    pub(super) consensus: ConsensusHandle,
    pub(super) p2p: P2pHandle,
    pub(super) runner: Arc<Runner>,
    pub(super) seals: Seals,
    pub(super) run_limit: Duration,
    pub(super) patience: JudgePatience,
}

impl Driver {
    pub(super) fn new(setup: Setup) -> Self {
        let Setup { me, consensus, p2p, runner, seals, run_limit, patience } = setup;
        let judge = Judge {
            store: runner.store.clone(),
            p2p: p2p.clone(),
            verifiers: runner.verifiers.clone(),
            places: Arc::new(Semaphore::new(JUDGED_AT_ONCE_MAX)),
            comparing: Arc::new(Semaphore::new(COMPARED_AT_ONCE_MAX)),
            // What cannot be had is said before the others have waited long enough.
            patience: patience.vouch / 2,
            bytes_per_second: patience.vouch_bytes_per_second,
        };
        let leftovers = Leftovers::new(runner.store.clone(), patience.keep_unpublished);
        Self {
            me,
            consensus,
            p2p,
            runner,
            judge,
            seals,
            leftovers,
            run_limit,
            patience,
            builds: BTreeMap::new(),
            work: JoinSet::new(),
            working: HashMap::new(),
            started: Instant::now(),
        }
    }

    pub(super) async fn drive(mut self, stop: CancellationToken) {
        self.recall();
        let mut ledger = self.consensus.watch();
        loop {
            let view = ledger.borrow_and_update().clone();
            let wake = match view.state.as_deref() {
                Some(state) => self.take_steps(state).await,
                None => None,
            };
            tokio::select! {
                () = stop.cancelled() => break,
                changed = ledger.changed() => if changed.is_err() { break },
                Some(ended) = self.work.join_next_with_id() => self.ended(ended),
                () = sleep_until(wake) => {}
            }
        }
        self.work.shutdown().await;
    }

    /// Every build that this node has sealed a result of or has notes about.
    fn recall(&mut self) {
        let sealed = self.seals.builds().unwrap_or_else(|error| {
            tracing::error!(%error, "the sealed results of this node cannot be listed");
            vec![]
        });
        for id in sealed {
            self.builds.insert(id, self.recalled(&id));
        }
        match self.runner.notes.all() {
            Ok(notes) => notes.into_iter().for_each(|(id, _)| {
                self.builds.entry(id).or_default();
            }),
            Err(error) => tracing::warn!(%error, "what was remembered of running builds cannot be read"),
        }
    }

    fn recalled(&self, id: &BuildId) -> Progress {
        match self.seals.get(id) {
            Ok(sealed) => Progress::recalled(sealed, false),
            Err(error) => {
                tracing::error!(build_id = %id, %error, "this node cannot read the result it is bound to, and is silent about the build");
                Progress::recalled(None, true)
            }
        }
    }

    /// Takes every step that can be taken; returns when to look again even if nothing happens.
    async fn take_steps(&mut self, state: &Projections) -> Option<Instant> {
        let planner =
            Planner { me: self.me, silent_to: self.consensus.silent_to(), run_limit: self.run_limit, patience: self.patience };
        for (id, build) in state.builds.unfinished() {
            if !planner.is_concerned(state, build) || self.builds.contains_key(id) {
                continue;
            }
            if build.judges.contains(&self.me) {
                let wait_ms = if age(build.requested_time_ms) > OLD_REQUEST { CATCH_UP_WAIT.as_millis() as u64 } else { 0 };
                let run_after_ms = self.now_ms() + wait_ms;
                let mut progress = self.recalled(id);
                progress.run_after_ms = run_after_ms;
                self.builds.insert(*id, progress);
            } else {
                self.builds.insert(*id, Progress::default());
            }
        }
        let mut wake_ms: Option<u64> = None;
        let mut due = |until_ms: u64| wake_ms = Some(wake_ms.map_or(until_ms, |wake_ms| wake_ms.min(until_ms)));
        for id in self.builds.keys().copied().collect::<Vec<_>>() {
            for _ in 0..STEPS_IN_A_ROW_MAX {
                let now_ms = self.now_ms();
                let Some(progress) = self.builds.get_mut(&id) else { break };
                let age = state.builds.get(&id).map_or(Duration::ZERO, |build| age(build.requested_time_ms));
                planner.see(state, &id, progress, now_ms, age.as_millis() as u64);
                match planner.next_step(state, &id, progress, now_ms) {
                    Step::Wait { until_ms } => {
                        due(until_ms);
                        break;
                    }
                    Step::Idle => break,
                    Step::Done => {
                        self.forget(state, id).await;
                        break;
                    }
                    step => self.take(state, id, step).await,
                }
            }
            self.show(state, &id);
        }
        // What was just proposed is looked at again by the change of the ledger it makes, or when it is due again.
        if self.builds.values().any(|progress| !progress.proposed_ms.is_empty()) {
            due(self.now_ms() + PROPOSE_AGAIN_AFTER.as_millis() as u64);
        }
        let now_ms = self.now_ms();
        if let Some(until_ms) = self.leftovers.clear(state, now_ms).await {
            due(until_ms);
        }
        wake_ms.map(|wake_ms| self.started + Duration::from_millis(wake_ms))
    }

    async fn take(&mut self, state: &Projections, id: BuildId, step: Step) {
        match step {
            Step::Run => self.start(state, id),
            Step::Seal => self.seal(id).await,
            Step::Commit => self.commit(state, id).await,
            Step::Reveal => self.reveal(id).await,
            Step::EndWait(phase) => {
                let event = Event::BuildWaitEnded(BuildWaitEnded { build_id: id, phase });
                self.propose(id, Fact::WaitEnded(phase), event).await;
            }
            Step::CheckCandidate(candidate) => self.check_candidate(state, id, candidate),
            Step::Vouch { candidate, verdict } => {
                let event = Event::BuildCandidateVouched(BuildCandidateVouched { build_id: id, candidate, verdict });
                self.propose(id, Fact::Vouch(candidate), event).await;
            }
            Step::Compare => self.compare(state, id),
            Step::Dispute(report) => {
                let event = Event::BuildDisputed(BuildDisputed { build_id: id, report });
                self.propose(id, Fact::Dispute, event).await;
            }
            Step::Publish(events) => self.publish(id, events).await,
            Step::Wait { .. } | Step::Idle | Step::Done => {}
        }
    }

    fn start(&mut self, state: &Projections, id: BuildId) {
        let Some(build) = state.builds.get(&id) else { return };
        let order = Order {
            id,
            coordinate: build.coordinate.clone(),
            verifier: build.verifier,
            source: state.builds.source(&id).cloned(),
        };
        tracing::info!(
            "Build with ID {id} has been started for package type {} and package specific ID {}",
            order.coordinate.package_type.capitalised(),
            order.coordinate.id
        );
        self.runner.progress.enter(&id, LocalPhase::Queued);
        if let Some(progress) = self.builds.get_mut(&id) {
            progress.running = true;
        }
        let runner = self.runner.clone();
        let coordinate = &order.coordinate;
        let span = tracing::info_span!(
            parent: None, "build", build_id = %id, package_type = %coordinate.package_type, package = %coordinate.id
        );
        let run = async move { Ended::Run(runner.run(&order).await) };
        let run = self.work.spawn(run.instrument(span));
        self.working.insert(run.id(), Working { id, kind: Kind::Run, abort: run });
    }

    fn check_candidate(&mut self, state: &Projections, id: BuildId, candidate: Sha256Digest) {
        // Bytes of the candidate before that come slowly, or never, keep nobody from this one.
        self.working.retain(|_, working| {
            let is_over = working.id == id && working.kind == Kind::Vouch;
            if is_over {
                working.abort.abort();
            }
            !is_over
        });
        let Some(progress) = self.builds.get_mut(&id) else { return };
        progress.vouching = Vouching { candidate: Some(candidate), verdict: Work::UnderWay };
        let Some((case, build)) = Case::of(state, &id, progress.sealed.clone()).zip(judge::candidate(state, &id)) else { return };
        self.runner.progress.enter(&id, LocalPhase::Vouching);
        let judge = self.judge.clone();
        let span = tracing::info_span!(parent: None, "vouch", build_id = %id, candidate = %candidate);
        let work = async move { Ended::Vouched(judge.vouch(&case, &build).await) };
        let work = self.work.spawn(work.instrument(span));
        self.working.insert(work.id(), Working { id, kind: Kind::Vouch, abort: work });
    }

    fn compare(&mut self, state: &Projections, id: BuildId) {
        let Some(progress) = self.builds.get_mut(&id) else { return };
        progress.report = Work::UnderWay;
        let Some(case) = Case::of(state, &id, progress.sealed.clone()) else { return };
        let groups = judge::groups(state, &id);
        self.runner.progress.enter(&id, LocalPhase::Comparing);
        let judge = self.judge.clone();
        let work = async move { Ended::Compared(judge.compare(&case, &groups).await) };
        let work = self.work.spawn(work.instrument(tracing::info_span!(parent: None, "compare", build_id = %id)));
        self.working.insert(work.id(), Working { id, kind: Kind::Compare, abort: work });
    }

    fn ended(&mut self, ended: Result<(task::Id, Ended), JoinError>) {
        let task = match &ended {
            Ok((task, _)) => *task,
            Err(crash) => crash.id(),
        };
        // What was aborted, whatever it has come to, is not asked for.
        let Some(Working { id, kind, .. }) = self.working.remove(&task) else { return };
        let ended = ended.map(|(_, ended)| ended);
        if let Err(crash) = &ended {
            tracing::error!(build_id = %id, error = %crash, "work of this node for a build crashed");
        }
        let Some(progress) = self.builds.get_mut(&id) else { return };
        let crashed = || "it crashed on this node: its log says more".to_owned();
        match (kind, ended.ok()) {
            (_, Some(Ended::Run(run))) => {
                progress.running = false;
                progress.run_began_ms = run.as_ref().map(|run| run.began.duration_since(self.started).as_millis() as u64);
                progress.result = run.map(|run| run.result);
            }
            (_, Some(Ended::Vouched(verdict))) => progress.vouching.verdict = Work::Done(verdict),
            (_, Some(Ended::Compared(report))) => progress.report = Work::Done(report),
            (Kind::Run, None) => (progress.running, progress.result) = (false, Some(RunResult::abstained(crashed()))),
            (Kind::Vouch, None) => progress.vouching.verdict = Work::Done(Vouch::Unavailable { reason: crashed() }),
            // Another judge reports; this one has nothing to say.
            (Kind::Compare, None) => progress.refused_for_good(Fact::Dispute),
        }
    }

    async fn seal(&mut self, id: BuildId) {
        let Some(result) = self.builds.get_mut(&id).and_then(|progress| progress.result.take()) else { return };
        let seals = self.seals.clone();
        let sealed = task::spawn_blocking(move || seals.seal(&id, result)).await.map_err(std::io::Error::other);
        let Some(progress) = self.builds.get_mut(&id) else { return };
        match sealed.and_then(|sealed| sealed) {
            Ok(sealed) => progress.sealed = Some(Arc::new(sealed)),
            Err(error) => {
                tracing::error!(build_id = %id, %error, "this node cannot keep its result and is silent about the build");
                progress.seal_lost = true;
            }
        }
    }

    async fn commit(&mut self, state: &Projections, id: BuildId) {
        let Some(sealed) = self.builds.get(&id).and_then(|progress| progress.sealed.clone()) else { return };
        let commitment = sealed.commitment(state.network(), &id, &self.me);
        let event = Event::BuildResultCommitted(BuildResultCommitted { build_id: id, commitment });
        self.propose(id, Fact::Commitment, event).await;
    }

    async fn reveal(&mut self, id: BuildId) {
        let Some(sealed) = self.builds.get(&id).and_then(|progress| progress.sealed.clone()) else { return };
        let (outcome, salt) = (sealed.result.outcome.clone(), sealed.salt);
        let event = Event::BuildResultRevealed(BuildResultRevealed { build_id: id, outcome: outcome.into(), salt });
        self.propose(id, Fact::Reveal, event).await;
    }

    async fn propose(&mut self, id: BuildId, fact: Fact, event: Event) {
        let proposed = self.consensus.propose(event).await;
        let now_ms = self.now_ms();
        let Some(progress) = self.builds.get_mut(&id) else { return };
        progress.proposed_ms.insert(fact, now_ms);
        match proposed {
            Ok(_) => {}
            Err(ProposeError::Refused(refusal)) if refusal.is_for_good() => {
                tracing::debug!(build_id = %id, ?fact, %refusal, "the ledger does not take it");
                progress.refused(fact);
            }
            Err(error) => tracing::warn!(build_id = %id, ?fact, %error, "it is proposed again later"),
        }
    }

    async fn publish(&mut self, id: BuildId, events: Vec<AddArtifact>) {
        let total = events.len();
        for event in &events {
            tracing::info!(
                "Adding artifact to transparency log: package type {}, package specific ID {}, artifact {} with hash {} ({total} to add)",
                event.coordinate.package_type.capitalised(),
                event.coordinate.id,
                event.artifact.artifact_id,
                event.artifact.sha256
            );
        }
        // All at once, in their order, so that one block can take them.
        let proposed = join_all(events.into_iter().map(|event| self.consensus.propose(Event::AddArtifact(event)))).await;
        for error in proposed.into_iter().filter_map(Result::err) {
            tracing::debug!(build_id = %id, %error, "an artifact is not added by this node");
        }
        let now_ms = self.now_ms();
        if let Some(progress) = self.builds.get_mut(&id) {
            progress.proposed_ms.insert(Fact::Publication, now_ms);
        }
    }

    /// Keeps what is shown of this node's work in step with the ledger.
    fn show(&self, state: &Projections, id: &BuildId) {
        let shown = &self.runner.progress;
        let Some(progress) = self.builds.get(id) else { return shown.forget(id) };
        let is_judging = progress.vouching.verdict == Work::UnderWay || progress.report == Work::UnderWay;
        if progress.running || is_judging {
            return;
        }
        if state.builds.result(id, &self.me).is_some() {
            shown.forget(id);
        } else if state.builds.commitment(id, &self.me).is_some() {
            shown.enter(id, LocalPhase::Committed);
        } else if progress.sealed.is_some() {
            shown.enter(id, LocalPhase::Reporting);
        }
    }

    async fn forget(&mut self, state: &Projections, id: BuildId) {
        let judged = state.builds.get(&id).filter(|build| build.judges.contains(&self.me));
        match judged.map(|build| &build.status) {
            Some(BuildStatus::Published { height }) => {
                tracing::info!("Transparency Log for build with ID {id} successfully created in block {height}");
                for artifact in state.builds.chosen(&id).map(|(_, artifacts)| artifacts).unwrap_or_default() {
                    if self.runner.store.contains(&artifact.sha256) {
                        self.p2p.provide(artifact.sha256).await;
                    }
                }
            }
            Some(BuildStatus::Failed) => tracing::warn!("Build with ID {id} failed: most judges could not build it"),
            Some(BuildStatus::Disputed { .. }) => {
                tracing::warn!("Build with ID {id} is disputed: the judges got different results");
                self.leftovers.clear_foreign(state, &id, &self.me).await;
            }
            _ => {}
        }
        self.builds.remove(&id);
        self.runner.progress.forget(&id);
        self.runner.notes.remove(&id);
        self.seals.remove(&id);
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

/// How long ago a build was requested, by the wall clock.
fn age(requested_time_ms: u64) -> Duration {
    (UNIX_EPOCH + Duration::from_millis(requested_time_ms)).elapsed().unwrap_or_default()
}
