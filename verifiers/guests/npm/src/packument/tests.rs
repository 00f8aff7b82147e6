use pyrsia_verifier_kit::Verifier;
use pyrsia_verifier_kit::files::MemoryFiles;
use pyrsia_verifier_kit::hash::sha256;

use super::*;
use crate::Npm;
use crate::package::tests::{Style, archive, file};

const MOUNT: &str = "http://node.example:7888/npm";

fn artifact(path: &str) -> Option<(String, String)> {
    match target(path)? {
        HttpTarget::Artifact(HttpArtifact { artifact_id, coordinate }) => Some((artifact_id, coordinate)),
        HttpTarget::Document(_) => None,
    }
}

fn prefix(path: &str) -> Option<String> {
    match target(path)? {
        HttpTarget::Artifact(_) => None,
        HttpTarget::Document(sources) => Some(sources.coordinate_prefix),
    }
}

#[test]
fn a_path_stands_for_an_archive_or_for_the_list_of_a_package() {
    assert_eq!(prefix("/left-pad").as_deref(), Some("left-pad@"));
    assert_eq!(prefix("/@babel/core").as_deref(), Some("@babel/core@"));
    let both = |id: &str, coordinate: &str| Some((id.to_owned(), coordinate.to_owned()));
    assert_eq!(artifact("/a/-/a-1.0.0-rc.1.tgz"), both("a/-/a-1.0.0-rc.1.tgz", "a@1.0.0-rc.1"));
    assert_eq!(artifact("/@s/a-b/-/a-b-1.0.0.tgz"), both("@s/a-b/-/a-b-1.0.0.tgz", "@s/a-b@1.0.0"));
    for nothing in [
        "",
        "/",
        "/A",
        "/a/b",
        "/@s",
        "/@s/a/b",
        "/a/",
        "/a/-/b-1.0.0.tgz",
        "/a/-/a-1.0.tgz",
        "/a/-/a-1.0.0.tar",
        "/-/ping",
        "/@s/a/-/s-a-1.0.0.tgz",
        "/-/npm/v1/security/advisories/bulk",
        "/a/-/a-1.0.0.tgz/",
        "/a/-/../a",
    ] {
        assert_eq!(target(nothing), None, "{nothing}");
    }
}

/// Records and files of a package as the host would lend them.
fn published(versions: &[(&str, &str)]) -> (Vec<PublishedRecord>, MemoryFiles) {
    let (mut records, mut files) = (vec![], MemoryFiles::default());
    for (version, more) in versions {
        let manifest = format!(r#"{{"name":"demo","version":"{version}"{more}}}"#);
        let archive = archive(&[file("package/package.json", &manifest), file("package/a.js", "1")], &Style::default());
        records.push(PublishedRecord {
            coordinate: format!("demo@{version}"),
            artifact_id: format!("demo/-/demo-{version}.tgz"),
            media_type: "application/gzip".into(),
            size_bytes: archive.len() as u64,
            sha256: sha256(&archive).into(),
            file: Some(files.0.len() as u32),
        });
        files.0.push((format!("demo-{version}.tgz"), archive));
    }
    (records, files)
}

fn list(records: &[PublishedRecord], files: &MemoryFiles) -> Result<Value, Refusal> {
    let document = Npm::http_document("/demo", MOUNT, records, files.output())?;
    assert_eq!(document.media_type, "application/json");
    Ok(serde_json::from_slice(&document.body).unwrap())
}

#[test]
fn a_list_has_each_version_with_what_npm_needs_to_install_it() {
    let more = r#","dependencies":{"left":"^1"},"devDependencies":{"x":"1"},"scripts":{"install":"x"},"bin":"a.js""#;
    let (records, files) = published(&[("1.0.0", more), ("1.2.0", ""), ("1.10.0", ""), ("2.0.0-rc.1", "")]);
    let list = list(&records, &files).unwrap();
    assert_eq!(list["name"], "demo");
    assert_eq!(list["dist-tags"], json!({ "latest": "1.10.0" }));
    assert_eq!(list["versions"].as_object().unwrap().len(), 4);
    let integrity = format!("sha256-{}", base64::encode(&records[0].sha256));
    let expected = json!({
        "_id": "demo@1.0.0", "name": "demo", "version": "1.0.0",
        "bin": "a.js", "dependencies": { "left": "^1" }, "hasInstallScript": true,
        "dist": {
            "tarball": format!("{MOUNT}/demo/-/demo-1.0.0.tgz"), "integrity": integrity,
            "fileCount": 2, "unpackedSize": 1 + format!(r#"{{"name":"demo","version":"1.0.0"{more}}}"#).len(),
        },
    });
    assert_eq!(list["versions"]["1.0.0"], expected);
}

#[test]
fn without_a_release_the_highest_of_all_is_the_latest() {
    let (records, files) = published(&[("1.0.0-beta.2", ""), ("1.0.0-beta.11", "")]);
    assert_eq!(list(&records, &files).unwrap()["dist-tags"]["latest"], "1.0.0-beta.11");
}

#[test]
fn a_version_whose_archive_is_not_at_hand_is_not_listed() {
    let (mut records, files) = published(&[("1.0.0", ""), ("1.1.0", "")]);
    records[1].file = None;
    let listed = list(&records, &files).unwrap();
    assert_eq!(listed["dist-tags"]["latest"], "1.0.0");
    assert_eq!(listed["versions"].as_object().unwrap().len(), 1);
    records[0].file = None;
    assert_eq!(list(&records, &files).unwrap_err().code, "not-at-hand");
    assert_eq!(list(&[], &files).unwrap_err().code, "not-published");
}

#[test]
fn records_of_another_package_are_not_its_versions() {
    let (mut records, files) = published(&[("1.0.0", "")]);
    records[0].coordinate = "demo-2@1.0.0".into();
    assert_eq!(list(&records, &files).unwrap_err().code, "not-published");
}

#[test]
fn of_more_versions_than_fit_the_newest_are_listed() {
    let large = format!(r#","description":"{}""#, "x".repeat(900_000));
    let versions: Vec<String> = (0..10).map(|minor| format!("1.{minor}.0")).collect();
    let versions: Vec<(&str, &str)> = versions.iter().map(|version| (version.as_str(), large.as_str())).collect();
    let (records, files) = published(&versions);
    let listed = list(&records, &files).unwrap();
    let versions: Vec<&String> = listed["versions"].as_object().unwrap().keys().collect();
    assert_eq!(versions, ["1.2.0", "1.3.0", "1.4.0", "1.5.0", "1.6.0", "1.7.0", "1.8.0", "1.9.0"]);
}
