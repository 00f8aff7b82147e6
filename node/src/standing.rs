//! What an operator asks for as an event of this node: proposed, and waited for until it stands in a block.
//!
//! Owns the reasons why it may not come to stand; what the event is, and what follows from it, is its caller's.

use std::sync::Arc;
use std::time::Duration;

use pyrsia_ledger::{Event, NodeId, Projections, Refusal};

use crate::consensus::{ConsensusHandle, ProposeError};
use crate::ledger_wait::{self, Waited};

/// How long a block with the event is waited for.
const BLOCK_WAIT: Duration = Duration::from_secs(30);

/// Why an event that an operator asked for does not stand on the ledger.
#[derive(Debug, thiserror::Error)]
pub enum NotStanding {
    #[error("this node follows no network: start one with --init-blockchain, or connect it with --peer")]
    NoNetwork,
    #[error("only an authorized node may do this, and this one is none: ask the operator of one of {}", listed(.0))]
    NotAuthorized(Vec<NodeId>),
    #[error("the ledger refuses it: {0}")]
    Refused(Refusal),
    #[error("no block with it within {} s: are more than two thirds of the authorized nodes online?", .0.as_secs())]
    TimedOut(Duration),
    #[error("this node has too much to do, try again later")]
    Busy,
    #[error("this node is stopping")]
    Stopped,
}

fn listed(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}

/// The newest state, if `me` is one of those who decide about the network.
pub(crate) fn may_decide(consensus: &ConsensusHandle, me: NodeId) -> Result<Arc<Projections>, NotStanding> {
    let state = consensus.view().state.clone().ok_or(NotStanding::NoNetwork)?;
    let validators = state.validators();
    if validators.contains(&me) { Ok(state) } else { Err(NotStanding::NotAuthorized(validators.nodes().to_vec())) }
}

/// Proposes `event` and waits until `stands` finds in the ledger what it leads to. A refusal that `is_done` means that it was
/// proposed before.
pub(crate) async fn propose<T>(
    consensus: &ConsensusHandle,
    event: Event,
    is_done: impl Fn(&Refusal) -> bool,
    stands: impl Fn(&Projections) -> Option<T>,
) -> Result<T, NotStanding> {
    match consensus.propose(event).await {
        Ok(_) => {}
        Err(ProposeError::Refused(refusal)) if is_done(&refusal) => {}
        Err(ProposeError::Refused(refusal)) => return Err(NotStanding::Refused(refusal)),
        Err(ProposeError::NoNetwork) => return Err(NotStanding::NoNetwork),
        Err(ProposeError::MempoolFull) => return Err(NotStanding::Busy),
        Err(ProposeError::Stopped) => return Err(NotStanding::Stopped),
    }
    match ledger_wait::until(&mut consensus.watch(), BLOCK_WAIT, stands).await {
        Waited::Stands(found) => Ok(found),
        Waited::TimedOut => Err(NotStanding::TimedOut(BLOCK_WAIT)),
        Waited::Stopped => Err(NotStanding::Stopped),
    }
}
