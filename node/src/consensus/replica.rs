//! The replica: what one node does about the ledger, as a plain struct.
//!
//! Inputs are messages, elapsed timers, events, peers that come and go, and a tick; outputs are messages, timers and decided
//! blocks. It owns the store and the state and has no clock, socket, thread or `async`: time is an argument. The driver runs
//! one on a thread, the simulator runs thousands. It holds no rule of the ledger: validity is [`Projections::apply`].
//!
//! The same struct serves validators and regular nodes. A regular node follows blocks and passes events on; a validator also
//! agrees on the next block. A replica may begin empty and adopts the network of the first peer whose genesis verifies.

mod accusations;
mod agreement;
mod catch_up;
mod committee;
mod events;
mod follow;
mod mempool;
mod own_events;
mod serving;
mod silence;
mod statements;
mod view;

pub use committee::AbsentValidator;
pub use events::{ProposeError, SubmitError};
pub use mempool::{MEMPOOL_AUTHOR_EVENTS_MAX, MEMPOOL_EVENTS_MAX};
pub use silence::Silence;
pub use view::{ConsensusView, RunningHeight};

use super::engine::{Engine, EngineError};
use super::memory::{AfterLoss, Memory, MemoryError};
use super::message::Message;
use super::store::Store;
use super::timer::{Timeouts, Timer};
use accusations::Accusations;
use catch_up::CatchUp;
use committee::Committee;
use ed25519_dalek::SigningKey;
use follow::Received;
use mempool::Mempool;
use own_events::OwnEvents;
use pyrsia_ledger::log::LogError;
use pyrsia_ledger::projection::{BlockError, DoBoth, genesis};
use pyrsia_ledger::signed::{DecodeError, node_id_of};
use pyrsia_ledger::{Block, BlockHash, BlockId, EventId, Height, NetworkId, NodeId, Projections, SealedBlock, SignedEvent};
use serving::Serving;
use silence::Inquiry;
use statements::Statements;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How often everybody is told how far this node is, so that nobody stays behind because of a lost message.
const STATUS_INTERVAL_MS: u64 = 10_000;
/// How often own events that no block has taken are sent again.
const EVENTS_INTERVAL_MS: u64 = 3_000;
/// How far the time of a block may be ahead of the clock of whoever votes for it.
const BLOCK_TIME_AHEAD_MAX_MS: u64 = 10 * 60 * 1_000;

/// How the node takes part. None of this is a rule: nodes may differ in it.
#[derive(Clone, Debug)]
pub struct ConsensusConfig {
    pub timeouts: Timeouts,
    /// How long the first event of a height waits for others.
    pub linger_ms: u64,
    /// The only network to adopt; none takes the first one met.
    pub pinned_network: Option<NetworkId>,
    /// What a validator does that lost its ledger.
    pub after_loss: AfterLoss,
    /// How far ahead of its own clock the node lets a proposer move the time of the ledger.
    pub block_time_ahead_max_ms: u64,
}

impl Default for ConsensusConfig {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            linger_ms: 20,
            pinned_network: None,
            after_loss: AfterLoss::default(),
            block_time_ahead_max_ms: BLOCK_TIME_AHEAD_MAX_MS,
        }
    }
}

/// How a block came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This node founded the network or took part in the decision.
    Decided,
    /// A peer sent it.
    Followed,
}

/// What the world has to do for the replica.
#[derive(Clone, Debug)]
pub(super) enum Output {
    /// To every connected peer; each decides for itself what it has use for.
    Broadcast(Message),
    Send(NodeId, Message),
    SetTimer {
        timer: Timer,
        after_ms: u64,
    },
    CancelTimer(Timer),
    /// All timers but [`Timer::Linger`].
    CancelRoundTimers,
    Committed {
        sealed: Arc<SealedBlock>,
        state: Arc<Projections>,
    },
    /// A node was caught contradicting itself.
    Equivocation(NodeId),
}

#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    #[error("this folder follows network {network}, which {founder} founded")]
    OtherNetwork { network: NetworkId, founder: NodeId },
    #[error("the configuration pins network {0}, which cannot be founded anew")]
    Pinned(NetworkId),
    #[error("the network was not founded: {0}")]
    Refused(String),
    #[error("the node is stopping")]
    Stopped,
}

