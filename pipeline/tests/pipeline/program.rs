//! Build programs: what they are given, what becomes of what they leave, and which rule finds them.

use std::collections::BTreeSet;

use pyrsia_pipeline::{BuildStatus, BuilderProgram, MappingLocation, SourceKind};
use serde_json::{Value, json};

use super::fixture::{COMMITTED_AT, Fixture, Repository, build_with, namespaces_work};
use super::upstream::{Reply, Upstream};

const FILES: &[(&str, &str)] = &[("hello.txt", "hello"), ("bin/run*", "#!/bin/sh\n"), ("deep/er/a", "a")];

async fn building_with(script: &str) -> (Fixture, Repository) {
    let fixture = Fixture::start(|config| build_with(config, "cargo", script)).await;
    let repository = Repository::new(fixture.folder.path(), FILES);
    (fixture, repository)
}

#[tokio::test]
async fn a_program_gets_the_source_and_gives_the_artifacts() {
    let script = r#"
        env | sort > "$PYRSIA_OUTPUT_DIR/environment"
        cp "$PYRSIA_RECIPE" "$PYRSIA_OUTPUT_DIR/recipe"
        cp "$PYRSIA_SOURCE_DIR/hello.txt" "$PYRSIA_OUTPUT_DIR/hello-$PYRSIA_PACKAGE_VERSION.txt"
        umask > "$PYRSIA_OUTPUT_DIR/umask"
        find . -printf '%m %Ts %P\n' | sort > "$PYRSIA_OUTPUT_DIR/source"
        test -w "$HOME"; test -w "$TMPDIR"; test -z "$(ls -A "$HOME" "$TMPDIR" | grep -v :)"; test ! -e .git"#;
    let (fixture, repository) = building_with(script).await;
    let mut request = repository.package_request("Cargo", "@team/hello@1.0-rc.1");
    request["program"] = json!({ "recipe": { "list": [1, "two", null] } });
    let id = fixture.request(request.clone()).await;
    let view = fixture.wait(&id).await;
    let source = view.source.unwrap();
    assert_eq!((view.package_type.as_str(), source.kind, &source.revision), ("cargo", SourceKind::Git, &repository.commit));
    assert_eq!(source.tree.unwrap().len(), 40);

    let artifacts = fixture.build_files(request).await;
    let text = |name: &str| String::from_utf8(artifacts[name].clone()).unwrap();
    assert_eq!(artifacts.keys().collect::<Vec<_>>(), ["environment", "hello-1.0-rc.1.txt", "recipe", "source", "umask"]);
    assert_eq!((text("hello-1.0-rc.1.txt").as_str(), text("umask").trim()), ("hello", "0022"));
    assert_eq!(serde_json::from_str::<Value>(&text("recipe")).unwrap(), json!({ "list": [1, "two", null] }));
    let files = [
        ("644", "deep/er/a"),
        ("644", "hello.txt"),
        ("755", ""),
        ("755", "bin"),
        ("755", "bin/run"),
        ("755", "deep"),
        ("755", "deep/er"),
    ];
    let listed: Vec<String> = files.iter().map(|(mode, path)| format!("{mode} {COMMITTED_AT} {path}")).collect();
    assert_eq!(text("source").lines().collect::<Vec<_>>(), listed);

    let environment = text("environment");
    let names: BTreeSet<&str> = environment.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    let documented = include_str!("../../../docs/pipeline-api.md");
    for name in &names {
        assert!(*name == "PWD" || documented.contains(&format!("`{name}`")), "{name} is not in the contract");
    }
    for line in [
        "LANG=C.UTF-8",
        "PYRSIA_PACKAGE_ID=@team/hello@1.0-rc.1",
        "PYRSIA_PACKAGE_NAME=@team/hello",
        "PYRSIA_PACKAGE_TYPE=cargo",
        "PYRSIA_PACKAGE_VERSION=1.0-rc.1",
        &format!("PYRSIA_SOURCE_COMMIT={}", repository.commit),
        &format!("PYRSIA_SOURCE_URL={}", repository.path.display()),
        &format!("SOURCE_DATE_EPOCH={COMMITTED_AT}"),
        "TZ=UTC",
    ] {
        assert!(environment.lines().any(|given| given == line), "{line} is not in\n{environment}");
    }
}

