//! `PUT /mapping`: what would be built is found out and pinned, and what is asked for with the answer is built from that or not
//! at all.

use pyrsia_pipeline::{MappingLocation, PinnedMapping, SourceKind, SourceRepository};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::fixture::{Fixture, Repository, build_with, docker};
use super::upstream::{Content, Reply, Upstream};

const FILES: &[(&str, &str)] = &[("hello.txt", "hello"), ("deep/er/a", "a")];
const COPY: &str =
    r#"cp hello.txt "$PYRSIA_OUTPUT_DIR/hello-$PYRSIA_PACKAGE_VERSION.txt"; cp "$PYRSIA_RECIPE" "$PYRSIA_OUTPUT_DIR/recipe""#;

async fn ask(fixture: &Fixture, body: &Value) -> (StatusCode, String) {
    let response = fixture.http.put(fixture.url("/mapping")).body(body.to_string()).send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

async fn pin(fixture: &Fixture, body: &Value) -> PinnedMapping {
    let (status, text) = ask(fixture, body).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn asked_back(mapping: &PinnedMapping) -> Value {
    serde_json::to_value(&mapping.info).unwrap()
}

#[tokio::test]
async fn a_tag_is_pinned_to_its_commit_and_a_moved_one_is_not_built() {
    let fixture = Fixture::start(|config| build_with(config, "cargo", COPY)).await;
    let mut repository = Repository::new(fixture.folder.path(), FILES);
    let (first, tree) = (repository.commit.clone(), repository.tree());
    repository.annotate("v1.0-annotated");
    let request = repository.package_request("Cargo", "hello@1.0");
    let mapping = pin(&fixture, &request).await;
    assert_eq!((mapping.source.kind, &mapping.source.revision), (SourceKind::Git, &first));
    assert_eq!(
        (mapping.source.tree.as_deref(), mapping.source.location.as_str()),
        (Some(&*tree), repository.path.to_str().unwrap())
    );
    let pinned =
        SourceRepository::Git { url: repository.path.display().to_string(), tag: Some("v1".into()), commit: Some(first.clone()) };
    assert_eq!((mapping.info.package_type.as_str(), &mapping.info.source_repository), ("cargo", &Some(pinned)));
    assert_eq!(pin(&fixture, &asked_back(&mapping)).await, mapping, "what is pinned stays so");
    let mut annotated = request.clone();
    annotated["source_repository"]["Git"]["tag"] = json!("v1.0-annotated");
    assert_eq!(pin(&fixture, &annotated).await.source, mapping.source, "the commit, not the tag's own object");

    let built = fixture.build_files(asked_back(&mapping)).await;
    assert_eq!(built["hello-1.0.txt"], b"hello");

    repository.move_tag("hello.txt", "goodbye");
    let reason = fixture.fail(asked_back(&mapping)).await;
    let moved = format!("the tag v1 moved from commit {first} to {}", repository.commit);
    assert!(reason.contains(&moved), "{reason}");
    let (status, text) = ask(&fixture, &asked_back(&mapping)).await;
    assert!(status == StatusCode::UNPROCESSABLE_ENTITY && text.contains(&moved), "{status} {text}");
    assert_eq!(pin(&fixture, &request).await.source.revision, repository.commit, "nothing is remembered");

    // Without the tag beside it, the commit alone counts.
    let mut commit_only = asked_back(&mapping);
    commit_only["source_repository"]["Git"]["tag"] = Value::Null;
    assert_eq!(pin(&fixture, &commit_only).await.source, mapping.source);
    assert_eq!(fixture.build_files(commit_only).await["hello-1.0.txt"], b"hello");
    assert_eq!(std::fs::read_dir(fixture.data().join("mappings")).unwrap().count(), 0, "nothing is left behind");
}

#[tokio::test]
async fn what_cannot_be_built_is_refused_with_a_sentence_before_anything_is() {
    let fixture = Fixture::start(|config| build_with(config, "cargo", "exit 0")).await;
    let repository = Repository::new(fixture.folder.path(), FILES);
    let of = |package_type: &str, change: &dyn Fn(&mut Value)| {
        let mut request = repository.package_request(package_type, "hello@1.0");
        change(&mut request);
        request
    };
    let git =
        |name: &'static str, value: Value| move |request: &mut Value| request["source_repository"]["Git"][name] = value.clone();
    let unmapped = |request: &mut Value| request["source_repository"] = Value::Null;
    for (request, status, code, words) in [
        (of("fortran", &|_| ()), 422, "NO_BUILDER", "no builder for fortran"),
        (of("cargo", &unmapped), 422, "NO_MAPPING", "no mapping found for package cargo hello@1.0"),
        (of("cargo", &git("tag", json!("v9"))), 422, "SOURCE_UNKNOWN", "has no tag v9"),
        (of("cargo", &git("commit", json!("0".repeat(40)))), 422, "SOURCE_UNKNOWN", "moved from commit 000"),
        (of("cargo", &git("url", json!("/nowhere/at/all"))), 502, "SOURCE_UNREACHABLE", "/nowhere/at/all"),
        (of("cargo", &git("url", json!("ext::sh"))), 400, "SOURCE_INVALID", "is refused"),
        (of("cargo", &git("tag", json!("--upload-pack=x"))), 400, "SOURCE_INVALID", "is no git tag"),
        (of("", &|_| ()), 400, "PACKAGE_TYPE_INVALID", "is no package type"),
        (json!("hello"), 400, "BODY_INVALID", "is no build request"),
    ] {
        let (got, text) = ask(&fixture, &request).await;
        let fits = got.as_u16() == status && text.contains(code) && text.contains(words);
        assert!(fits, "{request}: wanted {status} {code} {words}, got {got} {text}");
    }
    let page = fixture.http.put(fixture.url("/mapping")).header("origin", "https://evil.example");
    let response = page.body(repository.package_request("cargo", "hello@1.0").to_string()).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(fixture.get("/mapping").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    let builds: Vec<Value> = fixture.get("/build").await.json().await.unwrap();
    assert_eq!(builds, Vec::<Value>::new());
}

#[tokio::test]
async fn a_pinned_package_is_built_as_the_rule_of_its_repository_says() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new(folder.path(), FILES);
    let rules = json!([{
        "package_type": "cargo", "package_specific_id": "hello@*",
        "source_repository": { "Git": { "url": repository.path, "tag": "v{version}" } },
        "program": { "recipe": { "of": "{name}" } },
    }]);
    let file = folder.path().join("mapping.json");
    std::fs::write(&file, rules.to_string()).unwrap();
    let fixture = Fixture::start(|config| {
        build_with(config, "cargo", COPY);
        config.mapping = MappingLocation::File(file);
    })
    .await;
    let asked =
        json!({ "package_type": "cargo", "package_specific_id": "hello@1", "source_repository": null, "build_spec_url": null });
    let mapping = pin(&fixture, &asked).await;
    assert_eq!((mapping.source.revision.as_str(), &mapping.info.program), (repository.commit.as_str(), &None));
    let built = fixture.build_files(asked_back(&mapping)).await;
    assert_eq!(serde_json::from_slice::<Value>(&built["recipe"]).unwrap(), json!({ "of": "hello" }));
    // Of another repository it is built as the request says, which is nothing.
    let other = Repository::new(&folder.path().join("other"), FILES);
    let built = fixture.build_files(other.package_request("cargo", "hello@1")).await;
    assert_eq!(serde_json::from_slice::<Value>(&built["recipe"]).unwrap(), json!({}));
}

#[tokio::test]
async fn an_import_is_pinned_to_the_manifest_and_never_shows_a_password() {
    let mut before = Content::new("library/alpine");
    let first = before.two_platforms("3.16.0")["digest"].as_str().unwrap().to_owned();
    let mut after = Content::new("library/alpine");
    let second = after.image(Some("3.16.0"), "amd64", &[b"another layer".to_vec()]);
    let has_moved = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (served, moved) = (before.clone(), has_moved.clone());
    let upstream = Upstream::start(move |request, _| {
        if request.path.contains("missing") {
            return Reply::new(404, "application/json", "{}");
        }
        if moved.load(std::sync::atomic::Ordering::SeqCst) { after.answer(request) } else { served.answer(request) }
    })
    .await;
    let fixture = Fixture::importing_from(&upstream.url.replace("http://", "http://me:s3cret@")).await;
    let (_, text) = ask(&fixture, &docker("alpine:3.16.0")).await;
    assert!(!text.contains("s3cret"), "{text}");
    let mapping: PinnedMapping = serde_json::from_str(&text).unwrap();
    assert_eq!((mapping.source.kind, &mapping.source.revision, &mapping.source.tree), (SourceKind::Import, &first, &None));
    assert_eq!(mapping.source.location, format!("{}/library/alpine:3.16.0", upstream.url));
    assert_eq!(mapping.info.docker.as_ref().and_then(|options| options.digest.as_deref()), Some(&*first));
    assert_eq!(upstream.count("/blobs/"), 0, "nothing is imported");
    fixture.build(asked_back(&mapping)).await;

    has_moved.store(true, std::sync::atomic::Ordering::SeqCst);
    let reason = fixture.fail(asked_back(&mapping)).await;
    let second = second["digest"].as_str().unwrap();
    assert!(reason.contains(&format!("library/alpine:3.16.0 moved from {first} to {second}")), "{reason}");
    let (status, text) = ask(&fixture, &docker("missing:1")).await;
    assert!(status == StatusCode::UNPROCESSABLE_ENTITY && text.contains("404"), "{status} {text}");
}

#[tokio::test]
async fn a_source_that_does_not_answer_holds_nobody_for_long() {
    let silent = Upstream::start(|_, _| Reply { stalls: true, cut_after: Some(0), ..Reply::new(200, "text/plain", "x") }).await;
    let fixture = Fixture::start(|config| build_with(config, "cargo", "exit 0")).await;
    let request = json!({
        "package_type": "cargo", "package_specific_id": "hello@1",
        "source_repository": { "Git": { "url": format!("{}/hello", silent.url), "tag": "v1" } },
    });
    let asked = tokio::time::timeout(super::fixture::SOON, ask(&fixture, &request)).await;
    let (status, text) = asked.expect("an answer in time");
    assert!(status == StatusCode::GATEWAY_TIMEOUT && text.contains("SOURCE_TIMEOUT"), "{status} {text}");
}
