//! The settings of `pyrsia_node`, each one argument, and the node configuration that follows from them.
//!
//! The module `configuration` gives every argument an environment variable and a key in the file by itself.

use super::bucket::BucketArguments;
use super::compiling;
use super::configuration::ConfigCommand;
use super::folders::FolderArguments;
use super::health::HealthArguments;
use super::network::NetworkArguments;
use super::storage::StorageArguments;
use super::telemetry::TelemetryArguments;
use super::waits::WaitArguments;
use crate::arguments::VERSION;
use crate::exit;
use crate::logging::LogFormat;
use clap::{ArgAction, Parser, Subcommand};
use pyrsia_ledger::{NetworkId, Sha256Digest};
use pyrsia_node::consensus::AfterLoss;
use pyrsia_node::{Multiaddr, NodeConfig};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use url::Url;

// Each heading is a section of the configuration file as well; what follows in parentheses is not.
const HTTP: &str = "HTTP";
const NETWORK: &str = "Network";
const LEDGER: &str = "Ledger";
const BUILDS: &str = super::waits::HEADING;
const LOGGING: &str = "Logging";

const SETTINGS_HELP: &str = "Settings:
  Every option but --config and --rejoin-without-journal can also be given by an environment
  variable (PYRSIA_ARTIFACT_PATH for --artifact-path, several values with commas; DEV_MODE for
  --dev-mode, PYRSIA_NODE_BUILD_TIMEOUT for --build-timeout) and in the file of --config, which
  'pyrsia_node config example' shows. A flag wins over a variable, a variable over the file.
  RUST_LOG says what is logged, e.g. pyrsia=debug";

#[derive(Debug, Parser)]
#[command(name = "pyrsia_node", version = VERSION, about = "A node of the decentralized package network")]
#[command(disable_help_flag = true, subcommand_precedence_over_arg = true, after_help = format!("{SETTINGS_HELP}\n\n{}", exit::HELP))]
pub struct NodeArguments {
    /// TOML file with settings. Without it none is read
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// IPv4 or IPv6 address that the HTTP side (registry, API) listens on
    #[arg(help_heading = HTTP, short = 'H', long, value_name = "HOST", default_value = "127.0.0.1", value_parser = host)]
    pub host: IpAddr,
    /// Port of the HTTP side; 0 takes a free one
    #[arg(help_heading = HTTP, short, long, value_name = "PORT", default_value_t = 7888)]
    pub port: u16,
    /// Address clients reach the HTTP side at, where a proxy stands before it: links in package documents begin with it
    #[arg(help_heading = HTTP, long, value_name = "URL", value_parser = public_url)]
    pub public_url: Option<Url>,
    /// Address the node listens on for other nodes; may be repeated
    #[arg(help_heading = NETWORK, short = 'L', long, value_name = "MULTIADDR", default_values = ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"])]
    pub listen: Vec<Multiaddr>,
    /// Node to stay connected with, e.g. /ip4/127.0.0.1/tcp/44000/p2p/12D3Koo…; may be repeated
    #[arg(help_heading = NETWORK, short = 'P', long, value_name = "MULTIADDR")]
    pub peer: Vec<Multiaddr>,
    /// Node to ask whether this one can be reached from outside; may be repeated
    #[arg(help_heading = NETWORK, short = 'R', long, value_name = "MULTIADDR")]
    pub probe: Vec<Multiaddr>,
    /// The /status of a node of the network, to find it by. There is no default: the node contacts nobody it was not told of
    #[arg(help_heading = NETWORK, short = 'B', long, value_name = "URL", value_parser = http_url)]
    pub bootstrap_url: Option<Url>,
    /// IPv4 address that other nodes are told
    #[arg(help_heading = NETWORK, long, value_name = "ADDRESS")]
    pub external_ip: Option<Ipv4Addr>,
    /// Wait for others to connect and dial nobody
    #[arg(help_heading = NETWORK, long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value_t = false, hide_default_value = true, hide_possible_values = true, action = ArgAction::Set)]
    pub listen_only: bool,
    /// Found a network when the ledger's folder holds none; only the first build node does this
    #[arg(help_heading = LEDGER, long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value_t = false, hide_default_value = true, hide_possible_values = true, action = ArgAction::Set)]
    pub init_blockchain: bool,
    /// Name of the network that --init-blockchain founds
    #[arg(help_heading = LEDGER, long, value_name = "NAME", default_value = "pyrsia")]
    pub network_name: String,
    /// The only network to follow: its id, as /status of its nodes shows it
    #[arg(help_heading = LEDGER, long, value_name = "ID", value_parser = network_id)]
    pub network_id: Option<NetworkId>,
    /// Let this node vote again although its ledger, and with it the votes it cast, is gone. Without this it waits until no vote can
    /// contradict an earlier one, which a network of up to three authorized nodes never gets to. DANGER: two different votes of
    /// one node are proved against it, and end its authorization for good. Use it only when this node was stopped before the
    /// others made their newest block
    #[arg(help_heading = LEDGER, long)]
    pub rejoin_without_journal: bool,
    /// The most artifacts this node announces to others
    #[arg(help_heading = NETWORK, long, value_name = "N", default_value_t = pyrsia_node::config::MAX_PROVIDED_KEYS)]
    pub max_provided_keys: usize,
    /// Service that says what packages are built from; it is asked at {URL}/Maven2/org/example/demo/1.0/demo-1.0.mapping, and likewise for
    /// other types. What it does not know is left to the mapping of the pipeline
    #[arg(help_heading = BUILDS, long, value_name = "URL", value_parser = http_url)]
    pub mapping_service_endpoint: Option<Url>,
    /// The build pipeline of this node
    #[arg(help_heading = BUILDS, long, value_name = "URL", default_value = "http://localhost:8080", value_parser = http_url)]
    pub pipeline_service_endpoint: Url,
    /// The form of the log on stderr
    #[arg(help_heading = LOGGING, long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Print help; -h prints less of it
    #[arg(short = 'h', long, global = true, action = ArgAction::Help)]
    pub help: Option<bool>,
    #[command(flatten)]
    pub folders: FolderArguments,
    #[command(flatten)]
    pub network: NetworkArguments,
    #[command(flatten)]
    pub storage: StorageArguments,
    #[command(flatten)]
    pub bucket: BucketArguments,
    #[command(flatten)]
    pub waits: WaitArguments,
    #[command(flatten)]
    pub telemetry: TelemetryArguments,
    #[command(subcommand)]
    pub command: Option<NodeCommand>,
}

