//! What a caller can get wrong is a 4xx with a sentence, and the node goes on.

use pyrsia_tests::network::{Cli, Node};
use pyrsia_tests::program::Ended;

/// Method, path, body, status, and a word of the answer.
pub(crate) type Case = (&'static str, &'static str, &'static str, u16, &'static str);

const CASES: &[Case] = &[
    ("GET", "/v2/", "", 200, "{}"),
    ("GET", "/v2/nobody/has/manifests/this", "", 404, "MANIFEST_UNKNOWN"),
    ("GET", "/v2/UPPER/case/manifests/1", "", 400, "NAME_INVALID"),
    ("GET", "/v2/alpine/manifests/-nope", "", 404, "MANIFEST_UNKNOWN"),
    ("GET", "/v2/alpine/manifests/sha256:abc", "", 400, "DIGEST_INVALID"),
    ("GET", "/v2/alpine/blobs/sha256:abc", "", 400, "DIGEST_INVALID"),
    ("GET", "/v2/alpine/blobs/sha256:0000000000000000000000000000000000000000000000000000000000000000", "", 404, "BLOB_UNKNOWN"),
    ("GET", "/v2/../../etc/passwd", "", 404, "errors"),
    ("POST", "/v2/alpine/blobs/uploads/", "", 405, "UNSUPPORTED"),
    ("GET", "/nothing/here", "", 404, "errors"),
    ("PUT", "/status", "", 405, "errors"),
    ("POST", "/build/docker", "{ not json", 400, "errors"),
    ("POST", "/build/docker", "{\"picture\":\"alpine\"}", 400, "image"),
    ("POST", "/build/docker", "{\"image\":\"Not A Name\"}", 400, "errors"),
    ("POST", "/build/docker", "{\"image\":\"localhost:5000/alpine:1\"}", 400, "errors"),
    ("POST", "/build/status", "{\"build_id\":\"nonsense\"}", 400, "errors"),
    ("POST", "/build/status", "{\"build_id\":\"00000000-0000-4000-8000-000000000000\"}", 404, "errors"),
    ("POST", "/inspect/docker", "{\"image\":\"x\",\"output_params\":{\"format\":\"XML\"}}", 400, "errors"),
    ("POST", "/inspect/docker", "{\"image\":\"x/y' OR operation='AddNode' -- \"}", 400, "errors"),
    ("POST", "/inspect/docker", "{\"image\":\"alpine:3.16.0\"}", 200, "[]"),
    ("POST", "/authorized_node", "{\"peer_id\":\"12D3KooWBgWeXNT1EKXo2omRhZVmkbvPgzZ5BcGjTfgKr586BSAn\"}", 401, "token"),
];

pub(crate) async fn send(node: &Node, (method, path, body, ..): Case) -> (u16, String) {
    // By hand, because a client library would put a path like `..` right before it is sent.
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut connection = tokio::net::TcpStream::connect(("127.0.0.1", node.port)).await.expect("the node listens");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // The node may answer and close before it has read everything.
    drop(connection.write_all(request.as_bytes()).await);
    let mut answer = Vec::new();
    drop(connection.read_to_end(&mut answer).await);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{method} {path}: no answer ({answer:?})")), answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_of_the_caller_are_answered_with_a_sentence() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let node = Node::start(folder.path(), "nodeA", &["--listen-only", "--init-blockchain"]).await;
    let large = format!("{{\"image\":\"{}\"}}", "a".repeat(64 << 10)).leak();
    let mut wrong = Vec::new();
    for case in CASES.iter().copied().chain([("POST", "/build/docker", &*large, 413, "errors")]) {
        let (status, answer) = send(&node, case).await;
        if status != case.3 || !answer.contains(case.4) {
            wrong.push(format!("{} {} {:.60}: {answer}", case.0, case.1, case.2));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert_eq!(node.status().await["peers_count"], 0, "the node goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_fails_with_a_sentence_and_a_code() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let node = Node::start(folder.path(), "nodeA", &["--listen-only", "--init-blockchain"]).await;
    let cli = Cli::new(folder.path());
    cli.succeed(&["config", "-e", "--port", &node.port.to_string()]);
    let failed = |arguments: &[&str], code: i32, word: &str| {
        let Ended { code: found, stdout, stderr } = cli.run(arguments);
        let text = format!("{stdout}{stderr}");
        assert!(found == code && text.contains(word), "pyrsia {arguments:?} ended with {found}: {text}");
    };
    failed(&["authorize", "--peer", "notapeer"], 1, "PeerId has invalid format: notapeer");
    failed(&["build", "docker", "--image", "Not A Name"], 1, "Build request failed with error");
    failed(&["build", "docker", "--image", "alpine:3.16.0"], 1, "authorized node");
    failed(&["build", "status", "--id", "00000000-0000-4000-8000-000000000000"], 1, "was not found");
    failed(&["inspect-log", "docker", "--image", "alpine:3.16.0", "--fields", "foo"], 2, "foo");
    failed(&["no-such-command"], 2, "no-such-command");
    assert!(cli.succeed(&["ping"]).contains("Connection Successful !!"));
}
