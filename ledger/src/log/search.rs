//! Searching a stored log: through its index where that names the blocks, block by block where it does not.
//!
//! What a question says of a package is looked up in the state, which knows the builds of each; everything else has its terms in the
//! index. The blocks that have all of it are read and their events asked. One page takes a bounded number of steps, whatever is asked: where they
//! do not suffice it says how far it came.

use super::terms::Terms;
use super::{LogError, StoredTree};
use crate::block::Height;
use crate::coordinate::{BuildId, PackageCoordinate, PackageId, PackageType};
use crate::projection::Projections;
use crate::search::{Cursor, Order, Page, PageRequest, Query, Role, Term, first_index};
use std::collections::BTreeSet;

/// What one page may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Events that are looked at, and blocks without any; the last block is finished.
    pub(super) events: usize,
    /// Bytes of blocks that are read; the last block is finished.
    pub(super) read_bytes: usize,
    /// Rows of the index that are read.
    pub(super) rows: usize,
    /// Encoded events on the page; the last one is whole.
    pub(super) bytes: usize,
    /// Names of packages that are held against a pattern, builds that they have, and blocks that these are in; with more of
    /// them the index is no help.
    pub(super) names: usize,
    pub(super) builds: usize,
    pub(super) blocks: usize,
}

/// Some tens of milliseconds.
const LIMITS: Limits =
    Limits { events: 20_000, read_bytes: 32 << 20, rows: 4_000, bytes: 1 << 20, names: 100_000, builds: 1_000, blocks: 20_000 };

/// Blocks that may answer.
enum Postings {
    Rows(Term),
    /// In ascending order.
    Heights(Vec<Height>),
    AnyOf(Vec<Self>),
}

/// Where the next block is that has everything.
enum Candidate {
    At(Height),
    /// Here or beyond; whether this one has everything was not looked up.
    NotBefore(Height),
    None,
}

impl Postings {
    /// The first of them from `at` on.
    fn from(&self, terms: &Terms, order: Order, at: Height, rows: &mut usize) -> Result<Option<Height>, LogError> {
        match self {
            Self::Rows(term) => {
                *rows += 1;
                match order {
                    Order::Newest => terms.at_or_below(term, at),
                    Order::Oldest => terms.at_or_above(term, at),
                }
            }
            Self::Heights(heights) => Ok(match order {
                Order::Newest => heights[..heights.partition_point(|height| *height <= at)].last().copied(),
                Order::Oldest => heights.get(heights.partition_point(|height| *height < at)).copied(),
            }),
            Self::AnyOf(postings) => postings.iter().try_fold(None, |nearest, postings| {
                let next = postings.from(terms, order, at, rows)?;
                Ok(match order {
                    Order::Newest => nearest.max(next),
                    Order::Oldest => nearest.into_iter().chain(next).min(),
                })
            }),
        }
    }
}

impl StoredTree {
    /// A page of what answers, up to the block that `state` is after.
    pub fn search(&self, state: &Projections, query: &Query, request: &PageRequest) -> Result<Page, LogError> {
        self.search_within(&LIMITS, state, query, request)
    }