/// What is broken here. The node must stop: it could contradict what it has said.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error("an own event in the outbox is damaged")]
    Outbox(#[source] DecodeError),
    #[error("a quorum decided on a block at height {height} that is not valid")]
    DecidedInvalid {
        height: Height,
        #[source]
        source: BlockError,
    },
    #[error("a quorum decided on a block at height {height} that this node never had")]
    DecidedUnknown { height: Height },
}

/// A block that may be decided; `next` is the state after it, once it is known.
#[derive(Clone, Debug)]
struct Body {
    block: Block,
    next: Option<Arc<Projections>>,
}

pub(super) struct Replica<S> {
    id: NodeId,
    key: SigningKey,
    config: ConsensusConfig,
    store: S,
    state: Option<Arc<Projections>>,
    now_ms: u64,
    outputs: Vec<Output>,

    // Events.
    mempool: Mempool,
    own: OwnEvents,
    is_lingering: bool,
    events_sent_ms: u64,

    // Agreement on the next block.
    engine: Option<Engine>,
    /// The height the engine works on; none while the node sleeps.
    running: Option<Height>,
    /// The round for which the engine waits for a block of this node.
    block_wanted: Option<u32>,
    bodies: BTreeMap<BlockHash, Body>,
    /// The blocks proposed in each round of the running height.
    proposals: BTreeMap<u32, BTreeSet<BlockId>>,
    /// Messages for the height after the next.
    early: Vec<(NodeId, Message)>,
    early_bytes: usize,
    /// The height whose early messages were looked at.
    settled: Option<Height>,

    // Peers.
    catch_up: CatchUp,
    received: Received,
    serving: Serving,
    committee: Committee,
    inquiry: Inquiry,
    accusations: Accusations,
    statements: Statements,
    status_sent_ms: u64,
}

impl<S: Store> Replica<S> {
    /// Starts or recovers: `state` is what the store's blocks fold to.
    pub(super) fn open(
        key: SigningKey,
        config: ConsensusConfig,
        store: S,
        state: Option<Projections>,
        now_ms: u64,
    ) -> Result<Self, ReplicaError> {
        let state = state.map(Arc::new);
        let settled = state.as_ref().map(|state| state.height());
        let decode = |bytes: &Vec<u8>| SignedEvent::decode(bytes).map_err(ReplicaError::Outbox);
        let own = OwnEvents::recovered(store.outbox()?.iter().map(decode).collect::<Result<_, _>>()?);
        let bodies = store.bodies()?.into_iter().map(|block| (block.hash(), Body { block, next: None })).collect();
        let mut replica = Self {
            id: node_id_of(&key),
            key,
            config,
            store,
            state,
            now_ms,
            outputs: vec![],
            mempool: Mempool::default(),
            own,
            is_lingering: false,
            events_sent_ms: 0,
            engine: None,
            running: None,
            block_wanted: None,
            bodies,
            proposals: BTreeMap::new(),
            early: vec![],
            early_bytes: 0,
            settled,
            catch_up: CatchUp::default(),
            received: Received::default(),
            serving: Serving::new(now_ms),
            committee: Committee::new(now_ms),
            // The time of a start is another one for each start.
            inquiry: Inquiry::new(now_ms),
            accusations: Accusations::default(),
            statements: Statements::default(),
            status_sent_ms: now_ms,
        };
        replica.settle_own_events(&BTreeSet::new())?;
        for event in replica.own.pending().to_vec() {
            replica.mempool.admit(event, now_ms);
        }
        replica.recover_height()?;
        replica.go_on()?;
        Ok(replica)
    }

    pub(super) fn state(&self) -> Option<&Arc<Projections>> {
        self.state.as_ref()
    }

    pub(super) fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Whether nothing is under way: no height, no event for a block, no own event that was not seen in one.
    pub(super) fn is_idle(&self) -> bool {
        let is_ready = self.state.as_ref().is_some_and(|state| self.mempool.is_ready(state));
        self.running.is_none() && !is_ready && self.own.pending().is_empty()
    }

