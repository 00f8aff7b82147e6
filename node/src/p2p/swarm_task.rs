//! The task that owns the swarm: it dials, listens, answers commands, and tells everybody who is connected.
//!
//! It never blocks and never waits for another task: queues it feeds are tried, answers it owes come back as commands.

mod relays;
pub(super) mod remembering;
mod requests;

use super::addresses::{AddressBook, is_loopback, is_relayed, peer_in, replace_ip, starts_with, usefulness};
use super::behaviour::{Behaviour, BehaviourEvent, IDENTITY_PROTOCOL};
use super::dialing::{Dialing, Target};
use super::ledger_frames::LedgerFrames;
use super::metrics::Metrics;
use super::network_config::{Distribution, Relaying};
use super::peer_id::{node_of, peer_of};
use super::port_mapping::Forwarding;
use super::provider_records;
use super::reach::{Command, Outside, Reachability};
use super::request::{InboundRequest, NodeResponse, RequestError};
use super::reservations::Reservations;
use super::tasks::Tasks;
use crate::consensus::LedgerView;
use futures::StreamExt as _;
use libp2p::core::ConnectedPoint;
use libp2p::core::transport::ListenerId;
use libp2p::kad::{self, GetProvidersOk, QueryId, QueryResult};
use libp2p::multiaddr::Protocol;
use libp2p::request_response::OutboundRequestId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, autonat, identify, ping, relay};
use pyrsia_ledger::NodeId;
use remembering::Remembering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::error::Error as _;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// How often targets that are due are dialed.
const DIAL_TICK: Duration = Duration::from_millis(250);
/// Providers that are enough to end a search in the distributed hash table.
const PROVIDERS_WANTED: usize = 4;

pub(super) struct SwarmTask {
    pub(super) me: NodeId,
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) commands: mpsc::Receiver<Command>,
    /// Answers that are owed to peers come back through here.
    pub(super) own_commands: mpsc::WeakSender<Command>,
    pub(super) requests: mpsc::Sender<InboundRequest>,
    pub(super) peers: watch::Sender<Arc<Vec<NodeId>>>,
    pub(super) addresses: watch::Sender<Arc<Vec<Multiaddr>>>,
    pub(super) external_ip: Option<Ipv4Addr>,
    pub(super) ledger: watch::Receiver<Arc<LedgerView>>,
    pub(super) frames: LedgerFrames,
    pub(super) metrics: Metrics,
    pub(super) tasks: Tasks,
    pub(super) dialing: Dialing,
    /// Nodes asked to tell whether this one can be reached, by the addresses that were given.
    pub(super) probes: Vec<Multiaddr>,
    pub(super) book: AddressBook,
    pub(super) remembering: Remembering,
    /// Peers that are connected through loopback: the only ones whose loopback addresses mean this host.
    pub(super) local_peers: BTreeSet<PeerId>,
    pub(super) outside: watch::Sender<Outside>,
    pub(super) distribution: Distribution,
    pub(super) relaying: Relaying,
    pub(super) reservations: Reservations,
    /// Connections that another node carries.
    pub(super) relayed: BTreeMap<PeerId, BTreeSet<ConnectionId>>,
    /// The authorized nodes, as the gate and the limits know them.
    pub(super) members: BTreeSet<PeerId>,
    pub(super) pending: Pending,
}

/// Who waits for what the swarm has begun.
#[derive(Default)]
pub(super) struct Pending {
    dials: HashMap<ConnectionId, oneshot::Sender<Result<(), String>>>,
    connects: BTreeMap<PeerId, Vec<oneshot::Sender<()>>>,
    lookups: HashMap<QueryId, PeerId>,
    /// Dials of nodes wherever they may be, until they end.
    peer_dials: HashMap<ConnectionId, PeerDial>,
    searches: HashMap<QueryId, (BTreeSet<NodeId>, oneshot::Sender<Vec<NodeId>>)>,
    requests: HashMap<OutboundRequestId, (NodeId, oneshot::Sender<Result<NodeResponse, RequestError>>)>,
}

struct PeerDial {
    peer: PeerId,
    /// Whether the addresses are what a lookup found: then another one would find nothing else.
    is_of_lookup: bool,
}

impl Pending {
    /// Whether a connection with the peer may still come of what is under way.
    fn seeks(&self, peer: &PeerId) -> bool {
        self.lookups.values().any(|sought| sought == peer) || self.peer_dials.values().any(|dial| dial.peer == *peer)
    }

