//! Maven packages as Maven and Gradle ask for them.

use super::fixture::Fixture;
use super::pipeline::{Files, Pipeline};
use pyrsia_ledger::Sha256Digest;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use zip::write::SimpleFileOptions;

const GROUP: &str = "/maven2/org/example/demo";
const ALGORITHMS: [(&str, usize); 4] = [("md5", 32), ("sha1", 40), ("sha256", 64), ("sha512", 128)];

fn pom(version: &str) -> Vec<u8> {
    let head = r#"<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>"#;
    format!("{head}<groupId>org.example</groupId><artifactId>demo</artifactId><version>{version}</version></project>")
        .into_bytes()
}

fn jar(content: &str) -> Vec<u8> {
    let mut jar = zip::ZipWriter::new(Cursor::new(vec![]));
    for (name, content) in [("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\r\n\r\n"), ("demo.txt", content)] {
        jar.start_file(name, SimpleFileOptions::default()).expect("an entry");
        jar.write_all(content.as_bytes()).expect("is written");
    }
    jar.finish().expect("a jar").into_inner()
}

/// What a build of a version gives: with a checksum file of its own, in a form that clients may or may not read.
fn files(version: &str) -> Files {
    let (stem, jar) = (format!("demo-{version}"), jar(version));
    let checksum = format!("{}  {stem}.jar\n", Sha256Digest::of(&jar));
    BTreeMap::from([
        (format!("{stem}.pom"), pom(version)),
        (format!("{stem}-sources.jar"), self::jar("sources")),
        (format!("{stem}.jar.sha256"), checksum.into_bytes()),
        (format!("{stem}.jar"), jar),
    ])
}

async fn fixture() -> (Fixture, Pipeline) {
    let versions = ["1.0", "1.9", "1.10", "2.0-rc1"];
    let packages = versions.map(|version| (format!("org.example:demo:{version}"), files(version)));
    let pipeline = Pipeline::of_packages(packages.into()).await;
    let fixture = Fixture::founded(&pipeline.url).await;
    fixture.authorize().await;
    (fixture, pipeline)
}

