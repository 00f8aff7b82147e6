//! A package type that no line of the node knows: built from a repository, published, and installed by npm from the node.

use pyrsia_tests::clients;
use pyrsia_tests::git::Repository;
use pyrsia_tests::network::{Cli, Node, Pipeline};
use pyrsia_tests::program::{Ended, run};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const LEFT_OLD: &str = r#"{ "name": "left", "version": "1.0.0", "main": "left.js" }"#;
const LEFT_NEW: &str = r#"{ "name": "left", "version": "1.1.0", "main": "left.js" }"#;
const RIGHT: &str = r#"{
  "name": "@team/right", "version": "2.0.0-rc.1", "bin": "right.js", "main": "right.js", "dependencies": { "left": "^1.0.0" },
  "scripts": { "postinstall": "node -e \"fs.writeFileSync('installed', '')\"" }
}"#;
const RIGHT_PROGRAM: &str =
    "#!/usr/bin/env node\nmodule.exports = `${require('left')} and right`;\nconsole.log(module.exports);\n";

/// Every package in a folder of its own, named by name and version.
fn repository(folder: &Path) -> Repository {
    let files: [(&str, &[u8], bool); 6] = [
        ("left-1.0.0/package.json", LEFT_OLD.as_bytes(), false),
        ("left-1.0.0/left.js", b"module.exports = 'old left';\n", false),
        ("left-1.1.0/package.json", LEFT_NEW.as_bytes(), false),
        ("left-1.1.0/left.js", b"module.exports = 'new left';\n", false),
        ("right/package.json", RIGHT.as_bytes(), false),
        ("right/right.js", RIGHT_PROGRAM.as_bytes(), true),
    ];
    Repository::create(&folder.join("packages"), &files)
}

fn mapping(folder: &Path, repository: &Repository) -> PathBuf {
    let rule = |pattern: &str, directory: &str| {
        json!({
            "package_type": "npm", "package_specific_id": pattern,
            "source_repository": { "Git": { "url": repository.url(), "commit": repository.commit } },
            "program": { "recipe": { "directory": directory } },
        })
    };
    let file = folder.join("mapping.json");
    let rules = json!({ "rules": [rule("left@*", "left-{version}"), rule("@team/right@*", "right")] });
    std::fs::write(&file, rules.to_string()).expect("the mapping file");
    file
}

/// A project of a user whose npm knows no registry but one node.
struct Project {
    folder: PathBuf,
    registry: String,
}

