//! What attestations call things: URIs, as in-toto wants them. Those of the scheme `pyrsia` are names, and lead nowhere.

use crate::uri::encode_segment;
use crate::{docker, maven};
use pyrsia_ledger::{BuildId, NetworkId, NodeId, PackageCoordinate};

/// How builds from source, and copies of what a registry published, come about (docs/proofs.md).
pub(super) const BUILD_TYPE: &str = "pyrsia:build/v1";
pub(super) const IMPORT_TYPE: &str = "pyrsia:import/v1";
/// That more than half of the build nodes stand for the same bytes.
pub(super) const MAJORITY_POLICY: &str = "pyrsia:policy/absolute-majority/v1";

pub(super) fn node_uri(node: NodeId) -> String {
    format!("pyrsia:node/{node}")
}

pub(super) fn network_uri(network: &NetworkId) -> String {
    format!("pyrsia:network/{network}")
}

pub(super) fn proof_uri(network: &NetworkId, build: &BuildId) -> String {
    format!("{}/build/{build}/proof", network_uri(network))
}

/// The package URL, where the type has one.
pub(super) fn package_uri(coordinate: &PackageCoordinate) -> String {
    let of_type = docker::package_url(coordinate).or_else(|| maven::package_url(coordinate));
    of_type
        .unwrap_or_else(|| format!("pyrsia:package/{}/{}", coordinate.package_type, encode_segment(coordinate.id.as_str(), b"")))
}
