//! Nodes that this one has reached: what is remembered of them, so that it finds its network after a restart though those it was told of are gone.
//!
//! Plain values: time is an argument. An address is remembered when this node dialed it, the node with that key answered, and it spoke our protocols;
//! what peers say of themselves or of others never is ([`AddressBook`](super::addresses::AddressBook) has that, and only while this node runs). Nor is
//! what leads through a relay: the relay is remembered, and leads to those behind it.

pub(super) mod file;

use super::access::{ip_in, source_in};
use super::peer_id::node_of;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Nodes that are remembered. Where there are more, authorized nodes stay, then those that were reached last.
const PEERS_MAX: usize = 256;
/// Addresses of each: those that were reached last. Where there are more, those of one source make room for each other first.
const ADDRESSES_PER_PEER_MAX: usize = 4;
/// Nodes of one source that are remembered without being authorized: one host with many keys does not take the places of all others. A source is
/// an IPv4 address or a /64 of IPv6; names are one source together.
const PEERS_PER_SOURCE_MAX: usize = 16;
/// The same for those of one /24 of IPv4 or /48 of IPv6: what one customer is given.
const PEERS_PER_NETWORK_MAX: usize = 64;
const IPV4_NETWORK_BITS: u32 = 24;
const IPV6_NETWORK_BITS: u32 = 48;
/// An address is forgotten that was not reached for so long,
const UNREACHED_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// and one at which nobody answers, when the first dial that failed was so long ago.
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
    /// Those with whom a connection is open that this node made.
    open: BTreeSet<PeerId>,
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

    /// In no order that says anything.
    pub(super) fn peers(&self) -> impl Iterator<Item = &PeerId> {
        self.peers.keys()
    }

    /// Those with whom a connection is open that this node made.
    pub(super) fn open(&self) -> &BTreeSet<PeerId> {
        &self.open
    }

    /// Who is authorized.
    pub(super) fn set_members(&mut self, members: BTreeSet<PeerId>) {
        self.members = members;
    }

    /// With whom a connection is open that this node made. They lose their places to nobody.
    pub(super) fn set_open(&mut self, open: BTreeSet<PeerId>) {
        self.open = open;
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
        let bounds = [(source_in as fn(&Multiaddr) -> Option<IpAddr>, PEERS_PER_SOURCE_MAX), (network_in, PEERS_PER_NETWORK_MAX)];
        let places = bounds.map(|(place_in, count_max)| (place_in, place_in(&address), count_max));
        self.put(peer, KnownAddress { address, reached_ms: now_ms, failing_since_ms: None });
        for (place_in, place, count_max) in places {
            let is_there = |known: &KnownAddress| place_in(&known.address) == place;
            while let Some(last) = self.beyond(count_max, is_there) {
                self.retain(|(peer, known)| *peer != last || !is_there(known));
            }
        }
        is_news
    }

    /// Nobody answered at the address, though this node is not cut off; it is forgotten if that goes on for long. Whether that is worth writing down.
    pub(super) fn failed(&mut self, peer: &PeerId, address: &Multiaddr, now_ms: u64) -> bool {
        let Some(known) = self.known_mut(peer, address) else { return false };
        // A time that is to come, or lies before it was reached, was told by a clock that stood wrong.
        let reached_ms = Some(known.reached_ms).filter(|reached_ms| *reached_ms <= now_ms).unwrap_or_default();
        let failing_since_ms = known.failing_since_ms.filter(|since_ms| (reached_ms..=now_ms).contains(since_ms));
        if failing_since_ms.is_some_and(|since_ms| !is_within(since_ms, now_ms, FAILING_MAX)) {
            return self.forget(peer, address);
        }
        known.failing_since_ms = failing_since_ms.or(Some(now_ms));
        failing_since_ms.is_none()
    }

    /// Somebody else is at the address. Whether it was remembered.
    pub(super) fn forget(&mut self, peer: &PeerId, address: &Multiaddr) -> bool {
        let Some(wrong) = self.known_mut(peer, address).map(|known| known.address.clone()) else { return false };
        self.retain(|known| known.0 != peer || known.1.address != wrong)
    }

    /// Forgets what was not reached for long, but for those who are `here`: they are not dialed, so that nothing is known against their addresses. Only for
    /// a node that is not cut off. Whether that is worth writing down.
    pub(super) fn forget_the_old(&mut self, now_ms: u64, here: impl Fn(&PeerId) -> bool) -> bool {
        let mut is_news = false;
        for (_, addresses) in self.peers.iter_mut().filter(|(peer, _)| here(peer)) {
            for known in addresses {
                is_news |= known.failing_since_ms.take().is_some();
            }
        }
        self.retain(|(peer, known)| here(peer) || is_within(known.reached_ms, now_ms, UNREACHED_MAX)) || is_news
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
        let source = source_in(&known.address);
        let addresses = self.peers.entry(peer).or_default();
        addresses.retain(|other| other.address != known.address);
        if addresses.len() >= ADDRESSES_PER_PEER_MAX {
            // One host that leads to many others does not take the places of their own addresses.
            let of_source = addresses.iter().rposition(|other| source_in(&other.address) == source);
            addresses.remove(of_source.unwrap_or(addresses.len() - 1));
        }
        addresses.insert(0, known);
        while self.peers.len() > PEERS_MAX
            && let Some(last) = self.last_of(self.peers.keys())
        {
            self.peers.remove(&last);
        }
    }

    /// If more than so many that are not authorized are there: the last of them that can go.
    fn beyond(&self, count_max: usize, is_there: impl Fn(&KnownAddress) -> bool) -> Option<PeerId> {
        let there = self.peers.iter().filter(|(peer, known)| !self.members.contains(peer) && known.iter().any(&is_there));
        let there: Vec<&PeerId> = there.map(|(peer, _)| peer).collect();
        let last = self.last_of(there.iter().copied().filter(|peer| !self.open.contains(peer)));
        last.filter(|_| there.len() > count_max)
    }

    fn last_of<'a>(&self, peers: impl Iterator<Item = &'a PeerId>) -> Option<PeerId> {
        peers.min_by_key(|peer| self.rank(peer)).copied()
    }

    /// Higher is kept longer and dialed earlier: authorized nodes, those with open connections, then those that were reached last.
    pub(super) fn rank(&self, peer: &PeerId) -> (bool, bool, u64) {
        let reached_ms = self.peers.get(peer).into_iter().flatten().map(|known| known.reached_ms).max();
        (self.members.contains(peer), self.open.contains(peer), reached_ms.unwrap_or_default())
    }
}

fn is_within(since_ms: u64, now_ms: u64, longest: Duration) -> bool {
    u128::from(now_ms.saturating_sub(since_ms)) < longest.as_millis()
}

/// The first address of the network that the IP address at the beginning of an address belongs to.
fn network_in(address: &Multiaddr) -> Option<IpAddr> {
    Some(match ip_in(address)? {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & !(u32::MAX >> IPV4_NETWORK_BITS)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> IPV6_NETWORK_BITS)).into(),
    })
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
