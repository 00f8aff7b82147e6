//! A network of build nodes, each with a pipeline of its own that a test can turn against it.

use crate::deadline::{BUILT, SOON, wait_for};
use crate::image::Image;
use crate::instant_pipeline::{Conduct, InstantPipeline, honest_image};
use crate::network::{Cli, Node};
use crate::program::{Ended, free_port};
use crate::switch::{Socket, Switch};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Judges wait so long in a test in which nobody is away for long.
pub const SHORT_WAITS: [&str; 14] = [
    "--build-timeout=20s",
    "--pipeline-patience=10s",
    "--build-commit-grace",
    "2s",
    "--build-silence",
    "3s",
    "--build-reveal-wait",
    "5s",
    "--build-vouch-wait",
    "10s",
    "--build-publish-turn",
    "1s",
    "--build-dispute-turn",
    "1s",
];

pub struct Fleet {
    pub nodes: Vec<Node>,
    /// In the order of the nodes, whether they run or not.
    pub peer_ids: Vec<String>,
    /// In the order of the nodes; empty where they are the test's own.
    pub pipelines: Vec<InstantPipeline>,
    pub cli: Cli,
    /// None where nodes share this host's network.
    pub switch: Option<Switch>,
    folder: PathBuf,
}

impl Fleet {
    /// This many authorized nodes on loopback.
    pub async fn start(folder: &Path, count: usize, waits: &[&str]) -> Self {
        Self::start_on(None, folder, count, waits).await
    }

    /// This many authorized nodes, plugged into the switch if there is one.
    pub async fn start_on(switch: Option<Switch>, folder: &Path, count: usize, waits: &[&str]) -> Self {
        let mut fleet = Self::empty(switch, folder);
        for number in 0..count {
            let socket = fleet.switch.as_ref().map(|switch| switch.socket(number).clone());
            let pipeline_host = socket.as_ref().map_or("127.0.0.1", |socket| socket.pipeline_host());
            let pipeline = InstantPipeline::start_on(pipeline_host, Conduct::Honest).await.expect("a free port");
            fleet.launch(number, &pipeline.url, socket, waits).await;
            fleet.pipelines.push(pipeline);
        }
        fleet.authorize_all().await;
        fleet
    }

    /// An authorized node on loopback for each of these pipelines, which are the test's.
    pub async fn start_before(pipelines: &[&str], folder: &Path, waits: &[&str]) -> Self {
        let mut fleet = Self::empty(None, folder);
        for (number, pipeline) in pipelines.iter().enumerate() {
            fleet.launch(number, pipeline, None, waits).await;
        }
        fleet.authorize_all().await;
        fleet
    }

    fn empty(switch: Option<Switch>, folder: &Path) -> Self {
        Self { nodes: vec![], peer_ids: vec![], pipelines: vec![], cli: Cli::new(folder), switch, folder: folder.to_owned() }
    }

    async fn authorize_all(&mut self) {
        for number in 0..self.nodes.len() {
            self.authorize(number).await;
        }
        self.wait_until_level().await;
    }

    /// Starts one more node; does not wait, because a first start compiles for seconds.
    async fn launch(&mut self, number: usize, pipeline: &str, socket: Option<Socket>, waits: &[&str]) {
        let mut arguments = vec!["--pipeline-service-endpoint".to_owned(), pipeline.to_owned()];
        match self.nodes.first_mut() {
            None => arguments.push("--init-blockchain".to_owned()),
            Some(founder) => arguments.extend(["--peer".to_owned(), founder.address().await]),
        }
        if socket.is_none() {
            // The others find it where it was when it starts again.
            arguments.extend(["--listen".to_owned(), format!("/ip4/127.0.0.1/tcp/{}", free_port())]);
        }
        arguments.extend(waits.iter().map(|argument| (*argument).to_owned()));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut node = Node::reserve(&self.folder, &format!("node{number}"), socket, &arguments);
        node.launch();
        self.nodes.push(node);
    }

    /// Has as many of the nodes before it as are needed authorize a node; the founder authorizes itself.
    async fn authorize(&mut self, number: usize) {
        self.nodes[number].wait_until_ready(BUILT).await;
        let (authorized, rest) = self.nodes.split_at(number);
        let node = &rest[0];
        match authorized.first() {
            None => self.cli.authorize_by(&[node], node).await,
            Some(founder) => {
                node.wait_until_synced(founder).await;
                let approvers: Vec<&Node> = authorized.iter().take(majority(number)).collect();
                self.cli.authorize_by(&approvers, node).await;
            }
        }
        self.peer_ids.push(self.nodes[number].peer_id().await);
    }

    /// A node that follows and judges nothing.
    pub async fn regular_node(&mut self, name: &str) -> Node {
        let address = self.nodes[0].address().await;
        let node = Node::start(&self.folder, name, &["--peer", &address]).await;
        node.wait_until_synced(&self.nodes[0]).await;
        node
    }

