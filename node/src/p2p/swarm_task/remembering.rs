//! The part of the swarm's task that remembers whom this node reached, and goes back to them when it has too few peers.

use super::SwarmTask;
use crate::p2p::dialing::Target;
use crate::p2p::known_peers::{KnownPeers, REACHED_STEP};
use libp2p::core::{ConnectedPoint, Endpoint, transport::TransportError};
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Connected nodes that are enough: with fewer, those are dialed that were reached before.
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
        self.dialed.remove(&connection);
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
        remembering.is_changed |= remembering.known.reached(dialed.peer, &dialed.address, now_ms());
    }

    /// Addresses at which nobody answered. With no peer at all it may be this node that is cut off.
    pub(super) fn note_unanswered(&mut self, peer: &PeerId, errors: &[(Multiaddr, TransportError<io::Error>)]) {
        if self.peers.borrow().is_empty() {
            return;
        }
        for (address, _) in errors {
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
        let (now, connected) = (Instant::now(), self.peers.borrow().len());
        self.dialing.set_alone(connected == 0, now);
        if connected >= PEERS_WANTED {
            return;
        }
        let (gate, known) = (&self.swarm.behaviour().gate, &self.remembering.known);
        let may_dial = |peer: &PeerId| known.addresses(peer).any(|address| gate.may_dial(peer, address));
        let in_order: Vec<PeerId> = known.in_order().into_iter().filter(may_dial).collect();
        for peer in self.dialing.due_known(&in_order, now, |peer| self.swarm.is_connected(peer)) {
            self.dial_target(Target::Known(peer));
        }
    }

    /// Sees to it that what is written down is right.
    pub(super) fn keep_remembered(&mut self) {
        if self.remembering.renewed.elapsed() >= REACHED_STEP && !self.peers.borrow().is_empty() {
            self.remembering.renewed = Instant::now();
            let now_ms = now_ms();
            let Remembering { known, dialed, .. } = &mut self.remembering;
            for Dialed { peer, address, .. } in dialed.values().filter(|dialed| dialed.is_ours) {
                known.reached(*peer, address, now_ms);
            }
            known.forget_the_old(now_ms);
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

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
