//! The one verdict: whether an artifact may leave this node.
//!
//! Every path that serves bytes asks here, whatever the protocol and wherever the bytes are: the registries, the checksum
//! and metadata files they make, and the exchange between nodes. A plain function of the ledger's state.

use pyrsia_ledger::projection::packages::ArtifactRecord;
use pyrsia_ledger::{ArtifactId, PackageCoordinate, PackageType, Projections, Sha256Digest};

/// Why an artifact is not given out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    #[error("no build that published {package_type} artifact {id} stands on the ledger")]
    Unpublished { package_type: PackageType, id: ArtifactId },
    #[error("no build that published an artifact with sha256 {sha256} stands on the ledger")]
    UnpublishedBytes { sha256: Sha256Digest },
}

/// The record that vouches for an artifact, if it may be given out.
pub fn verdict<'a>(
    state: &'a Projections,
    package_type: &PackageType,
    id: &ArtifactId,
) -> Result<(&'a PackageCoordinate, &'a ArtifactRecord), Withheld> {
    let unpublished = || Withheld::Unpublished { package_type: package_type.clone(), id: id.clone() };
    state.packages.artifact(package_type, id).ok_or_else(unpublished)
}

/// The same for one who knows only the digest, as other nodes do.
pub fn verdict_on_bytes<'a>(
    state: &'a Projections,
    sha256: &Sha256Digest,
) -> Result<(&'a PackageCoordinate, &'a ArtifactRecord), Withheld> {
    state.packages.digest(sha256).ok_or(Withheld::UnpublishedBytes { sha256: *sha256 })
}
