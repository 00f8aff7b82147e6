//! What a build of a Maven package reaches, gets and cannot do, seen by a script in the place of `mvn`.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pyrsia_pipeline::{BuildStatus, Config, JdkHome, MavenBuilder, MavenHome};
use serde_json::{Value, json};

use super::fixture::{Fixture, Repository, SOON, is_there, namespaces_work};
use super::upstream::{Reply, Upstream};

const POM: &str = "<project><groupId>g</groupId><artifactId>a</artifactId><version>1</version></project>";
const JAR: &str = "org/example/lib/1.0/lib-1.0.jar";

/// What every script begins with: the repository of its settings, and the folder it deploys to.
const PRELUDE: &str = r#"
settings=$(printf '%s\n' "$@" | sed -n '/^-s$/{n;p;}')
url=$(sed -n 's:.*<url>\(.*\)/</url>.*:\1:p' "$settings")
deployed=$(printf '%s\n' "$@" | sed -n 's,^-DaltDeploymentRepository=.*::file://,,p')/g/a/1
mkdir -p "$deployed"
get() { curl --silent --show-error --fail --max-time 30 "$@"; }
"#;

struct World {
    fixture: Fixture,
    request: Value,
}

/// A pipeline whose Maven is the script, over these repositories.
async fn world(script: &str, repositories: &[&str], change: impl FnOnce(&mut Config)) -> Option<World> {
    let found = Command::new("curl").arg("--version").output().is_ok_and(|output| output.status.success());
    if !is_there("curl", found) {
        return None;
    }
    let fixture = Fixture::start(|config| {
        let folder = config.data_dir.parent().unwrap();
        let install = |name: &str, text: &str| {
            let file = folder.join("text");
            std::fs::write(&file, text).unwrap();
            // Not by this process, whose forks would have it open for writing for a moment.
            let made = Command::new("install").args(["-D", "-m", "755"]).args([&file, &folder.join(name)]).status().unwrap();
            assert!(made.success());
        };
        install("maven/bin/mvn", &format!("#!/bin/bash\nset -eu\n{PRELUDE}\n{script}\n"));
        install("jdk/bin/javac", "");
        let maven = MavenHome::new(Some("script"), folder.join("maven")).unwrap();
        let jdk = JdkHome::new(Some("none"), folder.join("jdk")).unwrap();
        let repositories = repositories.iter().map(|url| url.parse().unwrap()).collect();
        config.maven = Some(MavenBuilder::new(vec![maven], vec![jdk], repositories).unwrap());
        change(config);
    })
    .await;
    let request = Repository::new(fixture.folder.path(), &[("pom.xml", POM)]).package_request("maven", "g:a:1");
    Some(World { fixture, request })
}

fn sha1(bytes: &[u8]) -> String {
    use sha1::Digest as _;
    hex::encode(sha1::Sha1::digest(bytes))
}

/// Has one jar, whose checksum is given in the way that is said.
async fn repository(checksum: &'static str) -> Upstream {
    Upstream::start(move |request, _| match request.path.trim_start_matches('/') {
        path if path == JAR && checksum == "header" => Reply::new(200, "x/x", "jar").with("x-checksum-sha1", &sha1(b"jar")),
        path if path == JAR => Reply::new(200, "x/x", "jar"),
        path if path.ends_with(".jar.sha1") && checksum == "file" => {
            Reply::new(200, "x/x", format!("{}  lib-1.0.jar\n", sha1(b"jar")))
        }
        path if path.ends_with(".jar.sha1") && checksum == "wrong" => Reply::new(200, "x/x", sha1(b"other")),
        "org/example/lib/maven-metadata.xml" => Reply::new(200, "x/x", "<metadata/>"),
        "moved/a/1/a-1.jar" => Reply::new(302, "x/x", "").with("location", &format!("/{JAR}")),
        _ => Reply::new(404, "x/x", ""),
    })
    .await
}

fn asked(upstream: &Upstream, path: &str) -> usize {
    upstream.requests().iter().filter(|request| request.path.trim_start_matches('/') == path).count()
}

