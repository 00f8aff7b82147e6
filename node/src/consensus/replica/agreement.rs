//! Agreeing on the next block: feeds the engine what may reach it, and carries out what it asks, in its order.

use super::{Body, Origin, Output, Replica, ReplicaError, Store};
use crate::consensus::ballot::Proposal;
use crate::consensus::engine::{self, BlockVerdict, Engine, Input};
use crate::consensus::message::{EVENTS_MESSAGE_BYTES_MAX, EVENTS_PER_MESSAGE_MAX, Message};
use crate::consensus::timer::Timer;
use pyrsia_ledger::block::SEALED_BLOCK_BYTES_MAX;
use pyrsia_ledger::{Block, CommitCertificate, Height, NodeId, Projections, SealedBlock};
use std::collections::VecDeque;
use std::sync::Arc;
use tracing::warn;

/// From this round on a proposer with nothing to say proposes an empty block, so that a height that was woken can end.
const EMPTY_BLOCK_ROUND: u32 = 2;
/// The most different blocks of one round that are kept: an honest proposer has one.
const BLOCKS_PER_ROUND_MAX: usize = 4;
/// The most messages of one validator for the height after the next that wait for the next block, one block among them …
const EARLY_MESSAGES_OF_ONE_MAX: usize = 32;
const EARLY_MESSAGE_BYTES_MAX: usize = SEALED_BLOCK_BYTES_MAX;
/// … and the most bytes of all of them.
const EARLY_BYTES_MAX: usize = 16 << 20;

impl<S: Store> Replica<S> {
    /// A proposal, vote or certificate from a peer.
    pub(super) fn on_ballot(&mut self, from: NodeId, height: Height, message: Message) -> Result<(), ReplicaError> {
        let Some(state) = self.state.clone() else { return Ok(()) };
        let next = state.height().next();
        self.watch_ballot(from, &message);
        if height < next {
            // Somebody who repeats itself about a decided height has not heard.
            if matches!(message, Message::VoteAgain(_) | Message::RoundCertificate(_)) {
                self.outputs.push(Output::Send(from, self.status()));
            }
            return Ok(());
        }
        if height > next {
            self.catch_up.claim(from, Height(height.0 - 1), self.now_ms);
            if height == next.next() && self.takes_part() && may_agree_soon(&state, &from) {
                self.keep_for_later(from, message);
            }
            self.ask_for_blocks();
            return Ok(());
        }
        // Validators speak for themselves: what a stranger says about a height is at best a copy, and at worst a flood.
        if !self.takes_part() || !state.is_validator(&from) || !self.is_worth_waking(&state, &message) {
            return Ok(());
        }
        if self.running.is_none() {
            self.start_height()?;
        }
        if self.running != Some(height) {
            return Ok(());
        }
        match message {
            Message::Proposal { proposal, block } => self.on_proposal(&state, proposal, block),
            Message::Vote(vote) | Message::VoteAgain(vote) => self.drive(Input::Vote(vote)),
            Message::PolkaCertificate(certificate) => self.drive(Input::PolkaCertificate(certificate)),
            Message::RoundCertificate(certificate) => self.drive(Input::RoundCertificate(certificate)),
            // No ballot has brought them here.
            _ => Ok(()),
        }
    }

    /// While a height runs the engine checks signatures itself. A sleeping node is woken only by what a validator signed.
    fn is_worth_waking(&self, state: &Projections, message: &Message) -> bool {
        let (network, validators) = (state.network(), state.validators());
        match message {
            // The engine trusts a judged block, so this check is not for waking only.
            Message::Proposal { proposal, block } => block.id() == proposal.block && proposal.is_rightful(network, &validators),
            // However many signatures, an honest certificate has no more than there are validators.
            Message::PolkaCertificate(certificate) if !certificate.fits(&validators) => false,
            Message::RoundCertificate(certificate) if !certificate.fits(&validators) => false,
            _ if self.running.is_some() => true,
            Message::Vote(vote) | Message::VoteAgain(vote) => validators.contains(&vote.validator) && vote.verify(network),
            Message::PolkaCertificate(certificate) => certificate.is_vouched_for(network, &validators),
            Message::RoundCertificate(certificate) => certificate.is_vouched_for(network, &validators),
            _ => false,
        }
    }

    /// The last precommit for the next block may be slower than the first proposal after it.
    fn keep_for_later(&mut self, from: NodeId, message: Message) {
        let size_bytes = message.encode().len();
        let of_sender = || self.early.iter().filter(|(sender, _)| *sender == from);
        let is_second_block = matches!(message, Message::Proposal { .. })
            && of_sender().any(|(_, message)| matches!(message, Message::Proposal { .. }));
        if of_sender().count() < EARLY_MESSAGES_OF_ONE_MAX
            && !is_second_block
            && size_bytes <= EARLY_MESSAGE_BYTES_MAX
            && self.early_bytes + size_bytes <= EARLY_BYTES_MAX
        {
            self.early_bytes += size_bytes;
            self.early.push((from, message));
        }
    }

