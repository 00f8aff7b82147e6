//! What the rest of a program may ask a node: a cheap clone, good on every thread.
//!
//! It holds no rule and no state of its own. Questions about the ledger are answered from its newest snapshot; artifacts
//! leave through the one verdict of [`crate::verification`].

use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ed25519_dalek::SigningKey;
use libp2p::Multiaddr;
use pyrsia_ledger::log::{StoredTree, TreeError};
use pyrsia_ledger::note::SignedNote;
use pyrsia_ledger::projection::packages::ArtifactRecord;
use pyrsia_ledger::{
    ArtifactId, BuildId, Height, NodeId, PackageCoordinate, PackageType, Projections, SealedBlock, Sha256Digest,
};
use tokio::sync::watch;

use crate::artifacts::ArtifactStore;
use crate::authorization::{self, Authorization, AuthorizeError};
use crate::bucket::Bucket;
use crate::builds::Builds;
use crate::builds::view::BuildView;
use crate::builds::wish::{BuildReceipt, BuildWish, PackageTypeInfo, WishError};
use crate::consensus::{ConsensusHandle, ConsensusView, LedgerView};
use crate::metrics::NodeMetrics;
use crate::mounts::documents::Documents;
use crate::p2p::{Feed, FetchError, Fetched, Incoming, NetworkConfig, Outside, P2pHandle, Traffic};
use crate::package_types::PackageTypes;
use crate::request_context;
use crate::revocation::{self, Revocation, RevokeError};
use crate::storage::{Scrubbing, retention};
use crate::verification::{self, Withheld};
use crate::verifier_approval::{self, ApproveVerifierError, OfferedVerifier, VerifierApproval};
use crate::verifiers::Verifiers;

#[derive(Clone)]
pub struct NodeHandle {
    node: Arc<Parts>,
}

/// What a handle asks.
pub(crate) struct Parts {
    pub(crate) me: NodeId,
    /// Signs what this node serves of its ledger: checkpoints, and attestations.
    pub(crate) log_key: SigningKey,
    pub(crate) consensus: ConsensusHandle,
    /// None once the node has stopped: who still has a handle then keeps nobody from opening the log.
    pub(crate) tree: Mutex<Option<StoredTree>>,
    pub(crate) p2p: P2pHandle,
    pub(crate) store: ArtifactStore,
    pub(crate) bucket: Option<Bucket>,
    pub(crate) builds: Builds,
    pub(crate) package_types: PackageTypes,
    pub(crate) verifiers: Verifiers,
    pub(crate) documents: Documents,
    pub(crate) metrics: NodeMetrics,
    pub(crate) scrubbing: Scrubbing,
    pub(crate) artifact_budget: Option<u64>,
}

/// A published artifact whose bytes are here and verified.
#[derive(Debug)]
pub struct OpenArtifact {
    /// Read-only, at its beginning.
    pub file: File,
    pub size_bytes: u64,
    pub sha256: Sha256Digest,
    pub media_type: String,
    pub coordinate: PackageCoordinate,
    pub record: ArtifactRecord,
}

impl OpenArtifact {
    fn new(file: File, coordinate: PackageCoordinate, record: ArtifactRecord) -> Self {
        let artifact = &record.artifact;
        let (size_bytes, sha256, media_type) = (artifact.size_bytes, artifact.sha256, artifact.media_type.clone());
        Self { file, size_bytes, sha256, media_type, coordinate, record }
    }
}

/// A published artifact, and where its bytes are.
pub enum ServedArtifact {
    Stored(OpenArtifact),
    Arriving(ArrivingArtifact),
}

/// A published artifact that other nodes are sending.
pub struct ArrivingArtifact {
    pub coordinate: PackageCoordinate,
    pub record: ArtifactRecord,
    incoming: Incoming,
}

impl ArrivingArtifact {
    /// Bytes of it, once the first of them are verified: a failure before that is an error here.
    pub async fn feed(self, range: Range<u64>) -> Result<Feed, ArtifactError> {
        self.incoming.feed(range).await.map_err(|error| fetch_error(&self.record.artifact.artifact_id, error))
    }
}

