//! `pyrsia nodes`: who is authorized, who is on the way in or out, and what each of them built.

use super::{node, print, print_json, request_failure};
use crate::arguments::OutputArguments;
use crate::exit::Failure;
use pyrsia_ledger::NodeId;
use pyrsia_ledger::projection::builds::Tally;
use pyrsia_registry::wire::NodesView;
use std::fmt::Write;

pub(super) async fn run(output: OutputArguments) -> Result<(), Failure> {
    let nodes: NodesView =
        node()?.get("/api/v1/nodes").await.map_err(|error| request_failure("The nodes cannot be shown", &error))?;
    if output.json { print_json(&nodes) } else { print(&in_words(&nodes)) }
}

fn in_words(view: &NodesView) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{words}");
    };
    if view.nodes.is_empty() {
        line("No node is authorized yet: 'pyrsia authorize --peer PEER_ID' on the founder's node authorizes the first.".into());
    } else {
        line(format!(
            "{} authorized nodes after block {}: {} of them make a majority, blocks are made while at most {} are away.",
            view.nodes.len(),
            view.height,
            view.majority,
            view.tolerated
        ));
    }
    for node in &view.nodes {
        let here = match (node.this_node, node.connected) {
            (true, _) => ", this node",
            (false, true) => ", connected",
            (false, false) => ", not connected",
        };
        line(format!("  {}  since block {}{here}; {}", node.node, node.since, built(&node.builds)));
    }
    for candidate in &view.candidates {
        let state = match candidate.approved_at {
            Some(height) => format!("approved in block {height}; becomes authorized once it is online and in sync"),
            None => {
                format!("approved by {} of {} needed: {}", candidate.approvals.len(), view.majority, listed(&candidate.approvals))
            }
        };
        line(format!("  {}  candidate, {state}", candidate.node));
    }
    for revocation in &view.revocations {
        let since = revocation.compromised_since.map(|since| format!(" as compromised since block {since}")).unwrap_or_default();
        line(format!(
            "  {}  its revocation{since} is approved by {} of {} needed: {}",
            revocation.node,
            revocation.approvals.len(),
            view.majority,
            listed(&revocation.approvals)
        ));
    }
    for former in &view.former {
        let why = match (&former.suspended_by, former.compromised_since) {
            (Some(event), _) => format!("suspended for contradictory signatures (event {event})"),
            (None, Some(since)) => format!("revoked as compromised since block {since}"),
            (None, None) => "revoked".to_owned(),
        };
        line(format!("  {}  blocks {} to {}, {why}; {}", former.node, former.since, former.until, built(&former.builds)));
    }
    text
}

fn listed(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}

fn built(tally: &Tally) -> String {
    let all = [
        (tally.agreed, "with the majority"),
        (tally.dissented, "dissenting"),
        (tally.failed, "failed"),
        (tally.abstained, "abstained"),
        (tally.timed_out, "timed out"),
        (tally.withheld, "withheld"),
    ];
    let told: Vec<String> = all.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if told.is_empty() { "no builds yet".to_owned() } else { format!("builds: {}", told.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_judge_did_is_told_without_what_it_did_not() {
        assert_eq!(built(&Tally::default()), "no builds yet");
        let tally = Tally { agreed: 7, withheld: 1, ..Tally::default() };
        assert_eq!(built(&tally), "builds: 7 with the majority, 1 withheld");
    }
}
