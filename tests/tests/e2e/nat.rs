//! Nodes that cannot reach each other: both behind a router that translates addresses, and a third one that carries their connection until
//! they have one of their own.

use pyrsia_tests::deadline::{BUILT, SOON, wait_for};
use pyrsia_tests::instant_pipeline::{Conduct, InstantPipeline, honest_image};
use pyrsia_tests::network::{Cli, Node};
use pyrsia_tests::switch::Switch;
use pyrsia_tests::{clients, fleet::SHORT_WAITS};
use serde_json::{Value, json};

const RELAY: usize = 0;
const BUILDER: usize = 1;
const WANTING: usize = 2;

/// What a node tells of its exchange with others.
async fn exchange(node: &Node) -> Value {
    node.status().await["exchange"].take()
}

fn number(exchange: &Value, name: &str) -> u64 {
    exchange[name].as_u64().unwrap_or_else(|| panic!("no {name}: {exchange:#}"))
}

/// The switch with two nodes behind routers.
fn homes() -> Result<Switch, String> {
    let mut switch = Switch::plug_in(3).ok_or("network namespaces")?;
    switch.put_behind_router(BUILDER)?;
    switch.put_behind_router(WANTING)?;
    Ok(switch)
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_behind_two_routers_fetch_through_a_relay_and_then_through_a_hole_of_their_own() {
    let test = "nodes_behind_two_routers_fetch_through_a_relay_and_then_through_a_hole_of_their_own";
    if !clients::present(test, &["ip", "nft"]) {
        return;
    }
    let switch = match homes() {
        Ok(switch) => switch,
        Err(missing) => return clients::lacking(test, &missing),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let reserve = |place: usize, name: &str, arguments: &[&str]| {
        let socket = switch.socket(place).clone();
        Node::reserve(folder, name, Some(socket), arguments)
    };
    let mut relay = reserve(RELAY, "relay", &["--listen-only", "--relay", "on"]);
    relay.start_again().await;
    let address = relay.address().await;
    let at_home = ["--peer", &address, "--relay-address", &address];

    let pipeline = InstantPipeline::start_on(switch.socket(BUILDER).pipeline_host(), Conduct::Honest).await.expect("a free port");
    let arguments = [&at_home[..], &SHORT_WAITS, &["--init-blockchain", "--pipeline-service-endpoint", &pipeline.url]].concat();
    let mut builder = reserve(BUILDER, "builder", &arguments);
    builder.start_again().await;
    Cli::new(folder).authorize_by(&[&builder], &builder).await;
    for image in ["carried:1", "direct:1"] {
        let (status, answer) = builder.post("/build/docker", &json!({ "image": image })).await;
        assert_eq!(status, 200, "{answer}");
        builder.wait_for_records(image, honest_image(image).records(), BUILT).await;
    }

    // No hole can be made through a fence: everything that comes from the builder comes through the relay.
    switch.fence(WANTING, RELAY);
    let mut wanting = reserve(WANTING, "wanting", &at_home);
    wanting.start_again().await;
    wanting.wait_until_synced(&builder).await;
    wait_for("a connection that the relay carries", SOON, || async {
        (number(&exchange(&wanting).await, "relayed_connections") > 0).then_some(())
    })
    .await;
    let pulled = wanting.pull("carried", "1").await;
    assert_eq!(pulled.manifest, honest_image("carried:1").manifest.digest);
    let (here, there) = (exchange(&wanting).await, exchange(&builder).await);
    assert!(number(&here, "fetched") > 0 && number(&here, "holes_punched") == 0, "{here:#}");
    assert_eq!(number(&here, "direct_connections"), 1, "the relay alone: {here:#}");
    assert_eq!(number(&here, "received_bytes"), number(&there, "sent_bytes"), "{there:#}");

    wanting.stop();
    switch.unfence(WANTING);
    wanting.start_again().await;
    wait_for("a connection through both routers", SOON, || async {
        let (here, there) = (exchange(&wanting).await, exchange(&builder).await);
        let is_direct = number(&here, "relayed_connections") == 0 && number(&here, "direct_connections") == 2;
        (is_direct && number(&here, "holes_punched") + number(&there, "holes_punched") > 0).then_some(())
    })
    .await;
    relay.kill();
    let pulled = wanting.pull("direct", "1").await;
    assert_eq!(pulled.manifest, honest_image("direct:1").manifest.digest);
    let here = exchange(&wanting).await;
    assert_eq!((number(&here, "relayed_connections"), number(&here, "not_fetched")), (0, 0), "{here:#}");
}
