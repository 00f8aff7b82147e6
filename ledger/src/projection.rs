//! What the events so far mean: a fold over the log, the same on every node, byte for byte.
//!
//! [`Projections::apply`] gives the whole state after a block or an error and no change; nothing else makes a state. Cloning
//! is cheap (the maps share their structure), so every reader holds an immutable snapshot. No clock, no unordered map.

pub mod builds;
pub mod members;
pub mod packages;
pub mod verifiers;

use crate::block::{
    BLOCK_EVENT_BYTES_MAX, Block, BlockHash, BlockHeader, EVENTS_PER_BLOCK_MAX, HEADER_VERSION, Height, SealedBlock,
};
use crate::certificate::{CertificateError, CommitCertificate, ValidatorSet, VoteKind, vote_bytes};
use crate::coordinate::{BuildId, PackageCoordinate};
use crate::digest::Sha256Digest;
use crate::event::{Event, NetworkFounded};
use crate::identity::NodeId;
use crate::policy::{self, Refusal};
use crate::signed::{
    Claim, EncodedEvent, EventId, NetworkId, Purpose, SignedEvent, UnsignedEvent, node_id_of, sign, wrong_claims,
};
use crate::state_root::{StateSum, TableId};
use crate::tree::{Frontier, leaf_hash};
use borsh::BorshSerialize;
use builds::Builds;
use ed25519_dalek::SigningKey;
use imbl::{OrdMap, Vector};
use members::Members;
use packages::Packages;
use std::fmt;
use std::ops::{ControlFlow, RangeBounds};
use std::sync::Arc;
use verifiers::Verifiers;

/// How many blocks back an activation may point: the candidate has that long to be heard.
pub const ACTIVATION_WINDOW_BLOCKS: u64 = 100;

/// The end of the year 9999. A time may stand still but not pass this: a proposer that lies about it spoils times, and cannot
/// leave its successors without a valid one.
pub const TIME_MS_MAX: u64 = 253_402_300_799_999;

/// An ordered map whose every change is also a change of the state root.
///
/// Keys and values are shared: a map that changes copies the rows beside the one that does, which are up to sixty.
#[derive(Clone, Debug)]
pub struct Table<K: Ord + Clone, V: Clone> {
    id: TableId,
    rows: OrdMap<Arc<K>, Arc<V>>,
}

impl<K: Ord + Clone + BorshSerialize, V: Clone + BorshSerialize> Table<K, V> {
    fn new(id: TableId) -> Self {
        Self { id, rows: OrdMap::new() }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(Arc::as_ref)
    }

    pub fn contains(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    pub fn range<R: RangeBounds<K>>(&self, range: R) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.range::<R, K>(range).map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    fn put(&mut self, sum: &mut StateSum, key: K, value: V) {
        sum.add(self.id, &key, &value);
        let key = Arc::new(key);
        if let Some(old) = self.rows.insert(Arc::clone(&key), Arc::new(value)) {
            sum.remove(self.id, key.as_ref(), old.as_ref());
        }
    }

    fn take(&mut self, sum: &mut StateSum, key: &K) {
        if let Some(old) = self.rows.remove(key) {
            sum.remove(self.id, key, old.as_ref());
        }
    }
}

/// The state of a network at a height.
#[derive(Clone, Debug)]
pub struct Projections {
    network: NetworkId,
    name: String,
    founder: NodeId,
    height: Height,
    tip: BlockHash,
    time_ms: u64,
    frontier: Frontier,
    sum: StateSum,
    /// Hashes of the newest blocks, newest last; the chain's own, so not part of the state root.
    recent: Vector<BlockHash>,
    /// How many events each author has on the ledger.
    authors: Table<NodeId, u64>,
    pub members: Members,
    pub verifiers: Verifiers,
    pub builds: Builds,
    pub packages: Packages,
}

/// Where an event stands: known only once its block is being folded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) height: Height,
    pub(crate) time_ms: u64,
    pub(crate) event: EventId,
    pub(crate) author: NodeId,
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

/// A block that may be proposed, with what it leads to.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub block: Block,
    pub next: Projections,
    /// Candidates that the block could not take, with the reason.
    pub refused: Vec<(EventId, Refusal)>,
}

