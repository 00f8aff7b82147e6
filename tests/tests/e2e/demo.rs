//! README's first command.

use pyrsia_tests::{clients, network::Cli};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_ends_with_a_verified_pull() {
    if !clients::present("the_demo_ends_with_a_verified_pull", &["git"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let printed = Cli::new(folder.path()).succeed(&["demo", "--exit", "--json"]);
    let summary: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("the summary is JSON: {error}\n{printed}"));
    let text = summary.to_string();
    assert!(text.contains("\"verified\":true"), "{summary:#}");
    assert!(text.contains("pyrsia/hello"), "{summary:#}");
}
