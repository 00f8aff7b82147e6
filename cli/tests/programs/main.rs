//! The programs as a user or a script meets them: help, exit codes, the settings file, a node, and a node that is not there.

mod client_files;
mod compiling;
mod configuration;
mod fixture;
mod lone_node;
mod mistakes;
mod offline;
mod packaging;
#[cfg(target_os = "linux")]
mod telemetry;
mod verifiers;

use fixture::{PYRSIA, PYRSIA_NODE, ended, free_port, program, run, run_with_input};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

#[test]
fn help_and_version_are_no_failure() {
    let home = tempfile::tempdir().unwrap();
    for line in [
        "--help",
        "help",
        "-h",
        "build --help",
        "-b -h",
        "config --help",
        "inspect-log docker --help",
        "inspect-log --help",
        "inspect-log maven --help",
        "build maven --help",
        "settings --help",
        "export maven-checksums --help",
        "export gradle-verification --help",
        "demo --help",
    ] {
        let help = run(PYRSIA, home.path(), line);
        assert_eq!(help.code, Some(0), "{line}: {}", help.stderr);
        assert!(help.stdout.contains("Usage:") && help.stdout.contains("Options:"), "{line}: {}", help.stdout);
    }
    let help = run(PYRSIA, home.path(), "--help").stdout;
    for word in ["Decentralized Package Network", "Commands:", "authorize", "inspect-log", "Exit codes:"] {
        assert!(help.contains(word), "{word} in {help}");
    }
    assert!(run(PYRSIA, home.path(), "--version").stdout.starts_with("pyrsia_cli "));
    let node = run(PYRSIA_NODE, home.path(), "--help");
    for word in ["--pipeline-service-endpoint", "--init-blockchain", "PYRSIA_ARTIFACT_PATH", "[default: 7888]"] {
        assert!(node.code == Some(0) && node.stdout.contains(word), "{word} in {}", node.stdout);
    }
    assert!(run(PYRSIA_NODE, home.path(), "--version").stdout.starts_with("pyrsia_node "));
}

#[test]
fn a_command_line_that_is_not_understood_ends_with_2() {
    let home = tempfile::tempdir().unwrap();
    for line in [
        "",
        "build",
        "build docker",
        "build cobol",
        "inspect-log cobol",
        "authorize",
        "inspect-log",
        "inspect-log docker",
        "nonsense",
        "build docker --image",
        "build maven --gav",
        "build maven --gav g:a:1 g:a:1",
        "inspect-log maven",
        "settings cobol",
        "settings --url node.example",
        "export maven-checksums --force",
        "export maven-checksums --format sparse",
        "export maven-checksums --network 1",
        "export gradle-verification a/b",
    ] {
        let ended = run(PYRSIA, home.path(), line);
        assert_eq!(ended.code, Some(2), "{line:?}: {}", ended.stderr);
        assert!(ended.stdout.is_empty() && ended.stderr.contains("--help"), "{line:?}: {} {}", ended.stdout, ended.stderr);
    }
    let field = run(PYRSIA, home.path(), "inspect-log docker --image alpine:3.16.0 --fields id,foo");
    assert_eq!(field.code, Some(2));
    assert!(field.stderr.contains("ParseTransparencyLogFieldError { invalid_field: \"foo\" }"), "{}", field.stderr);
    for line in ["-H nowhere", "--port x", "--peer here", "--pipeline-service-endpoint localhost:8080"] {
        assert_eq!(run(PYRSIA_NODE, home.path(), line).code, Some(2), "{line}");
    }
}

#[test]
fn the_settings_are_shown_changed_and_removed() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config/pyrsia-cli/default-config.toml");
    let shown = run(PYRSIA, home.path(), "config --show");
    let toml = "host = \"localhost\"\nport = \"7888\"\ndisk_allocated = \"10 GB\"\n";
    assert_eq!((shown.code, shown.stdout), (Some(0), format!("Config file path: {}\n{toml}\n", path.display())));
    assert_eq!(fs::read_to_string(&path).unwrap(), toml);

    let changed = run(PYRSIA, home.path(), "config -e --port 7889");
    assert_eq!((changed.code, changed.stdout.as_str()), (Some(0), "Node configuration Saved !!\n"));
    assert_eq!(fs::read_to_string(&path).unwrap(), toml.replace("7888", "7889"));

    let refused = run(PYRSIA, home.path(), "-c -e --host a_b --diskspace 10GB");
    assert_eq!(
        (refused.code, refused.stdout.as_str()),
        (Some(1), "Invalid value for Hostname\nInvalid value for Disk Allocation\n")
    );
    assert_eq!(refused.stderr, "Error saving node configuration: Invalid pyrsia config\n");
    assert!(run(PYRSIA, home.path(), "-c -s").stdout.contains("port = \"7889\""));

    for _ in 0..2 {
        let removed = run(PYRSIA, home.path(), "config --remove");
        assert_eq!((removed.code, removed.stdout.as_str()), (Some(0), "Node configuration removed !!\n"));
    }
    assert!(!path.exists());
}

#[test]
fn the_settings_are_asked_for_one_by_one() {
    let home = tempfile::tempdir().unwrap();
    let asked = run_with_input(home.path(), "config -e", "\nport\n7889\n\n");
    assert_eq!(asked.code, Some(0), "{}", asked.stderr);
    let prompts: Vec<&str> = asked.stdout.lines().filter(|line| line.starts_with("Enter")).collect();
    let port = "Enter port: [7888]";
    let disk = "Enter disk space to be allocated to pyrsia(Please enter with units ex: 10 GB): [10 GB]";
    assert_eq!(prompts, ["Enter host: [localhost]", port, port, disk]);
    assert!(asked.stdout.ends_with("Node configuration Saved !!\n"), "{}", asked.stdout);
    assert!(run(PYRSIA, home.path(), "config --show").stdout.contains("port = \"7889\""));
}

