//! The central node's nightly task: every image of a list is published or named with the reason why not.

use pyrsia_tests::image::Image;
use pyrsia_tests::network::{Cli, Node, Pipeline};
use pyrsia_tests::{clients, upstream::Upstream};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_images_is_built_once_and_summed_up() {
    if !clients::present("a_list_of_images_is_built_once_and_summed_up", &["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let upstream = Upstream::start(folder).await;
    for name in ["one", "two"] {
        Image::small(name).push(&upstream.url, &format!("list/{name}"), "1").await.expect("the registry takes the image");
    }
    let pipeline = Pipeline::start(folder, "pipeline", &["--upstream", &upstream.url]).await;
    let arguments = ["--pipeline-service-endpoint", &pipeline.url, "--listen-only", "--init-blockchain"];
    let node = Node::start(folder, "nodeA", &arguments).await;
    let cli = Cli::new(folder);
    cli.authorize(&node, &node).await;

    std::fs::write(folder.join("good"), "list/one:1 # the first\n\n# all that is\nlist/two:1\nlist/one:1\n").expect("the list");
    let summary = |list: &str| -> (i32, Value) {
        let ended = cli.run(&["build", "docker", "--from-file", list, "--wait", "--json"]);
        let report: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        (ended.code, report["summary"].clone())
    };
    let (code, first) = summary("good");
    assert_eq!(
        (code, &first["packages"], &first["published"], &first["failed"]),
        (0, &2.into(), &2.into(), &0.into()),
        "{first}"
    );
    let (code, again) = summary("good");
    assert_eq!((code, &again["requested"], &again["published_already"]), (0, &0.into(), &2.into()), "{again}");

    std::fs::write(folder.join("bad"), "list/nowhere:1\nNot A Name\nlist/two:1\n").expect("the list");
    let (code, mixed) = summary("bad");
    assert_eq!((code, &mixed["failed"], &mixed["published_already"]), (1, &2.into(), &1.into()), "{mixed}");
}
