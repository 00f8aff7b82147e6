//! README's first command.

use pyrsia_tests::{clients, network::Cli};
use serde_json::Value;
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_ends_with_a_verified_pull() {
    if !clients::present("the_demo_ends_with_a_verified_pull", &["git"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (cli, kept) = (Cli::new(folder.path()), folder.path().join("kept"));
    let printed = cli.succeed(&["demo", "--exit", "--json", "--keep", kept.to_str().expect("UTF-8")]);
    let summary: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("the summary is JSON: {error}\n{printed}"));
    let judges = summary["build"]["judges"].as_array().expect("the judges");
    assert!(judges.len() == 4 && judges.iter().all(|judge| judge["agrees"] == true), "{summary:#}");
    // Every object that was pulled stands on the log with its hash.
    let pulled = &summary["pulled"];
    let objects = pulled["blobs"].as_array().expect("blobs").iter().chain([&pulled["manifest"]]);
    let pulled: BTreeSet<&str> = objects.filter_map(|object| object["sha256"].as_str()).collect();
    let records = summary["log"].as_array().expect("the log records");
    let logged: BTreeSet<&str> = records.iter().filter_map(|record| record["artifact_hash"].as_str()).collect();
    assert!(pulled.len() > 2, "{summary:#}");
    assert_eq!(pulled, logged);
    // Whoever has the folders can check all of it without the nodes.
    for node in ["build-node-1", "build-node-2", "build-node-3", "build-node-4", "regular-node"] {
        let printed = cli.succeed(&["audit", "--json", kept.join(node).to_str().expect("UTF-8")]);
        let report: Value = serde_json::from_str(&printed).expect("the report is JSON");
        assert!(report["clean"] == true && report["summary"]["events"].as_u64() > Some(10), "{report:#}");
    }
    let damaged = kept.join("build-node-1");
    let deep = ["audit", "--deep", "--json", damaged.to_str().expect("UTF-8")];
    let report: Value = serde_json::from_str(&cli.succeed(&deep)).expect("the report is JSON");
    let looked = &report["deep"];
    assert!(looked["artifacts_read"].as_u64() > Some(2) && looked["artifacts_absent"] == 0, "{looked:#}");
    assert!(looked["builds_verified"] == looked["builds"] && looked["builds"].as_u64() > Some(0), "{looked:#}");
    // One bit of a stored artifact is enough.
    let sha256 = pulled.iter().next().expect("an artifact");
    let blob = damaged.join("blobs").join(&sha256[..2]).join(sha256);
    let mut bytes = std::fs::read(&blob).expect("it is stored");
    bytes[0] ^= 1;
    std::fs::remove_file(&blob).and_then(|()| std::fs::write(&blob, bytes)).expect("the store is ours");
    let audit = cli.run(&deep);
    assert_eq!(audit.code, 1, "{}", audit.stderr);
    let report: Value = serde_json::from_str(&audit.stdout).expect("the report is JSON");
    let findings = report["findings"].as_array().expect("findings");
    assert!(!findings.is_empty() && findings.iter().all(|finding| finding["what"] == "bytes"), "{report:#}");
    assert!(findings[0]["sentence"].as_str().is_some_and(|sentence| sentence.contains(sha256)), "{report:#}");
}
