//! The shell round the ledger: consensus, network, builds and artifacts of one node, behind one [`NodeHandle`].
//!
//! Owns the node's tasks and files. It holds no rule of the ledger, speaks no client's protocol, and knows no package
//! type: what a coordinate means and whether a build is well formed is said by verifier components.

pub mod config;
pub mod identity;
pub mod node;

pub mod authorization;
pub mod builds;
pub mod handle;
pub mod mounts;

pub mod artifacts;
pub mod bucket;
pub mod consensus;
pub mod p2p;
pub mod proofs;
pub mod request_context;
pub mod storage;
pub mod verification;

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;

mod bootstrap;
mod http_client;
mod ledger_wait;
mod metrics;
mod package_types;
mod revocation;
mod standing;
mod verifier_approval;
mod verifiers;

pub use authorization::{Authorization, AuthorizeError, Authorized};
pub use builds::view::{
    BuildView, CandidateView, DisputeView, GroupView, JudgeView, LocalBuildProgress, LocalPhase, OutcomeView, VouchView,
};
pub use builds::wish::{BuildReceipt, BuildWish, PackageTypeInfo, WishError};
pub use config::{JudgePatience, NodeConfig, StorageConfig};
pub use handle::{ArrivingArtifact, ArtifactError, NodeHandle, OpenArtifact, ServedArtifact};
pub use libp2p::Multiaddr;
pub use mounts::{MountError, MountTarget, MountedDocument};
pub use node::{FatalError, Node, StartError};
pub use p2p::Feed;
pub use request_context::{RequestContext, Verdict};
pub use revocation::{Revocation, RevokeError, Revoked};
pub use standing::NotStanding;
pub use verifier_approval::{ApproveVerifierError, OfferedVerifier, VerifierApproval};
