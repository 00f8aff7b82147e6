//! What a node gives other nodes, whom it talks to, and how it is reached behind a NAT.

use super::switch::Switch;
use crate::size;
use clap::{Args, value_parser};
use pyrsia_node::p2p::{CONNECTIONS, CONNECTIONS_MAX, CONNECTIONS_MIN, Distribution, PeerRule, PortMapping, Rate, Relaying};
use pyrsia_node::{Multiaddr, NodeConfig};

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Peers")]
pub struct NetworkArguments {
    /// The most bytes of artifacts that other nodes get in a second, all together, such as 5MB; at least 128KiB. The ledger is never
    /// slowed down. A judge whose artifacts come slower than 1MiB a second may find that the others did not wait [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = upload_rate)]
    pub upload_rate: Option<OptionalRate>,
    /// The most bytes of artifacts that are fetched from other nodes in a second; at least 512KiB [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = download_rate)]
    pub download_rate: Option<OptionalRate>,
    /// Serve artifacts to other nodes, and announce them. With off, an authorized node still serves what judges compare and what
    /// the ledger appoints it to keep: others have let theirs go for that
    #[arg(long, value_name = "SWITCH", value_enum, default_value_t = Switch::On)]
    pub distribution: Switch,
    /// Talk only to this node, or to nodes at these addresses, beside the authorized nodes of the network: a peer id, an IP address,
    /// or a network such as 192.0.2.0/24; may be repeated
    #[arg(long, value_name = "PEER_ID|CIDR")]
    pub allow_peer: Vec<PeerRule>,
    /// Never talk to this node, or to nodes at these addresses, not even to those that are allowed or authorized; may be repeated
    #[arg(long, value_name = "PEER_ID|CIDR")]
    pub deny_peer: Vec<PeerRule>,
    /// The most connections with other nodes; a quarter is left for those this node makes, and authorized nodes get in beyond them
    #[arg(long, value_name = "N", default_value_t = CONNECTIONS, value_parser = value_parser!(u32).range(i64::from(CONNECTIONS_MIN)..=i64::from(CONNECTIONS_MAX)), hide_short_help = true)]
    pub max_connections: u32,
    /// Carry connections of nodes that cannot reach each other. Only for a node that everybody can reach
    #[arg(long, value_name = "SWITCH", value_enum, default_value_t = Switch::Off)]
    pub relay: Switch,
    /// Relay through which others can reach this node, e.g. /ip4/192.0.2.1/tcp/44000/p2p/12D3Koo…; may be repeated. Not used while
    /// this node is known to be reachable without
    #[arg(long, value_name = "MULTIADDR", value_parser = relay_address)]
    pub relay_address: Vec<Multiaddr>,
    /// Ask the gateway to forward ports to this node (UPnP)
    #[arg(long, value_name = "SWITCH", value_enum, default_value_t = Switch::Off)]
    pub upnp: Switch,
}

/// A rate, or the 0 that means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionalRate(Option<Rate>);

fn upload_rate(text: &str) -> Result<OptionalRate, String> {
    optional(text, |bytes| Rate::upload(bytes).map_err(|error| error.to_string()))
}

fn download_rate(text: &str) -> Result<OptionalRate, String> {
    optional(text, |bytes| Rate::download(bytes).map_err(|error| error.to_string()))
}

fn optional(text: &str, rate: impl Fn(u64) -> Result<Rate, String>) -> Result<OptionalRate, String> {
    match size::parse(text)? {
        0 => Ok(OptionalRate(None)),
        bytes => rate(bytes).map(|rate| OptionalRate(Some(rate))),
    }
}

fn relay_address(text: &str) -> Result<Multiaddr, String> {
    let address: Multiaddr = text.parse().map_err(|error| format!("{error}"))?;
    let names_one_node = text.matches("/p2p/").count() == 1 && !text.ends_with("/p2p-circuit");
    let ends_with_it = text.rsplit('/').nth(1) == Some("p2p");
    if names_one_node && ends_with_it {
        Ok(address)
    } else {
        Err("the address of a relay ends in /p2p/ and its peer id".to_owned())
    }
}

impl NetworkArguments {
    pub(super) fn apply(&self, config: &mut NodeConfig) {
        let network = &mut config.network;
        network.upload_rate = self.upload_rate.and_then(|rate| rate.0);
        network.download_rate = self.download_rate.and_then(|rate| rate.0);
        network.distribution = if self.distribution == Switch::On { Distribution::On } else { Distribution::Off };
        network.access.allow = self.allow_peer.clone();
        network.access.deny = self.deny_peer.clone();
        network.max_connections = self.max_connections;
        network.relaying = if self.relay == Switch::On { Relaying::On } else { Relaying::Off };
        network.relays = self.relay_address.clone();
        network.port_mapping = if self.upnp == Switch::On { PortMapping::On } else { PortMapping::Off };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use pyrsia_node::p2p::NetworkConfig;
    use std::path::Path;

    const RELAY: &str = "/ip4/192.0.2.1/tcp/44000/p2p/12D3KooWBgWeXNT1EKXo2omRhZVmkbvPgzZ5BcGjTfgKr586BSAn";

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        network: NetworkArguments,
    }

    fn told(line: &str) -> Result<NetworkConfig, String> {
        let mut config = NodeConfig::new(Path::new("/data"));
        let line = Line::try_parse_from(format!("pyrsia_node {line}").split_whitespace()).map_err(|error| error.to_string())?;
        line.network.apply(&mut config);
        Ok(config.network)
    }

    #[test]
    fn the_defaults_are_those_of_the_node() {
        assert_eq!(told(""), Ok(NetworkConfig::default()));
        assert_eq!(
            told("--upload-rate 0 --download-rate 0 --distribution on --relay off --upnp off"),
            Ok(NetworkConfig::default())
        );
    }

    #[test]
    fn what_is_asked_reaches_the_node() {
        let line = format!(
            "--upload-rate 5MB --download-rate 1MiB --distribution off --allow-peer 10.0.0.0/8 --allow-peer 2001:db8::1 --deny-peer 10.6.6.6 \
             --max-connections 64 --relay on --relay-address {RELAY} --upnp on"
        );
        let told = told(&line).expect("it can be read");
        assert_eq!(told.upload_rate.map(Rate::bytes_per_second), Some(5_000_000));
        assert_eq!(told.download_rate.map(Rate::bytes_per_second), Some(1 << 20));
        assert_eq!((told.access.allow.len(), told.access.deny[0].to_string()), (2, "10.6.6.6/32".to_owned()));
        assert_eq!((told.distribution, told.relaying, told.port_mapping), (Distribution::Off, Relaying::On, PortMapping::On));
        assert_eq!((told.max_connections, told.relays[0].to_string()), (64, RELAY.to_owned()));
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        for (line, sentence) in [
            ("--upload-rate 1KB", "other nodes would give up on a transfer, so the least is 131072"),
            ("--download-rate 100KB", "the least is 524288"),
            ("--upload-rate fast", "is no size"),
            ("--allow-peer example.org", "192.0.2.0/24"),
            ("--deny-peer 10.0.0.0/33", "192.0.2.0/24"),
            ("--max-connections 1", "8..=16384"),
            ("--relay-address /ip4/192.0.2.1/tcp/44000", "ends in /p2p/ and its peer id"),
            ("--distribution maybe", "[possible values: on, off]"),
        ] {
            let error = told(line).expect_err(line);
            assert!(error.contains(sentence), "{line}: {error}");
        }
        assert!(told(&format!("--relay-address {RELAY}/p2p-circuit")).is_err());
    }
}