    /// One line about what it is doing, for whoever looks for a fault.
    pub(super) fn describe(&self) -> String {
        let height = self.state.as_ref().map(|state| state.height().0);
        let round = self.engine.as_ref().and_then(Engine::round);
        let stuck = self.own.pending().first().zip(self.state.as_ref());
        let stuck = stuck.map(|(first, state)| (first.event().kind(), state.check(first).err()));
        format!(
            "{:?}: {:?}, height {height:?}, running {:?} in round {round:?}, wants a block for {:?}, {} events wait, {} own, the \
             first {stuck:?}, asking {}",
            self.id,
            self.memory(),
            self.running.map(|height| height.0),
            self.block_wanted,
            self.mempool.len(),
            self.own.pending().len(),
            self.catch_up.is_asking()
        )
    }

    pub(super) fn blocks(&self, from: Height, bytes_max: usize) -> Result<Vec<SealedBlock>, ReplicaError> {
        Ok(self.store.blocks(from, bytes_max)?)
    }

    /// Founds a network with this node's key, unless the folder belongs to one already.
    pub(super) fn found(
        &mut self,
        now_ms: u64,
        name: &str,
        nonce: [u8; 32],
    ) -> Result<Result<NetworkId, FoundError>, ReplicaError> {
        self.now_ms = now_ms;
        if let Some(state) = &self.state {
            let (network, founder) = (*state.network(), state.founder());
            return Ok(if founder == self.id { Ok(network) } else { Err(FoundError::OtherNetwork { network, founder }) });
        }
        if let Some(pinned) = self.config.pinned_network {
            return Ok(Err(FoundError::Pinned(pinned)));
        }
        let sealed = genesis(&self.key, name, nonce, now_ms);
        match Projections::from_genesis(&sealed) {
            Ok(state) => {
                let network = *state.network();
                if self.memory() != Memory::Whole {
                    // Nothing was ever signed for a network that begins here.
                    self.store.remember(Memory::Whole)?;
                }
                self.commit(sealed, Arc::new(state), Origin::Decided)?;
                Ok(Ok(network))
            }
            Err(BlockError::Event { refusal, .. }) => Ok(Err(FoundError::Refused(refusal.to_string()))),
            Err(error) => Ok(Err(FoundError::Refused(error.to_string()))),
        }
    }

    pub(super) fn on_message(&mut self, now_ms: u64, from: NodeId, message: Message) -> Result<(), ReplicaError> {
        self.now_ms = now_ms;
        self.committee.heard(from, now_ms);
        self.handle(from, message)?;
        self.go_on()
    }

    fn handle(&mut self, from: NodeId, message: Message) -> Result<(), ReplicaError> {
        if let Some(height) = message.ballot_height() {
            return self.on_ballot(from, height, message);
        }
        match message {
            Message::Events(events) => self.on_events(from, events)?,
            Message::Status { network, height } => self.on_status(from, network, height),
            Message::GetBlocks { from: first } => {
                self.serving.ask(from, first);
                self.serve_blocks()?;
            }
            Message::Blocks(blocks) => self.on_blocks(from, blocks)?,
            Message::AskTip { nonce } => self.on_ask_tip(from, nonce),
            Message::Tip { nonce, height } => self.on_tip(from, nonce, height),
            Message::Proposal { .. }
            | Message::Vote(_)
            | Message::VoteAgain(_)
            | Message::PolkaCertificate(_)
            | Message::RoundCertificate(_) => {}
        }
        Ok(())
    }

    /// Whether blocks of a peer wait to be followed.
    pub(super) fn has_received(&self) -> bool {
        !self.received.is_empty()
    }

    /// Follows the next block that a peer sent. `do_both` checks its signatures and all the rest.
    pub(super) fn follow_next(&mut self, now_ms: u64, do_both: DoBoth) -> Result<(), ReplicaError> {
        self.now_ms = now_ms;
        self.follow_received(do_both)?;
        self.go_on()
    }

