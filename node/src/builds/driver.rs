//! The task that takes this node's builds from the request on the ledger to the publication, step by step.
//!
//! It owns the runs and what was proposed for each build; what to do is decided by [`super::plan`]. Everything it knows
//! can be lost: after a restart the ledger and the notes lead to the same steps.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures::future::join_all;
use pyrsia_ledger::event::{AddArtifact, BuildOutcome, BuildResultReported};
use pyrsia_ledger::projection::builds::BuildStatus;
use pyrsia_ledger::{BuildId, Event, NodeId, Projections};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::notes::Note;
use super::plan::{Progress, Step, next_step};
use super::run::{Order, Runner};
use super::view::LocalPhase;
use crate::consensus::{ConsensusHandle, ProposeError};
use crate::p2p::P2pHandle;

/// A build that was requested so long ago may be settled in blocks that this node has not caught up with.
const OLD_REQUEST: Duration = Duration::from_secs(60);
/// How long such a build is left alone.
const CATCH_UP_WAIT: Duration = Duration::from_secs(5);

pub(super) struct Driver {
    me: NodeId,
    consensus: ConsensusHandle,
    p2p: P2pHandle,
    runner: Arc<Runner>,
    builds: BTreeMap<BuildId, Progress>,
    runs: JoinSet<Option<BuildOutcome>>,
    running: HashMap<task::Id, BuildId>,
    started: Instant,
}

