//! Validators in this process, each with its own disk and thread: what agreement costs without what a node does besides.
//!
//! They are connected by the nodes' own network on loopback, or by queues that count what they carry.

use anyhow::{Context, Result, bail, ensure};
use ed25519_dalek::SigningKey;
use prometheus_client::registry::Registry;
use pyrsia_ledger::event::{BuildRequested, NodeAuthorizationApproved, VerifierApproved};
use pyrsia_ledger::{BuildId, Event, PackageCoordinate, PackageType, Projections, Sha256Digest};
use pyrsia_node::artifacts::ArtifactStore;
use pyrsia_node::consensus::{
    Consensus, ConsensusConfig, ConsensusHandle, ConsensusTask, KeyAge, NodeStore, Outgoing, ProposeError,
};
use pyrsia_node::p2p::{InboundRequest, P2p, P2pConfig, P2pHandle, P2pTask};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Nothing that is waited for takes this long.
const DEADLINE: Duration = Duration::from_secs(120);
/// As many frames as a node keeps for its network.
const OUTGOING_MAX: usize = 1_024;
const FULL_PAUSE: Duration = Duration::from_millis(2);
pub(crate) const MODULE: Sha256Digest = Sha256Digest::new([7; 32]);

/// What the queues between validators have carried.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    pub(crate) frames: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

/// Everybody that is connected by queues.
type Wired = Arc<Mutex<Vec<ConsensusHandle>>>;

enum Network {
    /// TCP on loopback, encrypted, as between nodes.
    Loopback {
        /// A network ends with its last handle.
        handles: Vec<P2pHandle>,
        tasks: Vec<P2pTask>,
        /// Wishes of other nodes, which nobody makes here.
        requests: Vec<mpsc::Receiver<InboundRequest>>,
    },
    Queues {
        wired: Wired,
        carried: Arc<Carried>,
    },
}

pub(crate) struct Validators {
    folder: PathBuf,
    network: Network,
    pub(crate) handles: Vec<ConsensusHandle>,
    tasks: Vec<ConsensusTask>,
    packages: u64,
}

impl Validators {
    pub(crate) fn on_loopback(folder: &Path) -> Self {
        Self::new(folder, Network::Loopback { handles: vec![], tasks: vec![], requests: vec![] })
    }

    /// Gives what the queues carry as well.
    pub(crate) fn on_queues(folder: &Path) -> (Self, Arc<Carried>) {
        let carried = Arc::new(Carried::default());
        (Self::new(folder, Network::Queues { wired: Wired::default(), carried: carried.clone() }), carried)
    }

    fn new(folder: &Path, network: Network) -> Self {
        Self { folder: folder.to_owned(), network, handles: vec![], tasks: vec![], packages: 0 }
    }

    /// Starts validators until there are so many, and has them authorized.
    pub(crate) async fn grow_to(&mut self, count: usize) -> Result<()> {
        while self.handles.len() < count {
            let seed = u8::try_from(self.handles.len() + 1).context("at most 255 validators")?;
            let newcomer = self.start(seed).await?;
            let id = newcomer.node_id();
            let authorized = self.handles.len();
            self.handles.push(newcomer);
            if authorized == 0 {
                let founder = &self.handles[0];
                founder.found("speed".into()).await?;
                let package_type = PackageType::new("docker")?;
                let verifier = VerifierApproved { package_type, module: MODULE, contract_version: 1 };
                founder.propose(Event::VerifierApproved(verifier)).await?;
            }
            let approvers = if authorized == 0 { 1 } else { authorized / 2 + 1 };
            for approver in &self.handles[..approvers] {
                approver.propose(Event::NodeAuthorizationApproved(NodeAuthorizationApproved { node: id })).await?;
            }
            for handle in &self.handles {
                reached(handle, |state| state.members.contains(&id)).await?;
            }
        }
        Ok(())
    }

