//! Checksum files for unmodified clients: what is published, from the running node, its folder and its exported log alike.

use crate::proofs;
use pyrsia_tests::clients;
use pyrsia_tests::git::Repository;
use pyrsia_tests::network::{Cli, Node, Pipeline};
use pyrsia_tests::program::Ended;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const PLACE: &str = "org/example/demo/1.0";
/// The files of the package that clients resolve; the checksum files beside them are none.
const FILES: [&str; 3] = ["demo-1.0-sources.jar", "demo-1.0.jar", "demo-1.0.pom"];

/// What a Maven deployed, as the verifier's own cases have it.
fn deployed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../verifiers/guests/maven/cases/maven-built-twice/a")
}

/// A pipeline that takes the package as it lies in its repository.
async fn pipeline(folder: &Path) -> Pipeline {
    let files: Vec<(String, Vec<u8>)> = fs::read_dir(deployed())
        .expect("the case")
        .map(|entry| entry.expect("a file"))
        .map(|entry| (entry.file_name().into_string().expect("a name"), fs::read(entry.path()).expect("its bytes")))
        .collect();
    let files: Vec<(&str, &[u8], bool)> = files.iter().map(|(name, bytes)| (&name[..], &bytes[..], false)).collect();
    let repository = Repository::create(&folder.join("deployed"), &files);
    let rule = json!({
        "package_type": "maven", "package_specific_id": "org.example:demo:*",
        "source_repository": { "Git": { "url": repository.url(), "commit": repository.commit } },
    });
    let mapping = folder.join("mapping.json");
    fs::write(&mapping, json!({ "rules": [rule] }).to_string()).expect("the mapping file");
    let program = folder.join("builder");
    fs::write(&program, "#!/bin/sh\nexec cp -- \"$PYRSIA_SOURCE_DIR\"/* \"$PYRSIA_OUTPUT_DIR\"\n").expect("the program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
    let program = format!("maven={}", program.display());
    Pipeline::start(folder, "pipeline", &["--mapping", mapping.to_str().expect("a path in UTF-8"), "--builder-program", &program])
        .await
}

struct Exports<'a> {
    cli: &'a Cli,
    folder: &'a Path,
}

impl Exports<'_> {
    fn run(&self, line: &str) -> Ended {
        let arguments: Vec<&str> = ["export"].into_iter().chain(line.split_whitespace()).collect();
        self.cli.run(&arguments)
    }

    #[track_caller]
    fn succeeds(&self, line: &str) -> Ended {
        let ended = self.run(line);
        assert_eq!(ended.code, 0, "export {line}: {ended:?}");
        ended
    }

    #[track_caller]
    fn fails(&self, line: &str, code: i32, reason: &str) {
        let ended = self.run(line);
        assert!(ended.code == code && ended.stderr.contains(reason), "export {line}: {ended:?}");
        assert!(ended.stdout.is_empty(), "export {line}: {ended:?}");
    }
}

