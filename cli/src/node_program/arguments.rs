//! The command line of `pyrsia_node`, and the node configuration that follows from it and the environment.

use super::environment::Environment;
use super::storage::StorageArguments;
use super::waits::WaitArguments;
use crate::arguments::VERSION;
use crate::exit;
use crate::logging::LogFormat;
use clap::{ArgAction, Parser};
use pyrsia_ledger::{NetworkId, Sha256Digest};
use pyrsia_node::consensus::AfterLoss;
use pyrsia_node::{Multiaddr, NodeConfig};
use std::net::IpAddr;
use url::Url;

const ENVIRONMENT_HELP: &str = "Environment:
  RUST_LOG                what is logged, e.g. pyrsia=debug
  DEV_MODE                on: create folders that are missing
  PYRSIA_ARTIFACT_PATH    folder of the artifacts and all else the node keeps [default: pyrsia]
  PYRSIA_BLOCKCHAIN_PATH  folder of the ledger [default: <artifact path>/blockchain]
  PYRSIA_VERIFIERS_PATH   folder of further verifiers [default: <artifact path>/verifiers]
  PYRSIA_KEYPAIR          file of the node's key [default: <artifact path>/p2p_keypair.ser]
  PYRSIA_ARTIFACT_BUDGET  what artifacts from other nodes may bring the store to, e.g. 500GB [default: no bound]
  PYRSIA_EXTERNAL_IP      IPv4 address that other nodes are told";

#[derive(Debug, Parser)]
#[command(name = "pyrsia_node", version = VERSION, about = "A node of the decentralized package network")]
#[command(disable_help_flag = true, after_help = format!("{ENVIRONMENT_HELP}\n\n{}", exit::HELP))]
pub struct NodeArguments {
    /// IPv4 or IPv6 address that the HTTP side (registry, API) listens on
    #[arg(short = 'H', long, value_name = "HOST", default_value = "127.0.0.1", value_parser = host)]
    pub host: IpAddr,
    /// Port of the HTTP side; 0 takes a free one
    #[arg(short, long, value_name = "PORT", default_value_t = 7888)]
    pub port: u16,
    /// Address clients reach the HTTP side at, where a proxy stands before it: links in package documents begin with it
    #[arg(long, value_name = "URL", value_parser = http_url)]
    pub public_url: Option<Url>,
    /// Address the node listens on for other nodes; may be repeated
    /// [default: /ip4/0.0.0.0/tcp/0 and /ip4/0.0.0.0/udp/0/quic-v1]
    #[arg(short = 'L', long, value_name = "MULTIADDR")]
    pub listen: Vec<Multiaddr>,
    /// Node to stay connected with, e.g. /ip4/127.0.0.1/tcp/44000/p2p/12D3Koo…; may be repeated
    #[arg(short = 'P', long, value_name = "MULTIADDR")]
    pub peer: Vec<Multiaddr>,
    /// Node to ask whether this one can be reached from outside; may be repeated
    #[arg(short = 'R', long, value_name = "MULTIADDR")]
    pub probe: Vec<Multiaddr>,
    /// The /status of a node of the network, to find it by. There is no default: the node contacts nobody it was not told of
    #[arg(short = 'B', long, value_name = "URL", value_parser = http_url)]
    pub bootstrap_url: Option<Url>,
    /// Wait for others to connect and dial nobody
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value_t = false, hide_default_value = true, hide_possible_values = true, action = ArgAction::Set)]
    pub listen_only: bool,
    /// Found a network when the ledger's folder holds none; only the first build node does this
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value_t = false, hide_default_value = true, hide_possible_values = true, action = ArgAction::Set)]
    pub init_blockchain: bool,
    /// Name of the network that --init-blockchain founds
    #[arg(long, value_name = "NAME", default_value = "pyrsia")]
    pub network_name: String,
    /// The only network to follow: its id, as /status of its nodes shows it
    #[arg(long, value_name = "ID", value_parser = network_id)]
    pub network_id: Option<NetworkId>,
    /// Let this node vote again although its ledger, and with it the votes it cast, is gone. Without this it waits until no vote can
    /// contradict an earlier one, which a network of up to three authorized nodes never gets to. DANGER: two different votes of
    /// one node are proved against it, and end its authorization for good. Use it only when this node was stopped before the
    /// others made their newest block
    #[arg(long)]
    pub rejoin_without_journal: bool,
    /// The most artifacts this node announces to others
    #[arg(long, value_name = "N", default_value_t = pyrsia_node::config::MAX_PROVIDED_KEYS)]
    pub max_provided_keys: usize,
    /// Service that says what packages are built from; it is asked at {URL}/Maven2/org/example/demo/1.0/demo-1.0.mapping, and likewise for
    /// other types. What it does not know is left to the mapping of the pipeline
    #[arg(long, value_name = "URL", value_parser = http_url)]
    pub mapping_service_endpoint: Option<Url>,
    /// The build pipeline of this node
    #[arg(long, value_name = "URL", default_value = "http://localhost:8080", value_parser = http_url)]
    pub pipeline_service_endpoint: Url,
    /// The form of the log on stderr
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Print help; -h prints less of it
    #[arg(short = 'h', long, action = ArgAction::Help)]
    pub help: Option<bool>,
    #[command(flatten)]
    pub storage: StorageArguments,
    #[command(flatten)]
    pub waits: WaitArguments,
}

