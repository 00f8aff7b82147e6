//! Watches the world from outside: folds every block by the ledger's rules alone and reads every signature that is sent. It
//! shares no code with the engine or the replica.

use super::factory::Factory;
use crate::consensus::ballot::{Proposal, Vote};
use crate::consensus::message::Message;
use pyrsia_ledger::certificate::VoteKind;
use pyrsia_ledger::event::AddArtifact;
use pyrsia_ledger::{BlockHash, BlockId, BuildId, Event, Height, NodeId, Projections, SealedBlock, Sha256Digest, SignedEvent};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Statement {
    Prevote,
    Precommit,
    Proposal,
}

#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// The one chain: hash and state root of each block.
    chain: Vec<(BlockHash, Sha256Digest)>,
    state: Option<Projections>,
    said: BTreeMap<(NodeId, Statement, Height, u32), Option<BlockId>>,
    commitments: BTreeMap<(NodeId, BuildId), Sha256Digest>,
}

impl Oracle {
    pub(super) fn state(&self) -> Option<&Projections> {
        self.state.as_ref()
    }

    pub(super) fn height(&self) -> usize {
        self.chain.len()
    }

    /// A node committed a block and says what the state is with it.
    pub(super) fn committed(&mut self, node: NodeId, sealed: &SealedBlock, state: &Projections) -> Result<(), String> {
        let (height, hash) = (sealed.height(), sealed.block.hash());
        let index = usize::try_from(height.0).map_err(|_| "a height that cannot be".to_owned())?;
        if index == self.chain.len() {
            let next = match &self.state {
                None => Projections::from_genesis(sealed),
                Some(state) => state.apply_sealed(sealed),
            };
            let next = next.map_err(|error| format!("{node:?} committed what does not follow: {error}"))?;
            self.chain.push((hash, next.state_root()));
            self.state = Some(next);
        }
        match self.chain.get(index) {
            Some((known, root)) if *known == hash && *root == state.state_root() => Ok(()),
            Some((known, _)) if *known != hash => {
                Err(format!("FORK at height {height}: {node:?} has {hash:?}, others {known:?}"))
            }
            Some(_) => Err(format!("{node:?} has another state than others at height {height}")),
            None => Err(format!("{node:?} committed block {height} before anybody had the one below")),
        }
    }

    /// What was published must be what honest judges have built, but for as many as there are liars among the judges: with
    /// fewer liars than a majority at least one honest judge stands for every byte.
    pub(super) fn check_publications(
        &self,
        sealed: &SealedBlock,
        state: &Projections,
        factory: &Factory,
        is_honest: impl Fn(&NodeId) -> bool,
    ) -> Result<(), String> {
        for event in &sealed.block.events {
            let Event::AddArtifact(AddArtifact { build_id, artifact, .. }) = event.event() else { continue };
            let build = state.builds.get(build_id).ok_or("an artifact of no build was published")?;
            let (honest, liars): (Vec<_>, Vec<_>) = build.judges.iter().partition(|judge| is_honest(judge));
            let standing = honest.iter().filter(|judge| factory.stands_for(build_id, judge, artifact)).count();
            if standing + liars.len() < build.judges.len() / 2 + 1 {
                return Err(format!(
                    "WRONG BYTES: {} of build {build_id} is published, {standing} honest judges of {} stand for it and {} lie",
                    artifact.artifact_id,
                    build.judges.len(),
                    liars.len()
                ));
            }
        }
        Ok(())
    }

    /// An honest node sent a message.
    pub(super) fn sent(&mut self, node: NodeId, message: &Message, may_commit_twice: bool) -> Result<(), String> {
        match message {
            Message::Vote(vote) | Message::VoteAgain(vote) if vote.validator == node => {
                let Vote { kind, height, round, block, .. } = *vote;
                let statement = match kind {
                    VoteKind::Prevote => Statement::Prevote,
                    VoteKind::Precommit => Statement::Precommit,
                };
                self.said(node, statement, height, round, block)
            }
            Message::Proposal { proposal, .. } if proposal.proposer == node => {
                let Proposal { height, round, block, .. } = *proposal;
                self.said(node, Statement::Proposal, height, round, Some(block))
            }
            Message::Events(events) if !may_commit_twice => events.iter().try_for_each(|event| self.committed_to(node, event)),
            _ => Ok(()),
        }
    }

    pub(super) fn has_committed(&self, node: NodeId, build: BuildId) -> bool {
        self.commitments.contains_key(&(node, build))
    }

    fn committed_to(&mut self, node: NodeId, event: &SignedEvent) -> Result<(), String> {
        let Event::BuildResultCommitted(body) = event.event() else { return Ok(()) };
        if event.author() != node {
            return Ok(());
        }
        let before = *self.commitments.entry((node, body.build_id)).or_insert(body.commitment);
        if before == body.commitment {
            return Ok(());
        }
        Err(format!("honest {node:?} contradicts itself: it commits to two results of build {}", body.build_id))
    }

    fn said(
        &mut self,
        node: NodeId,
        statement: Statement,
        height: Height,
        round: u32,
        block: Option<BlockId>,
    ) -> Result<(), String> {
        match self.said.entry((node, statement, height, round)) {
            Entry::Vacant(entry) => {
                entry.insert(block);
                Ok(())
            }
            Entry::Occupied(entry) if *entry.get() == block => Ok(()),
            Entry::Occupied(entry) => {
                let before = entry.get();
                Err(format!(
                    "honest {node:?} contradicts itself: {statement:?} at {height}/{round} for {before:?}, then {block:?}"
                ))
            }
        }
    }

    /// What is on a disk must be the beginning of the one chain, and audit from its genesis.
    pub(super) fn audit(&self, node: NodeId, blocks: &[SealedBlock]) -> Result<(), String> {
        let mut state: Option<Projections> = None;
        for (sealed, (hash, root)) in blocks.iter().zip(&self.chain) {
            let next = match &state {
                None => Projections::from_genesis(sealed),
                Some(state) => state.apply_sealed(sealed),
            };
            let next = next.map_err(|error| format!("the log of {node:?} does not audit: {error}"))?;
            if sealed.block.hash() != *hash || next.state_root() != *root {
                return Err(format!("the log of {node:?} is not a prefix of the chain"));
            }
            state = Some(next);
        }
        if blocks.len() > self.chain.len() { Err(format!("the log of {node:?} is longer than the chain")) } else { Ok(()) }
    }
}
