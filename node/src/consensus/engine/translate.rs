//! The engine's messages in our words and back, without loss.

use super::super::ballot::{self, RoundReason, RoundVote};
use super::super::timer::Timer;
use super::context::{Address, Context, Height, Proposal, Value, Vote};
use arc_malachitebft_core_types::{
    CommitCertificate, NilOrVal, PolkaCertificate, PolkaSignature, Round, RoundCertificate, RoundCertificateType, RoundSignature,
    SignedMessage, SignedProposal, SignedVote, Timeout, TimeoutKind, VoteType,
};
use pyrsia_ledger::certificate::VoteKind;
use pyrsia_ledger::{BlockId, Signature};

fn round_number(round: Round) -> u32 {
    round.as_u32().expect("the engine signs and reports in defined rounds only")
}

fn kind(kind: VoteType) -> VoteKind {
    match kind {
        VoteType::Prevote => VoteKind::Prevote,
        VoteType::Precommit => VoteKind::Precommit,
    }
}

fn core_kind(kind: VoteKind) -> VoteType {
    match kind {
        VoteKind::Prevote => VoteType::Prevote,
        VoteKind::Precommit => VoteType::Precommit,
    }
}

fn block(value: &NilOrVal<Value>) -> Option<BlockId> {
    match value {
        NilOrVal::Nil => None,
        NilOrVal::Val(value) => Some(value.0),
    }
}

fn core_value(block: Option<BlockId>) -> NilOrVal<Value> {
    block.map_or(NilOrVal::Nil, |block| NilOrVal::Val(Value(block)))
}

pub(super) fn height(height: Height) -> pyrsia_ledger::Height {
    pyrsia_ledger::Height(height.0)
}

pub(super) fn vote(vote: &Vote, signature: Signature) -> ballot::Vote {
    ballot::Vote {
        kind: kind(vote.kind),
        height: height(vote.height),
        round: round_number(vote.round),
        block: block(&vote.value),
        validator: vote.validator.0,
        signature,
    }
}

pub(super) fn core_vote(vote: ballot::Vote) -> SignedVote<Context> {
    let message = Vote {
        kind: core_kind(vote.kind),
        height: Height(vote.height.0),
        round: Round::new(vote.round),
        value: core_value(vote.block),
        validator: Address(vote.validator),
    };
    SignedMessage::new(message, vote.signature)
}

pub(super) fn proposal(proposal: &Proposal, signature: Signature) -> ballot::Proposal {
    ballot::Proposal {
        height: height(proposal.height),
        round: round_number(proposal.round),
        polka_round: proposal.polka_round.as_u32(),
        block: proposal.value.0,
        proposer: proposal.proposer.0,
        signature,
    }
}

pub(super) fn core_proposal(proposal: ballot::Proposal) -> SignedProposal<Context> {
    let message = Proposal {
        height: Height(proposal.height.0),
        round: Round::new(proposal.round),
        value: Value(proposal.block),
        polka_round: Round::from(proposal.polka_round),
        proposer: Address(proposal.proposer),
    };
    SignedMessage::new(message, proposal.signature)
}

pub(super) fn polka(certificate: PolkaCertificate<Context>) -> ballot::PolkaCertificate {
    ballot::PolkaCertificate {
        height: height(certificate.height),
        round: round_number(certificate.round),
        block: certificate.value_id.0,
        signatures: certificate.polka_signatures.into_iter().map(|part| (part.address.0, part.signature)).collect(),
    }
}

pub(super) fn core_polka(certificate: ballot::PolkaCertificate) -> PolkaCertificate<Context> {
    let part = |(node, signature)| PolkaSignature::new(Address(node), signature);
    PolkaCertificate {
        height: Height(certificate.height.0),
        round: Round::new(certificate.round),
        value_id: Value(certificate.block),
        polka_signatures: certificate.signatures.into_iter().map(part).collect(),
    }
}

pub(super) fn round_certificate(certificate: RoundCertificate<Context>) -> ballot::RoundCertificate {
    let vote = |part: RoundSignature<Context>| RoundVote {
        kind: kind(part.vote_type),
        block: block(&part.value_id),
        validator: part.address.0,
        signature: part.signature,
    };
    ballot::RoundCertificate {
        height: height(certificate.height),
        round: round_number(certificate.round),
        reason: match certificate.cert_type {
            RoundCertificateType::Skip => RoundReason::Skip,
            RoundCertificateType::Precommit => RoundReason::Precommits,
        },
        votes: certificate.round_signatures.into_iter().map(vote).collect(),
    }
}

pub(super) fn core_round_certificate(certificate: ballot::RoundCertificate) -> RoundCertificate<Context> {
    let part = |vote: RoundVote| {
        RoundSignature::new(core_kind(vote.kind), core_value(vote.block), Address(vote.validator), vote.signature)
    };
    RoundCertificate {
        height: Height(certificate.height.0),
        round: Round::new(certificate.round),
        cert_type: match certificate.reason {
            RoundReason::Skip => RoundCertificateType::Skip,
            RoundReason::Precommits => RoundCertificateType::Precommit,
        },
        round_signatures: certificate.votes.into_iter().map(part).collect(),
    }
}

/// The ledger keeps the signers in ascending order.
pub(super) fn commit_certificate(certificate: CommitCertificate<Context>) -> pyrsia_ledger::CommitCertificate {
    let mut signatures: Vec<_> = certificate.commit_signatures.into_iter().map(|part| (part.address.0, part.signature)).collect();
    signatures.sort_unstable();
    pyrsia_ledger::CommitCertificate {
        height: height(certificate.height),
        round: round_number(certificate.round),
        block: certificate.value_id.0.hash,
        signatures,
    }
}

/// None for a timeout this project never asks for.
pub(super) fn timer(timeout: Timeout) -> Option<Timer> {
    let round = timeout.round.as_u32()?;
    match timeout.kind {
        TimeoutKind::Propose => Some(Timer::Propose(round)),
        TimeoutKind::Prevote => Some(Timer::Prevote(round)),
        TimeoutKind::Precommit => Some(Timer::Precommit(round)),
        TimeoutKind::Rebroadcast => Some(Timer::Rebroadcast(round)),
        TimeoutKind::FinalizeHeight(_) => None,
    }
}

pub(super) fn core_timeout(timer: Timer) -> Option<Timeout> {
    match timer {
        Timer::Propose(round) => Some(Timeout::propose(Round::new(round))),
        Timer::Prevote(round) => Some(Timeout::prevote(Round::new(round))),
        Timer::Precommit(round) => Some(Timeout::precommit(Round::new(round))),
        Timer::Rebroadcast(round) => Some(Timeout::rebroadcast(Round::new(round))),
        Timer::Linger => None,
    }
}
