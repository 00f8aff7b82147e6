//! Authorizing a node: this node's approval as an event, and what follows from it, in words.

use std::time::Duration;

use pyrsia_ledger::certificate::absolute_majority;
use pyrsia_ledger::event::NodeAuthorizationApproved;
use pyrsia_ledger::{Event, NodeId, Projections, Refusal};
use serde::Serialize;

use crate::consensus::ConsensusHandle;
use crate::ledger_wait::{self, Waited};
use crate::standing::{self, NotStanding};

/// How long an approved node is given to activate itself before the answer says that it has not.
const ACTIVATION_WAIT: Duration = Duration::from_secs(5);

/// Where a candidate stands once this node's approval is on the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Authorized {
    /// More authorized nodes must approve.
    Pending { approvals: usize, needed: usize },
    /// It becomes authorized as soon as it is online and in sync.
    Approved,
    /// It is an authorized node.
    Active,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Authorization {
    pub node: NodeId,
    #[serde(flatten)]
    pub state: Authorized,
    /// How many authorized nodes there are, or will be once this one is active.
    pub members: usize,
    /// What the operator should know about a set of this size.
    pub note: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum AuthorizeError {
    #[error("Node with node ID {node} already exists in transparency log")]
    Already { node: NodeId },
    #[error(transparent)]
    NotStanding(#[from] NotStanding),
}

/// Approves `node` in this node's name and waits for what comes of it.
pub(crate) async fn authorize(consensus: &ConsensusHandle, me: NodeId, node: NodeId) -> Result<Authorization, AuthorizeError> {
    let not_standing = |source| match source {
        NotStanding::Refused(Refusal::AuthorizedAlready { node }) => AuthorizeError::Already { node },
        other => AuthorizeError::NotStanding(other),
    };
    if consensus.view().state.as_deref().is_some_and(|state| state.members.contains(&node)) {
        return Err(AuthorizeError::Already { node });
    }
    standing::may_decide(consensus, me)?;
    let event = Event::NodeAuthorizationApproved(NodeAuthorizationApproved { node });
    // Approved before: the answer is how far it got.
    let is_done = |refusal: &Refusal| matches!(refusal, Refusal::ApprovedAlready { .. });
    let stands = |state: &Projections| {
        let approved = state.members.candidate(&node).is_some_and(|candidate| candidate.approvals.contains(&me));
        (approved || state.members.contains(&node)).then(|| authorization(state, node))
    };
    let answer = standing::propose(consensus, event, is_done, stands).await.map_err(not_standing)?;
    if answer.state != Authorized::Approved {
        return Ok(answer);
    }
    let active = |state: &Projections| state.members.contains(&node).then(|| authorization(state, node));
    match ledger_wait::until(&mut consensus.watch(), ACTIVATION_WAIT, active).await {
        Waited::Stands(active) => Ok(active),
        Waited::TimedOut | Waited::Stopped => Ok(answer),
    }
}

fn authorization(state: &Projections, node: NodeId) -> Authorization {
    let authorizers = state.validators();
    let (status, members) = match (state.members.contains(&node), state.members.candidate(&node)) {
        (true, _) => (Authorized::Active, state.members.nodes().len()),
        (false, Some(candidate)) if candidate.approved_at.is_some() => (Authorized::Approved, state.members.nodes().len() + 1),
        (false, candidate) => {
            let approves = |author: &&NodeId| authorizers.contains(author);
            let approvals = candidate.map_or(0, |candidate| candidate.approvals.iter().filter(approves).count());
            let needed = absolute_majority(authorizers.nodes().len());
            (Authorized::Pending { approvals, needed }, state.members.nodes().len() + 1)
        }
    };
    Authorization { node, state: status, members, note: note(members) }
}

/// Blocks need more than two thirds of the authorized nodes, so that small sets depend on every one.
fn note(members: usize) -> Option<String> {
    let all = match members {
        2 => "both",
        3 => "all three",
        _ => return None,
    };
    Some(format!(
        "With {members} authorized nodes {all} must be online: the network stands still while one is away. From 4 on it tolerates the absence of one."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_that_tolerate_nobodys_absence_are_said_in_words() {
        assert!(note(2).is_some_and(|note| note.contains("both must be online")));
        assert!(note(3).is_some_and(|note| note.contains("all three must be online")));
        assert_eq!([note(1), note(4), note(7)], [None, None, None]);
    }
}
