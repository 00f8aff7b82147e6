//! The audit: a replay with every check there is, which goes on past what it finds and reports all of it.
//!
//! Bytes go in block by block, findings come out; where the bytes come from is the caller's ([`crate::log::LedgerReader`]).
//! The rules are those of [`crate::policy`] and [`crate::projection`], the very functions a node follows by. Signatures are
//! handed out as plain values ([`SignatureWork`]), so that a caller with threads can spread them over its cores; the report
//! is the same whoever verified what, and in whatever order.
//!
//! Damage that leaves the state unknown (a missing block, a refused event) is said once; from there on the blocks are still
//! decoded, chained and their signatures verified, and certificates are checked against the last known validators for as
//! long as the headers name that set.

mod finding;
mod prepared;
mod rest;

use crate::block::{BlockHash, Height, SealedBlock};
use crate::certificate::ValidatorSet;
use crate::event::Event;
use crate::projection::{BlockError, Projections};
use crate::signed::{Claim, EncodedEvent, EventId, NetworkId, wrong_claims};
use finding::first_of;
pub(crate) use finding::sentence;
pub use finding::{AuditReport, Finding, FindingKind, Summary};
pub use prepared::Prepared;
pub(crate) use prepared::{Decoded, EventMark};
pub use rest::ResumeError;
use std::ops::ControlFlow;

/// How many findings a report keeps; more are counted.
pub const FINDINGS_MAX: usize = 10_000;
/// How many signatures one piece of work has at least, but the last: batches above this gain little.
pub const SIGNATURES_PER_WORK: usize = 512;

/// Whose signature a claim is, for the finding when it does not hold.
#[derive(Clone, Copy, Debug)]
enum Signed {
    Event(EventId),
    Precommit,
}

/// Signatures of some blocks, to be verified anywhere.
#[derive(Debug, Default)]
pub struct SignatureWork {
    claims: Vec<(Height, Signed, Claim)>,
}

/// What came of a [`SignatureWork`].
#[derive(Debug, Default)]
pub struct SignatureReport {
    verified: u64,
    findings: Vec<Finding>,
}

impl SignatureWork {
    /// How many signatures these are.
    pub fn len(&self) -> usize {
        self.claims.len()
    }

    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    pub fn verify(&self) -> SignatureReport {
        let wrong = wrong_claims(self.claims.iter().map(|(_, _, claim)| claim));
        let finding = |at: usize| {
            let (height, signed, claim) = &self.claims[at];
            let (author, height) = (claim.author(), *height);
            let (event, sentence) = match signed {
                Signed::Event(id) => (Some(*id), format!("block {height}: the signature of {author} under event {id} is wrong")),
                Signed::Precommit => (None, format!("block {height}: the signature of {author} in the certificate is wrong")),
            };
            Finding { event, node: Some(author), ..Finding::new(height, FindingKind::Signature, sentence) }
        };
        SignatureReport { verified: self.claims.len() as u64, findings: wrong.into_iter().map(finding).collect() }
    }
}

/// How far the audit knows the state.
enum Follow {
    /// Nothing was read yet.
    Start,
    /// The state after the newest block.
    Known(Box<Projections>),
    /// The state by the events alone: the newest header commits to another one. The next block tells which is wrong.
    Doubtful(Box<Projections>),
    /// Not any more; the validators while headers still name them.
    Lost(Option<ValidatorSet>),
}

/// An audit under way.
pub struct Audit {
    pinned: Option<NetworkId>,
    follow: Follow,
    next: Height,
    /// Hash and time of the block before, unless that could not be read.
    previous: Option<(BlockHash, u64)>,
    announced: Option<Announced>,
    work: SignatureWork,
    handed_out: u64,
    /// How many of those handed out came back.
    checked: u64,
    /// Of more than [`FINDINGS_MAX`] those that a report keeps, and some others.
    findings: Vec<Finding>,
    findings_total: u64,
    /// Faults of the files that are not about what a block says: every audit of these files meets them, whatever it goes on from.
    faults: Vec<Finding>,
    faults_total: u64,
    summary: Summary,
}

/// The end of a log as something beside its blocks states it: a tip file, or the trailer of an exported file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    pub height: Height,
    pub block: BlockHash,
    pub exactness: Exactness,
}

