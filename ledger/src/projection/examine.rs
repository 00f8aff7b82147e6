//! Whether a block is the next one: every check a follower, a replay and the audit make of it.

use super::{Projections, TIME_MS_MAX};
use crate::block::{BLOCK_EVENT_BYTES_MAX, Block, BlockHeader, EVENTS_PER_BLOCK_MAX, Height, SealedBlock};
use crate::certificate::{CertificateError, ValidatorSet};
use crate::policy::Refusal;
use crate::signed::{Claim, EncodedEvent, EventId, first_wrong_claim};
use crate::tree::leaf_hash;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

/// The fewest signatures of a block that are worth work of their own. A block of as many events proves first that it is final: whoever
/// has no word of a quorum makes nobody check more than these.
const SIGNATURES_APART_MIN: usize = 64;

/// Does two pieces of work that need nothing of each other, in whatever order or at once: the signatures of a block, and everything
/// else about it.
pub type DoBoth = fn(signatures: &mut (dyn FnMut() + Send), rest: &mut dyn FnMut());

/// [`DoBoth`] for who has one thread.
pub fn one_after_the_other(signatures: &mut (dyn FnMut() + Send), rest: &mut dyn FnMut()) {
    rest();
    signatures();
}

/// What a header states that follows from the ledger before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderPart {
    Version,
    Network,
    Parent,
    Time,
    Proposer,
    TreeSize,
    TreeRoot,
    StateRoot,
    Validators,
    NextValidators,
    /// Of a founding block, whose every part follows from its event.
    Any,
}

impl fmt::Display for HeaderPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "the version",
            Self::Network => "the network",
            Self::Parent => "the parent",
            Self::Time => "the time",
            Self::Proposer => "the proposer",
            Self::TreeSize => "the tree size",
            Self::TreeRoot => "the tree root",
            Self::StateRoot => "the state root",
            Self::Validators => "the validator set",
            Self::NextValidators => "the validator set of the next height",
            Self::Any => "the header",
        })
    }
}

/// Why a block is not the next one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BlockError {
    #[error("block {found} is not the next one, {expected} is")]
    Height { expected: Height, found: Height },
    #[error("block {height}: {what} is not what follows from the ledger")]
    Header { height: Height, what: HeaderPart },
    #[error(
        "block {height} has {events} events in {size_bytes} bytes, more than {EVENTS_PER_BLOCK_MAX} or {BLOCK_EVENT_BYTES_MAX}"
    )]
    TooLarge { height: Height, events: usize, size_bytes: usize },
    #[error("block {height}, event {index} ({id}) is refused")]
    Event {
        height: Height,
        index: usize,
        id: EventId,
        #[source]
        refusal: Box<Refusal>,
    },
    #[error("block {height}, event {index} ({id}): the signature is wrong")]
    Signature { height: Height, index: usize, id: EventId },
    #[error("block {height} is not final")]
    Certificate {
        height: Height,
        #[source]
        source: CertificateError,
    },
    #[error("this is no genesis block: {0}")]
    Genesis(&'static str),
}

impl Projections {
    /// The state after `block`, which must be the next one and say exactly what follows from its events. Looks at no
    /// signature: [`Projections::apply_sealed`] does.
    pub fn apply(&self, block: &Block) -> Result<Self, BlockError> {
        self.clone().advance(block)
    }

    /// [`Projections::apply`] for who keeps no earlier state: nothing is copied, which is what most of it costs.
    pub fn advance(self, block: &Block) -> Result<Self, BlockError> {
        self.advance_encoded(block, &EncodedEvent::all(&block.events))
    }

    /// Whether the events that came with the header are those that it commits to. If not, the block is no wrong block but a wrong
    /// copy of one, which anybody can make: it says nothing about the header.
    pub fn is_whole(&self, block: &Block) -> bool {
        let mut frontier = self.frontier.clone();
        frontier.extend(block.events.iter().map(|event| leaf_hash(&event.encode())));
        (frontier.size(), frontier.root()) == (block.header.tree_size, block.header.tree_root)
    }

