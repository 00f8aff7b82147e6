//! The one verdict: whether an artifact may leave this node.
//!
//! Every path that serves bytes asks here, whatever the protocol and wherever the bytes are: the registries, the checksum
//! and metadata files they make, and the exchange between nodes. A plain function of the ledger's state.

use pyrsia_ledger::event::BuildOutcome;
use pyrsia_ledger::projection::builds::BuildStatus;
use pyrsia_ledger::projection::packages::ArtifactRecord;
use pyrsia_ledger::{ArtifactId, BuildId, Height, NodeId, PackageCoordinate, PackageType, Projections, Sha256Digest};

/// Why an artifact is not given out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    #[error("no build that published {package_type} artifact {id} stands on the ledger")]
    Unpublished { package_type: PackageType, id: ArtifactId },
    /// A key was compromised, and without it no majority of the judges stands behind the artifact.
    #[error(
        "{package_type} artifact {id} is at risk since height {height}: without {}, whose word counts no more, no majority of the judges of build {build} stands behind it; ask for a new build",
        named(lost)
    )]
    AtRisk { package_type: PackageType, id: ArtifactId, build: BuildId, height: Height, lost: Vec<NodeId> },
    #[error("no build that published an artifact with sha256 {sha256} stands on the ledger")]
    UnpublishedBytes { sha256: Sha256Digest },
}

fn named(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}

/// The record that vouches for an artifact, if it may be given out.
pub fn verdict<'a>(
    state: &'a Projections,
    package_type: &PackageType,
    id: &ArtifactId,
) -> Result<(&'a PackageCoordinate, &'a ArtifactRecord), Withheld> {
    let unpublished = || Withheld::Unpublished { package_type: package_type.clone(), id: id.clone() };
    let (coordinate, record) = state.packages.artifact(package_type, id).ok_or_else(unpublished)?;
    match state.builds.at_risk(&record.build_id) {
        None => Ok((coordinate, record)),
        Some(risk) => Err(Withheld::AtRisk {
            package_type: package_type.clone(),
            id: id.clone(),
            build: record.build_id,
            height: risk.height,
            lost: risk.lost.clone(),
        }),
    }
}

/// The newest build of a package that is completely published, at risk or not.
pub fn newest_publication(state: &Projections, coordinate: &PackageCoordinate) -> Option<BuildId> {
    let is_published =
        |build: &BuildId| state.builds.get(build).is_some_and(|build| matches!(build.status, BuildStatus::Published { .. }));
    state.packages.records(coordinate).rev().map(|record| record.build_id).find(is_published)
}

/// The same for one who knows only the digest, as other nodes do. Bytes at risk leave: another package may have the same ones,
/// and the node that asks gives nothing out under a name without a verdict of its own.
pub fn verdict_on_bytes<'a>(
    state: &'a Projections,
    sha256: &Sha256Digest,
) -> Result<(&'a PackageCoordinate, &'a ArtifactRecord), Withheld> {
    state.packages.digest(sha256).ok_or(Withheld::UnpublishedBytes { sha256: *sha256 })
}

/// Whether unpublished bytes may go to `peer`: to another judge of the network, to be looked at, when one of `builds` has a
/// result on the ledger that names them.
pub fn verdict_on_revealed_bytes(
    state: &Projections,
    peer: &NodeId,
    sha256: &Sha256Digest,
    builds: &[BuildId],
) -> Result<(), Withheld> {
    let names_it = |outcome: &BuildOutcome| match outcome {
        BuildOutcome::Built { artifacts, .. } => artifacts.iter().any(|artifact| artifact.sha256 == *sha256),
        BuildOutcome::Failed { .. } | BuildOutcome::Abstained { .. } => false,
    };
    let is_revealed = |build: &BuildId| state.builds.results(build).any(|(_, result)| names_it(&result.outcome));
    if state.members.contains(peer) && builds.iter().any(is_revealed) {
        return Ok(());
    }
    Err(Withheld::UnpublishedBytes { sha256: *sha256 })
}