    /// `pyrsia …` at one of the nodes, which must end with code 0.
    pub fn succeed_at(&self, number: usize, arguments: &[&str]) -> String {
        self.cli.succeed_at(&self.nodes[number], arguments)
    }

    pub fn run_at(&self, number: usize, arguments: &[&str]) -> Ended {
        self.cli.run_at(&self.nodes[number], arguments)
    }

    /// Asks a node for a build; gives its id.
    pub async fn request(&self, number: usize, image: &str) -> String {
        let (status, answer) = self.nodes[number].post("/build/docker", &json!({ "image": image })).await;
        assert_eq!(status, 200, "{image}: {answer}");
        answer["build_id"].as_str().unwrap_or_else(|| panic!("{image} needs no build: {answer}")).to_owned()
    }

    /// Waits until a node sees the build in a state that `reached` accepts; gives the build.
    pub async fn wait_for_build(&self, number: usize, id: &str, what: &str, reached: impl Fn(&Value) -> bool) -> Value {
        let node = &self.nodes[number];
        let mut last = Value::Null;
        let start = std::time::Instant::now();
        loop {
            if let Some(build) = node.build(id).await {
                if reached(&build) {
                    return build;
                }
                last = build;
            }
            assert!(start.elapsed() < BUILT, "{what} on {}: not within {BUILT:?}: {last:#}", node.name);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    pub async fn wait_for_state(&self, number: usize, id: &str, state: &str) -> Value {
        self.wait_for_build(number, id, &format!("a build that is {state}"), |build| build["state"] == state).await
    }

    /// Asks for an image at one node and waits until all have it published; it must be the one that honest pipelines make.
    pub async fn publish(&self, number: usize, image: &str) -> String {
        let id = self.request(number, image).await;
        let build = self.wait_for_build(number, &id, "a result", is_closed).await;
        assert_eq!(build["state"], "published", "{image}: {build:#}");
        for node in &self.nodes {
            self.wait_for_honest(node, image).await;
        }
        id
    }

    /// Waits until a node has the records of what honest pipelines make of an image.
    pub async fn wait_for_honest(&self, node: &Node, image: &str) -> Image {
        let honest = honest_image(image);
        let records = node.wait_for_records(image, honest.records(), SOON).await;
        assert_eq!(manifest_hash(&records), honest.manifest.digest, "{image} on {}", node.name);
        honest
    }

    /// Waits until all nodes that run have the same newest block and the same state.
    pub async fn wait_until_level(&self) {
        wait_for("all nodes to have the same newest block", SOON, || async {
            let mut tips = vec![];
            for node in self.nodes.iter().filter(|node| node.is_started()) {
                let network = node.network().await;
                tips.push((network["tip"].clone(), network["state_root"].clone()));
            }
            tips.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
        })
        .await;
    }

    /// Stops all nodes and audits each ledger: all must be clean, and end in the same block. Gives how many events they hold.
    pub fn stop_and_audit(&mut self) -> u64 {
        for node in self.nodes.iter_mut().filter(|node| node.is_started()) {
            node.stop();
        }
        let mut ends = vec![];
        for node in &self.nodes {
            let ledger = node.folder().join("pyrsia");
            let printed = self.cli.succeed(&["audit", "--json", ledger.to_str().expect("a path in UTF-8")]);
            let report: Value = serde_json::from_str(&printed).expect("the report is JSON");
            assert_eq!(report["clean"], true, "{}: {report:#}", node.name);
            let summary = &report["summary"];
            ends.push((summary["tip"].clone(), summary["state_root"].clone(), summary["events"].as_u64()));
        }
        assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "the ledgers end differently: {ends:#?}");
        ends.first().and_then(|(_, _, events)| *events).expect("the audit counts events")
    }
}

/// The absolute majority of so many.
pub const fn majority(count: usize) -> usize {
    count / 2 + 1
}

pub fn is_closed(build: &Value) -> bool {
    ["published", "failed", "disputed"].iter().any(|state| build["state"] == *state)
}

/// The digest of the manifest that the newest records publish: the record whose id is the image's own name comes first.
pub fn manifest_hash(records: &[Value]) -> String {
    let named = records.iter().rev().find(|record| record["package_specific_artifact_id"] == record["package_specific_id"]);
    let hash = named.and_then(|record| record["artifact_hash"].as_str());
    format!("sha256:{}", hash.unwrap_or_else(|| panic!("no manifest among {records:#?}")))
}

/// What `pyrsia nodes --json` and `/api/v1/nodes` tell of one node, among the authorized and the former ones.
pub fn tally<'a>(nodes: &'a Value, peer_id: &str) -> &'a Value {
    let all = ["nodes", "former"].into_iter().filter_map(|list| nodes[list].as_array()).flatten();
    let mut found = all.filter(|node| node["node"] == peer_id);
    &found.next().unwrap_or_else(|| panic!("{peer_id} is not among {nodes:#}"))["builds"]
}