#[tokio::test]
async fn what_is_no_plain_file_in_the_output_is_refused_with_all_of_it() {
    for (script, sentence) in [
        ("true", "it is empty"),
        ("ln -s hello.txt \"$PYRSIA_OUTPUT_DIR/link\"", "\"link\" is no regular file"),
        ("mkfifo \"$PYRSIA_OUTPUT_DIR/pipe\"", "\"pipe\" is no regular file"),
        ("mkdir \"$PYRSIA_OUTPUT_DIR/folder\"", "\"folder\" is no regular file"),
        ("ln hello.txt \"$PYRSIA_OUTPUT_DIR/hard\"", "\"hard\" has a second name"),
        ("echo > \"$PYRSIA_OUTPUT_DIR/.hidden\"", "\".hidden\" is no file name"),
        ("echo > \"$PYRSIA_OUTPUT_DIR/a b\"", "\"a b\" is no file name"),
        ("echo > \"$PYRSIA_OUTPUT_DIR/$(printf '\\377')\"", "is no file name"),
        ("seq 5000 | (cd \"$PYRSIA_OUTPUT_DIR\"; xargs touch)", "more than 4096 artifacts"),
        ("head -c 2000 /dev/zero > \"$PYRSIA_OUTPUT_DIR/large\"", "large has 2000 bytes, more than the limit of 1000"),
        ("rm -r \"$PYRSIA_OUTPUT_DIR\"; ln -s /etc \"$PYRSIA_OUTPUT_DIR\"", "the program removed its output folder"),
    ] {
        let fixture = Fixture::start(|config| {
            config.max_artifact_bytes = 1000;
            // A good file beside the bad one is not kept either.
            let good = if sentence == "it is empty" { "" } else { "echo good > \"$PYRSIA_OUTPUT_DIR/good\"" };
            build_with(config, "cargo", &format!("{good}\n{script}"));
        })
        .await;
        let repository = Repository::new(fixture.folder.path(), FILES);
        let reason = fixture.fail(repository.package_request("cargo", "a@1")).await;
        assert!(reason.starts_with("the output of the build program is refused: "), "{script}: {reason}");
        assert!(reason.contains(sentence), "{script}: {reason}");
    }
}

#[tokio::test]
async fn types_without_a_program_are_refused_with_the_option_that_helps() {
    let fixture = Fixture::start(|config| build_with(config, "Maven2", "echo > \"$PYRSIA_OUTPUT_DIR/a.jar\"")).await;
    let repository = Repository::new(fixture.folder.path(), FILES);
    let refused = fixture.put(repository.package_request("Cargo", "a@1").to_string()).await;
    assert_eq!(refused.status(), 422);
    let text = refused.text().await.unwrap();
    assert!(text.contains("NO_BUILDER") && text.contains("--builder-program cargo=PATH"), "{text}");
    let status: Value = fixture.get("/status").await.json().await.unwrap();
    assert_eq!(status["package_types"], json!(["Docker", "Maven2"]));
    // The word of the ledger, that of the prototype, and what a node may make of the first.
    for word in ["maven", "Maven2", "Maven"] {
        let id = fixture.request(repository.package_request(word, "g:a:1")).await;
        let view = fixture.wait(&id).await;
        assert!(matches!(view.status, BuildStatus::Success { .. }), "{view:?}");
        assert_eq!(view.package_type, "Maven2");
    }
}

