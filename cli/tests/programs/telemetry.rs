//! What a running node lets others see: its log, a collector of traces, a service manager, a health check.

use crate::fixture::{PYRSIA_NODE, program, run};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);
const NO_PANIC: &str = "no other thread panics while it holds this";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "waited in vain: {what}");
        std::thread::sleep(POLL);
    }
}

/// A node whose log is kept.
struct WatchedNode {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl WatchedNode {
    fn start(home: &Path, flags: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = program(PYRSIA_NODE, home);
        command.args("--port 0 --listen /ip4/127.0.0.1/tcp/0 --listen-only true --log-format json".split(' '));
        command.args(flags.split_whitespace()).envs(variables.iter().copied());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the node starts");
        let (stderr, log) = (BufReader::new(child.stderr.take().expect("a pipe")), Arc::<Mutex<Vec<String>>>::default());
        let lines = log.clone();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| lines.lock().expect(NO_PANIC).push(line))
        });
        Self { child, log }
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().expect(NO_PANIC).clone()
    }

    fn line(&self, part: &str) -> serde_json::Value {
        let line = until(part, || self.log().into_iter().find(|line| line.contains(part)));
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))
    }

    fn address(&self) -> String {
        let line = self.line("will start running on ");
        line["message"].as_str().and_then(|text| text.rsplit(' ').next()).expect("an address").to_owned()
    }

    /// Sends SIGTERM; the exit code.
    fn stop(&mut self) -> Option<i32> {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs").success());
        until("the node ends", || self.child.try_wait().expect("a child")).code()
    }
}

impl Drop for WatchedNode {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log().join("\n"));
        }
    }
}

/// A collector as OTLP over HTTP has it, with everything it was sent.
struct Collector {
    url: String,
    received: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let received = Arc::<Mutex<Vec<ExportTraceServiceRequest>>>::default();
        let requests = received.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let requests = requests.clone();
                std::thread::spawn(move || while take(&stream, &requests).is_some() {});
            }
        });
        Self { url, received }
    }

    /// The spans of the trace, each with its resource.
    fn spans(&self) -> Vec<(Vec<KeyValue>, Span)> {
        let resources =
            self.received.lock().expect(NO_PANIC).iter().flat_map(|request| request.resource_spans.clone()).collect::<Vec<_>>();
        let mut spans = vec![];
        for of_resource in resources {
            let attributes = of_resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let all = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(all.filter(|span| hex::encode(&span.trace_id) == TRACE).map(|span| (attributes.clone(), span)));
        }
        spans
    }
}

/// One request to the collector; none when the connection ended.
fn take(stream: &TcpStream, requests: &Mutex<Vec<ExportTraceServiceRequest>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        (reader.read_line(&mut head).ok()? > 0).then_some(())?;
    }
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    let head = head.to_lowercase();
    assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next()).expect("a length");
    let mut body = vec![0; length.parse().expect("a number")];
    reader.read_exact(&mut body).ok()?;
    requests.lock().expect(NO_PANIC).push(ExportTraceServiceRequest::decode(body.as_slice()).expect("protobuf of OTLP"));
    reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n").ok()
}

fn attribute<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == name)?.value.as_ref().and_then(|AnyValue { value }| value.as_ref())
}