impl NodeArguments {
    pub(super) fn node_config(&self, environment: &Environment) -> NodeConfig {
        let mut config = NodeConfig::new(&environment.artifact_path);
        config.keypair_path = environment.keypair_path.clone();
        config.ledger_path = environment.ledger_path.clone();
        config.verifiers_path = Some(environment.verifiers_path.clone());
        config.external_ip = environment.external_ip;
        if !self.listen.is_empty() {
            config.listen = self.listen.clone();
        }
        config.peers = self.peer.clone();
        config.probe = self.probe.clone();
        config.bootstrap_url = self.bootstrap_url.clone();
        config.listen_only = self.listen_only;
        config.init_network = self.init_blockchain.then(|| self.network_name.clone());
        config.pinned_network = self.network_id;
        config.consensus.after_loss = if self.rejoin_without_journal { AfterLoss::Rejoin } else { AfterLoss::Wait };
        config.max_provided_keys = self.max_provided_keys;
        config.pipeline_endpoint = self.pipeline_service_endpoint.clone();
        config.mapping_service = self.mapping_service_endpoint.clone();
        self.storage.apply(environment, &mut config);
        self.waits.apply(&mut config);
        config
    }
}

/// An address, or the name that everybody uses for this machine.
fn host(text: &str) -> Result<IpAddr, String> {
    match text {
        "localhost" => Ok(IpAddr::from([127, 0, 0, 1])),
        text => text.parse().map_err(|_| "not an IPv4 or IPv6 address such as 127.0.0.1 or ::1".to_owned()),
    }
}

fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; a URL is written like http://localhost:8080"))?;
    if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err("only http and https URLs can be used".to_owned()) }
}

fn network_id(text: &str) -> Result<NetworkId, String> {
    text.parse::<Sha256Digest>().map(NetworkId::new).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::path::PathBuf;

    fn parse(line: &str) -> Result<NodeArguments, clap::Error> {
        NodeArguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_holds_together() {
        NodeArguments::command().debug_assert();
    }

    #[test]
    fn the_lines_of_the_tutorials_are_understood() {
        let first =
            parse("pyrsia_node --pipeline-service-endpoint http://localhost:8080 -p 7889 --listen-only --init-blockchain")
                .unwrap();
        assert_eq!((first.port, first.listen_only, first.init_blockchain), (7889, true, true));
        let older = parse("pyrsia_node --listen-only true --init-blockchain true -H 0.0.0.0 -L /ip4/0.0.0.0/tcp/44000").unwrap();
        assert!(older.listen_only && older.init_blockchain && older.listen.len() == 1);
        let peer = "/ip4/127.0.0.1/tcp/56662/p2p/12D3KooWBgWeXNT1EKXo2omRhZVmkbvPgzZ5BcGjTfgKr586BSAn";
        let second = parse(&format!("pyrsia_node --peer {peer}")).unwrap();
        assert_eq!((second.host.to_string(), second.port, second.peer[0].to_string()), ("127.0.0.1".into(), 7888, peer.into()));
        assert!(!second.listen_only && !second.init_blockchain && second.bootstrap_url.is_none());
        assert!(parse("pyrsia_node -H ::1").is_ok_and(|arguments| arguments.host.is_ipv6()));
    }

    #[test]
    fn mistakes_are_refused_before_anything_starts() {
        for line in
            ["-H nowhere", "--peer nowhere", "-p 65536", "--bootstrap-url boot.example", "--network-id 12", "--listen-only maybe"]
        {
            assert!(parse(&format!("pyrsia_node {line}")).is_err(), "{line}");
        }
    }

    #[test]
    fn what_is_asked_reaches_the_node() {
        let environment = Environment {
            artifact_path: PathBuf::from("/data"),
            artifact_path_is_given: true,
            ledger_path: PathBuf::from("/data/blockchain"),
            keypair_path: PathBuf::from("/data/key"),
            verifiers_path: PathBuf::from("/data/verifiers"),
            external_ip: Some([192, 0, 2, 1].into()),
            create_folders: false,
            artifact_budget: None,
        };
        let config =
            parse("pyrsia_node --init-blockchain --network-name home --max-provided-keys 5").unwrap().node_config(&environment);
        assert_eq!(config.init_network.as_deref(), Some("home"));
        assert_eq!((config.max_provided_keys, config.listen.len()), (5, 2));
        assert_eq!((config.keypair_path, config.ledger_path), (PathBuf::from("/data/key"), PathBuf::from("/data/blockchain")));
        assert!(parse("pyrsia_node --network-name home").unwrap().node_config(&environment).init_network.is_none());
    }
}
