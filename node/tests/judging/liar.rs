//! A judge that is driven by hand: a key, a ledger and a network, without the part of a node that builds honestly.

use std::io::Write as _;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use prometheus_client::registry::Registry;
use pyrsia_ledger::event::{BuildOutcome, BuildResultCommitted, BuildResultRevealed, BuiltArtifact, commitment};
use pyrsia_ledger::projection::builds::{BuildStatus, ResultDigests};
use pyrsia_ledger::signed::node_id_of;
use pyrsia_ledger::{BuildId, Event, NodeId, Projections, Sha256Digest};
use pyrsia_node::NodeHandle;
use pyrsia_node::artifacts::ArtifactStore;
use pyrsia_node::consensus::{Consensus, ConsensusConfig, ConsensusHandle, ConsensusTask, KeyAge, NodeStore};
use pyrsia_node::p2p::{InboundRequest, P2p, P2pConfig, P2pHandle, P2pTask};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::nodes::wait_for;

const SALT: [u8; 32] = [42; 32];

pub(crate) struct Liar {
    id: NodeId,
    consensus: ConsensusHandle,
    consensus_task: ConsensusTask,
    _p2p: P2pHandle,
    p2p_task: P2pTask,
    store: ArtifactStore,
    _requests: mpsc::Receiver<InboundRequest>,
    _folder: TempDir,
}

/// What the liar says it built.
pub(crate) struct Lie {
    pub(crate) result: Sha256Digest,
    pub(crate) sha256: Sha256Digest,
}

impl Liar {
    /// Starts one and waits until it is a judge, authorized by all of `members`.
    pub(crate) async fn join(members: &[&NodeHandle]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::from_bytes(&[66; 32]);
        let id = node_id_of(&key);
        let store = ArtifactStore::open(folder.path()).unwrap();
        let (ledger, state) = NodeStore::open(&folder.path().join("ledger"), id, KeyAge::Fresh).unwrap();
        let (outgoing, frames) = mpsc::channel(1_024);
        let (consensus, consensus_task) =
            Consensus::start(key.clone(), ledger, state, ConsensusConfig::default(), outgoing).unwrap();
        let (sender, requests) = mpsc::channel(8);
        let peers = members.iter().map(|member| member.addresses()[0].clone()).collect();
        let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        let config = P2pConfig::new(key, listen, peers);
        let mut registry = Registry::default();
        let (p2p, p2p_task) = P2p::start(config, consensus.clone(), frames, store.clone(), sender, &mut registry).await.unwrap();
        for member in members {
            member.authorize(id).await.unwrap();
        }
        for member in members {
            wait_for("the liar to be a judge", || {
                member.ledger().state.as_ref().is_some_and(|state| state.members.contains(&id))
            })
            .await;
        }
        Self { id, consensus, consensus_task, _p2p: p2p, p2p_task, store, _requests: requests, _folder: folder }
    }

    /// Takes part in the build `id` with the canonical digests of `honest`, a build that was published, and bytes that are no
    /// project at all. Of all bytes it may offer, it picks some whose result sorts before the honest ones.
    pub(crate) async fn lie(&self, honest: &BuildId, id: &BuildId) -> Lie {
        self.wait_for(|state| state.builds.get(id).is_some_and(|build| build.status == BuildStatus::Committing)).await;
        let state = self.consensus.view().state.clone().unwrap();
        let honest: Vec<_> = state.builds.results(honest).filter_map(|(_, revealed)| revealed.built()).collect();
        let (source, artifacts) = honest[0];
        let smallest = honest.iter().map(|(source, artifacts)| ResultDigests::of(source, artifacts).raw).min().unwrap();
        let lie = |number: u32| {
            let bytes = format!("<project>lie {number}</project>").into_bytes();
            let sha256 = Sha256Digest::of(&bytes);
            let chunk_root = pyrsia_ledger::tree::chunk_root(&[sha256]);
            let artifact = BuiltArtifact { sha256, size_bytes: bytes.len() as u64, chunk_root, ..artifacts[0].clone() };
            (bytes, artifact)
        };
        let (bytes, artifact) = (0u32..)
            .map(lie)
            .find(|(_, artifact)| ResultDigests::of(source, std::slice::from_ref(artifact)).raw < smallest)
            .unwrap();
        self.store.note_brought(id, &artifact.sha256).unwrap();
        let mut ingest = self.store.begin().unwrap();
        ingest.write_all(&bytes).unwrap();
        ingest.commit(Some(artifact.sha256)).unwrap();

        let outcome = BuildOutcome::Built { source: source.clone(), artifacts: vec![artifact.clone()] };
        let commitment = commitment(state.network(), id, &self.id, &SALT, &outcome);
        self.propose(Event::BuildResultCommitted(BuildResultCommitted { build_id: *id, commitment })).await;
        self.wait_for(|state| state.builds.get(id).is_some_and(|build| build.status != BuildStatus::Committing)).await;
        self.propose(Event::BuildResultRevealed(BuildResultRevealed { build_id: *id, outcome: outcome.into(), salt: SALT }))
            .await;
        let result = ResultDigests::of(source, std::slice::from_ref(&artifact)).raw;
        Lie { result, sha256: artifact.sha256 }
    }

    pub(crate) async fn stop(self) {
        self.p2p_task.stop().await;
        self.consensus_task.stop().await.unwrap();
    }

    async fn propose(&self, event: Event) {
        self.consensus.propose(event).await.unwrap();
    }

    async fn wait_for(&self, what: impl Fn(&Projections) -> bool) {
        let mut watch = self.consensus.watch();
        let met = watch.wait_for(|view| view.state.as_ref().is_some_and(|state| what(state)));
        tokio::time::timeout(Duration::from_secs(60), met).await.expect("in time").expect("the consensus runs");
    }
}
