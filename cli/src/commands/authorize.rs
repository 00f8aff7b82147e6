//! `pyrsia authorize`: the node approves that another one, or itself, becomes a build node.

use super::{client, print, print_json, request_failure, settings};
use crate::arguments::AuthorizeArguments;
use crate::exit::Failure;
use pyrsia_registry::wire::{AuthorizeRequest, AuthorizeResponse};
use reqwest::StatusCode;

pub(super) async fn run(arguments: AuthorizeArguments) -> Result<(), Failure> {
    let settings = settings()?;
    let node = client(&settings)?.with_admin_token(arguments.admin_token, &settings);
    let request = AuthorizeRequest { peer_id: arguments.peer };
    let answer = node.post_text("/authorized_node", &request).await.map_err(|error| {
        let failure = request_failure("Authorize request failed with error", &error);
        match error.status() {
            Some(StatusCode::UNAUTHORIZED) => failure.hint(
                "run this command as the user who runs the node, or give the content of admin.token in the node's data folder \
                 with --admin-token or PYRSIA_ADMIN_TOKEN",
            ),
            _ => failure,
        }
    })?;
    // A node may answer with the status alone.
    let answer: Option<AuthorizeResponse> = serde_json::from_str(&answer).ok();
    if arguments.output.json {
        return print_json(&answer);
    }
    let explained = answer.map(|answer| answer.message).filter(|message| !message.is_empty());
    let explained = explained.map(|message| format!("{message}\n")).unwrap_or_default();
    print(&format!("Authorize request successfully handled.\n{explained}"))
}
