//! Whole nodes in one process, each with a pipeline that a test can break: from the wish to the published artifact.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

#[path = "builds/nodes.rs"]
mod nodes;
#[path = "builds/pipeline.rs"]
#[expect(dead_code, reason = "the tests of judging use the rest")]
mod pipeline;
#[path = "builds/restarts.rs"]
mod restarts;
#[path = "builds/sources.rs"]
mod sources;

use std::io::Read;
use std::time::Duration;

use nodes::{LoneNode, again, config, judges, published, request, settled, wait_for, wish};
use pipeline::{Fault, Image, Pipeline};
use pyrsia_ledger::projection::builds::BuildStatus;
use pyrsia_ledger::{ArtifactId, PackageType, Sha256Digest};
use pyrsia_node::{
    ArtifactError, AuthorizeError, Authorized, BuildReceipt, BuildWish, Node, NotStanding, OutcomeView, StartError, WishError,
};

fn docker() -> PackageType {
    PackageType::new("docker").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_becomes_a_published_image_whose_bytes_can_be_read() {
    let image = Image::new("hello");
    let lone = LoneNode::start(&image).await;
    let node = lone.node.handle();
    let coordinate = node.parse_coordinate("docker", "library/hello:1.0").await.unwrap();
    assert_eq!(coordinate.id.as_str(), "hello:1.0");

    let BuildReceipt::Requested(id) = node.request_build(wish(&coordinate)).await.unwrap() else { panic!("it is new") };
    let build = published(&node, &id).await;
    assert_eq!((build.attempt, build.judges.len()), (0, 1));
    assert!(matches!(&build.judges[0].outcome, Some(OutcomeView::Built { source, .. }) if source.kind == "unknown"));
    assert_eq!(node.builds_of(&coordinate), [id]);

    for (artifact, bytes) in
        [("hello:1.0".to_owned(), &image.manifest), (format!("hello@{}", Sha256Digest::of(&image.layer).to_oci()), &image.layer)]
    {
        let mut opened = node.open_artifact(&docker(), &ArtifactId::new(artifact).unwrap()).await.unwrap();
        let mut read = vec![];
        opened.file.read_to_end(&mut read).unwrap();
        assert_eq!((&read, opened.sha256, opened.size_bytes), (bytes, Sha256Digest::of(bytes), bytes.len() as u64));
        assert_eq!(opened.coordinate, coordinate);
    }
    let missing = ArtifactId::new("nothing:1").unwrap();
    assert!(matches!(node.open_artifact(&docker(), &missing).await, Err(ArtifactError::Unpublished { .. })));

    let again = node.request_build(wish(&coordinate)).await.unwrap();
    assert_eq!(again, BuildReceipt::AlreadyPublished { coordinate: coordinate.clone(), artifacts: 4 });
    let again = node.request_build(BuildWish { coordinate: coordinate.clone(), again: true }).await.unwrap();
    let BuildReceipt::Requested(second) = again else { panic!("it was asked for again") };
    assert_eq!(published(&node, &second).await.attempt, 1);
    let height = node.ledger().state.as_ref().unwrap().height().0.to_string();
    assert!(node.metrics().lines().any(|line| line == format!("pyrsia_ledger_height {height}")), "{}", node.metrics());
    lone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_pipeline_ends_in_a_reason_and_the_build_works_when_it_is_asked_for_again() {
    let image = Image::new("faulty");
    let lone = LoneNode::start(&image).await;
    let node = lone.node.handle();
    let faults = [
        (Fault::Down, "abstained", "Failed to connect to pipeline service endpoint"),
        (Fault::Hangs, "abstained", "Failed to connect to pipeline service endpoint"),
        (Fault::Html, "abstained", "Invalid response from pipeline service endpoint"),
        (Fault::Errors, "abstained", "Request to pipeline service endpoint failed with status 500"),
        (Fault::Refuses, "abstained", "no mapping for it"),
        (Fault::Fails, "failed", "the compiler says no"),
        (Fault::Forgets, "abstained", "forgot the build"),
        (Fault::Restarts, "abstained", "was started again"),
        (Fault::NeverEnds, "abstained", "did not end within"),
        (Fault::HalfFile, "abstained", "did not come whole"),
        (Fault::WrongDigest, "failed", "the verifier refuses"),
        (Fault::LeavesPipeline, "abstained", "is no path of an artifact"),
    ];
    for (number, (fault, kind, reason)) in faults.into_iter().enumerate() {
        let coordinate = node.parse_coordinate("docker", &format!("faulty{number}:1")).await.unwrap();
        lone.pipeline.set(fault);
        let BuildReceipt::Requested(id) = node.request_build(wish(&coordinate)).await.unwrap() else { panic!("it is new") };
        let build = settled(&node, &id).await;
        assert_eq!(build.status, BuildStatus::Failed, "{fault:?}");
        let outcome = build.judges[0].outcome.clone();
        let (found, text) = match &outcome {
            Some(OutcomeView::Failed { reason }) => ("failed", reason),
            Some(OutcomeView::Abstained { reason }) => ("abstained", reason),
            other => panic!("{fault:?}: {other:?}"),
        };
        assert!(found == kind && text.contains(reason), "{fault:?}: {found}: {text}");
        assert!(node.build(&id).unwrap().local.is_none());

        lone.pipeline.set(Fault::None);
        // What came to nothing is tried again when somebody says so.
        let receipt = node.request_build(wish(&coordinate)).await.unwrap();
        assert_eq!(receipt, BuildReceipt::NotPublished { build: id, coordinate: coordinate.clone(), disputed: false });
        let id = request(&node, again(&coordinate)).await;
        assert_eq!(published(&node, &id).await.attempt, 1, "{fault:?}");
    }
    for folder in ["tmp", "builds", "sealed"] {
        let folder = lone.folder.path().join(folder);
        wait_for("what the builds left to be cleared away", || std::fs::read_dir(&folder).unwrap().next().is_none()).await;
    }
    lone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_comes_back_in_time_is_not_held_against_it() {
    let image = Image::new("late");
    let lone = LoneNode::start_with(&image, |config| config.pipeline_patience = Duration::from_secs(60)).await;
    let node = lone.node.handle();
    lone.pipeline.set(Fault::Down);
    let coordinate = node.parse_coordinate("docker", "late:1").await.unwrap();
    let BuildReceipt::Requested(id) = node.request_build(wish(&coordinate)).await.unwrap() else { panic!("it is new") };
    let says_so = || node.build(&id)?.local?.message.filter(|message| message.contains("trying again"));
    wait_for("the trouble to show", || says_so().is_some()).await;
    assert_eq!(node.request_build(wish(&coordinate)).await.unwrap(), BuildReceipt::AlreadyOpen(id));
    lone.pipeline.set(Fault::None);
    published(&node, &id).await;
    lone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_stopped_in_the_middle_of_a_build_ends_it_when_it_starts_again() {
    let image = Image::new("interrupted");
    let lone = LoneNode::start(&image).await;
    lone.pipeline.set(Fault::NeverEnds);
    let node = lone.node.handle();
    let coordinate = node.parse_coordinate("docker", "interrupted:1").await.unwrap();
    let BuildReceipt::Requested(id) = node.request_build(wish(&coordinate)).await.unwrap() else { panic!("it is new") };
    wait_for("the pipeline to build", || {
        lone.pipeline.builds() == 1 && node.build(&id).unwrap().local.unwrap().pipeline_build_id.is_some()
    })
    .await;
    let (identity, network) = (node.node_id(), *node.ledger().state.as_ref().unwrap().network());
    drop(node);
    lone.node.stop().await;

    lone.pipeline.set(Fault::None);
    let node = Node::start(config(lone.folder.path(), &lone.pipeline)).await.unwrap();
    let handle = node.handle();
    assert_eq!((handle.node_id(), *handle.ledger().state.as_ref().unwrap().network()), (identity, network));
    published(&handle, &id).await;
    assert_eq!(lone.pipeline.builds(), 1, "the pipeline's build was resumed, not repeated");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wishes_that_nobody_can_grant_say_what_to_do() {
    let image = Image::new("none");
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), Pipeline::start(&image).await);
    let mut config = config(folder.path(), &pipeline);
    config.init_network = None;
    let node = Node::start(config.clone()).await.unwrap();
    let handle = node.handle();
    let coordinate = handle.parse_coordinate("Docker", "none:1").await.unwrap();
    assert_eq!(handle.request_build(wish(&coordinate)).await, Err(WishError::NoNetwork));
    assert!(matches!(handle.authorize(handle.node_id()).await, Err(AuthorizeError::NotStanding(NotStanding::NoNetwork))));
    assert!(matches!(handle.parse_coordinate("cobol", "x").await, Err(WishError::UnknownPackageType { .. })));
    for wrong in ["", "UPPER:1", "a:b:c", "none:1\n", &"x".repeat(5000)] {
        assert!(matches!(handle.parse_coordinate("docker", wrong).await, Err(WishError::Coordinate { .. })), "{wrong:?}");
    }
    node.stop().await;

    config.init_network = Some("test".into());
    let node = Node::start(config).await.unwrap();
    let handle = node.handle();
    assert_eq!(handle.request_build(wish(&coordinate)).await, Err(WishError::NoAuthorizedNodes));
    assert_eq!(handle.wish_in_background(coordinate), Err(WishError::NoAuthorizedNodes));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_in_the_background_is_made_once() {
    let image = Image::new("missed");
    let lone = LoneNode::start(&image).await;
    let node = lone.node.handle();
    let coordinate = node.parse_coordinate("docker", "missed:1").await.unwrap();
    lone.pipeline.set(Fault::Fails);
    for _ in 0..20 {
        node.wish_in_background(coordinate.clone()).unwrap();
    }
    wait_for("the build", || !node.builds_of(&coordinate).is_empty()).await;
    let id = node.builds_of(&coordinate)[0];
    settled(&node, &id).await;
    node.wish_in_background(coordinate.clone()).unwrap();
    assert_eq!(
        node.authorize(node.node_id()).await.map_err(|error| error.to_string()).unwrap_err(),
        format!("Node with node ID {} already exists in transparency log", node.node_id())
    );
    assert_eq!(node.builds_of(&coordinate), [id]);
    lone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_regular_node_relays_a_wish_and_serves_what_was_built() {
    let image = Image::new("relayed");
    let lone = LoneNode::start(&image).await;
    let builder = lone.node.handle();
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), &lone.pipeline);
    (config.init_network, config.peers) = (None, vec![builder.addresses()[0].clone()]);
    let node = Node::start(config.clone()).await.unwrap();
    let handle = node.handle();
    wait_for("the network", || handle.ledger().state.as_ref().is_some_and(|state| state.members.contains(&builder.node_id())))
        .await;

    let coordinate = handle.parse_coordinate("docker", "relayed:1").await.unwrap();
    let BuildReceipt::Requested(id) = handle.request_build(wish(&coordinate)).await.unwrap() else { panic!("it is new") };
    published(&handle, &id).await;
    let mut read = vec![];
    let layer = ArtifactId::new(format!("relayed@{}", Sha256Digest::of(&image.layer).to_oci())).unwrap();
    handle.open_artifact(&docker(), &layer).await.unwrap().file.read_to_end(&mut read).unwrap();
    assert_eq!(read, image.layer);
    assert!(matches!(handle.authorize(handle.node_id()).await, Err(AuthorizeError::NotStanding(NotStanding::NotAuthorized(_)))));

    lone.node.stop().await;
    handle.open_artifact(&docker(), &layer).await.expect("what was fetched is kept");
    let manifest = ArtifactId::new("relayed:1").unwrap();
    assert!(matches!(handle.open_artifact(&docker(), &manifest).await, Err(ArtifactError::Unavailable { .. })));
    let other = handle.parse_coordinate("docker", "other:1").await.unwrap();
    let error = handle.request_build(wish(&other)).await.unwrap_err();
    assert!(matches!(error, WishError::NoBuildNodeReachable { authorized: 1 }), "{error}");
    drop(handle);
    node.stop().await;
    config.init_network = Some("mine".into());
    let Err(error) = Node::start(config).await else { panic!("the folder follows another network") };
    assert!(matches!(error, StartError::Found { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_majority_of_four_publishes_and_the_judge_with_other_bytes_is_on_record() {
    let (image, other) = (Image::new("agreed"), Image::new("tampered"));
    let lone = LoneNode::start(&image).await;
    let founder = lone.node.handle();
    let (mut nodes, mut folders, mut pipelines) = (vec![], vec![], vec![]);
    for number in 1..4 {
        let (folder, pipeline) = (tempfile::tempdir().unwrap(), Pipeline::start(if number == 3 { &other } else { &image }).await);
        let mut config = config(folder.path(), &pipeline);
        (config.init_network, config.peers) = (None, vec![founder.addresses()[0].clone()]);
        nodes.push(Node::start(config).await.unwrap());
        folders.push(folder);
        pipelines.push(pipeline);
    }
    let handles: Vec<_> = std::iter::once(founder.clone()).chain(nodes.iter().map(Node::handle)).collect();
    for (number, candidate) in handles.iter().enumerate().skip(1) {
        let needed = number / 2 + 1;
        for authorizer in &handles[..needed] {
            let authorization = authorizer.authorize(candidate.node_id()).await.unwrap();
            assert_eq!(authorization.members, number + 1);
            assert_eq!(authorization.note.is_some(), number < 3, "{authorization:?}");
        }
        let active = |node: &pyrsia_node::NodeHandle| {
            node.ledger().state.as_ref().is_some_and(|state| state.members.contains(&candidate.node_id()))
        };
        wait_for("the candidate to be active everywhere", || handles[..=number].iter().all(active)).await;
    }

    let coordinate = founder.parse_coordinate("docker", "agreed:1").await.unwrap();
    // The same wish on all four at once is one build.
    let receipts = futures::future::join_all(handles.iter().map(|handle| handle.request_build(wish(&coordinate)))).await;
    let ids: Vec<_> = receipts
        .into_iter()
        .map(|receipt| match receipt.unwrap() {
            BuildReceipt::Requested(id) | BuildReceipt::AlreadyOpen(id) => id,
            BuildReceipt::AlreadyPublished { .. } | BuildReceipt::NotPublished { .. } => founder.builds_of(&coordinate)[0],
        })
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let id = ids[0];
    let all_reported = || founder.build(&id).is_some_and(|build| build.judges.iter().all(|judge| judge.outcome.is_some()));
    published(&founder, &id).await;
    wait_for("all four results", all_reported).await;
    let build = founder.build(&id).unwrap();
    let dissenter = handles[3].node_id();
    for judge in &build.judges {
        assert_eq!(judge.agrees, judge.node != dissenter, "{judge:?}");
    }
    // The dissenter fetches what the majority built.
    let mut read = vec![];
    published(&handles[3], &id).await;
    let manifest = ArtifactId::new("agreed:1").unwrap();
    handles[3].open_artifact(&docker(), &manifest).await.unwrap().file.read_to_end(&mut read).unwrap();
    assert_eq!(read, image.manifest);
    assert!(matches!(founder.authorize(dissenter).await, Err(AuthorizeError::Already { .. })));
    for node in nodes {
        node.stop().await;
    }
    lone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authorizing_a_node_that_is_not_there_leaves_it_approved_and_the_network_at_work() {
    let image = Image::new("absent");
    let lone = LoneNode::start(&image).await;
    let node = lone.node.handle();
    let absent = "12D3KooWBgWeXNT1EKXo2omRhZVmkbvPgzZ5BcGjTfgKr586BSAn".parse().unwrap();
    let authorization = node.authorize(absent).await.unwrap();
    assert_eq!((authorization.state, authorization.members), (Authorized::Approved, 2));
    assert!(authorization.note.unwrap().contains("both must be online"));
    let coordinate = node.parse_coordinate("docker", "absent:1").await.unwrap();
    let BuildReceipt::Requested(id) = node.request_build(wish(&coordinate)).await.unwrap() else { panic!("it is new") };
    published(&node, &id).await;
    lone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_of_four_judges_publish_and_two_wait_for_a_third() {
    let image = Image::new("quorum");
    let lone = LoneNode::start(&image).await;
    let founder = lone.node.handle();
    let mut judges = judges(&founder, &image, 3).await;
    judges[2].stop().await;
    let coordinate = founder.parse_coordinate("docker", "quorum:1").await.unwrap();
    let BuildReceipt::Requested(id) = founder.request_build(wish(&coordinate)).await.unwrap() else { panic!("it is new") };
    let build = published(&founder, &id).await;
    assert_eq!((build.judges.len(), build.judges.iter().filter(|judge| judge.agrees).count()), (4, 3));

    judges[1].stop().await;
    let coordinate = founder.parse_coordinate("docker", "quorum:2").await.unwrap();
    let error = founder.request_build(wish(&coordinate)).await.unwrap_err();
    assert!(matches!(error, WishError::TimedOut { .. }) && error.to_string().contains("two thirds"), "{error}");
    assert_eq!(founder.builds_of(&coordinate), []);
    judges[2].start().await;
    wait_for("the wish to be granted once a third is there", || !founder.builds_of(&coordinate).is_empty()).await;
    let id = founder.builds_of(&coordinate)[0];
    published(&founder, &id).await;
    published(&judges[2].handle, &id).await;
    for mut judge in judges.into_iter().filter(|judge| judge.node.is_some()) {
        judge.stop().await;
    }
    lone.node.stop().await;
}
