//! From a wish to a build on the ledger: proposed here by an authorized node, relayed to one by every other.
//!
//! Owns the waiting and the bounds on wishes. A wish is answered by what stands on the ledger: the same one twice, from
//! anywhere, is one build.

mod peers;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyrsia_ledger::event::{BuildRequested, PinnedSource};
use pyrsia_ledger::policy::UNFINISHED_BUILDS_PER_NODE_MAX;
use pyrsia_ledger::projection::builds::{Build, BuildStatus};
use pyrsia_ledger::{BuildId, Event, NodeId, PackageCoordinate, Projections, Refusal, Sha256Digest};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::Instrument;

use super::background::BackgroundWishes;
use super::pipeline_client::quoted;
use super::rate::RequestRate;
use super::sources::{Mapped, SourceError, Sources};
use super::wish::{BuildReceipt, BuildWish, WishError};
use crate::consensus::{ConsensusHandle, ProposeError};
use crate::ledger_wait::{self, Waited};
use crate::p2p::{NodeRequest, NodeResponse, P2pHandle, WireReceipt};
use crate::package_types::PackageTypes;
use crate::request_context::RequestContext;
use crate::verifiers::Verifiers;

/// How long a block with a request is waited for.
const REQUEST_WAIT: Duration = Duration::from_secs(20);
/// How long the pipeline is asked what a package is built from: more than `pyrsia_build` takes to say that it cannot tell, less
/// than a peer that relays a wish waits, and with the wait for the block less than a client of this node does.
const MAPPING_WAIT: Duration = Duration::from_secs(24);
/// How long a node that has just started waits for an authorized node to be connected.
const PEER_WAIT: Duration = Duration::from_secs(5);
/// A wish is relayed to so many authorized nodes before it is given up.
const RELAYS_MAX: usize = 2;
/// How many builds of one package this node's ledger may be behind that of the node it relays to.
const ATTEMPTS_AHEAD_MAX: u32 = 16;
/// Wishes nobody waits for that are worked on at the same time.
const BACKGROUND_WISHES_MAX: usize = 16;
pub(super) struct Wishes {
    me: NodeId,
    consensus: ConsensusHandle,
    p2p: P2pHandle,
    package_types: PackageTypes,
    verifiers: Verifiers,
    sources: Sources,
    /// Builds that this node has proposed and that do not stand on the ledger yet.
    proposing: Mutex<BTreeSet<BuildId>>,
    background: Mutex<BackgroundWishes>,
    background_places: Arc<Semaphore>,
    /// What all peers together may have requested.
    peer_requests: Mutex<RequestRate>,
}

impl Wishes {
    pub(super) fn new(
        me: NodeId,
        consensus: ConsensusHandle,
        p2p: P2pHandle,
        package_types: PackageTypes,
        verifiers: Verifiers,
        sources: Sources,
    ) -> Self {
        Self {
            me,
            consensus,
            p2p,
            package_types,
            verifiers,
            sources,
            proposing: Mutex::default(),
            background: Mutex::default(),
            background_places: Arc::new(Semaphore::new(BACKGROUND_WISHES_MAX)),
            peer_requests: Mutex::default(),
        }
    }

    /// Sees to it that the build stands on the ledger.
    pub(super) async fn request(&self, wish: BuildWish) -> Result<BuildReceipt, WishError> {
        let view = self.consensus.view();
        let state = view.state.as_deref().ok_or(WishError::NoNetwork)?;
        if let Some(receipt) = settled(state, &wish)? {
            return Ok(receipt);
        }
        if state.members.contains(&self.me) { self.propose(state, wish).await } else { self.relay(state, wish).await }
    }

