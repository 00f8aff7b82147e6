//! `pyrsia status`: how the node is doing.

use super::{REMINDER, node, print, print_json};
use crate::arguments::OutputArguments;
use crate::exit::Failure;
use crate::size::shown;
use humantime::format_duration;
use pyrsia_registry::wire::{ConsensusStatus, ExchangeView, NodeStatus};
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
    for (label, value) in status.exchange.iter().flat_map(exchange) {
        text.push_str(&format!("{:<29}{value}\n", format!("{label}:")));
    }
    for line in status.consensus.iter().flat_map(agreement) {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// How the node is connected with others, and what has passed between them; what nobody decided or tried is left out.
fn exchange(exchange: &ExchangeView) -> Vec<(&'static str, String)> {
    let ExchangeView { direct_connections, relayed_connections, max_connections, holes_punched, holes_not_punched, .. } =
        exchange;
    let ExchangeView { fetched, not_fetched, received_bytes, sent_bytes, .. } = exchange;
    let carried = match relayed_connections {
        0 => String::new(),
        carried => format!(", {carried} through a relay"),
    };
    let mut lines = vec![("Connections", format!("{direct_connections} direct{carried}; {max_connections} at most"))];
    if holes_punched + holes_not_punched > 0 {
        lines.push(("Holes punched through NATs", format!("{holes_punched}, and {holes_not_punched} attempts failed")));
    }
    let reached = match exchange.reachability.as_str() {
        "public" => "directly".to_owned(),
        _ if !exchange.relays.is_empty() => {
            let relays: Vec<String> = exchange.relays.iter().map(ToString::to_string).collect();
            format!("through {}", relays.join(" and "))
        }
        "private" => "not at all: --relay-address names a node that carries connections".to_owned(),
        _ => "nobody has told whether they can".to_owned(),
    };
    lines.push(("Others reach this node", reached));
    match exchange.port_forwarding.as_str() {
        "off" => {}
        "asked" => lines.push(("Ports", "the gateway was asked and has not forwarded any".to_owned())),
        "forwarded" => lines.push(("Ports", "forwarded by the gateway".to_owned())),
        "no_gateway" => lines.push(("Ports", "no gateway answered that would forward them".to_owned())),
        "private_gateway" => lines.push(("Ports", "not forwarded: the gateway has no public address itself".to_owned())),
        other => lines.push(("Ports", other.to_owned())),
    }
    lines.push(("Fetched from other nodes", format!("{fetched} artifacts, {}; {not_fetched} failed", shown(*received_bytes))));
    lines.push(("Sent to other nodes", shown(*sent_bytes)));
    for (label, rate) in [("Upload limit", exchange.upload_rate), ("Download limit", exchange.download_rate)] {
        if let Some(rate) = rate {
            lines.push((label, format!("{} a second", shown(rate))));
        }
    }
    if exchange.distribution == "off" {
        lines.push(("Distribution", "off: it serves other nodes only what it owes them".to_owned()));
    }
    lines
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

    #[test]
    fn a_node_that_says_nothing_of_its_exchange_is_shown_without_it() {
        let older = r#"{"peers_count":1,"peer_id":"12D3KooWBgWeXNT1EKXo2omRhZVmkbvPgzZ5BcGjTfgKr586BSAn","peer_addrs":[],"version":"0.1.0","authorized":false}"#;
        let shown = in_words(&serde_json::from_str(older).unwrap());
        assert!(shown.starts_with("Connected Peers Count:       1\n") && !shown.contains("Connections"), "{shown}");
    }

    #[test]
    fn what_passes_between_nodes_is_told_and_what_nobody_decided_is_left_out() {
        let relay = pyrsia_ledger::NodeId::from_public_key([3; 32]);
        let usual = ExchangeView {
            distribution: "on".into(),
            upload_rate: None,
            download_rate: None,
            max_connections: 512,
            reachability: "unknown".into(),
            relays: vec![],
            port_forwarding: "off".into(),
            direct_connections: 3,
            relayed_connections: 0,
            holes_punched: 0,
            holes_not_punched: 0,
            fetched: 12,
            not_fetched: 1,
            received_bytes: 30 << 20,
            sent_bytes: 7,
        };
        let told = |view: &ExchangeView| {
            exchange(view).into_iter().map(|(label, value)| format!("{label}: {value}")).collect::<Vec<_>>()
        };
        let lines = [
            "Connections: 3 direct; 512 at most",
            "Others reach this node: nobody has told whether they can",
            "Fetched from other nodes: 12 artifacts, 30 MiB; 1 failed",
            "Sent to other nodes: 7 B",
        ];
        assert_eq!(told(&usual), lines);
        let hidden = ExchangeView {
            distribution: "off".into(),
            upload_rate: Some(5 << 20),
            reachability: "private".into(),
            relays: vec![relay],
            port_forwarding: "no_gateway".into(),
            relayed_connections: 2,
            holes_punched: 1,
            ..usual
        };
        let lines = [
            "Connections: 3 direct, 2 through a relay; 512 at most",
            "Holes punched through NATs: 1, and 0 attempts failed",
            &format!("Others reach this node: through {relay}"),
            "Ports: no gateway answered that would forward them",
            "Fetched from other nodes: 12 artifacts, 30 MiB; 1 failed",
            "Sent to other nodes: 7 B",
            "Upload limit: 5.0 MiB a second",
            "Distribution: off: it serves other nodes only what it owes them",
        ];
        assert_eq!(told(&hidden), lines);
    }
}
