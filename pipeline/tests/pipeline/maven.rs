//! Maven packages built by the real `mvn` of this machine, from the repository that it names itself and from nowhere else.

use std::ffi::OsString;
use std::path::Path;

use pyrsia_pipeline::{BuildStatus, Config, MappingLocation, MavenBuilder, SourceKind};
use serde_json::{Value, json};

use super::fixture::{Fixture, Repository, is_there, namespaces_work};

/// The words that run [`the_gate_of_a_build`] in a process of its own, as `pyrsia_build` runs itself.
pub(crate) fn gate() -> Option<Vec<OsString>> {
    let own = std::env::current_exe().unwrap().into_os_string();
    let words = ["--exact", "maven::the_gate_of_a_build", "--ignored", "--nocapture", "--"].map(OsString::from);
    Some([own].into_iter().chain(words).collect())
}

#[test]
#[ignore = "only the builds of the other tests run it"]
fn the_gate_of_a_build() {
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    pyrsia_pipeline::run_behind_gate(words);
    std::process::exit(1);
}

async fn fixture(change: impl FnOnce(&mut Config)) -> Option<Fixture> {
    let maven = MavenBuilder::on_path();
    if !is_there("mvn and javac", maven.is_some()) {
        return None;
    }
    let set = |config: &mut Config| {
        config.maven = maven;
        change(config);
    };
    Some(Fixture::start(set).await)
}

/// Plugins in versions that make the same archives of the same files.
const PLUGINS: &str = "<build><plugins>
    <plugin><artifactId>maven-resources-plugin</artifactId><version>3.3.1</version></plugin>
    <plugin><artifactId>maven-compiler-plugin</artifactId><version>3.11.0</version></plugin>
    <plugin><artifactId>maven-surefire-plugin</artifactId><version>3.2.5</version></plugin>
    <plugin><artifactId>maven-jar-plugin</artifactId><version>3.4.1</version></plugin>
    <plugin><artifactId>maven-install-plugin</artifactId><version>3.1.2</version></plugin>
    <plugin><artifactId>maven-deploy-plugin</artifactId><version>DEPLOY</version></plugin>
    </plugins></build>
    <properties><maven.compiler.source>11</maven.compiler.source><maven.compiler.target>11</maven.compiler.target>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding></properties>";

fn pom(artifact: &str, rest: &str) -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>
        <groupId>org.example</groupId><artifactId>{artifact}</artifactId><version>1.0</version>{rest}</project>"
    )
}

fn request(repository: &Repository, id: &str, recipe: Value) -> Value {
    let mut request = repository.package_request("Maven2", id);
    request["program"] = json!({ "recipe": recipe });
    request
}

/// A test that goes wherever a build could: an address of the documentation's, and the machine that the build runs on.
const ESCAPE: &str = r#"
package org.example;
public class EscapeTest {
    @org.junit.Test
    public void nothingIsReached() throws Exception {
        String port = System.getProperty("pipeline.port");
        for (String address : new String[] {"192.0.2.1:80", "127.0.0.1:" + port}) {
            String[] parts = address.split(":");
            try (java.net.Socket socket = new java.net.Socket()) {
                socket.connect(new java.net.InetSocketAddress(parts[0], Integer.parseInt(parts[1])), 20_000);
                System.out.println("reached " + address);
            } catch (java.io.IOException error) {
                System.out.println("not reached " + address + ": " + error.getMessage());
            }
        }
        System.out.println("home " + System.getProperty("user.home") + " temporary " + System.getProperty("java.io.tmpdir"));
    }
}
"#;

/// One fixture for all: what the first build fetched, the others find in the cache.
#[tokio::test]
async fn packages_are_built_by_maven_from_its_repository_and_reach_nothing_else() {
    let Some(fixture) = fixture(|_| {}).await else { return };
    let repository = single(fixture.folder.path());
    a_package_and_its_twin(&fixture, &repository).await;
    a_build_that_tries_to_escape(&fixture, &repository).await;
    a_module_of_a_reactor(&fixture).await;
    what_cannot_be_built(&fixture).await;
}

fn single(folder: &Path) -> Repository {
    let rest = "<dependencies>
        <dependency><groupId>org.apache.commons</groupId><artifactId>commons-lang3</artifactId><version>3.14.0</version></dependency>
        <dependency><groupId>junit</groupId><artifactId>junit</artifactId><version>4.13.2</version><scope>test</scope></dependency>
        </dependencies>
        <repositories><repository><id>elsewhere</id><url>https://maven.example/releases</url></repository></repositories>";
    let files = [
        ("pom.xml", pom("demo", &format!("{rest}{}", PLUGINS.replace("DEPLOY", "3.1.2")))),
        ("src/main/java/org/example/Demo.java", "package org.example; public class Demo { public String name() { return org.apache.commons.lang3.StringUtils.upperCase(\"demo\"); } }".to_owned()),
        ("src/main/resources/words.txt", "words\n".to_owned()),
        ("src/test/java/org/example/EscapeTest.java", ESCAPE.to_owned()),
    ];
    Repository::new(folder, &files.each_ref().map(|(name, text)| (*name, text.as_str())))
}

