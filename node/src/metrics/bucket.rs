//! What the bucket behind the store holds and how it does ([`crate::bucket`]). All are 0 without one.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::Ordering;

use super::set;
use crate::bucket::Bucket;

#[derive(Clone, Default)]
pub(super) struct BucketGauges {
    is_reachable: Gauge,
    artifacts: Gauge,
    bytes: Gauge,
    waiting: Gauge,
    wrong: Gauge,
    written: Gauge,
    read: Gauge,
    failures: Gauge,
    found_wrong: Gauge,
    recalled: Gauge,
}

impl BucketGauges {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let gauges = Self::default();
        let bucket = registry.sub_registry_with_prefix("pyrsia_bucket");
        bucket.register("is_reachable", "1 while the bucket answers", gauges.is_reachable.clone());
        bucket.register("artifacts", "Artifacts that have a copy in the bucket", gauges.artifacts.clone());
        bucket.register_with_unit("artifact", "Their bytes", Unit::Bytes, gauges.bytes.clone());
        bucket.register("waiting", "Published artifacts on the disk that have no copy yet", gauges.waiting.clone());
        bucket.register("wrong", "Damaged copies that wait to be written anew", gauges.wrong.clone());
        bucket.register_with_unit("written", "Bytes put since the start", Unit::Bytes, gauges.written.clone());
        bucket.register_with_unit("read", "Bytes got since the start", Unit::Bytes, gauges.read.clone());
        bucket.register("failures", "Requests that failed since the start", gauges.failures.clone());
        bucket.register("found_wrong", "Copies found damaged since the start", gauges.found_wrong.clone());
        bucket.register("recalled", "Artifacts that came back to the disk since the start", gauges.recalled.clone());
        gauges
    }

    pub(super) fn read_off(&self, bucket: Option<&Bucket>) {
        let Some(bucket) = bucket else { return };
        let (view, counts) = (bucket.view(), bucket.counts());
        set(&self.is_reachable, u64::from(view.is_reachable));
        set(&self.artifacts, view.artifacts);
        set(&self.bytes, view.bytes);
        set(&self.waiting, view.waiting);
        set(&self.wrong, view.wrong);
        for (gauge, count) in [
            (&self.written, &counts.written_bytes),
            (&self.read, &counts.read_bytes),
            (&self.failures, &counts.failures),
            (&self.found_wrong, &counts.wrong),
            (&self.recalled, &counts.recalled),
        ] {
            set(gauge, count.load(Ordering::Relaxed));
        }
    }
}
