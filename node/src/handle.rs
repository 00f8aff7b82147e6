//! What the rest of a program may ask a node: a cheap clone, good on every thread.

use std::fs::File;
use std::sync::Arc;

use libp2p::Multiaddr;
use pyrsia_ledger::projection::packages::ArtifactRecord;
use pyrsia_ledger::{ArtifactId, BuildId, Height, NodeId, PackageCoordinate, PackageType, SealedBlock, Sha256Digest};
use tokio::sync::watch;

use crate::authorization::{Authorization, AuthorizeError};
use crate::builds::view::BuildView;
use crate::builds::wish::{BuildReceipt, BuildWish, PackageTypeInfo, WishError};
use crate::consensus::LedgerView;

#[derive(Clone)]
pub struct NodeHandle {
    ledger: watch::Receiver<Arc<LedgerView>>,
}

/// A published artifact whose bytes are here and verified.
#[derive(Debug)]
pub struct OpenArtifact {
    /// Read-only, at its beginning.
    pub file: File,
    pub size_bytes: u64,
    pub sha256: Sha256Digest,
    pub media_type: String,
    pub coordinate: PackageCoordinate,
    pub record: ArtifactRecord,
}

/// Why an artifact is not handed out.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("{package_type} artifact {id} is not published")]
    Unpublished { package_type: PackageType, id: ArtifactId },
    #[error("{package_type} artifact {id} was withdrawn: {reason}")]
    Withdrawn { package_type: PackageType, id: ArtifactId, reason: String },
    #[error("{id} is published, but no peer can give it: {reason}")]
    Unavailable { id: ArtifactId, reason: String },
    #[error("the copy of {id} cannot be read or written: {reason}")]
    Damaged { id: ArtifactId, reason: String },
    #[error("this node follows no network")]
    NoNetwork,
    #[error("this node has too much to do, try again later")]
    Busy,
}

impl NodeHandle {
    pub fn node_id(&self) -> NodeId {
        todo!()
    }

    pub fn ledger(&self) -> Arc<LedgerView> {
        todo!()
    }

    pub fn watch_ledger(&self) -> watch::Receiver<Arc<LedgerView>> {
        self.ledger.clone()
    }

    /// Connected nodes, in ascending order of their keys.
    pub fn peers(&self) -> Vec<NodeId> {
        todo!()
    }

    /// Where this node can be reached; the first is the most useful to others on this host.
    pub fn addresses(&self) -> Vec<Multiaddr> {
        todo!()
    }

    pub fn package_types(&self) -> Vec<PackageTypeInfo> {
        todo!()
    }

    pub async fn parse_coordinate(&self, package_type: &str, text: &str) -> Result<PackageCoordinate, WishError> {
        let _ = (package_type, text);
        todo!()
    }

    pub async fn authorize(&self, node: NodeId) -> Result<Authorization, AuthorizeError> {
        let _ = node;
        todo!()
    }

    pub async fn request_build(&self, wish: BuildWish) -> Result<BuildReceipt, WishError> {
        let _ = wish;
        todo!()
    }

    /// Asks for a build once for each coordinate and interval, without waiting for what becomes of it.
    /// An error says why nothing was asked.
    pub fn wish_in_background(&self, coordinate: PackageCoordinate) -> Result<(), WishError> {
        let _ = coordinate;
        todo!()
    }

    pub fn build(&self, id: &BuildId) -> Option<BuildView> {
        let _ = id;
        todo!()
    }

    /// Every build of a package, the newest first.
    pub fn builds_of(&self, coordinate: &PackageCoordinate) -> Vec<BuildId> {
        let _ = coordinate;
        todo!()
    }

    pub async fn open_artifact(&self, package_type: &PackageType, id: &ArtifactId) -> Result<OpenArtifact, ArtifactError> {
        let _ = (package_type, id);
        todo!()
    }

    pub fn artifact_record(
        &self,
        package_type: &PackageType,
        id: &ArtifactId,
    ) -> Result<(PackageCoordinate, ArtifactRecord), ArtifactError> {
        let _ = (package_type, id);
        todo!()
    }

    pub async fn blocks(&self, from: Height, bytes_max: usize) -> Vec<SealedBlock> {
        let _ = (from, bytes_max);
        todo!()
    }

    /// Metrics in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        todo!()
    }
}
