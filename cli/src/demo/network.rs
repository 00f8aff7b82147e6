//! The demo's network: four build nodes with a pipeline each, and a regular node with a registry, all on loopback.
//!
//! Every node has its own folder, key and ledger, and knows the others by address alone, as nodes on five machines would.

use super::source::SourceRepository;
use super::{PACKAGE_TYPE, REPOSITORY, STEP_DEADLINE};
use crate::admin_token;
use crate::exit::Failure;
use pyrsia_ledger::{NodeId, PackageType, Projections};
use pyrsia_node::{Authorized, Multiaddr, Node, NodeConfig, NodeHandle};
use pyrsia_pipeline::{BuilderChoice, Config, LocalSources, MappingLocation, Pipeline, RunningPipeline};
use pyrsia_registry::{AccessLog, Registry, RegistryConfig};
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use url::Url;

/// The smallest set that goes on while one of its nodes is away.
pub(super) const BUILD_NODES: usize = 4;
const NETWORK_NAME: &str = "pyrsia-demo";
const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/0";
/// How often a node is asked for the addresses it listens on while it starts.
const ADDRESS_POLL: Duration = Duration::from_millis(10);

pub(super) struct BuildNode {
    pub(super) name: String,
    node: Node,
    pipeline: RunningPipeline,
}

pub(super) struct Network {
    builders: Vec<BuildNode>,
    regular: Node,
    registry: Registry,
}

fn failed(what: &'static str) -> impl Fn(&dyn Error) -> Failure {
    move |error| Failure::because(what, error)
}

impl Network {
    /// Starts everything below `folder`, and says the name, the id and what belongs to each node. Each is told the addresses
    /// of those that run already.
    pub(super) async fn start(
        folder: &Path,
        source: &SourceRepository,
        say: impl Fn(&str, NodeId, &str),
    ) -> Result<Self, Failure> {
        let mapping = write_mapping(folder, source).map_err(|error| failed("the mapping cannot be written")(&error))?;
        let (mut builders, mut known) = (Vec::with_capacity(BUILD_NODES), Vec::with_capacity(BUILD_NODES));
        for number in 1..=BUILD_NODES {
            let data = folder.join(format!("build-node-{number}"));
            let pipeline = start_pipeline(&data.join("pipeline"), &mapping).await?;
            let mut config = node_config(&data, &known);
            config.pipeline_endpoint =
                Url::parse(&pipeline.url()).map_err(|error| failed("the pipeline has no address")(&error))?;
            config.init_network = (number == 1).then(|| NETWORK_NAME.to_owned());
            let node = start_node(&data, config).await?;
            known.extend(address_of(&node.handle()).await?);
            let builder = BuildNode { name: format!("build node {number}"), node, pipeline };
            say(&builder.name, builder.id(), &format!("pipeline {}", builder.pipeline_url()));
            builders.push(builder);
        }
        let data = folder.join("regular-node");
        let regular = start_node(&data, node_config(&data, &known)).await?;
        let admin_token = admin_token::of_node(&data).map_err(|error| failed("the admin token cannot be kept")(&error))?;
        let config = RegistryConfig {
            access_log: AccessLog::Off,
            ..RegistryConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), admin_token)
        };
        let registry =
            Registry::start(regular.handle(), config).await.map_err(|error| failed("the registry cannot start")(&error))?;
        let network = Self { builders, regular, registry };
        say("regular node", network.regular().node_id(), &format!("registry {}", network.registry_url()));
        Ok(network)
    }

    pub(super) fn builders(&self) -> &[BuildNode] {
        &self.builders
    }

    pub(super) fn regular(&self) -> NodeHandle {
        self.regular.handle()
    }

    pub(super) fn registry_port(&self) -> u16 {
        self.registry.address().port()
    }

    pub(super) fn registry_url(&self) -> String {
        format!("http://{}", self.registry.address())
    }

    pub(super) fn name_of(&self, node: &NodeId) -> String {
        self.builders
            .iter()
            .find(|builder| builder.id() == *node)
            .map_or_else(|| node.to_string(), |builder| builder.name.clone())
    }

    /// Authorizes the build nodes one after the other, each by as many of those before it as it takes.
    pub(super) async fn authorize(&self, say: impl Fn(&str)) -> Result<(), Failure> {
        for (before, candidate) in self.builders.iter().enumerate() {
            let authorizers = &self.builders[..before.max(1)];
            let approvals = self.approve(authorizers, candidate).await?;
            for handle in self.handles() {
                wait_for(&handle, "every node knows of the authorization", |state| state.members.contains(&candidate.id()))
                    .await?;
            }
            say(&format!("{} is authorized, approved by {}", candidate.name, approvals.join(" and ")));
            if before == 0 {
                let docker = PackageType::new(PACKAGE_TYPE).map_err(|error| failed("the package type is not one")(&error))?;
                let agreed = |state: &Projections| state.verifiers.current(&docker).is_some();
                wait_for(&self.regular(), "the network agrees on a verifier for docker images", agreed).await?;
            }
        }
        Ok(())
    }

    /// Has `authorizers` approve until the candidate is in; gives the names of those it took.
    async fn approve(&self, authorizers: &[BuildNode], candidate: &BuildNode) -> Result<Vec<String>, Failure> {
        let mut approvals = vec![];
        for authorizer in authorizers {
            let answer = authorizer.handle().authorize(candidate.id()).await;
            let answer = answer.map_err(|error| failed("a build node cannot be authorized")(&error))?;
            approvals.push(authorizer.name.clone());
            match answer.state {
                Authorized::Pending { .. } => {}
                Authorized::Approved | Authorized::Active => return Ok(approvals),
            }
        }
        Err(Failure::new(format!("{} was approved by {} and is not authorized", candidate.name, approvals.join(", "))))
    }

    fn handles(&self) -> impl Iterator<Item = NodeHandle> {
        self.builders.iter().map(BuildNode::handle).chain([self.regular()])
    }

    pub(super) async fn stop(self) {
        self.registry.stop().await;
        self.regular.stop().await;
        for builder in self.builders {
            builder.node.stop().await;
            if let Err(error) = builder.pipeline.stop().await {
                tracing::warn!("a pipeline did not stop cleanly: {error}");
            }
        }
    }
}

