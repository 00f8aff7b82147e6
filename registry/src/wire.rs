//! The JSON of the management API, shared with every program that speaks it.
//!
//! The first half is the surface of the seed documents: names and forms are as their clients expect them. The second half,
//! below [`NodeStatus`], is `/api/v1`, which `openapi.json` describes. Readers must ignore fields they do not know.

mod blocks;
mod builds;
mod consensus;
pub mod dispute;
mod inspect;
mod members;
mod search;
mod storage;
mod words;

pub(crate) use blocks::join_blocks;
pub use blocks::{BLOCKS_MEDIA_TYPE, BlocksPageError, split_blocks};
pub use builds::*;
pub use consensus::*;
pub use inspect::*;
pub use members::*;
use pyrsia_ledger::event::BuiltArtifact;
use pyrsia_ledger::{BlockHash, BuildId, Height, NetworkId, NodeId, PackageType, Sha256Digest};
pub use search::*;
use serde::{Deserialize, Serialize};
use std::fmt;
pub use storage::*;
pub use words::event_in_words;

/// `POST /authorized_node` and `POST /api/v1/authorizations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizeRequest {
    pub peer_id: String,
}

/// How far an authorization has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthorizationState {
    /// Other authorized nodes have to approve as well.
    Pending,
    /// A majority has approved; the node activates itself when it is in sync.
    Approved,
    /// The node is an authorized node.
    Active,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizeResponse {
    pub peer_id: NodeId,
    pub state: AuthorizationState,
    /// How many authorized nodes there are, or will be once this one is active.
    pub members: usize,
    /// What this means and what is to do next, for a person.
    pub message: String,
}

/// `POST /build/docker`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildDockerRequest {
    #[serde(alias = "package")]
    pub image: String,
}

/// `POST /build/maven`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildMavenRequest {
    #[serde(alias = "package")]
    pub gav: String,
}

/// `POST /build/{package type}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildPackageRequest {
    pub package: String,
}

/// Exactly one of the two is there: the build that runs, or why none is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildResponse {
    pub build_id: Option<String>,
    pub message: Option<String>,
}

/// `POST /build/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildStatusRequest {
    pub build_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BuildStatusResponse {
    Running,
    Success { artifact_urls: Vec<String> },
    Failure(String),
}

impl fmt::Display for BuildStatusResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("RUNNING"),
            Self::Success { .. } => f.write_str("SUCCESS"),
            Self::Failure(message) => write!(f, "FAILED - (Error: {message})"),
        }
    }
}

/// The error body of everything but `/api/v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub errors: Vec<ErrorEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorEntry {
    pub code: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<serde_json::Value>,
}

/// The error body of `/api/v1` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// By which the node's log names the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// `GET /status` and `GET /api/v1/status`; the first three fields are those of the seed documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub peers_count: usize,
    pub peer_id: NodeId,
    pub peer_addrs: Vec<String>,
    pub version: String,
    pub authorized: bool,
    /// Absent until the node follows a network.
    pub network: Option<NetworkId>,
    pub network_name: Option<String>,
    pub height: Option<Height>,
    /// Absent until the node follows a network.
    pub consensus: Option<ConsensusStatus>,
    /// Absent from nodes that do not know it.
    pub exchange: Option<ExchangeView>,
}

/// `GET /api/v1/network`: the state of the network at the newest block this node has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkView {
    pub network: NetworkId,
    pub name: String,
    pub founder: NodeId,
    pub height: Height,
    pub tip: BlockHash,
    pub time_ms: u64,
    pub tree_size: u64,
    pub tree_root: Sha256Digest,
    pub state_root: Sha256Digest,
    pub artifacts: usize,
    pub members: Vec<MemberView>,
    pub candidates: Vec<CandidateView>,
    pub validators: Vec<NodeId>,
    pub verifiers: Vec<VerifierView>,
    pub package_types: Vec<PackageTypeView>,
    /// Verifiers this node has and the network does not judge by; an operator may approve them.
    pub offered_verifiers: Vec<OfferedVerifierView>,
    /// What this node sees of the agreement on the next block.
    pub consensus: ConsensusStatus,
    /// How the builds and their judges stand.
    pub judging: JudgingView,
    pub exchange: ExchangeView,
    pub peers_count: usize,
}