    fn on_proposal(&mut self, state: &Projections, proposal: Proposal, block: Box<Block>) -> Result<(), ReplicaError> {
        let round = self.engine.as_ref().and_then(Engine::round).unwrap_or(0);
        if proposal.round > round.saturating_add(engine::ROUNDS_AHEAD_MAX) {
            return Ok(());
        }
        if !state.is_whole(&block) {
            // The proposer signed the header only. Who puts other events under it must not spoil the block for this node.
            warn!(block = %proposal.block, "a proposal came with other events than its header commits to");
            return Ok(());
        }
        let known = self.proposals.entry(proposal.round).or_default();
        if known.len() >= BLOCKS_PER_ROUND_MAX || !known.insert(proposal.block) {
            return Ok(());
        }
        let verdict = match self.judge(state, &block) {
            Some(next) => {
                if !self.bodies.contains_key(&proposal.block.hash) {
                    self.store.keep_body(&block);
                }
                self.bodies.insert(proposal.block.hash, Body { block: *block, next: Some(Arc::new(next)) });
                BlockVerdict::Valid
            }
            None => BlockVerdict::Invalid,
        };
        self.drive(Input::Proposal(proposal, verdict))
    }

    /// The state after a proposed block, none when it is not valid or not to be voted for.
    fn judge(&self, state: &Projections, block: &Block) -> Option<Projections> {
        if !self.is_timely(state, block) {
            warn!(time_ms = block.header.time_ms, "a validator proposed a block from the future");
            return None;
        }
        let next =
            state.apply(block).inspect_err(|error| warn!(%error, "a validator proposed a block that is not valid")).ok()?;
        block.events.iter().all(|event| self.mempool.holds(event) || event.verify_signature()).then_some(next)
    }

    /// Whether the block moves the time of the ledger no further than this node's clock bears out. An opinion, for votes only: a
    /// block that a quorum decided on is followed whatever its time. It is asked in every round, for blocks with a polka as
    /// well, because the engine keeps to the best verdict that it was ever told about a block; an opinion of this kind only ever
    /// turns for the better. Time may stand still, so that a ledger ahead of all clocks goes on.
    fn is_timely(&self, state: &Projections, block: &Block) -> bool {
        let time_ms = block.header.time_ms;
        time_ms <= state.time_ms() || time_ms <= self.now_ms.saturating_add(self.config.block_time_ahead_max_ms)
    }

    pub(super) fn start_height(&mut self) -> Result<(), ReplicaError> {
        let Some(input) = self.prepare_height() else { return Ok(()) };
        self.drive(input)
    }

    /// Clears what belonged to earlier heights. Not done when they end: what caused a decision is published after it.
    fn prepare_height(&mut self) -> Option<Input> {
        let state = self.state.clone()?;
        let (height, validators) = (state.height().next(), state.validators());
        self.running = Some(height);
        self.block_wanted = None;
        self.bodies.retain(|_, body| body.block.height() >= height);
        self.proposals.clear();
        if self.engine.is_none() {
            self.engine = Some(Engine::new(self.key.clone(), *state.network(), height, &validators));
        }
        Some(Input::StartHeight { height, validators })
    }

    /// Goes on where the journal ends, if this node had begun the next height.
    pub(super) fn recover_height(&mut self) -> Result<(), ReplicaError> {
        let entries = self.store.journal_entries(self.next_height())?;
        if entries.is_empty() || !self.takes_part() {
            return Ok(());
        }
        let prepared = self.prepare_height();
        let (Some(Input::StartHeight { height, validators }), Some(engine)) = (prepared, self.engine.as_mut()) else {
            return Ok(());
        };
        let outputs = engine.recover(height, validators, entries)?;
        let mut inputs = VecDeque::new();
        self.carry_out(outputs, &mut inputs)?;
        self.drive_all(inputs)
    }

    pub(super) fn drive(&mut self, input: Input) -> Result<(), ReplicaError> {
        self.drive_all(VecDeque::from([input]))
    }

