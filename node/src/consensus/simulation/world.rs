//! Nodes, their disks, the network between them, and virtual time.

use super::disk::{Disk, DiskStore};
use super::factory::Factory;
use super::judges::{self, Crook};
use super::malicious;
use super::oracle::Oracle;
use super::random::Random;
use super::{Mutation, Summary};
use crate::builds::simulated::SimulatedJudge;
use crate::consensus::memory::AfterLoss;
use crate::consensus::message::Message;
use crate::consensus::replica::{ConsensusConfig, Output, Replica};
use crate::consensus::timer::{Timeouts, Timer};
use ed25519_dalek::SigningKey;
use pyrsia_ledger::projection::one_after_the_other;
use pyrsia_ledger::signed::node_id_of;
use pyrsia_ledger::{Height, NodeId, SealedBlock, Sha256Digest};
use std::collections::BTreeMap;
use std::sync::Arc;

const TICK_US: u64 = 500_000;
/// Virtual time begins here, so that clocks may be behind.
const START_US: u64 = 1_000_000_000;
/// How far a clock may be ahead.
const CLOCK_AHEAD_MAX_MS: u64 = 2_000;
/// How long following a block takes.
const FOLLOW_US_MAX: u64 = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Character {
    Honest,
    /// An honest validator that cheats with builds.
    Crooked(Crook),
    /// Follows no rule of agreement.
    Malicious,
}

pub(super) struct Node {
    pub(super) key: SigningKey,
    pub(super) id: NodeId,
    pub(super) disk: Disk,
    /// None while it has no power.
    pub(super) replica: Option<Replica<DiskStore>>,
    pub(super) character: Character,
    pub(super) judge: SimulatedJudge,
    /// Counts its starts, so that what belonged to an earlier one does not reach it.
    life: u32,
    timers: BTreeMap<Timer, u64>,
    /// How far its clock is ahead.
    clock_ahead_ms: u64,
    /// Whether it is about to follow a block.
    is_following: bool,
}

enum Happening {
    Deliver { from: usize, to: usize, frame: Arc<Vec<u8>> },
    Timer { node: usize, life: u32, timer: Timer },
    Tick { node: usize, life: u32 },
    Follow { node: usize, life: u32 },
}

/// What the network does to messages.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    pub(super) loss_percent: u64,
    pub(super) duplicate_percent: u64,
    pub(super) delay_us: (u64, u64),
    /// Messages travel between nodes of the same side only.
    pub(super) sides: Vec<bool>,
}

impl Weather {
    pub(super) fn calm(nodes: usize) -> Self {
        Self { loss_percent: 0, duplicate_percent: 0, delay_us: (200, 5_000), sides: vec![false; nodes] }
    }
}

pub(super) struct World {
    pub(super) now_us: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) weather: Weather,
    pub(super) random: Random,
    pub(super) oracle: Oracle,
    pub(super) factory: Factory,
    pub(super) mutation: Mutation,
    /// What the operators want of a validator that lost its disk.
    pub(super) after_loss: AfterLoss,
    pub(super) summary: Summary,
    agenda: BTreeMap<(u64, u64), Happening>,
    tickets: u64,
    indexes: BTreeMap<NodeId, usize>,
    /// The time of the newest block.
    ledger_time_ms: u64,
}

fn config(after_loss: AfterLoss, mutation: Mutation) -> ConsensusConfig {
    let timeouts = Timeouts {
        propose_ms: 500,
        propose_step_ms: 200,
        vote_ms: 200,
        vote_step_ms: 100,
        rebroadcast_ms: 1_000,
        cap_ms: 10_000,
    };
    let believable_ms = ConsensusConfig::default().block_time_ahead_max_ms;
    let block_time_ahead_max_ms = if mutation == Mutation::AnyTimeBelieved { u64::MAX } else { believable_ms };
    ConsensusConfig { timeouts, linger_ms: 5, pinned_network: None, after_loss, block_time_ahead_max_ms }
}