    async fn propose(&self, state: &Projections, wish: BuildWish) -> Result<BuildReceipt, WishError> {
        self.verifier(state, &wish.coordinate)?;
        let source = self.source(&wish.coordinate).await?;
        // The ledger has gone on meanwhile.
        let view = self.consensus.view();
        let state = view.state.as_deref().ok_or(WishError::NoNetwork)?;
        if let Some(receipt) = settled(state, &wish)? {
            return Ok(receipt);
        }
        let BuildWish { coordinate, again: _ } = wish;
        let verifier = self.verifier(state, &coordinate)?;
        let (attempt, build_id) = (state.next_attempt(&coordinate), state.next_build_id(&coordinate));
        let Some(_proposing) = Proposing::begin(&self.proposing, build_id) else {
            // The same wish came twice at once; the first one proposes.
            self.stands(build_id).await?;
            return Ok(BuildReceipt::AlreadyOpen(build_id));
        };
        let event = Event::BuildRequested(BuildRequested { build_id, coordinate, attempt, verifier, source });
        match self.consensus.propose(event).await {
            Ok(_) => {}
            Err(ProposeError::Refused(Refusal::BuildOpen { build_id, .. })) => return Ok(BuildReceipt::AlreadyOpen(build_id)),
            // Another node was first: the build with this id is theirs.
            Err(ProposeError::Refused(Refusal::Attempt { .. })) => {}
            Err(ProposeError::Refused(Refusal::NoAuthorizedNodes)) => return Err(WishError::NoAuthorizedNodes),
            Err(ProposeError::Refused(Refusal::TooManyBuilds { .. })) => return Err(WishError::Busy),
            Err(ProposeError::Refused(refusal)) => return Err(WishError::Refused(refusal.to_string())),
            Err(ProposeError::NoNetwork) => return Err(WishError::NoNetwork),
            Err(ProposeError::MempoolFull) => return Err(WishError::Busy),
            Err(ProposeError::Stopped) => return Err(WishError::Stopped),
        }
        let requested_by = self.stands(build_id).await?;
        Ok(if requested_by == self.me { BuildReceipt::Requested(build_id) } else { BuildReceipt::AlreadyOpen(build_id) })
    }

    /// What judges it, if this node may request it.
    fn verifier(&self, state: &Projections, coordinate: &PackageCoordinate) -> Result<Sha256Digest, WishError> {
        let package_type = &coordinate.package_type;
        let verifier = state.verifiers.current(package_type);
        let verifier = verifier.ok_or_else(|| WishError::NoVerifier { package_type: package_type.clone() })?;
        if requests_enough(state, &self.me) { Err(WishError::Busy) } else { Ok(verifier) }
    }

    /// What the request is for, as this node's mapping says. A pipeline that does not know the question, or is away, keeps nobody
    /// from building: the other judges have pipelines of their own.
    async fn source(&self, coordinate: &PackageCoordinate) -> Result<Option<PinnedSource>, WishError> {
        let why = match tokio::time::timeout(MAPPING_WAIT, self.sources.pinned(coordinate)).await {
            Ok(Ok(Mapped::Pinned(mapping))) => return Ok(Some(mapping.source)),
            Ok(Ok(Mapped::Unknown(_))) => "the pipeline does not know PUT /mapping".to_owned(),
            Ok(Err(SourceError::Refused(error))) => return Err(WishError::NotBuildable { sentence: error.sentence() }),
            Ok(Err(SourceError::Unavailable(error))) => return Err(WishError::SourceUnavailable { sentence: error.sentence() }),
            Ok(Err(error @ SourceError::Service(_))) => return Err(WishError::SourceUnavailable { sentence: error.to_string() }),
            Ok(Err(SourceError::Pipeline(error))) => error.to_string(),
            Err(_) => format!("the pipeline did not say within {} s", MAPPING_WAIT.as_secs()),
        };
        tracing::info!(%coordinate, why, "the build is requested without its source");
        Ok(None)
    }

    /// Waits until the build stands on this node's ledger, and says who requested it.
    async fn stands(&self, id: BuildId) -> Result<NodeId, WishError> {
        let requested_by = |state: &Projections| state.builds.get(&id).map(|build| build.requested_by);
        match ledger_wait::until(&mut self.consensus.watch(), REQUEST_WAIT, requested_by).await {
            Waited::Stands(node) => Ok(node),
            Waited::TimedOut => Err(WishError::TimedOut { waited: REQUEST_WAIT }),
            Waited::Stopped => Err(WishError::Stopped),
        }
    }

