//! Whom this node talks to: the operator's rules about nodes and addresses. Plain values.
//!
//! What is denied is denied, whoever it is. Where anything is allowed, nobody else is, except the authorized nodes of the network, without
//! which this one could not follow it. The address of a relay says nothing for those who come through it.

use super::addresses::is_relayed;
use super::peer_id::{node_of, peer_of};
use ipnet::IpNet;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use pyrsia_ledger::NodeId;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The bits of an IPv6 address that say whose it is: what a host is given at least.
const IPV6_SOURCE_BITS: u32 = 64;

/// A node, or the addresses of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRule {
    Node(NodeId),
    Addresses(IpNet),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no peer id such as 12D3Koo…, no IP address, and no network such as 192.0.2.0/24 or 2001:db8::/32")]
pub struct InvalidPeerRule {
    text: String,
}

impl FromStr for PeerRule {
    type Err = InvalidPeerRule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let node = || text.parse().ok().and_then(|peer: PeerId| node_of(&peer)).map(Self::Node);
        let network = || text.parse().map(|network: IpNet| network.trunc()).ok();
        let address = || text.parse().map(|address: IpAddr| IpNet::from(address.to_canonical())).ok();
        let rule = node().or_else(|| network().or_else(address).map(Self::Addresses));
        rule.ok_or_else(|| InvalidPeerRule { text: text.to_owned() })
    }
}

impl fmt::Display for PeerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => node.fmt(f),
            Self::Addresses(network) => network.fmt(f),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerAccess {
    /// None: everybody who is not denied.
    pub allow: Vec<PeerRule>,
    pub deny: Vec<PeerRule>,
}

/// Why a connection is not made, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the operator of this node denies it")]
    Denied,
    #[error("the operator of this node does not allow it")]
    NotAllowed,
}

impl PeerAccess {
    pub(super) fn denies(&self, peer: &PeerId) -> bool {
        self.deny.iter().any(|rule| matches!(rule, PeerRule::Node(node) if peer_of(node) == *peer))
    }

    /// Whether a connection to or from this address is out of the question, whoever is there.
    pub(super) fn denies_address(&self, address: &Multiaddr) -> bool {
        ip_in(address).is_some_and(|ip| names(&self.deny, ip))
    }

    /// Whether this node is out of the question, whatever its address.
    pub(super) fn judge_peer(&self, peer: &PeerId, is_member: bool) -> Result<(), Refusal> {
        if self.denies(peer) {
            return Err(Refusal::Denied);
        }
        let depends_on_address = self.allow.iter().any(|rule| matches!(rule, PeerRule::Addresses(_)));
        if depends_on_address || self.allows(peer, is_member) { Ok(()) } else { Err(Refusal::NotAllowed) }
    }

    pub(super) fn judge(&self, peer: &PeerId, address: &Multiaddr, is_member: bool) -> Result<(), Refusal> {
        if self.denies(peer) || self.denies_address(address) {
            return Err(Refusal::Denied);
        }
        let by_address = || !is_relayed(address) && ip_in(address).is_some_and(|ip| names(&self.allow, ip));
        if self.allows(peer, is_member) || by_address() { Ok(()) } else { Err(Refusal::NotAllowed) }
    }

    fn allows(&self, peer: &PeerId, is_member: bool) -> bool {
        let named = || self.allow.iter().any(|rule| matches!(rule, PeerRule::Node(node) if peer_of(node) == *peer));
        self.allow.is_empty() || is_member || named()
    }
}

fn names(rules: &[PeerRule], ip: IpAddr) -> bool {
    rules.iter().any(|rule| matches!(rule, PeerRule::Addresses(network) if network.contains(&ip)))
}

/// The IP address at the beginning of an address; an IPv4 address that is written as IPv6 is the IPv4 address.
pub(super) fn ip_in(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => Some(ip.into()),
        Some(Protocol::Ip6(ip)) => Some(IpAddr::from(ip).to_canonical()),
        _ => None,
    }
}

