//! `pyrsia authorize`: the node approves that another one, or itself, becomes a build node.

use super::{admin_failure, client, print, print_json, settings};
use crate::arguments::AuthorizeArguments;
use crate::exit::Failure;
use pyrsia_registry::wire::{AuthorizeRequest, AuthorizeResponse};

pub(super) async fn run(arguments: AuthorizeArguments) -> Result<(), Failure> {
    let settings = settings()?;
    let node = client(&settings)?.with_admin_token(arguments.admin_token, &settings);
    let request = AuthorizeRequest { peer_id: arguments.peer };
    let answer = node
        .post_text("/authorized_node", &request)
        .await
        .map_err(|error| admin_failure("Authorize request failed with error", &error))?;
    // A node may answer with the status alone.
    let answer: Option<AuthorizeResponse> = serde_json::from_str(&answer).ok();
    if arguments.output.json {
        return print_json(&answer);
    }
    let explained = answer.map(|answer| answer.message).filter(|message| !message.is_empty());
    let explained = explained.map(|message| format!("{message}\n")).unwrap_or_default();
    print(&format!("Authorize request successfully handled.\n{explained}"))
}