    fn drive_all(&mut self, mut inputs: VecDeque<Input>) -> Result<(), ReplicaError> {
        while self.running.is_some()
            && let Some(input) = inputs.pop_front()
            && let Some(engine) = self.engine.as_mut()
        {
            let outputs = engine.step(input)?;
            self.carry_out(outputs, &mut inputs)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, outputs: Vec<engine::Output>, inputs: &mut VecDeque<Input>) -> Result<(), ReplicaError> {
        for output in outputs {
            match output {
                // What comes after the decision of a height can no longer change what this node signs at it.
                engine::Output::Journal(height, entry) if height >= self.next_height() => self.store.journal(height, entry),
                engine::Output::Journal(..) => {}
                engine::Output::RoundStarted => {
                    self.block_wanted = None;
                    self.store.flush()?;
                }
                engine::Output::GetBlock { height, round } => {
                    if self.running == Some(height) {
                        inputs.extend(self.make_block(round));
                    }
                }
                engine::Output::PublishVote(vote) => self.publish(Message::Vote(vote))?,
                engine::Output::PublishVoteAgain(vote) => self.publish(Message::VoteAgain(vote))?,
                engine::Output::PublishProposal(proposal) => match self.bodies.get(&proposal.block.hash) {
                    Some(body) => {
                        let block = Box::new(body.block.clone());
                        self.publish(Message::Proposal { proposal, block })?;
                    }
                    None => warn!(block = %proposal.block, "the body of a proposal is not here"),
                },
                engine::Output::PublishPolkaCertificate(certificate) => self.publish(Message::PolkaCertificate(certificate))?,
                engine::Output::PublishRoundCertificate(certificate) => self.publish(Message::RoundCertificate(certificate))?,
                engine::Output::SetTimer(timer) => {
                    if self.running.is_some() {
                        let after_ms = self.config.timeouts.duration_ms(timer);
                        self.outputs.push(Output::SetTimer { timer, after_ms });
                    }
                }
                engine::Output::CancelTimer(timer) => self.outputs.push(Output::CancelTimer(timer)),
                engine::Output::CancelTimers => self.outputs.push(Output::CancelRoundTimers),
                engine::Output::Decide(certificate) => self.decide(certificate)?,
                engine::Output::Finalized(evidence) => {
                    self.running = None;
                    self.outputs.push(Output::CancelRoundTimers);
                    for contradiction in evidence {
                        self.accuse(contradiction);
                    }
                }
            }
        }
        Ok(())
    }

    /// Nothing signed leaves before what led to it is durable.
    fn publish(&mut self, message: Message) -> Result<(), ReplicaError> {
        self.store.flush()?;
        self.broadcast(message);
        Ok(())
    }

    fn decide(&mut self, certificate: CommitCertificate) -> Result<(), ReplicaError> {
        let height = certificate.height;
        let body = self.bodies.get(&certificate.block).cloned();
        let (Some(body), Some(state)) = (body, &self.state) else { return Err(ReplicaError::DecidedUnknown { height }) };
        let next = match body.next {
            Some(next) => next,
            None => Arc::new(state.apply(&body.block).map_err(|source| ReplicaError::DecidedInvalid { height, source })?),
        };
        self.commit(SealedBlock { block: body.block, certificate }, next, Origin::Decided)
    }

    /// The engine's question for a block: answered at once, or remembered until there is something to say.
    fn make_block(&mut self, round: u32) -> Option<Input> {
        let (state, height) = (self.state.clone()?, self.running?);
        if !self.engine.as_ref()?.awaits_block(height, round) {
            return None;
        }
        let proposal = state.propose(self.id, self.now_ms, self.mempool.candidates(&state));
        if proposal.block.events.is_empty() && round < EMPTY_BLOCK_ROUND {
            self.block_wanted = Some(round);
            return None;
        }
        self.block_wanted = None;
        let block = proposal.block.id();
        self.store.keep_body(&proposal.block);
        self.bodies.insert(block.hash, Body { block: proposal.block, next: Some(Arc::new(proposal.next)) });
        Some(Input::Propose { height, round, block })
    }

    pub(super) fn retry_block(&mut self) -> Result<(), ReplicaError> {
        let Some(input) = self.block_wanted.take().and_then(|round| self.make_block(round)) else { return Ok(()) };
        self.drive(input)
    }

    pub(super) fn on_round_timer(&mut self, timer: Timer) -> Result<(), ReplicaError> {
        if self.running.is_none() {
            return Ok(());
        }
        if matches!(timer, Timer::Rebroadcast(_)) {
            let events = self.mempool.sample(EVENTS_PER_MESSAGE_MAX, EVENTS_MESSAGE_BYTES_MAX);
            if !events.is_empty() {
                self.broadcast(Message::Events(events));
            }
            self.broadcast(self.status());
        }
        self.drive(Input::Elapsed(timer))
    }
}

/// Whether the node signs the next block, or may be one that signs the one after it.
fn may_agree_soon(state: &Projections, node: &NodeId) -> bool {
    let is_approved = || state.members.candidate(node).is_some_and(|candidate| candidate.approved_at.is_some());
    state.validators().contains(node) || is_approved()
}
