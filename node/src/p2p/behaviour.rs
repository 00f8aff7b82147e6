//! The swarm's transports and protocols, with every limit that libp2p takes.

use super::gate::{Gate, GatedTransport};
use super::handshakes::{Handshakes, PENDING_INCOMING_MAX};
use super::network_config::{NetworkConfig, PortMapping, Relaying};
use super::provider_records;
use super::relaying;
use super::request::{self, Codec};
use super::tls::Tls;
use futures::io::BufReader;
use futures::{AsyncRead, AsyncWrite};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::transport::{Boxed, OrTransport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::kad::store::MemoryStore;
use libp2p::request_response::ProtocolSupport;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::tls::certificate::GenError;
use libp2p::{PeerId, StreamProtocol, Swarm, Transport, autonat, dcutr, dns, identify, kad, ping, quic, relay, request_response};
use libp2p::{swarm, tcp, upnp, yamux};
use prometheus_client::metrics::counter::Counter;
use std::sync::Arc;
use std::time::Duration;

/// What identifies a peer as one of ours, whatever network it follows: a node adopts its network after it is connected.
pub(super) const IDENTITY_PROTOCOL: &str = "/pyrsia/id/1";
const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new("/pyrsia/kad/1");

/// How much of all connections those may take that others made, in percent: the rest is for whom this node wants to reach.
const INCOMING_CONNECTIONS_PERCENT: u64 = 75;
/// Two nodes that dial each other at once, by TCP and QUIC, have four.
const CONNECTIONS_PER_PEER_MAX: u32 = 4;
const PENDING_OUTGOING_MAX: u32 = 64;
/// How long a connection may take from the first byte to a secured one with streams: strangers who say nothing would
/// otherwise hold all pending ones for ever, and a dial that nobody answers would never end.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams of a peer whose protocol is being negotiated.
const NEGOTIATING_STREAMS_MAX: usize = 128;
/// Of the 1 GiB window that yamux gives a connection, 256 KiB belong to each stream it may have, and what is left is what
/// fast streams may grow by: this many streams leave 16 MiB, which bounds what waits in memory for a slow reader.
const YAMUX_STREAMS_MAX: usize = 4_032;
/// How much of a TCP connection is read at once, in bytes: TLS asks for 4 KiB.
const READ_BYTES: usize = 64 << 10;
/// Connections stay: an idle one costs a ping.
const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the answer to a request may take, including a block that it waits for.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests of one connection that are worked on at once.
const REQUESTS_PER_CONNECTION_MAX: usize = 16;
const KAD_QUERY_TIMEOUT: Duration = Duration::from_secs(10);
const KAD_BOOTSTRAP_INTERVAL: Duration = Duration::from_secs(5 * 60);

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    /// The first: what it refuses nobody else hears of.
    pub(super) gate: Gate,
    handshakes: Handshakes,
    pub(super) limits: connection_limits::Behaviour,
    pub(super) identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(super) kad: kad::Behaviour<MemoryStore>,
    pub(super) requests: request_response::Behaviour<Codec>,
    pub(super) streams: libp2p_stream::Behaviour,
    pub(super) autonat: autonat::v1::Behaviour,
    relay: Toggle<relay::Behaviour>,
    relay_client: relay::client::Behaviour,
    hole_punching: dcutr::Behaviour,
    port_mapping: Toggle<upnp::tokio::Behaviour>,
}

/// `refused` counts the connections that the operator's rules end.
pub(super) fn build(
    key: &Keypair,
    max_provided_keys: usize,
    network: &NetworkConfig,
    refused: Counter,
) -> Result<Swarm<Behaviour>, GenError> {
    let config = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE_CONNECTION_MAX)
        .with_max_negotiating_inbound_streams(NEGOTIATING_STREAMS_MAX);
    let access = Arc::new(network.access.clone());
    let (carried, relay_client) = relay::client::new(key.public().to_peer_id());
    let tls = Tls::new(key)?;
    let carried = TransportTimeout::new(secured(carried, &tls), HANDSHAKE_TIMEOUT);
    let direct = resolved(|| GatedTransport { inner: tcp_and_quic(&tls, key), access: access.clone() });
    let transport = OrTransport::new(carried, direct).map(|either, _| either.into_inner()).boxed();
    let gate = Gate::new(access.clone(), refused);
    let behaviour = behaviour(key, max_provided_keys, network, gate, relay_client);
    Ok(Swarm::new(transport, behaviour, key.public().to_peer_id(), config))
}

