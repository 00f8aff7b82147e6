//! Registries that fail: each fault has its sentence, no wrong byte is kept, and what passes is tried again.

use serde_json::{Value, json};

use super::fixture::{Fixture, digest_of, docker};
use super::upstream::{Content, DOCKER_MANIFEST, OCI_MANIFEST, Reply, Request, Upstream};

/// An image with one layer of this many bytes, and the layer's digest.
fn image(layer_bytes: usize) -> (Content, String) {
    let mut content = Content::new("library/a");
    let layer: Vec<u8> = (0..layer_bytes).map(|at| (at % 251) as u8).collect();
    let digest = digest_of(&layer);
    content.image(Some("1"), "amd64", &[layer]);
    (content, digest)
}

async fn reason(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> String {
    let upstream = Upstream::start(answer).await;
    Fixture::importing_from(&upstream.url).await.fail(docker("a:1")).await
}

#[tokio::test]
async fn each_answer_that_is_no_image_has_its_sentence() {
    let html = "<html>welcome</html>";
    let schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    for (reply, sentence) in [
        (Reply::new(401, "text/plain", ""), "refuses repository library/a with status 401"),
        (Reply::new(403, "text/plain", ""), "with status 403"),
        (Reply::new(404, "text/plain", ""), "has no manifest library/a:1 (404): check name and tag"),
        (Reply::new(429, "text/plain", "").with("retry-after", "0"), "limits requests (429)"),
        (Reply::new(500, "text/plain", ""), "status 500"),
        (Reply::new(418, "text/plain", ""), "status 418"),
        (Reply::new(200, "text/html", html), "is text/html and not an image manifest"),
        (Reply::new(200, DOCKER_MANIFEST, "{"), "cannot be read"),
        (Reply::new(200, DOCKER_MANIFEST, "{}"), "cannot be read"),
        (Reply::new(200, schema1, "{\"schemaVersion\":1}"), "not supported"),
        (Reply::new(200, DOCKER_MANIFEST, vec![b' '; 5 << 20]), "more than its 4194304 bytes"),
        (Reply::new(302, "text/plain", "").with("location", "/v2/library/a/manifests/1"), "too many redirects"),
        (Reply::new(302, "text/plain", "").with("location", "file:///etc/passwd"), "is refused"),
        (Reply { cut_after: Some(3), ..Reply::new(200, DOCKER_MANIFEST, "{\"schemaVersion\":2}") }, "cannot reach"),
    ] {
        let reason = reason(move |_, _| reply.clone()).await;
        assert!(reason.contains(sentence), "{sentence:?} is not in {reason:?}");
    }
    let nobody = Fixture::importing_from("http://127.0.0.1:1").await;
    let reason = nobody.fail(docker("a:1")).await;
    assert!(reason.contains("cannot reach the upstream registry http://127.0.0.1:1"), "{reason}");
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_lasts_is_not() {
    let (content, layer) = image(1000);
    let upstream = Upstream::start(move |request, earlier| match earlier {
        0 => Reply::new(429, "text/plain", "").with("retry-after", "0"),
        1 => Reply::new(503, "text/plain", ""),
        2 => Reply { cut_after: Some(2), ..content.answer(request) },
        _ => content.answer(request),
    })
    .await;
    let fixture = Fixture::importing_from(&upstream.url).await;
    assert_eq!(fixture.build(docker("a:1")).await.len(), 3);
    assert_eq!(upstream.count(&layer), 4);

    let gone = Upstream::start(|_, _| Reply::new(404, "text/plain", "")).await;
    Fixture::importing_from(&gone.url).await.fail(docker("a:1")).await;
    assert_eq!(gone.count("/manifests/"), 1);
}

#[tokio::test]
async fn a_layer_that_breaks_off_is_gone_on_with_where_it_broke() {
    let (content, layer) = image(100_000);
    let wanted = layer.clone();
    let upstream = Upstream::start(move |request, earlier| {
        let reply = content.answer(request);
        if !request.path.contains(&wanted) {
            return reply;
        }
        match (earlier, request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'))) {
            (0, None) => Reply { cut_after: Some(40_000), ..reply },
            (_, Some(from)) => {
                let from: usize = from.parse().unwrap();
                let range = format!("bytes {from}-{}/{}", reply.body.len() - 1, reply.body.len());
                Reply { status: 206, body: reply.body[from..].to_vec(), ..reply }.with("content-range", &range)
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
    let fixture = Fixture::importing_from(&upstream.url).await;
    let artifacts = fixture.build(docker("a:1")).await;
    assert_eq!(artifacts[&format!("{layer}.blob")].len(), 100_000);
    let ranges: Vec<String> = upstream.requests().iter().filter_map(|request| request.headers.get("range").cloned()).collect();
    assert_eq!(ranges, ["bytes=40000-"]);
}

#[tokio::test]
async fn wrong_bytes_are_never_kept() {
    let (content, layer) = image(1000);
    let tamper = |change: fn(&mut Vec<u8>), layer: String, content: Content| {
        move |request: &Request, _: usize| {
            let mut reply = content.answer(request);
            if request.path.contains(&layer) {
                change(&mut reply.body);
            }
            reply
        }
    };
    let flipped = reason(tamper(|body| body[500] ^= 1, layer.clone(), content.clone())).await;
    assert!(flipped.contains("serves wrong bytes for blob") && flipped.contains(&layer), "{flipped}");
    let long = reason(tamper(|body| body.push(0), layer.clone(), content.clone())).await;
    assert!(long.contains("more than its 1000 bytes"), "{long}");
    let short = reason(tamper(|body| body.truncate(900), layer.clone(), content.clone())).await;
    assert!(short.contains("broke off") && short.contains("900 of 1000"), "{short}");
    // Pieces of two different files are noticed, tried again whole, and refused when that is wrong as well.
    let mixed = reason(move |request, earlier| {
        let reply = content.answer(request);
        match (request.path.contains(&layer), request.headers.contains_key("range")) {
            (true, true) => Reply { status: 206, body: vec![1; 600], ..reply }.with("content-range", "bytes 400-999/1000"),
            (true, false) if earlier == 0 => Reply { cut_after: Some(400), ..reply },
            (true, false) => Reply { body: vec![2; 1000], ..reply },
            _ => reply,
        }
    })
    .await;
    assert!(mixed.contains("serves wrong bytes"), "{mixed}");

    // A manifest that is not the one that was named, by tag and by digest.
    let (content, _) = image(10);
    let lied = reason(move |request, _| content.answer(request).with("docker-content-digest", &digest_of(b"other"))).await;
    assert!(lied.contains("serves wrong bytes for manifest"), "{lied}");
    let mut content = Content::new("library/a");
    let index = content.two_platforms("1");
    let upstream = Upstream::start(move |request, _| {
        let mut reply = content.answer(request);
        if request.path.contains("/manifests/sha256:") {
            reply.body.push(b'\n');
        }
        reply
    })
    .await;
    let fixture = Fixture::importing_from(&upstream.url).await;
    for image in ["a:1".to_owned(), format!("a@{}", index["digest"].as_str().unwrap())] {
        let reason = fixture.fail(docker(&image)).await;
        assert!(reason.contains("serves wrong bytes for manifest"), "{reason}");
    }
}

#[tokio::test]
async fn a_registry_cannot_send_the_pipeline_or_its_password_anywhere() {
    let thief = Upstream::start(|_, _| Reply::new(200, "application/json", r#"{"token":"x"}"#)).await;
    for realm in ["http://registry.example/token", "file:///etc/passwd", "http://169.254.169.254/latest"] {
        let challenge = format!("Bearer realm=\"{realm}\"");
        let reason = reason(move |_, _| Reply::new(401, "text/plain", "").with("www-authenticate", &challenge)).await;
        assert!(reason.contains("names the token server") && reason.contains("refused"), "{reason}");
    }
    let location = thief.url.replace("127.0.0.1", "localhost");
    let upstream = Upstream::start(move |request, _| match request.headers.contains_key("authorization") {
        true => Reply::new(302, "text/plain", "").with("location", &location),
        false => Reply::new(401, "text/plain", "").with("www-authenticate", "Basic realm=\"x\""),
    })
    .await;
    let fixture = Fixture::importing_from(&upstream.url.replace("http://", "http://me:s3cret@")).await;
    fixture.fail(docker("a:1")).await;
    assert!(!thief.requests().is_empty());
    assert!(thief.requests().iter().all(|request| !request.headers.contains_key("authorization")));
}

#[tokio::test]
async fn an_image_that_is_too_large_is_refused_before_it_is_fetched() {
    let (content, layer) = image(5000);
    let upstream = Upstream::start(move |request, _| content.answer(request)).await;
    let url = upstream.url.parse().unwrap();
    let fixture = Fixture::start(|config| {
        config.upstream = Some(url);
        config.max_artifact_bytes = 4999;
    })
    .await;
    let reason = fixture.fail(docker("a:1")).await;
    assert!(reason.contains("5000 bytes, more than the limit of 4999"), "{reason}");
    assert_eq!(upstream.count(&layer), 0);
}

#[tokio::test]
async fn indexes_without_end_are_refused() {
    let mut content = Content::new("library/a");
    let mut child = content.image(None, "amd64", &[]);
    for level in 0..6 {
        let tag = if level == 5 { Some("1") } else { None };
        let index = json!({ "schemaVersion": 2, "manifests": [child] });
        child = content.manifest(tag, super::upstream::OCI_INDEX, &index);
    }
    let reason = reason(move |request, _| content.answer(request)).await;
    assert!(reason.contains("indexes inside indexes"), "{reason}");
}

#[tokio::test]
async fn an_image_of_too_many_layers_is_refused_before_one_is_fetched() {
    let mut content = Content::new("library/a");
    let layer = |number: u32| json!({ "size": 1, "digest": digest_of(&number.to_le_bytes()) });
    let config = content.blob("application/vnd.oci.image.config.v1+json", b"{}");
    let layers: Vec<Value> = (0..5_000).map(layer).collect();
    let manifest = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers });
    content.manifest(Some("1"), OCI_MANIFEST, &manifest);
    let upstream = Upstream::start(move |request, _| content.answer(request)).await;
    let fixture = Fixture::importing_from(&upstream.url).await;
    let reason = fixture.fail(docker("a:1")).await;
    assert!(reason.contains("more than 4096 artifacts"), "{reason}");
    assert_eq!(upstream.count("/blobs/"), 0);
}