/// Whether a log may be longer than what is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    AtLeast,
    Exactly,
}

impl Audit {
    /// With `pinned`, the log must be of that network.
    pub fn new(pinned: Option<NetworkId>) -> Self {
        Self {
            pinned,
            follow: Follow::Start,
            next: Height::GENESIS,
            previous: None,
            announced: None,
            work: SignatureWork::default(),
            handed_out: 0,
            checked: 0,
            findings: vec![],
            findings_total: 0,
            faults: vec![],
            faults_total: 0,
            summary: Summary::default(),
        }
    }

    /// The height of the next block.
    pub fn next(&self) -> Height {
        self.next
    }

    /// Signatures that wait, once there are enough for a batch.
    pub fn take_work(&mut self) -> Option<SignatureWork> {
        (self.work.len() >= SIGNATURES_PER_WORK).then(|| self.take_rest())
    }

    /// Signatures that wait, however few, as before a rest.
    pub fn take_rest(&mut self) -> SignatureWork {
        self.handed_out += self.work.len() as u64;
        std::mem::take(&mut self.work)
    }

    /// Takes in what came of some work.
    pub fn absorb(&mut self, report: SignatureReport) {
        self.checked += report.verified;
        self.summary.signatures += report.verified;
        report.findings.into_iter().for_each(|finding| self.find(finding));
    }

    /// The state after the newest block, as far as it can be followed.
    pub fn state(&self) -> Option<&Projections> {
        match &self.follow {
            Follow::Known(state) => Some(state),
            Follow::Start | Follow::Doubtful(_) | Follow::Lost(_) => None,
        }
    }

    fn find(&mut self, finding: Finding) {
        self.findings_total += 1;
        self.findings.push(finding);
        // Signatures are verified later than what is found in blocks behind them. Twice as many as are kept, so that few are sorted.
        if self.findings.len() == 2 * FINDINGS_MAX {
            self.findings = first_of(std::mem::take(&mut self.findings));
        }
    }

    fn find_at(&mut self, height: Height, what: FindingKind, sentence: impl Into<String>) {
        self.find(Finding::new(height, what, sentence));
    }

    /// Notes that what should be at `position` cannot be read.
    pub fn unreadable(&mut self, position: Height, sentence: &str) {
        self.skip_to(position);
        self.find_at(position, FindingKind::Storage, sentence);
        self.lose(position);
        (self.next, self.previous) = (position.next(), None);
    }

    /// Notes that the files have a fault of their own, whatever the blocks in them say.
    pub fn storage(&mut self, position: Height, sentence: &str) {
        self.faults_total += 1;
        if self.faults.len() < FINDINGS_MAX {
            self.faults.push(Finding::new(position, FindingKind::Storage, sentence));
        }
    }

    /// Checks the next block, which stands at `position` in the log. Positions only grow.
    pub fn feed(&mut self, position: Height, raw: &[u8]) {
        self.take_in(Prepared::of(position, raw.to_vec()));
    }

    /// [`Audit::feed`] with what another thread may have done of it.
    pub fn take_in(&mut self, prepared: Prepared) {
        let position = prepared.position();
        self.skip_to(position);
        self.next = position.next();
        let (bytes, decoded) = prepared.into_parts();
        let (sealed, marks, claims) = match decoded {
            Ok(decoded) => (decoded.sealed, decoded.marks, decoded.claims),
            Err(error) => {
                let sentence = format!("block {position}: {}", sentence(&error));
                self.find_at(position, FindingKind::Decode, sentence);
                self.lose(position);
                self.previous = None;
                return;
            }
        };
        let events: Vec<EncodedEvent<'_>> =
            sealed.block.events.iter().zip(&marks).map(|(event, mark)| mark.of_event(event, &bytes)).collect();
        self.summary.blocks += 1;
        self.summary.events += events.len() as u64;
        self.summary.from.get_or_insert(position);
        self.summary.to = Some(position);
        let is_founding = matches!(self.follow, Follow::Start);
        match std::mem::replace(&mut self.follow, Follow::Lost(None)) {
            Follow::Start => self.found(&sealed, &events),
            Follow::Known(state) => self.follow(position, *state, &sealed, &events, false),
            Follow::Doubtful(state) => self.follow(position, *state, &sealed, &events, true),
            Follow::Lost(validators) => self.glance(position, validators, &sealed),
        }
        // The signatures of a founding block are verified where it is found to be one.
        if !is_founding || !matches!(self.follow, Follow::Known(_)) {
            self.queue(position, &sealed, &marks, claims);
        }
        self.previous = Some((sealed.block.hash(), sealed.block.header.time_ms));
        self.compare_announced();
    }

