//! Judges that do not agree, fall silent, come late or lie: whole nodes in one process, each with a pipeline that a test can
//! break.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

#[path = "judging/liar.rs"]
mod liar;
#[path = "builds/nodes.rs"]
mod nodes;
#[path = "builds/pipeline.rs"]
#[expect(dead_code, reason = "not every fault of a pipeline is a matter of judging")]
mod pipeline;

use std::fs;
use std::io::Read;
use std::time::Duration;

use liar::Liar;
use nodes::{Judge, LoneNode, again, config, judge_of, judges, published, request, settled, wait_for, wish};
use pipeline::{Fault, Image, Pipeline, maven_project};
use pyrsia_ledger::event::{GroupVerdict, Vouch};
use pyrsia_ledger::projection::builds::{BuildStatus, JudgeState};
use pyrsia_ledger::{ArtifactId, PackageType};
use pyrsia_node::{ArtifactError, BuildReceipt, NodeHandle, OutcomeView};

struct Court {
    founder: LoneNode,
    judges: Vec<Judge>,
    node: NodeHandle,
}

impl Court {
    /// A founder and three more judges.
    async fn of_four(image: &Image) -> Self {
        let founder = LoneNode::start(image).await;
        let node = founder.node.handle();
        let judges = judges(&node, image, 3).await;
        Self { founder, judges, node }
    }

    fn pipelines(&self) -> [&Pipeline; 4] {
        [&self.founder.pipeline, &self.judges[0].pipeline, &self.judges[1].pipeline, &self.judges[2].pipeline]
    }