#[tokio::test]
async fn programs_that_cannot_be_run_are_found_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "#!/bin/sh\n").unwrap();
    let plain = plain.to_str().unwrap();
    for (text, sentence) in [
        ("cargo".to_owned(), "use TYPE=PATH"),
        ("a/b=/bin/sh".to_owned(), "no package type"),
        ("Docker=/bin/sh".to_owned(), "builders of their own"),
        (format!("cargo={plain}-none"), "cannot find the build program"),
        (format!("cargo={plain}"), "no executable file"),
        ("cargo=/".to_owned(), "no executable file"),
    ] {
        let error = text.parse::<BuilderProgram>().unwrap_err().to_string();
        assert!(error.contains(sentence), "{text}: {error}");
    }
}

#[tokio::test]
async fn a_rule_or_a_mapping_service_says_where_the_source_is() {
    let script = "cp \"$PYRSIA_RECIPE\" \"$PYRSIA_OUTPUT_DIR/recipe\"";
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new(folder.path(), FILES);
    let rules = json!({ "rules": [{
        "package_type": "cargo", "package_specific_id": "left@*",
        "source_repository": { "Git": { "url": repository.path, "tag": "v{version}" } },
        "program": { "recipe": { "directory": "crates/{name}" } }
    }] });
    let path = folder.path().join("mapping.json");
    std::fs::write(&path, rules.to_string()).unwrap();
    let by_rule = Fixture::start(|config| {
        config.mapping = MappingLocation::File(path);
        build_with(config, "cargo", script);
    })
    .await;
    let ask = |id: &str| json!({ "package_type": "cargo", "package_specific_id": id });
    let artifacts = by_rule.build_files(ask("left@1")).await;
    assert_eq!(serde_json::from_slice::<Value>(&artifacts["recipe"]).unwrap(), json!({ "directory": "crates/left" }));
    let reason = by_rule.fail(ask("left@9")).await;
    assert!(reason.contains("has no tag v9"), "{reason}");
    let unmapped = by_rule.put(ask("right@1").to_string()).await;
    assert_eq!(unmapped.status(), 422);
    assert!(unmapped.text().await.unwrap().contains("--mapping"));

    let mut mapped = repository.package_request("cargo", "@team/left@1.0");
    mapped["program"] = json!({ "recipe": { "from": "service" } });
    let maven = repository.package_request("Maven2", "org.example:lib:1.0");
    let service = Upstream::start(move |request, _| match request.path.as_str() {
        "/maps/cargo/@team/left/1.0/left-1.0.mapping" => Reply::new(200, "application/json", mapped.to_string()),
        "/maps/Maven2/org/example/lib/1.0/lib-1.0.mapping" => Reply::new(200, "application/json", maven.to_string()),
        "/maps/cargo/other/1.0/other-1.0.mapping" => Reply::new(200, "application/json", mapped.to_string()),
        _ => Reply::new(404, "text/plain", ""),
    })
    .await;
    let url = format!("{}/maps", service.url).parse().unwrap();
    let by_service = Fixture::start(|config| {
        config.mapping = MappingLocation::Service(url);
        build_with(config, "cargo", script);
        build_with(config, "maven", script);
    })
    .await;
    let artifacts = by_service.build_files(ask("@team/left@1.0")).await;
    assert_eq!(serde_json::from_slice::<Value>(&artifacts["recipe"]).unwrap(), json!({ "from": "service" }));
    by_service.build_files(json!({ "package_type": "maven", "package_specific_id": "org.example:lib:1.0" })).await;
    for (id, status) in [("other@1.0", 502), ("none@1.0", 422), ("left", 422), ("../left@1.0", 400)] {
        assert_eq!(by_service.put(ask(id).to_string()).await.status(), status, "{id}");
    }
}

#[tokio::test]
async fn a_program_has_no_network_unless_its_recipe_asks_for_it() {
    if !namespaces_work() {
        return;
    }
    let (fixture, repository) = building_with("readlink /proc/self/ns/net > \"$PYRSIA_OUTPUT_DIR/network\"").await;
    let own = std::fs::read_link("/proc/self/ns/net").unwrap().to_string_lossy().into_owned();
    for network in [false, true] {
        let mut request = repository.package_request("cargo", "a@1");
        request["program"] = json!({ "network": network });
        let artifacts = fixture.build_files(request).await;
        let seen = String::from_utf8(artifacts["network"].clone()).unwrap();
        assert_eq!(seen.trim() == own, network, "{seen}");
    }
}

