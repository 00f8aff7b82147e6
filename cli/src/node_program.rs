//! The program `pyrsia_node`: a node and its HTTP side, from the command line to a clean stop.
//!
//! Owns the order of start and stop, and what a person is told when one of them fails. What the settings mean
//! is in the modules below; what a node does is in the node's own room.

mod arguments;
mod bucket;
mod compiling;
mod configuration;
mod folders;
mod health;
mod idle_memory;
mod network;
mod stopping;
mod storage;
mod supervisor;
mod switch;
mod telemetry;
mod waits;

pub use arguments::NodeArguments;

use crate::admin_token::{self, LeftToken};
use crate::exit::Failure;
use crate::logging;
use crate::open_files;
use crate::traces::Traces;
use configuration::Asked;
use pyrsia_node::{Node, NodeConfig};
use pyrsia_registry::{Registry, RegistryConfig};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use stopping::Signals;
use tracing::{info, warn};
use tracing_subscriber::Layer;

/// How long work on threads that cannot be interrupted may go on when all else has ended.
const RUNTIME_END_MAX: Duration = Duration::from_secs(5);

pub fn main() -> ExitCode {
    if compiling::is_asked() {
        return compiling::run();
    }
    let done = configuration::read(std::env::args_os().collect(), &|name| std::env::var_os(name)).and_then(|asked| match asked {
        Asked::Node(arguments, file) => run(*arguments, file.as_deref()).map(|()| ExitCode::SUCCESS),
        Asked::Health(health, listens_on) => {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            health.run(listens_on).map(|()| ExitCode::SUCCESS)
        }
        Asked::Done(code) => Ok(code),
    });
    done.unwrap_or_else(|failure| failure.report("error: "))
}

fn run(arguments: NodeArguments, file: Option<&Path>) -> Result<(), Failure> {
    // The only failure left here is that another provider stands already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::because("the node cannot start", &error))?;
    let traces = arguments.telemetry.traces().map(|config| Traces::start(&config, "pyrsia_node", runtime.handle().clone()));
    let traces = traces.transpose().map_err(|error| Failure::because("traces cannot be made", &error))?;
    let layer = traces.as_ref().map(|traces| traces.layer().boxed());
    logging::start(arguments.log_format, logging::NODE_DEFAULT, layer)
        .map_err(|error| Failure::because("logging cannot start", &error))?;
    if let Some(file) = file {
        info!("The settings of {} hold where neither a flag nor a variable says otherwise", file.display());
    }
    open_files::allow_many();
    arguments.folders.folders().prepare()?;
    let end = runtime.block_on(async {
        let end = serve(arguments).await;
        if let Some(traces) = traces {
            traces.stop().await;
        }
        end
    });
    runtime.shutdown_timeout(RUNTIME_END_MAX);
    end
}

async fn serve(arguments: NodeArguments) -> Result<(), Failure> {
    let mut signals = Signals::receive()?;
    let address = SocketAddr::new(arguments.host, arguments.port);
    let config = arguments.node_config();
    let (artifact_path, stands_alone) = (config.artifact_path.clone(), stands_alone(&config));
    let ledger_path = config.ledger_path.clone();
    let mut registry_config = RegistryConfig::new(address, String::new());
    registry_config.public_url = arguments.public_url.map(String::from);
    arguments.telemetry.apply(arguments.log_format, &mut registry_config);
    let drain = registry_config.stop_grace.saturating_add(registry_config.drain_timeout);
    let started = tokio::select! {
        started = Node::start(config) => started,
        signal = signals.next() => {
            info!("{signal} received while the node starts, it ends as it stands, which its files bear");
            supervisor::stopping(Duration::ZERO);
            return Ok(());
        }
    };
    let mut node = started.map_err(|error| start_failure(&error, &ledger_path))?;
    let (registry, left_token) = match start_registry(&node, registry_config, &artifact_path).await {
        Ok(started) => started,
        Err(failure) => {
            node.stop().await;
            return Err(failure);
        }
    };
    announce(&node, registry.address(), stands_alone);
    supervisor::ready();
    idle_memory::keep_low();
    let end = tokio::select! {
        signal = signals.next() => {
            info!("{signal} received, the node stops");
            Ok(())
        }
        fatal = node.failed() => Err(Failure::because("the node cannot go on", &fatal)),
    };
    supervisor::stopping(drain);
    if let Some(Err(error)) = left_token.map(LeftToken::withdraw) {
        warn!("the admin token that was left for the pyrsia CLI cannot be removed: {error}");
    }
    stopping::stop(node, registry, &mut signals).await;
    end
}

async fn start_registry(
    node: &Node,
    config: RegistryConfig,
    artifact_path: &Path,
) -> Result<(Registry, Option<LeftToken>), Failure> {
    let admin_token =
        admin_token::of_node(artifact_path).map_err(|error| Failure::because("the admin token cannot be kept", &error))?;
    let config = RegistryConfig { admin_token: admin_token.clone(), ..config };
    let registry =
        Registry::start(node.handle(), config).await.map_err(|error| Failure::because("the node cannot serve HTTP", &error))?;
    let left_token = admin_token::share(registry.address().port(), &admin_token).inspect_err(|error| {
        let path = artifact_path.join("admin.token");
        warn!("the pyrsia CLI will not find the admin token by itself ({error}); give it the content of {}", path.display());
    });
    Ok((registry, left_token.ok()))
}

fn start_failure(error: &pyrsia_node::StartError, ledger: &Path) -> Failure {
    let failure = Failure::because("the node cannot start", error);
    match error {
        pyrsia_node::StartError::Ledger(error) if error.is_damage() => failure.hint(format!(
            "'pyrsia audit {}' shows everything that is wrong; moved away, the node takes the ledger from the others again",
            ledger.display()
        )),
        _ => failure.hint("run with RUST_LOG=pyrsia=debug to see more, and with --help for every setting"),
    }
}

/// Whether nothing tells the node where the others are.
fn stands_alone(config: &NodeConfig) -> bool {
    let told = !config.peers.is_empty() || !config.probe.is_empty() || config.bootstrap_url.is_some();
    !told && !config.listen_only && config.init_network.is_none()
}

fn announce(node: &Node, http: SocketAddr, stands_alone: bool) {
    let handle = node.handle();
    info!("Local node has peer id {}", handle.node_id());
    let ledger = handle.ledger();
    match &ledger.state {
        Some(state) => info!("The node follows network {} ({}) and has block {}", state.name(), state.network(), state.height()),
        None if stands_alone => warn!(
            "The node knows no other node and follows no network: give it --peer or --bootstrap-url, or found a network with --init-blockchain"
        ),
        None => info!("The node follows no network yet"),
    }
    if !http.ip().is_loopback() {
        warn!("The HTTP side listens on {http}, which other machines can reach: pulls and queries are open to all of them");
    }
    let ip = match http.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    info!("Pyrsia Node will start running on {ip}:{}", http.port());
}
