//! Multiaddresses: what they name, which of them are useful, and where nodes said they are.

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

/// Nodes whose addresses are remembered, oldest forgotten first, and addresses of each.
const KNOWN_NODES_MAX: usize = 1_024;
const ADDRESSES_PER_NODE_MAX: usize = 16;

/// Where nodes said they are, for dialing them again. Kad forgets an address with the first failure.
#[derive(Debug, Default)]
pub(super) struct AddressBook {
    addresses: BTreeMap<PeerId, Vec<Multiaddr>>,
    oldest_first: VecDeque<PeerId>,
}

impl AddressBook {
    pub(super) fn get(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.addresses.get(peer).cloned().unwrap_or_default()
    }

    /// Remembers what a node says about itself now.
    pub(super) fn set(&mut self, peer: PeerId, mut addresses: Vec<Multiaddr>) {
        addresses.truncate(ADDRESSES_PER_NODE_MAX);
        if self.addresses.insert(peer, addresses).is_none() {
            self.oldest_first.push_back(peer);
        }
        if self.oldest_first.len() > KNOWN_NODES_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.addresses.remove(&oldest);
        }
    }
}

/// The peer id at the end of an address, if there is one.
pub(super) fn peer_in(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

pub(super) fn starts_with(address: &Multiaddr, beginning: &Multiaddr) -> bool {
    let mut parts = address.iter();
    beginning.iter().all(|part| parts.next() == Some(part))
}

/// The address with another IPv4 address at its beginning, if it begins with one.
pub(super) fn replace_ip(address: &Multiaddr, ip: Ipv4Addr) -> Option<Multiaddr> {
    match address.iter().next() {
        Some(Protocol::Ip4(_)) => address.replace(0, |_| Some(Protocol::Ip4(ip))),
        _ => None,
    }
}

/// Lower is more useful to others on this host: what needs no relay first, loopback before the rest, TCP before QUIC, IPv4 before IPv6.
pub(super) fn usefulness(address: &Multiaddr) -> (bool, bool, bool, bool) {
    let mut parts = address.iter();
    let is_ip4 = matches!(parts.next(), Some(Protocol::Ip4(_)));
    (is_relayed(address), !is_loopback(address), !matches!(parts.next(), Some(Protocol::Tcp(_))), !is_ip4)
}

/// Whether a third node carries what goes to or comes from this address.
pub(super) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_is_the_most_useful_on_this_host() {
        let mut addresses: Vec<Multiaddr> = [
            "/ip4/10.0.0.1/udp/1/quic-v1",
            "/ip4/10.0.0.1/tcp/1",
            "/ip6/::1/tcp/1",
            "/ip4/127.0.0.1/udp/1/quic-v1",
            "/ip4/127.0.0.1/tcp/1",
        ]
        .map(|text| text.parse().expect("an address"))
        .to_vec();
        addresses.sort_by_key(usefulness);
        assert_eq!(addresses[0].to_string(), "/ip4/127.0.0.1/tcp/1");
        assert_eq!(addresses[4].to_string(), "/ip4/10.0.0.1/udp/1/quic-v1");
        let external = replace_ip(&addresses[0], Ipv4Addr::new(203, 0, 113, 7)).expect("it has an IPv4 address");
        assert_eq!(external.to_string(), "/ip4/203.0.113.7/tcp/1");
    }
}
