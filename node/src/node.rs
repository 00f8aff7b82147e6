//! A node from start to stop: which part is started when, who holds whom, and how all of it ends.
//!
//! Owns every task. They are started in the order of their needs (key, store, ledger, consensus, network, builds) and stopped in
//! the opposite one; each leaves its files whole, so a stop is as good as a kill and only more polite.

use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use prometheus_client::registry::Registry;
use pyrsia_ledger::Sha256Digest;
use pyrsia_ledger::log::LogError;
use pyrsia_ledger::signed::node_id_of;
use pyrsia_verifiers::{CompiledModules, Compiler, HostError, HostOptions, Limits, SetError, VerifierHost};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::artifacts::{ArtifactStore, FolderLock, StoreError};
use crate::bucket::{self, Bucket, OpenBucketError};
use crate::builds::{Builds, BuildsError, Neighbours};
use crate::config::NodeConfig;
use crate::consensus::{self, Consensus, ConsensusFailure, ConsensusTask, FoundError, NodeStore, OpenStoreError, snapshots};
use crate::handle::{NodeHandle, Parts};
use crate::identity::{self, IdentityError};
use crate::metrics::{Gauges, NodeMetrics};
use crate::mounts::documents::Documents;
use crate::p2p::{P2p, P2pConfig, P2pError, P2pTask};
use crate::package_types::PackageTypes;
use crate::storage::Scrubbing;
use crate::verifiers::{OpenedVerifiers, Verifiers};
use crate::{bootstrap, verifier_approval};

/// Frames of consensus that wait for the network.
const OUTGOING_FRAMES_MAX: usize = 1024;
/// Requests of peers that wait for an answer to be begun.
const PEER_REQUESTS_MAX: usize = 128;
/// Where nodes that this one reached are remembered, in its folder.
const KNOWN_PEERS_FILE: &str = "known_peers.json";
/// How long the tasks may take to end before they are cut off.
const STOP_WAIT: Duration = Duration::from_secs(10);
/// How long after a task's end it may show that the consensus ended before it.
const CAUSE_WAIT: Duration = Duration::from_secs(1);

