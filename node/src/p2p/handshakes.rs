//! How many connections of one source may be in their handshake at once.
//!
//! Who connects and says nothing takes a place for as long as a handshake may last, and there are only so many. A source is an IPv4 address or a /64 of
//! IPv6, which is what a host is given at least, by TCP or by QUIC: datagrams bear whatever address their sender writes, and must not take the places
//! of who comes from there by TCP. While half of all places are free no source is bounded, for behind a proxy all are one. Connections through a relay
//! have the relay's own bounds, and count for none.

use super::access::source_in;
use super::addresses::is_relayed;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};

/// How many may be in their handshake at once, of all sources together; none of them for longer than a handshake may take.
pub(super) const PENDING_INCOMING_MAX: usize = 256;
/// How many of them are of whoever comes first.
pub(super) const UNBOUNDED_MAX: usize = PENDING_INCOMING_MAX / 2;
/// What a source may have of the other half: whoever wants to keep others out needs several.
const HANDSHAKES_PER_SOURCE_MAX: usize = 16;

#[derive(Debug, thiserror::Error)]
#[error("{HANDSHAKES_PER_SOURCE_MAX} connections or more of {source_address} have not said who they are")]
struct TooMany {
    source_address: IpAddr,
}

/// Refuses what is too much before anything is read of it.
#[derive(Default)]
pub(super) struct Handshakes {
    under_way: BTreeMap<ConnectionId, Source>,
    by_source: BTreeMap<Source, usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    address: IpAddr,
    is_quic: bool,
}

impl Handshakes {
    fn begin(&mut self, connection: ConnectionId, remote: &Multiaddr) -> Result<(), ConnectionDenied> {
        let Some(source) = source_of(remote) else { return Ok(()) };
        let own = self.by_source.get(&source).copied().unwrap_or_default();
        if self.under_way.len() >= UNBOUNDED_MAX && own >= HANDSHAKES_PER_SOURCE_MAX {
            return Err(ConnectionDenied::new(TooMany { source_address: source.address }));
        }
        self.by_source.insert(source, own + 1);
        self.under_way.insert(connection, source);
        Ok(())
    }

    fn end(&mut self, connection: ConnectionId) {
        let Some(source) = self.under_way.remove(&connection) else { return };
        if let Some(own) = self.by_source.get_mut(&source) {
            *own -= 1;
            if *own == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

fn source_of(remote: &Multiaddr) -> Option<Source> {
    if is_relayed(remote) {
        return None;
    }
    Some(Source { address: source_in(remote)?, is_quic: remote.iter().any(|part| part == Protocol::QuicV1) })
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

    struct Arriving(Handshakes, usize);

    impl Arriving {
        fn begin(&mut self, address: &str) -> Option<ConnectionId> {
            self.1 += 1;
            let connection = ConnectionId::new_unchecked(self.1);
            self.0.begin(connection, &address.parse().expect("an address")).is_ok().then_some(connection)
        }
    }

    #[test]
    fn a_source_is_an_address_of_ipv4_or_a_network_of_ipv6_and_has_a_bound_of_its_own_where_half_is_taken() {
        let mut arriving = Arriving(Handshakes::default(), 0);
        let first: Vec<_> = (0..PENDING_INCOMING_MAX).filter_map(|_| arriving.begin("/ip4/198.51.100.1/udp/1/quic-v1")).collect();
        assert_eq!(first.len(), UNBOUNDED_MAX);
        for (many, another) in [
            ("/ip4/203.0.113.1/tcp/1", "/ip4/203.0.113.2/tcp/1"),
            ("/ip6/2001:db8:0:1:NUMBER::1/tcp/1", "/ip6/2001:db8:0:2::1/udp/1/quic-v1"),
            ("/ip4/203.0.113.3/udp/1/quic-v1", "/ip4/203.0.113.3/tcp/1"),
        ] {
            let begun: Vec<_> = (0..2 * HANDSHAKES_PER_SOURCE_MAX)
                .filter_map(|number| arriving.begin(&many.replace("NUMBER", &format!("{number:x}"))))
                .collect();
            assert_eq!(begun.len(), HANDSHAKES_PER_SOURCE_MAX, "{many}");
            assert!(arriving.begin(another).is_some(), "{another}");
            arriving.0.end(begun[0]);
            assert!(arriving.begin(&many.replace("NUMBER", "0")).is_some(), "its place is free again");
        }
        // An IPv4 address that is written as IPv6 is the IPv4 address.
        assert!(arriving.begin("/ip6/::ffff:203.0.113.1/tcp/1").is_none());
        let relayed = format!("/ip4/203.0.113.1/tcp/1/p2p/{}/p2p-circuit", PeerId::random());
        assert!(arriving.begin(&relayed).is_some());
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
