//! The OCI distribution specification 1.1 against a node that has images: what its conformance suite asks of a registry that only gives.
//!
//! The cases are those of the suite's categories "pull", "content discovery" and "errors", and of its refusals for a registry without pushes and deletions.

use pyrsia_tests::image::{Blob, sha256};
use pyrsia_tests::network::Node;
use reqwest::{Client, Method, Response, header};
use serde_json::{Value, json};

const PROOF_TYPE: &str = "application/vnd.pyrsia.proof.v1+json";
const OCI_MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const NO_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
const SHA512: &str = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e";

/// A published image of several platforms.
pub(crate) struct Subject<'a> {
    pub(crate) repository: &'a str,
    pub(crate) tag: &'a str,
    pub(crate) index: &'a Blob,
    pub(crate) manifests: &'a [&'a Blob],
    /// The second is a large layer.
    pub(crate) blobs: &'a [&'a Blob],
}

/// What a node attached to a manifest.
pub(crate) struct Proof {
    pub(crate) manifest: Blob,
    pub(crate) file: Blob,
}

async fn ask(node: &Node, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Client::new().request(method.clone(), node.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map(|value| value.to_str().expect("visible ASCII")).unwrap_or_default()
}

async fn json(node: &Node, path: &str) -> Value {
    let response = ask(node, Method::GET, path, &[]).await;
    assert_eq!(response.status(), 200, "{path}");
    response.json().await.expect("JSON")
}

pub(crate) async fn bytes_of(node: &Node, repository: &str, kind: &str, digest: &str) -> Vec<u8> {
    let path = format!("/v2/{repository}/{kind}/{digest}");
    let response = ask(node, Method::GET, &path, &[]).await;
    assert_eq!(response.status(), 200, "{path}");
    assert_eq!(header(&response, "docker-content-digest"), digest, "{path}");
    let bytes = response.bytes().await.expect("a body").to_vec();
    assert_eq!(sha256(&bytes), digest, "{path}");
    bytes
}

/// A refusal in the form of the specification: a code of its list, and a sentence.
async fn check_refusal(node: &Node, method: Method, path: &str, status: u16, code: &str) {
    let response = ask(node, method.clone(), path, &[]).await;
    assert_eq!(response.status(), status, "{method} {path}");
    assert_eq!(header(&response, "content-type"), "application/json");
    let body: Value = response.json().await.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    let errors = body["errors"].as_array().expect("errors");
    assert!(
        errors.len() == 1 && errors[0]["code"] == code && errors[0]["message"].as_str().is_some_and(|text| text.len() > 10),
        "{method} {path}: {body}"
    );
}

/// HEAD and GET of something that is there.
async fn check_object(node: &Node, path: &str, media_type: &str, object: &Blob) {
    let accept = [("accept", OCI_INDEX_TYPE), ("accept", OCI_MANIFEST_TYPE)];
    for method in [Method::HEAD, Method::GET] {
        let response = ask(node, method.clone(), path, &accept).await;
        assert_eq!(response.status(), 200, "{method} {path}");
        assert_eq!(header(&response, "content-type"), media_type, "{path}");
        assert_eq!(header(&response, "content-length"), object.bytes.len().to_string(), "{path}");
        assert_eq!(header(&response, "docker-content-digest"), object.digest, "{path}");
        assert_eq!(header(&response, "docker-distribution-api-version"), "registry/2.0");
        let (etag, body) = (header(&response, "etag").to_owned(), response.bytes().await.expect("a body"));
        assert!(body == object.bytes || (method == Method::HEAD && body.is_empty()), "{method} {path}");
        let again = ask(node, method, path, &[("if-none-match", &etag)]).await;
        assert_eq!(again.status(), 304, "{path}");
    }
}

pub(crate) async fn pulls_follow_it(node: &Node, subject: &Subject<'_>) {
    let Subject { repository, tag, index, manifests, blobs } = subject;
    assert_eq!(ask(node, Method::GET, "/v2/", &[]).await.status(), 200);
    for reference in [*tag, &index.digest] {
        check_object(node, &format!("/v2/{repository}/manifests/{reference}"), &index.media_type(), index).await;
    }
    for manifest in *manifests {
        check_object(node, &format!("/v2/{repository}/manifests/{}", manifest.digest), &manifest.media_type(), manifest).await;
    }
    for blob in *blobs {
        check_object(node, &format!("/v2/{repository}/blobs/{}", blob.digest), "application/octet-stream", blob).await;
    }
    check_ranges(node, &format!("/v2/{repository}/blobs/{}", blobs[1].digest), &blobs[1].bytes).await;
    for (kind, reference, status, code) in [
        ("manifests", "missing-tag", 404, "MANIFEST_UNKNOWN"),
        ("manifests", ".INVALID_MANIFEST_NAME", 404, "MANIFEST_UNKNOWN"),
        ("manifests", NO_DIGEST, 404, "MANIFEST_UNKNOWN"),
        ("manifests", SHA512, 404, "MANIFEST_UNKNOWN"),
        ("manifests", "sha256:baddigeststring", 400, "DIGEST_INVALID"),
        ("blobs", NO_DIGEST, 404, "BLOB_UNKNOWN"),
        ("blobs", SHA512, 404, "BLOB_UNKNOWN"),
        ("blobs", "sha256:baddigeststring", 400, "DIGEST_INVALID"),
        ("blobs/uploads", "some-upload", 404, "BLOB_UPLOAD_UNKNOWN"),
    ] {
        check_refusal(node, Method::GET, &format!("/v2/{repository}/{kind}/{reference}"), status, code).await;
        let head = ask(node, Method::HEAD, &format!("/v2/{repository}/{kind}/{reference}"), &[]).await;
        assert_eq!(head.status(), status, "HEAD {kind}/{reference}");
    }
    check_refusal(node, Method::GET, "/v2/Upper/manifests/1", 400, "NAME_INVALID").await;
    check_refusal(node, Method::GET, "/v2/registry.example/alpine/manifests/1", 404, "MANIFEST_UNKNOWN").await;
    let head = ask(node, Method::HEAD, "/v2/registry.example/alpine/manifests/1", &[]).await;
    assert!(header(&head, "warning").contains("no build was requested"), "{head:?}");
}

async fn check_ranges(node: &Node, path: &str, bytes: &[u8]) {
    let size = bytes.len();
    let beyond = format!("bytes={}-{}", size - 48, size + 2_952);
    for (range, first, last) in [
        ("bytes=500-1499", 500, 1_499),
        ("bytes=500-", 500, size - 1),
        ("bytes=-500", size - 500, size - 1),
        (beyond.as_str(), size - 48, size - 1),
    ] {
        let response = ask(node, Method::GET, path, &[("range", range)]).await;
        assert_eq!(response.status(), 206, "{range}");
        assert_eq!(header(&response, "content-range"), format!("bytes {first}-{last}/{size}"), "{range}");
        assert_eq!(header(&response, "content-length"), (last - first + 1).to_string(), "{range}");
        assert!(response.bytes().await.expect("a part") == bytes[first..=last], "{range}");
    }
    for range in ["bytes=500-0".to_owned(), format!("bytes={}-{}", size + 1, size + 10)] {
        let response = ask(node, Method::GET, path, &[("range", &range)]).await;
        assert_eq!(
            (response.status().as_u16(), header(&response, "content-range")),
            (416, &*format!("bytes */{size}")),
            "{range}"
        );
    }
}

/// Follows `Link` from page to page; gives what the pages list.
async fn pages(node: &Node, path: &str, field: &str) -> Vec<Vec<String>> {
    let (mut next, mut found) = (Some(path.to_owned()), Vec::new());
    while let Some(path) = next {
        assert!(found.len() < 10, "the pages come to an end");
        let response = ask(node, Method::GET, &path, &[]).await;
        assert_eq!(response.status(), 200, "{path}");
        let link = header(&response, "link").strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
        next = link.map(str::to_owned);
        assert_eq!(next.is_none(), header(&response, "link").is_empty(), "{path}");
        let list: Value = response.json().await.expect("JSON");
        let entries = list[field].as_array().expect("a list").iter();
        found.push(entries.map(|entry| entry.as_str().expect("text").to_owned()).collect());
    }
    found
}

/// A node that has alpine:3.16.2, deep/er/one:1 and deep/er/one:2.
pub(crate) async fn lists_follow_it(node: &Node) {
    assert_eq!(json(node, "/v2/deep/er/one/tags/list").await, json!({ "name": "deep/er/one", "tags": ["1", "2"] }));
    assert_eq!(json(node, "/v2/docker.io/library/alpine/tags/list?ns=docker.io").await["tags"], json!(["3.16.2"]));
    assert_eq!(pages(node, "/v2/deep/er/one/tags/list?n=1", "tags").await, [["1"], ["2"]]);
    assert_eq!(pages(node, "/v2/deep/er/one/tags/list?last=1", "tags").await, [["2"]]);
    assert_eq!(pages(node, "/v2/deep/er/one/tags/list?n=0", "tags").await, [[""; 0]]);
    check_refusal(node, Method::GET, "/v2/nobody/has/it/tags/list", 404, "NAME_UNKNOWN").await;
    check_refusal(node, Method::GET, "/v2/alpine/tags/list?ns=registry.example", 404, "NAME_UNKNOWN").await;

    assert_eq!(json(node, "/v2/_catalog").await, json!({ "repositories": ["alpine", "deep/er/one"] }));
    assert_eq!(pages(node, "/v2/_catalog?n=1", "repositories").await, [["alpine"], ["deep/er/one"]]);
    assert_eq!(pages(node, "/v2/_catalog?n=5&last=b", "repositories").await, [["deep/er/one"]]);
    for path in ["/v2/_catalog", "/v2/alpine/tags/list"] {
        let (head, get) = (ask(node, Method::HEAD, path, &[]).await, ask(node, Method::GET, path, &[]).await);
        assert_eq!(header(&head, "content-length"), header(&get, "content-length"), "{path}");
    }
}

/// Checks the referrers of every manifest; gives what is attached to the first of one platform.
pub(crate) async fn referrers_follow_it(node: &Node, subject: &Subject<'_>) -> Proof {
    let none = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX_TYPE, "manifests": [] });
    for path in [format!("/v2/nobody/has/it/referrers/{NO_DIGEST}"), format!("/v2/alpine/referrers/{SHA512}")] {
        let response = ask(node, Method::GET, &path, &[]).await;
        assert_eq!((response.status().as_u16(), header(&response, "content-type")), (200, OCI_INDEX_TYPE), "{path}");
        assert_eq!(response.json::<Value>().await.expect("JSON"), none);
    }
    check_refusal(node, Method::GET, "/v2/alpine/referrers/sha256:baddigeststring", 400, "DIGEST_INVALID").await;
    check_refusal(node, Method::GET, "/v2/alpine/referrers/3.16.2", 400, "DIGEST_INVALID").await;

    let mut proofs = Vec::new();
    for manifest in std::iter::once(&subject.index).chain(subject.manifests) {
        let path = format!("/v2/{}/referrers/{}", subject.repository, manifest.digest);
        let all = json(node, &path).await;
        let [descriptor] = all["manifests"].as_array().expect("descriptors").as_slice() else { panic!("{path}: {all}") };
        assert_eq!((&descriptor["mediaType"], &descriptor["artifactType"]), (&json!(OCI_MANIFEST_TYPE), &json!(PROOF_TYPE)));
        for (wanted, expected) in [(PROOF_TYPE, &all), ("application/vnd.example.sbom.v1", &none)] {
            let filtered = ask(node, Method::GET, &format!("{path}?artifactType={}", wanted.replace('+', "%2B")), &[]).await;
            assert_eq!(header(&filtered, "oci-filters-applied"), "artifactType");
            assert_eq!(&filtered.json::<Value>().await.expect("JSON"), expected, "{wanted}");
        }
        proofs.push(proof(node, subject, manifest, descriptor).await);
    }
    assert!(
        proofs.windows(2).all(|two| two[0].file.bytes == two[1].file.bytes),
        "a proof is of a build, whatever platform it is attached to"
    );
    check_object(
        node,
        &format!("/v2/alpine/blobs/{}", sha256(b"{}")),
        "application/octet-stream",
        &Blob { digest: sha256(b"{}"), bytes: b"{}".into() },
    )
    .await;
    proofs.swap_remove(1)
}

