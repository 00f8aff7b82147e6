//! An audit at rest: what is found so far and the state it goes on from, as a file that any later run can take up.
//!
//! The file is its owner's word: whoever can write it can say of any earlier block that it was clean. It is held against the
//! ledger where it goes on: the founding block and the block there must be the same, and the rows must add up to the state that
//! this block commits to. What is no row follows from the rows or from these blocks, but for the hashes of the newest blocks and
//! the heights at which the validators last changed.
//!
//! ```text
//! magic, version (u32), schema of the state (u32), length (u64) of what was found, what was found, the state,
//! SHA-256 of everything before
//! ```

use super::finding::first_of;
use super::{Audit, FINDINGS_MAX, Finding, FindingKind, Follow, Summary};
use crate::block::{BlockHash, Height, SealedBlock};
use crate::log::Hashing;
use crate::projection::{Projections, SNAPSHOT_SCHEMA};
use crate::signed::NetworkId;
use borsh::{BorshDeserialize, BorshSerialize};
use sha2::Digest as _;
use std::io::{self, Read, Write};

const MAGIC: &[u8] = b"pyrsia-audit\n";
const VERSION: u32 = 1;
/// The longest account of what was found: [`super::FINDINGS_MAX`] findings of some sentences each.
const FOUND_BYTES_MAX: u64 = 1 << 26;

#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    #[error("it is no audit at rest that this program can go on with")]
    Other,
    #[error("it is damaged")]
    Damaged,
    #[error("it was made with {}, and this audit is made with {}", pin(found), pin(pinned))]
    Pin { found: Option<NetworkId>, pinned: Option<NetworkId> },
    #[error(
        "it goes on behind block {0}, and this ledger has another block there, or none: it is another ledger, or it was changed"
    )]
    OtherBlock(Height),
    #[error("it is about a network with another founding block than this ledger has")]
    OtherFounding,
    #[error("it cannot be read")]
    Io(#[from] io::Error),
}

fn pin(network: &Option<NetworkId>) -> String {
    network.map_or("no network pinned".to_owned(), |network| format!("network {network} pinned"))
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Found {
    pinned: Option<NetworkId>,
    summary: Summary,
    findings: Vec<Finding>,
    findings_total: u64,
    /// Newest last.
    recent: Vec<BlockHash>,
}

/// What could not be read of a file that begins like one at rest.
fn damaged(error: io::Error) -> ResumeError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => ResumeError::Damaged,
        _ => ResumeError::Io(error),
    }
}

impl Audit {
    /// The newest block, if the audit can rest behind it: the state there is known, and every signature so far was verified.
    pub fn rests_at(&self) -> Option<Height> {
        let is_through = self.work.is_empty() && self.checked == self.handed_out;
        match &self.follow {
            Follow::Known(state) if is_through => Some(state.height()),
            _ => None,
        }
    }

    /// Writes an audit that can rest, to be gone on with by [`Audit::resume`]; nothing of one that cannot.
    pub fn write_rest(&self, out: &mut dyn Write) -> io::Result<()> {
        let (Some(_), Follow::Known(state)) = (self.rests_at(), &self.follow) else { return Ok(()) };
        let found = borsh::to_vec(&Found {
            pinned: self.pinned,
            summary: self.summary.clone(),
            findings: first_of(self.findings.clone()),
            findings_total: self.findings_total,
            recent: state.recent_blocks(),
        })?;
        if found.len() as u64 > FOUND_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut out = Hashing::new(out);
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&SNAPSHOT_SCHEMA.to_le_bytes())?;
        out.write_all(&(found.len() as u64).to_le_bytes())?;
        out.write_all(&found)?;
        state.write_snapshot(&mut out)?;
        let check_sum = out.hasher.finalize();
        out.inner.write_all(&check_sum)
    }

    /// Takes up an audit. The next thing to give it is the block it rests at, behind the founding block, by
    /// [`Audit::confirm`].
    pub fn resume(input: &mut dyn Read, pinned: Option<NetworkId>) -> Result<Self, ResumeError> {
        let mut input = Hashing::new(input);
        let mut start = [0; MAGIC.len() + 4 + 4];
        input.read_exact(&mut start).map_err(|_| ResumeError::Other)?;
        if start.as_slice() != [MAGIC, &VERSION.to_le_bytes(), &SNAPSHOT_SCHEMA.to_le_bytes()].concat() {
            return Err(ResumeError::Other);
        }
        let mut length = [0; 8];
        input.read_exact(&mut length).map_err(damaged)?;
        let length = u64::from_le_bytes(length);
        if length > FOUND_BYTES_MAX {
            return Err(ResumeError::Damaged);
        }
        let mut found = vec![];
        (&mut input).take(length).read_to_end(&mut found)?;
        let found: Found = borsh::from_slice(&found).map_err(|_| ResumeError::Damaged)?;
        let state = Projections::read_snapshot(&mut input, |_| Ok(found.recent)).map_err(damaged)?;
        let computed = input.hasher.finalize();
        let mut stated = vec![];
        input.inner.take(33).read_to_end(&mut stated)?;
        let root = state.rows_root(&mut || true);
        let counted = found.findings_total.min(FINDINGS_MAX as u64) == found.findings.len() as u64;
        if stated != computed.as_slice() || root != Some(state.state_root()) || !counted {
            return Err(ResumeError::Damaged);
        }
        if found.pinned != pinned {
            return Err(ResumeError::Pin { found: found.pinned, pinned });
        }
        let is_another = pinned.is_some_and(|pinned| pinned != *state.network());
        if is_another && !found.findings.iter().any(|finding| finding.what == FindingKind::Network) {
            return Err(ResumeError::Pin { found: Some(*state.network()), pinned });
        }
        let mut audit = Self {
            next: state.height().next(),
            previous: Some((state.tip(), state.time_ms())),
            findings: found.findings,
            findings_total: found.findings_total,
            summary: Summary {
                network: Some(*state.network()),
                name: Some(state.name().to_owned()),
                resumed_after: Some(state.height()),
                ..found.summary
            },
            ..Self::new(pinned)
        };
        audit.know(state);
        Ok(audit)
    }

    /// Whether these bytes are the founding block and the block that a resumed audit rests at, with the state it goes on from.
    pub fn confirm(&self, founding: &[u8], raw: &[u8]) -> Result<(), ResumeError> {
        let Follow::Known(state) = &self.follow else { return Ok(()) };
        let founded = SealedBlock::decode(founding).ok().and_then(|sealed| Projections::from_genesis(&sealed).ok());
        let of = |state: &Projections| (*state.network(), state.founder(), state.name().to_owned());
        if founded.is_none_or(|founded| of(&founded) != of(state)) {
            return Err(ResumeError::OtherFounding);
        }
        let is_same = SealedBlock::decode(raw).is_ok_and(|sealed| {
            let header = &sealed.block.header;
            header.hash() == state.tip()
                && (header.height, header.network, header.time_ms) == (state.height(), *state.network(), state.time_ms())
                && (header.tree_size, header.tree_root) == (state.tree_size(), state.tree_root())
                && header.state_root == state.state_root()
        });
        if is_same { Ok(()) } else { Err(ResumeError::OtherBlock(state.height())) }
    }
}
