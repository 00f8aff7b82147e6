use pyrsia_verifier_kit::files::MemoryFiles;

use super::*;
use crate::checksum::Sums;
use crate::zip_writer::{ZipEntry, zip};

const COORDINATE: &str = "org.example:demo:1.0";

fn pom(packaging: &str) -> Vec<u8> {
    format!(
        "<project>\n  <modelVersion>4.0.0</modelVersion>\n  <groupId>org.example</groupId>\n  <artifactId>demo</artifactId>\n  <version>1.0</version>\n{packaging}</project>\n"
    )
    .into_bytes()
}

fn jar(content: &str) -> Vec<u8> {
    zip(&[ZipEntry::new("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\r\n\r\n"), ZipEntry::new("a.txt", content)])
}

/// A library with its sources and one checksum.
fn library() -> MemoryFiles {
    let jar_bytes = jar("a");
    let sha1 = Sums::of(&jar_bytes[..], &[Algorithm::Sha1]).unwrap().get(Algorithm::Sha1).to_owned();
    MemoryFiles(vec![
        ("demo-1.0.pom".into(), pom("")),
        ("demo-1.0.jar".into(), jar_bytes),
        ("demo-1.0.jar.sha1".into(), sha1.into_bytes()),
        ("demo-1.0-sources.jar".into(), jar("s")),
    ])
}

fn with(mut files: MemoryFiles, name: &str, content: impl Into<Vec<u8>>) -> MemoryFiles {
    files.0.retain(|(existing, _)| existing != name);
    files.0.push((name.into(), content.into()));
    files
}

fn without(mut files: MemoryFiles, name: &str) -> MemoryFiles {
    files.0.retain(|(existing, _)| existing != name);
    files
}

#[track_caller]
fn check_refused(files: &MemoryFiles, code: &str) -> Refusal {
    let refusal = check(COORDINATE, files.output()).unwrap_err();
    assert_eq!(refusal.code, code, "{refusal:?}");
    refusal
}

#[test]
fn a_library_publishes_each_of_its_files_under_the_dotted_group() {
    let files = library();
    let published = check(COORDINATE, files.output()).unwrap();
    let ids: Vec<&str> = published.iter().map(|artifact| artifact.artifact_id.as_str()).collect();
    let wanted = ["demo-1.0-sources.jar", "demo-1.0.jar", "demo-1.0.jar.sha1", "demo-1.0.pom"];
    assert_eq!(ids, wanted.map(|name| format!("org.example/demo/1.0/{name}")));
    assert_eq!(published[1].file, 1);
    assert_eq!(published[1].media_type, "application/java-archive");
    assert_eq!(published[3].media_type, "application/xml");
    // What is published does not depend on the order in which files are lent.
    let reversed = MemoryFiles(files.0.iter().rev().cloned().collect());
    let again = check(COORDINATE, reversed.output()).unwrap();
    let essence = |published: &[PublishedArtifact]| {
        published.iter().map(|a| (a.artifact_id.clone(), a.canonical_digest.clone())).collect::<Vec<_>>()
    };
    assert_eq!(essence(&again), essence(&published));
}

#[test]
fn a_file_of_nothing_is_refused() {
    let cases = [
        ("demo-1.1.jar", "stranger"),
        ("other-1.0.jar", "stranger"),
        ("demo-1.0", "stranger"),
        ("demo-1.0.2.jar", "stranger"),
        ("demo-1.0-.jar", "stranger"),
        ("demo-1.0-a/b.jar", "stranger"),
        ("demo-1.0-..jar", "stranger"),
        ("demo-1.0-\u{e9}.jar", "stranger"),
        ("demo-1.0.jar.asc", "signature-file"),
        ("demo-1.0-sources.jar.asc.md5", "signature-file"),
        ("demo-1.0.spdx.json.asc", "signature-file"),
        ("demo-1.0.jar.sigstore.json", "signature-file"),
        ("demo-1.0.other.json", "stranger"),
        ("demo-1.0.2.spdx.json", "stranger"),
        ("demo-1.0-.spdx.json", "stranger"),
        ("demo-1.0.tar.other", "stranger"),
        ("maven-metadata.xml", "repository-metadata"),
        ("maven-metadata.xml.sha1", "repository-metadata"),
        ("maven-metadata-plugin-1.0.jar", "stranger"),
        ("demo-1.0-javadoc.jar.sha1", "orphan-checksum"),
    ];
    for (name, code) in cases {
        assert_eq!(check_refused(&with(library(), name, "{}"), code).subject, name);
    }
    let mut twice = library();
    twice.0.push(("demo-1.0.jar".into(), jar("b")));
    check_refused(&twice, "duplicate-file");
    for name in [
        "demo-1.0-linux-x86_64.exe",
        "demo-1.0.tar.gz",
        "demo-1.0-bin.tar.gz",
        "demo-1.0-jdk1.5.zip",
        "demo-1.0-features.xml",
        "demo-1.0.spdx.rdf.xml",
        "demo-1.0-tests.spdx.yaml",
        "demo-1.0-cyclonedx.xml",
    ] {
        assert!(check(COORDINATE, with(library(), name, "x").output()).is_ok(), "{name}");
    }
}

