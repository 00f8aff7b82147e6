//! Nodes that this one has reached: what is remembered of them, so that it finds its network after a restart though those it was told of are gone.
//!
//! Plain values: time is an argument. An address is remembered when this node dialed it, the node with that key answered, and it spoke our protocols;
//! what peers say of themselves or of others never is ([`AddressBook`](super::addresses::AddressBook) has that, and only while this node runs). Nor is
//! what leads through a relay: the relay is remembered, and leads to those behind it.

pub(super) mod file;

use super::access::source_in;
use super::peer_id::node_of;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// Nodes that are remembered. Where there are more, authorized nodes stay, then those that were reached last.
const PEERS_MAX: usize = 256;
/// Addresses of each: those that were reached last.
const ADDRESSES_PER_PEER_MAX: usize = 4;
/// Nodes of one source that are remembered without being authorized: one host with many keys does not take the places of all others. A source is
/// an IPv4 address or a /64 of IPv6; names are one source together.
const PEERS_PER_SOURCE_MAX: usize = 16;
/// An address is forgotten that was not reached for so long,
const UNREACHED_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// and one that was not reached whenever it was dialed, for so long.
const FAILING_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How much later an address has to be reached again for that to be worth writing down.
pub(super) const REACHED_STEP: Duration = Duration::from_secs(60 * 60);
/// RFC 1035, section 2.3.4.
const DNS_NAME_BYTES_MAX: usize = 253;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KnownPeers {
    /// None without an address; those that were reached last come first.
    peers: BTreeMap<PeerId, Vec<KnownAddress>>,
    members: BTreeSet<PeerId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KnownAddress {
    address: Multiaddr,
    /// In milliseconds since the Unix epoch, as all times here.
    reached_ms: u64,
    /// The first time since then that nobody answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failing_since_ms: Option<u64>,
}

impl KnownPeers {
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn addresses(&self, peer: &PeerId) -> impl Iterator<Item = &Multiaddr> {
        self.peers.get(peer).into_iter().flatten().map(|known| &known.address)
    }

    /// Whom to dial first: authorized nodes, then those that were reached last.
    pub(super) fn in_order(&self) -> Vec<PeerId> {
        let mut peers: Vec<PeerId> = self.peers.keys().copied().collect();
        peers.sort_by_key(|peer| Reverse(self.rank(peer)));
        peers
    }

    /// Who is authorized.
    pub(super) fn set_members(&mut self, members: BTreeSet<PeerId>) {
        self.members = members;
    }

    /// This node dialed the address, and the peer was there. Whether that is worth writing down.
    pub(super) fn reached(&mut self, peer: PeerId, address: &Multiaddr, now_ms: u64) -> bool {
        let Some(address) = bare(&peer, address) else { return false };
        // With a weak key anybody can answer, and its name is not read back.
        if node_of(&peer).is_none_or(|node| node.check().is_err()) {
            return false;
        }
        let known = self.peers.get(&peer).and_then(|known| known.iter().find(|known| known.address == address));
        let is_news = known.is_none_or(|known| {
            known.failing_since_ms.is_some() || now_ms.abs_diff(known.reached_ms) >= REACHED_STEP.as_millis() as u64
        });
        let source = source_in(&address);
        self.put(peer, KnownAddress { address, reached_ms: now_ms, failing_since_ms: None });
        while let Some(last) = self.beyond_source(source) {
            self.peers.remove(&last);
        }
        is_news
    }

    /// Nobody answered at the address, though this node is not cut off. Whether that is worth writing down.
    pub(super) fn failed(&mut self, peer: &PeerId, address: &Multiaddr, now_ms: u64) -> bool {
        let Some(known) = self.known_mut(peer, address) else { return false };
        let is_news = known.failing_since_ms.is_none();
        // A clock may be set back.
        known.failing_since_ms = Some(known.failing_since_ms.map_or(now_ms, |since| since.min(now_ms)));
        is_news
    }

    /// Somebody else is at the address. Whether it was remembered.
    pub(super) fn forget(&mut self, peer: &PeerId, address: &Multiaddr) -> bool {
        let Some(wrong) = self.known_mut(peer, address).map(|known| known.address.clone()) else { return false };
        self.retain(|known| known.0 != peer || known.1.address != wrong)
    }

    /// Forgets what was not reached for long. Only for a node that is not cut off. Whether there was such a thing.
    pub(super) fn forget_the_old(&mut self, now_ms: u64) -> bool {
        let is_within = |since_ms: u64, max: Duration| u128::from(now_ms.saturating_sub(since_ms)) < max.as_millis();
        self.retain(|(_, known)| {
            is_within(known.reached_ms, UNREACHED_MAX)
                && known.failing_since_ms.is_none_or(|since_ms| is_within(since_ms, FAILING_MAX))
        })
    }

    fn known_mut(&mut self, peer: &PeerId, address: &Multiaddr) -> Option<&mut KnownAddress> {
        let address = bare(peer, address)?;
        self.peers.get_mut(peer)?.iter_mut().find(|known| known.address == address)
    }

    /// Whether anything is gone.
    fn retain(&mut self, stays: impl Fn((&PeerId, &KnownAddress)) -> bool) -> bool {
        let count = |peers: &BTreeMap<PeerId, Vec<KnownAddress>>| peers.values().map(Vec::len).sum::<usize>();
        let before = count(&self.peers);
        self.peers.retain(|peer, addresses| {
            addresses.retain(|known| stays((peer, known)));
            !addresses.is_empty()
        });
        count(&self.peers) < before
    }

    fn put(&mut self, peer: PeerId, known: KnownAddress) {
        let addresses = self.peers.entry(peer).or_default();
        addresses.retain(|other| other.address != known.address);
        addresses.insert(0, known);
        addresses.truncate(ADDRESSES_PER_PEER_MAX);
        while self.peers.len() > PEERS_MAX
            && let Some(last) = self.in_order().pop()
        {
            self.peers.remove(&last);
        }
    }

    /// The last of those that have this source and are not authorized, if they are too many.
    fn beyond_source(&self, source: Option<IpAddr>) -> Option<PeerId> {
        let is_there = |known: &KnownAddress| source_in(&known.address) == source;
        let there = self.peers.iter().filter(|(peer, known)| !self.members.contains(peer) && known.iter().any(is_there));
        let there: Vec<&PeerId> = there.map(|(peer, _)| peer).collect();
        let last = there.iter().min_by_key(|peer| self.rank(peer)).map(|last| **last);
        last.filter(|_| there.len() > PEERS_PER_SOURCE_MAX)
    }

    /// Higher is kept longer and dialed earlier.
    fn rank(&self, peer: &PeerId) -> (bool, u64) {
        let reached_ms = self.peers.get(peer).into_iter().flatten().map(|known| known.reached_ms).max();
        (self.members.contains(peer), reached_ms.unwrap_or_default())
    }
}

/// The address without the peer's name, if it can be remembered: a host, and a port of TCP or QUIC.
fn bare(peer: &PeerId, address: &Multiaddr) -> Option<Multiaddr> {
    let mut parts: Vec<Protocol<'_>> = address.iter().collect();
    if let Some(Protocol::P2p(named)) = parts.last() {
        if named != peer {
            return None;
        }
        parts.pop();
    }
    let is_host = match parts.first()? {
        Protocol::Ip4(_) | Protocol::Ip6(_) => true,
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => is_dns_name(name),
        _ => false,
    };
    let is_port = matches!(parts[1..], [Protocol::Tcp(_)] | [Protocol::Udp(_), Protocol::QuicV1]);
    (is_host && is_port).then(|| parts.into_iter().collect())
}

fn is_dns_name(name: &str) -> bool {
    name.len() <= DNS_NAME_BYTES_MAX && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

#[cfg(test)]
mod tests;
