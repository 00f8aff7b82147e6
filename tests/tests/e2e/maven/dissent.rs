//! One of three builds is of something else: two honest ones publish, and the dissent is on record. Two are: nothing is published.

use super::clients::Consumer;
use super::network::{Network, greeting, greetings, open_folder, patched, path, rules};
use pyrsia_tests::git::Repository;
use pyrsia_tests::maven::Maven;
use serde_json::Value;

/// The versions, by what is wrong with them.
const MOVED_AT_ONE: &str = "2.0.0";
const MOVED_AT_TWO: &str = "2.1.0";
const CHANGED_AT_ONE: &str = "2.2.0";
const CHANGED_AT_TWO: &str = "2.3.0";
const BROKEN_AT_ONE: &str = "2.4.0";
const VERSIONS: [&str; 5] = [MOVED_AT_ONE, MOVED_AT_TWO, CHANGED_AT_ONE, CHANGED_AT_TWO, BROKEN_AT_ONE];

/// Moves the tag of a version to a commit that says something else.
fn patch(repository: &mut Repository, version: &str, word: &str) {
    let file = repository.path.join("lib/src/main/java/org/example/greeting/Greeting.java");
    let text = std::fs::read_to_string(&file).expect("the source");
    repository.check_out(&format!("v{version}"));
    std::fs::write(&file, text.replace("Hello", word)).expect("the source");
    repository.commit("say something else");
    repository.tag(&format!("v{version}"));
    repository.check_out("main");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_majority_did_not_build_from_the_source_is_not_published() {
    let test = "what_a_majority_did_not_build_from_the_source_is_not_published";
    let Some(mavens) = Maven::all(test) else { return };
    let folder = open_folder();
    let repository = greetings(folder.path(), &VERSIONS);
    let network = Network::start(folder.path(), &repository, rules, |number, source| {
        if number == 1 {
            patch(source, MOVED_AT_ONE, "Howdy");
        }
        if number > 0 {
            patch(source, MOVED_AT_TWO, "Howdy");
        }
    })
    .await;

    // A tag that points elsewhere in one builder's mirror: its node does not build what it was not asked for.
    let id = network.request(0, &greeting(MOVED_AT_ONE)).await;
    let build = network.closed(&id, "published").await;
    let moved = network.judge(&build, 1);
    assert_eq!(moved["state"], "abstained", "{moved:#}");
    assert!(
        moved["reason"].as_str().is_some_and(|reason| reason.contains(&repository.commit_of(&format!("v{MOVED_AT_ONE}")))),
        "{moved:#}"
    );
    says_hello(&network, MOVED_AT_ONE).await;

    // In two of them: nobody but the requester builds it, and that is no majority.
    let id = network.request(0, &greeting(MOVED_AT_TWO)).await;
    let build = network.closed(&id, "failed").await;
    assert_eq!(network.judge(&build, 0)["outcome"], "built", "{build:#}");
    is_not_had(&network, MOVED_AT_TWO).await;

    // A pipeline that answers with another class: two of three publish, the third stands there with what it built.
    network.relays[1].change(|file, bytes| if is_library(file) { patched(&bytes, "Howdy") } else { bytes });
    let id = network.request(0, &greeting(CHANGED_AT_ONE)).await;
    let build = network.closed(&id, "published").await;
    let (dissenter, agreement) = (network.judge(&build, 1), &build["agreement"]);
    assert_eq!((&dissenter["state"], &dissenter["outcome"]), (&"dissents".into(), &"built".into()), "{build:#}");
    assert_ne!(dissenter["canonical"], agreement["canonical"]);
    for honest in [0, 2] {
        let state = network.judge(&build, honest)["state"].as_str().expect("a state");
        assert!(state.starts_with("agrees"), "{build:#}");
    }
    let printed = network.fleet.succeed_at(0, &["build", "status", "--id", &id]);
    assert!(printed.contains(&network.fleet.peer_ids[1]), "{printed}");
    says_hello(&network, CHANGED_AT_ONE).await;

    // Two that answer with two other classes: three results, and the report says which file differs.
    network.relays[2].change(|file, bytes| if is_library(file) { patched(&bytes, "Hallo") } else { bytes });
    let id = network.request(0, &greeting(CHANGED_AT_TWO)).await;
    network.closed(&id, "disputed").await;
    let has_report = |build: &Value| build["disputes"].as_array().is_some_and(|reports| !reports.is_empty());
    let build = network.fleet.wait_for_build(0, &id, "a report of the dispute", has_report).await;
    let report = build["disputes"].to_string();
    assert!(report.contains("Greeting.class"), "{report}");
    is_not_had(&network, CHANGED_AT_TWO).await;
    for maven in &mavens {
        let consumer = Consumer::new(folder.path(), maven, &network, CHANGED_AT_TWO);
        let refused = consumer.project.mvn(maven, &["test"]);
        assert_ne!(refused.code, 0);
        // The node's sentence is shown by those that know problem details (RFC 9457).
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(said.contains(&greeting(CHANGED_AT_TWO).replace(":2", ":jar:2")), "{said}");
        if maven.version != "installed" {
            assert!(said.contains("not published in this network"), "{said}");
        }
    }

    // Bytes that are no jar: the verifier looks before its node binds itself.
    network.relays[2].be_honest();
    network.relays[1].change(|file, bytes| if is_library(file) { bytes[..bytes.len() / 2].to_vec() } else { bytes });
    let id = network.request(0, &greeting(BROKEN_AT_ONE)).await;
    let build = network.closed(&id, "published").await;
    let broken = network.judge(&build, 1);
    assert!(matches!(broken["outcome"].as_str(), Some("failed" | "abstained")), "{broken:#}");
    says_hello(&network, BROKEN_AT_ONE).await;
}

fn is_library(file: &str) -> bool {
    file.starts_with("greeting-") && file.ends_with(".jar") && !file.contains("sources")
}

/// What users get is what the source says.
async fn says_hello(network: &Network, version: &str) {
    let (status, jar) = network.get(&network.node, &path(version, ".jar")).await;
    assert_eq!(status, 200, "{version}");
    // Its class has the word that can be replaced.
    drop(patched(&jar.expect("a whole jar"), "Hello"));
}

/// Neither the builders nor the users' node give it out under any name.
async fn is_not_had(network: &Network, version: &str) {
    for node in network.fleet.nodes.iter().chain([&network.node]) {
        for suffix in [".jar", ".pom", ".jar.sha1", "-sources.jar"] {
            let (status, _) = network.get(node, &path(version, suffix)).await;
            assert_eq!(status, 404, "{version}{suffix} from {}", node.name);
        }
    }
    let (_, metadata) = network.get(&network.node, "org/example/greeting/greeting/maven-metadata.xml").await;
    assert!(!String::from_utf8_lossy(&metadata.expect("a document")).contains(version));
}