    pub(super) fn search_within(
        &self,
        limits: &Limits,
        state: &Projections,
        query: &Query,
        request: &PageRequest,
    ) -> Result<Page, LogError> {
        let order = request.order;
        let mut page = Page { events: vec![], next: None, searched_to: None };
        let Some((low, high)) = self.bounds(state, query, request)? else { return Ok(page) };
        let postings = self.postings(limits, state, query, (low, high))?;
        let (mut position, last) = if order == Order::Newest { (high, low) } else { (low, high) };
        let (mut looked_at, mut read_bytes, mut rows, mut bytes) = (0, 0, 0, 0);
        loop {
            let height = match self.candidate(limits, &postings, order, position, &mut rows)? {
                Candidate::At(height) if (low..=high).contains(&height) => height,
                Candidate::NotBefore(height) if (low..=high).contains(&height) => {
                    page.next = Some(self.cursor_at(order, height)?);
                    page.searched_to =
                        Some(if order == Order::Newest { height.next() } else { Height(height.0.saturating_sub(1)) });
                    return Ok(page);
                }
                Candidate::At(_) | Candidate::NotBefore(_) | Candidate::None => {
                    page.searched_to = Some(last);
                    return Ok(page);
                }
            };
            let (sealed, size_bytes) = self.block_and_size(height)?.ok_or(LogError::Missing { height: height.0 })?;
            let (first, count) = (first_index(&sealed), sealed.block.events.len());
            page.searched_to = Some(height);
            let mut found: Vec<_> = query.found_in(state, sealed).collect();
            if order == Order::Newest {
                found.reverse();
            }
            for found in found {
                let (is_beyond, next) = match (order, request.cursor) {
                    (Order::Newest, cursor) => (cursor.is_none_or(|Cursor(before)| found.index < before), found.index),
                    (Order::Oldest, cursor) => (cursor.is_none_or(|Cursor(from)| found.index >= from), found.index + 1),
                };
                if is_beyond {
                    bytes += found.event.encode().len();
                    page.events.push(found);
                    if page.events.len() >= request.limit || bytes >= limits.bytes {
                        page.next = Some(Cursor(next));
                        return Ok(page);
                    }
                }
            }
            if height == last {
                return Ok(page);
            }
            position = if order == Order::Newest { Height(height.0 - 1) } else { height.next() };
            looked_at += count.max(1);
            read_bytes += size_bytes;
            if looked_at >= limits.events || read_bytes >= limits.read_bytes || rows >= limits.rows {
                let next = if order == Order::Newest { first } else { first + count as u64 };
                if order == Order::Oldest && next >= state.tree_size() {
                    // Nothing but blocks without events follows.
                    page.searched_to = Some(last);
                } else {
                    page.next = Some(Cursor(next));
                }
                return Ok(page);
            }
        }
    }

    /// The lowest and the highest block that can answer; none when no block can.
    fn bounds(&self, state: &Projections, query: &Query, request: &PageRequest) -> Result<Option<(Height, Height)>, LogError> {
        let (mut low, mut high) = (query.from.unwrap_or(Height::GENESIS), state.height());
        high = high.min(query.to.unwrap_or(high));
        if let Some(since) = query.since_ms {
            low = low.max(self.first_block_not_before(since, state.height())?);
        }
        if let Some(after) = query.until_ms.and_then(|until| until.checked_add(1)) {
            let Some(last) = self.first_block_not_before(after, state.height())?.0.checked_sub(1) else { return Ok(None) };
            high = high.min(Height(last));
        }
        match (request.order, request.cursor) {
            (Order::Newest, Some(Cursor(before))) => {
                let Some(last) = before.checked_sub(1) else { return Ok(None) };
                high = high.min(self.height_of(last)?.unwrap_or(high));
            }
            (Order::Oldest, Some(Cursor(from))) => low = low.max(self.height_of(from)?.unwrap_or(low)),
            (_, None) => {}
        }
        Ok((low <= high).then_some((low, high)))
    }

