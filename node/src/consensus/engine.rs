//! The BFT engine: everything of Malachite's pure core, and the only place where it is named.
//!
//! [`Engine::step`] takes one input and gives back, in the order in which they must be carried out, what is to be done. It
//! touches no disk and no network; it signs and verifies, because that is a function of its key. The contract that whoever
//! carries the outputs out must keep: a journal entry is durable before anything behind it is published, and publishing may
//! come *after* the decision that it caused, so bodies are kept until the next height begins.

mod context;
mod journal;
mod translate;

use super::ballot::{PolkaCertificate, Proposal, RoundCertificate, Vote};
use super::timer::Timer;
use arc_malachitebft_core_consensus::{
    ConsensusMsg, Effect, Error, Input as CoreInput, LivenessMsg, LocallyProposedValue, Params, ProposedValue, Resumable, Resume,
    SignedConsensusMsg, State, process,
};
use arc_malachitebft_core_types::{
    Round, SignedMessage, ThresholdParams, Validity, ValueOrigin, ValuePayload, VoteExtensionPolicy,
};
use arc_malachitebft_signing::VerifierExt as _;
use context::{Address, Context, LedgerVerifier, Validators, Value};
use ed25519_dalek::SigningKey;
use futures::FutureExt as _;
use pyrsia_ledger::signed::{DecodeError, node_id_of};
use pyrsia_ledger::{BlockId, CommitCertificate, Evidence, Height, NetworkId, ValidatorSet};
use serde::Serialize;
use std::collections::BTreeSet;

/// Inputs that the engine keeps for later heights: how many heights, and how many for each. The replica feeds none.
const QUEUED_HEIGHTS_MAX: usize = 1;
const QUEUED_INPUTS_MAX: usize = 16;
/// Rounds ahead of its own from which the engine still takes votes and proposals.
pub(super) const ROUNDS_AHEAD_MAX: u32 = arc_malachitebft_core_consensus::MAX_FUTURE_ROUND_LOOKAHEAD;

/// What the replica found out about a proposed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockVerdict {
    Valid,
    Invalid,
}

/// What a round waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundStep {
    Proposal,
    Prevotes,
    Precommits,
}

#[derive(Clone, Debug)]
pub(super) enum Input {
    StartHeight {
        height: Height,
        validators: ValidatorSet,
    },
    /// The answer to [`Output::GetBlock`].
    Propose {
        height: Height,
        round: u32,
        block: BlockId,
    },
    /// A rightful, verified proposal; the engine does not ask again whether it is.
    Proposal(Proposal, BlockVerdict),
    Vote(Vote),
    PolkaCertificate(PolkaCertificate),
    RoundCertificate(RoundCertificate),
    Elapsed(Timer),
}

#[derive(Clone, Debug)]
pub(super) enum Output {
    /// To be appended to the journal of this height, durable before anything that follows leaves the node.
    Journal(Height, Vec<u8>),
    /// A round begins: everything so far must be durable.
    RoundStarted,
    GetBlock {
        height: Height,
        round: u32,
    },
    PublishVote(Vote),
    PublishVoteAgain(Vote),
    PublishProposal(Proposal),
    PublishPolkaCertificate(PolkaCertificate),
    PublishRoundCertificate(RoundCertificate),
    SetTimer(Timer),
    CancelTimer(Timer),
    CancelTimers,
    Decide(CommitCertificate),
    /// The height is over; what was seen in it of validators that contradict themselves.
    Finalized(Vec<Evidence>),
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("entry {index} of the consensus journal of height {height} is damaged: this node must not sign at that height")]
    Journal {
        height: Height,
        index: usize,
        #[source]
        source: DecodeError,
    },
    #[error("the consensus engine failed at height {height}: {reason}")]
    Failed { height: Height, reason: String },
}

pub(super) struct Engine {
    key: SigningKey,
    verifier: LedgerVerifier,
    state: State<Context>,
    /// While the journal is fed again: what it holds already.
    recorded: BTreeSet<Vec<u8>>,
}

