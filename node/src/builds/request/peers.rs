//! Wishes of peers, and modules of verifiers that they ask for.
//!
//! Anybody can be a peer, under any number of names: what one of them, and all of them together, may have done is bounded.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use pyrsia_ledger::{PackageCoordinate, Projections};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Wishes, settled};
use crate::builds::rate::WishRate;
use crate::builds::wish::{BuildReceipt, BuildWish, WishError};
use crate::p2p::{InboundRequest, NodeRequest, NodeResponse, WireReceipt};

/// Wishes of peers that are worked on at the same time.
const PEER_WISHES_AT_ONCE_MAX: usize = 64;
/// Pieces of modules that are read for peers at the same time; wishes take no place of theirs.
const PIECES_AT_ONCE_MAX: usize = 16;
/// A peer may have a build that came to nothing tried again so long after it was requested.
const PEERS_AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);

/// Why a peer did not take a wish, as numbers on the wire.
pub(super) mod code {
    /// The wish itself is wrong; every node would say so.
    pub(in crate::builds::request) const REFUSED: u16 = 400;
    /// The pipeline of this node does not build it; that of another one may.
    pub(super) const NOT_BUILDABLE: u16 = 422;
    pub(super) const NOT_AUTHORIZED: u16 = 403;
    pub(super) const TOO_MANY: u16 = 429;
    pub(super) const UNAVAILABLE: u16 = 503;
}

impl Wishes {
    /// Answers the requests of peers.
    pub(in crate::builds) async fn serve(self: Arc<Self>, mut requests: mpsc::Receiver<InboundRequest>, stop: CancellationToken) {
        let (mut rate, mut working, mut reading) = (WishRate::default(), JoinSet::new(), JoinSet::new());
        loop {
            let InboundRequest { from, request, reply } = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = working.join_next() => continue,
                Some(_) = reading.join_next() => continue,
                request = requests.recv() => match request { Some(request) => request, None => break },
            };
            let (coordinate, again) = match request {
                NodeRequest::Build { coordinate, again } => (coordinate, again),
                NodeRequest::VerifierModule { sha256, offset } => {
                    if reading.len() < PIECES_AT_ONCE_MAX {
                        let verifiers = self.verifiers.clone();
                        reading.spawn(async move {
                            let _ = reply.send(verifiers.piece(sha256, offset).await);
                        });
                    }
                    continue;
                }
            };
            let granted = match rate.take(from, Instant::now()) {
                Ok(()) if working.len() >= PEER_WISHES_AT_ONCE_MAX => Err(WishError::Busy),
                Ok(()) => Ok(()),
                Err(retry_after) => Err(WishError::TooMany { peer: from.to_string(), retry_after }),
            };
            if let Err(error) = granted {
                // Whoever asked may have gone.
                let _ = reply.send(response(Err(error)));
                continue;
            }
            let wishes = self.clone();
            working.spawn(unless_gone(reply, async move { wishes.of_peer(BuildWish { coordinate, again }).await }));
        }
        working.shutdown().await;
        reading.shutdown().await;
    }

    async fn request_of_peer(&self, wish: BuildWish) -> Result<BuildReceipt, WishError> {
        let view = self.consensus.view();
        let state = view.state.as_deref().ok_or(WishError::NoNetwork)?;
        let time_ms = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as u64);
        if let Some(receipt) = settled_for_peer(state, &wish, time_ms)? {
            return Ok(receipt);
        }
        let granted = self.peer_requests.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        granted.map_err(|_| WishError::Busy)?;
        self.request(wish).await
    }

    async fn of_peer(&self, wish: BuildWish) -> NodeResponse {
        let view = self.consensus.view();
        if !view.state.as_deref().is_some_and(|state| state.members.contains(&self.me)) {
            let sentence = format!("{} is not an authorized node", self.me);
            return NodeResponse::Error { code: code::NOT_AUTHORIZED, sentence };
        }
        let PackageCoordinate { package_type, id } = &wish.coordinate;
        match self.package_types.parse(package_type.as_str(), id.as_str()).await {
            Ok(canonical) if canonical == wish.coordinate => response(self.request_of_peer(wish).await),
            Ok(canonical) => {
                let sentence = format!("{} is not in its canonical form, {canonical} is", wish.coordinate);
                NodeResponse::Error { code: code::REFUSED, sentence }
            }
            Err(error) => response(Err(error)),
        }
    }
}

/// Sends the answer, if whoever asked waits until it is there: nothing is done for one who is gone.
async fn unless_gone(mut reply: oneshot::Sender<NodeResponse>, answer: impl Future<Output = NodeResponse>) {
    tokio::select! {
        () = reply.closed() => {}
        answer = answer => drop(reply.send(answer)),
    }
}

