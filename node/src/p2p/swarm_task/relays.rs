//! The part of the swarm's task that has to do with relays: places on them, and connections that they carry.

use super::{SwarmTask, chance};
use crate::p2p::addresses::{is_relayed, starts_with};
use crate::p2p::metrics::{HolePunchLabels, NOT_PUNCHED, PUNCHED};
use crate::p2p::peer_id::node_of;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId, dcutr};
use pyrsia_ledger::NodeId;
use std::collections::BTreeSet;
use std::io;
use std::time::Instant;

impl SwarmTask {
    pub(super) fn reserve_what_is_due(&mut self) {
        let (now, reachability) = (Instant::now(), self.outside.borrow().reachability);
        for (relay, place) in self.reservations.due(reachability, now) {
            match self.swarm.listen_on(place) {
                Ok(listener) => self.reservations.asked(relay, listener),
                Err(error) => {
                    tracing::debug!(%relay, %error, "a relay cannot be asked");
                    self.reservations.failed_at_once(relay, now, chance());
                }
            }
        }
    }

    /// A connected node, with the addresses it says it has, carries connections for others.
    pub(super) fn on_offer(&mut self, relay: PeerId, addresses: &[Multiaddr]) {
        if let Some(direct) = addresses.iter().find(|address| !is_relayed(address)) {
            self.reservations.offer(relay, direct.clone());
        }
    }

    pub(super) fn on_place_granted(&mut self, relay: PeerId) {
        let is_new = !self.reservations.held().any(|held| *held == relay);
        if is_new {
            tracing::info!(%relay, "others can reach this node through a relay");
        }
        self.reservations.granted(&relay);
        self.show_relays();
    }

    /// The listener that stood for a place, or for the wish to have it, was closed.
    pub(super) fn on_place_lost(&mut self, relay: PeerId, was_held: bool, addresses: &[Multiaddr], reason: &io::Result<()>) {
        match was_held {
            true => tracing::info!(%relay, ?reason, "this node has lost its place on a relay"),
            false => tracing::debug!(%relay, ?reason, "a relay gives this node no place"),
        }
        self.change_addresses(|known| known.retain(|known| !addresses.iter().any(|gone| starts_with(known, gone))));
        self.show_relays();
    }

    fn show_relays(&mut self) {
        let relays: Vec<NodeId> = self.reservations.held().filter_map(node_of).collect();
        self.metrics.relay_places.set(relays.len() as i64);
        self.outside.send_modify(|outside| outside.relays = relays);
    }

    /// After a connection was made, `carried` if a relay carries it: streams take any connection of a peer, so that a detour beside a
    /// direct one is of no more use.
    pub(super) fn weigh_detours(&mut self, peer: PeerId, carried: Option<ConnectionId>, established: u32) {
        if let Some(connection) = carried {
            self.relayed.entry(peer).or_default().insert(connection);
        }
        if let Some(carried) = self.relayed.get(&peer).filter(|carried| carried.len() < established as usize) {
            for carried in carried {
                self.swarm.close_connection(*carried);
            }
        }
        self.count_connections();
    }

    pub(super) fn forget_relayed(&mut self, peer: &PeerId, connection: ConnectionId) {
        if let Some(connections) = self.relayed.get_mut(peer) {
            connections.remove(&connection);
            if connections.is_empty() {
                self.relayed.remove(peer);
            }
        }
        self.count_connections();
    }

    fn count_connections(&self) {
        let established = self.swarm.network_info().connection_counters().num_established();
        self.metrics.connections.set(established.into());
        self.metrics.relayed_connections.set(self.relayed.values().map(BTreeSet::len).sum::<usize>() as i64);
    }

    pub(super) fn on_hole_punched(&mut self, dcutr::Event { remote_peer_id, result }: dcutr::Event) {
        tracing::debug!(peer = %remote_peer_id, ?result, "an attempt to do without a relay ended");
        let result = if result.is_ok() { PUNCHED } else { NOT_PUNCHED };
        self.metrics.hole_punches.get_or_create(&HolePunchLabels { result }).inc();
    }
}