impl World {
    /// Nodes without power, on empty disks.
    pub(super) fn new(seed: u64, nodes: usize, mutation: Mutation) -> Self {
        let mut random = Random::new(seed);
        let node = |index: usize, random: &mut Random| {
            let seed = Sha256Digest::of_parts(&[b"simulated node", &(index as u64).to_le_bytes()]);
            let key = SigningKey::from_bytes(seed.as_bytes());
            Node {
                id: node_id_of(&key),
                judge: judges::judge(node_id_of(&key)),
                key,
                disk: Disk::new(mutation),
                replica: None,
                character: Character::Honest,
                life: 0,
                timers: BTreeMap::new(),
                clock_ahead_ms: random.below(CLOCK_AHEAD_MAX_MS),
                is_following: false,
            }
        };
        let nodes: Vec<Node> = (0..nodes).map(|index| node(index, &mut random)).collect();
        let indexes = nodes.iter().enumerate().map(|(index, node)| (node.id, index)).collect();
        Self {
            now_us: START_US,
            weather: Weather::calm(nodes.len()),
            nodes,
            random,
            oracle: Oracle::default(),
            factory: Factory::default(),
            mutation,
            after_loss: AfterLoss::Wait,
            summary: Summary { seeds: 1, fingerprint: 0xcbf2_9ce4_8422_2325, ..Summary::default() },
            agenda: BTreeMap::new(),
            tickets: 0,
            indexes,
            ledger_time_ms: 0,
        }
    }

    pub(super) fn is_up(&self, node: usize) -> bool {
        self.nodes[node].replica.is_some()
    }

