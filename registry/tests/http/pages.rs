//! The pages for people: what they show, and that nothing on the ledger or in a request becomes markup.

use super::fixture::Fixture;
use super::guest;
use super::pipeline::Pipeline;
use serde_json::json;
use std::collections::BTreeMap;

/// A name that a verifier may well allow: printable ASCII without spaces.
const HOSTILE: &str = "\"><script>alert('x')</script><img/src=x@1.0";
const HOSTILE_IN_ADDRESS: &str = "%22%3E%3Cscript%3Ealert%28%27x%27%29%3C%2Fscript%3E%3Cimg%2Fsrc%3Dx%401.0";
const HOSTILE_AS_TEXT: &str = "&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&lt;img/src=x@1.0";

/// A page, after everything was looked at that holds for all of them.
async fn page(fixture: &Fixture, path: &str, status: u16) -> String {
    let response = fixture.get(path).await;
    assert_eq!(response.status(), status, "{path}");
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8", "{path}");
    let policy = response.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'self';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let text = response.text().await.expect("text");
    for never in ["<script", "<img", "javascript:", "href=\"http", " src=", "<style", " style=", " onerror"] {
        assert!(!text.contains(never), "{path} has {never}: {text}");
    }
    for tag in ["table", "pre", "p", "ul", "code", "a", "main", "html"] {
        let count = |what: String| text.matches(&what).count();
        let opened = count(format!("<{tag}>")) + count(format!("<{tag} "));
        assert_eq!(opened, count(format!("</{tag}>")), "{path}: {tag} in {text}");
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_read_of_the_network_its_builds_and_its_packages_and_no_text_becomes_markup() {
    let pipeline = Pipeline::start(BTreeMap::from([("file".to_owned(), b"content".to_vec())])).await;
    let fixture = Fixture::founded_with(&pipeline.url, &[("demo.wasm", guest::component())]).await;
    fixture.authorize().await;
    let wish = json!({"package_type": "demo", "package": HOSTILE});
    let (status, answer) = fixture.post("/api/v1/builds", &wish).await;
    assert_eq!(status, 202, "{answer}");
    let build = answer["build_id"].as_str().expect("an id").to_owned();
    let published = async || fixture.json(&format!("/api/v1/builds/{build}")).await["state"] == "published";
    fixture.until("it is published", published).await;
    let record = fixture.json(&format!("/api/v1/packages/demo?id={HOSTILE_IN_ADDRESS}")).await["records"][0].clone();
    let height = record["height"].as_u64().expect("a height");
    let node = fixture.node.handle().node_id().to_string();

    let home = page(&fixture, "/", 200).await;
    for words in ["blocks can be made", "build node", &node, &format!("<a href=\"/explore/blocks/{height}\">{height}</a>")] {
        assert!(home.contains(words), "{words}: {home}");
    }
    let of_build = page(&fixture, &format!("/explore/builds/{build}"), 200).await;
    for words in ["published", &node, HOSTILE_AS_TEXT, &format!("href=\"/explore/packages/demo?id={HOSTILE_IN_ADDRESS}\"")] {
        assert!(of_build.contains(words), "{words}: {of_build}");
    }
    let of_package = page(&fixture, &format!("/explore/packages/demo?id={HOSTILE_IN_ADDRESS}"), 200).await;
    let proof = format!("/api/v1/proofs/demo?id={HOSTILE_IN_ADDRESS}");
    for words in [HOSTILE_AS_TEXT, &record["artifact"]["sha256"].as_str().expect("a digest")[..12], &build, &proof] {
        assert!(of_package.contains(words), "{words}: {of_package}");
    }
    assert_eq!(fixture.get(&proof).await.status(), 200, "the link to the proof leads to it");
    let of_block = page(&fixture, &format!("/explore/blocks/{height}"), 200).await;
    assert!(of_block.contains("AddArtifact") && of_block.contains(HOSTILE_AS_TEXT), "{of_block}");
    let found = page(&fixture, &format!("/explore/search?q={HOSTILE_IN_ADDRESS}"), 200).await;
    assert!(found.contains("AddArtifact") && found.contains("This is all there is up to block "), "{found}");
    let first = page(&fixture, "/explore/search?limit=1&operation=BuildResultCommitted&q=", 200).await;
    assert!(first.contains("There may be more") && first.contains(">Go on</a>"), "{first}");
    let nothing = page(&fixture, "/explore/search?q=%3Cscript%3Enothing", 200).await;
    assert!(nothing.contains("Nothing was found in the ledger up to block "), "{nothing}");

    for (path, status, words) in [
        ("/explore/search?sha256=%3Cscript%3E", 400, "sha256: a sha256 digest is"),
        ("/explore/builds/%3Cscript%3E", 400, "a build id is a UUID"),
        ("/explore/builds/c9ca3e57-aa84-8fab-a8be-381ab31e4916", 404, "no build with ID"),
        ("/explore/blocks/99999", 404, "this node has no block 99999"),
        ("/explore/packages/%3Cscript%3E?id=x", 404, "is no package type of this node"),
        ("/explore/packages/demo", 400, "missing field"),
        ("/explore/other", 404, "there is nothing at /explore/other"),
    ] {
        let text = page(&fixture, path, status).await;
        assert!(text.contains(words), "{path}: {text}");
    }
    let style = fixture.get("/explore/style.css").await;
    assert_eq!(style.headers()["content-type"], "text/css; charset=utf-8");
    assert_eq!(fixture.head("/").await.status(), 200);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_network_has_a_page_that_says_so() {
    let fixture = Fixture::without_network().await;
    let home = page(&fixture, "/", 200).await;
    assert!(home.contains("no network") && home.contains("regular node"), "{home}");
    page(&fixture, "/explore/search?q=x", 503).await;
    fixture.stop().await;
}
