//! From the founder to the validators of any height of a proof: each set is named by a block that the one before made final.
//!
//! Owns which set is which height's, and whose signatures that takes; the signatures themselves are checked all at once, by
//! whoever walks.

use super::{FinalBlock, Link, ProofError};
use crate::block::{BlockHeader, HEADER_VERSION, Height};
use crate::certificate::{CommitCertificate, ValidatorSet};
use crate::digest::Sha256Digest;
use crate::identity::NodeId;
use crate::projection::{Projections, TIME_MS_MAX};
use crate::signed::{Claim, NetworkId};
use std::collections::BTreeMap;

/// The validators from a height on.
struct Step {
    from: Height,
    validators: ValidatorSet,
    /// How many events the ledger had with the block that changed the set.
    tree_size: u64,
}

pub(super) struct Walk<'a> {
    network: NetworkId,
    steps: Vec<Step>,
    /// Every header that was met, by its height.
    headers: BTreeMap<Height, &'a BlockHeader>,
    /// What the validators of the blocks signed, with the heights.
    pub(super) claims: Vec<(Height, Claim)>,
}

fn wrong<T>(header: &BlockHeader, what: &'static str) -> Result<T, ProofError> {
    Err(ProofError::Block { height: header.height, what })
}

impl<'a> Walk<'a> {
    /// Begins with a genesis block that was checked.
    pub(super) fn from_genesis(state: &Projections, header: &'a BlockHeader) -> Self {
        let founder = Step { from: Height::GENESIS, validators: state.validators(), tree_size: header.tree_size };
        let headers = BTreeMap::from([(Height::GENESIS, header)]);
        Self { network: *state.network(), steps: vec![founder], headers, claims: vec![] }
    }

    pub(super) fn sets(&self) -> impl Iterator<Item = (Height, &ValidatorSet)> {
        self.steps.iter().map(|step| (step.from, &step.validators))
    }

    pub(super) fn validators_of(&self, height: Height) -> &ValidatorSet {
        let at = self.steps.partition_point(|step| step.from <= height);
        &self.steps[at - 1].validators // The first is from genesis on.
    }

    /// Of those of `nodes` that left the set with the block of `height` or a later one, how many events the ledger had with it.
    pub(super) fn departures(&self, nodes: &ValidatorSet, height: Height) -> BTreeMap<NodeId, u64> {
        let mut gone = BTreeMap::new();
        for step in self.steps.iter().filter(|step| step.from > height) {
            for node in nodes.nodes().iter().filter(|node| !step.validators.contains(node)) {
                gone.entry(*node).or_insert(step.tree_size);
            }
        }
        gone
    }

    /// Goes on to the set that a link names.
    pub(super) fn follow(&mut self, link: &'a Link) -> Result<(), ProofError> {
        let (header, next) = (&link.header, ValidatorSet::new(link.next.clone()));
        let is_ahead = self.steps.last().is_some_and(|step| step.from <= header.height);
        if !is_ahead || header.height == Height::GENESIS {
            return wrong(header, "it does not come after the change of the validators before it");
        }
        self.finalize(header, &link.certificate)?;
        if next.nodes() != link.next || next.hash() != header.next_validators {
            return wrong(header, "the validators shown to be the next ones are not those it names");
        }
        if header.next_validators == header.validators {
            return wrong(header, "it does not change the validators");
        }
        self.steps.push(Step { from: header.height.next(), validators: next, tree_size: header.tree_size });
        Ok(())
    }

    /// Takes a block that is final, and the header of its parent, by the sets that the links led to.
    pub(super) fn block(&mut self, block: &'a FinalBlock) -> Result<(), ProofError> {
        let FinalBlock { parent, header, certificate } = block;
        if parent.hash() != header.parent || Some(parent.height.0) != header.height.0.checked_sub(1) {
            return wrong(header, "what is shown as its parent is another block");
        }
        self.meet(parent)?;
        self.finalize(header, certificate)
    }

    /// Takes a header that a quorum of its height's validators signed.
    fn finalize(&mut self, header: &'a BlockHeader, certificate: &CommitCertificate) -> Result<(), ProofError> {
        let height = header.height;
        self.meet(header)?;
        certificate
            .check_signers(header, self.validators_of(height))
            .map_err(|source| ProofError::Certificate { height, source })?;
        self.claims.extend(certificate.claims(&self.network, header).map(|claim| (height, claim)));
        Ok(())
    }

    fn meet(&mut self, header: &'a BlockHeader) -> Result<(), ProofError> {
        if header.version != HEADER_VERSION {
            return wrong(header, "its header is of another version");
        }
        if header.network != self.network {
            return wrong(header, "it is of another network");
        }
        if header.time_ms > TIME_MS_MAX {
            return wrong(header, "its time is past the year 9999");
        }
        if header.validators != self.validators_of(header.height).hash() {
            return wrong(header, "its validators are not those that the proof leads to");
        }
        match self.headers.insert(header.height, header) {
            Some(other) if other != header => wrong(header, "the proof shows another block of the same height"),
            _ => Ok(()),
        }
    }

    /// Whether every block that was met goes on from those below it.
    pub(super) fn check_order(&self) -> Result<(), ProofError> {
        let headers: Vec<&BlockHeader> = self.headers.values().copied().collect();
        for pair in headers.windows(2) {
            let [before, after] = [pair[0], pair[1]];
            if after.tree_size < before.tree_size || after.time_ms < before.time_ms {
                return wrong(after, "it has fewer events, or an earlier time, than a block before it");
            }
            if before.height.next() == after.height && after.parent != before.hash() {
                return wrong(after, "it does not follow the block before it");
            }
            if self.next_of(before) != before.next_validators {
                return wrong(before, "it changes the validators, and the proof does not follow it");
            }
        }
        Ok(())
    }

    /// What the proof takes for the validators of the height behind a block.
    fn next_of(&self, header: &BlockHeader) -> Sha256Digest {
        self.validators_of(header.height.next()).hash()
    }
}
