//! A package: what is published of it, and its builds.

use super::html::{Href, Html};
use super::{block_link, build_link, digest_link, moment};
use crate::management::error::Refused;
use crate::management::inspect::package_view;
use crate::server::Front;
use poem::Request;

/// How many of its builds are listed, the newest first.
const BUILDS_MAX: usize = 50;

pub(super) async fn content(front: &Front, package_type: &str, request: &Request) -> Result<Html, Refused> {
    let package = package_view(front, package_type, request).await?;
    let mut html = Html::default();
    html.markup("<p><strong>").text(format_args!("{} {}", package.package_type, package.package)).markup("</strong></p>\n");
    html.heading("Published");
    if package.records.is_empty() {
        html.markup("<p>").text("Nothing of it is published.").markup("</p>\n");
    } else {
        html.columns(&["artifact", "SHA-256", "bytes", "published", "build"]);
        for record in package.records.iter().rev() {
            html.markup("<tr><td>").text(&record.artifact.artifact_id).markup("</td><td>");
            digest_link(&mut html, &record.artifact.sha256);
            html.markup("</td><td>").text(record.artifact.size_bytes).markup("</td><td>block ");
            block_link(&mut html, record.height);
            html.text(format_args!(", {}", moment(record.time_ms))).markup("</td><td>");
            build_link(&mut html, &record.build_id);
            html.markup("</td></tr>\n");
        }
        html.markup("</table>\n");
    }
    html.heading("Builds").markup("<ul>\n");
    for build in package.builds.iter().take(BUILDS_MAX) {
        html.markup("<li>");
        build_link(&mut html, build);
        html.markup("</li>\n");
    }
    html.markup("</ul>\n<p>");
    let events = Href::with("/explore/search?type=", &package.package_type).and("&coordinate=", &package.package);
    html.link(&events, "Every event about it").markup(", ");
    if !package.records.is_empty() {
        let proof = Href::with("/api/v1/proofs/", &package.package_type).and("?id=", &package.package);
        html.link(&proof, "the proof of its newest publication").markup(", ");
    }
    let json = Href::with("/api/v1/packages/", &package.package_type).and("?id=", &package.package);
    html.link(&json, "as JSON").markup("</p>\n");
    Ok(html)
}
