//! `pyrsia ping`: does a node answer where the settings say it is?

use super::{REMINDER, node, print, print_json};
use crate::arguments::OutputArguments;
use crate::exit::Failure;

pub(super) async fn run(output: OutputArguments) -> Result<(), Failure> {
    node()?.get_text("/v2/").await.map_err(|error| Failure::new(format!("Error: {error}. {REMINDER}")))?;
    if output.json { print_json(&serde_json::json!({ "reachable": true })) } else { print("Connection Successful !!\n") }
}
