//! Who may authorize, revoke and accuse whom, and what approves a verifier.

use super::Refusal;
use crate::event::{EquivocationProved, NodeActivated, NodeAuthorizationApproved, NodeRevocationApproved, VerifierApproved};
use crate::identity::NodeId;
use crate::projection::Projections;
use crate::projection::members::add_approval;
use crate::{BlockHash, Height};

/// How many candidates that no majority has approved one node may approve of: anybody can make keys, and everybody keeps them.
pub const OPEN_CANDIDATES_PER_NODE_MAX: usize = 64;

/// The founder alone while nobody is authorized, the authorized nodes from then on.
fn may_authorize(state: &Projections, author: NodeId) -> Result<(), Refusal> {
    if state.is_validator(&author) { Ok(()) } else { Err(Refusal::NotAuthorized { author }) }
}

/// Whether an approval that was given counts a second time: when the others that were needed have left since, it decides.
fn decides(state: &Projections, approvals: &[NodeId]) -> bool {
    state.validators().has_majority(approvals)
}

pub(super) fn authorization(state: &Projections, author: NodeId, body: &NodeAuthorizationApproved) -> Result<(), Refusal> {
    let node = body.node;
    may_authorize(state, author)?;
    node.check()?;
    if state.members.suspended(&node).is_some() {
        return Err(Refusal::Suspended { node });
    }
    if state.members.contains(&node) {
        return Err(Refusal::AuthorizedAlready { node });
    }
    let candidate = state.members.candidate(&node);
    if let Some(candidate) = candidate.filter(|candidate| candidate.approvals.contains(&author)) {
        let is_decisive = candidate.approved_at.is_none() && decides(state, &candidate.approvals);
        return if is_decisive { Ok(()) } else { Err(Refusal::ApprovedAlready { author, node }) };
    }
    let mut approvals = candidate.map_or(vec![], |candidate| candidate.approvals.clone());
    add_approval(&mut approvals, author);
    let stays_open = !decides(state, &approvals);
    if stays_open && state.members.open_candidates_of(&author) >= OPEN_CANDIDATES_PER_NODE_MAX {
        return Err(Refusal::TooManyCandidates { author });
    }
    Ok(())
}

pub(super) fn activation(state: &Projections, author: NodeId, body: &NodeActivated) -> Result<(), Refusal> {
    if state.members.contains(&author) {
        return Err(Refusal::AuthorizedAlready { node: author });
    }
    if state.members.candidate(&author).is_none_or(|candidate| candidate.approved_at.is_none()) {
        return Err(Refusal::NotApproved { author });
    }
    if state.recent_block(Height(body.recent_height)) != Some(BlockHash(body.recent_block)) {
        return Err(Refusal::NotRecent { height: body.recent_height, hash: body.recent_block });
    }
    set_may_change(state)
}

/// A certificate of the next height must be checkable against one well-known set, and a quorum must not be diluted twice.
fn set_may_change(state: &Projections) -> Result<(), Refusal> {
    if has_changed(state) { Err(Refusal::SetChangesInThisBlock) } else { Ok(()) }
}

/// Whether an event before this one, in the same block, changed the set.
pub(super) fn has_changed(state: &Projections) -> bool {
    state.members.changed_at() == Some(state.height().next())
}

fn may_be_removed(state: &Projections, node: NodeId) -> Result<(), Refusal> {
    if state.members.len() == 1 {
        return Err(Refusal::LastNode { node });
    }
    set_may_change(state)
}

pub(super) fn revocation(state: &Projections, author: NodeId, body: &NodeRevocationApproved) -> Result<(), Refusal> {
    let (members, node, since) = (&state.members, body.node, body.compromised_since);
    if !members.contains(&author) {
        return Err(Refusal::NotAuthorized { author });
    }
    if let Some(since) = since.filter(|since| Height(*since) > state.height()) {
        return Err(Refusal::SinceAhead { since, newest: state.height() });
    }
    let is_member = members.contains(&node);
    // A candidate has said nothing that counts: it only can be kept out.
    let is_kept_out = since.is_none() && members.candidate(&node).is_some();
    if !is_member && !is_kept_out {
        let former = members.former_member(&node).ok_or(Refusal::NoMember { node })?;
        let is_earlier = since.is_some_and(|since| former.compromised_since.is_none_or(|known| Height(since) < known));
        if !is_earlier {
            return Err(Refusal::RevokedAlready { node });
        }
    }
    let mut approvals = members.revocation(&(node, since)).map_or(vec![], |revocation| revocation.approvals.clone());
    let has_approved = approvals.contains(&author);
    add_approval(&mut approvals, author);
    let is_decisive = decides(state, &approvals);
    if has_approved && !is_decisive {
        return Err(Refusal::RevocationApprovedAlready { author, node });
    }
    if is_decisive && is_member { may_be_removed(state, node) } else { Ok(()) }
}

/// Evidence convicts a node that is, was, or is about to be authorized, once.
pub(super) fn equivocation(state: &Projections, author: NodeId, body: &EquivocationProved) -> Result<(), Refusal> {
    let (members, node) = (&state.members, body.evidence.accused());
    if !members.contains(&author) {
        return Err(Refusal::NotAuthorized { author });
    }
    if members.suspended(&node).is_some() {
        return Err(Refusal::Suspended { node });
    }
    let is_member = members.contains(&node);
    if !is_member && members.candidate(&node).is_none() && members.former_member(&node).is_none() {
        return Err(Refusal::NoMember { node });
    }
    body.evidence.check(state.network()).map_err(Refusal::Evidence)?;
    if is_member { may_be_removed(state, node) } else { Ok(()) }
}

pub(super) fn verifier(state: &Projections, author: NodeId, body: &VerifierApproved) -> Result<(), Refusal> {
    may_authorize(state, author)?;
    match state.verifiers.module(&body.package_type, &body.module) {
        Some(module) if module.approvals.contains(&author) => {
            let is_decisive = module.approved_at.is_none() && decides(state, &module.approvals);
            if is_decisive { Ok(()) } else { Err(Refusal::VerifierApprovedAlready { author, module: body.module }) }
        }
        _ => Ok(()),
    }
}
