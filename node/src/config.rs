//! What an operator decides about a node, with the default of each decision.
//!
//! It holds values only: words, environment and files are parsed by the program that starts the node.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libp2p::Multiaddr;
use pyrsia_ledger::NetworkId;
use url::Url;

use crate::consensus::ConsensusConfig;

/// A build that takes longer is cancelled, and this node abstains.
pub const BUILD_TIMEOUT: Duration = Duration::from_secs(3 * 60 * 60);
/// How often the pipeline is asked at first; the pause grows to five times this while a build goes on.
pub const PIPELINE_POLL: Duration = Duration::from_millis(200);
/// How long a pipeline that cannot be used is tried again before this node abstains from the build.
pub const PIPELINE_PATIENCE: Duration = Duration::from_secs(60);
/// Artifacts that this node announces in the distributed hash table, each under a key of its own.
pub const MAX_PROVIDED_KEYS: usize = 32_768;

/// Everything a node is started with.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// 64 raw bytes: secret and public ed25519 key. Made when it is not there.
    pub keypair_path: PathBuf,
    /// Artifacts, and what is remembered of running builds.
    pub artifact_path: PathBuf,
    pub ledger_path: PathBuf,
    /// A folder with verifier components besides those the program carries.
    pub verifiers_path: Option<PathBuf>,

    pub listen: Vec<Multiaddr>,
    /// Nodes to stay connected with; with or without `/p2p/<peer id>`.
    pub peers: Vec<Multiaddr>,
    /// Nodes that tell whether this one can be reached from outside.
    pub probe: Vec<Multiaddr>,
    /// Answers JSON with `peer_addrs`, as a node's `/status` does.
    pub bootstrap_url: Option<Url>,
    /// Dial nobody at start, neither peers nor what the bootstrap URL names.
    pub listen_only: bool,
    /// Replaces the address in what this node tells others about itself.
    pub external_ip: Option<Ipv4Addr>,
    pub max_provided_keys: usize,

    /// The name of the network to found when the ledger's folder holds none.
    pub init_network: Option<String>,
    /// The only network this node will follow.
    pub pinned_network: Option<NetworkId>,

    pub pipeline_endpoint: Url,
    pub build_timeout: Duration,
    pub pipeline_poll: Duration,
    pub pipeline_patience: Duration,

    pub consensus: ConsensusConfig,
}

impl NodeConfig {
    /// The defaults, with everything the node writes below `data_dir`.
    pub fn new(data_dir: &Path) -> Self {
        let any = |text: &str| text.parse::<Multiaddr>().expect("the constant is a multiaddress");
        Self {
            keypair_path: data_dir.join("keypair"),
            artifact_path: data_dir.to_owned(),
            ledger_path: data_dir.join("ledger"),
            verifiers_path: None,
            listen: vec![any("/ip4/0.0.0.0/tcp/0"), any("/ip4/0.0.0.0/udp/0/quic-v1")],
            peers: vec![],
            probe: vec![],
            bootstrap_url: None,
            listen_only: false,
            external_ip: None,
            max_provided_keys: MAX_PROVIDED_KEYS,
            init_network: None,
            pinned_network: None,
            pipeline_endpoint: Url::parse("http://localhost:8080").expect("the constant is a URL"),
            build_timeout: BUILD_TIMEOUT,
            pipeline_poll: PIPELINE_POLL,
            pipeline_patience: PIPELINE_PATIENCE,
            consensus: ConsensusConfig::default(),
        }
    }
}
