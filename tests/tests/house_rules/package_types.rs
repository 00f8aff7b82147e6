//! A package type comes with its verifier alone: no line of the node, its host, its HTTP side, the command line or the pipeline names it.

use crate::public_text::files_under;
use crate::root;

/// Rooms that know package types by their verifiers only.
const ROOMS: [&str; 8] =
    ["ledger/src", "wit", "verifiers/src", "node/src", "registry/src", "registry/openapi.json", "cli/src", "pipeline/src"];
/// Those that the seed documents named: they have words and routes of their own.
const NAMED: [&str; 2] = ["docker", "maven"];

/// The package types that ship, by the folders of their verifiers.
fn shipped() -> Vec<String> {
    let modules = std::fs::read_dir(root().join("verifiers/shipped")).expect("the shipped modules");
    let names = modules.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter_map(|name| Some(name.strip_suffix(".wasm")?.to_owned())).collect()
}

/// Whether a line has `name` as a word, in any case.
fn names(line: &str, name: &str) -> bool {
    let line = line.to_ascii_lowercase();
    line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == name)
}

#[test]
fn no_line_names_a_package_type_that_came_with_its_verifier() {
    let types: Vec<String> = shipped().into_iter().filter(|name| !NAMED.contains(&name.as_str())).collect();
    assert!(!types.is_empty(), "a package type came with its verifier");
    let mut found = Vec::new();
    for room in ROOMS {
        let room = root().join(room);
        let files = if room.is_dir() { files_under(&room) } else { vec![room] };
        for file in files {
            let text = std::fs::read_to_string(&file).expect("source is text");
            let lines = text.lines().enumerate().filter(|(_, line)| types.iter().any(|name| names(line, name)));
            found.extend(lines.map(|(number, line)| format!("{}:{}: {}", file.display(), number + 1, line.trim())));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Where the words of the seed documents are turned into package types: their protocol, their requests, their command line, and the demo.
const NAMED_IN: [&str; 15] = [
    "registry/src/docker",
    "registry/src/maven",
    "registry/src/management/predecessor.rs",
    "registry/src/wire.rs",
    "registry/src/wire/inspect.rs",
    // Whose protocol a request speaks, for those who count and trace them.
    "registry/src/access.rs",
    "registry/src/metrics.rs",
    "node/src/builds/mapping_info.rs",
    "node/src/builds/mapping_service.rs",
    "cli/src/commands/build.rs",
    "cli/src/commands/export.rs",
    "cli/src/commands/inspect_log.rs",
    "cli/src/commands/prove.rs",
    // The engine of that name.
    "cli/src/commands/verify/engine.rs",
    "cli/src/demo",
];

#[test]
fn a_package_type_of_the_seed_documents_is_a_value_in_their_own_words_alone() {
    let rooms = ["verifiers/src", "node/src", "registry/src", "cli/src"];
    let mut found = Vec::new();
    for file in rooms.iter().flat_map(|room| files_under(&root().join(room))) {
        let path = file.strip_prefix(root()).expect("it lies below").to_string_lossy().into_owned();
        if path.ends_with("tests.rs") || path.contains("/tests/") || NAMED_IN.iter().any(|named| path.starts_with(named)) {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("source is text");
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let is_named = |line: &&str| NAMED.iter().any(|name| line.contains(&format!("\"{name}\"")));
        found.extend(code.lines().filter(is_named).map(|line| format!("{path}: {}", line.trim())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_name_is_found_as_a_word() {
    for line in ["npm", "\"NPM\" => 1,", "see /npm/left", "Npm::new()"] {
        assert!(names(line, "npm"), "{line}");
    }
    for line in ["", "npmx", "docker", "no package manager"] {
        assert!(!names(line, "npm"), "{line}");
    }
}
