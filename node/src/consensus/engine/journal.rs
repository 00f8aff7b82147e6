//! The entries of the consensus journal: every input that a vote can depend on, so that a restarted node derives the same
//! votes again. What is in no entry did not leave the node.

use super::super::ballot;
use super::super::timer::Timer;
use super::context::{Address, Context, Height, Value};
use super::translate;
use arc_malachitebft_core_consensus::{Input, ProposedValue};
use arc_malachitebft_core_types::{Round, Validity, ValueOrigin};
use borsh::{BorshDeserialize, BorshSerialize};
use pyrsia_ledger::signed::{DecodeError, decode_canonical};
use pyrsia_ledger::{BlockId, NodeId};

#[derive(Clone, Copy, Debug, BorshSerialize, BorshDeserialize)]
enum Step {
    Propose,
    Prevote,
    Precommit,
}

/// A block that was judged.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
struct JudgedBlock {
    height: pyrsia_ledger::Height,
    round: u32,
    polka_round: Option<u32>,
    proposer: NodeId,
    block: BlockId,
    is_valid: bool,
}

#[derive(Debug, BorshSerialize, BorshDeserialize)]
enum Entry {
    Vote(ballot::Vote),
    Proposal(ballot::Proposal),
    Block(JudgedBlock),
    Polka(ballot::PolkaCertificate),
    Timeout { step: Step, round: u32 },
}

/// The entry for an input, none for one that no vote depends on.
pub(super) fn encode(input: Input<Context>) -> Option<Vec<u8>> {
    let entry = match input {
        Input::Vote(vote) => Entry::Vote(translate::vote(&vote.message, vote.signature)),
        Input::Proposal(proposal) => Entry::Proposal(translate::proposal(&proposal.message, proposal.signature)),
        Input::ProposedValue(value, _) => Entry::Block(JudgedBlock {
            height: translate::height(value.height),
            round: value.round.as_u32()?,
            polka_round: value.valid_round.as_u32(),
            proposer: value.proposer.0,
            block: value.value.0,
            is_valid: value.validity.is_valid(),
        }),
        Input::PolkaCertificate(certificate) => Entry::Polka(translate::polka(certificate)),
        Input::TimeoutElapsed(timeout) => {
            let (step, round) = match translate::timer(timeout)? {
                Timer::Propose(round) => (Step::Propose, round),
                Timer::Prevote(round) => (Step::Prevote, round),
                Timer::Precommit(round) => (Step::Precommit, round),
                Timer::Rebroadcast(_) | Timer::Linger => return None,
            };
            Entry::Timeout { step, round }
        }
        Input::StartHeight(..) | Input::RoundCertificate(_) | Input::Propose(_) | Input::SyncValueResponse(_) => return None,
    };
    Some(borsh::to_vec(&entry).expect("writing to memory cannot fail"))
}

pub(super) fn decode(bytes: &[u8]) -> Result<Input<Context>, DecodeError> {
    Ok(match decode_canonical::<Entry>("journal entry", bytes)? {
        Entry::Vote(vote) => Input::Vote(translate::core_vote(vote)),
        Entry::Proposal(proposal) => Input::Proposal(translate::core_proposal(proposal)),
        Entry::Block(block) => Input::ProposedValue(
            ProposedValue {
                height: Height(block.height.0),
                round: Round::new(block.round),
                valid_round: Round::from(block.polka_round),
                proposer: Address(block.proposer),
                value: Value(block.block),
                validity: Validity::from_bool(block.is_valid),
            },
            ValueOrigin::Consensus,
        ),
        Entry::Polka(certificate) => Input::PolkaCertificate(translate::core_polka(certificate)),
        Entry::Timeout { step, round } => {
            let timer = match step {
                Step::Propose => Timer::Propose(round),
                Step::Prevote => Timer::Prevote(round),
                Step::Precommit => Timer::Precommit(round),
            };
            Input::TimeoutElapsed(translate::core_timeout(timer).expect("the timers of a round are the engine's"))
        }
    })
}