async fn a_package_and_its_twin(fixture: &Fixture, repository: &Repository) {
    let wish = || request(repository, "org.example:demo:1.0", json!({}));
    let id = fixture.request(wish()).await;
    let view = fixture.wait(&id).await;
    let log = fixture.log(&id).await;
    let source = view.source.unwrap();
    assert_eq!((view.package_type.as_str(), source.kind, &source.revision), ("Maven2", SourceKind::Git, &repository.commit));
    let resolved = log.lines().find_map(|line| line.strip_prefix("resolved ")?.strip_suffix(" files:")).unwrap();
    let listed = log.lines().skip_while(|line| !line.starts_with("resolved ")).filter(|line| line.starts_with("  ")).count();
    assert_eq!(resolved.parse::<usize>().unwrap(), listed);
    let of_dependency =
        log.lines().filter(|line| line.contains(" org/apache/commons/commons-lang3/3.14.0/commons-lang3-3.14.0.jar "));
    assert_eq!(of_dependency.count(), 1, "{log}");

    let BuildStatus::Success { artifact_urls } = view.status else { panic!("{log}") };
    let second = fixture.build_files(wish()).await;
    assert_eq!(second.keys().collect::<Vec<_>>(), ["demo-1.0.jar", "demo-1.0.pom"]);
    for url in artifact_urls {
        let bytes = fixture.get(&url).await.bytes().await.unwrap();
        assert!(bytes == second[url.rsplit('/').next().unwrap()], "two builds of one commit differ in {url}");
    }
}

async fn a_build_that_tries_to_escape(fixture: &Fixture, repository: &Repository) {
    if !namespaces_work() {
        return;
    }
    let port = fixture.url("").rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let recipe =
        json!({ "skip_tests": false, "properties": { "argLine": format!("-Dpipeline.port={port}"), "surefire.useFile": false } });
    let id = fixture.request(request(repository, "org.example:demo:1.0", recipe)).await;
    let view = fixture.wait(&id).await;
    let log = fixture.log(&id).await;
    assert!(matches!(view.status, BuildStatus::Success { .. }), "{log}");
    assert!(log.contains("not reached 192.0.2.1:80: Network is unreachable"), "{log}");
    assert!(log.contains(&format!("not reached 127.0.0.1:{port}: Connection refused")), "{log}");
}

async fn a_module_of_a_reactor(fixture: &Fixture) {
    let parent = "<parent><groupId>org.example</groupId><artifactId>family</artifactId><version>1.0</version></parent>";
    let module = |artifact: &str, rest: &str| {
        format!("<project><modelVersion>4.0.0</modelVersion>{parent}<artifactId>{artifact}</artifactId>{rest}</project>")
    };
    let on_lib = "<dependencies><dependency><groupId>org.example</groupId><artifactId>lib</artifactId><version>${project.version}</version></dependency></dependencies>";
    // The deploy plugin as it was before it changed how it is told where to.
    let plugins = PLUGINS.replace("DEPLOY", "2.8.2");
    let modules = "<packaging>pom</packaging><modules><module>lib</module><module>app</module><module>broken</module></modules>";
    let files = [
        ("java/pom.xml", pom("family", &format!("{modules}{plugins}"))),
        ("java/lib/pom.xml", module("lib", "")),
        ("java/lib/src/main/java/L.java", "public class L {}".to_owned()),
        ("java/app/pom.xml", module("app", on_lib)),
        ("java/app/src/main/java/A.java", "public class A extends L {}".to_owned()),
        ("java/broken/pom.xml", module("broken", "")),
        ("java/broken/src/main/java/B.java", "public class B extends Missing {}".to_owned()),
        ("java/.mvn/maven.config", "-T1\n".to_owned()),
    ];
    let folder = fixture.folder.path().join("reactor");
    let repository = Repository::new(&folder, &files.each_ref().map(|(name, text)| (*name, text.as_str())));
    let recipe = json!({ "directory": "java" });
    let app = fixture.build_files(request(&repository, "org.example:app:1.0", recipe.clone())).await;
    assert_eq!(app.keys().collect::<Vec<_>>(), ["app-1.0.jar", "app-1.0.pom"]);
    let by_path = json!({ "directory": "java", "module": "." });
    let parent = fixture.build_files(request(&repository, "org.example:family:1.0", by_path)).await;
    assert_eq!(parent.keys().collect::<Vec<_>>(), ["family-1.0.pom"]);

    for (id, recipe, sentence) in [
        (
            "org.example:broken:1.0",
            recipe.clone(),
            "mvn failed: Failed to execute goal org.apache.maven.plugins:maven-compiler-plugin:3.11.0:compile (default-compile) on project broken: Compilation failure; java/broken/src/main/java/B.java:[1,24] cannot find symbol; symbol: class Missing",
        ),
        (
            "org.example:app:1.1",
            recipe.clone(),
            "the source is org.example:app:1.0, org.example:family:1.0, org.example:lib:1.0, and org.example:app:1.1 was asked for",
        ),
        (
            "org.example:nobody:1.0",
            recipe,
            "the source has no module org.example:nobody: it has org.example:family:1.0, org.example:lib:1.0, org.example:app:1.0, org.example:broken:1.0",
        ),
        ("org.example:app:1.0", json!({}), "the source has no pom.xml in ."),
    ] {
        let reason = fixture.fail(request(&repository, id, recipe)).await;
        assert!(reason.contains(sentence), "{sentence}:\n{reason}");
    }
}

