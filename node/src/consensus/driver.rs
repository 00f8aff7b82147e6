//! The thread that owns the replica and its block log, and the handle that everybody else holds.
//!
//! A plain thread, because the block log blocks: nothing here shares a thread with the network. It turns bounded queues into
//! the replica's inputs, keeps its timers, and carries its outputs to the network and to whoever watches the ledger. A queue
//! that is full drops frames: agreement survives losses, and everything lost is said again.

use super::inbox::{Frame, Inbox, Sender};
use super::message::Message;
use super::replica::{ConsensusConfig, ConsensusView, FoundError, Output, ProposeError, Replica, ReplicaError, SubmitError};
use super::store::NodeStore;
use super::timer::Timer;
use ed25519_dalek::SigningKey;
use pyrsia_ledger::projection::{DoBoth, one_after_the_other};
use pyrsia_ledger::signed::node_id_of;
use pyrsia_ledger::{Event, EventId, Height, NetworkId, NodeId, Projections, SealedBlock, SignedEvent};
use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, error};

/// The most proposals that share one flush: the artifacts of a build.
const PROPOSALS_AT_ONCE_MAX: usize = 256;
/// The most calls of this node that wait for the replica.
const QUEUED_CALLS_MAX: usize = 256;
/// Callers whose blocks are read at the same time: reading is work for the thread that also agrees on blocks.
const READERS_MAX: usize = 1;
/// How often the replica looks after what nobody reminds it of.
const TICK: Duration = Duration::from_millis(250);

/// What the network has to carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// To every connected peer.
    Broadcast(Vec<u8>),
    Send(NodeId, Vec<u8>),
}

/// The ledger as this node knows it; no state before it follows a network.
#[derive(Clone, Debug, Default)]
pub struct LedgerView {
    pub state: Option<Arc<Projections>>,
    /// What this node signed up to this height it may have forgotten: it must not commit to a result of a build that was requested
    /// there or below, because it may have committed to another one. None while it knows everything it signed.
    pub forgotten_until: Option<Height>,
}

/// How the consensus of this node is doing, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsensusCounters {
    pub malformed_frames: u64,
    pub dropped_frames: u64,
    pub dropped_outgoing: u64,
    pub equivocations: u64,
}

#[derive(Debug, Default)]
struct Counters {
    malformed_frames: AtomicU64,
    dropped_frames: AtomicU64,
    dropped_outgoing: AtomicU64,
    equivocations: AtomicU64,
}

type ProposeReply = oneshot::Sender<Result<EventId, ProposeError>>;

enum Call {
    Propose(Box<Event>, ProposeReply),
    Submit(Box<SignedEvent>, oneshot::Sender<Result<EventId, SubmitError>>),
    Found { name: String, nonce: [u8; 32], reply: oneshot::Sender<Result<NetworkId, FoundError>> },
    Blocks { from: Height, bytes_max: usize, reply: oneshot::Sender<Vec<SealedBlock>> },
    PeerLost(NodeId),
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    #[error("the consensus thread does not start")]
    Thread(#[source] std::io::Error),
}

/// Why a running consensus ended.
#[derive(Debug, thiserror::Error)]
pub enum ConsensusFailure {
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    #[error("the consensus thread panicked")]
    Panicked,
}

/// Asks the replica; a cheap clone.
#[derive(Clone)]
pub struct ConsensusHandle {
    id: NodeId,
    calls: mpsc::Sender<Call>,
    frames: Arc<Inbox>,
    readers: Arc<Semaphore>,
    view: watch::Receiver<Arc<LedgerView>>,
    progress: watch::Receiver<Arc<ConsensusView>>,
    counters: Arc<Counters>,
}

impl ConsensusHandle {
    pub fn node_id(&self) -> NodeId {
        self.id
    }

    pub fn view(&self) -> Arc<LedgerView> {
        self.view.borrow().clone()
    }

    /// Changes with every block; ends when the consensus does.
    pub fn watch(&self) -> watch::Receiver<Arc<LedgerView>> {
        self.view.clone()
    }