/// Makes the founding block of a new network, signed and sealed by its founder.
pub fn genesis(key: &SigningKey, name: &str, nonce: [u8; 32], time_ms: u64) -> SealedBlock {
    let founder = node_id_of(key);
    let event = Event::NetworkFounded(NetworkFounded { name: name.to_owned(), nonce });
    let founded = SignedEvent::new(key, UnsignedEvent::new(NetworkId::UNFOUNDED, founder, 0, time_ms, event));
    let state = Projections::founded(&founded, name.to_owned());
    let block = state.seal_header(founder, time_ms, vec![founded]);
    let message = vote_bytes(VoteKind::Precommit, Height::GENESIS, 0, Some(block.hash()));
    let signature = sign(key, Purpose::Vote, &state.network, &message);
    let certificate =
        CommitCertificate { height: Height::GENESIS, round: 0, block: block.hash(), signatures: vec![(founder, signature)] };
    SealedBlock { block, certificate }
}

impl Projections {
    /// The state after a founding block, with every check of it.
    pub fn from_genesis(sealed: &SealedBlock) -> Result<Self, BlockError> {
        let header = &sealed.block.header;
        let [founded] = sealed.block.events.as_slice() else { return Err(BlockError::Genesis("it has not exactly one event")) };
        let Event::NetworkFounded(body) = founded.event() else {
            return Err(BlockError::Genesis("its event does not found a network"));
        };
        if header.time_ms > TIME_MS_MAX {
            return Err(BlockError::Genesis("its time is past the year 9999"));
        }
        if header.height != Height::GENESIS || header.parent != BlockHash::NONE {
            return Err(BlockError::Genesis("it has a parent"));
        }
        policy::founding(&founded.unsigned, body).map_err(|refusal| BlockError::Event {
            height: Height::GENESIS,
            index: 0,
            id: founded.id(),
            refusal: Box::new(refusal),
        })?;
        if !founded.verify_signature() {
            return Err(BlockError::Signature { height: Height::GENESIS, index: 0, id: founded.id() });
        }
        let state = Self::founded(founded, body.name.clone());
        let expected = state.seal_header(header.proposer, header.time_ms, vec![founded.clone()]);
        if header.proposer != state.founder || expected.header != *header {
            return Err(BlockError::Header { height: Height::GENESIS, what: HeaderPart::Any });
        }
        sealed
            .certificate
            .verify(&state.network, header, &state.validators())
            .map_err(|source| BlockError::Certificate { height: Height::GENESIS, source })?;
        Ok(state.advanced_to(header))
    }

    /// The state with the founding event folded, before its header is known.
    fn founded(founded: &SignedEvent, name: String) -> Self {
        let mut sum = StateSum::default();
        let mut authors = Table::new(TableId::Authors);
        authors.put(&mut sum, founded.author(), 1);
        sum.settle();
        let mut frontier = Frontier::default();
        frontier.append(leaf_hash(&founded.encode()));
        Self {
            network: NetworkId::new(*founded.id().digest()),
            name,
            founder: founded.author(),
            height: Height::GENESIS,
            tip: BlockHash::NONE,
            time_ms: 0,
            frontier,
            sum,
            recent: Vector::new(),
            authors,
            members: Members::new(),
            verifiers: Verifiers::new(),
            builds: Builds::new(),
            packages: Packages::new(),
        }
    }

    pub fn network(&self) -> &NetworkId {
        &self.network
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn founder(&self) -> NodeId {
        self.founder
    }

    pub fn height(&self) -> Height {
        self.height
    }

    /// The hash of the newest block.
    pub fn tip(&self) -> BlockHash {
        self.tip
    }

    /// Proposed time of the newest block.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    pub fn tree_size(&self) -> u64 {
        self.frontier.size()
    }

    pub fn tree_root(&self) -> Sha256Digest {
        self.frontier.root()
    }

    pub fn state_root(&self) -> Sha256Digest {
        self.sum.root()
    }

    /// The sequence number of the author's next event.
    pub fn next_sequence(&self, author: &NodeId) -> u64 {
        self.authors.get(author).copied().unwrap_or(0)
    }

    /// Who signs the next block: the authorized nodes, or the founder while there is none.
    pub fn validators(&self) -> ValidatorSet {
        if self.members.is_empty() { ValidatorSet::new(vec![self.founder]) } else { ValidatorSet::new(self.members.nodes()) }
    }

    /// Whether `node` signs the next block.
    pub fn is_validator(&self, node: &NodeId) -> bool {
        if self.members.is_empty() { *node == self.founder } else { self.members.contains(node) }
    }

    /// The hash of a block that is at most [`ACTIVATION_WINDOW_BLOCKS`] old.
    pub fn recent_block(&self, height: Height) -> Option<BlockHash> {
        let age = self.height.0.checked_sub(height.0)?;
        let index = (self.recent.len() as u64).checked_sub(age + 1)?;
        self.recent.get(usize::try_from(index).ok()?).copied()
    }

