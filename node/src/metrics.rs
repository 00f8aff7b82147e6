//! What a node measures of itself, in the text format of Prometheus.
//!
//! Counters of the p2p room are its own; what follows from the ledger is read off its newest state when somebody asks.

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::consensus::ConsensusHandle;

#[derive(Clone)]
pub(crate) struct NodeMetrics {
    registry: Arc<Registry>,
    gauges: Gauges,
}

#[derive(Clone, Default)]
pub(crate) struct Gauges {
    height: Gauge,
    events: Gauge,
    validators: Gauge,
    open_builds: Gauge,
    artifacts: Gauge,
    malformed_frames: Gauge,
    dropped_frames: Gauge,
    dropped_outgoing: Gauge,
    equivocations: Gauge,
}

impl Gauges {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let gauges = Self::default();
        let ledger = registry.sub_registry_with_prefix("pyrsia_ledger");
        ledger.register("height", "Height of the newest block", gauges.height.clone());
        ledger.register("events", "Events on the ledger", gauges.events.clone());
        ledger.register("validators", "Nodes that sign the next block", gauges.validators.clone());
        ledger.register("open_builds", "Builds that are not closed", gauges.open_builds.clone());
        ledger.register("artifacts", "Artifact ids that are published", gauges.artifacts.clone());
        let consensus = registry.sub_registry_with_prefix("pyrsia_consensus");
        consensus.register("malformed_frames", "Frames of peers that did not decode", gauges.malformed_frames.clone());
        consensus.register("dropped_frames", "Frames of peers that found no place", gauges.dropped_frames.clone());
        consensus.register("dropped_outgoing", "Messages that found no place on the way out", gauges.dropped_outgoing.clone());
        consensus.register("equivocations", "Contradictions of validators that were proved", gauges.equivocations.clone());
        gauges
    }
}

impl NodeMetrics {
    pub(crate) fn new(registry: Registry, gauges: Gauges) -> Self {
        Self { registry: Arc::new(registry), gauges }
    }

    pub(crate) fn text(&self, consensus: &ConsensusHandle) -> String {
        let gauges = &self.gauges;
        if let Some(state) = consensus.view().state.as_deref() {
            set(&gauges.height, state.height().0);
            set(&gauges.events, state.tree_size());
            set(&gauges.validators, state.validators().nodes().len() as u64);
            set(&gauges.open_builds, state.builds.unfinished().count() as u64);
            set(&gauges.artifacts, state.packages.artifact_count() as u64);
        }
        let counters = consensus.counters();
        set(&gauges.malformed_frames, counters.malformed_frames);
        set(&gauges.dropped_frames, counters.dropped_frames);
        set(&gauges.dropped_outgoing, counters.dropped_outgoing);
        set(&gauges.equivocations, counters.equivocations);
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to memory cannot fail");
        text
    }
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