    /// Builds requested up to this height are not committed to by this node: see [`LedgerView::forgotten_until`].
    pub fn silent_to(&self) -> Option<Height> {
        self.view.borrow().forgotten_until
    }

    /// How agreement is doing, a moment ago.
    pub fn progress(&self) -> Arc<ConsensusView> {
        self.progress.borrow().clone()
    }

    pub fn counters(&self) -> ConsensusCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ConsensusCounters {
            malformed_frames: read(&self.counters.malformed_frames),
            dropped_frames: read(&self.counters.dropped_frames),
            dropped_outgoing: read(&self.counters.dropped_outgoing),
            equivocations: read(&self.counters.equivocations),
        }
    }

    /// The frame that a freshly connected peer is told first: how far this node is.
    pub fn hello(&self) -> Vec<u8> {
        let view = self.view();
        let state = view.state.as_deref();
        let (network, height) = (state.map(|state| *state.network()), state.map(Projections::height));
        Message::Status { network, height }.encode()
    }

    /// Signs a fact of this node and sees to it that it reaches a block. Accepted means kept on disk; whether and when it
    /// stands on the ledger shows in [`ConsensusHandle::watch`].
    pub async fn propose(&self, event: Event) -> Result<EventId, ProposeError> {
        self.ask(|reply| Call::Propose(Box::new(event), reply)).await.unwrap_or(Err(ProposeError::Stopped))
    }

    /// Takes an event that another node signed, and passes it on.
    pub async fn submit_foreign(&self, event: SignedEvent) -> Result<EventId, SubmitError> {
        let asked = self.ask(|reply| Call::Submit(Box::new(event), reply)).await;
        asked.unwrap_or(Err(ProposeError::Stopped.into()))
    }

    /// Founds a network; says its id when this node has founded it before.
    pub async fn found(&self, name: String) -> Result<NetworkId, FoundError> {
        let mut nonce = [0; 32];
        if let Err(error) = getrandom::fill(&mut nonce) {
            return Err(FoundError::Refused(format!("the system has no random numbers: {error}")));
        }
        self.ask(|reply| Call::Found { name, nonce, reply }).await.unwrap_or(Err(FoundError::Stopped))
    }

    /// Blocks from `from` on, as many as fit, but one where there is one. None when the node is stopping.
    pub async fn blocks(&self, from: Height, bytes_max: usize) -> Vec<SealedBlock> {
        let _reader = self.readers.acquire().await;
        self.ask(|reply| Call::Blocks { from, bytes_max, reply }).await.unwrap_or_default()
    }

