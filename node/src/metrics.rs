//! What a node measures of itself, in the text format of Prometheus.
//!
//! Counters of the p2p room are its own; what follows from the ledger is read off its newest state when somebody asks.

mod bucket;
mod judging;
mod storage;

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use self::bucket::BucketGauges;
use self::judging::JudgingGauges;
use self::storage::StorageGauges;
use crate::artifacts::ArtifactStore;
use crate::bucket::Bucket;
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
    running_height: Gauge,
    round: Gauge,
    quorum: Gauge,
    absent_validators: Gauge,
    is_halted: Gauge,
    is_silent: Gauge,
    waiting_events: Gauge,
    waiting_bytes: Gauge,
    accused: Gauge,
    judging: JudgingGauges,
    storage: StorageGauges,
    bucket: BucketGauges,
}

impl Gauges {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let (judging, storage) = (JudgingGauges::register(registry), StorageGauges::register(registry));
        let bucket = BucketGauges::register(registry);
        let gauges = Self { judging, storage, bucket, ..Self::default() };
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
        consensus.register("running_height", "Height that is being agreed on, 0 while none is", gauges.running_height.clone());
        consensus.register("round", "Round of that height", gauges.round.clone());
        consensus.register("quorum", "Validators that must sign the next block", gauges.quorum.clone());
        consensus.register("absent_validators", "Validators of whom nothing is heard", gauges.absent_validators.clone());
        consensus.register("is_halted", "1 while too many validators are missing for a block", gauges.is_halted.clone());
        consensus.register(
            "is_silent",
            "1 while this validator signs nothing because it lost its ledger",
            gauges.is_silent.clone(),
        );
        consensus.register("waiting_events", "Events that wait for a block", gauges.waiting_events.clone());
        consensus.register("waiting_bytes", "Bytes of the events that wait for a block", gauges.waiting_bytes.clone());
        consensus.register("accused", "Nodes that contradicted themselves and are to be reported", gauges.accused.clone());
        gauges
    }
}

impl NodeMetrics {
    pub(crate) fn new(registry: Registry, gauges: Gauges) -> Self {
        Self { registry: Arc::new(registry), gauges }
    }

    pub(crate) fn text(
        &self,
        consensus: &ConsensusHandle,
        store: &ArtifactStore,
        bucket: Option<&Bucket>,
        budget_bytes: Option<u64>,
    ) -> String {
        let gauges = &self.gauges;
        gauges.storage.read_off(store, budget_bytes);
        gauges.bucket.read_off(bucket);
        if let Some(state) = consensus.view().state.as_deref() {
            set(&gauges.height, state.height().0);
            set(&gauges.events, state.tree_size());
            set(&gauges.validators, state.validators().nodes().len() as u64);
            set(&gauges.open_builds, state.builds.unfinished_count() as u64);
            set(&gauges.artifacts, state.packages.artifact_count() as u64);
            gauges.judging.read_off(state);
        }
        let counters = consensus.counters();
        set(&gauges.malformed_frames, counters.malformed_frames);
        set(&gauges.dropped_frames, counters.dropped_frames);
        set(&gauges.dropped_outgoing, counters.dropped_outgoing);
        set(&gauges.equivocations, counters.equivocations);
        let progress = consensus.progress();
        set(&gauges.running_height, progress.running.map_or(0, |running| running.height.0));
        set(&gauges.round, progress.running.map_or(0, |running| u64::from(running.round)));
        set(&gauges.quorum, progress.quorum as u64);
        set(&gauges.absent_validators, progress.absent.len() as u64);
        set(&gauges.is_halted, u64::from(progress.is_halted));
        set(&gauges.is_silent, u64::from(progress.silence.is_some()));
        set(&gauges.waiting_events, progress.waiting_events as u64);
        set(&gauges.waiting_bytes, progress.waiting_bytes as u64);
        set(&gauges.accused, progress.accused as u64);
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to memory cannot fail");
        text
    }
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
