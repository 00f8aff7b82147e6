//! What three builders made in different bytes, as users of Maven and Gradle get it.

use super::network::{GROUP, Network, artifact, fixture, greeting, greetings, open_folder, path, rules, settings};
use super::{requests, tampering};
use pyrsia_tests::clients;
use pyrsia_tests::maven::{Maven, Project};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// A project of a user that needs the library.
pub(super) struct Consumer {
    pub(super) project: Project,
}

impl Consumer {
    /// With an empty local repository; `version` may be a range.
    pub(super) fn new(folder: &Path, maven: &Maven, network: &Network, version: &str) -> Self {
        Self::expecting(folder, maven, network, version, version)
    }

    /// The same, whose test wants the greeting of a version that is `expected`.
    pub(super) fn expecting(folder: &Path, maven: &Maven, network: &Network, version: &str, expected: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(&format!("consumer-{}-", maven.version)).tempdir_in(folder);
        let folder = folder.expect("a folder for the project").keep();
        let node = network.node.url("/maven2");
        let texts =
            [("version", version), ("expected", expected), ("node", node.as_str()), ("repository", network.world.url.as_str())];
        let settings = settings(&network.node, &network.world);
        Self { project: Project::copy(&fixture("consumer"), &folder, &texts, &settings) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn maven_and_gradle_resolve_what_three_builders_made() {
    let test = "maven_and_gradle_resolve_what_three_builders_made";
    let Some(mavens) = Maven::all(test) else { return };
    if !clients::present(test, &["gradle"]) {
        return;
    }
    let folder = open_folder();
    let folder = folder.path();
    let repository = greetings(folder, &["1.0.0", "1.10.0", "1.9.0"]);
    let network = Network::start(folder, &repository, rules, |_, _| {}).await;
    let parent = format!("{GROUP}:greeting-parent:1.0.0");
    let builds = network.publish(&[&parent, &greeting("1.0.0"), &greeting("1.10.0"), &greeting("1.9.0")]).await;

    the_builders_agree_in_different_bytes(&network, &builds[1], folder).await;
    the_log_says_what_it_was_built_from(&network, &repository.commit_of("v1.0.0"));
    requests::files_and_metadata(&network).await;
    for maven in &mavens {
        a_project_is_built(&network, maven, folder);
    }
    gradle_resolves_a_range(&network, &mavens[0], folder);
    trusted_checksums_are_enforced(&network, &mavens, folder).await;
    settings_are_used_as_printed(&network, &mavens, folder);
    requests::mistakes(&network).await;
    tampering::in_a_store_and_on_the_way(network).await;
}

async fn the_builders_agree_in_different_bytes(network: &Network, build: &Value, folder: &Path) {
    let results: BTreeSet<&str> = (0..3).map(|judge| network.judge(build, judge)["result"].as_str().expect("built")).collect();
    assert!(results.len() >= 2, "the builds have the same bytes: {build:#}");
    let canonical: BTreeSet<&str> =
        (0..3).map(|judge| network.judge(build, judge)["canonical"].as_str().expect("built")).collect();
    assert_eq!(canonical.len(), 1, "{build:#}");
    for judge in 0..3 {
        let state = network.judge(build, judge)["state"].as_str().expect("a state");
        assert!(state.starts_with("agrees"), "{build:#}");
    }
    let vouches = build["vouches"].as_array().expect("vouches");
    assert!(!vouches.is_empty() && vouches.iter().all(|vouch| !vouch["verdict"].is_null()), "{build:#}");

    // The same is said by the verifier to whoever has two outputs.
    let outputs = [network.output(0, &greeting("1.0.0"), folder).await, network.output(1, &greeting("1.0.0"), folder).await];
    let [a, b] = outputs.each_ref().map(|output| output.to_str().expect("a path in UTF-8"));
    let printed = network.fleet.cli.succeed(&["compare", "--type", "maven", a, b]);
    assert!(printed.starts_with("the same, after these passes:"), "{printed}");
    assert!(printed.contains("manifest-build-info") && printed.contains("zip-time"), "{printed}");
}

fn the_log_says_what_it_was_built_from(network: &Network, commit: &str) {
    let printed = network.fleet.cli.succeed_at(&network.node, &["inspect-log", "maven", "--gav", &greeting("1.0.0")]);
    let records: Vec<Value> = serde_json::from_str(&printed).expect("the log is JSON");
    let names: BTreeSet<&str> = records.iter().filter_map(|record| record["package_specific_artifact_id"].as_str()).collect();
    let expected = [".jar", ".pom", "-sources.jar"].map(|suffix| artifact("1.0.0", suffix));
    assert_eq!(names, expected.iter().map(String::as_str).collect(), "{records:#?}");
    assert!(records.iter().all(|record| record["source_hash"] == commit), "{records:#?}");
}

fn a_project_is_built(network: &Network, maven: &Maven, folder: &Path) {
    let Consumer { project } = Consumer::new(folder, maven, network, "1.0.0");
    let printed = project.mvn_succeeds(maven, &["test"]);
    assert!(printed.contains("Tests run: 1, Failures: 0"), "{printed}");
    let jar = project.local_repository().join(path("1.0.0", ".jar"));
    assert!(jar.is_file(), "{} resolved it", maven.version);

    // Versions in Maven's order, which is not that of their letters, and a classifier.
    let Consumer { project } = Consumer::expecting(folder, maven, network, "[1.0,2.0)", "1.10.0");
    project.mvn_succeeds(maven, &["test"]);
    assert!(!project.local_repository().join(path("1.9.0", ".jar")).exists(), "{} takes the newest", maven.version);
}

fn gradle_resolves_a_range(network: &Network, maven: &Maven, folder: &Path) {
    for (version, expected) in [("1.0.0", "1.0.0"), ("[1.0,2.0)", "1.10.0")] {
        let Consumer { project } = Consumer::expecting(folder, maven, network, version, expected);
        let ended = project.gradle(&["test"]);
        assert_eq!(ended.code, 0, "gradle with {version}\n{}{}", ended.stdout, ended.stderr);
    }
}

/// A project in which Maven knows the checksum of each file of the network before it asks for it.
async fn trusted_checksums_are_enforced(network: &Network, mavens: &[Maven], folder: &Path) {
    for maven in mavens.iter().filter(|maven| maven.version != "installed") {
        let Consumer { project } = Consumer::new(folder, maven, network, "1.0.0");
        let checksums = project.folder.join(".mvn/checksums");
        let arguments = ["export", "maven-checksums", "--output", checksums.to_str().expect("a path in UTF-8")];
        let exported = network.fleet.cli.run_at(&network.node, &arguments);
        assert_eq!(exported.code, 0, "{exported:?}");
        let is_option = |line: &&str| line.starts_with("-D");
        let (strict, options): (Vec<&str>, Vec<&str>) =
            exported.stderr.lines().map(str::trim).filter(is_option).partition(|option| option.contains("failIfMissing"));
        assert!(!options.is_empty() && strict.len() == 1, "{exported:?}");
        let configuration = project.folder.join(".mvn/maven.config");
        std::fs::write(&configuration, options.join("\n")).expect("the project's options");
        project.mvn_succeeds(maven, &["test"]);

        // With the last option nothing is taken that the network did not publish, wherever it is from.
        let refused = project.mvn(maven, &["test", strict[0]]);
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(refused.code != 0 && said.contains("Missing from summaryFile trusted checksum"), "mvn {}\n{said}", maven.version);

        // Another digest in the file: these bytes are not taken, however right their own checksums are.
        let file = std::fs::read_dir(&checksums).expect("the exported file").flatten().map(|entry| entry.path()).next();
        let file = file.expect("one file");
        let text = std::fs::read_to_string(&file).expect("the exported file");
        let known = &network.records(&greeting("1.0.0")).await[&artifact("1.0.0", ".jar")];
        assert!(text.contains(known.as_str()), "{text}");
        std::fs::write(&file, text.replace(known.as_str(), &"0".repeat(64))).expect("the changed file");
        project.forget(GROUP);
        let refused = project.mvn(maven, &["test"]);
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(refused.code != 0 && said.to_lowercase().contains("checksum"), "mvn {}\n{said}", maven.version);
    }
}

/// With what `pyrsia settings` prints, everything comes from the node: a project resolves what was not published before only
/// as far as it has it.
fn settings_are_used_as_printed(network: &Network, mavens: &[Maven], folder: &Path) {
    for maven in mavens {
        let Consumer { project } = Consumer::new(folder, maven, network, "1.0.0");
        project.mvn_succeeds(maven, &["test"]);
        project.forget(GROUP);
        project.adopt();
        project.settle(&network.fleet.cli.succeed_at(&network.node, &["settings", "maven"]));
        let before = network.world.requests();
        project.mvn_succeeds(maven, &["test"]);
        assert_eq!(network.world.requests(), before, "{} asked nobody but the node", maven.version);
    }
}
