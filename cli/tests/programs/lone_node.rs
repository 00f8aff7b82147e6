//! A node by itself: from its start to a clean stop, and what the CLI of the same user may do with it.

use crate::fixture::{Ended, PYRSIA, PYRSIA_NODE, ended, free_port, program, run};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A debug build compiles its verifier for a few seconds, and the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

pub(crate) struct LoneNode {
    child: Child,
    pub(crate) port: u16,
}

impl LoneNode {
    /// Founds a network and listens on a free port. From then on nobody reads its log, which it has to bear.
    pub(crate) fn start(home: &Path) -> Self {
        let child = program(PYRSIA_NODE, home)
            .args("--port 0 --listen /ip4/127.0.0.1/tcp/0 --listen-only true --init-blockchain true".split(' '))
            .stderr(Stdio::piped())
            .spawn()
            .expect("the node starts");
        let mut node = Self { child, port: 0 };
        let (send, lines) = mpsc::channel();
        let stderr = BufReader::new(node.child.stderr.take().expect("a pipe"));
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let (begin, mut said) = (Instant::now(), vec![]);
        while begin.elapsed() < DEADLINE {
            let Ok(line) = lines.recv_timeout(DEADLINE) else { break };
            if let Some((_, port)) = line.rsplit_once("Pyrsia Node will start running on 127.0.0.1:") {
                node.port = port.trim().parse().expect("a port");
                return node;
            }
            said.push(line);
        }
        panic!("the node did not start:\n{}", said.join("\n"));
    }

    pub(crate) fn stop(mut self) -> Option<i32> {
        let signalled = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(signalled.success());
        let begin = Instant::now();
        while begin.elapsed() < DEADLINE {
            if let Some(status) = self.child.try_wait().expect("the node is a child") {
                return status.code();
            }
            std::thread::sleep(POLL);
        }
        panic!("the node does not stop");
    }
}

impl Drop for LoneNode {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn succeeded(home: &Path, line: &str) -> Ended {
    let ended = run(PYRSIA, home, line);
    assert_eq!(ended.code, Some(0), "{line}: {}", ended.stderr);
    ended
}

#[test]
#[cfg(unix)]
fn the_cli_of_the_same_user_authorizes_and_that_of_another_does_not() {
    let (home, stranger) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = LoneNode::start(home.path());
    for home in [home.path(), stranger.path()] {
        succeeded(home, &format!("config -e --host 127.0.0.1 --port {}", node.port));
    }
    assert_eq!(succeeded(home.path(), "ping").stdout, "Connection Successful !!\n");
    assert_eq!(succeeded(home.path(), "list").stdout, "Connected Peers:\n[]\n");
    assert!(succeeded(home.path(), "status").stdout.starts_with("Connected Peers Count:       0\n"));
    let status: serde_json::Value = serde_json::from_str(&succeeded(home.path(), "status --json").stdout).unwrap();
    let peer = status["peer_id"].as_str().expect("a peer id").to_owned();
    let authorize = format!("authorize --peer {peer}");

    let refused = run(PYRSIA, stranger.path(), &authorize);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("401 Unauthorized") && refused.stderr.contains("admin.token"), "{}", refused.stderr);
    assert!(succeeded(home.path(), &authorize).stdout.starts_with("Authorize request successfully handled.\n"));
    let again = run(PYRSIA, home.path(), &authorize);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("already exists in transparency log"), "{}", again.stderr);

    for package in
        ["docker --image alpine:3.16.0", "docker alpine:3.16.0", "oci library/alpine:3.16.0", "MAVEN org.example:demo:1.0"]
    {
        assert_eq!(succeeded(home.path(), &format!("inspect-log {package}")).stdout, "[]\n", "{package}");
    }
    assert_eq!(succeeded(home.path(), "inspect-log maven org.example:demo:1.0 --format csv --fields id").stdout, "id\n");
    any_type_can_be_named(home.path());
    only_released_versions_are_asked_for(home.path());
    let unknown = run(PYRSIA, home.path(), "build status --id c9ca3e57-aa84-4fab-a8be-381ab31e4916");
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.stderr.starts_with("Build status for 'c9ca3e57-aa84-4fab-a8be-381ab31e4916' was not found: "),
        "{}",
        unknown.stderr
    );

    let tokens = home.path().join("state/pyrsia/admin-tokens");
    assert!(tokens.join(node.port.to_string()).exists());
    let port = node.port;
    assert_eq!(node.stop(), Some(0));
    assert!(!tokens.join(port.to_string()).exists());
}