#[tokio::test]
async fn a_program_has_none_of_the_rights_of_root_and_finds_no_way_back_to_the_network() {
    if !namespaces_work() {
        return;
    }
    let script = format!(
        "for way in /proc/{own}/ns/net /proc/$PPID/ns/net; do if nsenter --net=$way true 2> /dev/null; then exit 1; fi; done
        grep -E '^(Cap|NoNewPrivs)' /proc/self/status > \"$PYRSIA_OUTPUT_DIR/rights\"",
        own = std::process::id()
    );
    let (fixture, repository) = building_with(&script).await;
    for network in [false, true] {
        let mut request = repository.package_request("cargo", "a@1");
        request["program"] = json!({ "network": network });
        let artifacts = fixture.build_files(request).await;
        let rights = String::from_utf8(artifacts["rights"].clone()).unwrap();
        let none = "0".repeat(16);
        let wanted = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| format!("{set}:\t{none}\n")).concat();
        assert_eq!(rights, format!("{wanted}NoNewPrivs:\t1\n"));
    }
}

#[tokio::test]
async fn a_program_sees_no_folder_of_the_pipeline_but_its_own() {
    if !namespaces_work() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let shown = data.path().join("data");
    let script = format!(
        "cd {data}; find . -path '*/work/*' -prune -o -print > \"$PYRSIA_OUTPUT_DIR/seen\"
        for file in builds/*/artifacts/seen; do echo poison > $file || true; done
        mkdir -p maven-cache; echo poison > maven-cache/poison
        find /run /var/run/ -type s > \"$PYRSIA_OUTPUT_DIR/sockets\"
        ls -d /proc/[0-9]* | wc -l > \"$PYRSIA_OUTPUT_DIR/processes\"
        echo own > \"$HOME/file\"; echo own > \"$TMPDIR/file\"; test \"$(cat \"$PYRSIA_SOURCE_DIR/hello.txt\")\" = hello",
        data = shown.display()
    );
    let fixture = Fixture::start(|config| {
        build_with(config, "cargo", &script);
        config.data_dir = shown.clone();
    })
    .await;
    let repository = Repository::new(fixture.folder.path(), FILES);
    let mut first: Option<String> = None;
    for _ in 0..2 {
        let id = fixture.request(repository.package_request("cargo", "a@1")).await;
        let view = fixture.wait(&id).await;
        assert!(matches!(view.status, BuildStatus::Success { .. }), "{view:?}\n{}", fixture.log(&id).await);
        let text = async |name: &str| fixture.get(&format!("/build/{id}/artifacts/{name}")).await.text().await.unwrap();
        assert_eq!(text("seen").await, format!(".\n./builds\n./builds/{id}\n./builds/{id}/work\n"));
        assert_eq!(text("sockets").await, "");
        if let Some(first) = &first {
            let kept = std::fs::read_to_string(shown.join("builds").join(first).join("artifacts/seen")).unwrap();
            assert!(kept.contains(first.as_str()), "{kept}");
        }
        first = Some(id);
    }
    assert!(!shown.join("maven-cache/poison").exists());
}

#[tokio::test]
async fn a_program_in_a_folder_that_builds_do_not_see_is_refused_at_start() {
    if !namespaces_work() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut config = super::fixture::config(&folder.path().join("data"));
    build_with(&mut config, "cargo", "true");
    config.data_dir = folder.path().to_owned();
    let refused = pyrsia_pipeline::Pipeline::start(config).await.unwrap_err().to_string();
    assert!(refused.contains("build-cargo") && refused.contains("which builds do not see"), "{refused}");
}