    async fn relay(&self, state: &Projections, wish: BuildWish) -> Result<BuildReceipt, WishError> {
        let mut failure = WishError::NoBuildNodeReachable { authorized: state.members.nodes().len() };
        for node in self.reachable(state, &wish.coordinate).await.into_iter().take(RELAYS_MAX) {
            let request = NodeRequest::Build { coordinate: wish.coordinate.clone(), again: wish.again };
            failure = match self.p2p.request(node, request).await {
                Ok(NodeResponse::Build(receipt)) if answers(state, &wish, &receipt) => {
                    return Ok(self.seen(receipt.into()).await);
                }
                Ok(NodeResponse::Build(_)) => WishError::Refused(format!("build node {node} answered with another build")),
                // Every honest node would say so; one alone does not decide what the network builds.
                Ok(NodeResponse::Error { code: peers::code::REFUSED, sentence }) => WishError::Refused(quoted(&sentence)),
                Ok(NodeResponse::Error { sentence, .. }) => {
                    WishError::Refused(format!("build node {node}: {}", quoted(&sentence)))
                }
                Ok(NodeResponse::VerifierModule { .. }) => {
                    WishError::Refused(format!("build node {node} answered something else"))
                }
                Err(error) => {
                    tracing::debug!(%node, %error, "a wish could not be relayed");
                    WishError::Refused(format!("build node {node} did not answer: {error}"))
                }
            };
        }
        Err(failure)
    }

    /// The connected authorized nodes, in an order that differs from package to package.
    async fn reachable(&self, state: &Projections, coordinate: &PackageCoordinate) -> Vec<NodeId> {
        let mut peers = self.p2p.watch_peers();
        let connected = async {
            loop {
                let mut nodes: Vec<NodeId> = {
                    peers.borrow_and_update();
                    self.p2p.peers().into_iter().filter(|peer| state.members.contains(peer)).collect()
                };
                if !nodes.is_empty() {
                    let first = coordinate.id.as_str().bytes().map(usize::from).sum::<usize>() % nodes.len();
                    nodes.rotate_left(first);
                    return nodes;
                }
                if peers.changed().await.is_err() {
                    return vec![];
                }
            }
        };
        tokio::time::timeout(PEER_WAIT, connected).await.unwrap_or_default()
    }

    /// A receipt of another node, once this node's own ledger says the same. A build that is on its way is one all the same.
    async fn seen(&self, receipt: BuildReceipt) -> BuildReceipt {
        if let BuildReceipt::Requested(id) | BuildReceipt::AlreadyOpen(id) = &receipt
            && let Err(error) = self.stands(*id).await
        {
            tracing::debug!(build_id = %id, %error, "the relayed build is not on this node's ledger yet");
        }
        receipt
    }

    /// Starts a wish that nobody waits for; says why not if nothing can come of it.
    pub(super) fn in_background(self: &Arc<Self>, coordinate: PackageCoordinate) -> Result<(), WishError> {
        let wish = BuildWish { coordinate, again: false };
        let view = self.consensus.view();
        let state = view.state.as_deref().ok_or(WishError::NoNetwork)?;
        if settled(state, &wish)?.is_some() {
            return Ok(());
        }
        let place = self.background_places.clone().try_acquire_owned().map_err(|_| WishError::Busy)?;
        let mut background = self.background.lock().unwrap_or_else(PoisonError::into_inner);
        if !background.take(&wish.coordinate, Instant::now())? {
            return Ok(());
        }
        drop(background);
        let wishes = self.clone();
        let asked_by = RequestContext::current();
        let span = tracing::error_span!("wish", request_id = asked_by.as_ref().map(RequestContext::id));
        let work = async move {
            let _place = place;
            let coordinate = wish.coordinate.clone();
            let receipt = match asked_by {
                Some(request) => request.scope(wishes.request(wish)).await,
                None => wishes.request(wish).await,
            };
            match receipt {
                Ok(receipt) => tracing::info!(%coordinate, ?receipt, "requested a build of what is not published"),
                Err(error) => tracing::info!(%coordinate, %error, "a build of what is not published cannot be requested"),
            }
        };
        // One of its own: that of the request ends with its answer.
        tokio::spawn(work.instrument(span));
        Ok(())
    }
}

/// The answer to a wish that needs no new build.
fn settled(state: &Projections, wish: &BuildWish) -> Result<Option<BuildReceipt>, WishError> {
    if state.members.is_empty() {
        return Err(WishError::NoAuthorizedNodes);
    }
    let coordinate = &wish.coordinate;
    let builds = builds_of(state, coordinate);
    if let Some((id, build)) = builds.first()
        && !build.status.is_closed()
    {
        return Ok(Some(BuildReceipt::AlreadyOpen(*id)));
    }
    if wish.again {
        return Ok(None);
    }
    let is_published = |build: &Build| matches!(build.status, BuildStatus::Published { .. });
    // The newest one vouches for the artifacts: while it is at risk, none are given out.
    if let Some((id, build)) = builds.iter().find(|(_, build)| is_published(build))
        && state.builds.at_risk(id).is_none()
    {
        let artifacts = build.agreement.as_ref().map_or(0, |agreement| agreement.artifacts as usize);
        return Ok(Some(BuildReceipt::AlreadyPublished { coordinate: coordinate.clone(), artifacts }));
    }
    Ok(builds.first().filter(|(_, build)| !is_published(build)).map(|(id, build)| BuildReceipt::NotPublished {
        build: *id,
        coordinate: coordinate.clone(),
        disputed: matches!(build.status, BuildStatus::Disputed { .. }),
    }))
}