#[tokio::test]
async fn files_come_from_the_first_repository_that_has_them_are_checked_kept_and_listed() {
    for checksum in ["header", "file", "none"] {
        let empty = Upstream::start(|_, _| Reply::new(404, "x/x", "")).await;
        let full = repository(checksum).await;
        let script = format!(
            "get $url/{JAR} > $deployed/a-1.jar; get $url/{JAR}.sha1 > $deployed/a-1.txt
            get $url/org/example/lib/maven-metadata.xml > $deployed/a-1.xml; get --head $url/{JAR} >&2
            get $url/moved/a/1/a-1.jar > /dev/null; get $url/org/example/none/1/none-1.jar || echo absent > $deployed/a-1.pom
            echo > $deployed/a-1.jar.sha1; echo > $deployed/maven-metadata.xml"
        );
        let Some(world) = world(&script, &[&empty.url, &full.url], |_| {}).await else { return };
        let built = world.fixture.build_files(world.request.clone()).await;
        let text = |name: &str| String::from_utf8(built[name].clone()).unwrap();
        assert_eq!(built.keys().collect::<Vec<_>>(), ["a-1.jar", "a-1.pom", "a-1.txt", "a-1.xml"]);
        assert_eq!((text("a-1.jar").as_str(), text("a-1.txt"), text("a-1.xml").as_str()), ("jar", sha1(b"jar"), "<metadata/>"));

        let id = world.fixture.request(world.request.clone()).await;
        world.fixture.wait(&id).await;
        let log = world.fixture.log(&id).await;
        let digest = super::fixture::digest_of(b"jar").replace("sha256:", "");
        let unconfirmed = if checksum == "none" { " (the repository has no checksum of it)" } else { "" };
        assert!(log.contains(&format!("resolved 3 files:\n  {digest} moved/a/1/a-1.jar {}", full.url)), "{log}");
        assert!(log.contains(&format!("\n  {digest} {JAR} {}{unconfirmed}\n", full.url)), "{log}");
        assert!(log.contains("not in the configured repositories: 1 requests\n  org/example/none/1/none-1.jar\n"), "{log}");
        let list = super::fixture::digest_of(b"<metadata/>").replace("sha256:", "");
        let changing = format!("\n  {list} org/example/lib/maven-metadata.xml {} (may change)\n", full.url);
        assert!(log.contains(&changing), "{log}");
        // Once for the file itself and once where the redirect leads; the second build found both in the cache.
        assert_eq!(asked(&full, JAR), 2, "{checksum}");
        assert_eq!(asked(&full, "org/example/lib/maven-metadata.xml"), 2, "a list of versions is asked for each time");
    }
}

#[tokio::test]
async fn bytes_that_are_not_those_of_their_checksum_reach_no_build() {
    let wrong = repository("wrong").await;
    let script = format!("get $url/{JAR} > $deployed/a-1.jar || {{ echo '[ERROR] the jar is refused -> [Help 1]'; exit 1; }}");
    let Some(world) = world(&script, &[&wrong.url], |_| {}).await else { return };
    let id = world.fixture.request(world.request.clone()).await;
    assert_eq!(world.fixture.wait(&id).await.status, BuildStatus::Failure("mvn failed: the jar is refused".into()));
    let log = world.fixture.log(&id).await;
    let (got, wanted) = (sha1(b"jar"), sha1(b"other"));
    assert!(
        log.contains(&format!(
            "{JAR} of the repository {} is not what its checksum says: SHA-1 is {got}, and should be {wanted}",
            wrong.url
        )),
        "{log}"
    );
}

#[tokio::test]
async fn a_file_that_lies_in_the_cache_is_held_against_its_repository_before_it_is_used() {
    for (checksum, bytes, fetched) in [("file", "evil", 1), ("file", "jar", 0), ("none", "evil", 1), ("none", "jar", 1)] {
        let full = repository(checksum).await;
        let script = format!("get $url/{JAR} > $deployed/a-1.jar");
        let lay = |config: &mut Config| {
            let key = super::fixture::digest_of(format!("{}\n{JAR}", full.url).as_bytes()).replace("sha256:", "");
            let folder = config.data_dir.join("maven-cache/files").join(&key[..2]);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(key), bytes).unwrap();
        };
        let Some(world) = world(&script, &[&full.url], lay).await else { return };
        for _ in 0..2 {
            assert_eq!(world.fixture.build_files(world.request.clone()).await["a-1.jar"], b"jar", "{checksum} {bytes}");
        }
        assert_eq!(asked(&full, JAR), fetched, "{checksum} {bytes}");
        let asked_for_checksum = asked(&full, &format!("{JAR}.sha1"));
        assert_eq!(asked_for_checksum, if (checksum, bytes) == ("file", "jar") { 1 } else { 2 }, "{checksum} {bytes}");
    }
}

