//! How many connections of one source may be in their handshake at once.
//!
//! Who connects and says nothing takes a place for as long as a handshake may last, and there are only so many. A source is an IPv4 address or a /64 of
//! IPv6, which is what a host is given at least; connections through a relay have the relay's own bounds, and count for none.

use super::access::ip_in;
use super::addresses::is_relayed;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::task::{Context, Poll};

/// A sixteenth of all: whoever wants to keep others out needs as many sources.
pub(super) const HANDSHAKES_PER_SOURCE_MAX: usize = 16;
/// The bits of an IPv6 address that say whose it is.
const IPV6_SOURCE_BITS: u32 = 64;

#[derive(Debug, thiserror::Error)]
#[error("{HANDSHAKES_PER_SOURCE_MAX} connections of {source_address} have not said who they are")]
struct TooMany {
    source_address: IpAddr,
}

/// Refuses what is too much before anything is read of it.
#[derive(Default)]
pub(super) struct Handshakes {
    under_way: BTreeMap<ConnectionId, IpAddr>,
    by_source: BTreeMap<IpAddr, usize>,
}

impl Handshakes {
    fn begin(&mut self, connection: ConnectionId, remote: &Multiaddr) -> Result<(), ConnectionDenied> {
        let Some(source_address) = source_of(remote) else { return Ok(()) };
        let own = self.by_source.entry(source_address).or_default();
        if *own >= HANDSHAKES_PER_SOURCE_MAX {
            return Err(ConnectionDenied::new(TooMany { source_address }));
        }
        *own += 1;
        self.under_way.insert(connection, source_address);
        Ok(())
    }

    fn end(&mut self, connection: ConnectionId) {
        let Some(source_address) = self.under_way.remove(&connection) else { return };
        if let Some(own) = self.by_source.get_mut(&source_address) {
            *own -= 1;
            if *own == 0 {
                self.by_source.remove(&source_address);
            }
        }
    }
}

fn source_of(remote: &Multiaddr) -> Option<IpAddr> {
    if is_relayed(remote) {
        return None;
    }
    Some(match ip_in(remote)? {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> IPV6_SOURCE_BITS)).into(),
        ip => ip,
    })
}

impl NetworkBehaviour for Handshakes {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.begin(connection, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.end(connection);
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ListenFailure(failure) = event {
            self.end(failure.connection_id);
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_address_of_ipv4_or_a_network_of_ipv6_and_has_a_bound_of_its_own() {
        let (mut handshakes, mut next) = (Handshakes::default(), 0);
        let mut begin = |handshakes: &mut Handshakes, address: &str| {
            next += 1;
            let connection = ConnectionId::new_unchecked(next);
            handshakes.begin(connection, &address.parse().expect("an address")).is_ok().then_some(connection)
        };
        for (many, another) in [
            ("/ip4/203.0.113.1/tcp/1", "/ip4/203.0.113.2/tcp/1"),
            ("/ip6/2001:db8:0:1:NUMBER::1/tcp/1", "/ip6/2001:db8:0:2::1/udp/1/quic-v1"),
        ] {
            let begun: Vec<_> = (0..2 * HANDSHAKES_PER_SOURCE_MAX)
                .filter_map(|number| begin(&mut handshakes, &many.replace("NUMBER", &format!("{number:x}"))))
                .collect();
            assert_eq!(begun.len(), HANDSHAKES_PER_SOURCE_MAX, "{many}");
            assert!(begin(&mut handshakes, another).is_some(), "{another}");
            handshakes.end(begun[0]);
            assert!(begin(&mut handshakes, &many.replace("NUMBER", "0")).is_some(), "its place is free again");
        }
        // An IPv4 address that is written as IPv6 is the IPv4 address.
        assert!(begin(&mut handshakes, "/ip6/::ffff:203.0.113.1/tcp/1").is_none());
        let relayed = format!("/ip4/203.0.113.1/tcp/1/p2p/{}/p2p-circuit", PeerId::random());
        assert!(begin(&mut handshakes, &relayed).is_some());
    }

    #[test]
    fn nothing_is_remembered_of_a_source_whose_handshakes_are_over() {
        let mut handshakes = Handshakes::default();
        let address = "/ip4/203.0.113.1/tcp/1".parse().expect("an address");
        let connections = [1, 2].map(ConnectionId::new_unchecked);
        connections.iter().for_each(|connection| handshakes.begin(*connection, &address).expect("begins"));
        connections.iter().for_each(|connection| handshakes.end(*connection));
        assert!(handshakes.by_source.is_empty() && handshakes.under_way.is_empty());
    }
}
