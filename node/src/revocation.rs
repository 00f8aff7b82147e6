//! Revoking a node's authorization: this node's approval as an event, and what follows from it, in words.

use pyrsia_ledger::certificate::absolute_majority;
use pyrsia_ledger::event::NodeRevocationApproved;
use pyrsia_ledger::{Event, Height, NodeId, Projections, Refusal};

use crate::consensus::ConsensusHandle;
use crate::standing::{self, NotStanding};

/// Where a revocation stands once this node's approval is on the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// More authorized nodes must approve.
    Pending { approvals: usize, needed: usize },
    /// The node is authorized no more, and not about to be. So many published builds have no majority left without it.
    Done { at_risk: usize },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub node: NodeId,
    pub compromised_since: Option<Height>,
    pub state: Revoked,
    /// How many authorized nodes there are.
    pub members: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    #[error("{node} is not an authorized node")]
    NotAuthorized { node: NodeId },
    #[error("block {since} does not exist: the newest is {newest}")]
    NoSuchBlock { since: Height, newest: Height },
    #[error(transparent)]
    NotStanding(#[from] NotStanding),
}

/// Approves the revocation of `node` in this node's name and waits for what comes of it.
pub(crate) async fn revoke(
    consensus: &ConsensusHandle,
    me: NodeId,
    node: NodeId,
    since: Option<Height>,
) -> Result<Revocation, RevokeError> {
    let state = standing::may_decide(consensus, me)?;
    if let Some(since) = since.filter(|since| *since > state.height()) {
        return Err(RevokeError::NoSuchBlock { since, newest: state.height() });
    }
    let is_known = state.members.contains(&node) || state.members.former_member(&node).is_some();
    if !is_known && state.members.candidate(&node).is_none() {
        return Err(RevokeError::NotAuthorized { node });
    }
    let event = Event::NodeRevocationApproved(NodeRevocationApproved { node, compromised_since: since.map(|since| since.0) });
    // Approved before: the answer is how far it got.
    let is_done =
        |refusal: &Refusal| matches!(refusal, Refusal::RevocationApprovedAlready { .. } | Refusal::RevokedAlready { .. });
    let stands = |state: &Projections| revocation(state, me, node, since);
    Ok(standing::propose(consensus, event, is_done, stands).await?)
}

/// None while this node's approval is not on the ledger.
fn revocation(state: &Projections, me: NodeId, node: NodeId, since: Option<Height>) -> Option<Revocation> {
    let pending = state.members.revocations().find(|((of, from), _)| *of == node && *from == since.map(|since| since.0));
    // Of a candidate nothing is left, of a former member since when its word does not count.
    let is_out = !state.members.contains(&node) && state.members.candidate(&node).is_none();
    let former = state.members.former_member(&node);
    let done = is_out && (since.is_none() || former.is_some_and(|former| former.compromised_since == since));
    let revoked = match pending {
        _ if done => Revoked::Done { at_risk: state.builds.all_at_risk().filter(|(_, risk)| risk.lost.contains(&node)).count() },
        Some((_, revocation)) if revocation.approvals.contains(&me) => {
            let members = state.members.nodes();
            let approvals = revocation.approvals.iter().filter(|author| members.contains(author)).count();
            Revoked::Pending { approvals, needed: absolute_majority(members.len()) }
        }
        _ => return None,
    };
    Some(Revocation { node, compromised_since: since, state: revoked, members: state.members.nodes().len() })
}
