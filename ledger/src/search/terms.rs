//! The words under which an index finds the blocks of events.
//!
//! A term is a few bytes that follow from the event alone. Two things may have the same: an index names candidates, and the
//! events of a candidate are asked themselves.

use super::{build_of, digests_of, subject_of};
use crate::block::SealedBlock;
use crate::coordinate::BuildId;
use crate::digest::Sha256Digest;
use crate::identity::NodeId;
use std::collections::BTreeSet;

/// How many bytes a term has: what it is of, and the beginning of its value. Whoever wants another package's searches to be slow has to
/// find a digest with 48 bits of its own.
pub(crate) const TERM_BYTES: usize = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Term([u8; TERM_BYTES]);

impl Term {
    fn new(of: u8, value: &[u8]) -> Self {
        let mut term = [of; TERM_BYTES];
        term[1..].copy_from_slice(&value[..TERM_BYTES - 1]);
        Self(term)
    }

    pub(crate) fn build(id: &BuildId) -> Self {
        Self::new(b'b', id.as_bytes())
    }

    /// Of an artifact, of a module, or of a block.
    pub(crate) fn digest(digest: &Sha256Digest) -> Self {
        Self::new(b'd', digest.as_bytes())
    }

    pub(crate) fn kind(kind: &str) -> Self {
        Self::new(b'k', Sha256Digest::of(kind.as_bytes()).as_bytes())
    }

    /// A node that signed something or is decided about.
    pub(crate) fn node(node: &NodeId) -> Self {
        Self::new(b'n', node.public_key())
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; TERM_BYTES] {
        &self.0
    }
}

/// Every term under which a block is found.
pub(crate) fn terms_of(sealed: &SealedBlock) -> BTreeSet<Term> {
    let mut terms = BTreeSet::from([Term::digest(&sealed.block.hash().0)]);
    let mut kinds = BTreeSet::new();
    for signed in &sealed.block.events {
        let event = signed.event();
        kinds.insert(event.kind());
        terms.extend(build_of(event).map(|id| Term::build(&id)));
        terms.extend([Some(signed.author()), subject_of(event)].into_iter().flatten().map(|node| Term::node(&node)));
        terms.extend(digests_of(event).iter().map(Term::digest));
    }
    terms.extend(kinds.into_iter().map(Term::kind));
    terms
}
