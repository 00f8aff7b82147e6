//! What the events so far mean: a fold over the log, the same on every node, byte for byte.
//!
//! [`Projections::apply`] gives the whole state after a block or an error and no change; nothing else makes a state. Cloning
//! is cheap (the maps share their structure), so every reader holds an immutable snapshot. No clock, no unordered map.

pub mod builds;
mod cosigners;
mod examine;
mod genesis;
pub mod members;
pub mod packages;
mod proposal;
mod snapshot;
mod table;
pub mod verifiers;

use crate::block::{BlockHash, Height};
use crate::certificate::ValidatorSet;
use crate::coordinate::{BuildId, PackageCoordinate};
use crate::digest::Sha256Digest;
use crate::event::Event;
use crate::identity::NodeId;
use crate::policy::{self, Refusal};
use crate::signed::{EncodedEvent, EventId, NetworkId, SignedEvent};
use crate::state_root::StateSum;
use crate::tree::Frontier;
use builds::Builds;
use imbl::Vector;
use members::Members;
use packages::Packages;
use verifiers::Verifiers;

pub use examine::{BlockError, DoBoth, HeaderPart, one_after_the_other};
pub use genesis::genesis;
pub use proposal::Proposal;
pub use snapshot::SNAPSHOT_SCHEMA;
pub use table::Table;

/// How many blocks back an activation may point: the candidate has that long to be heard.
pub const ACTIVATION_WINDOW_BLOCKS: u64 = 100;

/// The end of the year 9999. A time may stand still but not pass this: a proposer that lies about it spoils times, and cannot
/// leave its successors without a valid one.
pub const TIME_MS_MAX: u64 = 253_402_300_799_999;

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

impl Projections {
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

    /// The hashes of the newest blocks, newest last.
    pub(crate) fn recent_blocks(&self) -> Vec<BlockHash> {
        self.recent.iter().copied().collect()
    }

    /// Whether the event could stand on the ledger next. Looks at the signatures in its body, if it has any there, not at its
    /// own.
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

    /// Everything that follows from an event but its leaf in the tree, which the block's are added to together.
    fn fold(&mut self, encoded: &EncodedEvent<'_>, time_ms: u64) -> Result<(), Refusal> {
        let signed = encoded.signed;
        policy::size(encoded.bytes.len())?;
        policy::check(self, signed)?;
        let place = Place { height: self.height.next(), time_ms, event: encoded.id, author: signed.author() };
        self.authors.put(place.author, signed.unsigned.sequence + 1);
        match signed.event() {
            Event::NetworkFounded(_) => unreachable!("policy refuses a second founding"),
            Event::NodeAuthorizationApproved(body) => {
                let authorizers = self.validators();
                self.members.approve(place, body.node, &authorizers);
            }
            Event::NodeActivated(_) => self.members.activate(place),
            Event::NodeRevocationApproved(body) => {
                let (node, since, authorizers) = (body.node, body.compromised_since, self.validators());
                if self.members.approve_revocation(place, (node, since), &authorizers) {
                    self.remove(place, node);
                    if let Some(since) = since {
                        self.members.compromise(node, Height(since));
                        self.builds.recount_all(place.height, &node, &self.members);
                    }
                }
            }
            Event::EquivocationProved(body) => {
                let accused = body.evidence.accused();
                self.members.suspend(place, accused);
                self.remove(place, accused);
            }
            Event::VerifierApproved(body) => {
                let authorizers = self.validators();
                self.verifiers.approve(place, body, &authorizers);
            }
            Event::BuildRequested(body) => {
                let PackageCoordinate { package_type, id } = &body.coordinate;
                let package_type = self.verifiers.name_of(package_type).unwrap_or(package_type).clone();
                let coordinate = PackageCoordinate { package_type, id: id.clone() };
                self.builds.open(place, body, coordinate, self.members.nodes());
            }
            Event::BuildResultCommitted(body) => self.builds.commit(place, body, &self.members),
            Event::BuildResultRevealed(body) => self.builds.reveal(place, body, &self.members),
            Event::BuildWaitEnded(body) => self.builds.end_wait(place, body, &self.members),
            Event::BuildCandidateVouched(body) => self.builds.note_vouch(place, body, &self.members),
            Event::BuildDisputed(body) => self.builds.note_dispute(place, body),
            Event::AddArtifact(body) => {
                let (artifact, added, published) = self.builds.publish(place, &body.build_id, &body.artifact.artifact_id);
                // Names as in the build's own rows, so that they are in memory once.
                let artifact = artifact.unwrap_or_else(|| body.artifact.clone());
                let build = self.builds.get(&body.build_id).expect("policy refuses artifacts of unknown builds");
                // The first build of a package is closed before there is another: the records are those that it added.
                let position = (build.attempt == 0).then_some(added);
                self.packages.add(place, &build.coordinate, (body.build_id, artifact), position, published);
            }
        }
        Ok(())
    }

    /// Takes what the folded events changed over into the state root.
    fn settle(&mut self) {
        let sum = &mut self.sum;
        self.authors.settle(sum);
        self.members.settle(sum);
        self.verifiers.settle(sum);
        self.builds.settle(sum);
        self.packages.settle(sum);
        self.sum.settle();
    }

    /// Takes a node out of the set, if it is in it, and out of the builds that it judges.
    fn remove(&mut self, place: Place, node: NodeId) {
        if self.members.contains(&node) {
            self.members.remove(place, node);
            self.builds.leave(place.height, node, &self.members);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