/// Why an artifact is not handed out.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("{package_type} artifact {id} is not published")]
    Unpublished { package_type: PackageType, id: ArtifactId },
    /// The text says why, and what to do.
    #[error(transparent)]
    AtRisk(Withheld),
    #[error("{id} is published, but cannot be had right now: {reason}; try again when a node that has it is online")]
    Unavailable { id: ArtifactId, reason: String },
    #[error("{id} is published, and this node has no room for it: {reason}")]
    NoRoom { id: ArtifactId, reason: String },
    #[error("the copy of {id} on this node cannot be read or written: {reason}")]
    Damaged { id: ArtifactId, reason: String },
    #[error("this node follows no network: start one with --init-blockchain, or connect it with --peer")]
    NoNetwork,
    #[error("this node has too much to do, try again later")]
    Busy,
}

impl NodeHandle {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { node: Arc::new(parts) }
    }

    pub fn node_id(&self) -> NodeId {
        self.node.me
    }

    pub(crate) fn log_key(&self) -> &SigningKey {
        &self.node.log_key
    }

    pub(crate) fn verifiers(&self) -> &Verifiers {
        &self.node.verifiers
    }

    pub(crate) fn package_types_of_node(&self) -> &PackageTypes {
        &self.node.package_types
    }

    pub(crate) fn documents(&self) -> &Documents {
        &self.node.documents
    }

    pub(crate) fn store(&self) -> &ArtifactStore {
        &self.node.store
    }

    pub(crate) fn bucket(&self) -> Option<&Bucket> {
        self.node.bucket.as_ref()
    }

    pub(crate) fn p2p(&self) -> &P2pHandle {
        &self.node.p2p
    }

    pub(crate) fn scrubbing(&self) -> &Scrubbing {
        &self.node.scrubbing
    }

    pub(crate) fn artifact_budget(&self) -> Option<u64> {
        self.node.artifact_budget
    }

    pub fn ledger(&self) -> Arc<LedgerView> {
        self.node.consensus.view()
    }

    pub fn watch_ledger(&self) -> watch::Receiver<Arc<LedgerView>> {
        self.node.consensus.watch()
    }

    /// How agreement on blocks is doing, a moment ago.
    pub fn consensus(&self) -> Arc<ConsensusView> {
        self.node.consensus.progress()
    }

    /// Connected nodes, in ascending order of their keys.
    pub fn peers(&self) -> Vec<NodeId> {
        self.node.p2p.peers()
    }

    /// Where this node can be reached; the first is the most useful to others on this host.
    pub fn addresses(&self) -> Vec<Multiaddr> {
        self.node.p2p.addresses()
    }

    /// What the operator decided about the network.
    pub fn network_config(&self) -> &NetworkConfig {
        self.node.p2p.network_config()
    }

    /// How this node looks from outside.
    pub fn outside(&self) -> Outside {
        self.node.p2p.outside()
    }

    /// How this node is connected with others, and what has passed between them since its start.
    pub fn traffic(&self) -> Traffic {
        self.node.p2p.traffic()
    }

    pub fn package_types(&self) -> Vec<PackageTypeInfo> {
        self.node.package_types.infos()
    }

    /// The package type that a word of a caller means: its name, or an alias of it.
    pub async fn package_type(&self, word: &str) -> Result<PackageType, WishError> {
        let verifier = self.node.package_types.verifier(word).await?;
        Ok(verifier.description().package_type.clone())
    }

    /// The coordinate that a text of a caller means, in the canonical form that the verifier of its type gives it.
    pub async fn parse_coordinate(&self, package_type: &str, text: &str) -> Result<PackageCoordinate, WishError> {
        self.node.package_types.parse(package_type, text).await
    }

    /// Approves a node in this node's name and waits until that stands in a block.
    pub async fn authorize(&self, node: NodeId) -> Result<Authorization, AuthorizeError> {
        authorization::authorize(&self.node.consensus, self.node.me, node).await
    }

    /// Approves in this node's name that `node` is authorized no more, with `since` counting nothing it signed from that height
    /// on, and waits until that stands in a block.
    pub async fn revoke(&self, node: NodeId, since: Option<Height>) -> Result<Revocation, RevokeError> {
        revocation::revoke(&self.node.consensus, self.node.me, node, since).await
    }

    /// Approves a verifier module that this node has, in its name, and waits until that stands in a block.
    pub async fn approve_verifier(&self, module: Sha256Digest) -> Result<VerifierApproval, ApproveVerifierError> {
        verifier_approval::approve_module(self.node.me, &self.node.consensus, &self.node.verifiers, module).await
    }

    /// The modules this node has that the network does not judge by: an operator may approve them.
    pub fn offered_verifiers(&self) -> Vec<OfferedVerifier> {
        let view = self.ledger();
        let offered = |state: &Projections| verifier_approval::offered(state, &self.node.verifiers.set());
        view.state.as_deref().map(offered).unwrap_or_default()
    }

    /// Sees to it that a build stands on the ledger; an authorized node proposes it, another one relays the wish.
    pub async fn request_build(&self, wish: BuildWish) -> Result<BuildReceipt, WishError> {
        self.node.builds.request(wish).await
    }

    /// Asks for a build once for each coordinate and interval, without waiting for what becomes of it.
    /// An error says why nothing was asked.
    pub fn wish_in_background(&self, coordinate: PackageCoordinate) -> Result<(), WishError> {
        self.node.builds.wish_in_background(coordinate)
    }

    pub fn build(&self, id: &BuildId) -> Option<BuildView> {
        self.node.builds.view(id)
    }

    /// Every build of a package, the newest first.
    pub fn builds_of(&self, coordinate: &PackageCoordinate) -> Vec<BuildId> {
        self.node.builds.of(coordinate)
    }

    /// A published artifact, fetched from other nodes and verified first if it is not here.
    pub async fn open_artifact(&self, package_type: &PackageType, id: &ArtifactId) -> Result<OpenArtifact, ArtifactError> {
        let (coordinate, record, builders) = self.vouched(package_type, id)?;
        let file = match self.stored(id, record.artifact.sha256).await? {
            Some(file) => file,
            None => {
                self.node.p2p.fetch(&record.artifact, builders).await.map_err(|error| fetch_error(id, error))?;
                self.just_fetched(id, record.artifact.sha256).await?
            }
        };
        Ok(OpenArtifact::new(file, coordinate, record))
    }

    /// The same for who passes its bytes on, which may begin while they arrive.
    pub async fn serve_artifact(&self, package_type: &PackageType, id: &ArtifactId) -> Result<ServedArtifact, ArtifactError> {
        let (coordinate, record, builders) = self.vouched(package_type, id)?;
        if let Some(file) = self.stored(id, record.artifact.sha256).await? {
            return Ok(ServedArtifact::Stored(OpenArtifact::new(file, coordinate, record)));
        }
        match self.node.p2p.begin_fetch(&record.artifact, builders).await.map_err(|error| fetch_error(id, error))? {
            Fetched::Incoming(incoming) => Ok(ServedArtifact::Arriving(ArrivingArtifact { coordinate, record, incoming })),
            Fetched::Stored => {
                let file = self.just_fetched(id, record.artifact.sha256).await?;
                Ok(ServedArtifact::Stored(OpenArtifact::new(file, coordinate, record)))
            }
        }
    }

    /// The record that vouches for an artifact, and who built it.
    fn vouched(
        &self,
        package_type: &PackageType,
        id: &ArtifactId,
    ) -> Result<(PackageCoordinate, ArtifactRecord, Vec<NodeId>), ArtifactError> {
        let view = self.ledger();
        let state = view.state.as_deref().ok_or(ArtifactError::NoNetwork)?;
        let (coordinate, record) = verdict(state, package_type, id)?;
        Ok((coordinate.clone(), record.clone(), retention::builders(state, record)))
    }

    /// Whether the file of an artifact is here as it was when its bytes were last found right; counts as a use of it. One look at a file, which a
    /// caller that may not block can afford.
    pub fn has_unchanged(&self, sha256: &Sha256Digest) -> bool {
        self.node.store.has_unchanged(sha256)
    }

    /// Removes the stored copy of an artifact whose bytes turned out to be others; it is fetched from other nodes when it is asked for again.
    pub async fn discard_damaged(&self, sha256: Sha256Digest) {
        let store = self.node.store.clone();
        let removed = tokio::task::spawn_blocking(move || store.take_out_of_service(&sha256, "has the wrong bytes")).await;
        if let Err(error) = removed.map_err(std::io::Error::other).and_then(|removed| removed) {
            tracing::error!(%sha256, %error, "a stored artifact has the wrong bytes and cannot be removed");
        }
    }

    /// What the ledger says of a published artifact, without its bytes.
    pub fn artifact_record(
        &self,
        package_type: &PackageType,
        id: &ArtifactId,
    ) -> Result<(PackageCoordinate, ArtifactRecord), ArtifactError> {
        let view = self.ledger();
        let state = view.state.as_deref().ok_or(ArtifactError::NoNetwork)?;
        let (coordinate, record) = verdict(state, package_type, id)?;
        Ok((coordinate.clone(), record.clone()))
    }

    /// Blocks from `from` on, as many as fit in `bytes_max`, but one where there is one.
    pub async fn blocks(&self, from: Height, bytes_max: usize) -> Vec<SealedBlock> {
        self.node.consensus.blocks(from, bytes_max).await
    }

    /// Asks the stored tree and indexes of the log something, on a thread that may block. None when the node is stopping.
    pub async fn ask_log<T: Send + 'static>(
        &self,
        question: impl FnOnce(&StoredTree) -> Result<T, TreeError> + Send + 'static,
    ) -> Option<Result<T, TreeError>> {
        let tree = self.node.tree.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        tokio::task::spawn_blocking(move || question(&tree)).await.ok()
    }

    /// The log is asked nothing any more.
    pub(crate) fn close_log(&self) {
        self.node.tree.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The checkpoint of the newest block: signed by this node as the log, cosigned by those who made the block final. None
    /// while the node follows no network, stops, or cannot read its log. Nothing but what stands on this ledger is ever signed so.
    pub async fn checkpoint(&self) -> Option<SignedNote> {
        let tip = self.ledger().state.as_deref()?.height();
        match self.ask_log(move |tree| Ok(tree.block(tip)?)).await? {
            Ok(newest) => Some(newest?.checkpoint_signed_by(&self.node.log_key)),
            Err(error) => {
                tracing::warn!(%error, "no checkpoint can be made");
                None
            }
        }
    }

    /// Metrics in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        self.node.metrics.text(&self.node.consensus, &self.node.store, self.node.bucket.as_ref(), self.node.artifact_budget)
    }

    async fn just_fetched(&self, id: &ArtifactId, sha256: Sha256Digest) -> Result<File, ArtifactError> {
        let gone = || ArtifactError::Unavailable { id: id.clone(), reason: "it was removed as it came".into() };
        self.stored(id, sha256).await?.ok_or_else(gone)
    }

    async fn stored(&self, id: &ArtifactId, sha256: Sha256Digest) -> Result<Option<File>, ArtifactError> {
        // Another thread would cost a short artifact more than all the rest of its answer.
        if let Some(file) = self.node.store.open_unchanged(&sha256) {
            return Ok(Some(file));
        }
        let store = self.node.store.clone();
        let opened = tokio::task::spawn_blocking(move || store.open_inspected(&sha256)).await;
        let opened = opened.map_err(std::io::Error::other).and_then(|opened| opened);
        opened.map_err(|error| ArtifactError::Damaged { id: id.clone(), reason: error.to_string() })
    }
}

