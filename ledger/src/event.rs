//! The facts of the ledger: one enum variant for each kind, with only the fields that kind has.
//!
//! Encoding: kind (u16), version (u16), body (borsh), so that a kind can get a second version without touching the first;
//! a decoder refuses what it does not know. A kind and version never change their meaning. Each has its golden bytes in
//! `ledger/tests/golden`. Number 6 is retired: it stood for a result shown before the other judges had theirs, and is never
//! given again.

mod builds;
mod outcomes;

use crate::coordinate::PackageType;
use crate::digest::Sha256Digest;
use crate::evidence::Evidence;
use crate::identity::NodeId;
use crate::shared::Shared;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Serialize, Serializer};
use std::io;

pub use builds::{
    AddArtifact, BuildCandidateVouched, BuildDisputed, BuildOutcome, BuildRequested, BuildResultCommitted, BuildResultRevealed,
    BuildSource, BuildWaitEnded, BuiltArtifact, DisputeReport, GroupComparison, GroupVerdict, PinnedSource, ReportedDifference,
    Vouch, WaitPhase, commitment,
};
pub(crate) use outcomes::Outcomes;

/// The longest reason, name or location an event may carry, in bytes.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// The most artifacts of one build: with the longest ids its result still fits in one event.
pub const ARTIFACTS_PER_BUILD_MAX: usize = 256;
/// The most pairs of groups a report about a dispute compares.
pub const DISPUTE_COMPARISONS_MAX: usize = 8;
/// The most differences a report about a dispute names, of all comparisons together.
pub const DISPUTE_DIFFERENCES_MAX: usize = 100;
/// The most parts of the path to a difference, and the most passes that made two artifacts the same.
pub const DISPUTE_PARTS_MAX: usize = 32;
/// The longest text in a report about a dispute, in bytes.
pub const DISPUTE_TEXT_BYTES_MAX: usize = 256;

/// Genesis. Its author is the founder: the first who may authorize a node, and the only validator until one is.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct NetworkFounded {
    pub name: String,
    /// Makes two networks of one founder and name different.
    #[serde(serialize_with = "as_hex")]
    pub nonce: [u8; 32],
}

/// The author wants `node` to become an authorized node.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct NodeAuthorizationApproved {
    pub node: NodeId,
}

/// The author, approved before, is online, in sync with `recent_block`, and holds its key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct NodeActivated {
    pub recent_height: u64,
    pub recent_block: Sha256Digest,
}

/// The author wants builds of `package_type` to be judged by the component with this digest.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct VerifierApproved {
    pub package_type: PackageType,
    pub module: Sha256Digest,
    /// The version of the contract in `wit/` that the component speaks.
    pub contract_version: u16,
}

/// The author wants `node` out. Approvals of different `compromised_since` do not add up.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct NodeRevocationApproved {
    pub node: NodeId,
    /// The height from which on nothing the node said about builds is to count.
    pub compromised_since: Option<u64>,
}

/// Two statements of one key that no honest node signs both. Suspends the key for good.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct EquivocationProved {
    pub evidence: Box<Evidence>,
}

/// Bytes without a meaning of their own, as views show them.
fn as_hex<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(bytes))
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Event {
    NetworkFounded(NetworkFounded),
    NodeAuthorizationApproved(NodeAuthorizationApproved),
    NodeActivated(NodeActivated),
    VerifierApproved(VerifierApproved),
    BuildRequested(BuildRequested),
    AddArtifact(AddArtifact),
    NodeRevocationApproved(NodeRevocationApproved),
    BuildResultCommitted(BuildResultCommitted),
    BuildResultRevealed(BuildResultRevealed),
    BuildWaitEnded(BuildWaitEnded),
    BuildCandidateVouched(BuildCandidateVouched),
    BuildDisputed(BuildDisputed),
    EquivocationProved(EquivocationProved),
}

macro_rules! kinds {
    (@body $name:ident $reader:ident $outcome:ident) => { $name::deserialize_reader($reader) };
    (@body $name:ident $reader:ident $outcome:ident $read:ident) => { $name::$read($reader, $outcome) };
    ($($number:literal $name:ident v1 $(by $read_v1:ident)? $(v2 $read_v2:ident)?),* $(,)?) => {
        impl Event {
            /// The name of each kind.
            pub const KINDS: &[&str] = &[$(stringify!($name)),*];

            /// The name of the kind, as every view shows it.
            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name)),* }
            }

            /// The version that its body is written in.
            const fn version(&self) -> u16 {
                match self {
                    Self::BuildRequested(body) => body.version(),
                    _ => 1,
                }
            }

            /// Reads an event, and what a judge came to with `outcome`.
            pub(crate) fn read<R: io::Read>(
                reader: &mut R,
                outcome: impl FnOnce(&mut R) -> io::Result<Shared<BuildOutcome>>,
            ) -> io::Result<Self> {
                match <(u16, u16)>::deserialize_reader(reader)? {
                    $(
                        ($number, 1) => Ok(Self::$name(kinds!(@body $name reader outcome $($read_v1)?)?)),
                        $(($number, 2) => Ok(Self::$name($name::$read_v2(reader)?)),)?
                    )*
                    (kind, version) => Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("event kind {kind} in version {version} is not known to this program"),
                    )),
                }
            }
        }

        impl BorshSerialize for Event {
            fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
                match self {
                    $(Self::$name(body) => {
                        BorshSerialize::serialize(&($number as u16, self.version()), writer)?;
                        BorshSerialize::serialize(body, writer)
                    })*
                }
            }
        }

        impl BorshDeserialize for Event {
            fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
                Self::read(reader, Shared::deserialize_reader)
            }
        }
    };
}

kinds! {
    1 NetworkFounded v1,
    2 NodeAuthorizationApproved v1,
    3 NodeActivated v1,
    4 VerifierApproved v1,
    5 BuildRequested v1 v2 read_with_source,
    7 AddArtifact v1,
    8 NodeRevocationApproved v1,
    9 BuildResultCommitted v1,
    10 BuildResultRevealed v1 by read,
    11 BuildWaitEnded v1,
    12 BuildCandidateVouched v1,
    13 BuildDisputed v1,
    14 EquivocationProved v1,
}