#[test]
fn a_name_has_one_classifier_and_one_extension() {
    for (name, classifier, extension) in [
        ("demo-1.0.jar", None, "jar"),
        ("demo-1.0.spdx.json", None, "spdx.json"),
        ("demo-1.0.spdx.rdf.xml", None, "spdx.rdf.xml"),
        ("demo-1.0-tests.spdx.json", Some("tests"), "spdx.json"),
        ("demo-1.0-jdk1.5.json", Some("jdk1.5"), "json"),
        ("demo-1.0-a.tar.b.tar.gz", Some("a.tar.b"), "tar.gz"),
        ("demo-1.0-cyclonedx.json", Some("cyclonedx"), "json"),
        ("demo-1.0.cdx.json.sha256", None, "cdx.json"),
    ] {
        let found = FileName::parse(name, "demo-1.0").unwrap_or_else(|| panic!("{name}"));
        assert_eq!(
            (found.classifier, found.extension, found.is_checksum),
            (classifier, extension, name.ends_with("sha256")),
            "{name}"
        );
    }
    for extension in EXTENSIONS_OF_PARTS {
        let name = format!("demo-1.0.{extension}");
        assert_eq!(FileName::parse(&name, "demo-1.0").map(|name| name.extension), Some(extension), "{name}");
    }
}

#[test]
fn a_bill_of_materials_that_readers_could_understand_in_two_ways_is_refused() {
    for text in ["", "{", "{\"spdxVersion\":\"SPDX-2.3\",\"spdxVersion\":\"SPDX-2.2\"}", &"[".repeat(10_000)] {
        check_refused(&with(library(), "demo-1.0.spdx.json", text), "unreadable");
    }
    let huge = vec![b' '; 17 << 20];
    check_refused(&with(library(), "demo-1.0.spdx.json", huge), "too-large");
    let published = check(COORDINATE, with(library(), "demo-1.0.spdx.json", "{\"spdxVersion\":\"SPDX-2.3\"}").output()).unwrap();
    let media_type = |suffix: &str| {
        let file = published.iter().find(|artifact| artifact.artifact_id.ends_with(suffix));
        file.unwrap().media_type.as_str()
    };
    assert_eq!(media_type("demo-1.0.spdx.json"), "application/json");
}

#[test]
fn a_pom_has_to_be_there_and_of_this_package() {
    check_refused(&without(library(), "demo-1.0.pom"), "missing-pom");
    let text = String::from_utf8(pom("")).unwrap();
    check_refused(&with(library(), "demo-1.0.pom", text.replace("demo", "other")), "wrong-coordinate");
    check_refused(&with(library(), "demo-1.0.pom", text.replace("<project>", "<!DOCTYPE project>\n<project>")), "unreadable");
    assert_eq!(check("org.example:demo:1.0-SNAPSHOT", library().output()).unwrap_err().code, "snapshot");
    assert_eq!(check("org.other:demo:1.0", library().output()).unwrap_err().code, "wrong-coordinate");
}

#[test]
fn packaging_decides_which_file_has_to_be_there() {
    let packaged = |packaging: &str, extension: Option<&str>| {
        let files = without(without(library(), "demo-1.0.jar"), "demo-1.0.jar.sha1");
        let files = with(files, "demo-1.0.pom", pom(&format!("  <packaging>{packaging}</packaging>\n")));
        let files = match extension {
            Some(extension) => with(files, &format!("demo-1.0.{extension}"), jar("m")),
            None => files,
        };
        check(COORDINATE, files.output()).map(drop).map_err(|refusal| refusal.code)
    };
    for (packaging, extension) in
        [("jar", "jar"), ("war", "war"), ("maven-plugin", "jar"), ("bundle", "jar"), ("aar", "aar"), ("nbm", "nbm")]
    {
        assert_eq!(packaged(packaging, Some(extension)), Ok(()), "{packaging}");
        assert_eq!(packaged(packaging, None), Err("missing-main-artifact".into()), "{packaging}");
    }
    assert_eq!(packaged("pom", None), Ok(()));
    assert_eq!(packaged("pom", Some("jar")), Err("wrong-packaging".into()));
    assert_eq!(packaged("war", Some("jar")), Err("wrong-packaging".into()));
    assert_eq!(packaged("jar", Some("war")), Err("wrong-packaging".into()));
}

#[test]
fn checksums_and_archives_have_to_be_right() {
    let refusal = check_refused(&with(library(), "demo-1.0.jar.sha1", "0".repeat(40)), "wrong-checksum");
    assert!(refusal.sentence.contains("the sha1 of demo-1.0.jar is"), "{refusal:?}");
    check_refused(&with(library(), "demo-1.0.jar.sha1", "not digits"), "unreadable");
    let mut damaged = jar("s");
    let at = damaged.len() / 3;
    damaged[at] ^= 1;
    check_refused(&with(library(), "demo-1.0-sources.jar", damaged), "unreadable");
    check_refused(&with(library(), "demo-1.0-sources.jar", "no archive"), "unreadable");
}

#[test]
fn module_metadata_has_to_be_of_this_package_and_its_files() {
    let jar_bytes = &library().0[1].1.clone();
    let sha256 = Sums::of(&jar_bytes[..], &[Algorithm::Sha256]).unwrap().get(Algorithm::Sha256).to_owned();
    let module = |version: &str, sha256: &str| {
        format!(
            r#"{{"formatVersion":"1.1","component":{{"group":"org.example","module":"demo","version":"{version}"}},"variants":[{{"name":"api","files":[{{"name":"demo-1.0.jar","url":"demo-1.0.jar","size":{},"sha256":"{sha256}"}}]}}]}}"#,
            jar_bytes.len()
        )
    };
    assert!(check(COORDINATE, with(library(), "demo-1.0.module", module("1.0", &sha256)).output()).is_ok());
    check_refused(&with(library(), "demo-1.0.module", module("1.1", &sha256)), "wrong-coordinate");
    check_refused(&with(library(), "demo-1.0.module", module("1.0", &"0".repeat(64))), "unreadable");
}