    /// Forgets callers who have gone.
    fn forget_the_gone(&mut self) {
        self.dials.retain(|_, done| !done.is_closed());
        self.searches.retain(|_, (_, found)| !found.is_closed());
        self.connects.retain(|_, waiting| {
            waiting.retain(|done| !done.is_closed());
            !waiting.is_empty()
        });
    }
}

fn chance() -> u32 {
    // Without random numbers the jitter is gone, and nothing else.
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

impl SwarmTask {
    /// Handles events until every listener has told its address.
    pub(super) async fn settle(&mut self, mut listeners: HashSet<ListenerId>) {
        while !listeners.is_empty() {
            let event = self.swarm.select_next_some().await;
            if let SwarmEvent::NewListenAddr { listener_id, .. } | SwarmEvent::ListenerClosed { listener_id, .. } = &event {
                listeners.remove(listener_id);
            }
            self.on_event(event);
        }
    }

    pub(super) async fn run(mut self) {
        self.work().await;
        self.tell_remembered();
    }

    async fn work(&mut self) {
        let stopping = self.tasks.stopping();
        let mut tick = tokio::time::interval(DIAL_TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_ledger_watched = true;
        self.set_validators();
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                event = self.swarm.select_next_some() => self.on_event(event),
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                changed = self.ledger.changed(), if is_ledger_watched => match changed {
                    Ok(()) => self.set_validators(),
                    Err(_) => is_ledger_watched = false,
                },
                _ = tick.tick() => {
                    self.dial_what_is_due();
                    self.dial_known();
                    self.dial_looked_up();
                    self.keep_remembered();
                    self.reserve_what_is_due();
                }
            }
        }
    }

    fn set_validators(&mut self) {
        let Some(state) = self.ledger.borrow_and_update().state.clone() else { return };
        let others = state.validators().nodes().iter().filter(|node| **node != self.me).map(peer_of).collect();
        self.dialing.set_validators(&others, Instant::now());
        let validators = state.validators();
        let members = state.members.active().map(|(node, _)| node).chain(validators.nodes()).map(peer_of).collect();
        if members != self.members {
            self.set_members(members);
        }
    }

    /// Authorized nodes are let in whoever is allowed, and when there are as many connections as there may be.
    fn set_members(&mut self, members: BTreeSet<PeerId>) {
        let me = peer_of(&self.me);
        if self.distribution == Distribution::Off && members.contains(&me) && !self.members.contains(&me) {
            tracing::warn!(
                "this node does not distribute artifacts, but is authorized: it still serves what the ledger appoints it to keep, and what judges compare"
            );
        }
        let behaviour = self.swarm.behaviour_mut();
        self.members.difference(&members).for_each(|peer| behaviour.limits.remove_peer_id(peer));
        members.difference(&self.members).for_each(|peer| behaviour.limits.bypass_peer_id(peer));
        behaviour.gate.set_members(members.clone());
        self.remembering.set_members(members.clone());
        self.members = members;
    }

    fn dial_what_is_due(&mut self) {
        self.pending.forget_the_gone();
        let due = self.dialing.due(Instant::now(), |peer| self.swarm.is_connected(peer));
        for target in due {
            self.dial_target(target);
        }
    }

    fn dial_target(&mut self, target: Target) {
        let options = match &target {
            Target::Address(address) => DialOpts::from(address.clone()),
            Target::Validator(peer) | Target::Known(peer) => self.dial_options(*peer),
        };
        let (connection, peer) = (options.connection_id(), options.get_peer_id());
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dialing.dialed(&target, connection);
                if let Some(peer) = peer {
                    self.pending.peer_dials.insert(connection, PeerDial { peer, is_of_lookup: false });
                }
            }
            Err(error) => {
                tracing::debug!(?target, %error, "not dialed");
                if let (Target::Validator(peer), DialError::NoAddresses) = (&target, &error) {
                    self.look_up(*peer);
                }
                self.dialing.failed_at_once(&target, Instant::now(), chance());
            }
        }
    }

    /// Dials a node wherever it may be, unless that is under way.
    fn dial_options(&self, peer: PeerId) -> DialOpts {
        let addresses = self.book.get(&peer).into_iter().chain(self.remembering.addresses(&peer)).collect();
        DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .build()
    }

    fn look_up(&mut self, peer: PeerId) {
        if self.pending.lookups.values().all(|sought| *sought != peer) {
            let query = self.swarm.behaviour_mut().kad.get_closest_peers(peer);
            self.pending.lookups.insert(query, peer);
        }
    }

    /// Dials those whom lookups have come upon beside dials to where they were. A lookup itself dials nobody who is dialed, and ends without whoever does not
    /// answer in time.
    fn dial_looked_up(&mut self) {
        let is_dialed = |peer, is_of_lookup| {
            self.pending.peer_dials.values().any(|dial| dial.peer == peer && dial.is_of_lookup == is_of_lookup)
        };
        let sought: Vec<PeerId> =
            self.pending.lookups.values().copied().filter(|peer| is_dialed(*peer, false) && !is_dialed(*peer, true)).collect();
        for peer in sought {
            // Its addresses are those that kad has come upon so far.
            self.dial_found(DialOpts::peer_id(peer).condition(PeerCondition::Disconnected).build(), peer);
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Dial { address, done } => {
                let options = DialOpts::from(address);
                let connection = options.connection_id();
                match self.swarm.dial(options) {
                    Ok(()) => {
                        self.pending.dials.insert(connection, done);
                    }
                    Err(DialError::DialPeerConditionFalse(_)) => answer(done, Ok(())),
                    Err(error) => answer(done, Err(reason_of(&error))),
                }
            }
            Command::Connect { to, done } => self.connect(peer_of(&to), done),
            Command::FindProviders { of, found } => {
                let query = self.swarm.behaviour_mut().kad.get_providers(provider_records::key_of(&of));
                self.pending.searches.insert(query, (BTreeSet::new(), found));
            }
            Command::Provide { .. } if self.distribution == Distribution::Off => {}
            Command::Provide { sha256 } => {
                if let Err(error) = self.swarm.behaviour_mut().kad.start_providing(provider_records::key_of(&sha256)) {
                    tracing::debug!(%sha256, %error, "an artifact is not announced");
                }
            }
            Command::Withdraw { sha256 } => {
                self.swarm.behaviour_mut().kad.stop_providing(&provider_records::key_of(&sha256));
            }
            Command::Request { to, request, reply } => {
                let id = self.swarm.behaviour_mut().requests.send_request(&peer_of(&to), request);
                self.pending.requests.insert(id, (to, reply));
            }
            Command::Respond { channel, response } => {
                // The peer may have gone; then nobody waits for the answer.
                let _ = self.swarm.behaviour_mut().requests.send_response(channel, response);
            }
        }
    }

    fn connect(&mut self, peer: PeerId, done: oneshot::Sender<()>) {
        if self.swarm.is_connected(&peer) {
            return answer(done, ());
        }
        self.pending.connects.entry(peer).or_default().push(done);
        let options = self.dial_options(peer);
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.pending.peer_dials.insert(connection, PeerDial { peer, is_of_lookup: false });
                self.look_up_if_only_remembered(peer);
            }
            Err(DialError::DialPeerConditionFalse(_)) => self.look_up_if_only_remembered(peer),
            Err(DialError::NoAddresses) => self.look_up(peer),
            Err(_) => {
                self.pending.connects.remove(&peer);
            }
        }
    }

    /// Who waits for a connection does not wait as long as a host takes to be silent at an address where the peer once was.
    fn look_up_if_only_remembered(&mut self, peer: PeerId) {
        if self.book.get(&peer).is_empty() {
            self.look_up(peer);
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                num_established,
                concurrent_dial_errors,
                ..
            } => {
                self.on_connected(peer_id, connection_id, &endpoint, num_established.get());
                self.note_unanswered(&peer_id, &concurrent_dial_errors.unwrap_or_default());
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, .. } => {
                self.forget_relayed(&peer_id, connection_id);
                self.remembering.closed(connection_id);
                if num_established > 0 {
                    return;
                }
                self.reservations.withdraw_offer(&peer_id);
                self.dialing.disconnected(&peer_id, Instant::now(), chance());
                self.local_peers.remove(&peer_id);
                if let Some(node) = node_of(&peer_id) {
                    self.frames.peer_lost(node);
                    self.change_peers(|peers| peers.retain(|peer| *peer != node));
                    tracing::info!(%node, "a node disconnected");
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.on_dial_failed(connection_id, peer_id, &error);
            }
            SwarmEvent::NewListenAddr { address, .. } => self.on_listening(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.change_addresses(|addresses| {
                addresses.retain(|known| !starts_with(known, &address));
            }),
            SwarmEvent::ExternalAddrConfirmed { address } => self.show_address(address),
            SwarmEvent::ExternalAddrExpired { address } => self.change_addresses(|addresses| {
                addresses.retain(|known| !starts_with(known, &address));
            }),
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener has trouble"),
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                self.on_listener_closed(listener_id, addresses, reason)
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint, established: u32) {
        let Some(node) = node_of(&peer) else {
            self.swarm.close_connection(connection);
            return;
        };
        self.dialing.established(connection, peer);
        self.pending.peer_dials.remove(&connection);
        if let Some(done) = self.pending.dials.remove(&connection) {
            answer(done, Ok(()));
        }
        for done in self.pending.connects.remove(&peer).unwrap_or_default() {
            answer(done, ());
        }
        let is_carried = endpoint.is_relayed();
        self.note_dialed(peer, connection, endpoint);
        self.weigh_detours(peer, is_carried.then_some(connection), established);
        if is_loopback(endpoint.get_remote_address()) && !is_carried {
            self.local_peers.insert(peer);
        }
        if endpoint.is_dialer() && !is_carried {
            let address = endpoint.get_remote_address().clone();
            if self.probes.iter().any(|probe| starts_with(&address, probe) || starts_with(probe, &address)) {
                self.swarm.behaviour_mut().autonat.add_server(peer, Some(address));
            }
        }
        if established == 1 {
            self.frames.peer_connected(node);
            self.change_peers(|peers| {
                if let Err(place) = peers.binary_search(&node) {
                    peers.insert(place, node);
                }
            });
            tracing::info!(%node, address = %endpoint.get_remote_address(), "a node connected");
        }
    }

    fn on_dial_failed(&mut self, connection: ConnectionId, peer: Option<PeerId>, error: &DialError) {
        tracing::debug!(?peer, %error, "dialing failed");
        self.dialing.failed(connection, Instant::now(), chance());
        if let Some(peer) = &peer {
            self.note_failed_dial(peer, error);
        }
        if let Some(done) = self.pending.dials.remove(&connection) {
            answer(done, Err(reason_of(error)));
        }
        let is_of_lookup = self.pending.peer_dials.remove(&connection).is_some_and(|dial| dial.is_of_lookup);
        let Some(peer) = peer.filter(|peer| !self.swarm.is_connected(peer)) else { return };
        let is_elsewhere = matches!(error, DialError::Transport(_) | DialError::WrongPeerId { .. } | DialError::NoAddresses);
        let is_wanted = self.pending.connects.contains_key(&peer) || self.dialing.is_validator(&peer);
        if is_elsewhere && is_wanted && !is_of_lookup {
            self.look_up(peer);
        }
        self.forget_vain_connects(&peer);
    }

    /// Tells those who wait for a connection that none comes.
    fn forget_vain_connects(&mut self, peer: &PeerId) {
        if !self.pending.seeks(peer) {
            self.pending.connects.remove(peer);
        }
    }

    fn on_listening(&mut self, address: Multiaddr) {
        let own = Protocol::P2p(*self.swarm.local_peer_id());
        let shown = if is_relayed(&address) { address.clone() } else { address.clone().with(own) };
        tracing::info!("Local node is listening on {:?}", shown.to_string());
        self.show_address(shown);
        if is_relayed(&address) {
            return;
        }
        // A relay has to say where it is: those who have a place on it are reached at its addresses.
        let is_relay = self.relaying == Relaying::On && self.external_ip.is_none();
        let external = self.external_ip.and_then(|ip| replace_ip(&address, ip)).or(is_relay.then_some(address));
        if let Some(external) = external {
            self.swarm.add_external_address(external.clone());
            self.show_address(external);
        }
    }

    /// An address of this node, with or without its peer id.
    fn show_address(&mut self, address: Multiaddr) {
        let me = *self.swarm.local_peer_id();
        let address = if peer_in(&address) == Some(me) { address } else { address.with(Protocol::P2p(me)) };
        self.change_addresses(|addresses| {
            addresses.push(address);
            addresses.sort_by_key(|address| (usefulness(address), address.to_string()));
            addresses.dedup();
        });
    }

    fn on_listener_closed(&mut self, listener: ListenerId, addresses: Vec<Multiaddr>, reason: Result<(), io::Error>) {
        if let Some((relay, was_held)) = self.reservations.closed(listener, Instant::now(), chance()) {
            self.on_place_lost(relay, was_held, &addresses, &reason);
        } else if let Err(error) = reason {
            tracing::error!(?addresses, %error, "this node listens no more on these addresses");
        }
    }

    fn change_peers(&mut self, change: impl FnOnce(&mut Vec<NodeId>)) {
        self.peers.send_modify(|peers| change(Arc::make_mut(peers)));
        self.metrics.peers.set(self.peers.borrow().len() as i64);
    }

    fn change_addresses(&mut self, change: impl FnOnce(&mut Vec<Multiaddr>)) {
        self.addresses.send_modify(|addresses| change(Arc::make_mut(addresses)));
    }

    fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received { connection_id, peer_id, info }) => {
                self.on_identified(peer_id, connection_id, info);
            }
            BehaviourEvent::Ping(ping::Event { connection, result: Err(ping::Failure::Timeout), peer }) => {
                tracing::debug!(%peer, "a connection is dead");
                self.swarm.close_connection(connection);
            }
            BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed { id, result, step, .. }) => {
                self.on_query(id, result, step.last);
            }
            BehaviourEvent::Kad(kad::Event::InboundRequest { request }) => {
                provider_records::keep(request, self.swarm.behaviour_mut().kad.store_mut());
            }
            BehaviourEvent::Requests(event) => self.on_request_event(event),
            BehaviourEvent::Autonat(autonat::v1::Event::StatusChanged { new, .. }) => {
                tracing::info!(status = ?new, "whether this node can be reached from outside");
                let reachability = match new {
                    autonat::v1::NatStatus::Public(_) => Reachability::Public,
                    autonat::v1::NatStatus::Private => Reachability::Private,
                    autonat::v1::NatStatus::Unknown => Reachability::Unknown,
                };
                self.outside.send_modify(|outside| outside.reachability = reachability);
            }
            BehaviourEvent::RelayClient(relay::client::Event::ReservationReqAccepted { relay_peer_id, .. }) => {
                self.on_place_granted(relay_peer_id);
            }
            BehaviourEvent::PortMapping(event) => {
                let forwarding = Forwarding::after(&event);
                self.outside.send_modify(|outside| outside.forwarding = forwarding);
            }
            BehaviourEvent::HolePunching(event) => self.on_hole_punched(event),
            _ => {}
        }
    }

    /// Kad and the address book learn only from peers that speak our protocols.
    fn on_identified(&mut self, peer: PeerId, connection: ConnectionId, info: identify::Info) {
        if info.protocol_version != IDENTITY_PROTOCOL {
            tracing::debug!(%peer, protocol = %info.protocol_version, "a peer of another kind of network is sent away");
            // It may have gone already.
            let _ = self.swarm.disconnect_peer_id(peer);
            return;
        }
        self.dialing.identified(&peer);
        self.remember(connection);
        let mut addresses = info.listen_addrs;
        let is_local = self.local_peers.contains(&peer);
        addresses.retain(|address| peer_in(address).is_none_or(|named| named == peer) && (is_local || !is_loopback(address)));
        addresses.sort_by_key(usefulness);
        self.book.set(peer, addresses.clone());
        if info.protocols.contains(&relay::HOP_PROTOCOL_NAME) {
            self.on_offer(peer, &addresses);
        }
        for address in self.book.get(&peer) {
            self.swarm.behaviour_mut().kad.add_address(&peer, address);
        }
    }

    fn on_query(&mut self, id: QueryId, result: QueryResult, is_last: bool) {
        match result {
            QueryResult::GetProviders(found) => {
                let Some((providers, _)) = self.pending.searches.get_mut(&id) else { return };
                if let Ok(GetProvidersOk::FoundProviders { providers: found, .. }) = found {
                    providers.extend(found.iter().filter_map(node_of));
                }
                if (is_last || providers.len() >= PROVIDERS_WANTED)
                    && let Some((providers, found)) = self.pending.searches.remove(&id)
                {
                    answer(found, providers.into_iter().collect());
                }
            }
            QueryResult::GetClosestPeers(found) if is_last => {
                let Some(peer) = self.pending.lookups.remove(&id) else { return };
                let found = found.map_or_else(|_| vec![], |found| found.peers);
                let addresses = found.into_iter().find(|info| info.peer_id == peer).map_or_else(Vec::new, |info| info.addrs);
                let options = DialOpts::peer_id(peer).condition(PeerCondition::Disconnected).addresses(addresses);
                self.dial_found(options.build(), peer);
                self.forget_vain_connects(&peer);
            }
            _ => {}
        }
    }

    fn dial_found(&mut self, options: DialOpts, peer: PeerId) {
        let connection = options.connection_id();
        if self.swarm.dial(options).is_ok() {
            self.pending.peer_dials.insert(connection, PeerDial { peer, is_of_lookup: true });
        }
    }
}

/// Why a dial failed: where a rule or a limit ended it libp2p tells that beneath its own error only.
fn reason_of(error: &DialError) -> String {
    match error {
        DialError::Denied { cause } => cause.source().map_or_else(|| cause.to_string(), ToString::to_string),
        error => error.to_string(),
    }
}

/// Whoever asked may have gone; then the answer is of no use to anybody.
fn answer<T>(to: oneshot::Sender<T>, with: T) {
    let _ = to.send(with);
}