async fn what_cannot_be_built(fixture: &Fixture) {
    let missing = "<dependencies><dependency><groupId>org.example.missing</groupId><artifactId>none</artifactId><version>1</version></dependency></dependencies>";
    let twice = "<packaging>pom</packaging><modules><module>a</module><module>b</module></modules>";
    let bomb =
        format!("<!DOCTYPE project [<!ENTITY a \"aaaaaaaa\"><!ENTITY b \"&a;&a;&a;\">]>{}", pom("demo", "<name>&b;</name>"));
    for (number, (files, sentence)) in [
        (vec![("pom.xml", pom("demo", missing))], "Could not find artifact org.example.missing:none:jar:1 in pyrsia"),
        (
            vec![("pom.xml", pom("demo", twice)), ("a/pom.xml", pom("same", "")), ("b/pom.xml", pom("same", ""))],
            "Project 'org.example:same:1.0' is duplicated in the reactor",
        ),
        (vec![("pom.xml", bomb)], "pom.xml of the source is refused: it has a document type: its entities are not expanded"),
        (vec![("pom.xml", "<project>".to_owned())], "mvn failed: "),
        (
            vec![("pom.xml", pom("demo", "")), (".mvn/maven.config", "-s\nmine.xml\n".to_owned())],
            "the source's .mvn/maven.config has \"-s\"",
        ),
        (vec![("README", String::new())], "the source has no pom.xml in ."),
    ]
    .into_iter()
    .enumerate()
    {
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let repository = Repository::new(&fixture.folder.path().join(number.to_string()), &files);
        let reason = fixture.fail(request(&repository, "org.example:demo:1.0", json!({}))).await;
        assert!(reason.contains(sentence), "{sentence}:\n{reason}");
    }
    let gone = json!({ "Git": { "url": fixture.folder.path().join("nowhere"), "tag": "v1" } });
    let mut wish = json!({ "package_type": "maven", "package_specific_id": "org.example:demo:1.0", "source_repository": gone });
    let reason = fixture.fail(wish.clone()).await;
    assert!(reason.contains("cannot fetch tag v1 of"), "{reason}");
    let repository = Repository::new(&fixture.folder.path().join("untagged"), &[("pom.xml", "")]);
    wish["source_repository"] = json!({ "Git": { "url": repository.path, "tag": "v2" } });
    let reason = fixture.fail(wish).await;
    assert!(reason.contains("has no tag v2"), "{reason}");
}

#[tokio::test]
async fn requests_that_no_build_can_answer_are_refused_at_once() {
    let Some(fixture) = fixture(|_| {}).await else { return };
    let repository = Repository::new(fixture.folder.path(), &[("pom.xml", "")]);
    for (id, recipe, status, sentence) in [
        ("org.example:demo:1.0-SNAPSHOT", json!({}), 400, "only released versions are built"),
        ("org.example:demo", json!({}), 400, "GROUP:ARTIFACT:VERSION"),
        ("org..example:demo:1", json!({}), 400, "GROUP:ARTIFACT:VERSION"),
        ("org.example:demo:1.0", json!({ "goals": ["-o"] }), 400, "the recipe's goals has"),
        ("org.example:demo:1.0", json!({ "jdk": "1" }), 400, "the recipe wants the JDK 1, and this pipeline has "),
        ("org.example:demo:1.0", json!({ "shell": "rm" }), 400, "unknown field `shell`"),
    ] {
        let response = fixture.put(request(&repository, id, recipe).to_string()).await;
        assert_eq!(response.status(), status, "{id}");
        let text = response.text().await.unwrap();
        assert!(text.contains(sentence), "{text}");
    }
    let status: Value = fixture.get("/status").await.json().await.unwrap();
    assert_eq!(status["package_types"], json!(["Docker", "Maven2"]));
    assert!(
        !status["maven"]["versions"][0].as_str().unwrap().is_empty() && !status["maven"]["jdks"][0].as_str().unwrap().is_empty()
    );
}

