//! Authorizing a node: the one call that needs the admin token.

use super::{body, error::Refused, json};
use crate::server::Front;
use crate::wire::{AuthorizationState, AuthorizeRequest, AuthorizeResponse};
use poem::http::StatusCode;
use poem::{Request, Response};
use pyrsia_ledger::NodeId;
use pyrsia_node::{Authorization, Authorized};

pub(crate) async fn authorize(front: &Front, mut request: Request) -> Result<Response, Refused> {
    let asked: AuthorizeRequest = body::read(&mut request).await?;
    let node: NodeId = asked.peer_id.trim().parse().map_err(|error| Refused::bad_request(format!("{error}")))?;
    if !front.admin.is_known_to(request.headers()) {
        return Err(Refused::without_admin_token("authorizing a node"));
    }
    let answer = front.node.authorize(node).await?;
    tracing::info!(%node, state = ?answer.state, "authorization approved by this node");
    Ok(json(status_of(&answer), &described(&answer)))
}

fn status_of(answer: &Authorization) -> StatusCode {
    match answer.state {
        Authorized::Pending { .. } => StatusCode::ACCEPTED,
        Authorized::Approved | Authorized::Active => StatusCode::CREATED,
    }
}

fn described(answer: &Authorization) -> AuthorizeResponse {
    let (state, mut message) = match answer.state {
        Authorized::Pending { approvals, needed } => (
            AuthorizationState::Pending,
            format!(
                "{approvals} of {needed} approvals are on the ledger; operators of other authorized nodes have to approve as well."
            ),
        ),
        Authorized::Approved => (
            AuthorizationState::Approved,
            "The node is approved and becomes authorized once it is online and in sync.".to_owned(),
        ),
        Authorized::Active => (AuthorizationState::Active, "The node is an authorized node.".to_owned()),
    };
    if let Some(note) = &answer.note {
        message.push(' ');
        message.push_str(note);
    }
    AuthorizeResponse { peer_id: answer.node, state, members: answer.members, message }
}