impl BuildNode {
    pub(super) fn id(&self) -> NodeId {
        self.node.handle().node_id()
    }

    pub(super) fn pipeline_url(&self) -> String {
        self.pipeline.url()
    }

    fn handle(&self) -> NodeHandle {
        self.node.handle()
    }
}

/// One rule: the demo's image is built from the demo's repository.
fn write_mapping(folder: &Path, source: &SourceRepository) -> std::io::Result<PathBuf> {
    let rule = serde_json::json!({
        "package_type": "Docker",
        "package_specific_id": format!("{REPOSITORY}:*"),
        "source_repository": { "Git": { "url": source.folder(), "commit": source.commit() } },
        "docker": { "builder": "source" },
    });
    let path = folder.join("mapping.json");
    std::fs::write(&path, serde_json::json!({ "rules": [rule] }).to_string())?;
    Ok(path)
}

async fn start_pipeline(data: &Path, mapping: &Path) -> Result<RunningPipeline, Failure> {
    let mut config = Config::new(data);
    config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.mapping = MappingLocation::File(mapping.to_owned());
    config.upstream = None;
    config.builder = BuilderChoice::Embedded;
    config.local_sources = LocalSources::Allowed;
    Pipeline::start(config).await.map_err(|error| failed("a pipeline cannot start")(&error))
}

fn node_config(data: &Path, known: &[Multiaddr]) -> NodeConfig {
    let mut config = NodeConfig::new(data);
    config.listen = vec![LOOPBACK.parse().expect("the constant is a multiaddress")];
    config.peers = known.to_vec();
    config
}

async fn start_node(data: &Path, config: NodeConfig) -> Result<Node, Failure> {
    std::fs::create_dir_all(data).map_err(|error| failed("a node's folder cannot be made")(&error))?;
    Node::start(config).await.map_err(|error| failed("a node cannot start")(&error))
}

/// Where the node can be reached on loopback, once it listens.
async fn address_of(handle: &NodeHandle) -> Result<Option<Multiaddr>, Failure> {
    let begin = Instant::now();
    while begin.elapsed() < STEP_DEADLINE {
        if let Some(address) = handle.addresses().into_iter().next() {
            return Ok(Some(address));
        }
        tokio::time::sleep(ADDRESS_POLL).await;
    }
    Err(Failure::new(format!("a node listens on no address after {} s", STEP_DEADLINE.as_secs())))
}

/// Waits until the node's ledger is as `what` says.
async fn wait_for(handle: &NodeHandle, what: &str, stands: impl Fn(&Projections) -> bool) -> Result<(), Failure> {
    let mut ledger = handle.watch_ledger();
    let found = ledger.wait_for(|view| view.state.as_deref().is_some_and(&stands));
    match tokio::time::timeout(STEP_DEADLINE, found).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(Failure::new("a node has stopped")),
        Err(_) => Err(Failure::new(format!("not after {} s: {what}", STEP_DEADLINE.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::TAG;
    use super::*;
    use pyrsia_pipeline::{BuildStatus, BuildView};
    use std::collections::BTreeMap;

    /// Every file of the demo's image, as a pipeline of its own builds it.
    async fn built(folder: &Path, mapping: &Path) -> BTreeMap<String, Vec<u8>> {
        let pipeline = start_pipeline(folder, mapping).await.unwrap();
        let request = serde_json::json!({ "package_type": "Docker", "package_specific_id": format!("{REPOSITORY}:{TAG}") });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let id: String = http.put(format!("{}/build", pipeline.url())).json(&request).send().await.unwrap().json().await.unwrap();
        let begin = Instant::now();
        let urls = loop {
            assert!(begin.elapsed() < STEP_DEADLINE, "the build does not end");
            let view: BuildView = http.get(format!("{}/build/{id}", pipeline.url())).send().await.unwrap().json().await.unwrap();
            match view.status {
                BuildStatus::Running => tokio::time::sleep(ADDRESS_POLL).await,
                BuildStatus::Success { artifact_urls } => break artifact_urls,
                BuildStatus::Failure(reason) => panic!("the demo's image cannot be built: {reason}"),
            }
        };
        let mut files = BTreeMap::new();
        for url in urls {
            let bytes = http.get(format!("{}{url}", pipeline.url())).send().await.unwrap().bytes().await.unwrap();
            files.insert(url.rsplit('/').next().unwrap_or_default().to_owned(), bytes.to_vec());
        }
        pipeline.stop().await.unwrap();
        files
    }

    #[tokio::test]
    async fn two_pipelines_build_the_same_image_from_the_repository() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let root = tempfile::tempdir().unwrap();
        let source = SourceRepository::make(&root.path().join("source")).unwrap();
        let mapping = write_mapping(root.path(), &source).unwrap();
        let first = built(&root.path().join("a"), &mapping).await;
        let second = built(&root.path().join("b"), &mapping).await;
        assert!(first.contains_key("manifest") && first.len() >= 3, "{:?}", first.keys());
        assert_eq!(first, second);
    }
}
