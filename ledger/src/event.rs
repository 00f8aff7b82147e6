//! The facts of the ledger: one enum variant for each kind, with only the fields that kind has.
//!
//! Encoding: kind (u16), version (u16), body (borsh), so that a kind can get a second version without touching the first;
//! a decoder refuses what it does not know. A kind and version never change their meaning. Each has its golden bytes in
//! `ledger/tests/golden`.

use crate::coordinate::{ArtifactId, BuildId, PackageCoordinate, PackageType};
use crate::digest::Sha256Digest;
use crate::identity::NodeId;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::io;

/// The longest reason, name or location an event may carry, in bytes.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// The most artifacts of one build: with the longest ids its result still fits in one event.
pub const ARTIFACTS_PER_BUILD_MAX: usize = 256;

/// Genesis. Its author is the founder: the first who may authorize a node, and the only validator until one is.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct NetworkFounded {
    pub name: String,
    /// Makes two networks of one founder and name different.
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

/// The authorized nodes of the height at which this stands are the judges of the build, whatever happens to the set later.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct BuildRequested {
    pub build_id: BuildId,
    pub coordinate: PackageCoordinate,
    /// Counts the builds of this coordinate from 0.
    pub attempt: u32,
    pub verifier: Sha256Digest,
}

/// Where the bytes that were built came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct BuildSource {
    /// `git` for a build from source, `import` for a copy of what a registry published.
    pub kind: String,
    /// Repository or registry the source was fetched from.
    pub location: String,
    /// What pins it: a commit, or the digest of a manifest.
    pub revision: String,
}

/// One file of a build, as one builder made it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct BuiltArtifact {
    pub artifact_id: ArtifactId,
    pub media_type: String,
    pub size_bytes: u64,
    pub sha256: Sha256Digest,
    /// What two builders must agree on: the digest of the artifact without the noise that its verifier forgives.
    pub canonical: Sha256Digest,
    /// Root of the Merkle tree over the sha256 of each chunk of 1 MiB ([`crate::tree::chunk_root`]).
    pub chunk_root: Sha256Digest,
}

/// What became of a build on one judge.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub enum BuildOutcome {
    Built {
        source: BuildSource,
        artifacts: Vec<BuiltArtifact>,
    },
    /// The build itself failed.
    Failed {
        reason: String,
    },
    /// This judge could not come to a result.
    Abstained {
        reason: String,
    },
}

/// A judge's result, once for each build.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct BuildResultReported {
    pub build_id: BuildId,
    pub outcome: BuildOutcome,
}

/// Publication of one artifact, valid only after an absolute majority of the judges reported the same build.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct AddArtifact {
    pub build_id: BuildId,
    pub coordinate: PackageCoordinate,
    pub artifact: BuiltArtifact,
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Event {
    NetworkFounded(NetworkFounded),
    NodeAuthorizationApproved(NodeAuthorizationApproved),
    NodeActivated(NodeActivated),
    VerifierApproved(VerifierApproved),
    BuildRequested(BuildRequested),
    BuildResultReported(BuildResultReported),
    AddArtifact(AddArtifact),
}

macro_rules! kinds {
    ($($number:literal $name:ident v1),* $(,)?) => {
        impl Event {
            /// The name of the kind, as every view shows it.
            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name)),* }
            }
        }

        impl BorshSerialize for Event {
            fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
                match self {
                    $(Self::$name(body) => {
                        BorshSerialize::serialize(&($number as u16, 1u16), writer)?;
                        BorshSerialize::serialize(body, writer)
                    })*
                }
            }
        }

        impl BorshDeserialize for Event {
            fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
                match <(u16, u16)>::deserialize_reader(reader)? {
                    $(($number, 1) => Ok(Self::$name($name::deserialize_reader(reader)?)),)*
                    (kind, version) => Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("event kind {kind} in version {version} is not known to this program"),
                    )),
                }
            }
        }
    };
}

kinds! {
    1 NetworkFounded v1,
    2 NodeAuthorizationApproved v1,
    3 NodeActivated v1,
    4 VerifierApproved v1,
    5 BuildRequested v1,
    6 BuildResultReported v1,
    7 AddArtifact v1,
}
