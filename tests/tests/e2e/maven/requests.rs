//! The repository as a client speaks to it, byte by byte: files, checksums, metadata, and what a client can get wrong.

use super::network::{GROUP, Network, artifact, greeting, path};
use crate::bad_requests::{Case, send};
use pyrsia_tests::program::run;
use reqwest::header::HeaderMap;
use std::process::Command;

const METADATA: &str = "org/example/greeting/greeting/maven-metadata.xml";

struct Answered {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answered {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers)).to_str().expect("text")
    }
}

async fn ask(network: &Network, method: &str, path: &str, headers: &[(&str, &str)]) -> Answered {
    let method = method.parse().expect("a method");
    let mut request = reqwest::Client::new().request(method, network.node.url(&format!("/maven2/{path}")));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answered { status, headers, body: response.bytes().await.expect("a body").to_vec() }
}

pub(super) async fn files_and_metadata(network: &Network) {
    let jar = path("1.0.0", ".jar");
    let whole = ask(network, "GET", &jar, &[]).await;
    let known = &network.records(&greeting("1.0.0")).await[&artifact("1.0.0", ".jar")];
    assert_eq!((whole.status, whole.header("content-type")), (200, "application/java-archive"));
    assert_eq!(pyrsia_tests::image::sha256(&whole.body), format!("sha256:{known}"));

    // Every checksum that clients ask for, as the ordinary tools compute it, in files and in headers.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, &whole.body).expect("the file");
    for algorithm in ["md5", "sha1", "sha256", "sha512"] {
        let printed = run(Command::new(format!("{algorithm}sum")).arg(&file)).stdout;
        let expected = printed.split(' ').next().expect("a checksum");
        let told = ask(network, "GET", &format!("{jar}.{algorithm}"), &[]).await;
        assert_eq!((told.status, String::from_utf8_lossy(&told.body).trim()), (200, expected), "{algorithm}");
        assert_eq!(whole.header(&format!("x-checksum-{algorithm}")), expected);
    }

    let head = ask(network, "HEAD", &jar, &[]).await;
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, whole.body.len().to_string().as_str()));
    for (name, kept) in [("if-none-match", "etag"), ("if-modified-since", "last-modified")] {
        let unchanged = ask(network, "GET", &jar, &[(name, whole.header(kept))]).await;
        assert_eq!((unchanged.status, unchanged.body.len()), (304, 0), "{name}");
    }
    // A download that Maven goes on with.
    let rest = [("range", "bytes=100-"), ("if-unmodified-since", whole.header("last-modified")), ("accept-encoding", "identity")];
    let rest = ask(network, "GET", &jar, &rest).await;
    assert_eq!((rest.status, rest.body.as_slice()), (206, &whole.body[100..]));
    assert_eq!(ask(network, "GET", &jar, &[("range", "bytes=99999999-")]).await.status, 416);

    let metadata = ask(network, "GET", METADATA, &[]).await;
    let text = String::from_utf8(metadata.body.clone()).expect("text");
    let positions = ["1.0.0", "1.9.0", "1.10.0"].map(|version| text.find(&format!("<version>{version}</version>")));
    assert!(positions.iter().all(Option::is_some) && positions.is_sorted(), "{text}");
    assert!(text.contains("<latest>1.10.0</latest>") && text.contains("<release>1.10.0</release>"), "{text}");
    std::fs::write(&file, &metadata.body).expect("the file");
    let printed = run(Command::new("sha1sum").arg(&file)).stdout;
    let told = ask(network, "GET", &format!("{METADATA}.sha1"), &[]).await;
    assert!(printed.starts_with(String::from_utf8_lossy(&told.body).trim()), "{printed}");
}