#[tokio::test]
async fn rules_and_folders_of_mappings_say_where_a_package_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new(folder.path(), &[("a", "")]);
    let location = repository.path.parent().unwrap();
    let rule = |recipe: Value| {
        json!({ "rules": [{ "package_type": "Maven2", "package_specific_id": "org.example:*:1.*",
            "source_repository": { "Git": { "url": format!("{}/{{artifact}}", location.display()), "tag": "v1" } },
            "program": { "recipe": recipe } }] })
    };
    let file = folder.path().join("rules.json");
    let map = |config: &mut Config| config.mapping = MappingLocation::File(file.clone());
    let recipe = json!({ "directory": "{group_path}/{artifact}", "properties": { "group": "{group}", "version": "{version}" } });
    std::fs::write(&file, rule(recipe).to_string()).unwrap();
    let Some(by_rule) = fixture(map).await else { return };
    let asked = json!({ "package_type": "Maven2", "package_specific_id": "org.example:repository:1.0" });
    assert_eq!(by_rule.fail(asked.clone()).await, "the source has no pom.xml in org/example/repository");

    // A recipe that cannot work is found at start.
    std::fs::write(&file, rule(json!({ "goals": ["deploy -o"] })).to_string()).unwrap();
    let mut config = super::fixture::config(&folder.path().join("data"));
    (config.maven, config.mapping) = (MavenBuilder::on_path(), MappingLocation::File(file.clone()));
    let refused = pyrsia_pipeline::Pipeline::start(config).await.unwrap_err().to_string();
    assert!(refused.contains("rule 1 ") && refused.contains("the recipe's goals has \"deploy -o\""), "{refused}");

    let mappings = folder.path().join("mappings");
    let answer = mappings.join("Maven2/org/example/demo/1.0/demo-1.0.mapping");
    std::fs::create_dir_all(answer.parent().unwrap()).unwrap();
    let info = json!({ "package_type": "Maven2", "package_specific_id": "org.example:demo:1.0", "build_spec_url": null,
        "source_repository": { "Git": { "url": repository.path, "tag": "v1" } } });
    std::fs::write(&answer, info.to_string()).unwrap();
    let by_folder = fixture(|config| config.mapping = MappingLocation::Folder(mappings.clone())).await.unwrap();
    let asked = |id: &str| json!({ "package_type": "maven", "package_specific_id": id });
    assert_eq!(by_folder.fail(asked("org.example:demo:1.0")).await, "the source has no pom.xml in .");
    // Judges of one package name the same tools, and a pipeline without them says what it has instead.
    let named = mappings.join("Maven2/org/example/demo/1.1/demo-1.1.mapping");
    std::fs::create_dir_all(named.parent().unwrap()).unwrap();
    let mut info = info;
    (info["package_specific_id"], info["program"]) = (json!("org.example:demo:1.1"), json!({ "recipe": { "jdk": "99" } }));
    std::fs::write(&named, info.to_string()).unwrap();
    let response = by_folder.put(asked("org.example:demo:1.1").to_string()).await;
    let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
    assert!(status == 400 && text.contains("the recipe wants the JDK 99, and this pipeline has "), "{status} {text}");

    let other = mappings.join("Maven2/org/example/other/1.0");
    std::fs::create_dir_all(&other).unwrap();
    let link = |from: &Path| {
        let _ = std::fs::remove_file(other.join("other-1.0.mapping"));
        std::os::unix::fs::symlink(from, other.join("other-1.0.mapping")).unwrap();
    };
    let refused = async |id: &str| {
        let response = by_folder.put(asked(id).to_string()).await;
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(refused("org.example:demo:2.0").await.0, 422);
    link(&file);
    let (status, text) = refused("org.example:other:1.0").await;
    assert!(status == 502 && text.contains("leads out of the folder"), "{text}");
    link(&answer);
    let (status, text) = refused("org.example:other:1.0").await;
    assert!(status == 502 && text.contains("it is about Maven2 org.example:demo:1.0"), "{text}");
}
