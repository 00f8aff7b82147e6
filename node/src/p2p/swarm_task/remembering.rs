//! The part of the swarm's task that remembers whom this node reached, and goes back to them when it has too few peers.

use super::SwarmTask;
use crate::p2p::dialing::Target;
use crate::p2p::known_peers::{KnownPeers, REACHED_STEP};
use libp2p::core::{ConnectedPoint, Endpoint, transport::TransportError};
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId, dns};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Connected nodes that are enough: with fewer, those are dialed that were reached before. Counted are those that this node reached and those that are
/// authorized: anybody can connect from outside and say nothing, as often as it has keys.
const PEERS_WANTED: usize = 4;

pub(in crate::p2p) struct Remembering {
    known: KnownPeers,
    /// Connections that this node made without a relay.
    dialed: BTreeMap<ConnectionId, Dialed>,
    /// What is to be written down; where it goes is none of this task's business.
    changes: watch::Sender<KnownPeers>,
    is_changed: bool,
    renewed: Instant,
}

struct Dialed {
    peer: PeerId,
    address: Multiaddr,
    /// Whether the peer has shown that it speaks our protocols.
    is_ours: bool,
}

impl Remembering {
    pub(in crate::p2p) fn new(known: KnownPeers, changes: watch::Sender<KnownPeers>) -> Self {
        Self { known, dialed: BTreeMap::new(), changes, is_changed: false, renewed: Instant::now() }
    }

    pub(super) fn set_members(&mut self, members: BTreeSet<PeerId>) {
        self.known.set_members(members);
    }

    pub(super) fn closed(&mut self, connection: ConnectionId) {
        if self.dialed.remove(&connection).is_some() {
            self.note_open();
        }
    }

    fn note_open(&mut self) {
        self.known.set_open(self.dialed.values().filter(|dialed| dialed.is_ours).map(|dialed| dialed.peer).collect());
    }

    pub(super) fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.known.addresses(peer).cloned().collect()
    }
}

impl SwarmTask {
    pub(super) fn note_dialed(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        // What a hole was punched to has an address that nobody can dial. So has the other end of the hole, which dials as ever, but is
        // connected through a relay at that time.
        if let ConnectedPoint::Dialer { address, role_override: Endpoint::Dialer, .. } = endpoint
            && !endpoint.is_relayed()
            && !self.relayed.contains_key(&peer)
        {
            self.remembering.dialed.insert(connection, Dialed { peer, address: address.clone(), is_ours: false });
        }
    }

    /// The peer has shown that it speaks our protocols.
    pub(super) fn remember(&mut self, connection: ConnectionId) {
        let remembering = &mut self.remembering;
        let Some(dialed) = remembering.dialed.get_mut(&connection) else { return };
        dialed.is_ours = true;
        let (peer, address) = (dialed.peer, dialed.address.clone());
        remembering.note_open();
        remembering.is_changed |= remembering.known.reached(peer, &address, now_ms());
    }

    /// Connected nodes that show that this one is not cut off.
    fn company(&self) -> usize {
        let open = self.remembering.known.open();
        let members = self.members.iter().filter(|peer| !open.contains(peer) && self.swarm.is_connected(peer));
        open.len() + members.count()
    }

    /// Addresses at which nobody answered. With no company it may be this node that is cut off.
    pub(super) fn note_unanswered(&mut self, peer: &PeerId, errors: &[(Multiaddr, TransportError<io::Error>)]) {
        if self.company() == 0 {
            return;
        }
        for (address, _) in errors.iter().filter(|(_, error)| !is_own(error)) {
            self.remembering.is_changed |= self.remembering.known.failed(peer, address, now_ms());
        }
    }

    pub(super) fn note_failed_dial(&mut self, peer: &PeerId, error: &DialError) {
        match error {
            DialError::Transport(errors) => self.note_unanswered(peer, errors),
            DialError::WrongPeerId { address, .. } | DialError::LocalPeerId { address } => {
                self.remembering.is_changed |= self.remembering.known.forget(peer, address);
            }
            _ => {}
        }
    }

