//! `pyrsia status`: how the node is doing.

use super::{REMINDER, node, print, print_json};
use crate::arguments::OutputArguments;
use crate::exit::Failure;
use humantime::format_duration;
use pyrsia_registry::wire::{ConsensusStatus, NodeStatus};
use std::time::{Duration, SystemTime};

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
    for line in status.consensus.iter().flat_map(agreement) {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// What keeps the network from making blocks, or may soon; nothing when all is well.
fn agreement(consensus: &ConsensusStatus) -> Vec<String> {
    let ConsensusStatus { quorum, validators, absent, .. } = consensus;
    let mut lines = vec![];
    if consensus.is_halted {
        lines.push(format!(
            "No block can be made: {quorum} of the {validators} authorized nodes must sign. What is published is served; \
             the network goes on by itself when enough of them are back."
        ));
    }
    if let Some(why) = &consensus.silence {
        lines.push(format!("This node signs nothing: {why}."));
    }
    for absent in absent {
        let since = SystemTime::UNIX_EPOCH + Duration::from_millis(absent.since_ms);
        let seconds = SystemTime::now().duration_since(since).unwrap_or_default().as_secs();
        lines.push(format!(
            "Missing:                     {}, for {}",
            absent.node,
            format_duration(Duration::from_secs(seconds))
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyrsia_registry::wire::AbsentNodeView;

    #[test]
    fn a_network_that_stands_still_says_who_is_missing() {
        let node = pyrsia_ledger::NodeId::from_public_key([3; 32]);
        let absent = vec![AbsentNodeView { node, since_ms: 0 }];
        let well = ConsensusStatus {
            quorum: 3,
            validators: 4,
            is_halted: false,
            absent: vec![],
            silence: None,
            running: None,
            waiting_events: 0,
        };
        assert!(agreement(&well).is_empty());
        let lines = agreement(&ConsensusStatus { is_halted: true, absent, ..well });
        assert!(lines[0].starts_with("No block can be made: 3 of the 4 authorized nodes must sign."), "{lines:?}");
        assert!(lines[1].contains(&node.to_string()), "{lines:?}");
    }
}