impl Driver {
    pub(super) fn new(me: NodeId, consensus: ConsensusHandle, p2p: P2pHandle, runner: Arc<Runner>) -> Self {
        Self {
            me,
            consensus,
            p2p,
            runner,
            builds: BTreeMap::new(),
            runs: JoinSet::new(),
            running: HashMap::new(),
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
                Some(ended) = self.runs.join_next_with_id() => self.ended(ended),
                () = sleep_until(wake) => {}
            }
        }
        self.runs.shutdown().await;
    }

    /// What was reported before a restart is given time to stand in a block before the build runs again.
    fn recall(&mut self) {
        match self.runner.notes.all() {
            Ok(notes) => {
                for (id, note) in notes {
                    let reported_ms = note.reported.then(|| self.now_ms());
                    self.builds.insert(id, Progress { reported_ms, ..Progress::default() });
                }
            }
            Err(error) => tracing::warn!(%error, "what was remembered of running builds cannot be read"),
        }
    }

    /// Takes every step that can be taken; returns when to look again even if nothing happens.
    async fn take_steps(&mut self, state: &Projections) -> Option<Instant> {
        for (id, build) in state.builds.unfinished() {
            if build.judges.contains(&self.me) {
                let now_ms = self.now_ms();
                let run_after_ms = now_ms + if is_old(build.requested_time_ms) { CATCH_UP_WAIT.as_millis() as u64 } else { 0 };
                let progress = self.builds.entry(*id).or_insert(Progress { run_after_ms, ..Progress::default() });
                if matches!(build.status, BuildStatus::Agreed { .. }) {
                    progress.agreed_ms.get_or_insert(now_ms);
                }
            }
        }
        let mut wake_ms: Option<u64> = None;
        for id in self.builds.keys().copied().collect::<Vec<_>>() {
            if state.builds.result(&id, &self.me).is_some() {
                self.runner.progress.forget(&id);
            }
            let now_ms = self.now_ms();
            match next_step(state, self.me, &id, &self.builds[&id], now_ms) {
                Step::Run => self.start(state, id),
                Step::Report(outcome) => self.report(id, outcome).await,
                Step::Publish(events) => self.publish(id, events).await,
                Step::Wait { until_ms } => wake_ms = Some(wake_ms.map_or(until_ms, |wake_ms| wake_ms.min(until_ms))),
                Step::Idle => {}
                Step::Done => self.forget(state, id).await,
            }
        }
        // What was just proposed is looked at again by the change of the ledger it makes, or when it is due again.
        let proposed = self.builds.values().any(|progress| progress.reported_ms.is_some() || progress.published_ms.is_some());
        if wake_ms.is_none() && proposed {
            wake_ms = Some(self.now_ms() + super::plan::PROPOSE_AGAIN_AFTER.as_millis() as u64);
        }
        wake_ms.map(|wake_ms| self.started + Duration::from_millis(wake_ms))
    }

    fn start(&mut self, state: &Projections, id: BuildId) {
        let Some(build) = state.builds.get(&id) else { return };
        let order = Order { id, coordinate: build.coordinate.clone(), verifier: build.verifier };
        tracing::info!(
            "Build with ID {id} has been started for package type {} and package specific ID {}",
            order.coordinate.package_type.capitalised(),
            order.coordinate.id
        );
        self.runner.progress.enter(&id, LocalPhase::Queued);
        if let Some(progress) = self.builds.get_mut(&id) {
            *progress = Progress { running: true, ..Progress::default() };
        }
        let runner = self.runner.clone();
        let run = self.runs.spawn(async move { runner.run(&order).await });
        self.running.insert(run.id(), id);
    }

    fn ended(&mut self, ended: Result<(task::Id, Option<BuildOutcome>), JoinError>) {
        let (task, outcome) = ended.unwrap_or_else(|crash| {
            tracing::error!(error = %crash, "a build of this node crashed");
            let reason = "the build crashed on this node: its log says more".into();
            (crash.id(), Some(BuildOutcome::Abstained { reason }))
        });
        if let Some(progress) = self.running.remove(&task).and_then(|id| self.builds.get_mut(&id)) {
            (progress.running, progress.outcome) = (false, outcome);
        }
    }

    async fn report(&mut self, id: BuildId, outcome: BuildOutcome) {
        self.runner.progress.enter(&id, LocalPhase::Reporting);
        let event = Event::BuildResultReported(BuildResultReported { build_id: id, outcome: outcome.clone() });
        let proposed = self.consensus.propose(event).await;
        let now_ms = self.now_ms();
        let Some(progress) = self.builds.get_mut(&id) else { return };
        progress.reported_ms = Some(now_ms);
        match proposed {
            Ok(_) => {
                let note = Note { reported: true, ..self.runner.notes.get(&id).unwrap_or_default() };
                if let Err(error) = self.runner.notes.put(&id, &note) {
                    tracing::warn!(build_id = %id, %error, "the report is not remembered across a restart");
                }
            }
            Err(ProposeError::Refused(refusal)) if refusal.is_for_good() => {
                tracing::debug!(build_id = %id, %refusal, "the result is not reported");
                progress.refused(outcome, &refusal, now_ms);
            }
            Err(error) => tracing::warn!(build_id = %id, %error, "the result is reported later"),
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
            progress.published_ms = Some(now_ms);
        }
    }

    async fn forget(&mut self, state: &Projections, id: BuildId) {
        match state.builds.get(&id).map(|build| &build.status) {
            Some(BuildStatus::Published { height }) => {
                tracing::info!("Transparency Log for build with ID {id} successfully created in block {height}");
                for artifact in state.builds.chosen(&id).map(|(_, artifacts)| artifacts).unwrap_or_default() {
                    if self.runner.store.contains(&artifact.sha256) {
                        self.p2p.provide(artifact.sha256).await;
                    }
                }
            }
            Some(BuildStatus::Failed) => tracing::warn!("Build with ID {id} failed: most judges could not build it"),
            Some(BuildStatus::Disputed) => tracing::warn!("Build with ID {id} is disputed: the judges got different results"),
            _ => {}
        }
        self.builds.remove(&id);
        self.runner.progress.forget(&id);
        self.runner.notes.remove(&id);
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

fn is_old(requested_time_ms: u64) -> bool {
    let requested = UNIX_EPOCH + Duration::from_millis(requested_time_ms);
    requested.elapsed().is_ok_and(|elapsed| elapsed > OLD_REQUEST)
}
