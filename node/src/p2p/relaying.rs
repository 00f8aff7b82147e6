//! Connections that a third node carries (circuit relay v2, DCUtR): the bounds of a node that does so for others.
//!
//! What passes is encrypted between the two ends; a relay sees who talks to whom, and how much. A carried connection is the last resort: it
//! ends at its bounds and is made again, and it is closed as soon as the two ends have a connection of their own.

use libp2p::relay;
use std::time::Duration;

/// Nodes that can be reached through this one at once.
const PLACES_MAX: usize = 128;
/// How long a place is kept without being asked for again.
const PLACE_TIME: Duration = Duration::from_secs(60 * 60);
/// Connections that this node carries at once, of all nodes and of one.
const CIRCUITS_MAX: usize = 64;
const CIRCUITS_PER_PEER_MAX: usize = 4;
/// What one of them may carry: a download goes on with the next one where it stopped.
const CIRCUIT_TIME_MAX: Duration = Duration::from_secs(60 * 60);
const CIRCUIT_BYTES_MAX: u64 = 512 << 20;

/// The bounds of a relay; how often one peer may ask is bounded by libp2p's defaults.
pub(super) fn config() -> relay::Config {
    relay::Config {
        max_reservations: PLACES_MAX,
        reservation_duration: PLACE_TIME,
        max_circuits: CIRCUITS_MAX,
        max_circuits_per_peer: CIRCUITS_PER_PEER_MAX,
        max_circuit_duration: CIRCUIT_TIME_MAX,
        max_circuit_bytes: CIRCUIT_BYTES_MAX,
        ..relay::Config::default()
    }
}