fn get(address: &str, path: &str, headers: &[&str]) -> String {
    let mut stream = TcpStream::connect(address).expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n{}\r\n\r\n", headers.join("\r\n"));
    stream.write_all(request.as_bytes()).expect("is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_request_is_in_the_log_and_in_its_clients_trace_and_the_service_manager_knows_how_the_node_is() {
    let home = tempfile::tempdir().unwrap();
    let collector = Collector::start();
    let socket = home.path().join("notify");
    let manager = UnixDatagram::bind(&socket).expect("a socket");
    manager.set_read_timeout(Some(DEADLINE)).expect("a time-out");
    let told = || {
        let mut words = [0; 256];
        let length = manager.recv(&mut words).expect("the node says how it is");
        String::from_utf8_lossy(&words[..length]).into_owned()
    };
    let flags = format!("--init-blockchain true --otlp-endpoint {}", collector.url);
    let variables = [("NOTIFY_SOCKET", socket.to_str().unwrap()), ("WATCHDOG_USEC", "60000000")];
    let mut node = WatchedNode::start(home.path(), &flags, &variables);
    assert_eq!(told().trim(), "READY=1");
    assert_eq!(told().trim(), "WATCHDOG=1");

    let address = node.address();
    let healthy = run(PYRSIA_NODE, home.path(), &format!("health --url http://{address}"));
    assert_eq!((healthy.code, healthy.stdout), (Some(0), format!("the node at http://{address} is ready\n")));
    let answer = get(
        &address,
        "/status?token=secret-query",
        &[
            &format!("traceparent: 00-{TRACE}-{CALLER}-01"),
            "x-request-id: test-1",
            "authorization: Bearer secret-token",
            "referer: https://user:secret-user@a.example/b",
        ],
    );
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("x-request-id: test-1\r\n"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).expect("a body");
    let line = node.line("\"test-1\"");
    for (field, value) in [
        ("method", serde_json::json!("GET")),
        ("path", "/status".into()),
        ("status", 200.into()),
        ("bytes", body.len().into()),
        ("handler", "management".into()),
        ("referer", "https://a.example/b".into()),
        ("target", "pyrsia_registry".into()),
    ] {
        assert_eq!(line[field], value, "{field} of {line}");
    }
    assert!(line["duration_ms"].as_f64().is_some_and(|duration| duration > 0.0), "{line}");

    assert_eq!(node.stop(), Some(0));
    let stopping = until("the manager is told", || Some(told()).filter(|told| told.contains("STOPPING=1")));
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC="), "{stopping}");
    assert!(!node.log().iter().any(|line| line.contains("secret")), "a secret is in the log");
    let (resource, span) = collector.spans().pop().expect("the last spans were sent before the end");
    assert_eq!((span.name.as_str(), hex::encode(&span.parent_span_id).as_str()), ("management", CALLER));
    assert_eq!(attribute(&resource, "service.name"), Some(&Value::StringValue("pyrsia_node".to_owned())));
    assert_eq!(attribute(&span.attributes, "http.response.status_code"), Some(&Value::IntValue(200)));
    assert_eq!(attribute(&span.attributes, "url.path"), Some(&Value::StringValue("/status".to_owned())));
    let took_ms = (span.end_time_unix_nano - span.start_time_unix_nano) as f64 / 1e6;
    assert!(took_ms >= line["duration_ms"].as_f64().unwrap(), "the span of {took_ms} ms ends before the answer: {line}");
    assert_eq!(attribute(&span.attributes, "request_id"), Some(&Value::StringValue("test-1".to_owned())));

    let gone = run(PYRSIA_NODE, home.path(), &format!("health --url http://{address}"));
    assert_eq!(gone.code, Some(1));
    assert!(gone.stderr.contains(&format!("the node at http://{address} does not answer")), "{}", gone.stderr);
    a_collector_that_is_gone_costs_one_line(home.path());
}

#[test]
fn a_node_that_is_told_to_stop_while_it_waits_for_its_bucket_ends() {
    let home = tempfile::tempdir().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("bound");
    let flags = format!("--bucket-url s3://name --bucket-endpoint http://{address} --bucket-allow-http true --bucket-region a");
    let mut node = WatchedNode::start(home.path(), &flags, &[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]);
    let _asked = silent.accept().expect("the node asks its bucket");
    assert_eq!(node.stop(), Some(0));
    node.line("SIGTERM received while the node starts");
}

/// On the folder of a node that was, whose compiled verifiers save a start, and without its ledger.
fn a_collector_that_is_gone_costs_one_line(home: &Path) {
    let flags = "--otlp-endpoint http://127.0.0.1:9 --access-log off --blockchain-path elsewhere";
    let mut node = WatchedNode::start(home, flags, &[]);
    let address = node.address();
    let unready = run(PYRSIA_NODE, home, &format!("health --url http://{address}"));
    assert_eq!(unready.code, Some(1));
    assert!(unready.stderr.contains("is not ready") && unready.stderr.contains("follows no network"), "{}", unready.stderr);
    node.line("traces do not reach the collector at 127.0.0.1");
    assert!(get(&address, "/livez", &["x-request-id: test-2"]).starts_with("HTTP/1.1 200 "));
    assert_eq!(node.stop(), Some(0));
    let log = node.log();
    assert_eq!(log.iter().filter(|line| line.contains("the collector")).count(), 1, "{log:#?}");
    assert!(!log.iter().any(|line| line.contains("test-2")), "the access log is off: {log:#?}");
}
