//! What anybody may read names no host of a package registry and no path of the machine it was written on.

use crate::root;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Hosts of registries, in pieces so that this file does not hold them. The pipeline's default upstream is the one place
/// that names its host, in pieces too.
const HOSTS: &[&[&str]] = &[
    &["registry-1.", "docker.io"],
    &["index.", "docker.io"],
    &["hub.", "docker.com"],
    &["repo1.", "maven.org"],
    &["repo.maven.", "apache.org"],
    &["static.", "crates.io"],
    &["index.", "crates.io"],
    &["deb.", "debian.org"],
];

/// Folders of the machines this is developed on.
const MACHINE_PATHS: &[&[&str]] = &[&["/work/", "main"], &["/work/", "shared"], &["/root/", ".cargo"], &["/tmp/", "helpers"]];

pub(crate) fn files_under(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] }).collect()
}

/// Every file that git tracks or would.
pub(crate) fn public_files() -> Vec<PathBuf> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").current_dir(root()).args(arguments).output().expect("git runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("names are text");
    names.lines().map(|name| root().join(name)).filter(|path| path.is_file()).collect()
}

/// The words of `list` that `text` holds.
fn found(list: &[&[&str]], text: &str) -> Vec<String> {
    list.iter().map(|pieces| pieces.concat()).filter(|word| text.contains(word.as_str())).collect()
}

#[test]
fn public_text_names_no_registry_host_and_no_machine_path() {
    let mut wrong = Vec::new();
    for file in public_files() {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        if file.ends_with("Cargo.lock") {
            continue; // Cargo's own format: it names where packages come from.
        }
        let words = found(HOSTS, &text).into_iter().chain(found(MACHINE_PATHS, &text));
        wrong.extend(words.map(|word| format!("{}: {word}", file.display())));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_host_in_a_text_is_found() {
    let text = format!("pull from https://{}/v2/", HOSTS[0].concat());
    assert_eq!(found(HOSTS, &text), [HOSTS[0].concat()]);
    assert!(found(HOSTS, "https://registry.example/v2/").is_empty());
}