/// The one verdict, kept for the request that it is asked for.
fn verdict<'a>(
    state: &'a Projections,
    package_type: &PackageType,
    id: &ArtifactId,
) -> Result<(&'a PackageCoordinate, &'a ArtifactRecord), ArtifactError> {
    let verdict = verification::verdict(state, package_type, id);
    request_context::note_verdict(&verdict);
    verdict.map_err(unpublished(package_type, id))
}

fn unpublished<'a>(package_type: &'a PackageType, id: &'a ArtifactId) -> impl Fn(Withheld) -> ArtifactError + 'a {
    |withheld| match withheld {
        Withheld::AtRisk { .. } => ArtifactError::AtRisk(withheld),
        Withheld::Unpublished { .. } | Withheld::UnpublishedBytes { .. } => {
            ArtifactError::Unpublished { package_type: package_type.clone(), id: id.clone() }
        }
    }
}

fn fetch_error(id: &ArtifactId, error: FetchError) -> ArtifactError {
    let id = id.clone();
    match error {
        FetchError::Busy => ArtifactError::Busy,
        FetchError::Store(error) if error.is_disk_full() => ArtifactError::NoRoom { id, reason: "its disk is full".into() },
        FetchError::Store(error) => ArtifactError::Damaged { id, reason: with_cause(&*error) },
        error @ (FetchError::BeyondBudget { .. } | FetchError::NoRoom { .. }) => {
            ArtifactError::NoRoom { id, reason: error.to_string() }
        }
        FetchError::Unavailable { reason } => ArtifactError::Unavailable { id, reason },
        error @ (FetchError::Damaged { .. } | FetchError::TooLarge { .. } | FetchError::Stopped) => {
            ArtifactError::Unavailable { id, reason: error.to_string() }
        }
    }
}

/// An error and what it came from: that the disk is full is what the operator has to know.
pub(crate) fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
