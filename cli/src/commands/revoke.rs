//! `pyrsia revoke`: the node approves that another one, or itself, is a build node no more.

use super::{admin_failure, client, print, print_json, settings};
use crate::arguments::RevokeArguments;
use crate::exit::Failure;
use pyrsia_ledger::Height;
use pyrsia_registry::wire::{RevokeRequest, RevokeResponse};

pub(super) async fn run(arguments: RevokeArguments) -> Result<(), Failure> {
    let settings = settings()?;
    let node = client(&settings)?.with_admin_token(arguments.admin_token, &settings);
    let request = RevokeRequest { peer_id: arguments.peer, compromised_since: arguments.since.map(Height) };
    let answer: RevokeResponse = node
        .post("/api/v1/revocations", &request)
        .await
        .map_err(|error| admin_failure("Revoke request failed with error", &error))?;
    if arguments.output.json {
        return print_json(&answer);
    }
    print(&format!("Revoke request successfully handled.\n{}\n", answer.message))
}
