//! What is found in the ledger.

use super::html::{Href, Html};
use super::{block_link, build_link, moment, package_link};
use crate::management::error::Refused;
use crate::management::search::{asked, found};
use crate::server::Front;
use crate::wire::{FoundEvent, SearchOrder, SearchPage, SearchRequest};
use poem::Request;

/// The words that were searched for, and the page.
pub(super) async fn content(front: &Front, request: &Request) -> Result<(String, Html), Refused> {
    let asked: SearchRequest = asked(request)?;
    let page = found(front, &asked).await?;
    let mut html = Html::default();
    let end = format!("block {} ({})", page.holds_to_height, moment(page.holds_to_time_ms));
    let sentence = match (page.events.is_empty(), page.complete, asked.cursor.is_some()) {
        (true, true, false) => format!("Nothing was found in the ledger up to {end}."),
        (true, true, true) => format!("Nothing more was found in the ledger up to {end}."),
        (false, true, _) => format!("This is all there is up to {end}."),
        (_, false, _) => format!("There may be more: the search has come {}.", reached(&page)),
    };
    events(&mut html, &page.events);
    html.markup("<p>").text(sentence);
    if let Some(cursor) = &page.cursor {
        html.markup(" ").link(&next(&asked, cursor), "Go on");
    }
    html.markup("</p>\n");
    Ok((asked.q.unwrap_or_default(), html))
}

fn reached(page: &SearchPage) -> String {
    match (page.searched_to_height, page.order) {
        (Some(height), SearchOrder::Newest) => format!("down to block {height}"),
        (Some(height), SearchOrder::Oldest) => format!("up to block {height}"),
        (None, _) => "nowhere yet".to_owned(),
    }
}

/// The same question from the cursor on.
fn next(asked: &SearchRequest, cursor: &str) -> Href {
    let mut href = Href::with("/explore/search?cursor=", cursor);
    for (name, value) in [
        ("&q=", &asked.q),
        ("&sha256=", &asked.sha256),
        ("&build=", &asked.build),
        ("&coordinate=", &asked.coordinate),
        ("&type=", &asked.package_type),
        ("&builder=", &asked.builder),
        ("&role=", &asked.role),
        ("&operation=", &asked.operation),
        ("&since=", &asked.since),
        ("&until=", &asked.until),
        ("&from=", &asked.from),
        ("&to=", &asked.to),
        ("&order=", &asked.order),
        ("&limit=", &asked.limit),
    ] {
        if let Some(value) = value {
            href = href.and(name, value);
        }
    }
    href
}

/// Events as a table.
pub(super) fn events(html: &mut Html, events: &[FoundEvent]) {
    if events.is_empty() {
        return;
    }
    html.columns(&["block", "time", "operation", "about", "what it says"]);
    for found in events {
        html.markup("<tr><td>");
        block_link(html, found.height);
        html.markup("</td><td>").text(moment(found.time_ms)).markup("</td><td>").text(&found.operation).markup("</td><td>");
        if let (Some(package_type), Some(package)) = (&found.package_type, &found.package) {
            package_link(html, package_type.as_str(), package);
        }
        if let Some(build) = &found.build_id {
            html.markup("<br>build ");
            build_link(html, build);
        }
        html.markup("</td><td><pre>").text(&found.says).markup("</pre><small>event ").code(found.event.id);
        html.markup("</small></td></tr>\n");
    }
    html.markup("</table>\n");
}