#[tokio::test]
async fn a_repository_that_is_down_is_asked_again_and_then_named() {
    let busy = Upstream::start(|request, earlier| match earlier {
        0 if request.path.ends_with(".jar") => Reply::new(503, "x/x", "").with("retry-after", "0"),
        1 if request.path.ends_with(".jar") => Reply { cut_after: Some(1), ..Reply::new(200, "x/x", "jar") },
        _ if request.path.ends_with(".jar") => Reply::new(200, "x/x", "jar"),
        _ => Reply::new(404, "x/x", ""),
    })
    .await;
    let script = format!("get $url/{JAR} > $deployed/a-1.jar");
    let Some(patient) = world(&script, &[&busy.url], |_| {}).await else { return };
    assert_eq!(patient.fixture.build_files(patient.request.clone()).await["a-1.jar"], b"jar");

    let nobody = world(&script, &["http://127.0.0.1:1/maven"], |_| {}).await.unwrap();
    let id = nobody.fixture.request(nobody.request.clone()).await;
    assert!(matches!(nobody.fixture.wait(&id).await.status, BuildStatus::Failure(_)));
    let log = nobody.fixture.log(&id).await;
    assert!(log.contains("the repository http://127.0.0.1:1/maven cannot be reached"), "{log}");
}

#[tokio::test]
async fn only_reads_of_the_configured_repositories_are_answered() {
    let full = repository("file").await;
    let script = r#"
        status() { curl --silent --output /dev/null --write-out '%{http_code} ' "$@" >> "$deployed/a-1.txt"; }
        status --request PUT --data x $url/org/example/lib/1.0/lib-1.0.jar
        status --path-as-is "$url/org/../../etc/passwd"
        status "$url/org/%2e%2e/%2e%2e/etc/passwd"
        status "$url/.meta/prefixes.txt"
        status --proxy "$url" http://elsewhere.example/x/y/1/y-1.jar
        status --proxy "$url" --proxytunnel https://elsewhere.example/x || true"#;
    let Some(world) = world(script, &[&full.url], |_| {}).await else { return };
    let id = world.fixture.request(world.request.clone()).await;
    assert!(matches!(world.fixture.wait(&id).await.status, BuildStatus::Success { .. }));
    let told = world.fixture.get(&format!("/build/{id}/artifacts/a-1.txt")).await.text().await.unwrap();
    assert!(told.starts_with("405 400 400 404 403 "), "{told}");
    let log = world.fixture.log(&id).await;
    assert!(
        log.contains(
            "the build asked for GET http://elsewhere.example/x/y/1/y-1.jar, which is not in the configured repositories"
        ),
        "{log}"
    );
    assert!(full.requests().is_empty());
}

#[tokio::test]
async fn a_build_has_no_network_and_no_rights_but_its_repository() {
    if !namespaces_work() {
        return;
    }
    let full = repository("file").await;
    let data = tempfile::tempdir().unwrap();
    let script = format!(
        "get $url/{JAR} > $deployed/a-1.jar; get {} && exit 1; get http://192.0.2.1/ && exit 1
        for way in /proc/{}/ns/net /proc/$PPID/ns/net; do if nsenter --net=$way true 2> /dev/null; then exit 1; fi; done
        if ls {} 2> /dev/null; then exit 1; fi
        grep CapEff /proc/self/status > $deployed/a-1.txt; ls -l /proc/self/fd > $deployed/a-1.xml; env | sort > $deployed/a-1.pom",
        full.url,
        std::process::id(),
        data.path().join("data/maven-cache").display(),
    );
    let Some(world) = world(&script, &[&full.url], |config| config.data_dir = data.path().join("data")).await else { return };
    let built = world.fixture.build_files(world.request.clone()).await;
    let text = |name: &str| String::from_utf8(built[name].clone()).unwrap();
    assert!(text("a-1.txt").trim_end().ends_with("\t0000000000000000"), "{}", text("a-1.txt"));
    assert!(!text("a-1.xml").contains("socket:"), "the socket of the gate is the pipeline's: {}", text("a-1.xml"));
    let names: Vec<String> = text("a-1.pom").lines().filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect();
    let given = [
        "HOME",
        "JAVA_HOME",
        "LANG",
        "MAVEN_OPTS",
        "MAVEN_SKIP_RC",
        "PATH",
        "PWD",
        "SHLVL",
        "SOURCE_DATE_EPOCH",
        "TMPDIR",
        "TZ",
        "_",
    ];
    assert_eq!(names, given);
}