    pub(super) fn on_timer(&mut self, now_ms: u64, timer: Timer) -> Result<(), ReplicaError> {
        self.now_ms = now_ms;
        match timer {
            Timer::Linger => self.is_lingering = false,
            Timer::Propose(_) | Timer::Prevote(_) | Timer::Precommit(_) | Timer::Rebroadcast(_) => self.on_round_timer(timer)?,
        }
        self.go_on()
    }

    pub(super) fn on_peer_disconnected(&mut self, now_ms: u64, peer: &NodeId) -> Result<(), ReplicaError> {
        self.now_ms = now_ms;
        self.catch_up.forget(peer);
        self.serving.forget(peer);
        self.committee.lost(*peer, now_ms);
        self.ask_for_blocks();
        self.go_on()
    }

    /// What has to happen now and then, several times a second.
    pub(super) fn tick(&mut self, now_ms: u64) -> Result<(), ReplicaError> {
        self.now_ms = now_ms;
        // A clock that was set back must not silence this node until then.
        if now_ms.abs_diff(self.events_sent_ms) >= EVENTS_INTERVAL_MS {
            self.events_sent_ms = now_ms;
            self.repeat_own_events();
            self.mempool.expire(now_ms);
        }
        if now_ms.abs_diff(self.status_sent_ms) >= STATUS_INTERVAL_MS {
            self.announce();
        }
        self.ask_for_blocks();
        self.serve_blocks()?;
        self.inquire()?;
        self.report_accusations()?;
        self.committee.tick(self.state.as_deref(), now_ms);
        self.go_on()
    }

    /// Does everything that follows from what just happened, until nothing does.
    fn go_on(&mut self) -> Result<(), ReplicaError> {
        loop {
            let height = self.next_height();
            if self.settled != self.state.as_ref().map(|state| state.height()) {
                self.settled = self.state.as_ref().map(|state| state.height());
                self.early_bytes = 0;
                for (from, message) in std::mem::take(&mut self.early) {
                    self.handle(from, message)?;
                }
            }
            self.activate()?;
            self.wake()?;
            if self.next_height() == height {
                return Ok(());
            }
        }
    }

    /// Begins a height when there is something to agree on.
    fn wake(&mut self) -> Result<(), ReplicaError> {
        let Some(state) = self.state.clone() else { return Ok(()) };
        if self.is_lingering || !self.takes_part() || !self.mempool.is_ready(&state) {
            return Ok(());
        }
        match self.running {
            None => self.start_height(),
            Some(_) => self.retry_block(),
        }
    }

    /// One atomic batch, then everything that a new state changes.
    fn commit(&mut self, sealed: SealedBlock, next: Arc<Projections>, origin: Origin) -> Result<(), ReplicaError> {
        let own = sealed.block.events.iter().filter(|event| event.author() == self.id);
        let included: BTreeSet<EventId> = own.map(SignedEvent::id).collect();
        for id in &included {
            self.store.outbox_remove(*id);
        }
        self.store.append(&sealed)?;
        self.learn_from(&sealed)?;
        // With the validators who signed it, before their set changes.
        self.watch_certificate(&sealed);
        self.pass_on_odd_votes(&sealed.block);
        self.statements.forget_below(sealed.height());
        self.state = Some(next.clone());
        self.running = None;
        self.block_wanted = None;
        // Before the mempool lets go of what the block settled: it may hold another commitment of the same author.
        for event in &sealed.block.events {
            if self.is_suspicious(event) {
                self.watch_commitment(event)?;
            }
        }
        self.mempool.settle(&next);
        self.outputs.push(Output::CancelRoundTimers);
        self.outputs.push(Output::Committed { sealed: Arc::new(sealed), state: next });
        if origin == Origin::Decided {
            self.announce();
        }
        self.settle_own_events(&included)
    }

    /// Tells everybody how far this node is: a new block travels from node to node by being asked for.
    fn announce(&mut self) {
        self.status_sent_ms = self.now_ms;
        self.broadcast(self.status());
    }

    fn broadcast(&mut self, message: Message) {
        self.outputs.push(Output::Broadcast(message));
    }

    fn next_height(&self) -> Height {
        self.state.as_ref().map_or(Height::GENESIS, |state| state.height().next())
    }

    fn is_validator(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.is_validator(&self.id))
    }
}
