//! The set of authorized nodes: who is in it, who left it and how, and this node's word on a revocation.

use super::{body, error::Refused, json};
use crate::server::Front;
use crate::wire::{
    AtRiskView, AuthorizedNodeView, FormerNodeView, NodesView, PendingRevocationView, RevocationState, RevokeRequest,
    RevokeResponse,
};
use poem::http::StatusCode;
use poem::{Request, Response};
use pyrsia_ledger::certificate::absolute_majority;
use pyrsia_ledger::projection::builds::BuildStatus;
use pyrsia_ledger::{BuildId, Height, NodeId, PackageCoordinate, Projections};
use pyrsia_node::{Revocation, Revoked};

pub(crate) async fn revoke(front: &Front, mut request: Request) -> Result<Response, Refused> {
    let asked: RevokeRequest = body::read(&mut request).await?;
    let node: NodeId = asked.peer_id.trim().parse().map_err(|error| Refused::bad_request(format!("{error}")))?;
    if !front.admin.is_known_to(request.headers()) {
        return Err(Refused::without_admin_token("revoking a node"));
    }
    let answer = front.node.revoke(node, asked.compromised_since).await?;
    tracing::info!(%node, state = ?answer.state, "revocation approved by this node");
    let status = match answer.state {
        Revoked::Pending { .. } => StatusCode::ACCEPTED,
        Revoked::Done { .. } => StatusCode::CREATED,
    };
    Ok(json(status, &described(&answer)))
}

fn described(answer: &Revocation) -> RevokeResponse {
    let (state, at_risk, message) = match answer.state {
        Revoked::Pending { approvals, needed } => (
            RevocationState::Pending,
            0,
            format!(
                "{approvals} of {needed} approvals are on the ledger; operators of other authorized nodes have to approve as well, with the same --since."
            ),
        ),
        Revoked::Done { at_risk: 0 } => (RevocationState::Revoked, 0, "The node is authorized no more.".to_owned()),
        Revoked::Done { at_risk } => (
            RevocationState::Revoked,
            at_risk,
            format!(
                "The node is authorized no more. {at_risk} published builds have no majority without it and are not served: 'pyrsia log at-risk' lists them, 'pyrsia build TYPE … --again' has them rebuilt."
            ),
        ),
    };
    RevokeResponse { peer_id: answer.node, state, members: answer.members, at_risk, message }
}

pub(crate) fn nodes(front: &Front) -> Result<Response, Refused> {
    let view = front.node.ledger();
    let state = view.state.as_deref().ok_or_else(Refused::no_network)?;
    Ok(json(StatusCode::OK, &nodes_view(state, front.node.node_id(), &front.node.peers())))
}

fn nodes_view(state: &Projections, me: NodeId, peers: &[NodeId]) -> NodesView {
    let members = &state.members;
    let authorized = |node: NodeId, since: Height| AuthorizedNodeView {
        node,
        since,
        this_node: node == me,
        connected: node == me || peers.contains(&node),
        builds: state.builds.tally(&node),
    };
    let count = members.nodes().len();
    NodesView {
        height: state.height(),
        majority: absolute_majority(count),
        tolerated: count.saturating_sub(1) / 3,
        nodes: members.active().map(|(node, member)| authorized(*node, member.since)).collect(),
        candidates: members.candidates().map(super::status::candidate_view).collect(),
        revocations: members
            .revocations()
            .map(|((node, since), revocation)| PendingRevocationView {
                node: *node,
                compromised_since: since.map(Height),
                approvals: revocation.approvals.clone(),
            })
            .collect(),
        former: members
            .former()
            .map(|(node, former)| FormerNodeView {
                node: *node,
                since: former.since,
                until: former.until,
                compromised_since: former.compromised_since,
                suspended_by: members.suspended(node).map(|suspension| *suspension.event.digest()),
                builds: state.builds.tally(node),
            })
            .collect(),
    }
}

pub(crate) fn at_risk(front: &Front) -> Result<Response, Refused> {
    let view = front.node.ledger();
    let state = view.state.as_deref().ok_or_else(Refused::no_network)?;
    let builds: Vec<AtRiskView> = state
        .builds
        .all_at_risk()
        .filter_map(|(id, risk)| {
            let PackageCoordinate { package_type, id: package } = state.builds.get(id)?.coordinate.clone();
            let artifacts = state.builds.chosen(id).map(|(_, artifacts)| artifacts).unwrap_or_default();
            Some(AtRiskView {
                package_type,
                package: package.into(),
                build_id: *id,
                artifacts: artifacts.iter().map(|artifact| artifact.artifact_id.to_string()).collect(),
                at_risk_since: risk.height,
                lost: risk.lost.clone(),
                rebuilt_by: rebuilt(state, id),
            })
        })
        .collect();
    Ok(json(StatusCode::OK, &builds))
}

/// A later build of the package of `id` that is published and has its majority.
fn rebuilt(state: &Projections, id: &BuildId) -> Option<BuildId> {
    let old = state.builds.get(id)?;
    (old.attempt + 1..state.builds.attempts(&old.coordinate)).rev().find_map(|attempt| {
        let newer = BuildId::of(state.network(), &old.coordinate, attempt);
        let published = matches!(state.builds.get(&newer)?.status, BuildStatus::Published { .. });
        (published && state.builds.at_risk(&newer).is_none()).then_some(newer)
    })
}