    /// Nodes that follow the rules of agreement, with or without power.
    pub(super) fn honest(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|index| self.nodes[*index].character != Character::Malicious).collect()
    }

    /// Whether a node's word about builds is worth something.
    pub(super) fn is_honest_judge(&self, node: &NodeId) -> bool {
        self.indexes.get(node).is_some_and(|index| self.nodes[*index].character == Character::Honest)
    }

    pub(super) fn clock_ms(&self, node: usize) -> u64 {
        self.now_us / 1_000 + self.nodes[node].clock_ahead_ms
    }

    fn schedule(&mut self, after_us: u64, happening: Happening) -> u64 {
        self.tickets += 1;
        self.agenda.insert((self.now_us + after_us, self.tickets), happening);
        self.tickets
    }

    /// Gives a node power: it recovers from its disk and meets its peers.
    pub(super) fn start(&mut self, index: usize) -> Result<(), String> {
        let now_ms = self.clock_ms(index);
        let node = &mut self.nodes[index];
        self.summary.recoveries += u64::from(node.disk.holds_journal());
        let state = node.disk.replay()?;
        let store = DiskStore::on(node.disk.clone());
        let replica = Replica::open(node.key.clone(), config(self.after_loss, self.mutation), store, state, now_ms);
        node.replica = Some(replica.map_err(|error| format!("{:?} does not start: {error}", node.id))?);
        node.life += 1;
        node.is_following = false;
        let life = node.life;
        let offset = self.random.below(TICK_US);
        self.schedule(offset, Happening::Tick { node: index, life });
        for peer in (0..self.nodes.len()).filter(|peer| *peer != index) {
            for (from, to) in [(index, peer), (peer, index)] {
                if let Some(hello) = self.hello(from) {
                    self.send(from, to, &Arc::new(hello.encode()));
                }
            }
        }
        self.collect(index)
    }

    fn hello(&self, node: usize) -> Option<Message> {
        let state = self.nodes[node].replica.as_ref()?.state();
        Some(Message::Status { network: state.map(|state| *state.network()), height: state.map(|state| state.height()) })
    }

    /// Everything that was not flushed is lost.
    pub(super) fn cut_power(&mut self, index: usize) {
        self.summary.power_cuts += 1;
        let node = &mut self.nodes[index];
        node.replica = None;
        node.timers.clear();
        node.judge = judges::judge(node.id);
    }

    /// The node's disk is gone, and its key is not.
    pub(super) fn lose_disk(&mut self, index: usize) {
        self.cut_power(index);
        self.summary.disk_losses += 1;
        let node = &mut self.nodes[index];
        node.disk = node.disk.replaced();
    }

    /// From here on the node follows no rule.
    pub(super) fn corrupt(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.replica = None;
        node.timers.clear();
        node.character = Character::Malicious;
    }

    /// Does something with a replica that has power, and carries out what comes of it.
    pub(super) fn with<T>(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Replica<DiskStore>, u64) -> Result<T, crate::consensus::ReplicaError>,
    ) -> Result<Option<T>, String> {
        let now_ms = self.clock_ms(index);
        let node = &mut self.nodes[index];
        let Some(replica) = &mut node.replica else { return Ok(None) };
        let done = act(replica, now_ms).map_err(|error| format!("{:?} stopped: {error}", node.id))?;
        self.collect(index)?;
        self.follow_soon(index);
        Ok(Some(done))
    }

    /// Following a block takes its time, in which other things happen.
    fn follow_soon(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !node.is_following && node.replica.as_ref().is_some_and(Replica::has_received) {
            node.is_following = true;
            let (life, after_us) = (node.life, self.random.below(FOLLOW_US_MAX));
            self.schedule(after_us, Happening::Follow { node: index, life });
        }
    }

    fn collect(&mut self, index: usize) -> Result<(), String> {
        let node = &mut self.nodes[index];
        let (id, outputs) = (node.id, node.replica.as_mut().map(Replica::take_outputs).unwrap_or_default());
        let is_double = node.character == Character::Crooked(Crook::DoubleCommitter);
        for output in outputs {
            match output {
                Output::Broadcast(message) => {
                    self.oracle.sent(id, &message, is_double)?;
                    let frame = Arc::new(message.encode());
                    for to in 0..self.nodes.len() {
                        self.send(index, to, &frame);
                    }
                }
                Output::Send(to, message) => {
                    self.oracle.sent(id, &message, is_double)?;
                    if let Some(&to) = self.indexes.get(&to) {
                        self.send(index, to, &Arc::new(message.encode()));
                    }
                }
                Output::SetTimer { timer, after_ms } => {
                    let life = self.nodes[index].life;
                    let ticket = self.schedule(after_ms * 1_000, Happening::Timer { node: index, life, timer });
                    self.nodes[index].timers.insert(timer, ticket);
                }
                Output::CancelTimer(timer) => {
                    self.nodes[index].timers.remove(&timer);
                }
                Output::CancelRoundTimers => self.nodes[index].timers.retain(|timer, _| *timer == Timer::Linger),
                Output::Committed { sealed, state } => {
                    let is_new = self.oracle.height() as u64 == sealed.height().0;
                    self.oracle.committed(id, &sealed, &state)?;
                    if is_new {
                        self.check_time(&sealed)?;
                        self.oracle.check_publications(&sealed, &state, &self.factory, |node| self.is_honest_judge(node))?;
                        self.summary.blocks += 1;
                        self.summary.empty_blocks += u64::from(sealed.block.events.is_empty());
                        self.summary.events += sealed.block.events.len() as u64;
                        self.summary.highest_round = self.summary.highest_round.max(sealed.certificate.round);
                    }
                }
                Output::Equivocation(accused) => {
                    self.summary.equivocations += 1;
                    let character = self.indexes.get(&accused).map(|index| self.nodes[*index].character);
                    if !matches!(character, Some(Character::Malicious | Character::Crooked(Crook::DoubleCommitter))) {
                        return Err(format!("honest {accused:?} is proven to contradict itself"));
                    }
                }
            }
        }
        Ok(())
    }

    /// No liar moves the time of the ledger beyond what honest nodes believe; a ledger that was founded ahead stands still.
    fn check_time(&mut self, sealed: &SealedBlock) -> Result<(), String> {
        let believable_ms = CLOCK_AHEAD_MAX_MS + ConsensusConfig::default().block_time_ahead_max_ms;
        let time_ms = sealed.block.header.time_ms;
        let is_believable = time_ms <= self.ledger_time_ms.max(self.now_us / 1_000 + believable_ms);
        self.ledger_time_ms = time_ms;
        if is_believable || sealed.height() == Height::GENESIS {
            Ok(())
        } else {
            Err(format!("block {} is from the FUTURE: {time_ms} ms", sealed.height().0))
        }
    }

    pub(super) fn send(&mut self, from: usize, to: usize, frame: &Arc<Vec<u8>>) {
        if from == to || self.weather.sides[from] != self.weather.sides[to] || self.random.percent(self.weather.loss_percent) {
            return;
        }
        self.summary.messages += 1;
        let mut mix = |byte: u64| {
            self.summary.fingerprint = (self.summary.fingerprint ^ byte).wrapping_mul(0x0000_0100_0000_01b3);
        };
        mix(self.now_us);
        mix((from * 64 + to) as u64);
        for byte in frame.iter() {
            mix(u64::from(*byte));
        }
        let copies = 1 + u64::from(self.random.percent(self.weather.duplicate_percent));
        for _ in 0..copies {
            let (least, most) = self.weather.delay_us;
            let delay_us = least + self.random.below(most - least + 1);
            self.schedule(delay_us, Happening::Deliver { from, to, frame: frame.clone() });
        }
    }

    /// Lets time pass until `until_us`, or until `stop` says so; returns whether it did.
    pub(super) fn run(&mut self, until_us: u64, mut stop: impl FnMut(&Self) -> bool) -> Result<bool, String> {
        while let Some((&(at_us, ticket), _)) = self.agenda.first_key_value()
            && at_us <= until_us
        {
            let Some(happening) = self.agenda.remove(&(at_us, ticket)) else { break };
            self.now_us = at_us;
            self.happen(happening, ticket)?;
            if stop(self) {
                return Ok(true);
            }
        }
        self.now_us = until_us;
        Ok(false)
    }

    fn happen(&mut self, happening: Happening, ticket: u64) -> Result<(), String> {
        match happening {
            Happening::Deliver { from, to, frame } => {
                // What does not decode is dropped, as the driver does.
                let Ok(message) = Message::decode(&frame) else { return Ok(()) };
                let from_id = self.nodes[from].id;
                match self.nodes[to].character {
                    Character::Honest | Character::Crooked(_) => {
                        self.with(to, |replica, now_ms| replica.on_message(now_ms, from_id, message))?;
                    }
                    Character::Malicious => self.lie(to, &message),
                }
            }
            Happening::Timer { node, life, timer } => {
                let owner = &mut self.nodes[node];
                if owner.life == life && owner.timers.get(&timer) == Some(&ticket) {
                    owner.timers.remove(&timer);
                    self.with(node, |replica, now_ms| replica.on_timer(now_ms, timer))?;
                }
            }
            Happening::Follow { node, life } => {
                if self.nodes[node].life == life {
                    self.nodes[node].is_following = false;
                    self.with(node, |replica, now_ms| replica.follow_next(now_ms, one_after_the_other))?;
                }
            }
            Happening::Tick { node, life } => {
                if self.nodes[node].life == life && self.is_up(node) {
                    self.with(node, |replica, now_ms| replica.tick(now_ms))?;
                    self.judge(node)?;
                    self.schedule(TICK_US, Happening::Tick { node, life });
                }
            }
        }
        Ok(())
    }

    /// A member says something about the next height though nobody has anything to say.
    #[cfg(test)]
    pub(super) fn wake_with_a_vote(&mut self, from: usize, to: usize) {
        use crate::consensus::ballot::Vote;
        use pyrsia_ledger::certificate::VoteKind;
        let state = self.oracle.state().expect("there is a network");
        // In a round that nobody else will see, so that the voter contradicts itself nowhere.
        let vote = Vote::signed(&self.nodes[from].key, state.network(), VoteKind::Prevote, state.height().next(), 9, None);
        self.send(from, to, &Arc::new(Message::Vote(vote).encode()));
    }

    fn lie(&mut self, liar: usize, heard: &Message) {
        let Some(state) = self.oracle.state() else { return };
        let network = *state.network();
        let key = self.nodes[liar].key.clone();
        if malicious::lies_about_time_only(state) {
            for frame in malicious::lies_about_time(&key, state, heard).map(Arc::new).collect::<Vec<_>>() {
                for to in 0..self.nodes.len() {
                    self.send(liar, to, &frame);
                }
            }
            return;
        }
        for to in 0..self.nodes.len() {
            let lies = malicious::lies(&key, &network, heard, &mut self.random);
            for frame in lies {
                self.send(liar, to, &Arc::new(frame));
            }
        }
    }
}