/// Whether a node has as many builds on the ledger that are not finished as it may have.
fn requests_enough(state: &Projections, node: &NodeId) -> bool {
    state.builds.unfinished_of(node) >= UNFINISHED_BUILDS_PER_NODE_MAX
}

/// Whether a receipt of another node, which may be some builds ahead, is about what was wished for.
fn answers(state: &Projections, wish: &BuildWish, receipt: &WireReceipt) -> bool {
    match receipt {
        WireReceipt::Requested(id) | WireReceipt::AlreadyOpen(id) => {
            let next = state.next_attempt(&wish.coordinate);
            let mut attempts = next.saturating_sub(1)..=next.saturating_add(ATTEMPTS_AHEAD_MAX);
            attempts.any(|attempt| BuildId::of(state.network(), &wish.coordinate, attempt) == *id)
        }
        WireReceipt::AlreadyPublished { coordinate, .. } | WireReceipt::NotPublished { coordinate, .. } => {
            *coordinate == wish.coordinate
        }
    }
}

/// Every build of a package, the newest first.
pub(super) fn builds_of<'a>(state: &'a Projections, coordinate: &PackageCoordinate) -> Vec<(BuildId, &'a Build)> {
    let of_attempt = |attempt| {
        let id = BuildId::of(state.network(), coordinate, attempt);
        Some((id, state.builds.get(&id)?))
    };
    (0..state.next_attempt(coordinate)).rev().filter_map(of_attempt).collect()
}

/// A mark that a build is being proposed, for as long as it lives.
struct Proposing<'a> {
    all: &'a Mutex<BTreeSet<BuildId>>,
    id: BuildId,
}

impl<'a> Proposing<'a> {
    fn begin(all: &'a Mutex<BTreeSet<BuildId>>, id: BuildId) -> Option<Self> {
        all.lock().unwrap_or_else(PoisonError::into_inner).insert(id).then_some(Self { all, id })
    }
}

impl Drop for Proposing<'_> {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builds::plan::tests::Ledger;
    use ed25519_dalek::SigningKey;
    use pyrsia_ledger::projection::genesis;

    #[test]
    fn a_node_that_has_requested_enough_builds_keeps_no_other_from_requesting() {
        let mut ledger = Ledger::with_members(2);
        ledger.open_builds(1, UNFINISHED_BUILDS_PER_NODE_MAX);
        assert_eq!([0, 1].map(|node| requests_enough(&ledger.state, &ledger.node(node))), [false, true]);
    }

    #[test]
    fn a_receipt_about_another_package_is_no_answer() {
        let state = Projections::from_genesis(&genesis(&SigningKey::from_bytes(&[1; 32]), "test", [1; 32], 1)).unwrap();
        let [alpine, busybox] = ["alpine:3.16.0", "busybox:1"].map(|id| PackageCoordinate::new("docker", id).unwrap());
        let wish = BuildWish { coordinate: alpine.clone(), again: false };
        let build = |coordinate: &PackageCoordinate, attempt| BuildId::of(state.network(), coordinate, attempt);
        for attempt in [0, 1, ATTEMPTS_AHEAD_MAX] {
            assert!(answers(&state, &wish, &WireReceipt::Requested(build(&alpine, attempt))));
        }
        assert!(!answers(&state, &wish, &WireReceipt::Requested(build(&busybox, 0))));
        assert!(!answers(&state, &wish, &WireReceipt::AlreadyOpen(build(&alpine, ATTEMPTS_AHEAD_MAX + 1))));
        assert!(answers(&state, &wish, &WireReceipt::AlreadyPublished { coordinate: alpine, artifacts: 1 }));
        assert!(!answers(&state, &wish, &WireReceipt::AlreadyPublished { coordinate: busybox, artifacts: 1 }));
    }
}
