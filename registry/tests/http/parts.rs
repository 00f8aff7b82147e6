//! Everything a client can say of what it wants of a published image: parts, conditions, types, names, pages.

use super::fixture::{Fixture, PATIENCE};
use super::image::{Image, MANIFEST_TYPE};
use super::pipeline::Pipeline;
use super::pull::publish;
use futures::FutureExt;
use pyrsia_ledger::Sha256Digest;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use serde_json::json;
use tokio::net::TcpListener;

const SIZE: usize = 700_000;

async fn published() -> (Fixture, Image) {
    let image = Image::new();
    let pipeline = Pipeline::start(image.files()).await;
    let fixture = Fixture::founded(&pipeline.url).await;
    publish(&fixture, "library/hello:1.0").await;
    (fixture, image)
}

async fn ask(fixture: &Fixture, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let request = headers
        .iter()
        .fold(fixture.client.request(method, fixture.url(path)), |request, (name, value)| request.header(*name, *value));
    request.timeout(PATIENCE).send().await.expect("an answer")
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

/// Headers of a request, and the first and the last byte that are to come; none: the whole.
type Case<'a> = (&'a [(&'a str, &'a str)], Option<(usize, usize)>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_is_exactly_what_was_asked_for_or_the_whole() {
    let (fixture, image) = published().await;
    let [_, _, layer] = image.digests();
    let (blob, tag) = (format!("/v2/hello/blobs/{layer}"), format!("\"{layer}\""));
    let last = SIZE - 1;
    let (last_byte, beyond) = (format!("bytes={last}-{last}"), format!("bytes=1-{}", u64::MAX));
    let other = format!("\"{}\"", Sha256Digest::of(b"another").to_oci());
    let cases: &[Case] = &[
        (&[("range", "bytes=0-0")], Some((0, 0))),
        (&[("range", &last_byte)], Some((last, last))),
        (&[("range", "bytes=-1")], Some((last, last))),
        (&[("range", "bytes=-9999999999999999999999")], Some((0, last))),
        (&[("range", &beyond)], Some((1, last))),
        // Several ranges and other units are answered with the whole.
        (&[("range", "bytes=0-1,5-6")], None),
        (&[("range", "bytes=0-9,5-20,-3")], None),
        (&[("range", "items=0-1")], None),
        (&[("range", "bytes=a-b")], None),
        (&[("range", "bytes=3-4"), ("range", "bytes=8-9")], None),
        (&[("range", "bytes=3-4"), ("if-range", &tag)], Some((3, 4))),
        (&[("range", "bytes=3-4"), ("if-range", &other)], None),
        (&[("range", "bytes=3-4"), ("if-range", "Thu, 01 Jan 1970 00:00:00 GMT")], None),
        (&[("range", "bytes=3-4"), ("if-range", "nonsense")], None),
    ];
    for (headers, part) in cases {
        let response = ask(&fixture, Method::GET, &blob, headers).await;
        let (first, last) = part.unwrap_or((0, last));
        assert_eq!(response.status(), if part.is_some() { 206 } else { 200 }, "{headers:?}");
        let place = part.map(|(first, last)| format!("bytes {first}-{last}/{SIZE}")).unwrap_or_default();
        assert_eq!(header(&response, "content-range"), place, "{headers:?}");
        assert!(response.bytes().await.expect("the body") == image.layer[first..=last], "{headers:?}");
    }
    for range in ["bytes=700000-", "bytes=700000-700001", "bytes=-0", "bytes=99999999999999999999-"] {
        let response = ask(&fixture, Method::GET, &blob, &[("range", range)]).await;
        assert_eq!(
            (response.status().as_u16(), header(&response, "content-range")),
            (416, &*format!("bytes */{SIZE}")),
            "{range}"
        );
    }
    fixture.stop().await;
}

/// Those headers of an answer that are of what it is about and not of the moment.
fn lasting(response: &Response) -> HeaderMap {
    let mut headers = response.headers().clone();
    for of_the_moment in ["date", "x-request-id", "warning"] {
        headers.remove(of_the_moment);
    }
    headers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_has_the_headers_of_its_get_and_no_body() {
    let (fixture, image) = published().await;
    let [manifest, config, layer] = image.digests();
    for path in [
        "/v2/".to_owned(),
        "/v2/hello/manifests/1.0".to_owned(),
        format!("/v2/hello/manifests/{manifest}"),
        format!("/v2/hello/blobs/{config}"),
        format!("/v2/hello/blobs/{layer}"),
        format!("/v2/hello/referrers/{manifest}"),
        "/v2/hello/tags/list".to_owned(),
        "/v2/_catalog".to_owned(),
        "/v2/UPPER/manifests/1.0".to_owned(),
        format!("/v2/hello/blobs/{manifest}x"),
        "/livez".to_owned(),
        "/nowhere".to_owned(),
    ] {
        for headers in [&[][..], &[("range", "bytes=1-9")]] {
            let get = ask(&fixture, Method::GET, &path, headers).await;
            let head = ask(&fixture, Method::HEAD, &path, headers).await;
            // RFC 9110, section 14.2: a range is of GET alone.
            if get.status() != 206 {
                assert_eq!((head.status(), lasting(&head)), (get.status(), lasting(&get)), "{path} {headers:?}");
            }
            assert_eq!(head.bytes().await.expect("no body").len(), 0, "{path}");
        }
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bytes_of_a_manifest_do_not_depend_on_what_a_client_accepts() {
    let (fixture, image) = published().await;
    let asked: [&[(&str, &str)]; 7] = [
        &[],
        &[("accept", "*/*")],
        &[("accept", MANIFEST_TYPE)],
        &[("accept", "application/vnd.oci.image.index.v1+json;q=0.9, application/*;q=0.1, */*;q=0")],
        &[("accept", "text/html")],
        &[("accept", ";;;=,,q=nan")],
        &[("accept", "application/vnd.oci.image.manifest.v1+json"), ("accept-encoding", "gzip, br, zstd")],
    ];
    for headers in asked {
        let response = ask(&fixture, Method::GET, "/v2/hello/manifests/1.0", headers).await;
        assert_eq!((response.status().as_u16(), header(&response, "content-type")), (200, MANIFEST_TYPE), "{headers:?}");
        assert!(!response.headers().contains_key("content-encoding"), "{headers:?}");
        assert!(response.bytes().await.expect("the body") == image.manifest, "{headers:?}");
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_registry_that_a_client_names_is_asked_for_anything() {
    let (fixture, _) = published().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let there = listener.local_addr().expect("bound");
    let own = fixture.registry.address();
    for ns in [
        "registry.example".to_owned(),
        there.to_string(),
        own.to_string(),
        format!("docker.io@{there}"),
        format!("http://{there}/"),
        "docker.io:443".to_owned(),
        "DOCKER.IO".to_owned(),
        "10.0.0.1".to_owned(),
        "169.254.169.254".to_owned(),
        "localhost".to_owned(),
        "%5B::1%5D".to_owned(),
        "docker.io%00.registry.example".to_owned(),
        String::new(),
    ] {
        for reference in ["1.0", "2.0"] {
            let response = fixture.get(&format!("/v2/hello/manifests/{reference}?ns={ns}")).await;
            assert_eq!(response.status(), 404, "{ns}");
            assert!(response.text().await.expect("text").contains("NAME_UNKNOWN"), "{ns}");
        }
    }
    assert_eq!(fixture.get("/v2/hello/manifests/1.0?ns=docker.io").await.status(), 200);
    assert!(listener.accept().now_or_never().is_none(), "nobody came");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_any_number_and_from_any_place_is_a_page() {
    let (fixture, _) = published().await;
    for (query, tags) in [
        ("n=9223372036854775808", json!(["1.0"])),
        ("n=99999999999999999999999999", json!(["1.0"])),
        ("n=-1", json!(["1.0"])),
        ("n=one", json!(["1.0"])),
        ("n=0", json!([])),
        ("n=1&last=0.9", json!(["1.0"])),
        ("last=nowhere", json!([])),
        ("n=1&n=0", json!(["1.0"])),
    ] {
        let list = fixture.json(&format!("/v2/hello/tags/list?{query}")).await;
        assert_eq!(list["tags"], tags, "{query}");
    }
    for (query, names) in [("n=9223372036854775808", json!(["hello"])), ("last=%2e%2e/x", json!(["hello"])), ("n=0", json!([]))] {
        assert_eq!(fixture.json(&format!("/v2/_catalog?{query}")).await["repositories"], names, "{query}");
    }
    for last in ["..%2f..", "%00", "%ff", "a:b"] {
        let status = fixture.get(&format!("/v2/hello/tags/list?last={last}")).await.status();
        assert_eq!(status, 400, "{last}");
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_digests_that_could_be_taken_for_others_are_none() {
    let (fixture, image) = published().await;
    let [manifest, _, layer] = image.digests();
    let hex = layer.trim_start_matches("sha256:");
    let empty = Sha256Digest::of(b"").to_oci();
    let (deep, long) = ("a/".repeat(2_048) + "a", "a".repeat(4_096));
    for (path, status, code) in [
        (format!("blobs/sha256:{}", hex.to_uppercase()), 400, "DIGEST_INVALID"),
        (format!("blobs/SHA256:{hex}"), 400, "DIGEST_INVALID"),
        (format!("blobs/sha256:{}", &hex[1..]), 400, "DIGEST_INVALID"),
        (format!("blobs/sha256:{hex}0"), 400, "DIGEST_INVALID"),
        (format!("blobs/sha256:{hex}%20"), 400, "NAME_INVALID"),
        (format!("blobs/sha512:{hex}"), 404, "BLOB_UNKNOWN"),
        (format!("blobs/sha512:{hex}{hex}"), 404, "BLOB_UNKNOWN"),
        (format!("blobs/md5:{}", &hex[..32]), 404, "BLOB_UNKNOWN"),
        (format!("blobs/{hex}"), 400, "DIGEST_INVALID"),
        (format!("blobs/{empty}"), 404, "BLOB_UNKNOWN"),
        (format!("blobs/{manifest}.sha1"), 400, "DIGEST_INVALID"),
        (format!("manifests/sha256-{hex}"), 404, "MANIFEST_UNKNOWN"),
        (format!("manifests/{hex}"), 404, "MANIFEST_UNKNOWN"),
        ("manifests/1.0%0d%0ax".to_owned(), 400, "NAME_INVALID"),
        ("manifests/.INVALID_MANIFEST_NAME".to_owned(), 404, "MANIFEST_UNKNOWN"),
        (format!("manifests/{}", "a".repeat(129)), 404, "MANIFEST_UNKNOWN"),
    ] {
        let response = fixture.get(&format!("/v2/hello/{path}")).await;
        let (found, body) = (response.status().as_u16(), response.text().await.expect("text"));
        assert!(found == status && body.contains(code), "{path}: {found} {body}");
    }
    for name in ["h%D0%B5llo", "HELLO", "hello.", "hello.%2f", "he%6clo%00", "hello%5c", "c:%5chello", &*deep, &long] {
        let status = fixture.get(&format!("/v2/{name}/manifests/1.0")).await.status();
        assert!(status == 400 || status == 404, "{name:.40}: {status}");
    }
    // Of one name there is one spelling once escapes are resolved.
    assert_eq!(fixture.get("/v2/he%6clo/manifests/1%2e0").await.status(), 200);
    fixture.stop().await;
}
