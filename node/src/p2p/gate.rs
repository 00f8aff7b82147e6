//! The gate that [`PeerAccess`] describes, at the two places where connections are made.
//!
//! ```text
//!   GatedTransport   below the resolver: no denied address is dialed, whatever name led to it
//!   Gate             of the swarm: a denied address is dropped before the handshake, a node that may not be here after it
//! ```

use super::access::{PeerAccess, Refusal};
use libp2p::core::Endpoint;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, PortUse, TransportError, TransportEvent};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId, Transport};
use prometheus_client::metrics::counter::Counter;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

type Connections = Boxed<(PeerId, StreamMuxerBox)>;

/// A transport that dials no denied address.
pub(super) struct GatedTransport {
    pub(super) inner: Connections,
    pub(super) access: Arc<PeerAccess>,
}

impl Transport for GatedTransport {
    type Output = (PeerId, StreamMuxerBox);
    type Error = io::Error;
    type ListenerUpgrade = <Connections as Transport>::ListenerUpgrade;
    type Dial = <Connections as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        if self.access.denies_address(&address) {
            return Err(TransportError::Other(io::Error::new(io::ErrorKind::PermissionDenied, Refusal::Denied)));
        }
        self.inner.dial(address, options)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

pub(super) struct Gate {
    access: Arc<PeerAccess>,
    /// The authorized nodes, which are always allowed.
    members: BTreeSet<PeerId>,
    connections: BTreeMap<ConnectionId, (PeerId, Multiaddr)>,
    closing: VecDeque<(PeerId, ConnectionId)>,
    refused: Counter,
}

impl Gate {
    pub(super) fn new(access: Arc<PeerAccess>, refused: Counter) -> Self {
        Self { access, members: BTreeSet::new(), connections: BTreeMap::new(), closing: VecDeque::new(), refused }
    }

    /// Ends the connections of those who were here for being authorized alone.
    pub(super) fn set_members(&mut self, members: BTreeSet<PeerId>) {
        self.members = members;
        for (connection, (peer, address)) in &self.connections {
            if self.access.judge(peer, address, self.members.contains(peer)).is_err() {
                self.closing.push_back((*peer, *connection));
            }
        }
    }

    /// Whether the rules let this node dial another one at an address.
    pub(super) fn may_dial(&self, peer: &PeerId, address: &Multiaddr) -> bool {
        self.access.judge(peer, address, self.members.contains(peer)).is_ok()
    }

    fn refuse(&self, refusal: Refusal, peer: Option<&PeerId>, address: Option<&Multiaddr>) -> ConnectionDenied {
        tracing::debug!(?peer, ?address, "a connection is refused: {refusal}");
        self.refused.inc();
        ConnectionDenied::new(refusal)
    }

    fn enter(&mut self, connection: ConnectionId, peer: PeerId, address: &Multiaddr) -> Result<THandler<Self>, ConnectionDenied> {
        let judged = self.access.judge(&peer, address, self.members.contains(&peer));
        judged.map_err(|refusal| self.refuse(refusal, Some(&peer), Some(address)))?;
        self.connections.insert(connection, (peer, address.clone()));
        Ok(dummy::ConnectionHandler)
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        match self.access.denies_address(remote) {
            true => Err(self.refuse(Refusal::Denied, None, Some(remote))),
            false => Ok(()),
        }
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.enter(connection, peer, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let Some(peer) = peer else { return Ok(vec![]) };
        // Not counted: whoever is to be stayed connected with is tried again and again.
        self.access.judge_peer(&peer, self.members.contains(&peer)).map(|()| vec![]).map_err(ConnectionDenied::new)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.enter(connection, peer, remote)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => {
                self.connections.remove(&closed.connection_id);
            }
            // Another part of the node would not have it, after it was let in here.
            FromSwarm::ListenFailure(failure) => {
                self.connections.remove(&failure.connection_id);
            }
            FromSwarm::DialFailure(failure) => {
                self.connections.remove(&failure.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        // Only `set_members` fills the queue, on the task that polls this.
        match self.closing.pop_front() {
            Some((peer_id, connection)) => {
                Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(connection) })
            }
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker;

    #[test]
    fn who_was_here_for_being_authorized_alone_is_sent_away_with_its_authorization() {
        let (member, allowed) = (PeerId::random(), PeerId::random());
        let access = PeerAccess { allow: vec!["10.0.0.0/8".parse().expect("a rule")], deny: vec![] };
        let mut gate = Gate::new(Arc::new(access), Counter::default());
        let (near, far) =
            ("/ip4/10.0.0.1/tcp/1".parse().expect("an address"), "/ip4/203.0.113.1/tcp/1".parse().expect("an address"));
        let connections = [1, 2].map(ConnectionId::new_unchecked);
        gate.set_members(BTreeSet::from([member]));
        for (connection, peer, address) in [(connections[0], member, &far), (connections[1], allowed, &near)] {
            assert!(gate.enter(connection, peer, address).is_ok());
        }
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(gate.poll(&mut cx).is_pending());
        gate.set_members(BTreeSet::new());
        let Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(closed) }) = gate.poll(&mut cx)
        else {
            panic!("the connection of the former member stays");
        };
        assert_eq!((peer_id, closed), (member, connections[0]));
        assert!(gate.poll(&mut cx).is_pending());
        assert!(gate.enter(connections[0], member, &far).is_err());
        assert_eq!(gate.refused.get(), 1);
    }
}
