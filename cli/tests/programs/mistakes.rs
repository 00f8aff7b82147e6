//! What a newcomer gets wrong: each command ends with a sentence that names it, a next step where there is one, and the code of the docs.

use crate::fixture::{Ended, PYRSIA, ended, free_port, program, run};
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;

/// A log with every kind of event.
const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../ledger/tests/golden/every-kind.pyrsia-log");
const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const BUILD: &str = "c9ca3e57-aa84-8fab-a8be-381ab31e4916";
const NODE: &str = "12D3KooWBgWeXNT1EKXo2omRhZVmkbvPgzZ5BcGjTfgKr586BSAn";
const NOWHERE: &str = "nowhere does not exist\nhint: name a node's data folder";
const NO_LEDGER: &str = "folder holds no ledger: ";
const NO_LOG: &str =
    "file cannot be read as an exported log: it does not begin with \"pyrsia-log/1\\n\"\nhint: name a node's data folder";

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a folder");
    fs::create_dir(home.path().join("folder")).expect("a folder");
    fs::write(home.path().join("file"), "1234 is no log and no proof").expect("is written");
    home
}

fn check(home: &Path, line: &str, code: i32, sentence: &str) -> Ended {
    let ended = run(PYRSIA, home, line);
    assert_eq!(ended.code, Some(code), "{line}: {}", ended.stderr);
    assert!(ended.stderr.contains(sentence), "{line}: {}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{line}: {}", ended.stderr);
    ended
}

#[test]
fn what_is_no_ledger_is_named_by_every_command_that_reads_one() {
    let home = home();
    let commands = [
        ("audit LEDGER", 2),
        ("audit LEDGER --json", 2),
        ("log export LEDGER new.log", 1),
        ("log import LEDGER new", 1),
        ("log replay LEDGER --json", 1),
        ("log show LEDGER --json", 1),
        ("search alpine --ledger LEDGER", 2),
        ("prove docker alpine --ledger LEDGER", 1),
        ("export maven-checksums --ledger LEDGER", 1),
    ];
    for (line, code) in commands {
        for (ledger, sentence) in [("nowhere", NOWHERE), ("folder", NO_LEDGER), ("file", NO_LOG)] {
            let ended = check(home.path(), &line.replace("LEDGER", ledger), code, sentence);
            assert!(ended.stdout.is_empty(), "{line}: {}", ended.stdout);
        }
    }
    assert!(!home.path().join("new").exists() && !home.path().join("new.log").exists());
}

#[test]
fn each_mistake_is_told_in_a_sentence_with_its_exit_code() {
    let home = home();
    for (line, code, sentence) in [
        (
            "verify file --proof nowhere --any-network",
            2,
            "nowhere cannot be read: No such file or directory (os error 2)\nhint: name with --proof a file that 'pyrsia prove' wrote",
        ),
        ("verify file --proof file --any-network", 1, "expected the JSON of a proof at line 1 column 4\nhint: name with --proof"),
        ("log show LOG --from 5 --to 3", 2, "the range ends before it begins"),
        ("log show LOG --height 9999", 1, "block 9999 is not in it"),
        ("log replay LOG --to 9999", 1, "block 9999 is not in it"),
        ("log import LOG file", 1, "hint: name a folder that does not exist"),
        ("log import LOG file/below", 1, "file/below cannot be written"),
        ("log export LOG file", 1, "file exists already\nhint: name a new file"),
        ("log export LOG nowhere/new.log", 1, "nowhere/new.log cannot be written"),
        ("prove docker unknown:1 --ledger LOG", 1, "is not published, as of block"),
        ("prove --sha256 A --ledger LOG", 1, "nothing with sha256 "),
        ("search --ledger LOG --from 9 --to 3", 2, "the range of heights ends before it begins"),
        ("audit LOG --resume folder", 2, "hint: remove that file, or name another one"),
        ("artifacts pin xyz", 2, "\"xyz\" is no SHA-256\nhint: "),
        ("verifier describe file", 1, "file is not a verifier: "),
        ("demo --exit --keep file", 1, "hint: name a new folder with --keep"),
        ("build docker --from-file nowhere", 1, "cannot read the list nowhere"),
    ] {
        let ended = check(home.path(), &line.replace("LOG", LOG).replace(" A ", &format!(" {A} ")), code, sentence);
        assert!(ended.stdout.is_empty(), "{line}: {}", ended.stdout);
        assert!(ended.stderr.lines().count() <= 3, "{line}: a sentence and a hint: {}", ended.stderr);
    }
    let json = check(home.path(), "verify file --proof file --any-network --json", 1, "not verified: ");
    let report: serde_json::Value = serde_json::from_str(&json.stdout).expect("a JSON document");
    assert_eq!(report["verified"], serde_json::json!(false));
}

