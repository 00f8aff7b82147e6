//! The facts of a build, in the order in which they come to be: asked for, committed to, revealed, vouched for, published or
//! disputed.

use super::as_hex;
use crate::coordinate::{ArtifactId, BuildId, PackageCoordinate};
use crate::digest::Sha256Digest;
use crate::identity::NodeId;
use crate::shared::Shared;
use crate::signed::NetworkId;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::{fmt, io};

/// The authorized nodes of the height at which this stands are the judges of the build, whoever is authorized later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuildRequested {
    pub build_id: BuildId,
    pub coordinate: PackageCoordinate,
    /// Counts the builds of this coordinate from 0.
    pub attempt: u32,
    pub verifier: Sha256Digest,
    /// What the author's own mapping says the package is built from; none where its pipeline cannot tell. Every judge holds it
    /// against its own mapping, so nobody chooses the source of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<PinnedSource>,
}

/// Version 1 ends before the source, version 2 has one: nothing can be written in two ways.
impl BorshSerialize for BuildRequested {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        let Self { build_id, coordinate, attempt, verifier, source } = self;
        BorshSerialize::serialize(&(build_id, coordinate, attempt, verifier), writer)?;
        source.iter().try_for_each(|source| BorshSerialize::serialize(source, writer))
    }
}

impl BuildRequested {
    pub(super) const fn version(&self) -> u16 {
        if self.source.is_some() { 2 } else { 1 }
    }

    /// The body of version 1.
    pub(super) fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let (build_id, coordinate, attempt, verifier) = BorshDeserialize::deserialize_reader(reader)?;
        Ok(Self { build_id, coordinate, attempt, verifier, source: None })
    }

    /// The body of version 2.
    pub(super) fn read_with_source<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let requested = Self::deserialize_reader(reader)?;
        Ok(Self { source: Some(PinnedSource::deserialize_reader(reader)?), ..requested })
    }
}

/// A source that says the same whenever it is looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct PinnedSource {
    /// `git` for a build from source, `import` for a copy of what a registry published.
    pub kind: String,
    /// Repository or registry, without user and password: where the author would fetch it. Mirrors are elsewhere.
    pub location: String,
    /// What pins it: a commit, or the digest of a manifest.
    pub revision: String,
    /// The git tree of that commit.
    pub tree: Option<String>,
}

impl PinnedSource {
    /// Whether both name the same content, wherever it is fetched from.
    pub fn is_same_as(&self, other: &Self) -> bool {
        (&self.kind, &self.revision) == (&other.kind, &other.revision)
    }
}

/// As people read it: "commit 1a2b of https://git.example/a".
impl fmt::Display for PinnedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, location, revision, tree: _ } = self;
        match kind.as_str() {
            "git" => write!(f, "commit {revision} of {location}"),
            "import" => write!(f, "manifest {revision} of {location}"),
            kind => write!(f, "{kind} {revision} of {location}"),
        }
    }
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
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
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

/// The author has its result and binds itself to it without showing it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct BuildResultCommitted {
    pub build_id: BuildId,
    /// See [`commitment`].
    pub commitment: Sha256Digest,
}

/// What a judge commits to. Its key is part of it, so that a commitment copied from another judge can never be opened; the
/// salt keeps a result from being guessed.
pub fn commitment(
    network: &NetworkId,
    build: &BuildId,
    author: &NodeId,
    salt: &[u8; 32],
    outcome: &BuildOutcome,
) -> Sha256Digest {
    let bytes = borsh::to_vec(&(network, build, author, salt, outcome)).expect("writing to memory cannot fail");
    Sha256Digest::of_parts(&[b"pyrsia/result-commitment/v1\0", &bytes])
}

/// The result that was committed to; or, without a commitment once the committing is over, a late one: on record, counts
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, Serialize)]
pub struct BuildResultRevealed {
    pub build_id: BuildId,
    pub outcome: Shared<BuildOutcome>,
    #[serde(serialize_with = "as_hex")]
    pub salt: [u8; 32],
}

impl BuildResultRevealed {
    /// Reads a result, and what it came to with `outcome`.
    pub(super) fn read<R: io::Read>(
        reader: &mut R,
        outcome: impl FnOnce(&mut R) -> io::Result<Shared<BuildOutcome>>,
    ) -> io::Result<Self> {
        let build_id = BuildId::deserialize_reader(reader)?;
        Ok(Self { build_id, outcome: outcome(reader)?, salt: <[u8; 32]>::deserialize_reader(reader)? })
    }
}

/// The author has waited long enough in this phase. An opinion, because nobody's clock is part of validity: more than
/// half of the judges that are still authorized end the phase, or more than half of the authorized nodes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct BuildWaitEnded {
    pub build_id: BuildId,
    pub phase: WaitPhase,
}

/// A phase in which judges wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitPhase {
    Committing,
    Revealing,
    Vouching { candidate: Sha256Digest },
}

/// The author fetched the candidate's raw bytes, ran the pinned verifier over them itself, and compares canonical digests with
/// its own.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct BuildCandidateVouched {
    pub build_id: BuildId,
    /// The digest of the raw result that is vouched for.
    pub candidate: Sha256Digest,
    pub verdict: Vouch,
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vouch {
    Same,
    Different {
        reason: String,
    },
    /// The bytes, or an answer of the verifier, could not be had.
    Unavailable {
        reason: String,
    },
}

/// Why the judges do not agree, in words: what the pinned verifier says of the artifacts of the groups.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct BuildDisputed {
    pub build_id: BuildId,
    pub report: DisputeReport,
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct DisputeReport {
    pub comparisons: Vec<GroupComparison>,
    /// Pairs of groups that were not compared.
    pub omitted: u64,
}

/// Two groups of judges, each with one result; a group is named by its smallest judge.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct GroupComparison {
    pub a: NodeId,
    pub b: NodeId,
    pub verdict: GroupVerdict,
    pub differences: Vec<ReportedDifference>,
    /// Differences that are not listed.
    pub omitted: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupVerdict {
    Different,
    SameAfter {
        passes: Vec<String>,
    },
    /// They built from another kind of source, or from another revision of it.
    OtherSource,
    /// The verifier came to no answer.
    Undecidable {
        reason: String,
    },
    /// The bytes of a group could not be had.
    Unavailable {
        reason: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ReportedDifference {
    pub artifact: String,
    /// Where in the artifact, from the outermost container inwards.
    pub path: Vec<String>,
    pub what: String,
    pub a: Option<String>,
    pub b: Option<String>,
}

/// Publication of one artifact, valid only after an absolute majority of the judges came to the same build.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct AddArtifact {
    pub build_id: BuildId,
    pub coordinate: PackageCoordinate,
    pub artifact: BuiltArtifact,
}