    /// Notes the blocks between the last one and `position`, which are not there.
    fn skip_to(&mut self, position: Height) {
        if position > self.next {
            let (first, last) = (self.next, Height(position.0 - 1));
            let sentence =
                if first == last { format!("block {first} is missing") } else { format!("blocks {first} to {last} are missing") };
            self.find_at(first, FindingKind::Missing, sentence);
            self.lose(first);
            self.previous = None;
        }
    }

    /// Gives the state up, saying so once.
    fn lose(&mut self, height: Height) {
        let validators = match &self.follow {
            Follow::Lost(_) => return,
            Follow::Start => None,
            Follow::Known(state) | Follow::Doubtful(state) => Some(state.validators()),
        };
        self.follow = Follow::Lost(validators);
        self.find_at(
            height,
            FindingKind::Unfollowed,
            format!("the state cannot be followed from block {height} on: of later blocks the rules, the tree and the state roots are not checked"),
        );
    }

    /// The founding block, whose two signatures are verified with everything else that it must be.
    fn found(&mut self, sealed: &SealedBlock, events: &[EncodedEvent<'_>]) {
        let height = Height::GENESIS;
        if let [founded] = events
            && matches!(founded.signed.event(), Event::NetworkFounded(_))
        {
            let network = NetworkId::new(*founded.id.digest());
            self.summary.network = Some(network);
            if let Some(pinned) = self.pinned.filter(|pinned| *pinned != network) {
                let sentence = format!("this is the log of network {network}, not of {pinned}");
                self.find_at(height, FindingKind::Network, sentence);
            }
        }
        match Projections::from_genesis(sealed) {
            Ok(state) => {
                self.summary.signatures += 2;
                self.summary.name = Some(state.name().to_owned());
                self.know(state);
            }
            Err(error) => {
                self.find(Finding::of_block(height, &error));
                self.follow = Follow::Start;
                self.lose(height);
                if let [founded] = events {
                    self.follow = Follow::Lost(Some(ValidatorSet::new(vec![founded.signed.author()])));
                }
            }
        }
    }

    fn know(&mut self, state: Projections) {
        self.summary.followed_to = Some(state.height());
        self.summary.tip = Some(state.tip());
        self.summary.tree_size = Some(state.tree_size());
        self.summary.tree_root = Some(state.tree_root());
        self.summary.state_root = Some(state.state_root());
        self.follow = Follow::Known(Box::new(state));
    }

    /// A block on top of a state: every check there is.
    fn follow(
        &mut self,
        position: Height,
        state: Projections,
        sealed: &SealedBlock,
        events: &[EncodedEvent<'_>],
        doubtful: bool,
    ) {
        let mut errors = vec![];
        let validators = state.validators();
        // What is not kept is changed in place.
        let before = doubtful.then(|| state.clone());
        let examined = state.examine(&sealed.block, events, &mut |error| {
            errors.push(error);
            ControlFlow::Continue(())
        });
        let ControlFlow::Continue(next) = examined else { unreachable!("no error breaks this examination off") };
        if let Err(source) = sealed.certificate.check_signers(&sealed.block.header, &validators) {
            errors.push(BlockError::Certificate { height: position, source });
        }
        let in_step = next.state_root() == sealed.block.header.state_root;
        if let Some(before) = before.filter(|_| !in_step) {
            self.follow = Follow::Known(Box::new(before));
            self.lose(position);
            // What the state could not be followed to is no finding of its own; the chain and the certificate are.
            errors.retain(|error| {
                matches!(
                    Finding::of_block(position, error).what,
                    FindingKind::Chain | FindingKind::Certificate | FindingKind::Network
                )
            });
        } else if in_step {
            self.know(next);
        } else {
            self.follow = Follow::Doubtful(Box::new(next));
        }
        for error in &errors {
            self.find(Finding::of_block(position, error));
        }
    }

    /// A block whose state is not known: what can be said of it all the same.
    fn glance(&mut self, position: Height, validators: Option<ValidatorSet>, sealed: &SealedBlock) {
        let header = &sealed.block.header;
        if header.height != position {
            let error = BlockError::Height { expected: position, found: header.height };
            self.find(Finding::of_block(position, &error));
        }
        if let Some((hash, time_ms)) = self.previous {
            if header.parent != hash {
                self.find_at(position, FindingKind::Chain, format!("block {position}: the parent is not the block before"));
            }
            if header.time_ms < time_ms {
                self.find_at(
                    position,
                    FindingKind::Chain,
                    format!("block {position}: the time is before that of the block before"),
                );
            }
        }
        if self.summary.network.is_some_and(|network| network != header.network) {
            self.find_at(position, FindingKind::Network, format!("block {position} is of network {}", header.network));
        }
        let known = validators.filter(|validators| validators.hash() == header.validators);
        if let Some(validators) = &known
            && let Err(source) = sealed.certificate.check_signers(header, validators)
        {
            self.find(Finding::of_block(position, &BlockError::Certificate { height: position, source }));
        }
        self.follow = Follow::Lost(known);
    }

    fn queue(&mut self, height: Height, sealed: &SealedBlock, marks: &[EventMark], of_events: Vec<Claim>) {
        let claims = &mut self.work.claims;
        claims.extend(marks.iter().zip(of_events).map(|(mark, claim)| (height, Signed::Event(mark.id), claim)));
        let network = self.summary.network.unwrap_or(sealed.block.header.network);
        let precommits = sealed.certificate.claims(&network, &sealed.block.header);
        claims.extend(precommits.map(|claim| (height, Signed::Precommit, claim)));
    }

    /// Ends the audit. `verified` is what came of all the work that was taken.
    pub fn finish(mut self, verified: impl IntoIterator<Item = SignatureReport>) -> AuditReport {
        self.check_end();
        let rest = self.take_rest().verify();
        for report in verified.into_iter().chain([rest]) {
            self.absorb(report);
        }
        if self.checked != self.handed_out {
            let sentence = format!("{} of {} signatures were verified", self.checked, self.handed_out);
            self.find_at(Height::GENESIS, FindingKind::Signature, sentence);
        }
        let report = AuditReport { clean: true, summary: self.summary, findings: vec![], findings_total: 0 };
        report.with(self.findings, self.findings_total).with(self.faults, self.faults_total)
    }

    /// Tells where the log must reach to: before its blocks, or when they are all read.
    pub fn announce(&mut self, announced: Announced) {
        self.announced = Some(announced);
        self.compare_announced();
    }

    /// Compares the block fed last, if it is the one at the announced height.
    fn compare_announced(&mut self) {
        let Some(announced) = self.announced else { return };
        let height = announced.height;
        if self.next == height.next() && self.previous.is_some_and(|(hash, _)| hash != announced.block) {
            let sentence = format!("block {height} is not the one that was announced, which has the hash {}", announced.block);
            self.find_at(height, FindingKind::Tip, sentence);
        }
    }

    fn check_end(&mut self) {
        let Some(end) = self.next.0.checked_sub(1).map(Height) else {
            let announced = self.announced.map(|end| format!(", though block {} was announced", end.height));
            let sentence = format!("the log is empty: it has no founding block{}", announced.unwrap_or_default());
            return self.find_at(Height::GENESIS, FindingKind::Missing, sentence);
        };
        let Some(announced) = self.announced else { return };
        let height = announced.height;
        if end < height {
            let sentence = format!("block {height} was announced, but the log ends at block {end}");
            self.find_at(height, FindingKind::Tip, sentence);
        } else if end > height && announced.exactness == Exactness::Exactly {
            let sentence = format!("block {height} is said to be the last one, but the log goes on to block {end}");
            self.find_at(end, FindingKind::Tip, sentence);
        }
    }
}

#[cfg(test)]
mod tests;