#[test]
fn without_a_node_a_build_is_neither_unknown_nor_under_way() {
    let home = home();
    assert_eq!(run(PYRSIA, home.path(), "config -e --host 127.0.0.1 --port 1").code, Some(0));
    let ended = check(home.path(), "build status --id 1", 1, "Build status for '1' cannot be shown: ");
    assert!(ended.stderr.contains("run 'pyrsia config --show'"), "{}", ended.stderr);
    let ended = check(home.path(), "build status --id 1 --wait --timeout 1s", 1, "Build '1' cannot be followed: ");
    assert!(ended.stderr.contains("run 'pyrsia config --show'") && !ended.stderr.contains("goes on"), "{}", ended.stderr);
}

/// Has the CLI of `home` ask a place that gives each connection the next answer, and is gone after the last.
fn asked_of(home: &Path, answers: Vec<(&'static str, serde_json::Value)>) {
    let (listener, port) = free_port();
    assert_eq!(run(PYRSIA, home, &format!("config -e --host 127.0.0.1 --port {port}")).code, Some(0));
    std::thread::spawn(move || {
        for (status, body) in answers {
            let (stream, _) = listener.accept().expect("the program connects");
            answer(&stream, status, &body.to_string()).expect("the program takes its answer");
        }
    });
}

fn answer(mut stream: &TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let mut request = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(request.read_line(&mut head)? > 0, "a request ends with an empty line: {head}");
    }
    let length = head.to_lowercase().split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
    // What is left unread when the connection ends would take the answer with it.
    request.read_exact(&mut vec![0; length.unwrap_or(0)])?;
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

#[test]
fn a_build_is_unknown_only_where_the_node_says_so() {
    let home = home();
    let answers = [
        ("400 Bad Request", "was not found"),
        ("404 Not Found", "was not found"),
        ("401 Unauthorized", "cannot be shown"),
        ("403 Forbidden", "cannot be shown"),
        ("429 Too Many Requests", "cannot be shown"),
        ("503 Service Unavailable", "cannot be shown"),
    ];
    asked_of(home.path(), answers.map(|(status, _)| (status, json!({ "detail": "as it is" }))).into());
    for (status, what) in answers {
        let sentence = format!("Build status for '1' {what}: HTTP status error ({status}) ");
        let ended = check(home.path(), "build status --id 1", 1, &sentence);
        assert_eq!(ended.stderr.contains("hint: "), what == "was not found", "{status}: {}", ended.stderr);
    }
}

#[test]
fn a_build_that_was_heard_of_goes_on_while_its_node_is_away() {
    let home = home();
    let requested = json!({ "state": "requested", "build_id": BUILD, "package_type": "docker", "package": "alpine:3.16.0" });
    let building = json!({
        "build_id": BUILD, "package_type": "docker", "package": "alpine:3.16.0", "attempt": 0, "state": "committing",
        "verifier": A, "requested_by": NODE, "requested_at": 1, "requested_time_ms": 1, "majority": 1,
        "judges": [], "waits": [], "vouches": [], "disputes": [],
    });
    for (line, heard) in
        [("build docker alpine:3.16.0 --wait --timeout 1s", requested), ("build status --id BUILD --wait --timeout 1s", building)]
    {
        asked_of(home.path(), vec![("200 OK", heard)]);
        let sentence =
            format!("Build '{BUILD}' has no result after 1s; it goes on\nhint: run 'pyrsia build status --id {BUILD}'");
        check(home.path(), &line.replace("BUILD", BUILD), 1, &sentence);
    }
}

/// What each writes to stdout.
const ANSWERS: [&str; 6] =
    ["audit LOG", "log show LOG", "log show LOG --json", "log replay LOG --json", "search --ledger LOG", "settings"];

#[test]
#[cfg(target_os = "linux")]
fn an_answer_that_cannot_be_written_is_a_failure_and_one_that_nobody_reads_on_is_none() {
    let home = home();
    for line in ANSWERS {
        let line = line.replace("LOG", LOG);
        let words = || line.split_whitespace();
        let full = fs::File::options().write(true).open("/dev/full").expect("the device");
        let full = ended(program(PYRSIA, home.path()).args(words()).stdout(full).output().expect("the program starts"));
        assert_eq!(full.code, Some(if line.starts_with("search") || line.starts_with("audit") { 2 } else { 1 }), "{line}");
        assert!(full.stderr.contains("cannot write to stdout: No space left on device"), "{line}: {}", full.stderr);

        // An answer that fits a pipe is refused by one without a reader alone.
        let (reader, unread) = std::io::pipe().expect("a pipe");
        drop(reader);
        let unread = ended(program(PYRSIA, home.path()).args(words()).stdout(unread).output().expect("the program starts"));
        assert_eq!((unread.code, unread.stderr.as_str()), (Some(0), ""), "{line}");
    }
}

/// No address space has room for a stack of this size, so that no thread can be begun.
const STACK_BYTES: &str = "140737488355328";

#[test]
#[cfg(target_os = "linux")]
fn where_no_thread_can_be_begun_a_log_is_checked_on_one_and_what_needs_more_says_so() {
    let home = home();
    assert_eq!(run(PYRSIA, home.path(), &format!("log import {LOG} ledger")).code, Some(0));
    let on_one = |line: &str| {
        let mut command = program(PYRSIA, home.path());
        ended(command.env("RUST_MIN_STACK", STACK_BYTES).args(line.split_whitespace()).output().expect("the program starts"))
    };
    for line in ["audit LOG", "audit LOG --json", "prove docker alpine:3.16.0 --ledger LOG", "log replay LOG --json"] {
        let line = line.replace("LOG", LOG);
        let (expected, found) = (run(PYRSIA, home.path(), &line), on_one(&line));
        assert_eq!((found.code, &found.stdout, &found.stderr), (expected.code, &expected.stdout, &expected.stderr), "{line}");
        assert_eq!(found.code, Some(0), "{line}: {}", found.stderr);
    }
    for (line, code) in [
        (format!("log import {LOG} new"), 1),
        ("audit ledger".into(), 2),
        ("audit ledger --json".into(), 2),
        ("prove docker alpine:3.16.0 --ledger ledger".into(), 1),
    ] {
        let found = on_one(&line);
        assert_eq!((found.code, found.stdout.as_str()), (Some(code), ""), "{line}: {}", found.stderr);
        assert!(found.stderr.contains("\nhint: no thread can be started: raise the limit"), "{line}: {}", found.stderr);
        assert!(!found.stderr.contains("panicked") && !found.stderr.contains("damaged"), "{line}: {}", found.stderr);
    }
    let left = |name: &str| fs::exists(home.path().join(name)).expect("the folder can be read");
    assert!(!left("new") && !left("new.importing"));
}

#[test]
fn where_few_files_may_be_open_a_ledger_is_not_taken_for_damaged() {
    /// Three are open at the start.
    const OPEN_FILES_LEAST: u32 = 4;
    const OPEN_FILES_ENOUGH: u32 = 64;
    let home = home();
    assert_eq!(run(PYRSIA, home.path(), &format!("log import {LOG} ledger")).code, Some(0));
    let expected = run(PYRSIA, home.path(), "audit ledger");
    let mut too_few = 0;
    for open_files in OPEN_FILES_LEAST..=OPEN_FILES_ENOUGH {
        let mut command = program("/bin/sh", home.path());
        command.args(["-c", "ulimit -n $0; exec \"$@\"", &open_files.to_string(), PYRSIA, "audit", "ledger"]);
        let found = ended(command.output().expect("the program starts"));
        match found.code {
            Some(0) => assert_eq!(found.stdout, expected.stdout, "{open_files}"),
            // The dynamic loader has no file to read the libraries from.
            Some(127) => {}
            code => {
                assert_eq!((code, found.stdout.as_str()), (Some(2), ""), "{open_files}: {}", found.stderr);
                assert!(found.stderr.contains("raise the limit (ulimit -n)"), "{open_files}: {}", found.stderr);
                too_few += 1;
            }
        }
        if open_files == OPEN_FILES_ENOUGH {
            assert_eq!(found.code, Some(0), "{}", found.stderr);
        }
    }
    assert!(too_few > 3, "{too_few}");
}

#[test]
fn blocks_as_json_are_one_array_however_many_there_are() {
    let home = home();
    let whole = run(PYRSIA, home.path(), &format!("log show {LOG} --json")).stdout;
    let blocks: Vec<serde_json::Value> = serde_json::from_str(&whole).expect("an array");
    assert!(whole.starts_with("[\n  {\n    \"") && whole.ends_with("\n  }\n]\n") && blocks.len() > 3, "{whole}");
    let one: Vec<serde_json::Value> =
        serde_json::from_str(&run(PYRSIA, home.path(), &format!("log show {LOG} --json --height 3")).stdout).expect("an array");
    assert_eq!(one, &blocks[3..4]);
}
