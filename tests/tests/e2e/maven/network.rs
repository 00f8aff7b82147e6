//! Three build nodes, each before a pipeline of another user, and a node for users that judges nothing.

use pyrsia_tests::deadline::{BUILT, wait_for};
use pyrsia_tests::fleet::Fleet;
use pyrsia_tests::git::Repository;
use pyrsia_tests::maven::{Maven, copy_with};
use pyrsia_tests::maven_repository::MavenRepository;
use pyrsia_tests::network::{Account, Node, Pipeline, get_json};
use pyrsia_tests::program::succeed;
use pyrsia_tests::relay::Relay;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) const GROUP: &str = "org.example.greeting";
const BUILDERS: usize = 3;

/// Nobody is away for long, and builds take a while on a machine that does other things too.
const WAITS: [&str; 7] = [
    "--build-timeout=10m",
    "--pipeline-patience=1m",
    "--build-silence=10m",
    "--build-reveal-wait=2m",
    "--build-vouch-wait=5m",
    "--build-publish-turn=1s",
    "--build-dispute-turn=1s",
];

/// Root, and two users that every Debian has.
const ACCOUNTS: [Account; BUILDERS] =
    [Account { user: 0, umask: "022" }, Account { user: 1, umask: "077" }, Account { user: 65_534, umask: "002" }];

pub(super) struct Network {
    pub(super) fleet: Fleet,
    /// The way from each pipeline to its node.
    pub(super) relays: Vec<Relay>,
    pub(super) pipelines: Vec<Pipeline>,
    /// For users, who know no other one.
    pub(super) node: Node,
    /// What stands in for the world.
    pub(super) world: MavenRepository,
}

pub(super) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/maven").join(name)
}

/// The coordinate of a version of the library.
pub(super) fn greeting(version: &str) -> String {
    format!("{GROUP}:greeting:{version}")
}

/// The path of a file of the library.
pub(super) fn path(version: &str, suffix: &str) -> String {
    format!("org/example/greeting/greeting/{version}/greeting-{version}{suffix}")
}

/// The id of a file of the library in the log.
pub(super) fn artifact(version: &str, suffix: &str) -> String {
    format!("{GROUP}/greeting/{version}/greeting-{version}{suffix}")
}

/// The library's repository, in which each version has a tag.
pub(super) fn greetings(folder: &Path, versions: &[&str]) -> Repository {
    let folder = folder.join("greeting");
    copy_with(&fixture("greeting"), &folder, &[("version", versions[0])]);
    let mut repository = Repository::of_folder(&folder);
    repository.tag(&format!("v{}", versions[0]));
    for version in &versions[1..] {
        copy_with(&fixture("greeting"), &folder, &[("version", version)]);
        repository.commit(&format!("greeting {version}"));
        repository.tag(&format!("v{version}"));
    }
    repository
}

/// Rules for what the repository has at its tags.
pub(super) fn rules(repository: &Repository) -> Value {
    let rule = |pattern: &str, recipe: Value| {
        json!({
            "package_type": "Maven2", "package_specific_id": pattern,
            "source_repository": { "Git": { "url": repository.url(), "tag": "v{version}" } },
            "program": { "recipe": recipe },
        })
    };
    let tested = json!({ "skip_tests": false });
    json!([rule(&greeting("1.0.0"), tested), rule(&format!("{GROUP}:*:*"), json!({}))])
}

/// A folder of the test that other users may enter.
pub(super) fn open_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).expect("its mode");
    folder
}

impl Network {
    /// Builds from this repository; `patch` can make another one of the copy of a builder before anybody sees it.
    pub(super) async fn start(
        folder: &Path,
        repository: &Repository,
        rules: impl Fn(&Repository) -> Value,
        patch: impl Fn(usize, &mut Repository),
    ) -> Self {
        let world = MavenRepository::start().await;
        let accounts = Account::others(folder, &ACCOUNTS);
        let installed = Maven::installed().home;
        let (mut pipelines, mut relays) = (vec![], vec![]);
        for number in 0..BUILDERS {
            // Paths of different lengths, as on different machines.
            let own = folder.join(format!("builder{}", "-of-packages".repeat(number)));
            std::fs::create_dir_all(&own).expect("a folder for the pipeline");
            let mut source = repository.copy(&own.join("source"));
            patch(number, &mut source);
            let mapping = own.join("mapping.json");
            std::fs::write(&mapping, json!({ "rules": rules(&source) }).to_string()).expect("the mapping");
            let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
            // Three pipelines share the cores of one machine.
            let arguments = ["--mapping", &text(&mapping), "--maven", &text(&installed), "--maven-repository", &world.url];
            let arguments = [&arguments[..], &["--max-concurrent-builds", "1"]].concat().into_iter().map(str::to_owned);
            let arguments: Vec<String> = arguments.collect();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let pipeline = match &accounts {
                Some(accounts) => {
                    accounts[number].take(&own);
                    Pipeline::start_as(accounts[number], &own, "pipeline", &arguments).await
                }
                None => Pipeline::start(&own, "pipeline", &arguments).await,
            };
            relays.push(Relay::start(&pipeline.url).await);
            pipelines.push(pipeline);
        }
        let urls: Vec<&str> = relays.iter().map(|relay| relay.url.as_str()).collect();
        let mut fleet = Fleet::start_before(&urls, folder, &WAITS).await;
        let node = fleet.regular_node("users").await;
        Self { fleet, relays, pipelines, node, world }
    }