    /// [`Projections::apply`] with the certificate and the signature of every event: what a follower and a replay do.
    pub fn apply_sealed(&self, sealed: &SealedBlock) -> Result<Self, BlockError> {
        self.apply_sealed_by(sealed, one_after_the_other)
    }

    /// [`Projections::apply_sealed`] with the signatures of a large block as work of their own.
    pub fn apply_sealed_by(&self, sealed: &SealedBlock, do_both: DoBoth) -> Result<Self, BlockError> {
        self.clone().advance_sealed_by(sealed, do_both)
    }

    /// [`Projections::apply_sealed`] for who keeps no earlier state.
    pub fn advance_sealed(self, sealed: &SealedBlock) -> Result<Self, BlockError> {
        self.advance_sealed_by(sealed, one_after_the_other)
    }

    /// What costs little comes before any signature: anybody can make a block of many wrong ones.
    fn advance_sealed_by(self, sealed: &SealedBlock, do_both: DoBoth) -> Result<Self, BlockError> {
        let (height, header, certificate) = (sealed.height(), &sealed.block.header, &sealed.certificate);
        let events = EncodedEvent::all(&sealed.block.events);
        let validators = self.validators();
        until_found(|found| self.examine_frame(header, &events, &validators, found))?;
        let not_final = |source| BlockError::Certificate { height, source };
        certificate.check_signers(header, &validators).map_err(not_final)?;
        let mut claims: Vec<Claim> = events.iter().map(EncodedEvent::claim).collect();
        if !Self::looks_at_certificate_first(events.len()) {
            claims.extend(certificate.claims(&self.network, header));
        } else {
            certificate.verify(&self.network, header, &validators).map_err(not_final)?;
            // A header of a quorum may come with the events of anybody.
            until_found(|found| self.examine_tree(header, &events, found))?;
        }
        let is_refused = AtomicBool::new(false);
        let (mut before, mut next, mut wrong) = (Some(self), None, None);
        let mut rest = || {
            next = before.take().map(|state| state.advance_encoded(&sealed.block, &events));
            is_refused.store(matches!(next, Some(Err(_))), Ordering::Relaxed);
        };
        let mut signatures = || {
            if !is_refused.load(Ordering::Relaxed) {
                wrong = first_wrong_claim(&claims);
            }
        };
        let do_both = if claims.len() < SIGNATURES_APART_MIN { one_after_the_other } else { do_both };
        do_both(&mut signatures, &mut rest);
        let next = next.expect("both pieces of work are done")?;
        match wrong {
            None => Ok(next),
            Some(wrong) => Err(match events.get(wrong) {
                Some(event) => BlockError::Signature { height, index: wrong, id: event.id },
                None => not_final(CertificateError::Signature(claims[wrong].author())),
            }),
        }
    }

    /// Whether of a block of so many events the certificate is verified before anything is made of them.
    pub(crate) const fn looks_at_certificate_first(events: usize) -> bool {
        events >= SIGNATURES_APART_MIN
    }

