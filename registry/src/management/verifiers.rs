//! Approving a verifier in this node's name, which needs the admin token.

use super::{body, error::Refused, json};
use crate::server::Front;
use crate::wire::{ApproveVerifierRequest, ApproveVerifierResponse};
use poem::http::StatusCode;
use poem::{Request, Response};
use pyrsia_node::VerifierApproval;

pub(crate) async fn approve(front: &Front, mut request: Request) -> Result<Response, Refused> {
    let asked: ApproveVerifierRequest = body::read(&mut request).await?;
    if !front.admin.is_known_to(request.headers()) {
        return Err(Refused::without_admin_token("approving a verifier"));
    }
    let standing = front.node.approve_verifier(asked.module).await?;
    tracing::info!(module = %standing.module, current = standing.current, "verifier approved by this node");
    let status = if standing.approvals < standing.needed { StatusCode::ACCEPTED } else { StatusCode::CREATED };
    Ok(json(status, &described(standing)))
}

fn described(standing: VerifierApproval) -> ApproveVerifierResponse {
    let VerifierApproval { package_type, module, approvals, needed, current } = standing;
    let message = if approvals < needed {
        format!(
            "{approvals} of {needed} approvals are on the ledger; operators of other authorized nodes have to approve as well."
        )
    } else if current {
        format!("Builds of {package_type} packages that are requested from now on are judged by this verifier.")
    } else {
        format!("The verifier is approved; a newer one judges {package_type} packages.")
    };
    ApproveVerifierResponse { package_type, module, approvals, needed, current, message }
}
