//! The engine's view of our words: wrappers that implement its traits, and nothing else.

use super::super::ballot;
use arc_malachitebft_core_types as core;
use arc_malachitebft_signing::{Error as SigningError, VerificationResult, Verifier};
use core::{NilOrVal, Round, SignedExtension, VoteType};
use ed25519_dalek::SigningKey;
use pyrsia_ledger::{BlockId, NetworkId, NodeId, Signature, ValidatorSet};
use std::fmt;

/// A node is its key, so one type is the engine's address and its public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address(pub(super) NodeId);

impl core::Address for Address {}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The engine agrees on a block by what names it; bodies are the replica's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Value(pub(super) BlockId);

impl core::Value for Value {
    type Id = Self;

    fn id(&self) -> Self {
        *self
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Height(pub(super) u64);

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::Height for Height {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, n: u64) -> Self {
        Self(self.0 + n)
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Validator(Address);

impl core::Validator<Context> for Validator {
    fn address(&self) -> &Address {
        &self.0
    }

    fn public_key(&self) -> &Address {
        &self.0
    }

    fn voting_power(&self) -> u64 {
        1
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Validators(Vec<Validator>);

impl Validators {
    /// The ledger keeps its set in ascending order without repetition.
    pub(super) fn new(set: &ValidatorSet) -> Self {
        Self(set.nodes().iter().map(|node| Validator(Address(*node))).collect())
    }
}

impl core::ValidatorSet<Context> for Validators {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn total_voting_power(&self) -> u64 {
        self.0.len() as u64
    }

    fn get_by_address(&self, address: &Address) -> Option<&Validator> {
        self.0.binary_search_by(|validator| validator.0.cmp(address)).ok().map(|index| &self.0[index])
    }

    fn get_by_index(&self, index: usize) -> Option<&Validator> {
        self.0.get(index)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vote {
    pub(super) kind: VoteType,
    pub(super) height: Height,
    pub(super) round: Round,
    pub(super) value: NilOrVal<Value>,
    pub(super) validator: Address,
}

impl core::Vote<Context> for Vote {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<Value> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<Value> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Address {
        &self.validator
    }

    fn extension(&self) -> Option<&SignedExtension<Context>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<Context>> {
        None
    }

    fn extend(self, _: SignedExtension<Context>) -> Self {
        self
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    pub(super) height: Height,
    pub(super) round: Round,
    pub(super) value: Value,
    pub(super) polka_round: Round,
    pub(super) proposer: Address,
}

impl core::Proposal<Context> for Proposal {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Value {
        &self.value
    }

    fn take_value(self) -> Value {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.polka_round
    }

    fn validator_address(&self) -> &Address {
        &self.proposer
    }
}

/// Bodies travel with their proposal, so the engine never sees a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoPart;

impl core::ProposalPart<Context> for NoPart {
    fn is_first(&self) -> bool {
        true
    }

    fn is_last(&self) -> bool {
        true
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ed25519;

impl core::SigningScheme for Ed25519 {
    type DecodingError = &'static str;
    type Signature = Signature;
    type PublicKey = Address;
    type PrivateKey = SigningKey;

    fn decode_signature(bytes: &[u8]) -> Result<Signature, &'static str> {
        bytes.try_into().map(Signature::from_bytes).map_err(|_| "a signature has 64 bytes")
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.as_bytes().to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<Address, &'static str> {
        bytes.try_into().map(|key| Address(NodeId::from_public_key(key))).map_err(|_| "a key has 32 bytes")
    }

    fn encode_public_key(key: &Address) -> Vec<u8> {
        key.0.public_key().to_vec()
    }
}

#[derive(Clone, Debug)]
pub(super) struct Context;

impl core::Context for Context {
    type Address = Address;
    type Height = Height;
    type ProposalPart = NoPart;
    type Proposal = Proposal;
    type Validator = Validator;
    type ValidatorSet = Validators;
    type Timeouts = core::LinearTimeouts;
    type Value = Value;
    type Vote = Vote;
    type Extension = ();
    type SigningScheme = Ed25519;

    fn select_proposer<'a>(&self, validators: &'a Validators, height: Height, round: Round) -> &'a Validator {
        let set = ValidatorSet::new(validators.0.iter().map(|validator| validator.0.0).collect());
        let turn = ballot::proposer(&set, pyrsia_ledger::Height(height.0), round.as_u32().unwrap_or(0));
        let index = turn.and_then(|node| set.nodes().binary_search(&node).ok());
        &validators.0[index.expect("the ledger never has an empty set of validators")]
    }

    fn new_proposal(&self, height: Height, round: Round, value: Value, polka_round: Round, proposer: Address) -> Proposal {
        Proposal { height, round, value, polka_round, proposer }
    }

    fn new_prevote(&self, height: Height, round: Round, value: NilOrVal<Value>, validator: Address) -> Vote {
        Vote { kind: VoteType::Prevote, height, round, value, validator }
    }

    fn new_precommit(&self, height: Height, round: Round, value: NilOrVal<Value>, validator: Address) -> Vote {
        Vote { kind: VoteType::Precommit, height, round, value, validator }
    }
}

/// Lets the engine check signatures with the ledger's rule.
pub(super) struct LedgerVerifier {
    pub(super) network: NetworkId,
}

#[async_trait::async_trait]
impl Verifier<Context> for LedgerVerifier {
    async fn verify_signed_vote(
        &self,
        vote: &Vote,
        signature: &Signature,
        _: &Address,
    ) -> Result<VerificationResult, SigningError> {
        Ok(VerificationResult::from_bool(super::translate::vote(vote, *signature).verify(&self.network)))
    }

    async fn verify_signed_proposal(
        &self,
        proposal: &Proposal,
        signature: &Signature,
        _: &Address,
    ) -> Result<VerificationResult, SigningError> {
        Ok(VerificationResult::from_bool(super::translate::proposal(proposal, *signature).verify(&self.network)))
    }

    async fn verify_signed_vote_extension(
        &self,
        _: &core::VoteExtensionScope<Context>,
        (): &(),
        _: &Signature,
        _: &Address,
    ) -> Result<VerificationResult, SigningError> {
        Ok(VerificationResult::Invalid)
    }

    async fn verify_validator_proof(&self, _: &core::ValidatorProof<Context>) -> Result<VerificationResult, SigningError> {
        Ok(VerificationResult::Invalid)
    }
}