    /// [`Projections::advance_sealed`] for who verifies the signatures elsewhere: every check but those under the events and, of a block
    /// of few events, under the precommits. Of several errors the one that it would give, had these held.
    pub(crate) fn advance_unverified(self, sealed: &SealedBlock, events: &[EncodedEvent<'_>]) -> Result<Self, BlockError> {
        let (height, header, certificate) = (sealed.height(), &sealed.block.header, &sealed.certificate);
        let validators = self.validators();
        until_found(|found| self.examine_frame(header, events, &validators, found))?;
        let not_final = |source| BlockError::Certificate { height, source };
        if Self::looks_at_certificate_first(events.len()) {
            certificate.verify(&self.network, header, &validators).map_err(not_final)?;
            until_found(|found| self.examine_tree(header, events, found))?;
        } else {
            certificate.check_signers(header, &validators).map_err(not_final)?;
        }
        self.advance_encoded(&sealed.block, events)
    }

    fn advance_encoded(self, block: &Block, events: &[EncodedEvent<'_>]) -> Result<Self, BlockError> {
        until_found(|found| self.examine(block, events, found))
    }

    /// What is seen of a block without looking into its events.
    fn examine_frame(
        &self,
        header: &BlockHeader,
        events: &[EncodedEvent<'_>],
        validators: &ValidatorSet,
        found: &mut dyn FnMut(BlockError) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (expected, height) = (self.height.next(), header.height);
        if height != expected {
            found(BlockError::Height { expected, found: height })?;
        }
        if !(self.time_ms..=TIME_MS_MAX).contains(&header.time_ms) {
            found(BlockError::Header { height, what: HeaderPart::Time })?;
        }
        if !validators.contains(&header.proposer) {
            found(BlockError::Header { height, what: HeaderPart::Proposer })?;
        }
        let size_bytes = events.iter().map(|event| event.bytes.len()).sum();
        if events.len() > EVENTS_PER_BLOCK_MAX || size_bytes > BLOCK_EVENT_BYTES_MAX {
            found(BlockError::TooLarge { height, events: events.len(), size_bytes })?;
        }
        ControlFlow::Continue(())
    }

    /// Whether these are the events, signatures and all, that the header commits to.
    fn examine_tree(
        &self,
        header: &BlockHeader,
        events: &[EncodedEvent<'_>],
        found: &mut dyn FnMut(BlockError) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (mut frontier, height) = (self.frontier.clone(), header.height);
        frontier.extend(events.iter().map(|event| event.leaf));
        if frontier.size() != header.tree_size {
            found(BlockError::Header { height, what: HeaderPart::TreeSize })?;
        }
        if frontier.root() != header.tree_root {
            found(BlockError::Header { height, what: HeaderPart::TreeRoot })?;
        }
        ControlFlow::Continue(())
    }

    /// Every check of a block but its signatures, and the state after it as far as its events are allowed. `found` is told
    /// of each error and decides whether the examination goes on.
    pub(crate) fn examine(
        self,
        block: &Block,
        events: &[EncodedEvent<'_>],
        found: &mut dyn FnMut(BlockError) -> ControlFlow<()>,
    ) -> ControlFlow<(), Self> {
        let (header, height, expected) = (&block.header, block.header.height, self.height.next());
        let validators = self.validators();
        self.examine_frame(header, events, &validators, found)?;
        let mut next = self;
        for (index, event) in events.iter().enumerate() {
            if let Err(refusal) = next.fold(event, header.time_ms) {
                found(BlockError::Event { height, index, id: event.id, refusal: Box::new(refusal) })?;
            }
        }
        // Refused or not, each is a leaf of the tree that the next blocks go on with.
        next.frontier.extend(events.iter().map(|event| event.leaf));
        next.settle();
        let follows = next.header_to_come(&validators, header.proposer, header.time_ms);
        for (same, what) in [
            (follows.version == header.version, HeaderPart::Version),
            (follows.network == header.network, HeaderPart::Network),
            (follows.parent == header.parent, HeaderPart::Parent),
            (follows.tree_size == header.tree_size, HeaderPart::TreeSize),
            (follows.tree_root == header.tree_root, HeaderPart::TreeRoot),
            (follows.state_root == header.state_root, HeaderPart::StateRoot),
            (follows.validators == header.validators, HeaderPart::Validators),
            (follows.next_validators == header.next_validators, HeaderPart::NextValidators),
        ] {
            if !same {
                found(BlockError::Header { height, what })?;
            }
        }
        let mut next = next.advanced_to(header);
        next.height = expected;
        ControlFlow::Continue(next)
    }
}

/// The first error of an examination, which goes no further.
fn until_found<T>(
    examine: impl FnOnce(&mut dyn FnMut(BlockError) -> ControlFlow<()>) -> ControlFlow<(), T>,
) -> Result<T, BlockError> {
    let mut first = None;
    let examined = examine(&mut |error| {
        first = Some(error);
        ControlFlow::Break(())
    });
    match examined {
        ControlFlow::Continue(examined) => Ok(examined),
        ControlFlow::Break(()) => Err(first.expect("only an error breaks an examination off")),
    }
}

#[cfg(test)]
mod tests;