    async fn start(&mut self, seed: u8) -> Result<ConsensusHandle> {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let folder = self.folder.join(format!("validator{seed}"));
        let (store, state) = NodeStore::open(&folder.join("ledger"), pyrsia_ledger::signed::node_id_of(&key), KeyAge::Fresh)?;
        let (outgoing, carried_out) = mpsc::channel(OUTGOING_MAX);
        let (handle, task) = Consensus::start(key.clone(), store, state, ConsensusConfig::default(), outgoing)?;
        self.tasks.push(task);
        match &mut self.network {
            Network::Queues { wired, carried } => {
                wired.lock().unwrap_or_else(PoisonError::into_inner).push(handle.clone());
                tokio::spawn(carry(handle.clone(), carried_out, wired.clone(), carried.clone()));
            }
            Network::Loopback { handles, tasks, requests } => {
                let artifacts = ArtifactStore::open(&folder)?;
                let peers = handles.iter().take(1).filter_map(|first| first.addresses().first().cloned()).collect();
                let listen = vec!["/ip4/127.0.0.1/tcp/0".parse()?];
                let config = P2pConfig::new(key, listen, peers);
                let (wishes, unanswered) = mpsc::channel(1);
                let registry = &mut Registry::default();
                let (p2p, task) = P2p::start(config, handle.clone(), carried_out, artifacts, wishes, registry).await?;
                handles.push(p2p);
                tasks.push(task);
                requests.push(unanswered);
            }
        }
        Ok(handle)
    }

    /// A fact that every validator may put on the ledger any number of times: the request of another build.
    pub(crate) fn next_event(&mut self) -> Result<Event> {
        self.packages += 1;
        let state = self.handles[0].view().state.clone().context("a network")?;
        let coordinate = PackageCoordinate::new("docker", &format!("bench/package{}:1", self.packages))?;
        let build_id = BuildId::of(state.network(), &coordinate, 0);
        Ok(Event::BuildRequested(BuildRequested { build_id, coordinate, attempt: 0, verifier: MODULE, source: None }))
    }

    pub(crate) async fn stop(self) -> Result<()> {
        if let Network::Loopback { tasks, .. } = self.network {
            for task in tasks {
                task.stop().await;
            }
        }
        for task in self.tasks {
            task.stop().await?;
        }
        Ok(())
    }
}

/// Proposes it, again and again while there is no place for it.
pub(crate) async fn propose(handle: &ConsensusHandle, event: Event) -> Result<()> {
    let proposing = async {
        loop {
            match handle.propose(event.clone()).await {
                Err(ProposeError::MempoolFull) => sleep(FULL_PAUSE).await,
                other => return other.map(drop),
            }
        }
    };
    Ok(timeout(DEADLINE, proposing).await??)
}

/// Waits until a validator's ledger is as `stands` wants it.
pub(crate) async fn reached(handle: &ConsensusHandle, stands: impl Fn(&Projections) -> bool) -> Result<()> {
    let mut ledger = handle.watch();
    let waited = timeout(DEADLINE, ledger.wait_for(|view| view.state.as_deref().is_some_and(&stands))).await;
    match waited {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => bail!("a validator has stopped"),
        Err(_) => bail!("a validator does not get there within {DEADLINE:?}"),
    }
}

/// Carries what one validator says to the others, as a network would that loses nothing and takes no time.
async fn carry(from: ConsensusHandle, mut outgoing: mpsc::Receiver<Outgoing>, wired: Wired, carried: Arc<Carried>) {
    let me = from.node_id();
    let others = || -> Vec<ConsensusHandle> {
        let wired = wired.lock().unwrap_or_else(PoisonError::into_inner);
        wired.iter().filter(|other| other.node_id() != me).cloned().collect()
    };
    let deliver = async |to: &ConsensusHandle, bytes: Vec<u8>| {
        carried.frames.fetch_add(1, Ordering::Relaxed);
        carried.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        to.deliver(me, bytes).await;
    };
    for other in others() {
        deliver(&other, from.hello()).await;
        deliver_hello(&other, &from).await;
    }
    while let Some(message) = outgoing.recv().await {
        match message {
            Outgoing::Broadcast(bytes) => {
                for other in others() {
                    deliver(&other, bytes.clone()).await;
                }
            }
            Outgoing::Send(node, bytes) => {
                if let Some(to) = others().into_iter().find(|other| other.node_id() == node) {
                    deliver(&to, bytes).await;
                }
            }
        }
    }
}

async fn deliver_hello(from: &ConsensusHandle, to: &ConsensusHandle) {
    to.deliver(from.node_id(), from.hello()).await;
}

/// Every validator has the same state.
pub(crate) fn ensure_level(handles: &[ConsensusHandle]) -> Result<()> {
    let roots: Vec<_> = handles.iter().filter_map(|handle| Some(handle.view().state.as_ref()?.state_root())).collect();
    ensure!(roots.len() == handles.len() && roots.windows(2).all(|pair| pair[0] == pair[1]), "the validators differ");
    Ok(())
}