/// What a caller can get wrong, at every surface: an answer with a sentence, and the node goes on.
pub(super) async fn mistakes(network: &Network) {
    let long = format!("/maven2/org/example/{}/1/x.jar", "a".repeat(4_096)).leak();
    let cases: [Case; 21] = [
        ("GET", "/maven2/org/example/unknown/maven-metadata.xml", "", 404, "application/problem+json"),
        ("GET", "/maven2/org/nobody/maven-metadata.xml", "", 404, "application/problem+json"),
        ("GET", "/maven2/.meta/prefixes.txt", "", 404, "text/plain"),
        ("GET", "/maven2/org/example/greeting/greeting/9.9/greeting-9.9.jar.sha1", "", 404, "problem+json"),
        ("GET", "/maven2/org/example/greeting/greeting/1.0-SNAPSHOT/greeting-1.0-SNAPSHOT.jar", "", 404, "SNAPSHOT"),
        ("GET", "/maven2/../../etc/passwd", "", 400, "problem+json"),
        ("GET", "/maven2/org/example/../../../etc/passwd", "", 400, "problem+json"),
        ("GET", "/maven2/%2e%2e/%2e%2e/etc/passwd", "", 400, "problem+json"),
        ("GET", "/maven2/org/example/greeting/..%2f..%2fgreeting/1.0.0/greeting-1.0.0.jar", "", 400, "problem+json"),
        ("GET", "/maven2/org%2Fexample%2Fgreeting/greeting/1.0.0/greeting-1.0.0.jar", "", 400, "problem+json"),
        ("GET", "/maven2/org\\example\\greeting/greeting/1.0.0/greeting-1.0.0.jar", "", 400, ""),
        ("GET", "/maven2/org/example/%5c..%5c/greeting/1.0.0/greeting-1.0.0.jar", "", 400, "problem+json"),
        ("GET", "/maven2//org/example/greeting//greeting/1.0.0/greeting-1.0.0.jar", "", 400, "problem+json"),
        ("GET", "/maven2/org/example/greeting/greeting/1.0.0/greeting-1.0.0.jar%00.pom", "", 400, "problem+json"),
        ("GET", "/maven2/org/example/%ff%fe/greeting/1.0.0/greeting-1.0.0.jar", "", 400, "problem+json"),
        ("GET", "/maven2/org/example/%zz/greeting/1.0.0/greeting-1.0.0.jar", "", 400, ""),
        ("GET", long, "", 414, ""),
        ("PUT", "/maven2/org/example/greeting/greeting/1.0.0/greeting-1.0.0.jar", "bytes", 405, "GET, HEAD"),
        ("DELETE", "/maven2/org/example/greeting/greeting/1.0.0/greeting-1.0.0.jar", "", 405, "GET, HEAD"),
        ("POST", "/build/maven", "{\"gav\":\"org.example:demo\"}", 400, "errors"),
        ("POST", "/build/maven", "{\"gav\":\"org.example:demo:1.0-SNAPSHOT\"}", 400, "SNAPSHOT"),
    ];
    let mut wrong = vec![];
    for case in cases {
        let (status, answer) = send(&network.node, case).await;
        if status != case.3 || !answer.contains(case.4) {
            wrong.push(format!("{} {:.90}: wanted {} {:?}\n{answer}", case.0, case.1, case.3, case.4));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));

    for (gav, word) in [
        ("org.example", "org.example"),
        ("org.example:demo:1.0-SNAPSHOT", "SNAPSHOT"),
        ("org/../x:demo:1", "org/../x"),
        ("::", "::"),
    ] {
        let refused = network.fleet.cli.run_at(&network.node, &["build", "maven", "--gav", gav]);
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(refused.code != 0 && said.contains(word), "{gav}: {refused:?}");
    }
    // What no pipeline has a rule for does not become a build.
    let refused = network.fleet.cli.run_at(&network.fleet.nodes[0], &["build", "maven", "--gav", "org.nobody:nothing:1.0"]);
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(refused.code != 0 && said.contains("org.nobody:nothing:1.0"), "{refused:?}");
    assert!(network.records(&format!("{GROUP}:nothing:1.0")).await.is_empty());
}
