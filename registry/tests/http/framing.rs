//! Requests as bytes on a connection: where one ends and the next begins is never in doubt, and whoever sends nonsense is the only one to notice.

use super::fixture::{Fixture, PATIENCE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Everything that comes back for these bytes until the server closes.
async fn to_the_end(fixture: &Fixture, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(fixture.registry.address()).await.expect("connects");
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    rest(stream).await
}

/// The same from a client that says that nothing more comes.
async fn half_closed(fixture: &Fixture, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(fixture.registry.address()).await.expect("connects");
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    rest(stream).await
}

async fn rest(mut stream: TcpStream) -> String {
    let mut answer = vec![];
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(answer: &str) -> Vec<&str> {
    answer.split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_sent_at_once_are_answered_one_after_the_other() {
    let fixture = Fixture::without_network().await;
    let requests = "GET /livez HTTP/1.1\r\nhost: a\r\n\r\nHEAD /nowhere HTTP/1.1\r\nhost: a\r\n\r\n\
                    POST /build/status HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n{GET /v2/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = fixture.raw(requests.as_bytes()).await;
    assert_eq!(statuses(&answer), ["200", "404", "400", "200"], "{answer}");
    assert!(answer.ends_with("{}"), "{answer}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_hides_a_request_behind_another_one() {
    let fixture = Fixture::without_network().await;
    let hidden = "GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n";
    let chunked = format!("0\r\n\r\n{hidden}");
    let length = chunked.len();
    for (case, headers, body) in [
        ("a length beside chunks", format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n"), &*chunked),
        ("chunks beside a length", format!("transfer-encoding: chunked\r\ncontent-length: {length}\r\n"), &chunked),
        ("two lengths", format!("content-length: 0\r\ncontent-length: {}\r\n", hidden.len()), hidden),
        ("a list of lengths", format!("content-length: 0, {}\r\n", hidden.len()), hidden),
        ("a length with a sign", "content-length: +0\r\n".to_owned(), hidden),
        ("a negative length", "content-length: -1\r\n".to_owned(), hidden),
        ("a length that nothing has", "content-length: 18446744073709551616\r\n".to_owned(), hidden),
        ("chunks that are not the last coding", "transfer-encoding: chunked, gzip\r\n".to_owned(), &chunked),
        ("a coding that is none", "transfer-encoding: xchunked\r\n".to_owned(), &chunked),
        ("a space before the colon", "transfer-encoding : chunked\r\n".to_owned(), &chunked),
        ("a folded header", "x: 1\r\n transfer-encoding: chunked\r\n".to_owned(), &chunked),
    ] {
        let request = format!("POST /build/status HTTP/1.1\r\nhost: a\r\n{headers}\r\n{body}");
        let answer = to_the_end(&fixture, request.as_bytes()).await;
        assert_eq!(statuses(&answer), ["400"], "{case}: {answer}");
    }
    for (case, head) in [("no host", ""), ("two hosts", "host: a\r\nhost: b\r\n")] {
        let answer = to_the_end(&fixture, format!("GET /livez HTTP/1.1\r\n{head}\r\n{hidden}").as_bytes()).await;
        assert_eq!(statuses(&answer), ["400"], "{case}: {answer}");
    }
    let answer = to_the_end(&fixture, b"GET /livez HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200"), "HTTP/1.0 has no host: {answer}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_read_in_chunks_and_one_that_breaks_off_is_no_body() {
    let fixture = Fixture::without_network().await;
    let post = |headers: &str, body: &str| format!("POST /build/status HTTP/1.1\r\nhost: a\r\n{headers}\r\n{body}").into_bytes();
    let chunks = "10\r\n{\"build_id\":\"x\"}\r\n0\r\n\r\n";
    let answer = fixture.raw(&post("connection: close\r\ntransfer-encoding: chunked\r\n", chunks)).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("a build id is a UUID"), "{answer}");
    for (headers, body) in [
        ("transfer-encoding: chunked\r\n", "nonsense\r\n"),
        ("transfer-encoding: chunked\r\n", "ffffffffffffffffff\r\n{"),
        ("transfer-encoding: chunked\r\n", "10\r\n{\"build"),
        ("content-length: 100\r\n", "{\"build_id\":\"x\"}"),
    ] {
        let answer = half_closed(&fixture, &post(headers, body)).await;
        assert!(answer.is_empty() || statuses(&answer) == ["400"], "{headers}{body}: {answer}");
    }
    let more = format!("{}GET", "[".repeat(8_192));
    let answer = to_the_end(&fixture, &post("content-length: 9000000000\r\n", &more)).await;
    assert_eq!(statuses(&answer), ["413"], "{answer}");
    assert_eq!(fixture.get("/livez").await.status(), 200);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_too_large_or_of_another_protocol_are_refused() {
    let fixture = Fixture::without_network().await;
    let large = format!("GET /livez HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(64 << 10));
    let many = format!("GET /livez HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(101));
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(64 << 10));
    for (case, request, expected) in [
        ("a head of 64 KiB", &*large, &["431"][..]),
        ("very many headers", &many, &["431"]),
        ("a path of 64 KiB", &long, &["414", "431"]),
        ("HTTP/2 without being asked", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[]),
        ("no version", "GET /livez\r\n\r\n", &["400"]),
        ("a method that is none", "G\u{1}T /livez HTTP/1.1\r\nhost: a\r\n\r\n", &["400"]),
        ("a path with a NUL", "GET /v2/\0 HTTP/1.1\r\nhost: a\r\n\r\n", &["400"]),
        ("a header with a NUL", "GET /livez HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n", &["400"]),
        (
            "a proxy's request",
            "GET http://169.254.169.254/latest HTTP/1.1\r\nhost: 169.254.169.254\r\nconnection: close\r\n\r\n",
            &["404"],
        ),
        ("a tunnel", "CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: 127.0.0.1:22\r\nconnection: close\r\n\r\n", &["404", "405"]),
        ("a question about everything", "OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", &["404", "405"]),
    ] {
        let answer = to_the_end(&fixture, request.as_bytes()).await;
        // Who speaks another protocol could not read an answer.
        let ends_silently = expected.is_empty() && answer.is_empty();
        assert!(ends_silently || expected.iter().any(|status| statuses(&answer) == [*status]), "{case}: {answer}");
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_closes_its_sending_half_is_answered_whole_or_not_at_all() {
    let fixture = Fixture::without_network().await;
    for _ in 0..20 {
        let answer = half_closed(&fixture, b"GET /api/v1/openapi.json HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            assert!(answer.is_empty(), "{answer}");
            continue;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        assert_eq!(length, body.len().to_string());
    }
    assert_eq!(fixture.get("/livez").await.status(), 200);
    fixture.stop().await;
}
