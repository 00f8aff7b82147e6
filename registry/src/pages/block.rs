//! A block: what its header says, who made it final, and its events.

use super::html::{Href, Html};
use super::{block_link, moment, node_link, search};
use crate::management::error::Refused;
use crate::management::log::block_view;
use crate::management::search::found;
use crate::server::Front;
use crate::wire::SearchRequest;
use pyrsia_ledger::Height;

pub(super) async fn content(front: &Front, height: &str) -> Result<Html, Refused> {
    let block = block_view(front, height).await?;
    let mut html = Html::default();
    html.markup("<table>\n");
    html.fact("block", |html| {
        html.text(block.height);
    });
    html.fact("time", |html| {
        html.text(moment(block.time_ms));
    });
    html.fact("hash", |html| {
        html.code(block.hash);
    });
    if let Some(before) = block.height.0.checked_sub(1) {
        html.fact("parent", |html| {
            block_link(html, Height(before));
            html.markup(" ").code(block.parent);
        });
    }
    html.fact("tree", |html| {
        html.text(format_args!("{} events, root ", block.tree_size)).code(block.tree_root);
    });
    html.fact("state root", |html| {
        html.code(block.state_root);
    });
    html.fact("proposed by", |html| node_link(html, &block.proposer));
    for signer in &block.signers {
        html.fact("final by", |html| node_link(html, signer));
    }
    html.markup("</table>\n<p>").link(&Href::with("/api/v1/blocks/", block.height), "as JSON").markup("</p>\n");
    html.heading("Events");
    // The newest block may be in no index yet.
    let (height, order) = (Some(block.height.to_string()), Some("oldest".to_owned()));
    let asked = SearchRequest { from: height.clone(), to: height, order, limit: Some("1000".into()), ..SearchRequest::default() };
    let page = found(front, &asked).await?;
    search::events(&mut html, &page.events);
    if !page.complete {
        html.markup("<p>").text("and more").markup("</p>\n");
    }
    Ok(html)
}
