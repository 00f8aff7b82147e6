//! An image from the request of its build to its bytes at a client.

use super::fixture::Fixture;
use super::image::{Image, MANIFEST_TYPE};
use super::pipeline::{Pipeline, REVISION};
use pyrsia_ledger::Sha256Digest;
use pyrsia_registry::wire::{BuildView, LogRecord, PackageView};
use reqwest::Response;
use serde_json::{Value, json};

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

/// Asks for `image` and waits until it is published; gives what `/build/status` says then.
pub(super) async fn publish(fixture: &Fixture, image: &str) -> Value {
    fixture.authorize().await;
    let (status, answer) = fixture.post("/build/docker", &json!({"image": image})).await;
    assert_eq!((status, &answer["message"]), (200, &Value::Null), "{answer}");
    let mut last = Value::Null;
    let asked = json!({"build_id": answer["build_id"]});
    fixture
        .until("the build is done", async || {
            let (status, answer) = fixture.post("/build/status", &asked).await;
            assert_eq!(status, 200, "{answer}");
            last = answer;
            last != json!("Running")
        })
        .await;
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_image_is_pulled_whole_in_parts_and_by_every_name() {
    let image = Image::new();
    let pipeline = Pipeline::start(image.files()).await;
    let fixture = Fixture::founded(&pipeline.url).await;
    let done = publish(&fixture, "library/hello:1.0").await;
    let [manifest, config, layer] = image.digests();

    for url in done["Success"]["artifact_urls"].as_array().unwrap_or_else(|| panic!("{done}")) {
        let response = fixture.get(url.as_str().expect("a path")).await;
        assert_eq!(response.status(), 200, "{url}");
        let digest = header(&response, "docker-content-digest").to_owned();
        let bytes = response.bytes().await.expect("the whole body");
        assert_eq!(Sha256Digest::of(&bytes).to_oci(), digest, "{url}");
    }
    for reference in ["hello/manifests/1.0", "library/hello/manifests/1.0", "docker.io/library/hello/manifests/1.0?ns=docker.io"]
    {
        let response = fixture.get(&format!("/v2/{reference}")).await;
        assert_eq!((response.status().as_u16(), header(&response, "content-type")), (200, MANIFEST_TYPE), "{reference}");
        assert_eq!(header(&response, "etag"), format!("\"{manifest}\""));
        assert_eq!(response.bytes().await.expect("the body"), image.manifest);
    }
    let by_digest = format!("/v2/library/hello/manifests/{manifest}");
    let response = fixture.head(&by_digest).await;
    assert_eq!((response.status().as_u16(), header(&response, "docker-content-digest")), (200, manifest.as_str()));
    assert_eq!(header(&response, "content-length"), image.manifest.len().to_string());
    let same = fixture.client.get(fixture.url(&by_digest)).header("if-none-match", format!("\"{manifest}\"")).send().await;
    assert_eq!(same.expect("an answer").status(), 304);
    assert_eq!(fixture.get(&format!("/v2/hello/manifests/{layer}")).await.status(), 404, "a layer is no manifest");

    let blob = fixture.url(&format!("/v2/library/hello/blobs/{layer}"));
    let ranged = async |range: &str| fixture.client.get(&blob).header("range", range).send().await.expect("an answer");
    let part = ranged("bytes=300000-").await;
    assert_eq!((part.status().as_u16(), header(&part, "content-range")), (206, "bytes 300000-699999/700000"));
    assert_eq!(part.bytes().await.expect("the part"), image.layer[300_000..]);
    let tail = ranged("bytes=-5").await;
    assert_eq!(tail.bytes().await.expect("the part"), image.layer[699_995..]);
    let beyond = ranged("bytes=700000-").await;
    assert_eq!((beyond.status().as_u16(), header(&beyond, "content-range")), (416, "bytes */700000"));
    let head = fixture.head(&format!("/v2/hello/blobs/{config}")).await;
    assert_eq!((header(&head, "accept-ranges"), header(&head, "content-length")), ("bytes", &*image.config.len().to_string()));

    assert_eq!(fixture.json("/v2/library/hello/tags/list").await, json!({"name": "hello", "tags": ["1.0"]}));
    assert_eq!(fixture.json("/v2/hello/tags/list?n=0").await["tags"], json!([]));
    assert_eq!(fixture.json("/v2/hello/tags/list?last=1.0").await["tags"], json!([]));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_a_published_image_names_its_builder_and_its_source() {
    let image = Image::new();
    let pipeline = Pipeline::start(image.files()).await;
    let fixture = Fixture::founded(&pipeline.url).await;
    publish(&fixture, "hello:1.0").await;
    let node = fixture.node.handle().node_id();

    let (status, answer) = fixture.post("/inspect/docker", &json!({"image": "library/hello:1.0", "latest": true})).await;
    assert_eq!(status, 200, "{answer}");
    let records: Vec<LogRecord> = serde_json::from_value(answer).expect("records");
    assert_eq!(records.len(), 4, "the manifest by tag and by digest, the configuration and the layer");
    for record in &records {
        assert_eq!((record.package_type.as_str(), record.package_specific_id.as_str()), ("Docker", "hello:1.0"));
        assert_eq!((record.num_artifacts, record.operation.as_str()), (4, "AddArtifact"));
        assert_eq!((record.node_id.as_str(), record.node_public_key.as_str()), (&*node.to_string(), &*node.public_key_hex()));
        assert_eq!(record.source_hash, REVISION);
    }
    let [manifest, ..] = image.digests();
    let tagged = records.iter().find(|record| record.package_specific_artifact_id == "hello:1.0").expect("the tag");
    assert_eq!(format!("sha256:{}", tagged.artifact_hash), manifest);

    let csv =
        json!({"image": "hello:1.0", "output_params": {"format": "CSV", "content": {"fields": ["PackageType", "Operation"]}}});
    let csv = fixture.client.post(fixture.url("/inspect/docker")).json(&csv).send().await.expect("an answer");
    assert_eq!(header(&csv, "content-type"), "text/csv");
    assert_eq!(csv.text().await.expect("text"), format!("package_type,operation\n{}", "Docker,AddArtifact\n".repeat(4)));
    let (_, none) = fixture.post("/inspect/docker", &json!({"image": "unheard-of:1"})).await;
    assert_eq!(none, json!([]));

    let (status, again) = fixture.post("/build/docker", &json!({"image": "hello:1.0"})).await;
    let words = "Artifact already exists. Fresh build not required: Artifact ID hello:1.0 for type Docker already exists in transparency log";
    assert_eq!((status, again), (200, json!({"build_id": null, "message": words})));

    let package: PackageView =
        serde_json::from_value(fixture.json("/api/v1/packages/docker?id=hello:1.0").await).expect("a package");
    assert_eq!((package.builds.len(), package.records.len()), (1, 4));
    let build: BuildView =
        serde_json::from_value(fixture.json(&format!("/api/v1/builds/{}", package.builds[0])).await).expect("a build");
    assert!(build.judges.len() == 1 && build.judges[0].agrees && build.published_at.is_some(), "{build:?}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_of_what_nobody_has_built_ask_for_one_build() {
    let image = Image::new();
    let pipeline = Pipeline::start(image.files()).await;
    let fixture = Fixture::founded(&pipeline.url).await;
    fixture.authorize().await;
    let response = fixture.get("/v2/library/hello/manifests/2.0").await;
    assert_eq!((response.status().as_u16(), header(&response, "docker-distribution-api-version")), (404, "registry/2.0"));
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(body["errors"][0]["code"], "MANIFEST_UNKNOWN");
    assert!(body["errors"][0]["message"].as_str().is_some_and(|words| words.contains("a build was requested")), "{body}");
    fixture.head("/v2/library/hello/manifests/2.0").await;
    let [_, _, layer] = image.digests();
    assert_eq!(fixture.get(&format!("/v2/hello/blobs/{layer}")).await.status(), 404);

    fixture.until("the image can be pulled", async || fixture.get("/v2/library/hello/manifests/2.0").await.status() == 200).await;
    let builds = fixture.json("/api/v1/builds?package_type=docker&id=hello:2.0").await;
    assert_eq!(builds.as_array().map(Vec::len), Some(1), "{builds}");
    let blobs = fixture.json(&format!("/api/v1/builds?package_type=docker&id=hello@{layer}")).await;
    assert_eq!(blobs, json!([]), "no build of a blob");
    fixture.stop().await;
}
