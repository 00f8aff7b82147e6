//! Nodes on temporary folders, and waiting for what they come to.

use std::path::Path;
use std::time::{Duration, Instant};

use pyrsia_ledger::projection::builds::BuildStatus;
use pyrsia_ledger::{BuildId, PackageCoordinate, PackageType};
use pyrsia_node::{Authorized, BuildReceipt, BuildView, BuildWish, JudgePatience, JudgeView, Node, NodeConfig, NodeHandle};
use tempfile::TempDir;
use url::Url;

use crate::pipeline::{Image, Pipeline};

const DEADLINE: Duration = Duration::from_secs(60);

/// A network of one authorized node, which has its verifiers approved.
pub(crate) struct LoneNode {
    pub(crate) node: Node,
    pub(crate) pipeline: Pipeline,
    pub(crate) folder: TempDir,
}

impl LoneNode {
    pub(crate) async fn start(image: &Image) -> Self {
        Self::start_with(image, |_| {}).await
    }

    pub(crate) async fn start_with(image: &Image, change: impl FnOnce(&mut NodeConfig)) -> Self {
        let (folder, pipeline) = (tempfile::tempdir().unwrap(), Pipeline::start(image).await);
        let mut config = config(folder.path(), &pipeline);
        change(&mut config);
        let node = Node::start(config).await.unwrap();
        let handle = node.handle();
        let authorization = handle.authorize(handle.node_id()).await.unwrap();
        assert_eq!((authorization.state, authorization.members), (Authorized::Active, 1));
        let docker = PackageType::new("docker").unwrap();
        wait_for("the verifier", || {
            handle.ledger().state.as_ref().is_some_and(|state| state.verifiers.current(&docker).is_some())
        })
        .await;
        Self { node, pipeline, folder }
    }
}

pub(crate) fn config(folder: &Path, pipeline: &Pipeline) -> NodeConfig {
    NodeConfig {
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        init_network: Some("test".into()),
        pipeline_endpoint: Url::parse(&pipeline.endpoint()).unwrap(),
        pipeline_poll: Duration::from_millis(20),
        pipeline_patience: Duration::from_secs(1),
        build_timeout: Duration::from_secs(10),
        judge_patience: patience(),
        ..NodeConfig::new(folder)
    }
}

/// Short, but not so short that a busy machine is taken for a dead one.
fn patience() -> JudgePatience {
    JudgePatience {
        commit_grace: Duration::from_secs(3),
        silence: Duration::from_secs(5),
        reveal: Duration::from_secs(30),
        vouch: Duration::from_secs(20),
        publish_rank: Duration::from_secs(1),
        dispute_rank: Duration::from_secs(2),
        ..JudgePatience::default()
    }
}

pub(crate) fn again(coordinate: &PackageCoordinate) -> BuildWish {
    BuildWish { coordinate: coordinate.clone(), again: true }
}

/// Asks for a build that nobody has asked for.
pub(crate) async fn request(node: &NodeHandle, wish: BuildWish) -> BuildId {
    match node.request_build(wish).await.unwrap() {
        BuildReceipt::Requested(id) => id,
        receipt => panic!("it is new: {receipt:?}"),
    }
}

/// A judge of a build, as `node` sees it.
pub(crate) fn judge_of(node: &NodeHandle, id: &BuildId, judge: &NodeHandle) -> JudgeView {
    let build = node.build(id).unwrap();
    build.judges.into_iter().find(|view| view.node == judge.node_id()).unwrap()
}

pub(crate) fn wish(coordinate: &PackageCoordinate) -> BuildWish {
    BuildWish { coordinate: coordinate.clone(), again: false }
}

pub(crate) async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The build once its status cannot change any more.
pub(crate) async fn settled(node: &NodeHandle, id: &BuildId) -> BuildView {
    wait_for("the build to be closed", || node.build(id).is_some_and(|build| build.status.is_closed() && build.local.is_none()))
        .await;
    node.build(id).unwrap()
}

pub(crate) async fn published(node: &NodeHandle, id: &BuildId) -> BuildView {
    let build = settled(node, id).await;
    assert!(matches!(build.status, BuildStatus::Published { .. }), "{build:#?}");
    build
}

/// One of several authorized nodes, with all it needs to be stopped and started again.
pub(crate) struct Judge {
    pub(crate) node: Option<Node>,
    pub(crate) handle: NodeHandle,
    pub(crate) config: NodeConfig,
    pub(crate) pipeline: Pipeline,
    _folder: TempDir,
}

impl Judge {
    pub(crate) async fn stop(&mut self) {
        self.node.take().expect("it runs").stop().await;
    }

    pub(crate) async fn start(&mut self) {
        let node = Node::start(self.config.clone()).await.unwrap();
        (self.handle, self.node) = (node.handle(), Some(node));
    }
}

/// `count` more authorized nodes beside the founder, each with a pipeline of its own that builds `image`.
pub(crate) async fn judges(founder: &NodeHandle, image: &Image, count: usize) -> Vec<Judge> {
    let mut judges: Vec<Judge> = vec![];
    for _ in 0..count {
        let (folder, pipeline) = (tempfile::tempdir().unwrap(), Pipeline::start(image).await);
        let mut config = config(folder.path(), &pipeline);
        let known = std::iter::once(founder).chain(judges.iter().map(|judge| &judge.handle));
        (config.init_network, config.peers) = (None, known.map(|node| node.addresses()[0].clone()).collect());
        let node = Node::start(config.clone()).await.unwrap();
        let handle = node.handle();
        let needed = judges.len().div_ceil(2) + 1;
        for authorizer in std::iter::once(founder).chain(judges.iter().map(|judge| &judge.handle)).take(needed) {
            authorizer.authorize(handle.node_id()).await.unwrap();
        }
        judges.push(Judge { node: Some(node), handle, config, pipeline, _folder: folder });
        let members = judges.len() + 1;
        let all_active =
            |node: &NodeHandle| node.ledger().state.as_ref().is_some_and(|state| state.members.nodes().len() == members);
        wait_for("the newest judge to be active everywhere", || {
            all_active(founder) && judges.iter().all(|judge| all_active(&judge.handle))
        })
        .await;
    }
    judges
}