async fn publish(fixture: &Fixture, version: &str) {
    let (status, answer) = fixture.post("/build/maven", &json!({"gav": format!("org.example:demo:{version}")})).await;
    assert_eq!((status, &answer["message"]), (200, &Value::Null), "{answer}");
    let path = format!("{GROUP}/{version}/demo-{version}.pom");
    fixture.until("the build is published", async || fixture.head(&path).await.status() == 200).await;
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

/// What a refusal says, which must have the form of a problem.
async fn problem(response: Response, status: u16) -> String {
    let path = response.url().path().to_owned();
    assert_eq!((response.status().as_u16(), header(&response, "content-type")), (status, "application/problem+json"), "{path}");
    let problem: Value = response.json().await.expect("JSON");
    assert_eq!(problem["status"], status);
    assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
    problem["detail"].as_str().expect("a sentence").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_file_is_served_with_its_checksums_its_dates_and_in_parts() {
    let (fixture, _pipeline) = fixture().await;
    publish(&fixture, "1.0").await;
    let path = format!("{GROUP}/1.0/demo-1.0.jar");
    let bytes = jar("1.0");
    let asked = async |path: &str, name: &str, value: &str| {
        fixture.client.get(fixture.url(path)).header(name, value).send().await.expect("an answer")
    };

    // Its length and validators are known before its bytes are read.
    let unread = fixture.head(&format!("{path}.sha512")).await;
    assert_eq!((unread.status().as_u16(), header(&unread, "content-length")), (200, "128"));
    let head = fixture.head(&path).await;
    assert_eq!(header(&head, "x-checksum-sha256"), Sha256Digest::of(&bytes).to_string());
    assert_eq!(header(&head, "x-checksum-sha1"), "", "nobody read the file yet");
    let whole = fixture.get(&path).await;
    assert_eq!((whole.status().as_u16(), header(&whole, "content-type")), (200, "application/java-archive"));
    assert_eq!((header(&whole, "accept-ranges"), header(&whole, "cache-control")), ("bytes", "no-cache"));
    let etag = format!("\"{}\"", Sha256Digest::of(&bytes).to_oci());
    let modified = header(&whole, "last-modified").to_owned();
    assert_eq!((header(&whole, "etag"), modified.ends_with(" GMT")), (etag.as_str(), true), "{modified}");
    for (algorithm, digits) in ALGORITHMS {
        let named = format!("x-checksum-{algorithm}");
        let checksum = fixture.get(&format!("{path}.{algorithm}")).await;
        assert_eq!((checksum.status().as_u16(), header(&checksum, "content-type")), (200, "text/plain"), "{algorithm}");
        assert_eq!(header(&checksum, "last-modified"), modified);
        let tag = header(&checksum, "etag").to_owned();
        assert_eq!(asked(&format!("{path}.{algorithm}"), "if-none-match", &tag).await.status(), 304);
        let text = checksum.text().await.expect("text");
        assert_eq!((text.as_str(), text.len()), (header(&whole, &named), digits), "{algorithm}");
        assert_eq!(header(&fixture.head(&path).await, &named), text, "{algorithm}");
    }
    assert_eq!(whole.bytes().await.expect("the body"), bytes);

    for (name, value, status) in [
        ("if-none-match", etag.as_str(), 304),
        ("if-modified-since", &modified, 304),
        ("if-unmodified-since", &modified, 200),
        ("if-unmodified-since", "Fri, 20 Nov 2020 10:00:00 GMT", 412),
        ("range", "bytes=100000000-", 416),
    ] {
        let response = asked(&path, name, value).await;
        assert_eq!((response.status().as_u16(), header(&response, "etag")), (status, &*etag), "{name}");
    }
    let part = fixture.client.get(fixture.url(&path)).header("range", "bytes=2-").header("if-range", &modified);
    let part = part.send().await.expect("an answer");
    assert_eq!((part.status().as_u16(), header(&part, "x-checksum-sha256")), (206, &*Sha256Digest::of(&bytes).to_string()));
    assert_eq!(part.bytes().await.expect("the rest"), bytes[2..]);

    for (file, kind) in [("demo-1.0.pom", "application/xml"), ("demo-1.0-sources.jar", "application/java-archive")] {
        let response = fixture.get(&format!("{GROUP}/1.0/{file}")).await;
        assert_eq!((response.status().as_u16(), header(&response, "content-type")), (200, kind), "{file}");
    }
    let said = problem(fixture.get(&format!("{GROUP}/1.0/demo-1.0.module")).await, 404).await;
    assert!(said.contains("demo-1.0.module is not among its files: demo-1.0-sources.jar, demo-1.0.jar"), "{said}");
    assert!(!said.contains("requested"), "{said}");
    let build = &fixture.json("/api/v1/builds?package_type=maven&id=org.example:demo:1.0").await[0];
    let (_, done) = fixture.post("/build/status", &json!({"build_id": build["build_id"]})).await;
    assert!(done["Success"]["artifact_urls"].as_array().is_some_and(|urls| urls.contains(&json!(path))), "{done}");
    fixture.stop().await;
}

/// The only file below a folder whose name has `word` in it and whose content is `content`.
fn find(folder: &Path, word: &str, content: &[u8]) -> Option<PathBuf> {
    std::fs::read_dir(folder).expect("a folder").flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return find(&path, word, content);
        }
        let is_it = path.to_string_lossy().contains(word) && std::fs::read(&path).is_ok_and(|found| found == content);
        is_it.then_some(path)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_file_that_somebody_changed_is_not_served() {
    let (fixture, _pipeline) = fixture().await;
    publish(&fixture, "1.0").await;
    let (path, mut bytes) = (format!("{GROUP}/1.0/demo-1.0.jar"), jar("1.0"));
    let stored = find(fixture.folder.path(), &Sha256Digest::of(&bytes).to_string()[2..], &bytes).expect("the stored jar");
    *bytes.last_mut().expect("a byte") ^= 1;
    std::fs::remove_file(&stored).expect("is removed");
    std::fs::write(&stored, &bytes).expect("is written");
    for path in [path.clone(), format!("{path}.sha1"), path] {
        problem(fixture.get(&path).await, 503).await;
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_lists_what_is_published_in_the_order_of_maven() {
    let (fixture, _pipeline) = fixture().await;
    let path = format!("{GROUP}/maven-metadata.xml");
    let none = problem(fixture.get(&path).await, 404).await;
    assert!(none.contains("no version of org.example:demo is published") && none.contains("pyrsia build maven"), "{none}");
    for version in ["1.10", "1.0", "1.9"] {
        publish(&fixture, version).await;
    }
    let metadata = fixture.get(&path).await;
    assert_eq!((metadata.status().as_u16(), header(&metadata, "content-type")), (200, "application/xml"));
    let (etag, modified) = (header(&metadata, "etag").to_owned(), header(&metadata, "last-modified").to_owned());
    let text = metadata.text().await.expect("text");
    let listed = "<latest>1.10</latest>\n    <release>1.10</release>\n    <versions>\n      <version>1.0</version>\n      \
                  <version>1.9</version>\n      <version>1.10</version>\n    </versions>\n    <lastUpdated>2";
    assert!(text.contains(listed), "{text}");
    let checksum = fixture.get(&format!("{path}.sha256")).await.text().await.expect("text");
    assert_eq!(checksum, Sha256Digest::of(text.as_bytes()).to_string());
    assert_eq!(fixture.get(&format!("{path}.sha1")).await.text().await.expect("text").len(), 40);
    for (name, value) in [("if-none-match", etag), ("if-modified-since", modified)] {
        let response = fixture.client.get(fixture.url(&path)).header(name, value).send().await.expect("an answer");
        assert_eq!(response.status(), 304, "{name}");
    }
    publish(&fixture, "2.0-rc1").await;
    assert!(fixture.get(&path).await.text().await.expect("text").contains("<release>2.0-rc1</release>"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_published_asks_for_one_build_and_what_is_no_package_for_none() {
    let (fixture, _pipeline) = fixture().await;
    let builds = async || fixture.json("/api/v1/builds?package_type=maven&id=org.example:demo:1.0").await;
    for file in ["demo-1.0.pom.sha1", "demo-1.0-sources.jar", "demo-1.0.jar.sha512", "demo-1.0.jar.asc", "other-1.0.jar"] {
        let said = problem(fixture.get(&format!("{GROUP}/1.0/{file}")).await, 404).await;
        assert!(!said.contains("was requested"), "{file}: {said}");
    }
    for version in ["1.0-SNAPSHOT", "1.0-20260102.030405-6"] {
        let snapshot = problem(fixture.get(&format!("{GROUP}/{version}/demo-{version}.pom")).await, 404).await;
        assert!(snapshot.contains("is a snapshot"), "{snapshot}");
        let snapshot = problem(fixture.get(&format!("{GROUP}/{version}/maven-metadata.xml")).await, 404).await;
        assert!(snapshot.contains("is a snapshot"), "{snapshot}");
    }
    let paths = ["/maven2", "/maven2/", "/maven2/org/example/maven-metadata.xml", "/maven2/org/example/demo/"];
    for path in paths {
        problem(fixture.get(path).await, 404).await;
    }
    let prefixes = fixture.get("/maven2/.meta/prefixes.txt").await;
    assert_eq!((prefixes.status().as_u16(), header(&prefixes, "content-type")), (404, "text/plain"));
    assert_eq!(builds().await, json!([]), "nothing was asked for");

    let missed = problem(fixture.get(&format!("{GROUP}/1.0/demo-1.0.pom")).await, 404).await;
    assert!(missed.contains("a build was requested") && missed.contains("with `-U`"), "{missed}");
    fixture.head(&format!("{GROUP}/1.0/demo-1.0.jar")).await;
    fixture.until("the pom is there", async || fixture.get(&format!("{GROUP}/1.0/demo-1.0.pom")).await.status() == 200).await;
    assert_eq!(builds().await.as_array().map(Vec::len), Some(1));

    let failing = format!("{GROUP}/3.0/demo-3.0.pom");
    let mut said = problem(fixture.get(&failing).await, 404).await;
    fixture
        .until("the build failed", async || {
            said = problem(fixture.get(&failing).await, 404).await;
            !said.contains("was requested")
        })
        .await;
    assert!(said.contains("its newest build came to nothing"), "{said}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_path_leads_out_of_the_repository_and_nothing_can_be_deployed() {
    let fixture = Fixture::without_network().await;
    let long = format!("/maven2/org/{}/1/a.jar", "a".repeat(4 << 10));
    let paths: [(&[u8], u16); 11] = [
        (b"/maven2/../status", 400),
        (b"/maven2/org/../../status", 400),
        (b"/maven2/org/%2e%2e/demo/1.0/demo-1.0.jar", 400),
        (b"/maven2/org%2F..%2Fdemo/1.0/demo-1.0.jar", 400),
        (b"/maven2//org/demo/1.0/demo-1.0.jar", 400),
        (b"/maven2/org/demo/1.0/..%5c..%5cdemo-1.0.jar", 400),
        (b"/maven2/org/demo/1.0/demo-1.0.jar%00.pom", 400),
        (b"/maven2/org/d%C3%A9mo/1.0/demo-1.0.jar", 400),
        (b"/maven2/org/d\xe9mo/1.0/demo-1.0.jar", 400),
        (b"/maven2/org/${x}/1.0/demo-1.0.jar", 400),
        (long.as_bytes(), 414),
    ];
    for (path, status) in paths {
        let request = [b"GET ", path, b" HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"].concat();
        let answer = fixture.raw(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{}: {answer}", String::from_utf8_lossy(path));
    }
    for method in [Method::PUT, Method::POST, Method::DELETE, Method::OPTIONS] {
        let asked = fixture.client.request(method.clone(), fixture.url("/maven2/org/example/demo/1.0/demo-1.0.jar"));
        let response = asked.body("x").send().await.expect("an answer");
        assert_eq!(header(&response, "allow"), "GET, HEAD", "{method}");
        let said = problem(response, 405).await;
        assert!(said.contains("nothing can be deployed here"), "{said}");
    }
    let nowhere = fixture.get("/maven2/org/example/demo/1.0/demo-1.0.jar").await;
    assert_eq!(header(&nowhere, "retry-after"), "5");
    assert!(problem(nowhere, 503).await.contains("follows no network"));
    assert_eq!(fixture.get("/maven2/org/example/demo/maven-metadata.xml").await.status(), 503);
    let metrics = fixture.get("/metrics").await.text().await.expect("text");
    assert!(metrics.contains(r#"pyrsia_http_requests_total{handler="maven",method="PUT",code="405"} "#), "{metrics}");
    fixture.stop().await;
}