async fn proof(node: &Node, subject: &Subject<'_>, of: &Blob, descriptor: &Value) -> Proof {
    let digest = |descriptor: &Value| descriptor["digest"].as_str().expect("a digest").to_owned();
    let bytes = bytes_of(node, subject.repository, "manifests", &digest(descriptor)).await;
    assert_eq!(descriptor["size"], bytes.len());
    let manifest: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!((&manifest["artifactType"], &manifest["mediaType"]), (&json!(PROOF_TYPE), &json!(OCI_MANIFEST_TYPE)));
    assert_eq!(manifest["annotations"], descriptor["annotations"]);
    assert_eq!((&manifest["subject"]["digest"], &manifest["subject"]["size"]), (&json!(of.digest), &json!(of.bytes.len())));
    let layer = &manifest["layers"][0];
    assert_eq!((&layer["mediaType"], manifest["layers"].as_array().map(Vec::len)), (&json!(PROOF_TYPE), Some(1)));
    let file = Blob { digest: digest(layer), bytes: bytes_of(node, subject.repository, "blobs", &digest(layer)).await };
    assert_eq!(layer["size"], file.bytes.len());
    let manifest = Blob { digest: digest(descriptor), bytes };
    check_object(node, &format!("/v2/{}/manifests/{}", subject.repository, manifest.digest), OCI_MANIFEST_TYPE, &manifest).await;
    let path = format!("/v2/{}/blobs/{}", subject.repository, file.digest);
    check_object(node, &path, "application/octet-stream", &file).await;
    check_ranges(node, &path, &file.bytes).await;
    Proof { manifest, file }
}