impl Engine {
    pub(super) fn new(key: SigningKey, network: NetworkId, height: Height, validators: &ValidatorSet) -> Self {
        let params = Params {
            address: Address(node_id_of(&key)),
            threshold_params: ThresholdParams::default(),
            // With `ProposalOnly` the engine never asks whether a block is valid.
            value_payload: ValuePayload::ProposalAndParts,
            enabled: true,
        };
        let validators = Validators::new(validators);
        let height = context::Height(height.0);
        let state = State::new(Context, height, validators, params, QUEUED_HEIGHTS_MAX, QUEUED_INPUTS_MAX);
        Self { key, verifier: LedgerVerifier { network }, state, recorded: BTreeSet::new() }
    }

    /// The round it is in; none before a height begins.
    pub(super) fn round(&self) -> Option<u32> {
        self.state.round().as_u32()
    }

    /// What the round waits for; none before a height begins.
    pub(super) fn step_of_round(&self) -> Option<RoundStep> {
        let driver = &self.state.driver;
        let steps = [
            (driver.step_is_propose(), RoundStep::Proposal),
            (driver.step_is_prevote(), RoundStep::Prevotes),
            (driver.step_is_precommit(), RoundStep::Precommits),
        ];
        steps.into_iter().find_map(|(is_here, step)| is_here.then_some(step))
    }

    /// Whether a block for this round is still of use.
    pub(super) fn awaits_block(&self, height: Height, round: u32) -> bool {
        self.state.height().0 == height.0
            && self.state.round() == Round::new(round)
            && self.state.driver.step_is_propose()
            && *self.state.get_proposer(self.state.height(), self.state.round()) == *self.state.address()
    }

    pub(super) fn step(&mut self, input: Input) -> Result<Vec<Output>, EngineError> {
        let mut outputs = vec![];
        match input {
            Input::StartHeight { height, validators } => {
                let (height, validators) = (context::Height(height.0), Validators::new(&validators));
                // `is_restart` stays false: true makes the engine forget its journal.
                let start = CoreInput::StartHeight(height, validators, false, None, VoteExtensionPolicy::Disabled);
                self.feed(start, &mut outputs)?;
            }
            Input::Propose { height, round, block } => {
                let value = LocallyProposedValue::new(context::Height(height.0), Round::new(round), Value(block));
                self.feed(CoreInput::Propose(value), &mut outputs)?;
            }
            Input::Proposal(proposal, verdict) => {
                let value = ProposedValue {
                    height: context::Height(proposal.height.0),
                    round: Round::new(proposal.round),
                    valid_round: Round::from(proposal.polka_round),
                    proposer: Address(proposal.proposer),
                    value: Value(proposal.block),
                    validity: Validity::from_bool(verdict == BlockVerdict::Valid),
                };
                self.feed(CoreInput::ProposedValue(value, ValueOrigin::Consensus), &mut outputs)?;
                // The value alone may complete a proposal that came before, and decide.
                if !outputs.iter().any(|output| matches!(output, Output::Finalized(_))) {
                    self.feed(CoreInput::Proposal(translate::core_proposal(proposal)), &mut outputs)?;
                }
            }
            Input::Vote(vote) => self.feed(CoreInput::Vote(translate::core_vote(vote)), &mut outputs)?,
            Input::PolkaCertificate(certificate) => {
                self.feed(CoreInput::PolkaCertificate(translate::core_polka(certificate)), &mut outputs)?;
            }
            Input::RoundCertificate(certificate) => {
                self.feed(CoreInput::RoundCertificate(translate::core_round_certificate(certificate)), &mut outputs)?;
            }
            Input::Elapsed(timer) => {
                if let Some(timeout) = translate::core_timeout(timer) {
                    self.feed(CoreInput::TimeoutElapsed(timeout), &mut outputs)?;
                }
            }
        }
        Ok(outputs)
    }

