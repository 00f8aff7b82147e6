//! A log folded with every check that a follower makes, signatures and certificates included, [in stages](super::stages): reading and
//! decoding, folding the blocks in their order, and verifying signatures in batches.
//!
//! What is refused, and with which words, is what a follower would say who takes block after block alone: of all that is wrong, the
//! first of the lowest block.

use super::stages::{Stages, Threads, in_stages};
use super::transfer::{ReadyBlock, SoundBlocks, TransferError};
use crate::audit::{Decoded, EventMark, SIGNATURES_PER_WORK};
use crate::block::{Height, SealedBlock};
use crate::certificate::CertificateError;
use crate::digest::Sha256Digest;
use crate::projection::{BlockError, Projections};
use crate::signed::{Claim, EncodedEvent, EventId, NetworkId, first_wrong_claim};

/// The bytes of blocks under which the signatures of one piece of work stand: those of ordinary events are far fewer, and the largest
/// events are kept for as long as the piece is.
const WORK_BYTES: usize = 1 << 20;

/// Under what a signature stands.
enum Under {
    Event { index: usize, id: EventId },
    Certificate,
}

/// Signatures of some blocks, in the order in which a follower looks at them.
#[derive(Default)]
struct Signatures {
    claims: Vec<(Height, Under, Claim)>,
    /// Of the blocks, which the claims hold on to.
    size_bytes: usize,
}

/// A block that was folded.
pub struct FoldedBlock<'a> {
    pub sealed: SealedBlock,
    pub bytes: &'a [u8],
    marks: &'a [EventMark],
}

impl FoldedBlock<'_> {
    /// What the tree has of each event.
    pub fn leaves(&self) -> impl Iterator<Item = Sha256Digest> {
        self.marks.iter().map(|mark| mark.leaf)
    }
}

/// Is given each block.
type Each<'a> = &'a mut dyn FnMut(FoldedBlock<'_>) -> Result<(), TransferError>;

/// The block that does not hold.
type Wrong = (Height, BlockError);

impl Signatures {
    /// Whether these are enough for a piece of work.
    fn are_enough(&self) -> bool {
        self.claims.len() >= SIGNATURES_PER_WORK || self.size_bytes >= WORK_BYTES
    }

    fn add(&mut self, network: &NetworkId, sealed: &SealedBlock, size_bytes: usize, marks: &[EventMark], of_events: Vec<Claim>) {
        self.size_bytes += size_bytes;
        let (height, header) = (sealed.height(), &sealed.block.header);
        let events = marks.iter().zip(of_events).enumerate();
        let events = events.map(|(index, (mark, claim))| (height, Under::Event { index, id: mark.id }, claim));
        self.claims.extend(events);
        // Those of the others were verified before the block was folded: nobody without the word of a quorum makes much be folded.
        if !Projections::looks_at_certificate_first(marks.len()) {
            self.claims.extend(sealed.certificate.claims(network, header).map(|claim| (height, Under::Certificate, claim)));
        }
    }

    fn verify(&self) -> Option<Wrong> {
        let wrong = first_wrong_claim(self.claims.iter().map(|(_, _, claim)| claim))?;
        let (height, under, claim) = &self.claims[wrong];
        let height = *height;
        let error = match under {
            Under::Event { index, id } => BlockError::Signature { height, index: *index, id: *id },
            Under::Certificate => BlockError::Certificate { height, source: CertificateError::Signature(claim.author()) },
        };
        Some((height, error))
    }
}

fn refused((height, error): Wrong) -> TransferError {
    TransferError::Refused { height, source: Box::new(error) }
}

/// The state at the end of a log of which every block holds. `each` is given a block once it is folded, while signatures of it and of
/// those before it may still be under way: what it makes of them is worth something when this returns a state.
pub fn fold_checked(
    mut blocks: SoundBlocks,
    pinned: Option<NetworkId>,
    threads: Threads,
    each: Each<'_>,
) -> Result<Projections, TransferError> {
    let blocks = std::iter::from_fn(move || blocks.next_ready());
    in_stages(threads, blocks, Signatures::verify, |stages| {
        Folding { pinned, state: None, signatures: Signatures::default(), stages, wrong: None }.fold(each)
    })
}

/// What the thread that folds holds.
struct Folding<'a> {
    pinned: Option<NetworkId>,
    state: Option<Projections>,
    /// Not handed out yet.
    signatures: Signatures,
    stages: Stages<'a, Result<ReadyBlock, TransferError>, Signatures, Option<Wrong>>,
    /// The lowest block that is known to have a wrong signature.
    wrong: Option<Wrong>,
}

impl Folding<'_> {
    fn fold(mut self, each: Each<'_>) -> Result<Projections, TransferError> {
        let mut folded = Ok(());
        while let Some(block) = self.stages.next_item() {
            folded = block.and_then(|block| self.take_in(block, each));
            if folded.is_err() || self.wrong.is_some() {
                break;
            }
        }
        let state = self.state.take();
        // Of a block before the one that the fold ended at.
        match self.settle() {
            Some(wrong) => Err(refused(wrong)),
            None => folded.and_then(|()| state.ok_or(TransferError::Empty)),
        }
    }

    fn take_in(&mut self, block: ReadyBlock, each: Each<'_>) -> Result<(), TransferError> {
        let ReadyBlock { bytes, decoded: Decoded { sealed, marks, claims } } = block;
        let height = sealed.height();
        let next = match self.state.take() {
            None => Projections::from_genesis(&sealed),
            Some(state) => {
                let events: Vec<EncodedEvent<'_>> =
                    sealed.block.events.iter().zip(&marks).map(|(event, mark)| mark.of_event(event, &bytes)).collect();
                let next = state.advance_unverified(&sealed, &events);
                if let Ok(next) = &next {
                    self.signatures.add(next.network(), &sealed, bytes.len(), &marks, claims);
                }
                next
            }
        };
        let next = next.map_err(|error| refused((height, error)))?;
        if let Some(pinned) = self.pinned.filter(|pinned| pinned != next.network()) {
            return Err(TransferError::Network { found: *next.network(), pinned });
        }
        self.state = Some(next);
        if self.signatures.are_enough() {
            self.hand_out();
        }
        while let Some(verdict) = self.stages.done() {
            self.hear(verdict);
        }
        each(FoldedBlock { sealed, bytes: &bytes, marks: &marks })
    }

    fn hand_out(&mut self) {
        self.stages.hand_out(std::mem::take(&mut self.signatures));
    }

    fn hear(&mut self, verdict: Option<Wrong>) {
        self.wrong = self.wrong.take().into_iter().chain(verdict).min_by_key(|(height, _)| *height);
    }

    /// Waits until every signature so far is verified.
    fn settle(mut self) -> Option<Wrong> {
        self.hand_out();
        while let Some(verdict) = self.stages.wait() {
            self.hear(verdict);
        }
        self.wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::tests::Bench;

    #[test]
    fn signatures_under_many_bytes_are_enough_for_a_piece_of_work_however_few_they_are() {
        let bench = Bench::founded();
        let (network, sealed, mut signatures) = (bench.state.network(), &bench.log[0], Signatures::default());
        for (size_bytes, are_enough) in [(WORK_BYTES - 1, false), (1, true)] {
            signatures.add(network, sealed, size_bytes, &[], vec![]);
            assert_eq!(signatures.are_enough(), are_enough, "{} signatures", signatures.claims.len());
        }
    }
}