    /// Hands over a frame of a peer. Never waits: drops it when too much of that peer waits already.
    pub async fn deliver(&self, from: NodeId, message: Vec<u8>) {
        let is_validator = self.view().state.as_deref().is_some_and(|state| state.is_validator(&from));
        let sender = if is_validator { Sender::Validator } else { Sender::Other };
        // A stopped replica takes nothing.
        if self.calls.is_closed() || !self.frames.push(sender, Frame { from, bytes: message }) {
            self.counters.dropped_frames.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says that a peer is gone, so that no answer of it is waited for.
    pub async fn peer_lost(&self, peer: NodeId) {
        // A stopping node waits for nobody.
        let _ = self.calls.send(Call::PeerLost(peer)).await;
    }

    async fn ask<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(call(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// The running thread. It ends when this is dropped; only [`ConsensusTask::stop`] waits for the end.
pub struct ConsensusTask {
    stop: DropGuard,
    ended: oneshot::Receiver<Result<(), ReplicaError>>,
    thread: std::thread::JoinHandle<()>,
}

impl ConsensusTask {
    /// Waits until the consensus ends by itself, which it does only when something is broken.
    pub async fn failed(&mut self) -> ConsensusFailure {
        match (&mut self.ended).await {
            Ok(Err(error)) => error.into(),
            Ok(Ok(())) => std::future::pending().await,
            Err(_) => ConsensusFailure::Panicked,
        }
    }

    /// Stops the thread and waits for its end; what was accepted is on disk.
    pub async fn stop(self) -> Result<(), ConsensusFailure> {
        drop(self.stop);
        let ended = self.ended.await;
        // The thread says that it ended as its last act, so this does not wait.
        let joined = self.thread.join();
        match (ended, joined) {
            (Ok(Ok(())), Ok(())) => Ok(()),
            (Ok(Err(error)), _) => Err(error.into()),
            (Err(_), _) | (_, Err(_)) => Err(ConsensusFailure::Panicked),
        }
    }
}

pub struct Consensus;

impl Consensus {
    /// Starts the replica of `key` on an opened store and the state that its blocks fold to.
    pub fn start(
        key: SigningKey,
        store: NodeStore,
        state: Option<Projections>,
        config: ConsensusConfig,
        outgoing: mpsc::Sender<Outgoing>,
    ) -> Result<(ConsensusHandle, ConsensusTask), StartError> {
        let id = node_id_of(&key);
        let replica = Replica::open(key, config, store, state, now_ms())?;
        let (calls, call_queue) = mpsc::channel(QUEUED_CALLS_MAX);
        let frames = Arc::new(Inbox::default());
        let forgotten_until = replica.memory().forgotten_until();
        let (view_sender, view) = watch::channel(Arc::new(LedgerView { state: replica.state().cloned(), forgotten_until }));
        let (progress_sender, progress) = watch::channel(Arc::new(replica.view()));
        let counters = Arc::new(Counters::default());
        let stop = CancellationToken::new();
        let driver = Driver {
            replica,
            timers: BTreeMap::new(),
            outgoing,
            view: view_sender,
            progress: progress_sender,
            counters: counters.clone(),
            calls: call_queue,
            frames: frames.clone(),
            stop: stop.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(StartError::Thread)?;
        let (ended_sender, ended) = oneshot::channel();
        let run = move || {
            let result = runtime.block_on(driver.run());
            if let Err(error) = &result {
                error!(error = %error, "the ledger of this node is broken, consensus stops");
            }
            // Nobody may be waiting.
            let _ = ended_sender.send(result);
        };
        let thread = std::thread::Builder::new().name("consensus".into()).spawn(run).map_err(StartError::Thread)?;
        let readers = Arc::new(Semaphore::new(READERS_MAX));
        let handle = ConsensusHandle { id, calls, frames, readers, view, progress, counters };
        Ok((handle, ConsensusTask { stop: stop.drop_guard(), ended, thread }))
    }
}

fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// The signatures on a thread of their own, or after the rest when there is none to be had.
fn side_by_side(signatures: &mut (dyn FnMut() + Send), rest: &mut dyn FnMut()) {
    let has_thread = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("signatures".into()).spawn_scoped(scope, &mut *signatures);
        rest();
        thread.is_ok()
    });
    if !has_thread {
        signatures();
    }
}

struct Driver {
    replica: Replica<NodeStore>,
    timers: BTreeMap<Timer, Instant>,
    outgoing: mpsc::Sender<Outgoing>,
    view: watch::Sender<Arc<LedgerView>>,
    progress: watch::Sender<Arc<ConsensusView>>,
    counters: Arc<Counters>,
    calls: mpsc::Receiver<Call>,
    frames: Arc<Inbox>,
    stop: CancellationToken,
}

impl Driver {
    async fn run(mut self) -> Result<(), ReplicaError> {
        self.carry_out();
        let mut next_tick = Instant::now();
        let do_both: DoBoth = if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
            side_by_side
        } else {
            one_after_the_other
        };
        loop {
            // However much waits, the clock of the runtime goes on.
            tokio::task::yield_now().await;
            let timer = self.timers.iter().min_by_key(|(_, at)| **at).map(|(timer, at)| (*timer, *at));
            let due = timer.map_or(next_tick, |(_, at)| at.min(next_tick));
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                // Timers come before frames: a flood of frames must not stop the clock.
                () = tokio::time::sleep_until(due) => match timer {
                    Some((timer, at)) if at <= Instant::now() => {
                        self.timers.remove(&timer);
                        self.replica.on_timer(now_ms(), timer)?;
                    }
                    _ => {
                        next_tick = Instant::now() + TICK;
                        self.replica.tick(now_ms())?;
                        self.show_progress();
                    }
                },
                Some(call) = self.calls.recv() => self.answer(call)?,
                // What was received waits for no further frame: at most one answer is ever kept.
                () = ready(()), if self.replica.has_received() => self.replica.follow_next(now_ms(), do_both)?,
                frame = self.frames.next() => self.take(frame)?,
            }
            self.carry_out();
        }
    }

    fn take(&mut self, frame: Frame) -> Result<(), ReplicaError> {
        match Message::decode(&frame.bytes) {
            Ok(message) => self.replica.on_message(now_ms(), frame.from, message),
            Err(error) => {
                self.counters.malformed_frames.fetch_add(1, Ordering::Relaxed);
                debug!(peer = %frame.from, %error, "dropped a frame");
                Ok(())
            }
        }
    }

    /// Whoever asked may have gone; then the answer is of no use to anybody.
    fn answer(&mut self, call: Call) -> Result<(), ReplicaError> {
        match call {
            Call::Propose(event, reply) => self.propose(*event, reply)?,
            Call::Submit(event, reply) => {
                let answer = self.replica.submit(now_ms(), *event)?;
                let _ = reply.send(answer);
            }
            Call::Found { name, nonce, reply } => {
                let answer = self.replica.found(now_ms(), &name, nonce)?;
                // The founder sees its network before it hears of it.
                self.carry_out();
                let _ = reply.send(answer);
            }
            Call::Blocks { from, bytes_max, reply } => {
                let blocks = self.replica.blocks(from, bytes_max)?;
                let _ = reply.send(blocks);
            }
            Call::PeerLost(peer) => self.replica.on_peer_disconnected(now_ms(), &peer)?,
        }
        Ok(())
    }

    /// Proposes an event together with all that wait right behind it, so that they share one flush.
    fn propose(&mut self, event: Event, reply: ProposeReply) -> Result<(), ReplicaError> {
        let (mut events, mut replies, mut other) = (vec![event], vec![reply], None);
        while other.is_none() && events.len() < PROPOSALS_AT_ONCE_MAX {
            match self.calls.try_recv() {
                Ok(Call::Propose(event, reply)) => {
                    events.push(*event);
                    replies.push(reply);
                }
                Ok(call) => other = Some(call),
                Err(_) => break,
            }
        }
        let answers = self.replica.propose_events(now_ms(), events)?;
        for (reply, answer) in replies.into_iter().zip(answers) {
            let _ = reply.send(answer);
        }
        other.map_or(Ok(()), |call| self.answer(call))
    }

    fn carry_out(&mut self) {
        for output in self.replica.take_outputs() {
            match output {
                Output::Broadcast(message) => self.send(Outgoing::Broadcast(message.encode())),
                Output::Send(to, message) => self.send(Outgoing::Send(to, message.encode())),
                Output::SetTimer { timer, after_ms } => {
                    self.timers.insert(timer, Instant::now() + Duration::from_millis(after_ms));
                }
                Output::CancelTimer(timer) => {
                    self.timers.remove(&timer);
                }
                Output::CancelRoundTimers => self.timers.retain(|timer, _| *timer == Timer::Linger),
                Output::Committed { sealed, state } => {
                    debug!(height = %sealed.height(), events = sealed.block.events.len(), "block");
                    let forgotten_until = self.replica.memory().forgotten_until();
                    self.view.send_replace(Arc::new(LedgerView { state: Some(state), forgotten_until }));
                }
                Output::Equivocation(_) => {
                    self.counters.equivocations.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Tells how agreement is doing, and wakes who waits for this node to know what it may have signed.
    fn show_progress(&self) {
        let now = self.replica.view();
        self.progress.send_if_modified(|shown| {
            let is_other = **shown != now;
            if is_other {
                *shown = Arc::new(now);
            }
            is_other
        });
        let forgotten_until = self.replica.memory().forgotten_until();
        self.view.send_if_modified(|view| {
            let is_other = view.forgotten_until != forgotten_until;
            if is_other {
                *view = Arc::new(LedgerView { state: view.state.clone(), forgotten_until });
            }
            is_other
        });
    }

    fn send(&self, message: Outgoing) {
        if self.outgoing.try_send(message).is_err() {
            self.counters.dropped_outgoing.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