/// The engine and its compiled components are one for all nodes of a process: compiling is most of a start.
static VERIFIER_HOST: OnceLock<VerifierHost> = OnceLock::new();

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bucket(#[from] OpenBucketError),
    #[error(transparent)]
    Ledger(#[from] OpenStoreError),
    #[error(transparent)]
    Consensus(#[from] consensus::StartError),
    #[error("the network {name} cannot be founded")]
    Found {
        name: String,
        #[source]
        source: FoundError,
    },
    #[error("verifiers cannot be run")]
    VerifierHost(#[from] HostError),
    #[error(transparent)]
    Verifiers(#[from] SetError),
    #[error(transparent)]
    P2p(#[from] P2pError),
    #[error(transparent)]
    Builds(#[from] BuildsError),
    #[error("the bootstrap URL cannot be asked")]
    Bootstrap(#[from] reqwest::Error),
    #[error("a part of the node crashed while it was started")]
    Crashed(#[from] JoinError),
}

/// Why a running node cannot go on. Its folder is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum FatalError {
    #[error("the ledger of this node cannot be continued")]
    Consensus(#[from] ConsensusFailure),
    #[error(transparent)]
    Ledger(#[from] LogError),
    #[error("a part of the node ended without being asked to")]
    Ended,
}

pub struct Node {
    handle: NodeHandle,
    stop: CancellationToken,
    consensus: ConsensusTask,
    /// What is found wrong with the ledger after the start.
    damaged: oneshot::Receiver<LogError>,
    p2p: P2pTask,
    tasks: JoinSet<()>,
    _folder: FolderLock,
}

impl Node {
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        // What blocks on the disk or compiles is done on a thread that may.
        let opened = tokio::task::spawn_blocking({
            let config = config.clone();
            move || open(&config)
        });
        let Opened { folder, key, store, mut ledger, state, verifiers } = opened.await??;
        let me = node_id_of(&key);
        let bucket = match &config.bucket {
            Some(bucket) => Some(Bucket::open(bucket, &config.artifact_path).await?),
            None => None,
        };
        let (covered, tree) = (ledger.take_covered(), ledger.tree());

        let (outgoing, frames) = mpsc::channel(OUTGOING_FRAMES_MAX);
        let (consensus, consensus_task) = Consensus::start(
            key.clone(),
            ledger,
            state,
            consensus::ConsensusConfig {
                pinned_network: config.pinned_network.or(config.consensus.pinned_network),
                ..config.consensus.clone()
            },
            outgoing,
        )?;
        if let Some(name) = &config.init_network {
            let founded = consensus.found(name.clone()).await;
            let network = founded.map_err(|source| StartError::Found { name: name.clone(), source })?;
            tracing::info!(%network, name, "this node founded the network");
        }

        let log_key = key.clone();
        let mut registry = Registry::default();
        let gauges = Gauges::register(&mut registry);
        let (requests, peer_requests) = mpsc::channel(PEER_REQUESTS_MAX);
        let dialed = |addresses: &Vec<_>| if config.listen_only { vec![] } else { addresses.clone() };
        let p2p_config = P2pConfig {
            key,
            listen: config.listen.clone(),
            peers: dialed(&config.peers),
            known_peers: (!config.listen_only).then(|| config.artifact_path.join(KNOWN_PEERS_FILE)),
            probe: config.probe.clone(),
            external_ip: config.external_ip,
            max_provided_keys: config.max_provided_keys,
            artifact_budget: config.storage.artifact_budget,
            bucket: bucket.clone(),
            network: config.network.clone(),
        };
        let (p2p, p2p_task) = P2p::start(p2p_config, consensus.clone(), frames, store.clone(), requests, &mut registry).await?;

        let stop = CancellationToken::new();
        let verifiers = Verifiers::new(verifiers, consensus.clone(), p2p.clone());
        let package_types = PackageTypes::new(verifiers.clone(), consensus.clone());
        let neighbours = Neighbours {
            consensus: consensus.clone(),
            p2p: p2p.clone(),
            store: store.clone(),
            verifiers: verifiers.clone(),
            package_types: package_types.clone(),
        };
        let mut tasks = JoinSet::new();
        let artifact_budget = config.storage.artifact_budget;
        let scrubbing = Scrubbing::open(
            &config.artifact_path,
            me,
            config.storage,
            store.clone(),
            bucket.clone(),
            consensus.watch(),
            p2p.clone(),
        );
        tasks.spawn(scrubbing.clone().keep_up(stop.clone()));
        if let Some(bucket) = bucket.clone() {
            tasks.spawn(bucket::keep_copying(bucket, store.clone(), consensus.watch(), stop.clone()));
        }
        let builds = Builds::start(me, &config, neighbours, peer_requests, &stop, &mut tasks)?;
        tasks.spawn(verifier_approval::approve(me, consensus.clone(), verifiers.clone(), stop.clone()));
        tasks.spawn(verifiers.clone().follow(stop.clone()));
        if let Some(url) = config.bootstrap_url.filter(|_| !config.listen_only) {
            tasks.spawn(bootstrap::keep_connected(bootstrap::client()?, url, p2p.clone(), stop.clone()));
        }
        let (snapshots, damaged) = snapshots::keep(config.ledger_path.clone(), covered, consensus.watch(), stop.clone());
        tasks.spawn(snapshots);
        let metrics = NodeMetrics::new(registry, gauges);
        let documents = Documents::new();
        let handle = NodeHandle::new(Parts {
            me,
            log_key,
            consensus,
            tree: Mutex::new(Some(tree)),
            p2p,
            store,
            bucket,
            builds,
            package_types,
            verifiers,
            documents,
            metrics,
            scrubbing,
            artifact_budget,
        });
        Ok(Self { handle, stop, consensus: consensus_task, damaged, p2p: p2p_task, tasks, _folder: folder })
    }

    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// Stops everything and waits for it; says so when the ledger was damaged in the meantime.
    pub async fn stop(self) {
        let Self { handle, stop, consensus, damaged: _, p2p, mut tasks, _folder } = self;
        stop.cancel();
        handle.close_log();
        let ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_WAIT, ended).await.is_err() {
            tracing::warn!("some tasks of the node do not end and are cut off");
            tasks.shutdown().await;
        }
        p2p.stop().await;
        if let Err(error) = consensus.stop().await {
            tracing::error!(%error, "consensus did not end well");
        }
    }

    /// Resolves when the node cannot go on.
    pub async fn failed(&mut self) -> FatalError {
        tokio::select! {
            biased;
            // The others end with it; it says why.
            failure = self.consensus.failed() => failure.into(),
            Ok(damage) = &mut self.damaged, if !self.damaged.is_terminated() => damage.into(),
            // None of them ends before the node is stopped.
            Some(_) = self.tasks.join_next() => match tokio::time::timeout(CAUSE_WAIT, self.consensus.failed()).await {
                Ok(failure) => failure.into(),
                Err(_) => FatalError::Ended,
            },
        }
    }
}

struct Opened {
    folder: FolderLock,
    key: ed25519_dalek::SigningKey,
    store: ArtifactStore,
    ledger: NodeStore,
    state: Option<pyrsia_ledger::Projections>,
    verifiers: OpenedVerifiers,
}

fn open(config: &NodeConfig) -> Result<Opened, StartError> {
    let folder = FolderLock::take(&config.artifact_path)?;
    let (key, age) = identity::load_or_create(&config.keypair_path)?;
    let store = ArtifactStore::open(&config.artifact_path)?;
    let (ledger, state) = NodeStore::open(&config.ledger_path, node_id_of(&key), age)?;
    let host = verifier_host(&config.artifact_path.join("compiled"), &key, config.verifier_compiler.clone())?;
    let verifiers = OpenedVerifiers::open(host.clone(), config.verifiers_path.clone(), config.artifact_path.join("modules"))?;
    Ok(Opened { folder, key, store, ledger, state, verifiers })
}

/// Compiled modules outlast the process in the folder of its first node, where that is the node's alone; the key that authenticates them follows
/// from the node's own.
fn verifier_host(
    folder: &Path,
    key: &ed25519_dalek::SigningKey,
    compiler: Option<Compiler>,
) -> Result<&'static VerifierHost, HostError> {
    if let Some(host) = VERIFIER_HOST.get() {
        return Ok(host);
    }
    let secret = [b"key of compiled verifier modules".as_slice(), key.as_bytes()].concat();
    let compiled = CompiledModules::open(folder, *Sha256Digest::of(&secret).as_bytes());
    let compiled = compiled.inspect_err(|error| tracing::warn!(%error, "verifiers are compiled at each start")).ok();
    let host = VerifierHost::with_options(Limits::default(), HostOptions { compiled, compiler, ..HostOptions::default() })?;
    Ok(VERIFIER_HOST.get_or_init(|| host))
}
