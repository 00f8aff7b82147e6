//! What the demo showed, as one JSON document for scripts.

use super::network::Network;
use super::pull::Pulled;
use super::source::SourceRepository;
use super::{REPOSITORY, TAG};
use pyrsia_ledger::{Height, NetworkId, NodeId, PackageCoordinate};
use pyrsia_node::BuildView;
use pyrsia_registry::wire::LogRecord;
use serde::Serialize;
use std::time::Duration;

#[derive(Serialize)]
pub(super) struct Summary {
    network: Option<NetworkId>,
    height: Option<Height>,
    build_nodes: Vec<BuildNodeSummary>,
    regular_node: NodeId,
    registry: String,
    source_commit: String,
    package: PackageCoordinate,
    build: BuildView,
    /// Each file was hashed by this program, and its digest and size stand on the ledger.
    pulled: Pulled,
    log: Vec<LogRecord>,
    pub(super) docker_pull: String,
    seconds: f64,
}

#[derive(Serialize)]
struct BuildNodeSummary {
    name: String,
    peer_id: NodeId,
    pipeline: String,
}

impl Summary {
    pub(super) fn new(
        network: &Network,
        source: &SourceRepository,
        build: &BuildView,
        pulled: Pulled,
        log: Vec<LogRecord>,
        took: Duration,
    ) -> Self {
        let build_nodes = network.builders().iter();
        let build_nodes = build_nodes.map(|node| BuildNodeSummary {
            name: node.name.clone(),
            peer_id: node.id(),
            pipeline: node.pipeline_url(),
        });
        let ledger = network.regular().ledger();
        Self {
            network: ledger.state.as_ref().map(|state| *state.network()),
            height: ledger.state.as_ref().map(|state| state.height()),
            build_nodes: build_nodes.collect(),
            regular_node: network.regular().node_id(),
            registry: network.registry_url(),
            source_commit: source.commit().to_owned(),
            package: build.coordinate.clone(),
            build: build.clone(),
            pulled,
            log,
            docker_pull: format!("docker pull 127.0.0.1:{}/{REPOSITORY}:{TAG}", network.registry_port()),
            seconds: took.as_secs_f64(),
        }
    }

    pub(super) fn agreeing(&self) -> usize {
        self.build.judges.iter().filter(|judge| judge.agrees).count()
    }
}
