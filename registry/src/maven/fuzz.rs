//! Whatever follows `/maven2`, and versions in any words.

use super::path::{FilePath, Target};
use super::version::Version;
use std::cmp::Ordering;

/// What a verifier is asked about leads nowhere else.
pub(crate) fn maven_path(bytes: &[u8]) {
    let Ok(path) = std::str::from_utf8(bytes) else { return };
    let Ok(target) = Target::parse(path) else { return };
    let check = |file: &FilePath| {
        let asked = file.for_verifier();
        let is_plain = |step: &str| !["", ".", ".."].contains(&step) && step.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(asked.split('/').skip(1).all(is_plain), "{path:?}");
        assert_eq!(Target::parse(&asked), Ok(Target::File(file.clone())));
        let coordinate = file.coordinate();
        assert!(coordinate.split(':').count() == 3 && coordinate.ends_with(&file.version), "{coordinate:?}");
        let _ = file.is_main();
    };
    match &target {
        Target::File(file) | Target::Checksum { of: file, .. } => check(file),
        Target::Metadata { package, .. } => {
            assert!(!package.group().is_empty() && !package.artifact.is_empty());
            if let Some((above, version)) = package.as_version() {
                assert!(!above.group().is_empty() && !version.is_empty());
            }
        }
    }
}

pub(crate) fn maven_path_seeds() -> Vec<Vec<u8>> {
    let paths = [
        "/org/example/demo/1.0/demo-1.0.jar",
        "/org/example/demo/1.0/demo-1.0.pom.sha256",
        "/org/%65xample/demo/1.0/demo-1.0%2Bx-sources.jar",
        "/org/example/demo/maven-metadata.xml",
        "/org/example/demo/1.0-SNAPSHOT/maven-metadata.xml.md5",
        "/org/../demo/1.0/demo-1.0.jar",
        "/.meta/prefixes.txt",
        "/org/example/demo/",
    ];
    paths.map(|path| path.as_bytes().to_vec()).to_vec()
}

/// Three versions, a line each: they have one order.
pub(crate) fn maven_version(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut versions: Vec<Version> = text.split('\n').take(3).map(Version::parse).collect();
    for a in &versions {
        for b in &versions {
            assert_eq!(a.cmp(b), b.cmp(a).reverse(), "{a:?} {b:?}");
            assert_eq!(a == b, a.cmp(b) == Ordering::Equal, "{a:?} {b:?}");
        }
    }
    versions.sort();
    if let [first, _, last] = versions.as_slice() {
        assert!(first <= last, "{versions:?}");
    }
}

pub(crate) fn maven_version_seeds() -> Vec<Vec<u8>> {
    let lines =
        ["1.0\n1-alpha1\n1.0.0-SNAPSHOT", "1.ga\n1-sp\n1-foo2", "1-0-x\n1.0x\n1", "\u{661}.2\n1--\n-1.", "1-a1\n1-b-m\n1cr2"];
    lines.map(|text| text.as_bytes().to_vec()).to_vec()
}