    /// Begins a height at which this node may have signed already, from its journal.
    pub(super) fn recover(
        &mut self,
        height: Height,
        validators: ValidatorSet,
        entries: Vec<Vec<u8>>,
    ) -> Result<Vec<Output>, EngineError> {
        let decode = |(index, entry): (usize, &Vec<u8>)| {
            journal::decode(entry).map_err(|source| EngineError::Journal { height, index, source })
        };
        let inputs = entries.iter().enumerate().map(decode).collect::<Result<Vec<_>, _>>()?;
        self.recorded = entries.into_iter().collect();
        let mut outputs = self.step(Input::StartHeight { height, validators })?;
        self.state.index_wal_entries(inputs.iter());
        for input in inputs {
            self.feed(input, &mut outputs)?;
        }
        self.state.reset_entries_index();
        self.recorded = BTreeSet::new();
        Ok(outputs)
    }

    fn feed(&mut self, input: CoreInput<Context>, outputs: &mut Vec<Output>) -> Result<(), EngineError> {
        let Self { key, verifier, state, recorded } = self;
        let height = translate::height(state.height());
        let result: Result<(), Error<Context>> = process!(
            input: input,
            state: state,
            metrics: &(),
            with: effect => Ok::<_, Error<Context>>(carry_out(key, verifier, recorded, outputs, effect))
        );
        result.map_err(|error| EngineError::Failed { height, reason: error.to_string() })
    }
}

