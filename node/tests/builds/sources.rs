//! What a build is requested from: told by the pipeline or a mapping service, put on the ledger, held against by every judge.

use pyrsia_ledger::projection::builds::JudgeState;
use pyrsia_node::{OutcomeView, WishError};
use serde_json::{Value, json};
use url::Url;

use crate::nodes::{LoneNode, judge_of, judges, published, request, settled, wish};
use crate::pipeline::{Fault, Image, Pipeline};

const REPOSITORY: &str = "https://git.example/hello";
const COMMIT: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";
const OTHER_COMMIT: &str = "badc0de0badc0de0badc0de0badc0de0badc0de0";

/// The answer of a pipeline whose mapping has `hello:1.0` at this commit.
fn mapped_to(location: &str, commit: &str) -> String {
    let answer = json!({
        "package_type": "Docker", "package_specific_id": "hello:1.0", "build_spec_url": null,
        "source_repository": { "Git": { "url": location, "tag": "v1.0", "commit": commit } },
        "source": { "kind": "git", "location": location, "revision": commit, "tree": "7ee" },
    });
    answer.to_string()
}

fn refused(message: &str) -> String {
    json!({ "errors": [{ "code": "X", "message": message }] }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_pipeline_refuses_is_not_requested_and_what_it_maps_is_on_the_ledger() {
    let lone = LoneNode::start(&Image::new("hello")).await;
    let node = lone.node.handle();
    let coordinate = node.parse_coordinate("docker", "hello:1.0").await.unwrap();
    let sentence = "no mapping found for package docker hello:1.0: give the pipeline a rule for it with --mapping";
    for status in [400, 422] {
        lone.pipeline.map(status, refused(sentence));
        let error = node.request_build(wish(&coordinate)).await.unwrap_err();
        assert_eq!(error, WishError::NotBuildable { sentence: sentence.into() });
    }
    lone.pipeline.map(502, refused("cannot fetch tag v1.0 of https://git.example/hello"));
    let error = node.request_build(wish(&coordinate)).await.unwrap_err();
    assert!(matches!(&error, WishError::SourceUnavailable { sentence } if sentence.contains("git.example")), "{error}");
    assert!(node.builds_of(&coordinate).is_empty() && lone.pipeline.builds() == 0);

    lone.pipeline.map(200, mapped_to(REPOSITORY, COMMIT));
    let id = request(&node, wish(&coordinate)).await;
    let source = published(&node, &id).await.source.unwrap();
    let words = [&source.kind, &source.location, &source.revision].map(String::as_str);
    assert_eq!((words, source.tree.as_deref()), (["git", REPOSITORY, COMMIT], Some("7ee")));
    let body: Value = serde_json::from_str(&lone.pipeline.bodies("PUT", "/build")[0]).unwrap();
    assert_eq!(body["source_repository"]["Git"]["commit"], COMMIT, "the build is asked for with its commit");
    lone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_cannot_tell_its_source_builds_all_the_same() {
    let lone = LoneNode::start(&Image::new("hello")).await;
    let node = lone.node.handle();
    for (name, answer) in [
        ("a:1", None),
        ("b:1", Some((500, "<html>".to_owned()))),
        ("c:1", Some((200, "<html>".to_owned()))),
        // It says something about another package.
        ("d:1", Some((200, mapped_to(REPOSITORY, COMMIT)))),
    ] {
        if let Some((status, answer)) = answer {
            lone.pipeline.map(status, answer);
        }
        let coordinate = node.parse_coordinate("docker", name).await.unwrap();
        let id = request(&node, wish(&coordinate)).await;
        assert_eq!(published(&node, &id).await.source, None, "{name}");
    }
    lone.pipeline.set(Fault::Down);
    let coordinate = node.parse_coordinate("docker", "e:1").await.unwrap();
    let id = request(&node, wish(&coordinate)).await;
    let build = settled(&node, &id).await;
    assert!(build.source.is_none() && matches!(build.judges[0].outcome, Some(OutcomeView::Abstained { .. })), "{build:#?}");
    lone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_whose_mapping_says_something_else_builds_nothing_and_says_what() {
    let image = Image::new("hello");
    let founder = LoneNode::start(&image).await;
    let node = founder.node.handle();
    let mut judges = judges(&node, &image, 2).await;
    founder.pipeline.map(200, mapped_to(REPOSITORY, COMMIT));
    judges[0].pipeline.map(200, mapped_to("https://mirror.example/hello", COMMIT));
    judges[1].pipeline.map(200, mapped_to(REPOSITORY, OTHER_COMMIT));
    let coordinate = node.parse_coordinate("docker", "hello:1.0").await.unwrap();
    let id = request(&node, wish(&coordinate)).await;
    published(&node, &id).await;
    let mirror = judge_of(&node, &id, &judges[0].handle);
    assert!(mirror.agrees, "a mirror of the commit is the same source: {mirror:#?}");
    let other = judge_of(&node, &id, &judges[1].handle);
    let Some(OutcomeView::Abstained { reason }) = &other.outcome else { panic!("{other:#?}") };
    assert_eq!(other.state, JudgeState::Abstained);
    let expected = format!(
        "the request is for commit {COMMIT} of {REPOSITORY}, this node's mapping says commit {OTHER_COMMIT} of {REPOSITORY} (was a tag moved?)"
    );
    assert_eq!(reason, &expected);
    assert_eq!(judges[1].pipeline.builds(), 0, "nobody makes it build what its own mapping does not say");
    for judge in &mut judges {
        judge.stop().await;
    }
    founder.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_service_is_asked_before_the_pipeline_and_its_answer_is_handed_on() {
    let image = Image::new("hello");
    let service = Pipeline::start(&image).await;
    let endpoint = Url::parse(&service.endpoint()).unwrap().join("mappings/").unwrap();
    let lone = LoneNode::start_with(&image, |config| config.mapping_service = Some(endpoint)).await;
    let node = lone.node.handle();
    let coordinate = node.parse_coordinate("docker", "hello:1.0").await.unwrap();
    let mapping = json!({
        "package_type": "Docker", "package_specific_id": "hello:1.0", "build_spec_url": null,
        "source_repository": { "Git": { "url": REPOSITORY, "tag": "v1.0" } },
    });
    lone.pipeline.map(200, mapped_to(REPOSITORY, COMMIT));
    for (status, answer) in [(500, String::new()), (200, "<html>".to_owned()), (200, mapping.to_string().replace("1.0", "2.0"))] {
        service.map(status, answer);
        let error = node.request_build(wish(&coordinate)).await.unwrap_err();
        let names_it = |sentence: &str| sentence.contains("--mapping-service-endpoint");
        assert!(matches!(&error, WishError::SourceUnavailable { sentence } if names_it(sentence)), "{error}");
    }
    service.map(200, mapping.to_string());
    let id = request(&node, wish(&coordinate)).await;
    published(&node, &id).await;
    assert!(!service.bodies("GET", "/mappings/Docker/library/hello/1.0/hello-1.0.mapping").is_empty());
    for body in lone.pipeline.bodies("PUT", "/mapping") {
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), mapping);
    }

    // What it does not know is left to the pipeline.
    service.map(404, "");
    let coordinate = node.parse_coordinate("docker", "other:1").await.unwrap();
    lone.pipeline.map(405, "");
    let id = request(&node, wish(&coordinate)).await;
    assert_eq!(published(&node, &id).await.source, None);
    lone.node.stop().await;
}
