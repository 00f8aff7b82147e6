//! Pages for people: the network, its newest blocks, and what is found in the ledger, without a script and without anything from
//! elsewhere.
//!
//! They show what `/api/v1` answers, from the same views. Nothing can be changed here. Every text goes through [`html`], and the
//! answer forbids a browser to run or fetch anything but the stylesheet.

mod block;
mod build;
mod home;
mod html;
mod package;
mod search;

use crate::management::error::Refused;
use crate::server::Front;
use html::{Href, Html};
use jiff::Timestamp;
use poem::http::{StatusCode, header};
use poem::{Request, Response};
use pyrsia_ledger::{BuildId, Height, NodeId};

/// Below this path stand all pages but the first.
pub(crate) const PATH: &str = "/explore";
const STYLE: &str = include_str!("pages/style.css");
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// What is shown of a digest where there is little room; the link has all of it.
const SHORT_DIGEST_CHARS: usize = 12;

pub(crate) async fn home(front: &Front) -> Result<Response, Refused> {
    Ok(page(StatusCode::OK, "Pyrsia", "", home::content(front).await?))
}

pub(crate) async fn search(front: &Front, request: &Request) -> Result<Response, Refused> {
    let (words, content) = search::content(front, request).await?;
    Ok(page(StatusCode::OK, "Search", &words, content))
}

pub(crate) fn build(front: &Front, id: &str) -> Result<Response, Refused> {
    Ok(page(StatusCode::OK, "Build", "", build::content(front, id)?))
}

pub(crate) async fn package(front: &Front, package_type: &str, request: &Request) -> Result<Response, Refused> {
    Ok(page(StatusCode::OK, "Package", "", package::content(front, package_type, request).await?))
}

pub(crate) async fn block(front: &Front, height: &str) -> Result<Response, Refused> {
    Ok(page(StatusCode::OK, "Block", "", block::content(front, height).await?))
}

pub(crate) fn style() -> Response {
    Response::builder().content_type("text/css; charset=utf-8").header(header::CACHE_CONTROL, "max-age=3600").body(STYLE)
}

/// Why a page is not shown.
pub(crate) fn refusal(status: StatusCode, sentence: &str) -> Response {
    let mut content = Html::default();
    content.markup("<p>").text(sentence).markup("</p>\n");
    page(status, "Not shown", "", content)
}

fn page(status: StatusCode, title: &'static str, searched: &str, content: Html) -> Response {
    let mut html = Html::default();
    html.markup("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>").text(title);
    html.markup("</title>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    html.markup("<link rel=\"stylesheet\" href=\"/explore/style.css\">\n</head>\n<body>\n<header><a href=\"/\">Pyrsia</a>\n");
    html.markup("<form action=\"/explore/search\" method=\"get\"><input type=\"search\" name=\"q\" aria-label=\"Search\" ");
    html.markup("placeholder=\"package, SHA-256, build or peer id\" value=\"").text(searched);
    html.markup("\"> <button>Search</button></form></header>\n<main>\n<h1>").text(title).markup("</h1>\n");
    html.append(content).markup("</main>\n</body>\n</html>\n");
    Response::builder()
        .status(status)
        .content_type("text/html; charset=utf-8")
        .header(header::CONTENT_SECURITY_POLICY, POLICY)
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(header::REFERRER_POLICY, "no-referrer")
        .header(header::CACHE_CONTROL, "no-cache")
        .body(html.into_string())
}

/// A time as people read it, in UTC.
fn moment(time_ms: u64) -> String {
    let time = i64::try_from(time_ms).ok().and_then(|time_ms| Timestamp::from_millisecond(time_ms).ok());
    time.map_or_else(|| format!("{time_ms} ms"), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

fn block_link(html: &mut Html, height: Height) {
    html.link(&Href::with("/explore/blocks/", height), height);
}

fn build_link(html: &mut Html, id: &BuildId) {
    html.link(&Href::with("/explore/builds/", id), id);
}

fn node_link(html: &mut Html, node: &NodeId) {
    html.markup("<code>").link(&Href::with("/explore/search?q=", node), node).markup("</code>");
}

fn package_link(html: &mut Html, package_type: &str, package: &str) {
    let to = Href::with("/explore/packages/", package_type).and("?id=", package);
    html.link(&to, format_args!("{package_type} {package}"));
}

/// The beginning of a digest, which leads to everything that names it.
fn digest_link(html: &mut Html, digest: &pyrsia_ledger::Sha256Digest) {
    let text = digest.to_string();
    html.markup("<code>").link(&Href::with("/explore/search?q=", digest), &text[..SHORT_DIGEST_CHARS]).markup("…</code>");
}
