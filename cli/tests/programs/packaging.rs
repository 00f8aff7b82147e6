//! The files of `packaging/` against the programs that they set up: settings and variables that no program has would be found by whoever
//! installs them.

use crate::fixture::{PYRSIA_BUILD, PYRSIA_NODE, run};
use std::fs;
use std::path::Path;

/// Names the file of the settings, and is none of them.
const CONFIG: &str = "PYRSIA_CONFIG";
/// Variables that compose itself replaces.
const OF_COMPOSE: [&str; 2] = ["PYRSIA_IMAGE", "PYRSIA_PIPELINE_IMAGE"];

fn packaged(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_node_can_use_the_settings_that_the_debian_package_installs() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    let installed = packaged("debian/node.toml").replace("/var/lib/pyrsia", &data.display().to_string());
    // As it is, and with the settings that wait behind a comment sign for a value.
    let filled = installed.replace("\n#bootstrap_url", "\nbootstrap_url");
    let filled = filled.replace("\n#network_id = \"…\"", &format!("\nnetwork_id = \"{}\"", "0".repeat(64)));
    assert!(!filled.contains("\n#bootstrap_url") && !filled.contains("\n#network_id"), "{filled}");
    for text in [installed, filled] {
        fs::write(home.path().join("node.toml"), &text).unwrap();
        let checked = run(PYRSIA_NODE, home.path(), "config check node.toml");
        let usable = "the settings can be used (file: node.toml)\n";
        assert_eq!((checked.code, checked.stdout.as_str()), (Some(0), usable), "{text}\n{}", checked.stderr);
    }
}

#[test]
fn the_chart_gives_a_node_only_settings_that_there_are() {
    let home = tempfile::tempdir().unwrap();
    let schema: serde_json::Value = serde_json::from_str(&run(PYRSIA_NODE, home.path(), "config schema").stdout).unwrap();
    let template = packaged("helm/pyrsia/templates/configmap.yaml");
    let mut settings = vec![];
    // `set $SECTION "KEY" …` and `$SECTION := dict "KEY" …`.
    for (index, _) in template.match_indices('$') {
        let (section, rest) = template[index + 1..].split_once(' ').unwrap();
        let before = &template[..index];
        let rest = if before.ends_with("set ") { Some(rest) } else { rest.strip_prefix(":= dict ") };
        let Some(key) = rest.and_then(|rest| rest.strip_prefix('"')).and_then(|rest| rest.split('"').next()) else { continue };
        assert!(schema["properties"][section]["properties"][key].is_object(), "there is no setting {section}.{key}");
        settings.push(key);
    }
    for key in ["bootstrap_url", "peer", "network_id", "network_name", "init_blockchain", "stop_grace"] {
        assert!(settings.contains(&key), "{key} in {settings:?}");
    }
}

#[test]
fn every_variable_that_a_package_sets_is_one_of_a_program() {
    let home = tempfile::tempdir().unwrap();
    let shown: serde_json::Value = serde_json::from_str(&run(PYRSIA_NODE, home.path(), "config show --json").stdout).unwrap();
    let settings = shown["settings"].as_array().unwrap().iter();
    let mut known: Vec<String> = settings.filter_map(|setting| setting["variable"].as_str().map(str::to_owned)).collect();
    known.extend([CONFIG.to_owned()].into_iter().chain(OF_COMPOSE.map(str::to_owned)));
    known.extend(variables(&run(PYRSIA_BUILD, home.path(), "--help").stdout).map(str::to_owned));
    for path in [
        "container/Dockerfile",
        "compose/compose.yaml",
        "helm/pyrsia/templates/statefulset.yaml",
        "debian/build.env",
        "systemd/pyrsia-node.service",
        "systemd/pyrsia-build.service",
    ] {
        let text = packaged(path);
        let unknown: Vec<&str> = variables(&text).filter(|name| !known.iter().any(|known| known == name)).collect();
        assert!(unknown.is_empty(), "{path}: no program reads {unknown:?}");
    }
}

/// The variables of programs that a text names.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("PYRSIA_") && !word.ends_with('_'))
}