type Connections = Boxed<(PeerId, StreamMuxerBox)>;

/// A transport that takes DNS names as well.
fn resolved(transport: impl Fn() -> GatedTransport) -> Connections {
    // A host without resolver configuration can still dial addresses.
    match dns::tokio::Transport::system(transport()) {
        Ok(transport) => transport.boxed(),
        Err(error) => {
            tracing::warn!(%error, "no resolver is configured: peers cannot be dialed by DNS name");
            let nobody = (dns::ResolverConfig::default(), dns::ResolverOpts::default());
            dns::tokio::Transport::custom(transport(), nobody.0, nobody.1).boxed()
        }
    }
}

/// TLS and yamux on a transport of bare bytes.
fn secured<T>(transport: T, tls: &Tls) -> Connections
where
    T: Transport<Output: AsyncRead + AsyncWrite + Send + Unpin + 'static> + Send + Unpin + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Error: Send + Sync + 'static,
{
    let mut streams = yamux::Config::default();
    streams.set_max_num_streams(YAMUX_STREAMS_MAX);
    let upgraded = transport.upgrade(Version::V1Lazy).authenticate(tls.clone()).multiplex(streams);
    upgraded.map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection))).boxed()
}

fn tcp_and_quic(tls: &Tls, key: &Keypair) -> Connections {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let tcp = secured(tcp.map(|socket, _| BufReader::with_capacity(READ_BYTES, socket)), tls);
    let quic = quic::tokio::Transport::new(quic::Config::new(key));
    let quic = quic.map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)));
    let either = OrTransport::new(quic, tcp).map(|either, _| either.into_inner());
    TransportTimeout::new(either, HANDSHAKE_TIMEOUT).boxed()
}

fn behaviour(
    key: &Keypair,
    max_provided_keys: usize,
    network: &NetworkConfig,
    gate: Gate,
    relay_client: relay::client::Behaviour,
) -> Behaviour {
    let me = key.public().to_peer_id();
    let incoming_max = u64::from(network.max_connections) * INCOMING_CONNECTIONS_PERCENT / 100;
    let limits = ConnectionLimits::default()
        .with_max_established(Some(network.max_connections))
        .with_max_established_incoming(Some(incoming_max as u32))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX))
        .with_max_pending_incoming(Some(PENDING_INCOMING_MAX as u32))
        .with_max_pending_outgoing(Some(PENDING_OUTGOING_MAX));
    let identity = identify::Config::new(IDENTITY_PROTOCOL.to_owned(), key.public())
        .with_agent_version(concat!("pyrsia/", env!("CARGO_PKG_VERSION")).to_owned())
        .with_push_listen_addr_updates(true);
    let records = provider_records::store_config(max_provided_keys);
    let mut table = kad::Config::new(KAD_PROTOCOL);
    table.set_query_timeout(KAD_QUERY_TIMEOUT).set_periodic_bootstrap_interval(Some(KAD_BOOTSTRAP_INTERVAL));
    // What peers want to leave here comes as an event, and is looked at before it is kept.
    table.set_record_filtering(kad::StoreInserts::FilterBoth);
    let mut kad = kad::Behaviour::with_config(me, MemoryStore::with_config(me, records), table);
    // Left to itself kad serves only once it knows a public address, and a private network would have no table at all.
    kad.set_mode(Some(kad::Mode::Server));
    let requests = request_response::Config::default()
        .with_request_timeout(REQUEST_TIMEOUT)
        .with_max_concurrent_streams(REQUESTS_PER_CONNECTION_MAX);
    let relay = (network.relaying == Relaying::On).then(|| relay::Behaviour::new(me, relaying::config()));
    let port_mapping = (network.port_mapping == PortMapping::On).then(upnp::tokio::Behaviour::default);
    Behaviour {
        gate,
        handshakes: Handshakes::default(),
        limits: connection_limits::Behaviour::new(limits),
        identify: identify::Behaviour::new(identity),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT)),
        kad,
        requests: request_response::Behaviour::with_codec(Codec, [(request::PROTOCOL, ProtocolSupport::Full)], requests),
        streams: libp2p_stream::Behaviour::new(),
        autonat: autonat::v1::Behaviour::new(me, autonat::v1::Config::default()),
        relay: relay.into(),
        relay_client,
        hole_punching: dcutr::Behaviour::new(me),
        port_mapping: port_mapping.into(),
    }
}