#[test]
fn settings_that_cannot_be_used_end_a_command_before_it_asks() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("config/pyrsia-cli");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("default-config.toml"), "host = \"localhost\"\nport = \"none\"\n").unwrap();
    let ended = run(PYRSIA, home.path(), "ping");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("the settings cannot be used") && ended.stderr.contains("hint:"), "{}", ended.stderr);
}

/// Points the settings at a port where nothing listens: it was free a moment ago.
fn without_a_node(home: &Path) {
    let port = free_port().1;
    assert_eq!(run(PYRSIA, home, &format!("config -e --host 127.0.0.1 --port {port}")).code, Some(0));
}

#[test]
fn a_node_that_is_not_there_is_a_failure_with_a_reminder() {
    let home = tempfile::tempdir().unwrap();
    without_a_node(home.path());
    let peer = "12D3KooWBgWeXNT1EKXo2omRhZVmkbvPgzZ5BcGjTfgKr586BSAn";
    let commands = [
        ("ping".to_owned(), "Error: "),
        ("list".to_owned(), "Error: "),
        ("status".to_owned(), "Error: "),
        (format!("authorize --peer {peer}"), "Authorize request failed with error: "),
        ("build docker --image alpine:3.16.0".to_owned(), "Build request failed with error: "),
        ("build any-type any@1".to_owned(), "Build request failed with error: "),
        ("inspect-log any-type any@1".to_owned(), "Inspect log request failed with error: "),
        ("list --types".to_owned(), "The package types of the node cannot be listed: "),
        ("inspect-log docker --image alpine:3.16.0".to_owned(), "Inspect log request failed with error: "),
    ];
    for (line, beginning) in commands {
        let ended = run(PYRSIA, home.path(), &line);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{line}");
        assert!(ended.stderr.starts_with(beginning), "{line}: {}", ended.stderr);
        assert!(ended.stderr.contains("run 'pyrsia config --show'"), "{line}: {}", ended.stderr);
    }
}

#[test]
fn a_list_goes_on_after_a_failure_and_sums_up() {
    let home = tempfile::tempdir().unwrap();
    without_a_node(home.path());
    let ended =
        run_with_input(home.path(), "build docker --from-file -", "# two images\nalpine:3.16.0\n\ndebian:12\nalpine:3.16.0\n");
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stdout.matches("failed: ").count(), 2, "{}", ended.stdout);
    assert!(
        ended.stdout.ends_with("2 packages: 0 builds requested, 0 running already, 0 published already, 2 failed\n"),
        "{}",
        ended.stdout
    );
    let json = run_with_input(home.path(), "build docker --from-file - --json", "alpine:3.16.0\n");
    let report: serde_json::Value = serde_json::from_str(&json.stdout).expect("a JSON document");
    assert_eq!((json.code, &report["summary"]["failed"]), (Some(1), &serde_json::json!(1)));
}

/// Answers one request with fixed bytes, as a node or something else on its port would.
fn answering(home: &Path, answer: &'static str) -> std::thread::JoinHandle<String> {
    let (listener, port) = free_port();
    assert_eq!(run(PYRSIA, home, &format!("config -e --host 127.0.0.1 --port {port}")).code, Some(0));
    std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("the program connects");
        let (mut request, mut chunk) = (vec![], [0; 4096]);
        while !request.windows(4).any(|window| window == b"\r\n\r\n") {
            let read = connection.read(&mut chunk).expect("the program sends a request");
            request.extend_from_slice(&chunk[..read]);
        }
        connection.write_all(answer.as_bytes()).expect("the program reads the answer");
        String::from_utf8_lossy(&request).into_owned()
    })
}

#[test]
fn what_listens_there_and_is_no_node_is_told_apart() {
    let home = tempfile::tempdir().unwrap();
    let server = answering(home.path(), "HTTP/1.1 200 OK\r\ncontent-length: 12\r\nconnection: close\r\n\r\n<html></html");
    let ended = run(PYRSIA, home.path(), "status");
    server.join().unwrap();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("is not what a Pyrsia node says"), "{}", ended.stderr);
}

#[test]
fn a_refusal_is_shown_in_the_words_of_the_node_and_the_token_is_sent_along() {
    let home = tempfile::tempdir().unwrap();
    let answer = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 67\r\nconnection: close\r\n\r\n{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"the token is wrong\"}]}";
    let server = answering(home.path(), answer);
    let ended =
        run(PYRSIA, home.path(), "authorize --peer 12D3KooWBgWeXNT1EKXo2omRhZVmkbvPgzZ5BcGjTfgKr586BSAn --admin-token 0123");
    let request = server.join().unwrap().to_ascii_lowercase();
    assert!(request.contains("authorization: bearer 0123"), "{request}");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("(401 Unauthorized)") && ended.stderr.contains("\"the token is wrong\""), "{}", ended.stderr);
    assert!(ended.stderr.contains("admin.token"), "{}", ended.stderr);
}

#[test]
fn a_node_whose_folder_is_missing_says_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let missing = home.path().join("missing");
    let output = program(PYRSIA_NODE, home.path()).env("PYRSIA_ARTIFACT_PATH", &missing).output().unwrap();
    let ended = ended(output);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("error: ") && ended.stderr.contains("DEV_MODE=on"), "{}", ended.stderr);
    assert!(!missing.exists());
}
