//! `pyrsia verifier approve`: the node approves a module it has, in its own name.

use super::super::{admin_failure, client, print, print_json, settings};
use crate::arguments::ApproveArguments;
use crate::exit::Failure;
use pyrsia_registry::wire::{ApproveVerifierRequest, ApproveVerifierResponse};

pub(super) async fn run(arguments: ApproveArguments) -> Result<(), Failure> {
    let module =
        arguments.module.parse().map_err(|error| Failure::usage(format!("{:?} is no digest: {error}", arguments.module)))?;
    let settings = settings()?;
    let node = client(&settings)?.with_admin_token(arguments.admin_token, &settings);
    let request = ApproveVerifierRequest { module };
    let answer: ApproveVerifierResponse =
        node.post("/api/v1/verifiers", &request).await.map_err(|error| admin_failure("The verifier is not approved", &error))?;
    if arguments.output.json {
        return print_json(&answer);
    }
    print(&format!("{}\n", answer.message))
}
