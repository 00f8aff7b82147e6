//! Importing images from registries that behave, with every way they ask for credentials.

use pyrsia_pipeline::{BuildStatus, SourceKind};
use serde_json::json;

use super::fixture::{Fixture, digest_of, docker};
use super::upstream::{Content, Reply, Upstream};

const BASIC: &str = "Basic bWU6czNjcmV0"; // me:s3cret

fn with_user(url: &str) -> String {
    url.replace("http://", "http://me:s3cret@")
}

#[tokio::test]
async fn an_index_comes_with_all_platforms_as_it_is() {
    let mut content = Content::new("library/alpine");
    let index = content.two_platforms("3.16.0");
    let served = content.clone();
    let upstream = Upstream::start(move |request, _| served.answer(request)).await;
    let fixture = Fixture::importing_from(&upstream.url).await;
    let id = fixture.request(docker("alpine:3.16.0")).await;
    let view = fixture.wait(&id).await;
    let source = view.source.unwrap();
    assert_eq!((source.kind, source.tree), (SourceKind::Import, None));
    assert_eq!(source.revision, index["digest"].as_str().unwrap());
    assert_eq!(source.location, format!("{}/library/alpine:3.16.0", upstream.url));
    assert!(view.started_at.unwrap() >= view.queued_at && view.finished_at.unwrap() >= view.started_at.unwrap());

    let artifacts = fixture.build(docker("library/alpine:3.16.0")).await;
    assert_eq!(digest_of(&artifacts["manifest"]), source.revision);
    let mut expected: Vec<String> = content
        .digests()
        .into_iter()
        .filter(|digest| *digest != source.revision)
        .map(|digest| format!("{digest}.blob"))
        .collect();
    expected.sort();
    expected.dedup();
    assert_eq!(artifacts.into_keys().filter(|file| file != "manifest").collect::<Vec<_>>(), expected);

    // By digest it is the same image, and one platform of it is that platform's manifest.
    let by_digest = fixture.build(docker(&format!("alpine@{}", source.revision))).await;
    assert_eq!(digest_of(&by_digest["manifest"]), source.revision);
    let mut one = docker("alpine:3.16.0");
    one["docker"] = json!({ "builder": "import", "platforms": ["linux/arm64"], "upstream": upstream.url });
    assert_eq!(fixture.build(one).await.len(), 4);
}

#[tokio::test]
async fn a_registry_with_tokens_gets_one_token_and_no_credentials_go_astray() {
    let mut content = Content::new("library/a");
    content.image(Some("1"), "amd64", &[b"layer".to_vec()]);
    // The blobs lie on another server, which must not see the token.
    let (blobs, served) = (content.clone(), content);
    let storage = Upstream::start(move |request, _| blobs.answer(request)).await;
    let elsewhere = storage.url.clone();
    let upstream = Upstream::start(move |request, _| {
        let authorization = request.headers.get("authorization").map(String::as_str);
        if request.path.starts_with("/token") {
            assert_eq!(request.path, "/token?service=here&scope=repository%3Alibrary%2Fa%3Apull");
            assert_eq!(authorization, Some(BASIC));
            return Reply::new(200, "application/json", r#"{"token":"t0ken","expires_in":60}"#);
        }
        if authorization != Some("Bearer t0ken") {
            let realm = format!("http://{}/token", request.headers["host"]);
            let challenge = format!(r#"Bearer realm="{realm}",service="here",scope="repository:library/a:pull""#);
            return Reply::new(401, "application/json", "{}").with("www-authenticate", &challenge);
        }
        match request.path.contains("/blobs/") {
            true => Reply::new(307, "text/plain", "").with("location", &format!("{elsewhere}{}", request.path)),
            false => served.answer(request),
        }
    })
    .await;
    let fixture = Fixture::importing_from(&with_user(&upstream.url)).await;
    let id = fixture.request(docker("a:1")).await;
    let view = fixture.wait(&id).await;
    assert!(matches!(view.status, BuildStatus::Success { .. }), "{view:?}");
    assert_eq!(upstream.count("/token"), 1);
    assert_eq!(storage.count("/blobs/"), 2);
    assert!(storage.requests().iter().all(|request| !request.headers.contains_key("authorization")));
    // Neither what is told nor what is kept has the password in it.
    let record = std::fs::read_to_string(fixture.data().join("builds").join(&id).join("record.json")).unwrap();
    for text in [fixture.log(&id).await, record, serde_json::to_string(&fixture.view(&id).await).unwrap()] {
        assert!(!text.contains("s3cret") && text.contains("library/a"), "{text}");
    }
}

#[tokio::test]
async fn a_registry_with_basic_authentication_gets_user_and_password_when_it_asks() {
    let mut content = Content::new("library/a");
    content.image(Some("1"), "amd64", &[b"layer".to_vec()]);
    let upstream = Upstream::start(move |request, _| match request.headers.get("authorization").map(String::as_str) {
        Some(BASIC) => content.answer(request),
        _ => Reply::new(401, "application/json", "{}").with("www-authenticate", "Basic realm=\"x\""),
    })
    .await;
    let fixture = Fixture::importing_from(&with_user(&upstream.url)).await;
    assert_eq!(fixture.build(docker("a:1")).await.len(), 3);
    let stranger = Fixture::importing_from(&upstream.url).await;
    let reason = stranger.fail(docker("a:1")).await;
    assert!(reason.contains("401") && reason.contains("user and a password"), "{reason}");
}
