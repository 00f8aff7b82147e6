//! What the store holds and what became of it ([`crate::artifacts`]).

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::Ordering;

use super::set;
use crate::artifacts::ArtifactStore;

#[derive(Clone, Default)]
pub(super) struct StorageGauges {
    artifacts: Gauge,
    bytes: Gauge,
    reserved: Gauge,
    budget: Gauge,
    pinned: Gauge,
    evictions: Gauge,
    evicted_bytes: Gauge,
    rotten: Gauge,
    healed: Gauge,
    scrubbed_bytes: Gauge,
}

impl StorageGauges {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let gauges = Self::default();
        let store = registry.sub_registry_with_prefix("pyrsia_store");
        store.register("artifacts", "Artifacts stored on this node", gauges.artifacts.clone());
        store.register_with_unit("artifact", "Their bytes", Unit::Bytes, gauges.bytes.clone());
        store.register_with_unit("reserved", "Room taken by downloads under way", Unit::Bytes, gauges.reserved.clone());
        store.register_with_unit("budget", "What artifacts may take, 0 without a budget", Unit::Bytes, gauges.budget.clone());
        store.register("pinned", "Artifacts that an operator pinned", gauges.pinned.clone());
        store.register("evictions", "Artifacts that made room since the start", gauges.evictions.clone());
        store.register_with_unit("evicted", "Their bytes", Unit::Bytes, gauges.evicted_bytes.clone());
        store.register("rotten", "Artifacts found damaged and removed since the start", gauges.rotten.clone());
        store.register("healed", "Lost or damaged artifacts that came back since the start", gauges.healed.clone());
        store.register_with_unit(
            "scrubbed",
            "Bytes that scrubs read since the start",
            Unit::Bytes,
            gauges.scrubbed_bytes.clone(),
        );
        gauges
    }

    pub(super) fn read_off(&self, store: &ArtifactStore, budget_bytes: Option<u64>) {
        let (usage, counts) = (store.usage(), store.counts());
        set(&self.artifacts, usage.artifacts);
        set(&self.bytes, usage.bytes);
        set(&self.reserved, usage.reserved_bytes);
        set(&self.budget, budget_bytes.unwrap_or(0));
        set(&self.pinned, store.pins().len() as u64);
        for (gauge, count) in [
            (&self.evictions, &counts.evictions),
            (&self.evicted_bytes, &counts.evicted_bytes),
            (&self.rotten, &counts.rotten),
            (&self.healed, &counts.healed),
            (&self.scrubbed_bytes, &counts.scrubbed_bytes),
        ] {
            set(gauge, count.load(Ordering::Relaxed));
        }
    }
}
