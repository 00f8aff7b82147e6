//! What the CLI writes for the clients of a node: their settings, and the files they check downloads against.

use crate::fixture::{PYRSIA, run};

#[test]
fn the_settings_of_every_client_are_as_they_were_reviewed() {
    let home = tempfile::tempdir().unwrap();
    let all = run(PYRSIA, home.path(), "settings");
    assert_eq!((all.code, all.stdout.as_str()), (Some(0), include_str!("settings.txt")), "{}", all.stderr);
}

#[test]
fn the_settings_of_one_client_can_be_written_into_its_file_as_they_are() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(run(PYRSIA, home.path(), "config -e --host ::1 --port 7889").code, Some(0));
    let docker = run(PYRSIA, home.path(), "settings docker");
    let daemon: serde_json::Value = serde_json::from_str(&docker.stdout).expect("JSON and nothing else");
    assert_eq!(daemon["registry-mirrors"], serde_json::json!(["http://[::1]:7889"]));
    assert!(docker.stderr.contains("A mirror enforces nothing"), "{}", docker.stderr);
    let maven = run(PYRSIA, home.path(), "settings maven --url https://node.example/");
    assert!(maven.stdout.starts_with("<settings ") && maven.stdout.contains("<url>https://node.example/maven2</url>"));
    assert!(maven.stderr.is_empty() && maven.stdout.contains("<!-- Every repository"), "{}", maven.stdout);
    for client in ["containerd", "podman"] {
        let text = run(PYRSIA, home.path(), &format!("settings {client}")).stdout;
        toml::from_str::<toml::Table>(&text).unwrap_or_else(|error| panic!("{client}: {error}: {text}"));
    }
}

#[test]
fn an_export_that_has_nothing_to_read_writes_nothing() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("nonsense"), "nonsense").unwrap();
    for (line, reason) in [
        ("maven-checksums --ledger nowhere --output sums", "nowhere does not exist"),
        ("maven-checksums --ledger . --output sums", "holds no ledger"),
        ("maven-checksums --ledger nonsense --format sparse --output sums", "nonsense"),
        ("gradle-verification --ledger nonsense --output sums", "nonsense"),
    ] {
        let ended = run(PYRSIA, home.path(), &format!("export {line}"));
        assert!(ended.code == Some(1) && ended.stdout.is_empty() && ended.stderr.contains(reason), "{line}: {}", ended.stderr);
        assert!(!home.path().join("sums").exists(), "{line}");
    }
}