/// Answers what can be answered here, and notes down the rest.
fn carry_out(
    key: &SigningKey,
    verifier: &LedgerVerifier,
    recorded: &BTreeSet<Vec<u8>>,
    outputs: &mut Vec<Output>,
    effect: Effect<Context>,
) -> Resume<Context> {
    const AT_ONCE: &str = "the ledger's verifier never waits";
    let network = &verifier.network;
    let mut done = |output: Output, resume: Resume<Context>| {
        outputs.push(output);
        resume
    };
    match effect {
        Effect::CancelAllTimeouts(r) => done(Output::CancelTimers, r.resume_with(())),
        Effect::CancelTimeout(timeout, r) => match translate::timer(timeout) {
            Some(timer) => done(Output::CancelTimer(timer), r.resume_with(())),
            None => r.resume_with(()),
        },
        Effect::ScheduleTimeout(timeout, r) => match translate::timer(timeout) {
            Some(timer) => done(Output::SetTimer(timer), r.resume_with(())),
            None => r.resume_with(()),
        },
        Effect::StartRound(_, _, _, _, r) => done(Output::RoundStarted, r.resume_with(())),
        Effect::GetValue(height, round, _, r) => {
            let round = round.as_u32().expect("the engine asks for a block in a defined round");
            done(Output::GetBlock { height: translate::height(height), round }, r.resume_with(()))
        }
        Effect::WalAppend(height, input, r) => match journal::encode(input).filter(|entry| !recorded.contains(entry)) {
            Some(entry) => done(Output::Journal(translate::height(height), entry), r.resume_with(())),
            None => r.resume_with(()),
        },
        Effect::PublishConsensusMsg(SignedConsensusMsg::Vote(vote), r) => {
            done(Output::PublishVote(translate::vote(&vote.message, vote.signature)), r.resume_with(()))
        }
        Effect::PublishConsensusMsg(SignedConsensusMsg::Proposal(proposal), r) => {
            let proposal = translate::proposal(&proposal.message, proposal.signature);
            done(Output::PublishProposal(proposal), r.resume_with(()))
        }
        Effect::PublishLivenessMsg(LivenessMsg::Vote(vote), r) | Effect::RepublishVote(vote, r) => {
            done(Output::PublishVoteAgain(translate::vote(&vote.message, vote.signature)), r.resume_with(()))
        }
        Effect::PublishLivenessMsg(LivenessMsg::PolkaCertificate(certificate), r) => {
            done(Output::PublishPolkaCertificate(translate::polka(certificate)), r.resume_with(()))
        }
        Effect::PublishLivenessMsg(LivenessMsg::SkipRoundCertificate(certificate), r)
        | Effect::RepublishRoundCertificate(certificate, r) => {
            done(Output::PublishRoundCertificate(translate::round_certificate(certificate)), r.resume_with(()))
        }
        Effect::Decide(certificate, _, r) => done(Output::Decide(translate::commit_certificate(certificate)), r.resume_with(())),
        Effect::Finalize(_, _, evidence, r) => {
            let votes = (&evidence.votes).into_iter().flat_map(|(_, pairs)| pairs).map(|(first, second)| {
                let vote =
                    |vote: &arc_malachitebft_core_types::SignedVote<Context>| translate::vote(&vote.message, vote.signature);
                Evidence::Votes { first: vote(first).into(), second: vote(second).into() }
            });
            let proposals = (&evidence.proposals).into_iter().flat_map(|(_, pairs)| pairs).map(|(first, second)| {
                let proposal = |proposal: &arc_malachitebft_core_types::SignedProposal<Context>| {
                    translate::proposal(&proposal.message, proposal.signature)
                };
                Evidence::Proposals { first: proposal(first).into(), second: proposal(second).into() }
            });
            done(Output::Finalized(votes.chain(proposals).collect()), r.resume_with(()))
        }
        Effect::SignVote(vote, r) => {
            let unsigned = translate::vote(&vote, pyrsia_ledger::Signature::from_bytes([0; 64]));
            let Vote { kind, height, round, block, .. } = unsigned;
            let signature = Vote::signed(key, network, kind, height, round, block).signature;
            r.resume_with(SignedMessage::new(vote, signature))
        }
        Effect::SignProposal(proposal, r) => {
            let unsigned = translate::proposal(&proposal, pyrsia_ledger::Signature::from_bytes([0; 64]));
            let Proposal { height, round, polka_round, block, .. } = unsigned;
            let signature = Proposal::signed(key, network, height, round, polka_round, block).signature;
            r.resume_with(SignedMessage::new(proposal, signature))
        }
        Effect::VerifySignature(message, _, r) => {
            let is_good = match &message.message {
                ConsensusMsg::Vote(vote) => translate::vote(vote, message.signature).verify(network),
                ConsensusMsg::Proposal(proposal) => translate::proposal(proposal, message.signature).verify(network),
            };
            r.resume_with(is_good)
        }
        Effect::VerifyCommitCertificate(certificate, set, threshold, r) => r.resume_with(
            verifier.verify_commit_certificate(&Context, &certificate, &set, threshold).now_or_never().expect(AT_ONCE),
        ),
        Effect::VerifyExtendedCommitCertificate(certificate, set, threshold, policy, r) => r.resume_with(
            verifier
                .verify_extended_commit_certificate(&Context, &certificate, &set, threshold, policy)
                .now_or_never()
                .expect(AT_ONCE),
        ),
        Effect::VerifyPolkaCertificate(certificate, set, threshold, r) => r.resume_with(
            verifier.verify_polka_certificate(&Context, &certificate, &set, threshold).now_or_never().expect(AT_ONCE),
        ),
        Effect::VerifyRoundCertificate(certificate, set, threshold, r) => r.resume_with(
            verifier.verify_round_certificate(&Context, &certificate, &set, threshold).now_or_never().expect(AT_ONCE),
        ),
        // The body travels with its proposal.
        Effect::RestreamProposal(.., r) => r.resume_with(()),
        // Vote extensions are switched off, and blocks are caught up by the replica, not through the engine.
        Effect::ExtendVote(.., r) => r.resume_with(None),
        Effect::VerifyVoteExtension(.., r) => r.resume_with(Ok(())),
        Effect::CertVerifiedSyncValue(_, _, r) => r.resume_with(()),
        Effect::CertRejectedSyncValue(_, _, _, r) => r.resume_with(()),
    }
}

#[cfg(test)]
mod tests;