    /// Asks one of the builders for a build; gives its id.
    pub(super) async fn request(&self, number: usize, gav: &str) -> String {
        let (status, answer) = self.fleet.nodes[number].post("/build/maven", &json!({ "gav": gav })).await;
        assert_eq!(status, 200, "{gav}: {answer}");
        answer["build_id"].as_str().unwrap_or_else(|| panic!("{gav} needs no build: {answer}")).to_owned()
    }

    /// Waits until a build has come to its end everywhere; gives it as the users' node shows it.
    pub(super) async fn closed(&self, id: &str, state: &str) -> Value {
        let build = self.fleet.wait_for_build(0, id, "a result", pyrsia_tests::fleet::is_closed).await;
        assert_eq!(build["state"], state, "{build:#}");
        wait_for(format!("the build {id} to be {state} in the eyes of users"), BUILT, || async {
            self.node.build(id).await.filter(|build| build["state"] == state)
        })
        .await
    }

    /// Asks for builds at the first builder, all at once, and waits until they are published.
    pub(super) async fn publish(&self, gavs: &[&str]) -> Vec<Value> {
        let mut ids = vec![];
        for gav in gavs {
            ids.push(self.request(0, gav).await);
        }
        let mut builds = vec![];
        for id in ids {
            builds.push(self.closed(&id, "published").await);
        }
        builds
    }

    /// How a builder stands in a build.
    pub(super) fn judge<'a>(&self, build: &'a Value, number: usize) -> &'a Value {
        let judges = build["judges"].as_array().expect("judges");
        let peer_id = self.fleet.peer_ids[number].as_str();
        judges.iter().find(|judge| judge["node"] == peer_id).unwrap_or_else(|| panic!("{peer_id} is no judge of {build:#}"))
    }

    /// A file of the repository that a node serves: status, and bytes if they all came.
    pub(super) async fn get(&self, node: &Node, path: &str) -> (u16, Option<Vec<u8>>) {
        let response = reqwest::get(node.url(&format!("/maven2/{path}"))).await.expect("an answer");
        let status = response.status().as_u16();
        (status, response.bytes().await.ok().map(|bytes| bytes.to_vec()))
    }

    /// The newest records of a package: sha256 by the id of the artifact.
    pub(super) async fn records(&self, gav: &str) -> BTreeMap<String, String> {
        let (status, records) = self.node.post("/inspect/maven", &json!({ "gav": gav })).await;
        assert_eq!(status, 200, "{records}");
        let text = |record: &Value, field: &str| record[field].as_str().expect("text").to_owned();
        let records = records.as_array().expect("records").iter();
        records.map(|record| (text(record, "package_specific_artifact_id"), text(record, "artifact_hash"))).collect()
    }

    /// What a pipeline itself made of a package, in a folder.
    pub(super) async fn output(&self, number: usize, gav: &str, folder: &Path) -> PathBuf {
        let url = &self.pipelines[number].url;
        let builds = get_json(&format!("{url}/build")).await.expect("the pipeline's builds");
        let is_wanted = |build: &&Value| build["package_specific_id"] == gav;
        let all = builds.as_array().or_else(|| builds["builds"].as_array()).expect("a list");
        let build = all.iter().find(is_wanted).unwrap_or_else(|| panic!("{gav} is not among {builds:#}"));
        let build = get_json(&format!("{url}/build/{}", build["id"].as_str().expect("an id"))).await.expect("the build");
        let folder = folder.join(format!("output{number}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        for artifact in build["status"]["Success"]["artifact_urls"].as_array().expect("a build that succeeded") {
            let artifact = artifact.as_str().expect("a URL");
            let bytes = reqwest::get(format!("{url}{artifact}")).await.expect("an answer").bytes().await.expect("a file");
            std::fs::write(folder.join(artifact.rsplit('/').next().expect("a name")), bytes).expect("a file");
        }
        folder
    }
}

/// The settings of a user whose packages of this network come from a node, and all others from where they always did.
pub(super) fn settings(node: &Node, world: &MavenRepository) -> String {
    format!(
        "<settings>
  <mirrors>
    <mirror><id>world</id><url>{}</url><mirrorOf>central</mirrorOf></mirror>
  </mirrors>
  <profiles>
    <profile>
      <id>pyrsia</id>
      <repositories><repository><id>pyrsia</id><url>{}</url></repository></repositories>
    </profile>
  </profiles>
  <activeProfiles><activeProfile>pyrsia</activeProfile></activeProfiles>
</settings>
",
        world.url,
        node.url("/maven2")
    )
}

/// A jar whose compiled greeting has another first word of the same length.
pub(super) fn patched(jar: &[u8], word: &str) -> Vec<u8> {
    const WORD: &str = "Hello";
    const CLASS: &str = "org/example/greeting/Greeting.class";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tool = |arguments: &[&str]| succeed(Command::new("jar").current_dir(folder.path()).args(arguments));
    std::fs::write(folder.path().join("own.jar"), jar).expect("the jar");
    tool(&["xf", "own.jar", CLASS]);
    let class = folder.path().join(CLASS);
    let mut bytes = std::fs::read(&class).expect("the class");
    let at = bytes.windows(WORD.len()).position(|window| window == WORD.as_bytes()).expect("the class has the word");
    assert_eq!(word.len(), WORD.len(), "a constant keeps its length");
    bytes[at..at + word.len()].copy_from_slice(word.as_bytes());
    std::fs::write(&class, bytes).expect("the class");
    tool(&["uf", "own.jar", CLASS]);
    std::fs::read(folder.path().join("own.jar")).expect("the jar")
}
