//! `pyrsia status`: how the node is doing.

use super::{REMINDER, node, print, print_json};
use crate::arguments::OutputArguments;
use crate::exit::Failure;
use pyrsia_registry::wire::NodeStatus;

pub(super) async fn run(output: OutputArguments) -> Result<(), Failure> {
    let found = node()?.get("/status").await;
    let status: NodeStatus = found.map_err(|error| Failure::new(format!("Error: {error}. {REMINDER}")))?;
    if output.json { print_json(&status) } else { print(&in_words(&status)) }
}

fn in_words(status: &NodeStatus) -> String {
    let role = if status.authorized { "build node" } else { "regular node" };
    let network = match (&status.network_name, &status.network, &status.height) {
        (Some(name), Some(network), Some(height)) => format!("{name} ({network}), block {height}"),
        _ => "none yet: connect the node with --peer, or found a network with --init-blockchain".to_owned(),
    };
    let mut text = format!(
        "Connected Peers Count:       {}\nPeer ID:                     {}\nRole:                        {role}\nNetwork:                     {network}\n",
        status.peers_count, status.peer_id,
    );
    for (number, address) in status.peer_addrs.iter().enumerate() {
        let label = if number == 0 { "Addresses:" } else { "" };
        text.push_str(&format!("{label:<29}{address}\n"));
    }
    text
}
