//! The build program for npm packages with the real npm, where it is installed.

use std::io::Read;
use std::path::Path;
use std::process::Command;

use pyrsia_pipeline::BuilderProgram;
use serde_json::{Value, json};

use super::fixture::{Fixture, Repository, is_there};
use super::upstream::{Reply, Upstream};

const PACKAGE: &str = r#"{
  "name": "@team/left", "version": "1.2.3", "main": "made.js", "files": ["made.js", "bin"],
  "scripts": { "build": "node make.js", "prepare": "exit 9", "prepack": "exit 9" }
}"#;

const FILES: &[(&str, &str)] = &[
    ("packages/left/package.json", PACKAGE),
    ("packages/left/make.js", "require('fs').writeFileSync('made.js', 'module.exports = 1\\n')\n"),
    ("packages/left/bin/left*", "#!/usr/bin/env node\n"),
    ("packages/left/.npmrc", "registry=http://127.0.0.1:1/\n"),
    ("packages/needy/package.json", r#"{ "name": "needy", "version": "1.0.0", "dependencies": { "left": "1" } }"#),
];

async fn fixture() -> Option<(Fixture, Repository)> {
    let found = Command::new("npm").arg("--version").output().is_ok_and(|output| output.status.success());
    if !is_there("npm", found) {
        return None;
    }
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("builders/npm");
    let fixture = Fixture::start(|config| config.builder_programs = vec![BuilderProgram::new("npm", program).unwrap()]).await;
    let repository = Repository::new(fixture.folder.path(), FILES);
    Some((fixture, repository))
}

fn request(repository: &Repository, id: &str, recipe: Value) -> Value {
    let mut request = repository.package_request("npm", id);
    request["program"] = json!({ "recipe": recipe });
    request
}

/// `(mode, path)` of a gzipped tar.
fn entries(tgz: &[u8]) -> Vec<(u32, String)> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(tgz));
    let mut entries: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.header().mode().unwrap(), entry.path().unwrap().display().to_string())
        })
        .collect();
    entries.sort();
    entries
}

#[tokio::test]
async fn a_package_of_a_repository_is_packed_and_twice_the_same() {
    let Some((fixture, repository)) = fixture().await else { return };
    let recipe = json!({ "directory": "packages/left", "scripts": ["build"] });
    let first = fixture.build_files(request(&repository, "@team/left@1.2.3", recipe.clone())).await;
    assert_eq!(first.keys().collect::<Vec<_>>(), ["team-left-1.2.3.tgz"]);
    let listed = [(0o644, "package/made.js"), (0o644, "package/package.json"), (0o755, "package/bin/left")];
    assert_eq!(entries(&first["team-left-1.2.3.tgz"]), listed.map(|(mode, path)| (mode, path.to_owned())));
    let second = fixture.build_files(request(&repository, "@team/left@1.2.3", recipe)).await;
    assert!(first == second, "two builds of one commit differ");
}

#[tokio::test]
async fn what_cannot_be_packed_is_told_in_a_sentence() {
    let Some((fixture, repository)) = fixture().await else { return };
    for (id, recipe, sentence) in [
        ("@team/left@1.2.4", json!({ "directory": "packages/left" }), "@team/left@1.2.3, and @team/left@1.2.4 was asked for"),
        ("left@1.2.3", json!({ "directory": "packages/left" }), "left@1.2.3 was asked for"),
        ("left", json!({}), "left has no version"),
        ("left@1.2.3", json!({}), "there is no package.json in ."),
        ("left@1.2.3", json!({ "directory": "../left" }), "directory is a path inside the repository"),
        ("left@1.2.3", json!({ "directory": "none" }), "the repository has no folder none"),
        ("left@1.2.3", json!({ "folder": "none" }), "unknown field folder"),
        ("left@1.2.3", json!({ "scripts": ["a; b"] }), "scripts is a list of names"),
        ("@team/left@1.2.3", json!({ "directory": "packages/left", "scripts": ["none"] }), "the script none failed"),
        ("@team/left@1.2.3", json!({ "directory": "packages/left", "scripts": ["prepare"] }), "the script prepare failed"),
        ("needy@1.0.0", json!({ "directory": "packages/needy", "install": true }), "install needs a package-lock.json"),
    ] {
        let reason = fixture.fail(request(&repository, id, recipe)).await;
        assert!(reason.contains(sentence), "{sentence}: {reason}");
    }
}

#[tokio::test]
async fn dependencies_come_from_the_registry_of_the_recipe_by_the_lock_file() {
    let Some((fixture, repository)) = fixture().await else { return };
    let recipe = json!({ "directory": "packages/left", "scripts": ["build"] });
    let mut packed = fixture.build_files(request(&repository, "@team/left@1.2.3", recipe)).await;
    let left = packed.remove("team-left-1.2.3.tgz").unwrap();
    let registry = Upstream::start(move |request, _| match request.path.as_str() {
        "/@team/left/-/left-1.2.3.tgz" => Reply::new(200, "application/octet-stream", left.clone()),
        _ => Reply::new(404, "text/plain", ""),
    })
    .await;
    let package = json!({
        "name": "needy", "version": "1.0.0", "dependencies": { "@team/left": "1.2.3" },
        "scripts": { "build": "node -e \"process.exit(require('@team/left') - 1)\"" },
    });
    let lock = json!({ "name": "needy", "version": "1.0.0", "lockfileVersion": 3, "packages": {
        "": package,
        "node_modules/@team/left": { "version": "1.2.3", "resolved": format!("{}/@team/left/-/left-1.2.3.tgz", registry.url) },
    } });
    let files = [("package.json", package.to_string()), ("package-lock.json", lock.to_string())];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let needy = Repository::new(&fixture.folder.path().join("needy"), &files);
    let recipe = json!({ "install": true, "scripts": ["build"], "registry": registry.url });
    let mut wish = request(&needy, "needy@1.0.0", recipe);
    wish["program"]["network"] = json!(true);
    let built = fixture.build_files(wish).await;
    let packed = entries(&built["needy-1.0.0.tgz"]);
    assert_eq!(packed.iter().map(|(_, path)| path.as_str()).collect::<Vec<_>>(), ["package/package.json"]);

    let reason = fixture.fail(request(&needy, "needy@1.0.0", json!({ "install": true }))).await;
    assert!(reason.contains("the recipe names no registry"), "{reason}");
}