impl Project {
    fn create(folder: &Path, name: &str, node: &Node) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir_all(folder.join("home")).expect("a folder for the project");
        std::fs::write(folder.join("package.json"), r#"{ "name": "project", "private": true }"#).expect("a manifest");
        Self { folder, registry: node.url("/npm/") }
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        // Neither settings nor the cache of this machine's user.
        command.current_dir(&self.folder).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.folder.join("home")).args(arguments);
        command
    }

    fn npm(&self, arguments: &[&str]) -> Ended {
        let mut command = self.command("npm", arguments);
        run(command.args(["--registry", &self.registry, "--no-update-notifier", "--no-fund"]))
    }

    #[track_caller]
    fn npm_succeeds(&self, arguments: &[&str]) -> String {
        let ended = self.npm(arguments);
        assert_eq!(ended.code, 0, "npm {arguments:?}\n{}{}", ended.stdout, ended.stderr);
        ended.stdout
    }

    /// What a program says that requires a package.
    #[track_caller]
    fn requires(&self, package: &str) -> String {
        let ended = run(&mut self.command("node", &["-p", &format!("require({package:?})")]));
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.stdout
    }

    fn lock(&self) -> Value {
        let text = std::fs::read_to_string(self.folder.join("package-lock.json")).expect("npm wrote a lock file");
        serde_json::from_str(&text).expect("the lock file is JSON")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_installs_what_the_network_built() {
    if !clients::present("npm_installs_what_the_network_built", &["npm", "node", "git"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let mapping = mapping(folder, &repository(folder));
    let program = format!("npm={}", Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipeline/builders/npm").display());
    let arguments = ["--mapping", mapping.to_str().expect("a path in UTF-8"), "--builder-program", &program];
    let pipeline = Pipeline::start(folder, "pipeline", &arguments).await;
    let arguments = ["--pipeline-service-endpoint", &pipeline.url, "--listen-only", "--init-blockchain"];
    let mut node = Node::start(folder, "nodeA", &arguments).await;
    let cli = Cli::new(folder);
    cli.authorize(&node, &node).await;

    // A package is wished by name and version, and by nothing that changes its meaning.
    let refused = cli.run(&["build", "npm", "left@latest"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("`latest` is a tag"), "{refused:?}");
    for package in ["left@1.0.0", "left@1.1.0", "@team/right@2.0.0-rc.1"] {
        cli.succeed(&["build", "npm", package, "--wait"]);
    }
    let log: Value = serde_json::from_str(&cli.succeed(&["inspect-log", "npm", "left@1.1.0"])).expect("the log is JSON");
    assert_eq!(log[0]["package_specific_artifact_id"], "left/-/left-1.1.0.tgz", "{log:#}");

    // A package with its dependency, its program and its script.
    let project = Project::create(folder, "project", &node);
    project.npm_succeeds(&["install", "@team/right"]);
    assert_eq!(project.requires("@team/right"), "new left and right\nnew left and right\n");
    assert!(project.folder.join("node_modules/@team/right/installed").is_file(), "its postinstall script ran");
    let bin = run(&mut project.command("./node_modules/.bin/right", &[]));
    assert_eq!(bin.stdout, "new left and right\n", "{bin:?}");

    // The lock file has the ledger's digest of each archive, and is enough for an installation elsewhere.
    let locked = project.lock();
    let left = &locked["packages"]["node_modules/left"];
    assert_eq!((&left["version"], &left["resolved"]), (&json!("1.1.0"), &json!(node.url("/npm/left/-/left-1.1.0.tgz"))));
    let listed = get(&node, "left").await.2;
    assert_eq!(left["integrity"], listed["versions"]["1.1.0"]["dist"]["integrity"], "{left:#}");
    assert!(left["integrity"].as_str().is_some_and(|integrity| integrity.starts_with("sha256-")), "{left:#}");
    let number = format!("Buffer.from({}.slice(7), 'base64').toString('hex')", left["integrity"]);
    let number = run(&mut project.command("node", &["-p", &number])).stdout;
    assert_eq!(Some(number.trim()), log[0]["artifact_hash"].as_str(), "what npm checks is what the ledger says");
    let other = Project::create(folder, "other", &node);
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(project.folder.join(file), other.folder.join(file)).expect("the file is there");
    }
    other.npm_succeeds(&["ci"]);
    assert_eq!(other.lock(), locked);
    assert_eq!(other.requires("left"), "new left\n");

    // Another registry's archive of the same version is not taken for this one.
    let foreign = Project::create(folder, "foreign", &node);
    std::fs::copy(project.folder.join("package.json"), foreign.folder.join("package.json")).expect("the file is there");
    let mut lock = locked.clone();
    lock["packages"]["node_modules/left"]["integrity"] = format!("sha512-{}==", "A".repeat(86)).into();
    std::fs::write(foreign.folder.join("package-lock.json"), lock.to_string()).expect("the lock file");
    let refused = foreign.npm(&["ci"]);
    assert!(refused.code != 0 && refused.stderr.contains("EINTEGRITY"), "{refused:?}");

    // An older version, the list of all, and a package there is not.
    other.npm_succeeds(&["install", "left@1.0.0"]);
    assert_eq!(other.requires("left"), "old left\n");
    let versions: Value = serde_json::from_str(&other.npm_succeeds(&["view", "left", "versions", "--json"])).expect("JSON");
    assert_eq!(versions, json!(["1.0.0", "1.1.0"]));
    for unheard in ["unheard-of", "left@9.9.9"] {
        let ended = other.npm(&["install", unheard]);
        assert!(ended.code != 0 && (ended.stderr.contains("E404") || ended.stderr.contains("ETARGET")), "{ended:?}");
    }

    check_documents(&node).await;

    // A node that built nothing fetches the archives from the one that did, and makes the same list of them.
    let follower = Node::start(folder, "nodeB", &["--peer", &node.address().await]).await;
    follower.wait_until_synced(&node).await;
    let project = Project::create(folder, "follower", &follower);
    project.npm_succeeds(&["install", "@team/right"]);
    assert_eq!(project.requires("left"), "new left\n");
    let integrity = |list: &Value| list["versions"]["1.0.0"]["dist"]["integrity"].clone();
    assert_eq!(integrity(&get(&follower, "left").await.2), integrity(&listed));
}

/// Status, headers and JSON of a path below the mount.
async fn get(node: &Node, path: &str) -> (u16, reqwest::header::HeaderMap, Value) {
    let response = reqwest::get(node.url(&format!("/npm/{path}"))).await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.json().await.unwrap_or_default())
}

async fn check_documents(node: &Node) {
    let (status, headers, list) = get(node, "@team/right").await;
    assert_eq!((status, headers["content-type"].to_str().expect("text")), (200, "application/json"));
    assert_eq!(list["dist-tags"]["latest"], "2.0.0-rc.1");
    assert_eq!(list["versions"]["2.0.0-rc.1"]["hasInstallScript"], true);
    for spelled in ["@team%2fright", "@team%2Fright", "%40team%2fright"] {
        assert_eq!(get(node, spelled).await.2, list, "{spelled}");
    }
    // Made once, and sent only to those who do not have it.
    let url = node.url("/npm/@team/right");
    let client = reqwest::Client::new();
    let unchanged = client.get(&url).header("if-none-match", &headers["etag"]).send().await.expect("an answer");
    assert_eq!(unchanged.status(), 304);
    let head = client.head(&url).send().await.expect("an answer");
    assert_eq!((head.status().as_u16(), &head.headers()["etag"]), (200, &headers["etag"]));

    let archive = reqwest::get(list["versions"]["2.0.0-rc.1"]["dist"]["tarball"].as_str().expect("a link")).await;
    let archive = archive.expect("an answer").error_for_status().expect("the archive").bytes().await.expect("its bytes");
    assert!(archive.starts_with(b"\x1f\x8b"), "a gzip stream");
    for nothing in ["unheard-of", "-/ping", "Left", "left/-/left-1.0.0.zip", "left/-/right-1.0.0.tgz", "@team"] {
        let (status, headers, problem) = get(node, nothing).await;
        assert_eq!((status, headers["content-type"].to_str().expect("text")), (404, "application/problem+json"), "{nothing}");
        assert!(problem["detail"].is_string(), "{problem}");
    }
}