/// Whose the IP address at the beginning of an address is: that address, or the first of its /64 of IPv6.
pub(super) fn source_in(address: &Multiaddr) -> Option<IpAddr> {
    Some(match ip_in(address)? {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> IPV6_SOURCE_BITS)).into(),
        ip => ip,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Vec<PeerRule> {
        texts.iter().map(|text| text.parse().expect("a rule")).collect()
    }

    fn address(text: &str) -> Multiaddr {
        text.parse().expect("an address")
    }

    fn peer(number: u8) -> (PeerId, String) {
        let node = NodeId::from_public_key([number; 32]);
        (peer_of(&node), node.to_string())
    }

    #[test]
    fn rules_are_read_as_people_write_them_and_nothing_else_is() {
        let shown: Vec<String> =
            rules(&["192.0.2.7", "10.1.2.3/8", "2001:db8::/32", "::ffff:192.0.2.1"]).iter().map(PeerRule::to_string).collect();
        assert_eq!(shown, ["192.0.2.7/32", "10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32"]);
        for wrong in
            ["", "10.0.0.0/33", "example.org", "12D3Koo", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "/ip4/10.0.0.1"]
        {
            let error = wrong.parse::<PeerRule>().expect_err(wrong).to_string();
            assert!(error.contains("192.0.2.0/24"), "{error}");
        }
    }

    #[test]
    fn what_is_denied_is_denied_to_members_and_to_the_allowed_as_well() {
        let (bad, name) = peer(1);
        let access = PeerAccess { allow: rules(&[&name, "10.0.0.0/8"]), deny: rules(&[&name, "10.6.6.0/24", "2001:db8::/32"]) };
        for ip in ["/ip4/10.1.1.1", "/ip4/203.0.113.1"] {
            assert_eq!(access.judge(&bad, &address(ip), true), Err(Refusal::Denied));
        }
        assert_eq!(access.judge_peer(&bad, true), Err(Refusal::Denied));
        let (other, _) = peer(2);
        for (ip, judged) in [
            ("/ip4/10.6.6.1/tcp/1", Err(Refusal::Denied)),
            ("/ip6/::ffff:10.6.6.1/tcp/1", Err(Refusal::Denied)),
            ("/ip6/2001:db8::1/udp/1/quic-v1", Err(Refusal::Denied)),
            ("/ip4/10.6.7.1/tcp/1", Ok(())),
            ("/ip4/203.0.113.1/tcp/1", Err(Refusal::NotAllowed)),
        ] {
            assert_eq!(access.judge(&other, &address(ip), false), judged, "{ip}");
        }
    }

    #[test]
    fn where_somebody_is_allowed_nobody_else_is_but_members() {
        let ((named, name), (other, _)) = (peer(1), peer(2));
        let anywhere = address("/ip4/203.0.113.1/tcp/1");
        let access = PeerAccess { allow: rules(&[&name]), deny: vec![] };
        assert_eq!(access.judge(&named, &anywhere, false), Ok(()));
        assert_eq!(access.judge(&other, &anywhere, false), Err(Refusal::NotAllowed));
        assert_eq!(access.judge_peer(&other, false), Err(Refusal::NotAllowed));
        assert_eq!(access.judge(&other, &anywhere, true), Ok(()));
        assert_eq!(PeerAccess::default().judge(&other, &anywhere, false), Ok(()));
    }

    #[test]
    fn the_address_of_a_relay_vouches_for_nobody_behind_it() {
        let (other, _) = peer(2);
        let access = PeerAccess { allow: rules(&["10.0.0.0/8"]), deny: vec![] };
        let direct = address("/ip4/10.0.0.1/tcp/1");
        let relayed = direct.clone().with(Protocol::P2p(peer(3).0)).with(Protocol::P2pCircuit).with(Protocol::P2p(other));
        assert_eq!(access.judge(&other, &direct, false), Ok(()));
        assert_eq!(access.judge(&other, &relayed, false), Err(Refusal::NotAllowed));
        assert_eq!(access.judge_peer(&other, false), Ok(()), "it depends on its address");
    }
}
