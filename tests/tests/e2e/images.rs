//! The images the scenarios build, and the mapping that says where from.

use pyrsia_tests::clients::find;
use pyrsia_tests::git::Repository;
use pyrsia_tests::image::{Image, LayerFile, pseudo_random};
use serde_json::json;
use std::path::{Path, PathBuf};

/// What the imported image prints when it runs.
pub(crate) const GREETING: &str = "hello from a layer\n";
/// What the image built from source prints.
pub(crate) const SOURCE_GREETING: &str = "hello from source\n";

/// A program that needs nothing else in its image.
fn busybox() -> Vec<u8> {
    std::fs::read(find("busybox").expect("the test asked for busybox")).expect("the program can be read")
}

/// An image of three layers that runs: a static shell, a large file, and what it prints.
pub(crate) fn runnable(large_bytes: usize) -> Image {
    let (busybox, large) = (busybox(), pseudo_random(7, large_bytes));
    let shell = [LayerFile { path: "bin/busybox", contents: &busybox, mode: 0o755 }];
    let large = [LayerFile { path: "srv/large", contents: &large, mode: 0o644 }];
    let greeting = [LayerFile { path: "etc/greeting", contents: GREETING.as_bytes(), mode: 0o644 }];
    Image::new(&[&shell, &large, &greeting], &["/bin/busybox", "cat", "/etc/greeting"])
}

/// A repository with a Dockerfile whose image runs.
pub(crate) fn repository(folder: &Path) -> Repository {
    let dockerfile = "FROM scratch\nLABEL org.opencontainers.image.title=\"hello\"\nCOPY busybox /bin/busybox\nCOPY greeting /etc/greeting\n\
                      CMD [\"/bin/busybox\", \"cat\", \"/etc/greeting\"]\n";
    let busybox = busybox();
    let files = [
        ("Dockerfile", dockerfile.as_bytes(), false),
        ("greeting", SOURCE_GREETING.as_bytes(), false),
        ("busybox", busybox.as_slice(), true),
    ];
    Repository::create(&folder.join("hello"), &files)
}

/// The mapping file of a pipeline that builds `hello:1.0` from the repository and imports everything else.
pub(crate) fn mapping(folder: &Path, repository: &Repository) -> PathBuf {
    let rule = json!({
        "package_type": "Docker", "package_specific_id": "hello:1.0",
        "source_repository": { "Git": { "url": repository.url(), "commit": repository.commit } },
        "build_spec_url": null,
        "docker": { "builder": "source" },
    });
    let file = folder.join("mapping.json");
    std::fs::write(&file, json!({ "rules": [rule] }).to_string()).expect("the mapping file");
    file
}
