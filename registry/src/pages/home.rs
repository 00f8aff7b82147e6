//! The network at a glance: how this node is doing, what is being built, the newest blocks.

use super::html::{Href, Html};
use super::{block_link, build_link, moment, node_link, package_link};
use crate::management::error::Refused;
use crate::management::search;
use crate::management::status::{network_view, status_of};
use crate::server::Front;
use crate::wire::{BlockView, NetworkView, NodeStatus};
use pyrsia_ledger::log::TreeError;
use pyrsia_ledger::projection::builds::BuildStatus;
use pyrsia_ledger::{Height, Projections};

/// How many of the newest blocks are listed, and of the builds that are not over.
const BLOCKS_MAX: u64 = 10;
const BUILDS_MAX: usize = 20;

pub(super) async fn content(front: &Front) -> Result<Html, Refused> {
    let mut html = Html::default();
    let ledger = front.node.ledger();
    let status = status_of(&front.node);
    let Some(state) = ledger.state.as_deref() else {
        node(&mut html, &status);
        html.markup("<p>").text(pyrsia_node::WishError::NoNetwork).markup("</p>\n");
        return Ok(html);
    };
    network(&mut html, &network_view(state, &front.node));
    node(&mut html, &status);
    unfinished(&mut html, state);
    html.heading("Newest blocks").columns(&["block", "time", "events"]);
    for block in newest_blocks(front, state.height()).await? {
        html.markup("<tr><td>");
        block_link(&mut html, block.height);
        html.markup("</td><td>").text(moment(block.time_ms)).markup("</td><td>").text(kinds(&block)).markup("</td></tr>\n");
    }
    html.markup("</table>\n");
    Ok(html)
}

fn network(html: &mut Html, view: &NetworkView) {
    let consensus = &view.consensus;
    html.markup("<table>\n");
    html.fact("network", |html| {
        html.text(&view.name).markup(" ").code(view.network);
    });
    html.fact("newest block", |html| {
        block_link(html, view.height);
        html.text(format_args!(", {}", moment(view.time_ms)));
    });
    html.fact("ledger", |html| {
        html.text(format_args!("{} events, {} artifacts published", view.tree_size, view.artifacts));
    });
    html.fact("agreement", |html| {
        if consensus.is_halted {
            html.markup("<span class=\"bad\">no block can be made</span>");
        } else {
            html.markup("<span class=\"good\">blocks can be made</span>");
        }
        html.text(format_args!(": {} of {} authorized nodes must sign", consensus.quorum, consensus.validators));
    });
    for absent in &consensus.absent {
        html.fact("missing", |html| {
            node_link(html, &absent.node);
            html.text(format_args!(" since {}", moment(absent.since_ms)));
        });
    }
    for member in &view.members {
        html.fact("authorized", |html| {
            node_link(html, &member.node);
            html.text(" since block ");
            block_link(html, member.since);
        });
    }
    html.markup("</table>\n<p>").link(&Href::to("/api/v1/network"), "as JSON").markup("</p>\n");
}

fn node(html: &mut Html, status: &NodeStatus) {
    html.heading("This node").markup("<table>\n");
    html.fact("peer id", |html| node_link(html, &status.peer_id));
    html.fact("role", |html| {
        html.text(if status.authorized { "build node" } else { "regular node" });
    });
    html.fact("peers", |html| {
        html.text(status.peers_count);
    });
    html.fact("version", |html| {
        html.text(&status.version);
    });
    if let Some(why) = status.consensus.as_ref().and_then(|consensus| consensus.silence.as_ref()) {
        html.fact("signs nothing", |html| {
            html.text(why);
        });
    }
    html.markup("</table>\n");
}

fn unfinished(html: &mut Html, state: &Projections) {
    let judged = || state.builds.unfinished().filter(|(_, build)| !matches!(build.status, BuildStatus::Disputed { .. }));
    if judged().next().is_none() {
        return;
    }
    html.heading("Being built").columns(&["build", "package", "requested in block"]);
    for (id, build) in judged().take(BUILDS_MAX) {
        html.markup("<tr><td>");
        build_link(html, id);
        html.markup("</td><td>");
        package_link(html, build.coordinate.package_type.as_str(), build.coordinate.id.as_str());
        html.markup("</td><td>");
        block_link(html, build.requested_at);
        html.markup("</td></tr>\n");
    }
    html.markup("</table>\n");
    let more = judged().count().saturating_sub(BUILDS_MAX);
    if more > 0 {
        html.markup("<p>").text(format_args!("and {more} more")).markup("</p>\n");
    }
}

async fn newest_blocks(front: &Front, newest: Height) -> Result<Vec<BlockView>, Refused> {
    let read = search::ask(&front.searches, &front.node, move |tree| {
        let heights = (newest.0.saturating_sub(BLOCKS_MAX - 1)..=newest.0).rev().map(Height);
        let blocks = heights.map(|height| Ok(tree.block(height)?)).collect::<Result<Vec<_>, TreeError>>()?;
        Ok(blocks.iter().flatten().map(BlockView::from).collect())
    });
    read.await
}

/// Every kind of event of a block with how many it has of it.
fn kinds(block: &BlockView) -> String {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for event in &block.events {
        *counts.entry(&event.kind).or_default() += 1;
    }
    let told = counts.iter().map(|(kind, count)| if *count == 1 { (*kind).to_owned() } else { format!("{count} × {kind}") });
    told.collect::<Vec<_>>().join(", ")
}