    async fn end(self) {
        for mut judge in self.judges.into_iter().filter(|judge| judge.node.is_some()) {
            judge.stop().await;
        }
        self.founder.node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_majority_publishes_whatever_the_fourth_judge_does_and_that_stands_on_record() {
    let image = Image::new("minority");
    let mut court = Court::of_four(&image).await;
    let node = court.node.clone();
    let build = async |name: &str| node.parse_coordinate("docker", name).await.unwrap();

    // It builds something else.
    court.judges[2].pipeline.serve(Image::new("tampered").files());
    let id = request(&node, wish(&build("dissent:1").await)).await;
    published(&node, &id).await;
    wait_for("the dissent", || judge_of(&node, &id, &court.judges[2].handle).outcome.is_some()).await;
    let dissenter = judge_of(&node, &id, &court.judges[2].handle);
    assert!(dissenter.state == JudgeState::Dissents && dissenter.counted && !dissenter.agrees, "{dissenter:?}");
    court.judges[2].pipeline.serve(image.files());

    // It cannot build it.
    court.judges[2].pipeline.set(Fault::Fails);
    let id = request(&node, wish(&build("failing:1").await)).await;
    published(&node, &id).await;
    wait_for("the failure", || judge_of(&node, &id, &court.judges[2].handle).outcome.is_some()).await;
    let failing = judge_of(&node, &id, &court.judges[2].handle);
    assert!(failing.state == JudgeState::Failed, "{failing:?}");
    let reason = "the compiler says no".to_owned();
    assert_eq!(failing.outcome, Some(OutcomeView::Failed { reason }));

    // It is slow: the others do not wait for ever, and what it got is on record all the same.
    court.judges[2].pipeline.set(Fault::NeverEnds);
    let id = request(&node, wish(&build("late:1").await)).await;
    published(&node, &id).await;
    assert_eq!(judge_of(&node, &id, &court.judges[2].handle).state, JudgeState::TimedOut);
    court.judges[2].pipeline.set(Fault::None);
    wait_for("the late result", || judge_of(&node, &id, &court.judges[2].handle).state == JudgeState::Late).await;
    let late = judge_of(&node, &id, &court.judges[2].handle);
    assert!(matches!(late.outcome, Some(OutcomeView::Built { .. })) && !late.counted, "{late:?}");

    // It is gone.
    court.judges[2].stop().await;
    let id = request(&node, wish(&build("dead:1").await)).await;
    let dead = published(&node, &id).await;
    let silent = judge_of(&node, &id, &court.judges[2].handle);
    assert_eq!((silent.state, silent.committed_at, dead.judges.len()), (JudgeState::TimedOut, None, 4));
    assert!(dead.judges.iter().filter(|judge| judge.agrees).count() == 3 && silent.height.is_some(), "{dead:?}");

    // All of that is counted.
    let metrics = node.metrics();
    let gone = court.judges[2].handle.node_id();
    for (outcome, builds) in [("dissented", 1), ("failed", 1), ("timed_out", 2), ("agreed", 0)] {
        let line = format!("pyrsia_builds_judged{{judge=\"{gone}\",outcome=\"{outcome}\"}} {builds}");
        assert!(metrics.lines().any(|found| found == line), "{line} is not in {metrics}");
    }
    assert!(metrics.lines().any(|line| line == "pyrsia_builds_unfinished{phase=\"committing\"} 0"), "{metrics}");
    court.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_against_two_is_a_dispute_in_words_and_can_be_asked_for_again() {
    let court = Court::of_four(&Image::new("unused")).await;
    let node = court.node.clone();
    let project = maven_project("demo", "\n");
    let mut opposed = project.clone();
    for pom in opposed.values_mut() {
        *pom = String::from_utf8(pom.clone()).unwrap().replace("<packaging>", "<name>other</name><packaging>").into_bytes();
    }
    for (pipeline, files) in court.pipelines().into_iter().zip([&project, &project, &opposed, &opposed]) {
        pipeline.serve(files.clone());
    }
    let coordinate = node.parse_coordinate("maven", "org.example:demo:1.0").await.unwrap();
    let id = request(&node, wish(&coordinate)).await;
    let reported = || node.build(&id).is_some_and(|build| !build.disputes.is_empty());
    wait_for("a report about the dispute", reported).await;
    let build = node.build(&id).unwrap();
    assert!(matches!(build.status, BuildStatus::Disputed { reports } if reports > 0), "{build:#?}");
    assert_eq!(build.groups.iter().map(|group| group.judges.len()).collect::<Vec<_>>(), [2, 2]);
    let [comparison] = build.disputes[0].report.comparisons.as_slice() else { panic!("there are two groups: {build:#?}") };
    assert_eq!(comparison.verdict, GroupVerdict::Different, "{comparison:?}");
    let [difference, ..] = comparison.differences.as_slice() else { panic!("it says what differs: {comparison:?}") };
    assert_eq!(difference.artifact, "demo-1.0.pom");
    let artifact = ArtifactId::new("org.example/demo/1.0/demo-1.0.pom").unwrap();
    let opened = node.open_artifact(&coordinate.package_type, &artifact).await;
    assert!(matches!(opened, Err(ArtifactError::Unpublished { .. })));

    // The others have looked at the same bytes and have nothing to add.
    let receipt = court.judges[0].handle.request_build(wish(&coordinate)).await.unwrap();
    assert_eq!(receipt, BuildReceipt::NotPublished { build: id, coordinate: coordinate.clone(), disputed: true });
    for pipeline in court.pipelines() {
        pipeline.serve(project.clone());
    }
    let second = request(&court.judges[0].handle, again(&coordinate)).await;
    assert_eq!(published(&node, &second).await.attempt, 1);
    let reports: Vec<_> = node.build(&id).unwrap().disputes.into_iter().map(|dispute| dispute.report).collect();
    assert_eq!(reports.len(), 1, "honest judges say the same, so one of them is enough: {reports:#?}");
    court.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_that_was_stopped_between_commitment_and_reveal_reveals_the_same_result() {
    let image = Image::new("bound");
    let mut court = Court::of_four(&image).await;
    let node = court.node.clone();
    court.judges[2].pipeline.set(Fault::NeverEnds);
    let coordinate = node.parse_coordinate("docker", "bound:1").await.unwrap();
    let id = request(&node, wish(&coordinate)).await;
    let bound = court.judges[0].handle.clone();
    wait_for("its commitment", || judge_of(&node, &id, &bound).state == JudgeState::Committed).await;
    court.judges[0].stop().await;
    // Were it to build again, it would come to something else.
    court.judges[0].pipeline.serve(Image::new("another").files());
    court.judges[2].pipeline.set(Fault::None);
    wait_for("the others to reveal", || node.build(&id).unwrap().revealing_at.is_some()).await;
    court.judges[0].start().await;
    published(&node, &id).await;
    let revealed = || judge_of(&node, &id, &bound).outcome.is_some();
    wait_for("its result", revealed).await;
    let judge = judge_of(&node, &id, &bound);
    assert!(judge.state == JudgeState::Agrees && judge.counted, "{judge:?}");
    assert_eq!(court.judges[0].pipeline.builds(), 1, "it was not built again");
    court.end().await;
}

/// Each of four judges writes its own line ends, which the verifier forgives: a majority looks at one judge's bytes.
#[tokio::test(flavor = "multi_thread")]
async fn builds_that_differ_in_what_the_verifier_forgives_are_vouched_for_and_published() {
    let court = Court::of_four(&Image::new("unused")).await;
    let node = court.node.clone();
    for (pipeline, line_end) in court.pipelines().into_iter().zip(["\n", "\r\n", "\n", "\r\n"]) {
        pipeline.serve(maven_project("demo", line_end));
    }
    let coordinate = node.parse_coordinate("maven", "org.example:demo:1.0").await.unwrap();
    let id = request(&node, wish(&coordinate)).await;
    let build = published(&node, &id).await;
    let agreement = build.agreement.unwrap();
    let states: Vec<_> = build.judges.iter().map(|judge| judge.state).collect();
    for (state, expected) in [(JudgeState::Agrees, 2), (JudgeState::AgreesAfterPasses, 2)] {
        assert_eq!(states.iter().filter(|found| **found == state).count(), expected, "{states:?}");
    }
    let same = build.vouches.iter().filter(|vouch| vouch.candidate == agreement.result && vouch.verdict == Vouch::Same);
    assert!(same.count() >= 1, "{:?}", build.vouches);

    // Everybody serves the chosen bytes, and those of nobody else.
    let record = node.builds_of(&coordinate);
    assert_eq!(record, [id]);
    let state = node.ledger().state.clone().unwrap();
    let (_, artifacts) = state.builds.chosen(&id).unwrap();
    for handle in std::iter::once(&node).chain(court.judges.iter().map(|judge| &judge.handle)) {
        wait_for("the build to be published here", || {
            handle.build(&id).is_some_and(|build| matches!(build.status, BuildStatus::Published { .. }))
        })
        .await;
        let mut read = vec![];
        let mut opened = handle.open_artifact(&coordinate.package_type, &artifacts[0].artifact_id).await.unwrap();
        opened.file.read_to_end(&mut read).unwrap();
        assert_eq!(pyrsia_ledger::Sha256Digest::of(&read), artifacts[0].sha256);
    }
    court.end().await;
}

/// One judge reveals the honest canonical digest for bytes that are something else, and sees to it that its bytes are looked at
/// first. Two honest judges, whose own bytes differ, are a majority without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_liar_that_claims_the_honest_canonical_digest_for_other_bytes_publishes_nothing() {
    let unused = Image::new("unused");
    let lone = LoneNode::start(&unused).await;
    let node = lone.node.handle();
    let mut honest = judges(&node, &unused, 1).await;
    lone.pipeline.serve(maven_project("demo", "\n"));
    honest[0].pipeline.serve(maven_project("demo", "\r\n"));
    let coordinate = node.parse_coordinate("maven", "org.example:demo:1.0").await.unwrap();
    let first = request(&node, wish(&coordinate)).await;
    published(&node, &first).await;

    let liar = Liar::join(&[&node, &honest[0].handle]).await;
    let id = request(&node, again(&coordinate)).await;
    let lie = liar.lie(&first, &id).await;
    let build = published(&node, &id).await;
    let different = build.vouches.iter().filter(|vouch| vouch.candidate == lie.result);
    let different: Vec<_> = different.filter(|vouch| matches!(vouch.verdict, Vouch::Different { .. })).collect();
    assert_eq!(different.len(), 2, "both honest judges looked at the lie: {build:#?}");
    assert_ne!(build.agreement.unwrap().result, lie.result);
    let state = node.ledger().state.clone().unwrap();
    assert!(state.packages.digest(&lie.sha256).is_none());
    liar.stop().await;
    honest.remove(0).stop().await;
    lone.node.stop().await;
}

/// Three of four agreed; the key of one of them turns out to have been in other hands all the time.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_compromised_judge_was_needed_for_is_refused_until_the_others_have_built_it_again() {
    let image = Image::new("risky");
    let court = Court::of_four(&image).await;
    let node = court.node.clone();
    court.judges[2].pipeline.set(Fault::Fails);
    let coordinate = node.parse_coordinate("docker", "risky:1").await.unwrap();
    let id = request(&node, wish(&coordinate)).await;
    published(&node, &id).await;
    wait_for("the last result", || judge_of(&node, &id, &court.judges[2].handle).outcome.is_some()).await;
    let compromised = court.judges[0].handle.node_id();
    let since = node.build(&id).unwrap().requested_at;
    for handle in [&node, &court.judges[1].handle, &court.judges[2].handle] {
        handle.revoke(compromised, Some(since)).await.unwrap();
    }
    wait_for("the recount", || node.build(&id).unwrap().at_risk.is_some()).await;
    assert_eq!(node.build(&id).unwrap().at_risk.unwrap().lost, [compromised]);
    let artifact = ArtifactId::new("risky:1").unwrap();
    let refused = node.open_artifact(&coordinate.package_type, &artifact).await.unwrap_err();
    assert!(matches!(refused, ArtifactError::AtRisk(_)) && refused.to_string().contains("at risk"), "{refused}");

    court.judges[2].pipeline.set(Fault::None);
    let second = request(&node, wish(&coordinate)).await;
    let build = published(&node, &second).await;
    assert!(build.judges.len() == 3 && build.judges.iter().all(|judge| judge.node != compromised), "{build:#?}");
    node.open_artifact(&coordinate.package_type, &artifact).await.expect("a new majority stands behind it");
    let receipt = node.request_build(wish(&coordinate)).await.unwrap();
    assert!(matches!(receipt, BuildReceipt::AlreadyPublished { .. }), "{receipt:?}");
    court.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_that_no_build_published_leave_the_disk_after_a_while_and_published_ones_stay() {
    let image = Image::new("leftover");
    let lone = LoneNode::start_with(&image, |config| config.judge_patience.keep_unpublished = Duration::from_millis(200)).await;
    let node = lone.node.handle();
    lone.pipeline.set(Fault::WrongDigest);
    let coordinate = node.parse_coordinate("docker", "leftover:1").await.unwrap();
    let id = request(&node, wish(&coordinate)).await;
    settled(&node, &id).await;
    let count = || {
        let folders = fs::read_dir(lone.folder.path().join("blobs")).unwrap();
        folders.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum::<usize>()
    };
    wait_for("what the verifier refused to be removed", || count() == 0).await;
    lone.pipeline.set(Fault::None);
    let id = request(&node, again(&coordinate)).await;
    published(&node, &id).await;
    let brought = || fs::read_dir(lone.folder.path().join("brought")).unwrap().count();
    wait_for("the build to be forgotten", || brought() == 0).await;
    // Manifest, config and layer, each with its chunk list.
    assert_eq!(count(), 6);
    let artifact = ArtifactId::new("leftover:1").unwrap();
    node.open_artifact(&PackageType::new("docker").unwrap(), &artifact).await.expect("what is published stays");
    lone.node.stop().await;
    assert!(config(lone.folder.path(), &lone.pipeline).judge_patience.keep_unpublished > Duration::from_secs(60));
}