#[derive(Clone, Debug, Subcommand)]
pub enum NodeCommand {
    /// Check, show and describe the settings, and start nothing
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask a running node how it is; the exit code is 1 when it is not well
    Health(HealthArguments),
}

impl NodeArguments {
    pub(super) fn node_config(&self) -> NodeConfig {
        let folders = self.folders.folders();
        let mut config = NodeConfig::new(&folders.artifact_path);
        config.keypair_path = folders.keypair_path;
        config.ledger_path = folders.ledger_path;
        config.verifiers_path = Some(folders.verifiers_path);
        config.verifier_compiler = compiling::compiler();
        config.external_ip = self.external_ip;
        config.listen = self.listen.clone();
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
        self.network.apply(&mut config);
        self.storage.apply(&mut config);
        self.bucket.apply(&mut config);
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

pub(super) fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; a URL is written like http://localhost:8080"))?;
    if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err("only http and https URLs can be used".to_owned()) }
}

/// Everybody sees it.
fn public_url(text: &str) -> Result<Url, String> {
    without_user(http_url(text)?, "every client is told this URL")
}

/// The URL, unless it holds a user or a password; why it must not, otherwise.
pub(super) fn without_user(url: Url, reason: &str) -> Result<Url, String> {
    let is_plain = url.username().is_empty() && url.password().is_none();
    if is_plain { Ok(url) } else { Err(format!("a user or a password stands in it: {reason}")) }
}

fn network_id(text: &str) -> Result<NetworkId, String> {
    text.parse::<Sha256Digest>().map(NetworkId::new).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

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
        let line =
            "pyrsia_node --init-blockchain --network-name home --max-provided-keys 5 --artifact-path /data --keypair /data/key";
        let config = parse(line).unwrap().node_config();
        assert_eq!(config.init_network.as_deref(), Some("home"));
        assert_eq!((config.max_provided_keys, config.listen.len()), (5, 2));
        assert_eq!((config.keypair_path, config.ledger_path), (PathBuf::from("/data/key"), PathBuf::from("/data/blockchain")));
        assert!(parse("pyrsia_node --network-name home").unwrap().node_config().init_network.is_none());
        assert!(parse("pyrsia_node --external-ip here").is_err());
    }
}