    /// The first block up to `end` whose time is `time_ms` or later, or the one behind `end`. The time of blocks never goes back.
    fn first_block_not_before(&self, time_ms: u64, end: Height) -> Result<Height, LogError> {
        let (mut low, mut high) = (0, end.next().0);
        while low < high {
            let middle = low + (high - low) / 2;
            let header = self.header(Height(middle))?.ok_or(LogError::Missing { height: middle })?;
            if header.time_ms < time_ms {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(Height(low))
    }

    /// From where to go on when the block at `height` is the next to look at.
    fn cursor_at(&self, order: Order, height: Height) -> Result<Cursor, LogError> {
        let before = match order {
            Order::Newest => Some(height.0),
            Order::Oldest => height.0.checked_sub(1),
        };
        let Some(before) = before else { return Ok(Cursor(0)) };
        let header = self.header(Height(before))?.ok_or(LogError::Missing { height: before })?;
        Ok(Cursor(header.tree_size))
    }

    /// What the index knows of the question; a block that answers is in all of it.
    fn postings(
        &self,
        limits: &Limits,
        state: &Projections,
        query: &Query,
        bounds: (Height, Height),
    ) -> Result<Vec<Postings>, LogError> {
        let mut postings = vec![];
        if let Some(digest) = &query.digest {
            let event = self.height_of_event(digest)?.into_iter().collect();
            postings.push(Postings::AnyOf(vec![Postings::Heights(event), Postings::Rows(Term::digest(digest))]));
        }
        postings.extend(query.build.map(|build| Postings::Rows(Term::build(&build))));
        postings.extend(query.node.map(|node| Postings::Rows(Term::node(&node))));
        let kinds = query.kind.into_iter().chain(query.role.map(Role::kind));
        postings.extend(kinds.map(|kind| Postings::Rows(Term::kind(kind))));
        if query.package_type.is_some() || query.coordinate.is_some() {
            postings.extend(self.postings_of_package(limits, state, query, bounds)?);
        }
        Ok(postings)
    }

    /// The blocks of the builds of the packages that are meant; none where these are too many to look each up.
    fn postings_of_package(
        &self,
        limits: &Limits,
        state: &Projections,
        query: &Query,
        (low, high): (Height, Height),
    ) -> Result<Option<Postings>, LogError> {
        let Some(builds) = builds_meant(limits, state, query) else { return Ok(None) };
        let mut heights = BTreeSet::new();
        for build in builds {
            for height in self.terms.between(&Term::build(&build), low, high) {
                heights.insert(height?);
                if heights.len() > limits.blocks {
                    return Ok(None);
                }
            }
        }
        let mut any_of = vec![Postings::Heights(heights.into_iter().collect())];
        if query.coordinate.is_none() {
            // The one kind that is about a type and no package of it.
            any_of.push(Postings::Rows(Term::kind("VerifierApproved")));
        }
        Ok(Some(Postings::AnyOf(any_of)))
    }

    fn candidate(
        &self,
        limits: &Limits,
        postings: &[Postings],
        order: Order,
        position: Height,
        rows: &mut usize,
    ) -> Result<Candidate, LogError> {
        let (mut at, mut agreeing) = (position, 0);
        for next in postings.iter().cycle() {
            match next.from(&self.terms, order, at, rows)? {
                None => return Ok(Candidate::None),
                Some(next) if next == at => agreeing += 1,
                Some(next) if *rows >= limits.rows => return Ok(Candidate::NotBefore(next)),
                Some(next) => (at, agreeing) = (next, 1),
            }
            if agreeing == postings.len() {
                break;
            }
        }
        Ok(Candidate::At(at))
    }
}

/// The builds of the packages that a question means. None where it means too many, or too many names have to be looked at.
fn builds_meant(limits: &Limits, state: &Projections, query: &Query) -> Option<Vec<BuildId>> {
    let types: BTreeSet<&PackageType> = match &query.package_type {
        Some(package_type) => BTreeSet::from([package_type]),
        // A build is requested only once a verifier of its type is approved.
        None => state.verifiers.modules().map(|((package_type, _), _)| package_type).collect(),
    };
    let prefix = query.coordinate.as_ref().map_or("", |pattern| pattern.prefix());
    // No id begins with a smaller character.
    let id = PackageId::new(if prefix.is_empty() { "!" } else { prefix })
        .expect("a pattern has the characters and the length of an id");
    let (mut builds, mut names) = (vec![], 0);
    for package_type in types {
        let first = PackageCoordinate { package_type: package_type.clone(), id: id.clone() };
        for (coordinate, attempts) in state.builds.requested_from(&first) {
            if coordinate.package_type != *package_type || !coordinate.id.as_str().starts_with(prefix) {
                break;
            }
            names += 1;
            if query.coordinate.as_ref().is_none_or(|pattern| pattern.means(coordinate.id.as_str())) {
                builds.extend((0..attempts).map(|attempt| BuildId::of(state.network(), coordinate, attempt)));
            }
            if names > limits.names || builds.len() > limits.builds {
                return None;
            }
        }
    }
    Some(builds)
}

#[cfg(test)]
mod tests;
