//! What broke the network's predecessor, each as a test of its own.

use pyrsia_tests::deadline::{BUILT, SOON, wait_for};
use pyrsia_tests::fleet::{Fleet, SHORT_WAITS, manifest_hash};
use pyrsia_tests::instant_pipeline::{Conduct, InstantPipeline, honest_image};
use pyrsia_tests::network::{Cli, Node};
use pyrsia_tests::program::{example, succeed};
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn authorizing_on_a_lone_node_works() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut fleet = Fleet::start(folder.path(), 1, &SHORT_WAITS).await;
    assert_eq!(fleet.nodes[0].status().await["authorized"], true);
    fleet.publish(0, "lone/image:1").await;
    // A second time changes nothing, and says so.
    let again = fleet.run_at(0, &["authorize", "--peer", &fleet.peer_ids[0]]);
    assert!(again.code == 1 && format!("{}{}", again.stdout, again.stderr).contains("already exists"), "{again:?}");
    fleet.stop_and_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_build_twice_within_a_minute_is_one_build() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut fleet = Fleet::start(folder.path(), 2, &SHORT_WAITS).await;
    for pipeline in &fleet.pipelines {
        pipeline.conduct(Conduct::Slow(Duration::from_secs(2)));
    }
    let wish = json!({ "image": "twice/image:1" });
    let (here, there) = tokio::join!(fleet.nodes[0].post("/build/docker", &wish), fleet.nodes[1].post("/build/docker", &wish));
    let (_, later) = fleet.nodes[0].post("/build/docker", &wish).await;
    let ids = [&here.1, &there.1, &later].map(|answer| answer["build_id"].as_str().map(str::to_owned));
    assert!(ids[0].is_some() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let id = ids[0].as_deref().expect("it was just looked at");
    fleet.wait_for_state(0, id, "published").await;
    let honest = fleet.wait_for_honest(&fleet.nodes[1], "twice/image:1").await;
    assert_eq!(fleet.nodes[1].records("twice/image:1").await.len(), honest.records(), "published once");
    let (_, published) = fleet.nodes[1].post("/build/docker", &wish).await;
    assert!(published["build_id"].is_null() && published["message"].as_str().is_some_and(|said| said.contains("already exists")));
    assert!(fleet.pipelines.iter().all(|pipeline| pipeline.builds() == 1), "each pipeline built it once");
    fleet.wait_until_level().await;
    fleet.stop_and_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builder_and_the_founder_that_disagree_publish_nothing_and_fork_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut fleet = Fleet::start(folder.path(), 2, &SHORT_WAITS).await;
    fleet.pipelines[1].conduct(Conduct::Corrupt("something else".into()));
    let id = fleet.request(1, "disagree/image:1").await;
    for number in 0..2 {
        fleet.wait_for_state(number, &id, "disputed").await;
        assert!(fleet.nodes[number].records("disagree/image:1").await.is_empty());
        let (status, _) = fleet.nodes[number].get_manifest("disagree/image", "1").await;
        assert_eq!(status, 404, "nothing is served");
    }
    // Both go on together.
    fleet.pipelines[1].conduct(Conduct::Honest);
    fleet.publish(1, "disagree/other:1").await;
    fleet.wait_until_level().await;
    fleet.stop_and_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_regular_node_cannot_authorize_itself_and_says_why() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut fleet = Fleet::start(folder.path(), 1, &SHORT_WAITS).await;
    let regular = fleet.regular_node("regular").await;
    let (peer_id, before) = (regular.peer_id().await, fleet.nodes[0].network().await["tip"].clone());
    let ended = fleet.cli.run_at(&regular, &["authorize", "--peer", &peer_id]);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(ended.code == 1 && said.contains("only an authorized node"), "{ended:?}");
    let ended = fleet.cli.run_at(&regular, &["revoke", "--peer", &fleet.peer_ids[0]]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert_eq!(regular.status().await["authorized"], false);
    assert_eq!(fleet.nodes[0].network().await["tip"], before, "nothing reached the ledger");
    // Without the token not even the founder's own node does it.
    let (status, answer) = fleet.nodes[0].post("/authorized_node", &json!({ "peer_id": peer_id })).await;
    assert_eq!(status, 401, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_on_all_nodes_at_once_fork_nothing() {
    const ROUNDS: usize = 5;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut fleet = Fleet::start(folder.path(), 4, &SHORT_WAITS).await;
    let name = |round: usize, node: usize| format!("atonce/image{node}:{round}");
    for round in 0..ROUNDS {
        let wish = |node: usize| json!({ "image": name(round, node) });
        let wishes = [wish(0), wish(1), wish(2), wish(3)];
        let ask = |node: usize| fleet.nodes[node].post("/build/docker", &wishes[node]);
        let (a, b, c, d) = tokio::join!(ask(0), ask(1), ask(2), ask(3));
        for (status, answer) in [a, b, c, d] {
            assert!(status == 200 && answer["build_id"].is_string(), "{status} {answer}");
        }
    }
    for node in &fleet.nodes {
        for round in 0..ROUNDS {
            for other in 0..4 {
                fleet.wait_for_honest(node, &name(round, other)).await;
            }
        }
    }
    fleet.wait_until_level().await;
    fleet.stop_and_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_blocks_are_caught_up_without_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut fleet = Fleet::start(folder.path(), 4, &SHORT_WAITS).await;
    let mut regular = fleet.regular_node("regular").await;
    let (judge, ids) = (3, (regular.process_id(), fleet.nodes[3].process_id()));
    regular.pause();
    fleet.nodes[judge].pause();
    let before = fleet.nodes[0].status().await["height"].as_u64().expect("a height");
    for number in 0..5 {
        let id = fleet.request(0, &format!("missed/image:{number}")).await;
        fleet.wait_for_state(1, &id, "published").await;
    }
    let reached = fleet.nodes[0].status().await["height"].as_u64().expect("a height");
    assert!(reached >= before + 5, "the others went on: {before} to {reached}");
    regular.resume();
    fleet.nodes[judge].resume();
    for node in [&regular, &fleet.nodes[judge]] {
        node.wait_until_synced(&fleet.nodes[0]).await;
        fleet.wait_for_honest(node, "missed/image:4").await;
    }
    assert_eq!((regular.process_id(), fleet.nodes[judge].process_id()), ids, "nobody was restarted");
    // The judge that was away judges again.
    let id = fleet.publish(judge, "missed/later:1").await;
    let build = fleet.nodes[0].build(&id).await.expect("the build");
    assert_eq!(build["judges"].as_array().map(Vec::len), Some(4));
    fleet.wait_until_level().await;
    fleet.stop_and_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_coordinate_kills_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut fleet = Fleet::start(folder.path(), 2, &SHORT_WAITS).await;
    let regular = fleet.regular_node("regular").await;
    let malformed =
        ["", ":", "@", "a:", ":1", "a@sha256:zz", "../../etc:1", "a b:1", "A:1", "a:\u{0}", "ä:1", "a//b:1", "-:1", "a:1:2:3"];
    let long = format!("{}:1", "a/".repeat(3_000));
    let ids = [fleet.nodes[0].process_id(), fleet.nodes[1].process_id(), regular.process_id()];
    for text in malformed.into_iter().chain([long.as_str()]) {
        for node in [&fleet.nodes[0], &fleet.nodes[1], &regular] {
            let asked = [
                node.post("/build/docker", &json!({ "image": text })).await,
                node.post("/api/v1/builds", &json!({ "package_type": "docker", "package": text })).await,
                node.post("/inspect/docker", &json!({ "image": text })).await,
            ];
            for (status, answer) in asked {
                assert!((400..500).contains(&status), "{text:?} at {}: {status} {answer}", node.name);
            }
            let (status, answer) = node.post("/build/maven", &json!({ "gav": text })).await;
            assert!((400..500).contains(&status) || status == 503, "{text:?} at {}: {status} {answer}", node.name);
        }
    }
    fleet.publish(1, "malformed/never:1").await;
    fleet.wait_for_honest(&regular, "malformed/never:1").await;
    assert_eq!(ids, [fleet.nodes[0].process_id(), fleet.nodes[1].process_id(), regular.process_id()]);
    assert!(fleet.nodes.iter_mut().all(|node| node.program().is_running()));
}

/// A node of a network with a long history is ready in a time that a person waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_records_and_a_new_node_joins() {
    const RECORDS: u64 = 100_000;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let pipeline = InstantPipeline::start().await.expect("a free port");
    let arguments = ["--pipeline-service-endpoint", &pipeline.url, "--init-blockchain"];
    let mut founder = Node::start(folder, "founder", &arguments).await;
    let cli = Cli::new(folder);
    cli.authorize(&founder, &founder).await;
    founder.stop();
    let start = Instant::now();
    let data = founder.folder().join("pyrsia");
    let mut seed = Command::new(example("seed_ledger"));
    let seeded = succeed(seed.arg(data.join("blockchain")).arg(data.join("p2p_keypair.ser")).arg(RECORDS.to_string()));
    println!("{} after {:.1?}", seeded.trim(), start.elapsed());
    let start = Instant::now();
    founder.start_again_within(BUILT).await;
    println!("the founder opened it after {:.1?}", start.elapsed());

    let start = Instant::now();
    let pipeline = InstantPipeline::start().await.expect("a free port");
    let arguments = ["--pipeline-service-endpoint", &pipeline.url, "--peer", &founder.address().await];
    let newcomer = Node::start(folder, "newcomer", &arguments).await;
    let expected = founder.network().await;
    assert!(expected["artifacts"].as_u64().is_some_and(|artifacts| artifacts >= RECORDS), "{expected:#}");
    wait_for("the newcomer to have everything", BUILT, || async {
        (newcomer.try_status().await?["height"] == expected["height"]).then_some(())
    })
    .await;
    println!("the newcomer has them after {:.1?}", start.elapsed());
    let found = newcomer.network().await;
    for root in ["tip", "tree_root", "state_root", "artifacts"] {
        assert_eq!(found[root], expected[root], "{root}");
    }
    // It is a node like any other from here on.
    cli.authorize_by(&[&founder], &newcomer).await;
    let (status, answer) = newcomer.post("/build/docker", &json!({ "image": "joined/image:1" })).await;
    assert!(status == 200 && answer["build_id"].is_string(), "{status} {answer}");
    let records: Vec<Value> = founder.wait_for_records("joined/image:1", honest_image("").records(), SOON).await;
    assert_eq!(manifest_hash(&records), honest_image("joined/image:1").manifest.digest);
}
