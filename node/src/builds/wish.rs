//! What can be wished for and what becomes of a wish, in the words of every edge.

use std::time::Duration;

use pyrsia_ledger::{BuildId, PackageCoordinate, PackageType, Sha256Digest};
use serde::Serialize;

/// Somebody wants a package to be built and published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildWish {
    pub coordinate: PackageCoordinate,
    /// Build it even though it is published, or though its last build failed or was disputed.
    pub again: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum BuildReceipt {
    Requested(BuildId),
    /// The same package is being built; this is that build.
    AlreadyOpen(BuildId),
    AlreadyPublished {
        coordinate: PackageCoordinate,
        artifacts: usize,
    },
    /// The newest build of the package came to nothing; one who wants it to be tried again says so.
    NotPublished {
        build: BuildId,
        coordinate: PackageCoordinate,
        /// Whether the judges disagreed, rather than failed.
        disputed: bool,
    },
}

/// Why a wish comes to nothing, with what to do about it.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum WishError {
    #[error("{text:?} names no package: {sentence}")]
    Coordinate { text: String, sentence: String },
    #[error("{found:?} is no package type of this node; it knows {}", known.iter().map(PackageType::as_str).collect::<Vec<_>>().join(", "))]
    UnknownPackageType { found: String, known: Vec<PackageType> },
    #[error("this node cannot use the verifier that the network has for {found:?} packages: {sentence}")]
    ModuleUnavailable { found: String, sentence: String },
    #[error("this node follows no network: start one with --init-blockchain, or connect it with --peer")]
    NoNetwork,
    #[error("No authorized nodes found: authorize one with `pyrsia authorize --peer <PEER_ID>`")]
    NoAuthorizedNodes,
    #[error(
        "the network has not agreed on a verifier for {package_type} packages yet: `pyrsia verifier approve` approves one in the name of a node"
    )]
    NoVerifier { package_type: PackageType },
    #[error("none of the {authorized} authorized nodes is connected with this one, try again when one is online")]
    NoBuildNodeReachable { authorized: usize },
    /// The pipeline of the node that would request it knows that it cannot be built.
    #[error("this cannot be built: {sentence}; nothing was requested")]
    NotBuildable { sentence: String },
    /// What it is built from cannot be found out right now.
    #[error("what this is built from cannot be found out: {sentence}; nothing was requested, try again later")]
    SourceUnavailable { sentence: String },
    #[error("{0}")]
    Refused(String),
    #[error("{} asks for more builds than this node takes from one peer, try again in {} s", peer, retry_after.as_secs().max(1))]
    TooMany { peer: String, retry_after: Duration },
    #[error("this node has too much to do, try again later")]
    Busy,
    #[error("no block with the request within {} s: are more than two thirds of the authorized nodes online?", waited.as_secs())]
    TimedOut { waited: Duration },
    #[error("this node is stopping")]
    Stopped,
}

/// A package type that this node has a verifier for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PackageTypeInfo {
    pub name: PackageType,
    pub aliases: Vec<PackageType>,
    /// One sentence on how a coordinate is written.
    pub coordinate_syntax: String,
    pub examples: Vec<String>,
    /// The HTTP paths below the type's mount, for people; none when it has no mount.
    pub http_paths: Vec<String>,
    /// The sha256 of the verifier component.
    pub module: Sha256Digest,
}