pub(crate) async fn pushes_are_refused(node: &Node, subject: &Subject<'_>) {
    let Subject { repository, tag, index, blobs, .. } = subject;
    for (method, path) in [
        (Method::POST, format!("/v2/{repository}/blobs/uploads/")),
        (Method::POST, format!("/v2/{repository}/blobs/uploads/?mount={}&from=deep/er/one", blobs[0].digest)),
        (Method::PATCH, format!("/v2/{repository}/blobs/uploads/1")),
        (Method::PUT, format!("/v2/{repository}/blobs/uploads/1?digest={NO_DIGEST}")),
        (Method::PUT, format!("/v2/{repository}/manifests/{tag}")),
        (Method::DELETE, format!("/v2/{repository}/manifests/{tag}")),
        (Method::DELETE, format!("/v2/{repository}/manifests/{}", index.digest)),
        (Method::DELETE, format!("/v2/{repository}/blobs/{}", blobs[0].digest)),
    ] {
        check_refusal(node, method.clone(), &path, 405, "UNSUPPORTED").await;
        assert_eq!(ask(node, method, &path, &[]).await.headers()[header::ALLOW], "GET, HEAD");
    }
    for (reference, status, code) in
        [("manifests/sha256:totallywrong", 400, "DIGEST_INVALID"), ("manifests/.INVALID_MANIFEST_NAME", 404, "MANIFEST_UNKNOWN")]
    {
        check_refusal(node, Method::PUT, &format!("/v2/{repository}/{reference}"), status, code).await;
    }
    check_object(node, &format!("/v2/{repository}/manifests/{tag}"), &index.media_type(), index).await;
}
