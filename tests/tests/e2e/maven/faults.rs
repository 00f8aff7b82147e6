//! Sources and builds that go wrong: each ends with a sentence that names what, and the pipeline goes on.

use super::network::open_folder;
use pyrsia_tests::clients;
use pyrsia_tests::deadline::{BUILT, wait_for};
use pyrsia_tests::git::Repository;
use pyrsia_tests::maven::{Maven, copy_with};
use pyrsia_tests::maven_repository::MavenRepository;
use pyrsia_tests::network::{Cli, Node, Pipeline, get_json};
use serde_json::{Value, json};
use std::path::Path;

/// What a build may take here: enough for those that end, and waited for by those that do not.
const BUILD_TIMEOUT: &str = "60s";

/// A project whose tests never end, or print for ever.
fn endless(folder: &Path, name: &str, body: &str) -> Repository {
    let folder = folder.join(name);
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/maven/endless");
    copy_with(&fixture, &folder, &[("name", name), ("body", body)]);
    let repository = Repository::of_folder(&folder);
    repository.tag("v1");
    repository
}

fn rule(name: &str, url: &str, tag: &str) -> Value {
    json!({
        "package_type": "Maven2", "package_specific_id": format!("org.example.faults:{name}:*"),
        "source_repository": { "Git": { "url": url, "tag": tag } },
        "program": { "recipe": { "skip_tests": false } },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_cannot_come_to_anything_ends_with_the_reason() {
    let test = "a_build_that_cannot_come_to_anything_ends_with_the_reason";
    if !clients::present(test, &["mvn", "jar", "git"]) {
        return;
    }
    let folder = open_folder();
    let folder = folder.path();
    let world = MavenRepository::start().await;
    let hangs = endless(folder, "hangs", "Thread.sleep(Long.MAX_VALUE);");
    let prints =
        endless(folder, "prints", "while (true) System.out.println(\"for ever and ever and ever and ever and ever and ever\");");
    let fails = endless(folder, "fails", "throw new AssertionError(\"two is not three\");");
    let gone = format!("file://{}/nowhere", folder.display());
    let rules = json!({ "rules": [
        rule("hangs", &hangs.url(), "v1"),
        rule("prints", &prints.url(), "v1"),
        rule("fails", &fails.url(), "v1"),
        rule("other", &fails.url(), "v1"),
        rule("untagged", &fails.url(), "v{version}"),
        rule("gone", &gone, "v1"),
    ]});
    let mapping = folder.join("mapping.json");
    std::fs::write(&mapping, rules.to_string()).expect("the mapping");
    let maven = Maven::installed().home;
    let arguments = ["--mapping", mapping.to_str().expect("UTF-8"), "--maven", maven.to_str().expect("UTF-8")];
    let arguments = [&arguments[..], &["--maven-repository", &world.url, "--build-timeout", BUILD_TIMEOUT]].concat();
    let pipeline = Pipeline::start(folder, "pipeline", &arguments).await;
    let arguments = ["--pipeline-service-endpoint", &pipeline.url, "--listen-only", "--init-blockchain"];
    let node = Node::start(folder, "node", &arguments).await;
    Cli::new(folder).authorize(&node, &node).await;

    // A source that is not there is refused before anything stands on the ledger.
    for (name, word) in [("gone", "nowhere"), ("untagged", "v9"), ("nothing", "org.example.faults:nothing:9")] {
        let (status, answer) = node.post("/build/maven", &json!({ "gav": format!("org.example.faults:{name}:9") })).await;
        assert!((400..600).contains(&status) && answer.to_string().contains(word), "{name}: {status} {answer}");
    }

    // The others fail on the ledger, each with its reason.
    let mut requested = vec![];
    for (name, reason) in [
        ("other", "org.example.faults:fails:1"),
        ("fails", "There are test failures"),
        ("hangs", "--build-timeout"),
        ("prints", "--build-timeout"),
    ] {
        let (status, answer) = node.post("/build/maven", &json!({ "gav": format!("org.example.faults:{name}:1") })).await;
        assert_eq!(status, 200, "{name}: {answer}");
        requested.push((name, reason, answer["build_id"].as_str().expect("a build").to_owned()));
    }
    for (name, reason, id) in requested {
        let build = wait_for(format!("the build of {name} to end"), BUILT, || async {
            node.build(&id).await.filter(|build| build["state"] == "failed")
        })
        .await;
        let told = build["judges"][0]["reason"].as_str().expect("a reason");
        assert!(told.contains(reason), "{name}: {told}");
    }
    // Nothing of them runs on.
    let status = get_json(&format!("{}/status", pipeline.url)).await.expect("the pipeline goes on");
    assert!(status.is_object(), "{status}");
    let left = std::process::Command::new("pgrep").args(["--full", "endless-tests-of-pyrsia"]).output().expect("pgrep runs");
    assert!(left.stdout.is_empty(), "{}", String::from_utf8_lossy(&left.stdout));
}
