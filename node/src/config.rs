//! What an operator decides about a node, with the default of each decision.
//!
//! It holds values only: words, environment and files are parsed by the program that starts the node.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libp2p::Multiaddr;
use pyrsia_ledger::NetworkId;
use pyrsia_verifiers::Compiler;
use url::Url;

use crate::bucket::BucketConfig;
use crate::consensus::ConsensusConfig;
use crate::p2p::NetworkConfig;

/// A build that takes longer is cancelled, and this node abstains.
pub const BUILD_TIMEOUT: Duration = Duration::from_secs(3 * 60 * 60);
/// How often the pipeline is asked at first; the pause grows to five times this while a build goes on.
pub const PIPELINE_POLL: Duration = Duration::from_millis(200);
/// How long a pipeline that cannot be used is tried again before this node abstains from the build.
pub const PIPELINE_PATIENCE: Duration = Duration::from_secs(60);
/// Artifacts that this node announces in the distributed hash table, each under a key of its own.
pub const MAX_PROVIDED_KEYS: usize = 32_768;

/// How often every stored artifact is read again: a disk that loses bits seldom does so twice in that time.
pub const SCRUB_INTERVAL: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How much a scrub reads in a second: a terabyte in eighteen hours, beside everything else that a disk does.
pub const SCRUB_BYTES_PER_SECOND: u64 = 16 << 20;

/// How the store is looked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// The most bytes that artifacts from other nodes may bring the store to; none: as much as the disk has.
    pub artifact_budget: Option<u64>,
    /// How often every stored artifact is read again; none: only on demand.
    pub scrub_interval: Option<Duration>,
    pub scrub_bytes_per_second: u64,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self { artifact_budget: None, scrub_interval: Some(SCRUB_INTERVAL), scrub_bytes_per_second: SCRUB_BYTES_PER_SECOND }
    }
}

/// How long a judge waits for the others in each phase of a build, and for its turn. No rule: nodes may differ in it, and an
/// absolute majority of the judges decides when a phase is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JudgePatience {
    /// How long those who are slower have at least to commit, once a majority has.
    pub commit_grace: Duration,
    /// They have as much of the time that the majority took, if that is more: one part in so many.
    pub commit_grace_share: u64,
    /// How long after its own build time-out a judge waits for a majority to commit.
    pub silence: Duration,
    pub reveal: Duration,
    /// How long beyond its own build time-out a phase lasts before an authorized node that is no judge ends it as well.
    pub outsider: Duration,
    /// How long the judges have to vouch for a candidate, besides the time to move its bytes.
    pub vouch: Duration,
    /// The slowest transfer that is waited for.
    pub vouch_bytes_per_second: u64,
    /// How long each agreeing judge leaves the publication to the one before it.
    pub publish_rank: Duration,
    /// How long each judge leaves the report of a dispute to the one before it.
    pub dispute_rank: Duration,
    /// How long a closed build's artifacts that were not published are kept for others to compare.
    pub keep_unpublished: Duration,
}

impl Default for JudgePatience {
    fn default() -> Self {
        Self {
            commit_grace: Duration::from_secs(30),
            commit_grace_share: 2,
            silence: Duration::from_secs(5 * 60),
            reveal: Duration::from_secs(60),
            outsider: Duration::from_secs(24 * 60 * 60),
            vouch: Duration::from_secs(10 * 60),
            vouch_bytes_per_second: 1 << 20,
            publish_rank: Duration::from_secs(5),
            dispute_rank: Duration::from_secs(30),
            keep_unpublished: Duration::from_secs(60 * 60),
        }
    }
}

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
    /// What compiles verifiers; none: the process of the node.
    pub verifier_compiler: Option<Compiler>,
    pub storage: StorageConfig,
    /// A larger tier behind the store.
    pub bucket: Option<BucketConfig>,

    pub listen: Vec<Multiaddr>,
    /// Nodes to stay connected with; with or without `/p2p/<peer id>`.
    pub peers: Vec<Multiaddr>,
    /// Nodes that tell whether this one can be reached from outside.
    pub probe: Vec<Multiaddr>,
    /// Answers JSON with `peer_addrs`, as a node's `/status` does.
    pub bootstrap_url: Option<Url>,
    /// Dial nobody at start, neither peers nor what the bootstrap URL names, nor who was reached before.
    pub listen_only: bool,
    /// Replaces the address in what this node tells others about itself.
    pub external_ip: Option<Ipv4Addr>,
    pub max_provided_keys: usize,
    pub network: NetworkConfig,

    /// The name of the network to found when the ledger's folder holds none.
    pub init_network: Option<String>,
    /// The only network this node will follow.
    pub pinned_network: Option<NetworkId>,

    pub pipeline_endpoint: Url,
    /// Says what packages are built from, before the pipeline's own mapping is asked.
    pub mapping_service: Option<Url>,
    pub build_timeout: Duration,
    pub pipeline_poll: Duration,
    pub pipeline_patience: Duration,
    pub judge_patience: JudgePatience,

    /// How agreement runs. Its `after_loss` is what a validator does that comes back without its ledger.
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
            verifier_compiler: None,
            storage: StorageConfig::default(),
            bucket: None,
            listen: vec![any("/ip4/0.0.0.0/tcp/0"), any("/ip4/0.0.0.0/udp/0/quic-v1")],
            peers: vec![],
            probe: vec![],
            bootstrap_url: None,
            listen_only: false,
            external_ip: None,
            max_provided_keys: MAX_PROVIDED_KEYS,
            network: NetworkConfig::default(),
            init_network: None,
            pinned_network: None,
            pipeline_endpoint: Url::parse("http://localhost:8080").expect("the constant is a URL"),
            mapping_service: None,
            build_timeout: BUILD_TIMEOUT,
            pipeline_poll: PIPELINE_POLL,
            pipeline_patience: PIPELINE_PATIENCE,
            judge_patience: JudgePatience::default(),
            consensus: ConsensusConfig::default(),
        }
    }
}
