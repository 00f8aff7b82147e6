//! Who judges is decided by a majority of operators, and what a majority does not hold up is not served.

use crate::proofs;
use pyrsia_tests::deadline::{SOON, wait_for};
use pyrsia_tests::fleet::{Fleet, SHORT_WAITS, is_closed, tally};
use pyrsia_tests::instant_pipeline::{Conduct, honest_image};
use serde_json::{Value, json};
use std::time::Duration;

/// The state of one judge in a build.
fn judge<'a>(build: &'a Value, peer_id: &str) -> &'a Value {
    let judges = build["judges"].as_array().expect("judges");
    judges.iter().find(|judge| judge["node"] == peer_id).unwrap_or_else(|| panic!("{peer_id} is no judge of {build:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn three_of_four_operators_revoke_a_node_and_what_hung_on_it_is_rebuilt() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut fleet = Fleet::start(folder.path(), 4, &SHORT_WAITS).await;
    fleet.publish(0, "revoked/before:1").await;
    // One dissents, so that the other three are just the majority, and one of these turns out to be compromised.
    let (dissenter, compromised) = (2, 3);
    fleet.pipelines[dissenter].conduct(Conduct::Corrupt("something else".into()));
    let since = fleet.nodes[0].status().await["height"].as_u64().expect("a height") + 1;
    let id = fleet.publish(0, "revoked/image:1").await;
    assert_eq!(judge(&fleet.nodes[0].build(&id).await.expect("the build"), &fleet.peer_ids[dissenter])["state"], "dissents");
    fleet.pipelines[dissenter].conduct(Conduct::Honest);
    assert_eq!(fleet.succeed_at(0, &["log", "at-risk"]).trim(), "Nothing published is at risk.");

    let peer_id = fleet.peer_ids[compromised].clone();
    let since = since.to_string();
    for operator in 0..3 {
        let printed = fleet.succeed_at(operator, &["revoke", "--peer", &peer_id, "--since", &since]);
        assert!(printed.contains("Revoke request successfully handled."), "{printed}");
        let nodes = fleet.succeed_at(operator, &["nodes"]);
        let line = nodes.lines().find(|line| line.contains(&peer_id) && line.contains("compromised"));
        let line = line.unwrap_or_else(|| panic!("{nodes}"));
        if operator < 2 {
            assert!(line.contains(&format!("approved by {} of 3 needed", operator + 1)), "{nodes}");
        } else {
            assert!(line.contains("revoked as compromised since block"), "{nodes}");
            assert!(nodes.starts_with("3 authorized nodes"), "{nodes}");
        }
    }
    let refused = fleet.run_at(compromised, &["revoke", "--peer", &fleet.peer_ids[0]]);
    assert!(
        refused.code == 1 && format!("{}{}", refused.stdout, refused.stderr).contains("only an authorized node"),
        "{refused:?}"
    );

    // What was published before is served; what hung on the key is named and refused, with the reason.
    fleet.nodes[0].pull("revoked/before", "1").await;
    let printed = fleet.succeed_at(1, &["log", "at-risk"]);
    assert!(
        printed.contains("revoked/image:1") && printed.contains(&peer_id) && !printed.contains("revoked/before"),
        "{printed}"
    );
    for number in [0, 1] {
        wait_for("the image to be refused", SOON, || async {
            let (status, body) = fleet.nodes[number].get_manifest("revoked/image", "1").await;
            let body = String::from_utf8_lossy(&body).into_owned();
            (status == 403 && body.contains("DENIED") && body.contains("at risk")).then_some(())
        })
        .await;
    }
    let layer = &honest_image("revoked/image:1").layers[0].digest;
    let blob = reqwest::get(fleet.nodes[0].url(&format!("/v2/revoked/image/blobs/{layer}"))).await.expect("an answer");
    assert_eq!(blob.status(), 403, "its blobs neither");
    // What was published once has its proof, which is given with the warning that it is at risk.
    let manifest = &honest_image("revoked/image:1").manifest.digest;
    let url = fleet.nodes[0].url(&format!("/v2/revoked/image/referrers/{manifest}"));
    let referrers = reqwest::get(url).await.expect("an answer");
    let warning = referrers.headers().get("warning").and_then(|warning| warning.to_str().ok()).unwrap_or_default().to_owned();
    assert!(referrers.status() == 200 && warning.starts_with("299 - \"") && warning.contains("at risk"), "{warning}");
    let referrers: Value = referrers.json().await.expect("an index");
    assert_eq!(referrers["manifests"].as_array().map(Vec::len), Some(1), "{referrers}");

    let manifest = &honest_image("revoked/image:1").manifest.digest;
    proofs::what_is_at_risk_is_proved_and_not_attested(&fleet, folder.path(), "revoked/image:1", manifest).await;

    let printed = fleet.succeed_at(0, &["build", "docker", "--image", "revoked/image:1", "--again", "--wait"]);
    assert!(printed.contains("is published"), "{printed}");
    for number in [0, 1] {
        fleet.nodes[number].wait_until_synced(&fleet.nodes[0]).await;
        let pulled = fleet.nodes[number].pull("revoked/image", "1").await;
        assert_eq!(pulled.manifest, honest_image("revoked/image:1").manifest.digest);
    }
    let printed = fleet.succeed_at(0, &["log", "at-risk"]);
    assert!(printed.contains("rebuilt since"), "{printed}");
    fleet.wait_until_level().await;
    fleet.stop_and_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_against_two_is_disputed_and_told_in_words() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut fleet = Fleet::start(folder.path(), 4, &SHORT_WAITS).await;
    for pipeline in &fleet.pipelines[2..] {
        pipeline.conduct(Conduct::Corrupt("of the other two".into()));
    }
    let id = fleet.request(1, "split/image:1").await;
    let is_reported =
        |build: &Value| build["state"] == "disputed" && build["disputes"].as_array().is_some_and(|all| !all.is_empty());
    for number in [0, 3] {
        fleet.wait_for_build(number, &id, "a dispute with a report", is_reported).await;
        assert!(fleet.nodes[number].records("split/image:1").await.is_empty());
    }
    // The file that differs is named where people look: by any node, in the build's status and in the log of the image.
    for arguments in [["build", "status", "--id", id.as_str()], ["inspect-log", "docker", "--image", "split/image:1"]] {
        let ended = fleet.run_at(3, &arguments);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(said.contains("different") && said.contains("hello"), "pyrsia {arguments:?}: {said}");
    }
    let nodes = fleet.nodes[0].nodes().await;
    for peer_id in &fleet.peer_ids {
        let told = tally(&nodes, peer_id);
        assert_eq!(
            ["agreed", "failed", "timed_out", "withheld"].map(|what| told[what].as_u64()),
            [Some(0); 4],
            "{peer_id}: {told}"
        );
    }
    // The other two come round, and somebody asks once more.
    for pipeline in &fleet.pipelines[2..] {
        pipeline.conduct(Conduct::Honest);
    }
    let (_, answer) =
        fleet.nodes[0].post("/api/v1/builds", &json!({ "package_type": "docker", "package": "split/image:1" })).await;
    assert_eq!(answer["state"], "not_published", "not by itself: {answer}");
    let printed = fleet.succeed_at(2, &["build", "docker", "--image", "split/image:1", "--again", "--wait"]);
    assert!(printed.contains("is published"), "{printed}");
    fleet.wait_until_level().await;
    fleet.stop_and_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn judges_that_hang_fail_and_copy_are_on_record_and_hold_nobody_up() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut fleet = Fleet::start(folder.path(), 7, &SHORT_WAITS).await;
    // The hanging pipeline outlasts the grace; the changed copy does not pass as what it says it is.
    let honest = fleet.pipelines[0].url.clone();
    fleet.pipelines[4].conduct(Conduct::Hang);
    fleet.pipelines[5].conduct(Conduct::Fail);
    fleet.pipelines[6].conduct(Conduct::CopyAndChange(honest));
    let id = fleet.publish(0, "silent/image:1").await;
    let build = fleet.wait_for_build(1, &id, "every judge on record", is_closed).await;
    let state = |number: usize| judge(&build, &fleet.peer_ids[number]);
    assert_eq!(state(4)["state"], "timed_out", "{build:#}");
    assert!(state(4)["height"].is_u64(), "with the height: {build:#}");
    assert_eq!(state(5)["state"], "failed", "{build:#}");
    assert!(state(5)["reason"].as_str().is_some_and(|reason| reason.contains("the recipe does not build")), "{build:#}");
    assert_eq!((&state(6)["state"], &state(6)["agrees"]), (&json!("failed"), &json!(false)), "{build:#}");
    assert!(state(6)["reason"].as_str().is_some_and(|reason| reason.contains("the verifier refuses")), "{build:#}");
    let nodes = fleet.succeed_at(3, &["nodes"]);
    let line = |peer_id: &str| nodes.lines().find(|line| line.contains(peer_id)).map(str::to_owned).expect("its line");
    assert!(line(&fleet.peer_ids[4]).contains("1 timed out"), "{nodes}");
    assert!(line(&fleet.peer_ids[5]).contains("1 failed"), "{nodes}");
    fleet.wait_until_level().await;
    fleet.stop_and_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_too_many_away_reads_are_served_and_the_rest_waits_for_their_return() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut fleet = Fleet::start(folder.path(), 4, &SHORT_WAITS).await;
    fleet.publish(0, "away/image:1").await;
    fleet.nodes[2].kill();
    fleet.nodes[3].kill();
    let before = fleet.nodes[0].network().await["tip"].clone();
    // The wish is kept, and nothing comes of it.
    let wish = json!({ "image": "away/later:1" });
    let waiting = fleet.nodes[0].try_post("/build/docker", &wish).await;
    assert!(waiting.as_ref().is_none_or(|(status, _)| *status == 504), "{waiting:?}");
    assert_eq!(fleet.nodes[0].network().await["tip"], before);
    let (pulled, records) = (fleet.nodes[1].pull("away/image", "1").await, fleet.nodes[1].records("away/image:1").await);
    assert_eq!(pulled.manifest, honest_image("away/image:1").manifest.digest);
    assert_eq!(records.len(), honest_image("away/image:1").records());
    let said = wait_for("the status to say what is missing", SOON, || async {
        let said = fleet.succeed_at(0, &["status"]);
        let missing = [&fleet.peer_ids[2], &fleet.peer_ids[3]];
        (said.contains("No block can be made") && missing.iter().all(|peer_id| said.contains(*peer_id))).then_some(said)
    })
    .await;
    println!("{said}");

    for number in [2, 3] {
        fleet.nodes[number].start_again().await;
    }
    // Nobody asks again.
    for node in &fleet.nodes {
        wait_for(format!("the build on {}", node.name), SOON + Duration::from_secs(30), || async {
            (node.records("away/later:1").await.len() == honest_image("").records()).then_some(())
        })
        .await;
    }
    fleet.wait_until_level().await;
    fleet.stop_and_audit();
}