    /// Whether the event could stand on the ledger next. Does not look at its signature.
    pub fn check(&self, event: &SignedEvent) -> Result<(), Refusal> {
        policy::check(self, event)
    }

    /// How often `coordinate` was asked for, which is the number of its next attempt.
    pub fn next_attempt(&self, coordinate: &PackageCoordinate) -> u32 {
        self.builds.attempts(coordinate)
    }

    /// The id that the next build of `coordinate` will have.
    pub fn next_build_id(&self, coordinate: &PackageCoordinate) -> BuildId {
        BuildId::of(&self.network, coordinate, self.next_attempt(coordinate))
    }

    /// Takes as many of `candidates`, in their order, as are allowed and fit into one block.
    pub fn propose<'a>(&self, proposer: NodeId, now_ms: u64, candidates: impl IntoIterator<Item = &'a SignedEvent>) -> Proposal {
        let time_ms = now_ms.clamp(self.time_ms, TIME_MS_MAX);
        let (mut next, mut events, mut refused, mut size_bytes) = (self.clone(), vec![], vec![], 0);
        for candidate in candidates {
            let encoded = EncodedEvent::new(candidate);
            let could_fit = policy::size(encoded.bytes.len()).is_ok();
            if events.len() == EVENTS_PER_BLOCK_MAX || could_fit && size_bytes + encoded.bytes.len() > BLOCK_EVENT_BYTES_MAX {
                break;
            }
            match next.fold(&encoded, time_ms) {
                Ok(()) => {
                    size_bytes += encoded.bytes.len();
                    events.push(candidate.clone());
                }
                Err(refusal) => refused.push((encoded.id, refusal)),
            }
        }
        next.sum.settle();
        let block = self.header_after(&next, proposer, time_ms, events);
        let next = next.advanced_to(&block.header);
        Proposal { block, next, refused }
    }

    /// The state after `block`, which must be the next one and say exactly what follows from its events. Looks at no
    /// signature: [`Projections::apply_sealed`] does.
    pub fn apply(&self, block: &Block) -> Result<Self, BlockError> {
        self.apply_encoded(block, &EncodedEvent::all(&block.events))
    }

    /// Whether the events that came with the header are those that it commits to. If not, the block is no wrong block but a wrong
    /// copy of one, which anybody can make: it says nothing about the header.
    pub fn is_whole(&self, block: &Block) -> bool {
        let mut frontier = self.frontier.clone();
        for event in &block.events {
            frontier.append(leaf_hash(&event.encode()));
        }
        (frontier.size(), frontier.root()) == (block.header.tree_size, block.header.tree_root)
    }

    /// [`Projections::apply`] with the certificate and the signature of every event: what a follower and a replay do.
    pub fn apply_sealed(&self, sealed: &SealedBlock) -> Result<Self, BlockError> {
        let (height, header) = (sealed.height(), &sealed.block.header);
        let events = EncodedEvent::all(&sealed.block.events);
        let next = self.apply_encoded(&sealed.block, &events)?;
        let not_final = |source| BlockError::Certificate { height, source };
        sealed.certificate.check_signers(header, &self.validators()).map_err(not_final)?;
        let claims: Vec<Claim> = events.iter().map(EncodedEvent::claim).chain(sealed.certificate.claims(&self.network)).collect();
        match wrong_claims(&claims).first() {
            None => Ok(next),
            Some(wrong) => Err(match events.get(*wrong) {
                Some(event) => BlockError::Signature { height, index: *wrong, id: event.id },
                None => not_final(CertificateError::Signature(claims[*wrong].author())),
            }),
        }
    }

    fn apply_encoded(&self, block: &Block, events: &[EncodedEvent<'_>]) -> Result<Self, BlockError> {
        let mut first = None;
        let next = self.examine(block, events, &mut |error| {
            first = Some(error);
            ControlFlow::Break(())
        });
        match next {
            ControlFlow::Continue(next) => Ok(next),
            ControlFlow::Break(()) => Err(first.expect("only an error breaks an examination off")),
        }
    }

    /// Every check of a block but its signatures, and the state after it as far as its events are allowed. `found` is told
    /// of each error and decides whether the examination goes on.
    pub(crate) fn examine(
        &self,
        block: &Block,
        events: &[EncodedEvent<'_>],
        found: &mut dyn FnMut(BlockError) -> ControlFlow<()>,
    ) -> ControlFlow<(), Self> {
        let header = &block.header;
        let (expected, height) = (self.height.next(), header.height);
        if height != expected {
            found(BlockError::Height { expected, found: height })?;
        }
        if !(self.time_ms..=TIME_MS_MAX).contains(&header.time_ms) {
            found(BlockError::Header { height, what: HeaderPart::Time })?;
        }
        if !self.validators().contains(&header.proposer) {
            found(BlockError::Header { height, what: HeaderPart::Proposer })?;
        }
        let size_bytes = events.iter().map(|event| event.bytes.len()).sum();
        if events.len() > EVENTS_PER_BLOCK_MAX || size_bytes > BLOCK_EVENT_BYTES_MAX {
            found(BlockError::TooLarge { height, events: events.len(), size_bytes })?;
        }
        let mut next = self.clone();
        for (index, event) in events.iter().enumerate() {
            if let Err(refusal) = next.fold(event, header.time_ms) {
                found(BlockError::Event { height, index, id: event.id, refusal: Box::new(refusal) })?;
                // Refused or not, it is a leaf of the tree that the next blocks go on with.
                next.frontier.append(leaf_hash(&event.bytes));
            }
        }
        next.sum.settle();
        let follows = self.header_after(&next, header.proposer, header.time_ms, vec![]).header;
        for (same, what) in [
            (follows.version == header.version, HeaderPart::Version),
            (follows.network == header.network, HeaderPart::Network),
            (follows.parent == header.parent, HeaderPart::Parent),
            (follows.tree_size == header.tree_size, HeaderPart::TreeSize),
            (follows.tree_root == header.tree_root, HeaderPart::TreeRoot),
            (follows.state_root == header.state_root, HeaderPart::StateRoot),
            (follows.validators == header.validators, HeaderPart::Validators),
        ] {
            if !same {
                found(BlockError::Header { height, what })?;
            }
        }
        let mut next = next.advanced_to(header);
        next.height = expected;
        ControlFlow::Continue(next)
    }

    fn fold(&mut self, encoded: &EncodedEvent<'_>, time_ms: u64) -> Result<(), Refusal> {
        let signed = encoded.signed;
        policy::size(encoded.bytes.len())?;
        policy::check(self, signed)?;
        let place = Place { height: self.height.next(), time_ms, event: encoded.id, author: signed.author() };
        self.frontier.append(leaf_hash(&encoded.bytes));
        self.authors.put(&mut self.sum, place.author, signed.unsigned.sequence + 1);
        let sum = &mut self.sum;
        match signed.event() {
            Event::NetworkFounded(_) => unreachable!("policy refuses a second founding"),
            Event::NodeAuthorizationApproved(body) => {
                let authorizers = if self.members.is_empty() { vec![self.founder] } else { self.members.nodes() };
                self.members.approve(sum, place, body.node, &authorizers);
            }
            Event::NodeActivated(_) => self.members.activate(sum, place),
            Event::VerifierApproved(body) => {
                let authorizers = if self.members.is_empty() { vec![self.founder] } else { self.members.nodes() };
                self.verifiers.approve(sum, place, body, &authorizers);
            }
            Event::BuildRequested(body) => self.builds.open(sum, place, body, self.members.nodes()),
            Event::BuildResultReported(body) => self.builds.report(sum, place, body),
            Event::AddArtifact(body) => {
                let published = self.builds.publish(sum, place, &body.build_id);
                self.packages.add(sum, place, body, published);
            }
        }
        Ok(())
    }

    fn seal_header(&self, proposer: NodeId, time_ms: u64, events: Vec<SignedEvent>) -> Block {
        let header = BlockHeader {
            version: HEADER_VERSION,
            network: self.network,
            height: self.height,
            parent: self.tip,
            time_ms,
            proposer,
            tree_size: self.frontier.size(),
            tree_root: self.frontier.root(),
            state_root: self.sum.root(),
            validators: self.validators().hash(),
        };
        Block { header, events }
    }

    /// The block that leads from here to `next`, which has its events folded but is not advanced.
    fn header_after(&self, next: &Self, proposer: NodeId, time_ms: u64, events: Vec<SignedEvent>) -> Block {
        let mut block = next.seal_header(proposer, time_ms, events);
        block.header.height = self.height.next();
        block.header.validators = self.validators().hash();
        block
    }

    fn advanced_to(mut self, header: &BlockHeader) -> Self {
        self.height = header.height;
        self.tip = header.hash();
        self.time_ms = header.time_ms;
        self.recent.push_back(self.tip);
        if self.recent.len() as u64 > ACTIVATION_WINDOW_BLOCKS + 1 {
            self.recent.pop_front();
        }
        self
    }
}

#[cfg(test)]
pub(crate) mod tests;