/// What the node gives other nodes, and how they reach it. What older nodes do not say is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeView {
    /// `on` or `off`.
    pub distribution: String,
    /// Bytes of artifacts a second; absent: no limit.
    pub upload_rate: Option<u64>,
    pub download_rate: Option<u64>,
    pub max_connections: u32,
    /// `public`, `private` or `unknown`.
    pub reachability: String,
    /// The nodes through which others reach this one.
    pub relays: Vec<NodeId>,
    /// `off`, `asked`, `forwarded`, `no_gateway` or `private_gateway`.
    #[serde(default)]
    pub port_forwarding: String,
    /// Connections with other nodes, by whether a third one carries them.
    #[serde(default)]
    pub direct_connections: u64,
    #[serde(default)]
    pub relayed_connections: u64,
    /// Carried connections that gave way to direct ones since the start, and attempts that came to nothing.
    #[serde(default)]
    pub holes_punched: u64,
    #[serde(default)]
    pub holes_not_punched: u64,
    /// Artifacts that came from other nodes since the start, and fetches that ended without one.
    #[serde(default)]
    pub fetched: u64,
    #[serde(default)]
    pub not_fetched: u64,
    #[serde(default)]
    pub received_bytes: u64,
    #[serde(default)]
    pub sent_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    pub node: NodeId,
    /// The first height whose block it signs.
    pub since: Height,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateView {
    pub node: NodeId,
    pub approvals: Vec<NodeId>,
    pub approved_at: Option<Height>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifierView {
    pub package_type: PackageType,
    pub module: Sha256Digest,
    pub contract_version: u16,
    pub approvals: Vec<NodeId>,
    pub approved_at: Option<Height>,
    /// Whether the next build of the type is judged by it.
    pub current: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedVerifierView {
    pub module: Sha256Digest,
    pub package_type: PackageType,
    pub aliases: Vec<PackageType>,
    pub coordinate_syntax: String,
    pub examples: Vec<String>,
    pub passes: Vec<PassView>,
    pub http_paths: Vec<String>,
    pub approvals: Vec<NodeId>,
}

/// What a verifier forgives when it compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassView {
    pub name: String,
    pub forgives: String,
}

/// `POST /api/v1/verifiers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApproveVerifierRequest {
    /// The sha256 of the module.
    pub module: Sha256Digest,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApproveVerifierResponse {
    pub package_type: PackageType,
    pub module: Sha256Digest,
    pub approvals: usize,
    pub needed: usize,
    /// Whether builds requested from now on are judged by it.
    pub current: bool,
    /// What this means and what is to do next, for a person.
    pub message: String,
}

/// A type of packages that this node can parse the names of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageTypeView {
    pub name: PackageType,
    pub aliases: Vec<PackageType>,
    /// One sentence on how a package is written.
    pub coordinate_syntax: String,
    pub examples: Vec<String>,
    /// What is served below `/{name}`; nothing where the type has no paths of its own.
    pub http_paths: Vec<String>,
    /// SHA-256 of the verifier this node has for it.
    pub module: Sha256Digest,
}

/// `POST /api/v1/builds`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestBuild {
    pub package_type: String,
    pub package: String,
    /// Build it although it is published, or though its newest build came to nothing.
    #[serde(default)]
    pub again: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestedState {
    Requested,
    AlreadyOpen,
    AlreadyPublished,
    /// The newest build of the package failed or is disputed; `again` asks for another attempt.
    NotPublished,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestedBuild {
    pub state: RequestedState,
    /// The build that runs or came to nothing; absent when the package is published.
    pub build_id: Option<BuildId>,
    pub package_type: PackageType,
    /// The package in its canonical form.
    pub package: String,
}

/// `GET /api/v1/packages/{package type}?id=…`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageView {
    pub package_type: PackageType,
    pub package: String,
    pub builds: Vec<BuildId>,
    /// Oldest first.
    pub records: Vec<RecordView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordView {
    pub event: Sha256Digest,
    pub height: Height,
    pub time_ms: u64,
    pub build_id: BuildId,
    pub author: NodeId,
    pub artifact: BuiltArtifact,
}

/// `GET /api/v1/log/keys`: what it takes to check the checkpoint at `/log/checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogKeysView {
    /// The first line of every checkpoint of this network.
    pub origin: String,
    /// The block that the cosigners are those of.
    pub height: Height,
    /// The verifier key of this node as the log (C2SP signed-note).
    pub log: String,
    /// The verifier keys of the validators of this block (C2SP tlog-cosignature), and how many of them must have cosigned.
    pub cosigners: Vec<String>,
    pub quorum: usize,
}

/// `GET /api/v1/blocks/{height}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockView {
    pub height: Height,
    pub hash: BlockHash,
    pub parent: BlockHash,
    pub network: NetworkId,
    pub time_ms: u64,
    pub proposer: NodeId,
    pub tree_size: u64,
    pub tree_root: Sha256Digest,
    pub state_root: Sha256Digest,
    pub validators: Sha256Digest,
    pub next_validators: Sha256Digest,
    /// The round of consensus it was decided in, and who signed it.
    pub round: u32,
    pub signers: Vec<NodeId>,
    pub events: Vec<EventView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    pub id: Sha256Digest,
    pub kind: String,
    pub author: NodeId,
    pub sequence: u64,
    pub claimed_time_ms: u64,
    /// The fields of the kind.
    pub body: serde_json::Value,
    pub signature: String,
}

/// `GET /api/v1/blocks?from=…`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlocksPage {
    pub blocks: Vec<BlockView>,
    /// Where the next page begins; absent at the end of the ledger.
    pub next: Option<Height>,
}

#[cfg(test)]
mod tests;