    pub(super) fn dial_known(&mut self) {
        let (now, company) = (Instant::now(), self.company());
        self.dialing.set_alone(company == 0, now);
        if company >= PEERS_WANTED {
            return;
        }
        let (gate, known) = (&self.swarm.behaviour().gate, &self.remembering.known);
        let may_dial = |peer: &&PeerId| known.addresses(peer).any(|address| gate.may_dial(peer, address));
        let may_be_dialed = known.peers().filter(may_dial).copied().collect();
        let is_connected = |peer: &PeerId| self.swarm.is_connected(peer);
        for peer in self.dialing.due_known(&may_be_dialed, now, is_connected, |peer| Reverse(known.rank(peer))) {
            self.dial_target(Target::Known(peer));
        }
    }

    /// Sees to it that what is written down is right.
    pub(super) fn keep_remembered(&mut self) {
        if self.remembering.renewed.elapsed() >= REACHED_STEP && self.company() > 0 {
            self.remembering.renewed = Instant::now();
            let now_ms = now_ms();
            let Remembering { known, dialed, .. } = &mut self.remembering;
            for Dialed { peer, address, .. } in dialed.values().filter(|dialed| dialed.is_ours) {
                known.reached(*peer, address, now_ms);
            }
            // Who was dialed has shown which of its addresses are right.
            let open = known.open().clone();
            known.forget_the_old(now_ms, |peer| self.swarm.is_connected(peer) && !open.contains(peer));
            self.remembering.is_changed = true;
        }
        self.tell_remembered();
    }

    pub(super) fn tell_remembered(&mut self) {
        let remembering = &mut self.remembering;
        self.metrics.known_peers.set(remembering.known.len() as i64);
        if std::mem::take(&mut remembering.is_changed) {
            remembering.changes.send_replace(remembering.known.clone());
        }
    }
}

/// Whether a dial failed for a rule or a resolver on this side, which says nothing about the other.
fn is_own(error: &TransportError<io::Error>) -> bool {
    let TransportError::Other(error) = error else { return true };
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(found) = cause {
        let error = found.downcast_ref::<io::Error>();
        if found.is::<dns::ResolveError>() || error.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            return true;
        }
        // What such an error wraps is not its source, but has its source.
        let wrapped = error.and_then(io::Error::get_ref).map(|wrapped| wrapped as &(dyn Error + 'static));
        cause = wrapped.or_else(|| found.source());
    }
    false
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p2p::access::PeerAccess;
    use crate::p2p::behaviour;
    use crate::p2p::network_config::NetworkConfig;
    use futures::StreamExt as _;
    use libp2p::identity::Keypair;
    use libp2p::swarm::SwarmEvent;
    use libp2p::swarm::dial_opts::DialOpts;
    use prometheus_client::metrics::counter::Counter;
    use std::net::TcpListener;

    #[tokio::test]
    async fn what_is_forbidden_here_is_not_laid_to_who_was_dialed() {
        let access = PeerAccess { deny: vec!["127.0.0.2".parse().expect("a rule")], allow: vec![] };
        let network = NetworkConfig { access, ..NetworkConfig::default() };
        let mut swarm = behaviour::build(&Keypair::generate_ed25519(), 1, &network, Counter::default()).expect("builds");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        // By a rule; by the other side.
        for (ip, is_of_here) in [("127.0.0.2", true), ("127.0.0.1", false)] {
            let address: Multiaddr = format!("/ip4/{ip}/tcp/{free}").parse().expect("an address");
            swarm.dial(DialOpts::peer_id(PeerId::random()).addresses(vec![address]).build()).expect("begins");
            let errors = loop {
                if let SwarmEvent::OutgoingConnectionError { error: DialError::Transport(errors), .. } =
                    swarm.select_next_some().await
                {
                    break errors;
                }
            };
            assert_eq!(errors.iter().map(|(_, error)| is_own(error)).collect::<Vec<_>>(), [is_of_here], "{errors:?}");
        }
    }
}