/// What the node says of package types it knows and of those it does not.
fn any_type_can_be_named(home: &Path) {
    let listed = succeeded(home, "list --types").stdout;
    let types: serde_json::Value = serde_json::from_str(&succeeded(home, "list --types --json").stdout).expect("JSON");
    let names: Vec<&str> = types.as_array().expect("types").iter().map(|known| known["name"].as_str().expect("a name")).collect();
    for known in types.as_array().expect("types") {
        let (name, example) = (known["name"].as_str().expect("a name"), known["examples"][0].as_str().expect("an example"));
        assert!(listed.contains(&format!("  pyrsia build {name} {example}\n")), "{listed}");
        let malformed = run(PYRSIA, home, &format!("inspect-log {name} no/such//package:@"));
        let syntax = known["coordinate_syntax"].as_str().expect("a sentence");
        assert_eq!(malformed.code, Some(1), "{name}");
        for part in [syntax, example] {
            let quoted = serde_json::json!(part).to_string();
            assert!(malformed.stderr.contains(quoted.trim_matches('"')), "{name}: {} lacks {part}", malformed.stderr);
        }
    }
    for line in ["build cobol x", "inspect-log cobol x", "build ../../status x", "inspect-log ../../status x"] {
        let unknown = run(PYRSIA, home, line);
        assert_eq!(unknown.code, Some(1), "{line}");
        assert!(unknown.stderr.contains("pyrsia list --types"), "{line}: {}", unknown.stderr);
        assert!(line.contains("..") || names.iter().all(|name| unknown.stderr.contains(name)), "{line}: {}", unknown.stderr);
    }
    let list = home.join("packages");
    std::fs::write(&list, "x\n").expect("a list");
    let refused = run(PYRSIA, home, &format!("build cobol --from-file {} --json", list.display()));
    let report: serde_json::Value = serde_json::from_str(&refused.stdout).expect("JSON");
    assert_eq!((refused.code, &report["summary"]["failed"]), (Some(1), &serde_json::json!(1)));
}

/// What is no released version of a package is refused with the reason, whether it is to be built or looked at.
fn only_released_versions_are_asked_for(home: &Path) {
    for (gav, reason) in [
        ("nonsense", "GROUP:ARTIFACT:VERSION"),
        ("org.example:demo", "GROUP:ARTIFACT:VERSION"),
        ("org.example:demo:jar:1.0", "GROUP:ARTIFACT:VERSION"),
        ("org.example:../demo:1.0", "is no artifact id"),
        ("org.example:demo:..", "is no version"),
        (
            "org.example:demo:1.0-SNAPSHOT",
            "is a snapshot, which stands for something else every day; only released versions are built",
        ),
        ("org.example:demo:1.0-20260102.030405-6", "is a snapshot"),
        ("org.example:demo:LATEST", "is no version; give the one you mean"),
    ] {
        for line in [
            format!("build maven --gav {gav}"),
            format!("build maven {gav} --wait"),
            format!("build maven2 {gav} --json"),
            format!("inspect-log maven --gav {gav}"),
        ] {
            let refused = run(PYRSIA, home, &line);
            assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{line}: {}", refused.stderr);
            assert!(refused.stderr.contains(reason) && refused.stderr.contains(gav), "{line}: {}", refused.stderr);
        }
    }
    let unheard = succeeded(home, "inspect-log maven --gav org.example:unheard-of:1.0");
    assert!(unheard.stdout == "[]\n" && unheard.stderr.contains("No build of it was ever asked for"), "{}", unheard.stderr);
}

#[test]
fn a_port_in_use_ends_the_node_with_a_sentence() {
    let home = tempfile::tempdir().unwrap();
    let (_listener, port) = free_port();
    let mut command = program(PYRSIA_NODE, home.path());
    let ended =
        ended(command.args(["--listen", "/ip4/127.0.0.1/tcp/0", "--port", &port.to_string()]).output().expect("the node runs"));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(&format!("127.0.0.1:{port}")) && ended.stderr.contains("--port"), "{}", ended.stderr);
}
