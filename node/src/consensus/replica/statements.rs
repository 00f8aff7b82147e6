//! What validators have signed about the last height and the one under way, remembered long enough to notice a contradiction.
//!
//! The engine sees the votes of the height it works on, and only those that come to this node. Who says one thing to one half of
//! the validators and another to the rest shows himself in the certificates that both halves pass on. Nothing is verified here
//! unless it contradicts something.

use super::{Output, Replica, Store};
use crate::consensus::ballot::{PolkaCertificate, Proposal, RoundCertificate, proposer};
use crate::consensus::message::Message;
use pyrsia_ledger::certificate::VoteKind;
use pyrsia_ledger::evidence::{SignedProposal, SignedVote};
use pyrsia_ledger::{Block, CommitCertificate, Evidence, Height, NodeId, SealedBlock};
use std::collections::BTreeMap;

/// The highest round of which something is remembered. A liar that contradicts itself only later than that has had many chances.
const ROUND_MAX: u32 = 16;

/// The most votes of one height that are passed on when it ends.
const ODD_VOTES_MAX: usize = 64;

/// How a statement came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// From its author, over an authenticated connection.
    Author,
    /// As somebody else tells it.
    Hearsay,
}

#[derive(Debug, Default)]
pub(super) struct Statements {
    /// By height, round, whether it is a precommit, and author.
    votes: BTreeMap<(Height, u32, bool, NodeId), SignedVote>,
    proposals: BTreeMap<(Height, u32, NodeId), SignedProposal>,
}

impl Statements {
    /// Lets go of everything below `height`.
    pub(super) fn forget_below(&mut self, height: Height) {
        self.votes.retain(|(at, ..), _| *at >= height);
        self.proposals.retain(|(at, ..), _| *at >= height);
    }
}

impl<S: Store> Replica<S> {
    /// Looks for contradictions in what a validator says about the last height or the next one.
    pub(super) fn watch_ballot(&mut self, from: NodeId, message: &Message) {
        let Some(state) = &self.state else { return };
        let (tip, validators) = (state.height(), state.validators());
        let is_near = message.ballot_height().is_some_and(|height| height == tip || height == tip.next());
        if !is_near || !validators.contains(&from) {
            return;
        }
        match message {
            Message::Vote(vote) | Message::VoteAgain(vote) => {
                let source = if vote.validator == from { Source::Author } else { Source::Hearsay };
                self.watch_vote(vote.clone().into(), source);
            }
            Message::Proposal { proposal, .. } => self.watch_proposal(from, proposal),
            Message::PolkaCertificate(certificate) if certificate.fits(&validators) => {
                let PolkaCertificate { height, round, block, signatures } = certificate;
                for (author, signature) in signatures {
                    let (author, signature, height, round, block) = (*author, *signature, *height, *round, Some(*block));
                    let vote = SignedVote { author, kind: VoteKind::Prevote, height, round, block, signature };
                    self.watch_vote(vote, Source::Hearsay);
                }
            }
            Message::RoundCertificate(certificate) if certificate.fits(&validators) => {
                let RoundCertificate { height, round, votes, .. } = certificate;
                for vote in votes {
                    let (author, kind, block, signature) = (vote.validator, vote.kind, vote.block, vote.signature);
                    let vote = SignedVote { author, kind, height: *height, round: *round, block, signature };
                    self.watch_vote(vote, Source::Hearsay);
                }
            }
            _ => {}
        }
    }

    /// The precommits that made a block final.
    pub(super) fn watch_certificate(&mut self, sealed: &SealedBlock) {
        let CommitCertificate { height, round, signatures, .. } = &sealed.certificate;
        let block = Some(sealed.block.id());
        for (author, signature) in signatures {
            let (author, signature, height, round) = (*author, *signature, *height, *round);
            let vote = SignedVote { author, kind: VoteKind::Precommit, height, round, block, signature };
            self.watch_vote(vote, Source::Hearsay);
        }
    }

    /// Votes that are not for the block that was decided go to one validator, another one at each height: who tells each half of
    /// the others something else contradicts himself before nobody, unless somebody hears both. Mostly there are none.
    pub(super) fn pass_on_odd_votes(&mut self, decided: &Block) {
        let (height, block) = (decided.height(), Some(decided.id()));
        let of_height = (height, 0, false, NodeId::from_public_key([0; 32]))..;
        let odd = self.statements.votes.range(of_height).take_while(|((at, ..), _)| *at == height);
        let odd = odd.filter(|(_, vote)| vote.block != block).map(|(_, vote)| vote.clone());
        for vote in odd.take(ODD_VOTES_MAX).collect::<Vec<_>>() {
            self.pass_on(vote);
        }
    }

    fn pass_on(&mut self, vote: SignedVote) {
        let Some(validators) = self.state.as_ref().map(|state| state.validators()) else { return };
        let Some(listener) = proposer(&validators, vote.height, 0).filter(|node| *node != self.id) else { return };
        if self.is_validator() {
            self.outputs.push(Output::Send(listener, Message::Vote(vote.into())));
        }
    }

    fn watch_vote(&mut self, vote: SignedVote, source: Source) {
        let is_validator = self.state.as_ref().is_some_and(|state| state.is_validator(&vote.author));
        if vote.round > ROUND_MAX || vote.author == self.id || !is_validator {
            return;
        }
        let key = (vote.height, vote.round, vote.kind == VoteKind::Precommit, vote.author);
        let Some(first) = self.statements.votes.get(&key).cloned() else {
            let is_late = self
                .state
                .as_ref()
                .is_some_and(|state| vote.height == state.height() && vote.block.map(|block| block.hash) != Some(state.tip()));
            self.statements.votes.insert(key, vote.clone());
            if is_late && source == Source::Author {
                self.pass_on(vote);
            }
            return;
        };
        if first.block != vote.block && !self.accuse(Evidence::Votes { first, second: vote.clone() }) && source == Source::Author
        {
            // What was remembered may be a forgery of somebody else.
            self.statements.votes.insert(key, vote);
        }
    }

    fn watch_proposal(&mut self, from: NodeId, proposal: &Proposal) {
        if proposal.round > ROUND_MAX || proposal.proposer == self.id {
            return;
        }
        let key = (proposal.height, proposal.round, proposal.proposer);
        let second: SignedProposal = proposal.clone().into();
        let Some(first) = self.statements.proposals.get(&key).cloned() else {
            self.statements.proposals.insert(key, second);
            return;
        };
        let differs = first.block != second.block;
        if differs && !self.accuse(Evidence::Proposals { first, second: second.clone() }) && proposal.proposer == from {
            self.statements.proposals.insert(key, second);
        }
    }
}
