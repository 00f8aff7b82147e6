//! What is counted about the network.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// How a fetch ends that brings the artifact.
const FETCHED: &str = "fetched";
/// How a fetch can end.
const FETCH_RESULTS: [&str; 5] = [FETCHED, "unavailable", "damaged", "no_room", "failed"];

/// How a fetch ended, one of [`FETCH_RESULTS`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FetchLabels {
    pub(super) result: &'static str,
}

/// Why a ledger frame can be dropped.
const DROP_REASONS: [&str; 2] = ["slow_peer", "too_long"];

/// Why a ledger frame was dropped, one of [`DROP_REASONS`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DropLabels {
    pub(super) reason: &'static str,
}

/// How an attempt to have a connection without the relay that carries it can end.
pub(super) const PUNCHED: &str = "direct";
pub(super) const NOT_PUNCHED: &str = "failed";

/// How such an attempt ended: [`PUNCHED`] or [`NOT_PUNCHED`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HolePunchLabels {
    pub(super) result: &'static str,
}

/// How this node is connected, and what has passed between it and others since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections without a relay.
    pub direct_connections: u64,
    /// Connections that another node carries.
    pub relayed_connections: u64,
    /// Carried connections that gave way to one through both NATs, and attempts that came to nothing.
    pub holes_punched: u64,
    pub holes_not_punched: u64,
    /// Artifacts that came from other nodes, and fetches that ended without one.
    pub fetched: u64,
    pub not_fetched: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
}

#[derive(Clone, Default)]
pub(super) struct Metrics {
    pub(super) peers: Gauge,
    pub(super) known_peers: Gauge,
    pub(super) connections: Gauge,
    pub(super) artifact_bytes_sent: Counter,
    pub(super) artifact_bytes_received: Counter,
    pub(super) upload_bytes_delayed: Counter,
    pub(super) download_bytes_delayed: Counter,
    pub(super) distribution: Gauge,
    pub(super) connections_refused: Counter,
    pub(super) relayed_connections: Gauge,
    pub(super) relay_places: Gauge,
    pub(super) hole_punches: Family<HolePunchLabels, Counter>,
    pub(super) fetches: Family<FetchLabels, Counter>,
    pub(super) liars: Counter,
    pub(super) frames_dropped: Family<DropLabels, Counter>,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let p2p = registry.sub_registry_with_prefix("pyrsia_p2p");
        p2p.register("peers", "Nodes this one is connected with", metrics.peers.clone());
        p2p.register("known_peers", "Nodes that were reached and are remembered for the next start", metrics.known_peers.clone());
        p2p.register("connections", "Connections with other nodes, carried ones among them", metrics.connections.clone());
        let sent = metrics.artifact_bytes_sent.clone();
        p2p.register_with_unit("artifact_sent", "Bytes of artifacts sent to other nodes", Unit::Bytes, sent);
        let received = metrics.artifact_bytes_received.clone();
        p2p.register_with_unit("artifact_received", "Verified bytes of artifacts from other nodes", Unit::Bytes, received);
        let delayed = metrics.upload_bytes_delayed.clone();
        p2p.register_with_unit("artifact_upload_delayed", "Bytes that waited for the upload limit", Unit::Bytes, delayed);
        let delayed = metrics.download_bytes_delayed.clone();
        p2p.register_with_unit("artifact_download_delayed", "Bytes that waited for the download limit", Unit::Bytes, delayed);
        p2p.register("distribution", "Whether this node serves artifacts to other nodes", metrics.distribution.clone());
        let refused = metrics.connections_refused.clone();
        p2p.register("connections_refused", "Connections that the rules about peers ended", refused);
        p2p.register("relayed_connections", "Connections that another node carries", metrics.relayed_connections.clone());
        p2p.register("relay_places", "Relays through which this node can be reached", metrics.relay_places.clone());
        // A series that appears with its first event hides that event from `rate`.
        for result in [PUNCHED, NOT_PUNCHED] {
            drop(metrics.hole_punches.get_or_create(&HolePunchLabels { result }));
        }
        p2p.register("hole_punches", "Attempts to do without a relay, by result", metrics.hole_punches.clone());
        for result in FETCH_RESULTS {
            drop(metrics.fetches.get_or_create(&FetchLabels { result }));
        }
        p2p.register("fetches", "Artifacts fetched from other nodes, by result", metrics.fetches.clone());
        p2p.register("lying_providers", "Nodes that sent wrong bytes of an artifact", metrics.liars.clone());
        for reason in DROP_REASONS {
            drop(metrics.frames_dropped.get_or_create(&DropLabels { reason }));
        }
        p2p.register("ledger_frames_dropped", "Ledger frames that were not sent, by reason", metrics.frames_dropped.clone());
        metrics
    }
    pub(super) fn traffic(&self) -> Traffic {
        let relayed = self.relayed_connections.get();
        let punches = |result| self.hole_punches.get_or_create(&HolePunchLabels { result }).get();
        let fetches = |result| self.fetches.get_or_create(&FetchLabels { result }).get();
        let direct = self.connections.get().saturating_sub(relayed);
        Traffic {
            direct_connections: u64::try_from(direct).unwrap_or_default(),
            relayed_connections: u64::try_from(relayed).unwrap_or_default(),
            holes_punched: punches(PUNCHED),
            holes_not_punched: punches(NOT_PUNCHED),
            fetched: fetches(FETCHED),
            not_fetched: FETCH_RESULTS.into_iter().filter(|result| *result != FETCHED).map(fetches).sum(),
            received_bytes: self.artifact_bytes_received.get(),
            sent_bytes: self.artifact_bytes_sent.get(),
        }
    }
}
