//! The founding block: the only one that follows from no state.

use super::{BlockError, HeaderPart, Projections, TIME_MS_MAX, Table};
use crate::block::{Block, BlockHash, Height, SealedBlock};
use crate::certificate::CommitCertificate;
use crate::event::{Event, NetworkFounded};
use crate::policy;
use crate::projection::builds::Builds;
use crate::projection::members::Members;
use crate::projection::packages::Packages;
use crate::projection::verifiers::Verifiers;
use crate::signed::{NetworkId, SignedEvent, UnsignedEvent, node_id_of};
use crate::state_root::{StateSum, TableId};
use crate::tree::{Frontier, leaf_hash};
use ed25519_dalek::SigningKey;
use imbl::Vector;

/// Makes the founding block of a new network, signed and sealed by its founder.
pub fn genesis(key: &SigningKey, name: &str, nonce: [u8; 32], time_ms: u64) -> SealedBlock {
    let founder = node_id_of(key);
    let event = Event::NetworkFounded(NetworkFounded { name: name.to_owned(), nonce });
    let founded = SignedEvent::new(key, UnsignedEvent::new(NetworkId::UNFOUNDED, founder, 0, time_ms, event));
    let state = Projections::founded(&founded, name.to_owned());
    let block = Block { header: state.founding_header(founder, time_ms), events: vec![founded] };
    let certificate = CommitCertificate::signed(&block.header, 0, [key]);
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
        // So the id of the network, which is that of the event, names the whole block.
        if header.time_ms != founded.unsigned.claimed_time_ms {
            return Err(BlockError::Genesis("its time is not that of its event"));
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
        if header.proposer != state.founder || state.founding_header(header.proposer, header.time_ms) != *header {
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
        authors.put(founded.author(), 1);
        authors.settle(&mut sum);
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
}