/// The path and sha256 of each line of a summary.
fn lines(summary: &str) -> BTreeMap<String, String> {
    let lines = summary.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_once("  ").expect("two columns"));
    lines.map(|(sha256, path)| (path.to_owned(), sha256.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_exported_alike_from_the_node_its_folder_and_its_log() {
    if !clients::present("what_is_published_is_exported_alike_from_the_node_its_folder_and_its_log", &["git", "openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let pipeline = pipeline(folder).await;
    let arguments = ["--pipeline-service-endpoint", &pipeline.url, "--listen-only", "--init-blockchain"];
    let mut node = Node::start(folder, "node", &arguments).await;
    let cli = Cli::new(folder);
    cli.authorize(&node, &node).await;
    let exports = Exports { cli: &cli, folder };
    let nothing = exports.succeeds("maven-checksums");
    assert!(lines(&nothing.stdout).is_empty() && nothing.stderr.contains("nothing is published"), "{nothing:?}");

    cli.succeed(&["build", "maven", "--gav", "org.example:demo:1.0", "--wait"]);
    let summary = exports.succeeds("maven-checksums");
    let digest = |name: &str| hex::encode(Sha256::digest(fs::read(deployed().join(name)).expect("a file")));
    let expected: BTreeMap<String, String> = FILES.iter().map(|name| (format!("{PLACE}/{name}"), digest(name))).collect();
    assert_eq!(lines(&summary.stdout), expected);
    for line in ["summaryFile.basedir=${session.rootDirectory}/.mvn/checksums", "trustedChecksums.checksumAlgorithms=SHA-256"] {
        assert!(summary.stderr.contains(line), "{line} in {}", summary.stderr);
    }
    let gradle = exports.succeeds("gradle-verification").stdout;
    for (path, sha256) in &expected {
        let name = path.rsplit('/').next().expect("a name");
        let (_, entry) = gradle.split_once(&format!("<artifact name=\"{name}\">")).expect(name);
        assert!(entry.trim_start().starts_with(&format!("<sha256 value=\"{sha256}\" origin=\"Pyrsia network ")), "{entry}");
    }
    assert_eq!(gradle.matches("<artifact ").count(), FILES.len(), "{gradle}");

    // Only what is meant, and a wish for what there is not is no success.
    for pattern in ["org.example", "org.exam*:demo", "*:*:1.0", "org.example:demo:1.0 org.*"] {
        assert_eq!(exports.succeeds(&format!("maven-checksums {pattern}")).stdout, summary.stdout, "{pattern}");
    }
    for absent in ["org.example:demo:2.0", "org.example org.absent", "org.example:demo:1.0-SNAPSHOT"] {
        exports.fails(&format!("maven-checksums {absent}"), 1, "nothing that is published and not at risk is meant by");
    }
    exports.fails("gradle-verification ../x", 2, "GROUP[:ARTIFACT[:VERSION]]");
    let network = node.network().await["network"].as_str().expect("a network id").to_owned();
    exports.succeeds(&format!("maven-checksums --network {network}"));
    exports.fails(&format!("maven-checksums --network {}", "0".repeat(64)), 1, "this is the log of network");

    check_files(&exports, &summary.stdout, &gradle);
    proofs::a_served_package_is_proved(&cli, folder, &deployed().join("demo-1.0.jar"), &network);

    // The same without the node.
    cli.succeed(&["log", "export", "--node", folder.join("taken.log").to_str().expect("a path in UTF-8")]);
    exports.fails("maven-checksums --ledger node", 1, "in use by a running node");
    node.stop();
    for ledger in ["node", "taken.log"] {
        assert_eq!(exports.succeeds(&format!("maven-checksums --ledger {ledger}")).stdout, summary.stdout, "{ledger}");
        assert_eq!(exports.succeeds(&format!("gradle-verification --ledger {ledger}")).stdout, gradle, "{ledger}");
    }
    proofs::the_package_is_proved_without_its_node(&cli, folder);
    exports.fails("maven-checksums --ledger node --network 1", 2, "a network id is");
    exports.fails(&format!("gradle-verification --ledger node --network {}", "0".repeat(64)), 1, "this is the log of network");
    exports.fails("maven-checksums", 1, "the log cannot be fetched");
    let mut log = fs::read(folder.join("taken.log")).expect("the log");
    let middle = log.len() / 2;
    log[middle] ^= 1;
    fs::write(folder.join("damaged.log"), log).expect("a damaged log");
    exports.fails("maven-checksums --ledger damaged.log", 1, "pyrsia audit damaged.log");
}

/// Written where the clients look for it; and never over what somebody else wrote.
fn check_files(exports: &Exports<'_>, summary: &str, gradle: &str) {
    let read = |path: &str| fs::read_to_string(exports.folder.join(path)).expect(path);
    for _ in 0..2 {
        let written = exports.succeeds("maven-checksums --output .mvn/checksums");
        assert!(
            written.stdout.is_empty()
                && written.stderr.contains(".mvn/checksums/checksums.sha256 has the checksums of 3 files of 1 package, "),
            "{written:?}"
        );
        assert_eq!(read(".mvn/checksums/checksums.sha256"), summary);
        exports.succeeds("gradle-verification --output gradle/verification-metadata.xml");
        assert_eq!(read("gradle/verification-metadata.xml"), gradle);
    }
    let of_one = exports.succeeds("maven-checksums --output .mvn/checksums/checksums-pyrsia.sha256");
    assert!(of_one.stderr.contains("summaryFile.originAware=true"), "{of_one:?}");
    exports.fails("maven-checksums --output sums.sha256", 2, "Maven does not look for sums.sha256");
    let own = "<verification-metadata/>";
    fs::write(exports.folder.join("own.xml"), own).expect("a file");
    exports.fails("gradle-verification --output own.xml", 1, "was not written by this command");
    assert_eq!(read("own.xml"), own);
    exports.succeeds("gradle-verification --output own.xml --force");
    assert_eq!(read("own.xml"), gradle);

    let sparse = exports.succeeds("maven-checksums --format sparse --output sparse");
    assert!(sparse.stderr.contains("sparseDirectory.basedir=") && sparse.stderr.contains("/sparse\n"), "{sparse:?}");
    for (path, sha256) in lines(summary) {
        assert_eq!(read(&format!("sparse/{path}.sha256")).trim_end(), sha256);
    }
    exports.fails("maven-checksums --format sparse --output sparse", 1, "is not empty");
}
