//! What may leave this node to make room: plain functions of the ledger's state.
//!
//! The ledger appoints [`KEEPERS`] of the nodes that stand behind an artifact to keep it: those whose digest with the artifact's is lowest, so
//! that the load is spread. They never evict it, so two nodes that each count on the other cannot both let it go. Everybody else may, when a
//! keeper has just shown that it has it. What no authorized node stands behind any more has no keeper, and stays wherever it is.

use pyrsia_ledger::event::BuildOutcome;
use pyrsia_ledger::projection::packages::ArtifactRecord;
use pyrsia_ledger::{NodeId, Projections, Sha256Digest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How many nodes keep each published artifact, whatever their budgets say: a network of four loses one of them without a loss.
pub(crate) const KEEPERS: usize = 3;

/// Why a stored artifact is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Published; it may make room for others while a keeper has it.
    Published,
    /// Published; this node is one of its keepers, or the network has none.
    Kept,
    /// A build brought it here that has not ended long ago.
    Build,
    /// Nothing on the ledger names it.
    Unnamed,
}

/// How an artifact that `is_brought` by a build of late or not stands.
pub(crate) fn standing(state: Option<&Projections>, me: &NodeId, sha256: &Sha256Digest, is_brought: bool) -> Standing {
    match state.and_then(|state| Some((state, state.packages.digest(sha256)?))) {
        _ if is_brought => Standing::Build,
        Some((state, (_, record))) if may_leave(&keepers(state, record), me) => Standing::Published,
        Some(_) => Standing::Kept,
        None => Standing::Unnamed,
    }
}

/// Whether a node may evict what these nodes keep, once one of them shows that it has it.
pub(crate) fn may_leave(keepers: &[NodeId], me: &NodeId) -> bool {
    !keepers.is_empty() && !keepers.contains(me)
}

/// The authorized nodes that keep a published artifact.
pub(crate) fn keepers(state: &Projections, record: &ArtifactRecord) -> Vec<NodeId> {
    let authorized = builders(state, record).into_iter().filter(|node| state.members.contains(node));
    appointed(authorized.collect(), &record.artifact.sha256)
}

fn appointed(mut nodes: Vec<NodeId>, sha256: &Sha256Digest) -> Vec<NodeId> {
    nodes.sort_by_cached_key(|node| Sha256Digest::of(&[sha256.as_bytes().as_slice(), node.public_key().as_slice()].concat()));
    nodes.truncate(KEEPERS);
    nodes
}

/// The judges whose own build has exactly these bytes, or who looked at them: the first who should have them.
pub(crate) fn builders(state: &Projections, record: &ArtifactRecord) -> Vec<NodeId> {
    let sha256 = record.artifact.sha256;
    let has = |outcome: &BuildOutcome| match outcome {
        BuildOutcome::Built { artifacts, .. } => artifacts.iter().any(|artifact| artifact.sha256 == sha256),
        BuildOutcome::Failed { .. } | BuildOutcome::Abstained { .. } => false,
    };
    let build = &record.build_id;
    let built = state.builds.results(build).filter(|(_, revealed)| has(&revealed.outcome)).map(|(judge, _)| *judge);
    let mut builders: Vec<NodeId> = built.collect();
    builders.extend(state.builds.supporters(build).into_iter().map(|(judge, _)| judge));
    let mut seen = BTreeSet::new();
    builders.retain(|judge| seen.insert(*judge));
    builders
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_public_key([number; 32])
    }

    #[test]
    fn every_node_appoints_the_same_keepers_and_the_load_is_spread() {
        let nodes: Vec<NodeId> = (0..7).map(node).collect();
        let turned: Vec<NodeId> = nodes.iter().rev().copied().collect();
        let mut kept = [0; 7];
        for number in 0..700u32 {
            let sha256 = Sha256Digest::of(&number.to_be_bytes());
            let keepers = appointed(nodes.clone(), &sha256);
            assert_eq!(keepers, appointed(turned.clone(), &sha256));
            assert_eq!(keepers.len(), KEEPERS);
            assert!(keepers.iter().all(|keeper| !may_leave(&keepers, keeper)));
            keepers.iter().for_each(|keeper| kept[nodes.iter().position(|node| node == keeper).unwrap()] += 1);
        }
        assert!(kept.iter().all(|kept| (200..400).contains(kept)), "{kept:?}");
        assert!(!may_leave(&[], &node(0)), "what nobody keeps stays");
    }

    #[test]
    fn a_keeper_that_leaves_moves_no_artifact_of_the_others() {
        let nodes: Vec<NodeId> = (0..7).map(node).collect();
        let sha256 = Sha256Digest::of(b"an artifact");
        let before = appointed(nodes.clone(), &sha256);
        let gone = before[0];
        let after = appointed(nodes.into_iter().filter(|node| *node != gone).collect(), &sha256);
        assert!(before[1..].iter().all(|keeper| after.contains(keeper)));
    }
}
