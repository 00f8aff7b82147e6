//! The settings of a node as an operator meets them: the file, what is said about it, and the copies in the documentation.

use crate::fixture::{Ended, PYRSIA_NODE, ended, program, run};
use std::fs;
use std::path::{Path, PathBuf};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
/// Set to 1, it has the copies below written anew instead of compared.
const UPDATE: &str = "UPDATE";

fn node(home: &Path, line: &str) -> Ended {
    run(PYRSIA_NODE, home, line)
}

fn written(home: &Path, text: &str) -> PathBuf {
    let path = home.join("node.toml");
    fs::write(&path, text).expect("the folder of a test can be written");
    path
}

#[test]
fn the_copies_in_the_documentation_are_what_the_program_prints() {
    let home = tempfile::tempdir().unwrap();
    for (line, copy) in [
        ("config example", Path::new(DOCS).join("node.example.toml")),
        ("config schema", Path::new(DOCS).join("node.schema.json")),
        ("--help", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/node-help.txt")),
    ] {
        let printed = node(home.path(), line);
        assert_eq!(printed.code, Some(0), "{line}: {}", printed.stderr);
        if std::env::var_os(UPDATE).is_some_and(|value| value == "1") {
            fs::write(&copy, &printed.stdout).unwrap();
        }
        let kept = fs::read_to_string(&copy).unwrap_or_default();
        assert!(
            kept == printed.stdout,
            "'pyrsia_node {line}' prints something else than {}; UPDATE=1 in the environment of this test writes it anew",
            copy.display()
        );
    }
}

#[test]
fn the_example_is_a_file_that_changes_nothing_and_each_of_its_lines_can_be_used() {
    let home = tempfile::tempdir().unwrap();
    let example = node(home.path(), "config example").stdout;
    let shown = node(home.path(), "config show").stdout;
    let path = written(home.path(), &example);
    assert_eq!(node(home.path(), &format!("--config {} config show", path.display())).stdout, shown);
    // With the keys in force only placeholders are wrong, and their values at that: no key and no type is.
    let all: String = example
        .lines()
        .map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    let path = written(home.path(), &all);
    let checked = node(home.path(), &format!("config check --json {}", path.display()));
    let outcome: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    for finding in outcome["findings"].as_array().unwrap() {
        let problem = finding["problem"].as_str().unwrap();
        assert!(problem.contains("cannot be used: ") || finding["setting"] == "folders.artifact_path", "{finding}");
    }
}

#[test]
fn a_file_with_mistakes_is_refused_whole_before_anything_starts() {
    let home = tempfile::tempdir().unwrap();
    let path = written(home.path(), "[http]\nprot = 1\n[network]\npeer = 'x'\n");
    let said = [
        format!("{}:2:1: http.prot: there is no such setting\n  hint: did you mean port?", path.display()),
        format!("{}:4:8: network.peer: takes several values", path.display()),
    ];
    let started = node(home.path(), &format!("--config {}", path.display()));
    let checked = node(home.path(), &format!("config check {}", path.display()));
    for (code, text) in [(started.code, started.stderr), (checked.code, checked.stdout)] {
        assert!(code == Some(1) && said.iter().all(|finding| text.contains(finding)), "{text}");
    }
    let json = node(home.path(), &format!("config check --json {}", path.display()));
    let outcome: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.code, &outcome["usable"]), (Some(1), &serde_json::json!(false)));
    let first = &outcome["findings"][0];
    assert_eq!((&first["line"], &first["column"], &first["setting"]), (&2.into(), &1.into(), &"http.prot".into()));
    assert!(!home.path().join("pyrsia").exists());

    let missing = node(home.path(), "--config missing.toml");
    assert!(missing.code == Some(1) && missing.stderr.contains("missing.toml: cannot be read"), "{}", missing.stderr);
    fs::write(&path, "[http]\nport = 0\n").unwrap();
    let usable = node(home.path(), "config check node.toml");
    assert_eq!((usable.code, usable.stdout.as_str()), (Some(0), "the settings can be used (file: node.toml)\n"));
}

#[test]
fn each_setting_is_shown_with_the_place_it_comes_from() {
    let home = tempfile::tempdir().unwrap();
    written(home.path(), "[http]\nport = 1\nhost = '::1'\n[folders]\nartifact_path = 'data'\n[network]\nlisten_only = true\n");
    let mut command = program(PYRSIA_NODE, home.path());
    command.env("PYRSIA_CONFIG", "node.toml").env("PYRSIA_PORT", "2").env("DEV_MODE", "on");
    let shown = ended(command.args(["--listen-only", "false", "config", "show"]).output().unwrap());
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let data = home.path().canonicalize().unwrap().join("data");
    for line in [
        "host = \"::1\"  # node.toml:3:8".to_owned(),
        "port = 2  # environment variable PYRSIA_PORT".to_owned(),
        "# public_url is not set  # default".to_owned(),
        "listen_only = false  # --listen-only".to_owned(),
        "dev_mode = true  # environment variable DEV_MODE".to_owned(),
        format!("artifact_path = \"{}\"  # node.toml:5:17", data.display()),
        format!("# blockchain_path = \"{}\"  # default", data.join("blockchain").display()),
    ] {
        assert!(shown.stdout.lines().any(|shown| shown == line), "{line} in {}", shown.stdout);
    }
    let json = ended(command.arg("--json").output().unwrap());
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let port = json["settings"].as_array().unwrap().iter().find(|setting| setting["key"] == "port").unwrap();
    assert_eq!((&port["value"], &port["source"], &port["variable"]), (&2.into(), &"environment".into(), &"PYRSIA_PORT".into()));
}
