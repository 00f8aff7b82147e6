//! A library of others, from the sources that it was released with, built by three nodes.

use super::network::{Network, open_folder};
use pyrsia_tests::clients;
use pyrsia_tests::git::Repository;
use pyrsia_tests::maven_repository::MavenRepository;
use pyrsia_tests::program::{run, succeed};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Apache-2.0; its licence and notice are part of its sources.
const LIBRARY: &str = "commons-codec:commons-codec:1.17.1";
const FOLDER: &str = "commons-codec/commons-codec/1.17.1/commons-codec-1.17.1";
const TAG: &str = "rel/commons-codec-1.17.1";

/// What the release's sources and pom make of a source folder, as in its own repository but for its tests.
async fn repository(folder: &Path, world: &MavenRepository) -> Repository {
    let root = folder.join("commons-codec");
    let (code, resources) = (root.join("src/main/java"), root.join("src/main/resources"));
    std::fs::create_dir_all(&code).expect("a folder of the source");
    let archive = folder.join("sources.jar");
    std::fs::write(&archive, world.fetch(&format!("{FOLDER}-sources.jar")).await).expect("the sources");
    succeed(Command::new("jar").current_dir(&code).arg("xf").arg(&archive));
    std::fs::write(root.join("pom.xml"), world.fetch(&format!("{FOLDER}.pom")).await).expect("the pom");
    for text in ["LICENSE.txt", "NOTICE.txt"] {
        std::fs::rename(code.join("META-INF").join(text), root.join(text)).expect("it is part of the sources");
    }
    std::fs::remove_dir_all(code.join("META-INF")).expect("a folder of the archive");
    move_resources(&code, &resources);
    let repository = Repository::of_folder(&root);
    repository.tag(TAG);
    repository
}

fn move_resources(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder of the source").flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            move_resources(&path, &target);
        } else if path.extension().is_none_or(|extension| extension != "java") {
            std::fs::create_dir_all(to).expect("a folder of the resources");
            std::fs::rename(path, target).expect("it is moved within the source");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_library_is_built_from_its_sources_by_three_nodes() {
    let test = "a_released_library_is_built_from_its_sources_by_three_nodes";
    if !clients::present(test, &["mvn", "jar", "git"]) {
        return;
    }
    let folder = open_folder();
    let repository = repository(folder.path(), &MavenRepository::start().await).await;
    let rules = |source: &Repository| {
        json!([{
            "package_type": "Maven2", "package_specific_id": LIBRARY,
            "source_repository": { "Git": { "url": source.url(), "tag": TAG } },
        }])
    };
    let network = Network::start(folder.path(), &repository, rules, |_, _| {}).await;
    let build = network.publish(&[LIBRARY]).await.remove(0);
    let states: Vec<_> = (0..3).map(|judge| network.judge(&build, judge)["state"].as_str().expect("a state")).collect();
    assert!(states.iter().all(|state| state.starts_with("agrees")), "{build:#}");

    // Its bills of materials are published with it, though each builder's names other bytes and another time.
    let records = network.records(LIBRARY).await;
    for file in [".jar", ".pom", ".spdx.json", "-cyclonedx.json", "-cyclonedx.xml"] {
        assert!(records.contains_key(&format!("{FOLDER}{file}")), "{file} in {records:#?}");
    }
    let (status, spdx) = network.get(&network.node, &format!("{FOLDER}.spdx.json")).await;
    let spdx: Value = serde_json::from_slice(&spdx.expect("a whole document")).expect("JSON");
    assert_eq!((status, &spdx["spdxVersion"]), (200, &"SPDX-2.3".into()));

    let (status, ours) = network.get(&network.node, &format!("{FOLDER}.jar")).await;
    assert_eq!(status, 200);
    // What the release itself has in its jar was made by another JDK: told, and no condition.
    let outputs = [("ours", ours.expect("a whole jar")), ("theirs", network.world.fetch(&format!("{FOLDER}.jar")).await)];
    let files = outputs.map(|(name, bytes)| {
        let file = folder.path().join(name).join("commons-codec-1.17.1.jar");
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(&file, bytes).expect("the jar");
        file
    });
    let compared = run(network.fleet.cli.command(&["compare", "--type", "maven"]).args(files));
    println!("{LIBRARY}, states {states:?}, against its release: {}", compared.stdout);

    // Whoever compiles against it finds what its documentation says.
    let program = folder.path().join("Digest.java");
    let text = "class Digest { public static void main(String[] a) { \
                System.out.print(org.apache.commons.codec.digest.DigestUtils.sha256Hex(\"\")); } }";
    std::fs::write(&program, text).expect("a program");
    let printed = succeed(Command::new("java").arg("-cp").arg(folder.path().join("ours/commons-codec-1.17.1.jar")).arg(&program));
    assert_eq!(format!("sha256:{printed}"), pyrsia_tests::image::sha256(b""));
}
