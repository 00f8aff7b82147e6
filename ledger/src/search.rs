//! Questions to a ledger: which of its events a person means, by what they are about, who signed them and when.
//!
//! Owns what a question can say ([`Query`]), when an event answers it, and how an answer is cut into pages. An event has one
//! place, its index in the tree, which no later block changes: a page goes on where the one before stopped, whatever was
//! appended meanwhile. Never reads a log: a stored one is searched through its index ([`crate::log::StoredTree::search`]),
//! any other block by block ([`in_order`]).

mod pattern;
mod terms;

use crate::block::{BlockHash, BlockHeader, Height, SealedBlock};
use crate::coordinate::{BuildId, PackageCoordinate, PackageType};
use crate::digest::Sha256Digest;
use crate::event::{BuildOutcome, Event};
use crate::evidence::Evidence;
use crate::identity::NodeId;
use crate::projection::Projections;
use crate::projection::builds::JudgeState;
use crate::signed::SignedEvent;
use std::collections::VecDeque;

pub use pattern::{CoordinatePattern, PATTERN_BYTES_MAX, PatternError, fits};
pub(crate) use terms::{TERM_BYTES, Term, terms_of};

/// What is looked for: an event answers that fits everything that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The SHA-256 of an artifact that was revealed or published, of a verifier that was approved, the id of an event, or the
    /// hash of its block.
    pub digest: Option<Sha256Digest>,
    pub build: Option<BuildId>,
    pub package_type: Option<PackageType>,
    pub coordinate: Option<CoordinatePattern>,
    /// What the node signed, and what was decided about it.
    pub node: Option<NodeId>,
    /// Of what the node signed, only this.
    pub role: Option<Role>,
    /// One of [`Event::KINDS`].
    pub kind: Option<&'static str>,
    /// Bounds of the time of the block, both included.
    pub since_ms: Option<u64>,
    pub until_ms: Option<u64>,
    /// Bounds of the height, both included.
    pub from: Option<Height>,
    pub to: Option<Height>,
}

/// What a node had to do with a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It asked for the build.
    Asked,
    /// It showed what it had built, whatever the others got.
    Built,
    /// What it built is what is agreed on, or the same but for what the verifier forgives.
    Agreed,
    /// It built something else than what is agreed on.
    Dissented,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Newest,
    Oldest,
}

/// Which part of an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    pub order: Order,
    /// The most events on the page; at least one.
    pub limit: usize,
    /// What the page before gave; none for the first.
    pub cursor: Option<Cursor>,
}

/// How far a search has come: with the newest first, every event from this index on was looked at; with the oldest first, every
/// event below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub u64);

/// An event that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub index: u64,
    pub height: Height,
    pub block: BlockHash,
    pub time_ms: u64,
    pub event: SignedEvent,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In the order that was asked for.
    pub events: Vec<Found>,
    /// Where the next page begins. None when nothing that is not on this page or one before it answers: then, and only then, absence is
    /// certain.
    pub next: Option<Cursor>,
    /// The last block that was looked at, maybe in part; none when none had to be.
    pub searched_to: Option<Height>,
}

impl Query {
    /// Whether an event of the block with this header answers, but for the block's height and time. `state` says what the event's
    /// build is of and what became of it.
    pub(crate) fn matches(&self, state: &Projections, block: BlockHash, event: &SignedEvent) -> bool {
        let body = event.event();
        self.kind.is_none_or(|kind| body.kind() == kind)
            && self.build.is_none_or(|build| build_of(body) == Some(build))
            && self.node.is_none_or(|node| event.author() == node || subject_of(body) == Some(node))
            && self.role.is_none_or(|role| self.node.is_none_or(|node| event.author() == node) && role.fits(state, event))
            && self.is_of_package(state, body)
            && self.digest.is_none_or(|digest| block.0 == digest || names_digest(body, &digest) || *event.id().digest() == digest)
    }

    fn is_of_package(&self, state: &Projections, event: &Event) -> bool {
        if self.package_type.is_none() && self.coordinate.is_none() {
            return true;
        }
        let coordinate = coordinate_of(state, event);
        let package_type = match event {
            Event::VerifierApproved(body) => Some(&body.package_type),
            _ => coordinate.map(|coordinate| &coordinate.package_type),
        };
        self.package_type.as_ref().is_none_or(|wanted| package_type == Some(wanted))
            && self
                .coordinate
                .as_ref()
                .is_none_or(|pattern| coordinate.is_some_and(|coordinate| pattern.means(coordinate.id.as_str())))
    }

    /// Whether the height and the time of a block are within the bounds.
    fn has_in_bounds(&self, header: &BlockHeader) -> bool {
        self.from.is_none_or(|from| header.height >= from)
            && self.to.is_none_or(|to| header.height <= to)
            && self.since_ms.is_none_or(|since| header.time_ms >= since)
            && self.until_ms.is_none_or(|until| header.time_ms <= until)
    }

    /// The events of a block that answer, in the order of the ledger.
    pub(crate) fn found_in(&self, state: &Projections, sealed: SealedBlock) -> impl DoubleEndedIterator<Item = Found> {
        let header = &sealed.block.header;
        let (height, block, time_ms) = (header.height, sealed.block.hash(), header.time_ms);
        let first = first_index(&sealed);
        let in_bounds = self.has_in_bounds(header);
        let events = sealed.block.events.into_iter().enumerate();
        let answers = move |(_, event): &(usize, SignedEvent)| in_bounds && self.matches(state, block, event);
        events.filter(answers).map(move |(offset, event)| Found { index: first + offset as u64, height, block, time_ms, event })
    }
}

