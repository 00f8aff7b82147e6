//! A node with a small disk and a bucket behind it, in a real object storage that checks signatures.

use pyrsia_tests::deadline::{SOON, wait_for};
use pyrsia_tests::fleet::{Fleet, SHORT_WAITS};
use pyrsia_tests::image::Image;
use pyrsia_tests::network::{Node, get_json};
use pyrsia_tests::object_storage::{ObjectStorage, Service};
use serde_json::Value;

/// Room for one of the images, each of which has one layer of a little more than 2 KiB.
const BUDGET: &str = "4000B";

async fn store(node: &Node) -> Value {
    get_json(&node.url("/api/v1/store")).await.expect("the store is shown")
}

/// Waits until every artifact that has come has a whole copy.
async fn wait_for_copies(node: &Node, count: u64) {
    wait_for(format!("{count} copies in the bucket"), SOON, || async {
        let bucket = store(node).await["bucket"].clone();
        (bucket["artifacts"] == count && bucket["waiting"] == 0 && bucket["wrong"] == 0).then_some(())
    })
    .await;
}

async fn blob(node: &Node, repository: &str, digest: &str) -> (u16, Vec<u8>) {
    let answer = reqwest::get(node.url(&format!("/v2/{repository}/blobs/{digest}"))).await.expect("an answer");
    (answer.status().as_u16(), answer.bytes().await.map(|bytes| bytes.to_vec()).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_takes_what_the_disk_has_no_room_for_and_is_believed_no_more_than_a_peer() {
    check(Service::S3, "a_bucket_takes_what_the_disk_has_no_room_for_and_is_believed_no_more_than_a_peer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_azure_is_a_bucket_like_any_other() {
    check(Service::AzureBlob, "a_container_of_azure_is_a_bucket_like_any_other").await;
}

async fn check(service: Service, test: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(mut storage) = ObjectStorage::start(service, test, folder.path()).await else { return };
    let mut fleet = Fleet::start(folder.path(), 1, &SHORT_WAITS).await;
    let mut arguments = vec!["--peer".to_owned(), fleet.nodes[0].address().await, "--artifact-budget".into(), BUDGET.into()];
    arguments.extend(storage.arguments());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();

    // Credentials that are not those of the bucket: the node does not start, and says why.
    storage.write_credentials("another secret");
    let mut node = Node::reserve(folder.path(), "small", None, &arguments);
    node.launch();
    node.program()
        .line("why the bucket cannot be used", SOON, |line| line.contains("does not take, give back").then_some(()))
        .await;
    node.kill();
    storage.write_credentials("a secret of this test");

    node.start_again().await;
    node.program()
        .line("that the bucket is used", SOON, |line| line.contains("artifacts are copied to a bucket").then_some(()))
        .await;
    let images: Vec<Image> = ["shop/one:1", "shop/two:1"].map(pyrsia_tests::instant_pipeline::honest_image).into();
    let mut copies = 0;
    for (name, image) in ["shop/one", "shop/two"].into_iter().zip(&images) {
        fleet.publish(0, &format!("{name}:1")).await;
        node.wait_until_synced(&fleet.nodes[0]).await;
        assert_eq!(node.pull(name, "1").await.manifest, image.manifest.digest);
        copies += 3;
        wait_for_copies(&node, copies).await;
    }

    // Nobody else is there: what left the disk comes back from the bucket, again and again.
    fleet.nodes[0].stop();
    for (name, image) in ["shop/one", "shop/two", "shop/one"].into_iter().zip([0, 1, 0]) {
        assert_eq!(node.pull(name, "1").await.manifest, images[image].manifest.digest);
        assert!(store(&node).await["bytes"].as_u64().is_some_and(|bytes| bytes <= 4_000), "the budget holds");
    }
    assert!(node.output().iter().any(|line| line.contains("came back from the bucket")));

    // The layer of the second image is in the bucket alone, and rots there.
    let digest = images[1].layers[0].digest.clone();
    let sha256 = digest.trim_start_matches("sha256:");
    let whole = storage.object(sha256).await.expect("a copy");
    let listed = get_json(&node.url("/api/v1/artifacts")).await.expect("a list");
    let place = |artifact: &&Value| artifact["sha256"] == sha256;
    let place = listed["artifacts"].as_array().and_then(|all| all.iter().find(place)).map(|artifact| artifact["place"].clone());
    assert_eq!(place, Some("bucket".into()), "{listed:#}");
    let rotten: Vec<u8> = whole.iter().map(|byte| byte ^ 1).collect();
    storage.overwrite(sha256, &rotten).await;
    let (status, bytes) = blob(&node, "shop/two", &digest).await;
    assert!(status >= 500 && bytes != rotten, "{status}");
    assert!(node.output().iter().any(|line| line.contains("the copy of an artifact in the bucket")), "it is said");

    // With a peer the artifact is served, and the copy is written anew.
    fleet.nodes[0].start_again().await;
    wait_for("the layer to come from the peer", SOON, || async {
        let (status, bytes) = blob(&node, "shop/two", &digest).await;
        (status == 200).then(|| assert_eq!(bytes, whole))
    })
    .await;
    wait_for_copies(&node, copies).await;
    assert_eq!(storage.object(sha256).await, Some(whole));

    // Without the bucket the node goes on, and copies what came meanwhile when it is back.
    storage.stop();
    fleet.publish(0, "shop/three:1").await;
    node.wait_until_synced(&fleet.nodes[0]).await;
    node.pull("shop/three", "1").await;
    wait_for("the node to say that its bucket is away", SOON, || async {
        let said = reqwest::get(node.url("/readyz")).await.ok()?;
        assert_eq!(said.status(), 200);
        said.text().await.ok()?.contains("the bucket does not answer").then_some(())
    })
    .await;
    assert_eq!(store(&node).await["bucket"]["is_reachable"], false);
    storage.start_again().await;
    wait_for("a copy of what came meanwhile", SOON, || async {
        let bucket = store(&node).await["bucket"].clone();
        (bucket["is_reachable"] == true && bucket["waiting"] == 0 && bucket["artifacts"].as_u64()? > copies).then_some(())
    })
    .await;

    // The operator sees where everything is, and empties the bucket.
    let shown = fleet.cli.succeed_at(&node, &["artifacts", "ls"]);
    assert!(shown.contains("in the bucket alone") && shown.contains("copies with"), "{shown}");
    let removed = fleet.cli.succeed_at(&node, &["artifacts", "rm", "--bucket", "docker", "shop/one:1"]);
    assert!(removed.contains("is removed"), "{removed}");
    assert_eq!(storage.object(images[0].layers[0].digest.trim_start_matches("sha256:")).await, None);
    let scrubbed = fleet.cli.succeed_at(&node, &["artifacts", "scrub", "--deep", "--wait"]);
    assert!(scrubbed.contains("copies in the bucket") && scrubbed.contains("0 damaged, 0 gone"), "{scrubbed}");
    node.stop();
}
