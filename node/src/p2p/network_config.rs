//! What a node gives the network, takes from it, and with whom: the operator's decisions.
//!
//! It holds values only, each checked when it is made.

use super::access::PeerAccess;
use libp2p::Multiaddr;
use std::num::NonZeroU64;

/// The slowest upload of artifacts that can be asked for, in bytes a second: two streams at [`STREAM_RATE_MIN`].
pub(super) const UPLOAD_RATE_MIN: u64 = 2 * STREAM_RATE_MIN;
/// The slowest download of artifacts that can be asked for, in bytes a second: all streams a node downloads by at once share it, and
/// whoever sends waits only so long for each of them.
pub(super) const DOWNLOAD_RATE_MIN: u64 = 512 << 10;
/// What each stream that is served gets at least, in bytes a second: a chunk in 16 s, half of what other nodes wait for one. Where less is
/// to be had fewer streams are served at once.
pub(super) const STREAM_RATE_MIN: u64 = 64 << 10;

/// Connections with other nodes at once, and how many an operator may choose: each costs a file descriptor and some memory.
pub const CONNECTIONS: u32 = 512;
pub const CONNECTIONS_MIN: u32 = 8;
pub const CONNECTIONS_MAX: u32 = 16_384;

/// A bound on the bytes of artifacts that pass in a second, over all nodes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(NonZeroU64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{bytes_per_second} bytes a second are too few: other nodes would give up on a transfer, so the least is {least} (0: no limit)"
)]
pub struct RateTooLow {
    pub bytes_per_second: u64,
    pub least: u64,
}

impl Rate {
    pub fn upload(bytes_per_second: u64) -> Result<Self, RateTooLow> {
        Self::at_least(UPLOAD_RATE_MIN, bytes_per_second)
    }

    pub fn download(bytes_per_second: u64) -> Result<Self, RateTooLow> {
        Self::at_least(DOWNLOAD_RATE_MIN, bytes_per_second)
    }

    fn at_least(least: u64, bytes_per_second: u64) -> Result<Self, RateTooLow> {
        let rate = NonZeroU64::new(bytes_per_second).filter(|rate| rate.get() >= least);
        rate.map(Self).ok_or(RateTooLow { bytes_per_second, least })
    }

    pub fn bytes_per_second(self) -> u64 {
        self.0.get()
    }
}

/// Whether this node serves artifacts to other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distribution {
    #[default]
    On,
    /// Only what an authorized node owes the others: what judges compare, and what the ledger appoints it to keep. Nothing is announced.
    Off,
}

/// Whether this node carries the connections of nodes that cannot reach each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Relaying {
    #[default]
    Off,
    On,
}

/// Whether the gateway is asked to forward ports to this node (UPnP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortMapping {
    #[default]
    Off,
    On,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// None: as fast as it goes.
    pub upload_rate: Option<Rate>,
    pub download_rate: Option<Rate>,
    pub distribution: Distribution,
    pub access: PeerAccess,
    pub max_connections: u32,
    pub relaying: Relaying,
    /// Nodes that carry connections to this one when nobody can reach it; each with `/p2p/<peer id>`.
    pub relays: Vec<Multiaddr>,
    pub port_mapping: PortMapping,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            upload_rate: None,
            download_rate: None,
            distribution: Distribution::default(),
            access: PeerAccess::default(),
            max_connections: CONNECTIONS,
            relaying: Relaying::default(),
            relays: vec![],
            port_mapping: PortMapping::default(),
        }
    }
}