/// The answer to a wish of a peer that needs no new build. What is published is built again only for those
/// whose node is authorized, and what came to nothing once in a while.
fn settled_for_peer(state: &Projections, wish: &BuildWish, time_ms: u64) -> Result<Option<BuildReceipt>, WishError> {
    let once = BuildWish { coordinate: wish.coordinate.clone(), again: false };
    let settled = settled(state, &once)?;
    let Some(BuildReceipt::NotPublished { build, .. }) = &settled else { return Ok(settled) };
    if !wish.again {
        return Ok(settled);
    }
    let requested_ms = state.builds.get(build).map_or(0, |build| build.requested_time_ms);
    let age = Duration::from_millis(time_ms.saturating_sub(requested_ms));
    match PEERS_AGAIN_AFTER.saturating_sub(age) {
        Duration::ZERO => Ok(None),
        wait => Err(WishError::Refused(format!(
            "the newest build of {} came to nothing; try again in {} s, or at an authorized node",
            wish.coordinate,
            wait.as_secs() + 1
        ))),
    }
}

fn response(answer: Result<BuildReceipt, WishError>) -> NodeResponse {
    match answer {
        Ok(receipt) => NodeResponse::Build(receipt.into()),
        Err(error) => {
            let code = match &error {
                WishError::TooMany { .. } | WishError::Busy => code::TOO_MANY,
                WishError::NoNetwork
                | WishError::NoBuildNodeReachable { .. }
                | WishError::SourceUnavailable { .. }
                | WishError::ModuleUnavailable { .. }
                | WishError::TimedOut { .. }
                | WishError::Stopped => code::UNAVAILABLE,
                WishError::NotBuildable { .. } => code::NOT_BUILDABLE,
                WishError::Coordinate { .. }
                | WishError::UnknownPackageType { .. }
                | WishError::NoAuthorizedNodes
                | WishError::NoVerifier { .. }
                | WishError::Refused(_) => code::REFUSED,
            };
            NodeResponse::Error { code, sentence: error.to_string() }
        }
    }
}

impl From<BuildReceipt> for WireReceipt {
    fn from(receipt: BuildReceipt) -> Self {
        match receipt {
            BuildReceipt::Requested(id) => Self::Requested(id),
            BuildReceipt::AlreadyOpen(id) => Self::AlreadyOpen(id),
            BuildReceipt::AlreadyPublished { coordinate, artifacts } => {
                Self::AlreadyPublished { coordinate, artifacts: artifacts as u32 }
            }
            BuildReceipt::NotPublished { build, coordinate, disputed } => Self::NotPublished { build, coordinate, disputed },
        }
    }
}

impl From<WireReceipt> for BuildReceipt {
    fn from(receipt: WireReceipt) -> Self {
        match receipt {
            WireReceipt::Requested(id) => Self::Requested(id),
            WireReceipt::AlreadyOpen(id) => Self::AlreadyOpen(id),
            WireReceipt::AlreadyPublished { coordinate, artifacts } => {
                Self::AlreadyPublished { coordinate, artifacts: artifacts as usize }
            }
            WireReceipt::NotPublished { build, coordinate, disputed } => Self::NotPublished { build, coordinate, disputed },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builds::plan::tests::{Ledger, built, failed};
    use futures::FutureExt as _;
    use pyrsia_ledger::event::BuildOutcome;
    use std::future::pending;

    /// What a peer is answered that wants a package to be built again, so long after it was asked for.
    fn again_for_peer(outcomes: &[BuildOutcome], after: Duration) -> Result<Option<BuildReceipt>, WishError> {
        let mut ledger = Ledger::with_members(outcomes.len() as u8);
        let id = ledger.open_build();
        ledger.judge_all(id, outcomes);
        ledger.publish(id);
        let build = ledger.state.builds.get(&id).unwrap();
        let wish = BuildWish { coordinate: build.coordinate.clone(), again: true };
        let time_ms = build.requested_time_ms + after.as_millis() as u64;
        settled_for_peer(&ledger.state, &wish, time_ms)
    }

    #[test]
    fn a_wish_ends_when_nobody_waits_for_its_answer() {
        let (reply, answered) = oneshot::channel();
        drop(answered);
        assert_eq!(unless_gone(reply, pending()).now_or_never(), Some(()));
        let (reply, mut answered) = oneshot::channel();
        let waiting = unless_gone(reply, pending()).now_or_never();
        assert!(waiting.is_none() && answered.try_recv().is_err());
    }

    #[test]
    fn peers_have_nothing_built_again_that_is_published_and_the_rest_once_in_a_while() {
        let long = 10 * PEERS_AGAIN_AFTER;
        let published = again_for_peer(&[built("a"), built("a")], long);
        assert!(matches!(published, Ok(Some(BuildReceipt::AlreadyPublished { artifacts: 2, .. }))), "{published:?}");
        for outcomes in [[failed(), failed()], [built("a"), built("b")]] {
            let soon = again_for_peer(&outcomes, PEERS_AGAIN_AFTER - Duration::from_secs(1));
            assert!(matches!(soon, Err(WishError::Refused(_))), "{soon:?}");
            assert_eq!(again_for_peer(&outcomes, PEERS_AGAIN_AFTER), Ok(None));
        }
    }
}