impl Role {
    fn fits(self, state: &Projections, event: &SignedEvent) -> bool {
        match (self, event.event()) {
            (Self::Asked, Event::BuildRequested(_)) => true,
            (Self::Built, Event::BuildResultRevealed(body)) => matches!(*body.outcome, BuildOutcome::Built { .. }),
            (Self::Agreed | Self::Dissented, Event::BuildResultRevealed(body)) => {
                let stands = state.builds.judge_state(&body.build_id, &event.author());
                match self {
                    Self::Agreed => matches!(stands, JudgeState::Agrees | JudgeState::AgreesAfterPasses),
                    _ => stands == JudgeState::Dissents,
                }
            }
            _ => false,
        }
    }

    /// The one kind of event that has this role.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Asked => "BuildRequested",
            Self::Built | Self::Agreed | Self::Dissented => "BuildResultRevealed",
        }
    }
}

/// The index of a block's first event.
pub(crate) fn first_index(sealed: &SealedBlock) -> u64 {
    sealed.block.header.tree_size - sealed.block.events.len() as u64
}

/// The build that an event is about.
pub fn build_of(event: &Event) -> Option<BuildId> {
    match event {
        Event::BuildRequested(body) => Some(body.build_id),
        Event::BuildResultCommitted(body) => Some(body.build_id),
        Event::BuildResultRevealed(body) => Some(body.build_id),
        Event::BuildWaitEnded(body) => Some(body.build_id),
        Event::BuildCandidateVouched(body) => Some(body.build_id),
        Event::BuildDisputed(body) => Some(body.build_id),
        Event::AddArtifact(body) => Some(body.build_id),
        Event::EquivocationProved(body) => match body.evidence.as_ref() {
            Evidence::Commitments { first, .. } => Some(first.committed.build_id),
            Evidence::Votes { .. } | Evidence::Proposals { .. } => None,
        },
        Event::NetworkFounded(_)
        | Event::NodeAuthorizationApproved(_)
        | Event::NodeActivated(_)
        | Event::NodeRevocationApproved(_)
        | Event::VerifierApproved(_) => None,
    }
}

/// The package that an event is about.
pub fn coordinate_of<'a>(state: &'a Projections, event: &'a Event) -> Option<&'a PackageCoordinate> {
    match event {
        Event::BuildRequested(body) => Some(&body.coordinate),
        Event::AddArtifact(body) => Some(&body.coordinate),
        event => state.builds.get(&build_of(event)?).map(|build| &build.coordinate),
    }
}

/// The node that an event of another one decides about.
fn subject_of(event: &Event) -> Option<NodeId> {
    match event {
        Event::NodeAuthorizationApproved(body) => Some(body.node),
        Event::NodeRevocationApproved(body) => Some(body.node),
        Event::EquivocationProved(body) => Some(body.evidence.accused()),
        _ => None,
    }
}

/// The bytes that an event names by their SHA-256.
fn digests_of(event: &Event) -> Vec<Sha256Digest> {
    match event {
        Event::AddArtifact(body) => vec![body.artifact.sha256],
        Event::VerifierApproved(body) => vec![body.module],
        Event::BuildResultRevealed(body) => match &*body.outcome {
            BuildOutcome::Built { artifacts, .. } => artifacts.iter().map(|artifact| artifact.sha256).collect(),
            BuildOutcome::Failed { .. } | BuildOutcome::Abstained { .. } => vec![],
        },
        _ => vec![],
    }
}

fn names_digest(event: &Event, digest: &Sha256Digest) -> bool {
    digests_of(event).contains(digest)
}

/// A page of the answer of a log without an index: every block is looked at once, from genesis on. `state` is that after the last of
/// them.
pub fn in_order<E>(
    blocks: impl Iterator<Item = Result<SealedBlock, E>>,
    state: &Projections,
    query: &Query,
    request: &PageRequest,
) -> Result<Page, E> {
    let (mut events, mut has_more, mut searched_to) = (VecDeque::<Found>::new(), false, None);
    let Cursor(bound) = request.cursor.unwrap_or(Cursor(if request.order == Order::Newest { u64::MAX } else { 0 }));
    for sealed in blocks {
        let sealed = sealed?;
        let height = sealed.height();
        for found in query.found_in(state, sealed) {
            let is_beyond = match request.order {
                Order::Newest => found.index < bound,
                Order::Oldest => found.index >= bound,
            };
            match request.order {
                _ if !is_beyond => {}
                Order::Newest => {
                    events.push_front(found);
                    has_more |= events.len() > request.limit;
                    events.truncate(request.limit);
                }
                Order::Oldest if events.len() == request.limit => has_more = true,
                Order::Oldest => events.push_back(found),
            }
        }
        // The newest come first, so genesis is what was looked at last.
        searched_to = if request.order == Order::Newest { Some(Height::GENESIS) } else { Some(height) };
        if has_more && request.order == Order::Oldest {
            break;
        }
    }
    let next = events.back().filter(|_| has_more).map(|last| match request.order {
        Order::Newest => Cursor(last.index),
        Order::Oldest => Cursor(last.index + 1),
    });
    if next.is_some() {
        searched_to = events.back().map(|last| last.height);
    }
    Ok(Page { events: events.into(), next, searched_to })
}