#[tokio::test]
async fn a_pipeline_without_a_gate_says_that_the_network_is_open() {
    let full = repository("file").await;
    let script = format!("get $url/{JAR} > $deployed/a-1.jar");
    let Some(world) = world(&script, &[&full.url], |config| config.network_gate = None).await else { return };
    let id = world.fixture.request(world.request.clone()).await;
    assert!(matches!(world.fixture.wait(&id).await.status, BuildStatus::Success { .. }));
    assert!(world.fixture.log(&id).await.contains("note: this machine cannot keep the build from the network"));
}

#[tokio::test]
async fn a_build_that_hangs_or_prints_for_ever_is_ended_with_its_children() {
    let full = repository("file").await;
    for (script, told) in [("wait", "asleep"), ("while :; do echo again; done", "again")] {
        let lock = tempfile::NamedTempFile::new().unwrap();
        let script = format!("setsid flock {} sh -c 'echo asleep; sleep 600' &\n{script}", lock.path().display());
        let Some(world) = world(&script, &[&full.url], |config| config.build_timeout = Duration::from_secs(4)).await else {
            return;
        };
        let id = world.fixture.request(world.request.clone()).await;
        let view = world.fixture.wait(&id).await;
        assert_eq!(view.status, BuildStatus::Failure("the build took longer than 4 seconds (--build-timeout)".into()));
        assert!(world.fixture.log(&id).await.contains(told));
        if namespaces_work() {
            ended(lock.path()).await;
        }
    }
}

async fn ended(lock: &Path) {
    let deadline = Instant::now() + SOON;
    while File::open(lock).unwrap().try_lock().is_err() {
        assert!(Instant::now() < deadline, "a child of the build goes on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_is_deployed_is_held_to_the_limits_and_to_the_package() {
    let full = repository("file").await;
    for (script, sentence) in [
        ("head -c 2000 /dev/zero > $deployed/a-1.jar; sleep 600", "a-1.jar has 2000 bytes, more than the limit of 1000"),
        ("ln -s /etc/passwd $deployed/a-1.jar", "what mvn deployed is refused: \"a-1.jar\" is no regular file"),
        ("mkdir $deployed/a-1", "\"a-1\" is no regular file"),
        ("cd $deployed/../../..; rm -r g; mkdir -p h/b/2; touch h/b/2/b-2.pom", "the source is h:b:2, and g:a:1 was asked for"),
        ("rmdir $deployed; ln -s / $deployed", "mvn ended well and deployed nothing"),
        ("rm -r ${deployed%/g/a/1}", "cannot prepare the build's folders"),
        ("true", "what mvn deployed is refused: it is empty"),
        ("echo '[INFO] nothing'; exit 3", "mvn ended with exit status: 3: "),
    ] {
        let Some(world) = world(script, &[&full.url], |config| config.max_artifact_bytes = 1000).await else { return };
        let reason = world.fixture.fail(world.request.clone()).await;
        assert!(reason.contains(sentence), "{script}: {reason}");
    }
}

#[tokio::test]
async fn maven_is_told_the_time_of_the_commit_and_nothing_of_a_source_is_an_option() {
    let full = repository("file").await;
    let script = "printf '%s\\n' \"$@\" > $deployed/a-1.txt; pwd > $deployed/a-1.pom";
    let Some(world) = world(script, &[&full.url], |_| {}).await else { return };
    let mut wish = world.request.clone();
    wish["program"] = json!({ "recipe": { "goals": ["clean", "deploy"], "profiles": ["a", "b"], "properties": { "x": "y z" } } });
    let built = world.fixture.build_files(wish).await;
    let words = String::from_utf8(built["a-1.txt"].clone()).unwrap();
    let words: Vec<&str> = words.lines().collect();
    for word in ["-Dproject.build.outputTimestamp=2023-11-14T22:13:20Z", "-DskipTests=true", "-Dx=y z"] {
        assert!(words.contains(&word), "{words:?}");
    }
    assert_eq!(words[words.len() - 7..], ["-P", "a,b", "-pl", "g:a", "-am", "clean", "deploy"]);
}
