//! The table of rooms in ARCHITECTURE.md, held true over `cargo metadata`.

use crate::root;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

struct Room {
    package: &'static str,
    /// Our own packages it may import.
    may: &'static [&'static str],
    /// Packages of others it must never import; a final `*` stands for any ending.
    never: &'static [&'static str],
}

/// Clocks, threads, sockets and `async` of every kind.
const OUTSIDE_WORLD: &[&str] = &[
    "tokio*",
    "libp2p*",
    "poem*",
    "wasmtime*",
    "clap*",
    "reqwest",
    "hyper*",
    "futures*",
    "rand",
    "getrandom",
    "jiff",
    "tracing*",
];

const ROOMS: &[Room] = &[
    Room { package: "pyrsia-ledger", may: &[], never: OUTSIDE_WORLD },
    Room { package: "pyrsia-verifiers", may: &["pyrsia-ledger"], never: &["libp2p*", "poem*", "fjall", "tokio*", "clap*"] },
    Room { package: "pyrsia-node", may: &["pyrsia-ledger", "pyrsia-verifiers"], never: &["poem*", "clap*", "wasmtime*"] },
    Room {
        package: "pyrsia-registry",
        may: &["pyrsia-node", "pyrsia-ledger"],
        never: &["libp2p*", "wasmtime*", "fjall", "clap*"],
    },
    Room { package: "pyrsia-pipeline", may: &[], never: &["libp2p*", "wasmtime*", "fjall"] },
    Room {
        package: "pyrsia-cli",
        may: &["pyrsia-ledger", "pyrsia-verifiers", "pyrsia-node", "pyrsia-registry", "pyrsia-pipeline"],
        never: &["libp2p*", "wasmtime*", "fjall"],
    },
    Room { package: "pyrsia-tests", may: &[], never: &[] },
    Room { package: "pyrsia-benches", may: &["pyrsia-tests", "pyrsia-ledger", "pyrsia-node", "pyrsia-verifiers"], never: &[] },
    Room { package: "xtask", may: &[], never: OUTSIDE_WORLD },
];

/// The direct dependencies of each package of the workspace, without those of its tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let of = |package: &Value| {
        let all = package["dependencies"].as_array().expect("dependencies").iter();
        let name = |dependency: &Value| dependency["name"].as_str().expect("a name").to_owned();
        all.filter(|dependency| dependency["kind"] != "dev").map(name).collect()
    };
    packages.iter().map(|package| (package["name"].as_str().expect("a name").to_owned(), of(package))).collect()
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

/// What is wrong with one room's imports.
fn violations(room: &Room, imports: &BTreeSet<String>) -> Vec<String> {
    let ours = imports.iter().filter(|name| name.starts_with("pyrsia-") && !room.may.contains(&name.as_str()));
    let never = imports.iter().filter(|name| room.never.iter().any(|pattern| matches(pattern, name)));
    ours.chain(never).map(|name| format!("{} imports {name}", room.package)).collect()
}

#[test]
fn each_room_imports_only_what_the_table_allows() {
    let dependencies = dependencies();
    let wrong: Vec<String> = ROOMS.iter().flat_map(|room| violations(room, &dependencies[room.package])).collect();
    assert!(wrong.is_empty(), "against the table in ARCHITECTURE.md: {wrong:#?}");
}

#[test]
fn each_package_is_a_room_of_the_table() {
    let packages: Vec<String> = dependencies().into_keys().collect();
    let mut rooms: Vec<&str> = ROOMS.iter().map(|room| room.package).collect();
    rooms.sort_unstable();
    assert_eq!(packages, rooms);
}

#[test]
fn an_import_against_the_table_is_found() {
    let imports = ["pyrsia-registry", "pyrsia-ledger", "poem"].map(str::to_owned).into();
    let node = ROOMS.iter().find(|room| room.package == "pyrsia-node").expect("a room");
    assert_eq!(violations(node, &imports), ["pyrsia-node imports pyrsia-registry", "pyrsia-node imports poem"]);
}

/// Only the module that touches the disk may know the database.
#[test]
fn in_the_ledger_only_the_log_knows_the_database() {
    let source = root().join("ledger/src");
    for file in crate::public_text::files_under(&source) {
        let name = file.strip_prefix(&source).expect("a file under it");
        let text = std::fs::read_to_string(&file).expect("source is text");
        let allowed = name.starts_with("log") || name.as_os_str() == "log.rs";
        assert!(allowed || !text.contains("fjall::"), "{} uses fjall", file.display());
    }
}
