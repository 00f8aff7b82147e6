//! A build, judge by judge, with what differs where they do not agree.

use super::html::{Href, Html};
use super::{block_link, digest_link, moment, node_link, package_link};
use crate::management::builds::build_view;
use crate::management::error::Refused;
use crate::server::Front;
use crate::wire::{BuildView, JudgeView, dispute};
use pyrsia_ledger::Height;
use pyrsia_ledger::event::Vouch;

pub(super) fn content(front: &Front, id: &str) -> Result<Html, Refused> {
    let build = build_view(front, id)?;
    let mut html = Html::default();
    facts(&mut html, &build);
    html.heading("Judges").columns(&["judge", "stands", "committed", "shown", "result", "why"]);
    for judge in &build.judges {
        row(&mut html, judge);
    }
    html.markup("</table>\n");
    vouches(&mut html, &build);
    for dispute in &build.disputes {
        html.heading("What differs").markup("<p>as ");
        node_link(&mut html, &dispute.judge);
        html.markup(" reports in block ");
        block_link(&mut html, dispute.height);
        html.markup("</p>\n<pre>").text(dispute::lines(&dispute.report).join("\n")).markup("</pre>\n");
    }
    html.markup("<p>").link(&Href::with("/explore/search?q=", build.build_id), "Every event of it").markup(", ");
    html.link(&Href::with("/api/v1/builds/", build.build_id), "as JSON").markup("</p>\n");
    Ok(html)
}

fn facts(html: &mut Html, build: &BuildView) {
    html.markup("<table>\n");
    html.fact("build", |html| {
        html.code(build.build_id);
    });
    html.fact("package", |html| {
        package_link(html, build.package_type.as_str(), &build.package);
        html.text(format_args!(", attempt {}", build.attempt + 1));
    });
    html.fact("state", |html| {
        let state = serde_json::to_value(build.state).unwrap_or_default();
        html.markup("<strong>").text(state.as_str().unwrap_or_default()).markup("</strong>");
    });
    if let Some(risk) = &build.at_risk {
        html.fact("at risk", |html| {
            html.markup("<span class=\"bad\">not served</span> since block ");
            block_link(html, risk.height);
            html.text(": it has no majority without nodes whose keys were in other hands");
        });
    }
    html.fact("requested", |html| {
        html.text("in block ");
        block_link(html, build.requested_at);
        html.text(format_args!(" ({}) by ", moment(build.requested_time_ms)));
        node_link(html, &build.requested_by);
    });
    if let Some(source) = &build.source {
        html.fact("source", |html| {
            html.text(source);
        });
    }
    html.fact("verifier", |html| digest_link(html, &build.verifier));
    for (name, height) in
        [("results shown from", build.revealing_at), ("judged in", build.closed_at), ("published in", build.published_at)]
    {
        if let Some(height) = height {
            html.fact(name, |html| {
                html.text("block ");
                block_link(html, height);
            });
        }
    }
    html.fact("majority", |html| {
        html.text(format_args!("{} of {} judges", build.majority, build.judges.len()));
    });
    if let Some(agreement) = &build.agreement {
        html.fact("agreed on", |html| {
            html.text(format_args!("{} artifacts, result ", agreement.artifacts)).code(agreement.result);
        });
    }
    html.markup("</table>\n");
}

fn row(html: &mut Html, judge: &JudgeView) {
    let height = |html: &mut Html, height: Option<Height>| {
        html.markup("</td><td>");
        if let Some(height) = height {
            block_link(html, height);
        }
    };
    html.markup("<tr><td>");
    node_link(html, &judge.node);
    html.markup("</td><td>").text(&judge.means);
    height(html, judge.committed_at);
    height(html, judge.height);
    html.markup("</td><td>");
    if let Some(result) = &judge.result {
        html.code(result);
    }
    html.markup("</td><td>").text(judge.reason.as_deref().unwrap_or_default()).markup("</td></tr>\n");
}

fn vouches(html: &mut Html, build: &BuildView) {
    if build.vouches.is_empty() {
        return;
    }
    html.heading("Words about the bytes of others").columns(&["judge", "block", "result", "verdict"]);
    for vouch in &build.vouches {
        html.markup("<tr><td>");
        node_link(html, &vouch.judge);
        html.markup("</td><td>");
        block_link(html, vouch.height);
        html.markup("</td><td>").code(vouch.candidate).markup("</td><td>");
        match &vouch.verdict {
            Vouch::Same => html.text("the same but for what the verifier forgives"),
            Vouch::Different { reason } => html.text(format_args!("different: {reason}")),
            Vouch::Unavailable { reason } => html.text(format_args!("not looked at: {reason}")),
        };
        html.markup("</td></tr>\n");
    }
    html.markup("</table>\n");
}
