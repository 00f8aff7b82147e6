//! `pyrsia demo`: a whole network on this machine, from nothing to a verified pull.
//!
//! Owns the order of the steps. Everything in it is the real thing: four build nodes with a pipeline each, a regular node
//! with its registry, a git repository, consensus between them, and a pull over HTTP that is compared with the ledger.
//! It needs no docker, no configuration and no network but loopback.

mod network;
mod pull;
mod source;
mod story;
mod summary;

use crate::arguments::DemoArguments;
use crate::exit::Failure;
use crate::logging::{self, LogFormat};
use crate::open_files;
use network::{BUILD_NODES, Network};
use pull::Pulled;
use pyrsia_ledger::certificate::absolute_majority;
use pyrsia_ledger::projection::builds::BuildStatus;
use pyrsia_ledger::{BuildId, Height, NodeId, PackageCoordinate};
use pyrsia_node::{BuildReceipt, BuildView, BuildWish, OutcomeView};
use pyrsia_registry::wire::{InspectDockerRequest, LogRecord, LogView};
use source::SourceRepository;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use story::{Story, short};
use summary::Summary;

const PACKAGE_TYPE: &str = "docker";
const REPOSITORY: &str = "pyrsia/hello";
const TAG: &str = "1.0";
/// Far beyond what a slow machine needs for any one step.
const STEP_DEADLINE: Duration = Duration::from_secs(120);
/// A result that comes after the publication is worth showing, and not worth failing for.
const LATE_RESULT_WAIT: Duration = Duration::from_secs(20);

pub fn run(arguments: DemoArguments) -> Result<(), Failure> {
    logging::start(LogFormat::Text, logging::DEMO_DEFAULT, None)
        .map_err(|error| Failure::because("logging cannot start", &error))?;
    open_files::allow_many();
    // The only failure left here is that another provider stands already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::because("the demo cannot start", &error))?;
    let folder = Folder::make(arguments.keep.as_deref())?;
    runtime.block_on(async {
        let begin = Instant::now();
        let story = Story::new(arguments.output.json);
        story.title("Pyrsia demo: five nodes on this machine build, agree on, publish and pull an image");
        let source = SourceRepository::make(&folder.path().join("source")).map_err(|error| {
            Failure::because("the demo cannot make its git repository", &error).hint("the demo needs the git program")
        })?;
        let network = tokio::select! {
            network = start(folder.path(), &source, &story) => network?,
            () = interrupted() => return Err(Failure::new("interrupted")),
        };
        let told = tokio::select! {
            told = tell(&network, &source, &story, begin) => told,
            () = interrupted() => Err(Failure::new("interrupted")),
        };
        let ended = match &told {
            Ok(summary) => finish(summary, &network, &story, &arguments).await,
            Err(_) => Ok(()),
        };
        network.stop().await;
        told.and(ended).map_err(|failure| failure.hint("run the demo with RUST_LOG=pyrsia=debug to see what the nodes do"))
    })
}

/// Where the demo's nodes keep their data: a folder that goes away with the demo, or one to keep.
enum Folder {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn make(keep: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = keep else {
            let made = tempfile::Builder::new().prefix("pyrsia-demo-").tempdir();
            return made
                .map(Self::Temporary)
                .map_err(|error| Failure::because("the demo cannot make a temporary folder", &error));
        };
        let prepared = std::fs::create_dir_all(path).and_then(|()| {
            let used = std::fs::read_dir(path)?.next().is_some();
            if used { Err(io::Error::other("it is not empty")) } else { path.canonicalize() }
        });
        prepared
            .map(Self::Kept)
            .map_err(|error| Failure::because(&format!("the folder {} cannot be used", path.display()), &error))
            .map_err(|failure| failure.hint("name a new folder with --keep, or leave it out"))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }
}

async fn start(folder: &Path, source: &SourceRepository, story: &Story) -> Result<Network, Failure> {
    story.step("Each build node has its own key, ledger, artifact store and build pipeline; the regular node has a registry");
    Network::start(folder, source, |name, node, part| story.fact(name, &format!("{node}  {part}"))).await
}

/// Every step after the start, in the order in which it happens.
async fn tell(network: &Network, source: &SourceRepository, story: &Story, begin: Instant) -> Result<Summary, Failure> {
    story.step("Build node 1 founds a network; every other build node is authorized by a majority of those before it");
    network.authorize(|text| story.line(text)).await?;

    let text = format!("{REPOSITORY}:{TAG}");
    story.step(&format!("The regular node asks for a build of the {PACKAGE_TYPE} image {text}"));
    story.fact("source", &format!("git commit {}", source.commit()));
    let regular = network.regular();
    let refused = |error| Failure::because("the build was refused", &error);
    let coordinate = regular.parse_coordinate(PACKAGE_TYPE, &text).await.map_err(refused)?;
    let receipt = regular.request_build(BuildWish { coordinate: coordinate.clone(), again: false }).await.map_err(refused)?;
    let BuildReceipt::Requested(id) = receipt else {
        return Err(Failure::new(format!("a fresh network has no build of {coordinate}, and yet it answered {receipt:?}")));
    };
    story.fact("build", &id.to_string());

    let build = watch_build(network, &id, story).await?;
    let pulled = pull_image(network, &coordinate, story).await?;
    let log = show_log(network, &text, story).await?;
    let summary = Summary::new(network, source, &build, pulled, log, begin.elapsed());
    story.title(&format!(
        "Done in {:.1} s: {} of {} build nodes agree, and every byte pulled is what they agreed on",
        begin.elapsed().as_secs_f64(),
        summary.agreeing(),
        BUILD_NODES
    ));
    Ok(summary)
}

/// Shows what the regular node's ledger says of the build until it is published and every build node has reported.
async fn watch_build(network: &Network, id: &BuildId, story: &Story) -> Result<BuildView, Failure> {
    let regular = network.regular();
    let mut ledger = regular.watch_ledger();
    let mut shown = BTreeSet::new();
    let mut deadline = Instant::now() + STEP_DEADLINE;
    let (mut begun, mut published) = (false, None);
    loop {
        ledger.borrow_and_update();
        if let Some(view) = regular.build(id) {
            if !begun {
                let words = format!("the request stands on the ledger; its judges are the {} build nodes", view.judges.len());
                story.block(view.requested_at, &words);
                story.step("Every build node builds it from source on its own pipeline, commits to what it got, and shows it when all have");
                begun = true;
            }
            show_reports(network, &view, &mut shown, story);
            match view.status {
                BuildStatus::Committing | BuildStatus::Revealing | BuildStatus::Vouching { .. } | BuildStatus::Agreed { .. } => {}
                BuildStatus::Published { height } if published.is_none() => {
                    show_publication(&view, height, story);
                    deadline = Instant::now() + LATE_RESULT_WAIT;
                }
                BuildStatus::Published { .. } => {}
                BuildStatus::Failed | BuildStatus::Disputed { .. } => return Err(came_to_nothing(network, &view)),
            }
            if matches!(view.status, BuildStatus::Published { .. }) {
                if view.judges.iter().all(|judge| judge.outcome.is_some()) {
                    return Ok(view);
                }
                published = Some(view);
            }
        }
        match tokio::time::timeout_at(deadline.into(), ledger.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Failure::new("the regular node has stopped")),
            Err(_) => {
                let late = || Failure::new(format!("the build is not published after {} s", STEP_DEADLINE.as_secs()));
                return published.ok_or_else(late);
            }
        }
    }
}

/// What the judges did that was not shown before, in the order of the ledger.
fn show_reports(network: &Network, view: &BuildView, shown: &mut BTreeSet<(Height, NodeId)>, story: &Story) {
    let committed = view.judges.iter().filter_map(|judge| Some((judge.committed_at?, judge, None)));
    let revealed = view.judges.iter().filter_map(|judge| Some((judge.height?, judge, Some(outcome(judge.outcome.as_ref())))));
    let mut reports: Vec<_> = committed.chain(revealed).collect();
    reports.sort_by_key(|(height, judge, _)| (*height, judge.node));
    for (height, judge, said) in reports {
        if shown.insert((height, judge.node)) {
            let said = said.unwrap_or_else(|| "committed to a result, which nobody can see yet".to_owned());
            story.block(height, &format!("{}: {said}", network.name_of(&judge.node)));
        }
    }
}

fn show_publication(view: &BuildView, height: Height, story: &Story) {
    let (judges, majority) = (view.judges.len(), absolute_majority(view.judges.len()));
    story.step(&format!("{majority} of {judges} equal results are an absolute majority: what it agrees on is published"));
    let artifacts = view.agreement.as_ref().map_or(0, |agreement| agreement.artifacts);
    story.block(height, &format!("{artifacts} artifacts published"));
}

fn came_to_nothing(network: &Network, view: &BuildView) -> Failure {
    let said = view.judges.iter();
    let said = said.map(|judge| format!("\n  {}: {}", network.name_of(&judge.node), outcome(judge.outcome.as_ref())));
    Failure::new(format!("the build came to nothing:{}", said.collect::<String>()))
}

fn outcome(outcome: Option<&OutcomeView>) -> String {
    match outcome {
        None => "no result".to_owned(),
        Some(OutcomeView::Built { source, artifacts, result, canonical: _ }) => {
            format!(
                "{artifacts} artifacts from {} {}, result {}",
                source.kind,
                short(&source.revision),
                short(&result.to_string())
            )
        }
        Some(OutcomeView::Failed { reason }) => format!("the build failed: {reason}"),
        Some(OutcomeView::Abstained { reason }) => format!("could not build it: {reason}"),
    }
}

async fn pull_image(network: &Network, coordinate: &PackageCoordinate, story: &Story) -> Result<Pulled, Failure> {
    story.step(
        "The image is pulled through the regular node, which has to fetch it from the build nodes, and compared with the ledger",
    );
    let ledger = network.regular().ledger();
    let state = ledger.state.as_deref().ok_or_else(|| Failure::new("the regular node follows no network"))?;
    let records: Vec<_> = state.packages.records(coordinate).collect();
    let pulled = pull::pull(&network.registry_url(), REPOSITORY, TAG, &records).await;
    let pulled = pulled.map_err(|error| Failure::because("the pull failed", &error))?;
    for file in pulled.files() {
        story.fact(
            "verified",
            &format!("GET {}  {} bytes  sha256:{}", file.shown_path(), file.size_bytes, short(&file.sha256.to_string())),
        );
    }
    Ok(pulled)
}

async fn show_log(network: &Network, package: &str, story: &Story) -> Result<Vec<LogRecord>, Failure> {
    story.step(&format!("The transparency log, as `pyrsia inspect-log docker --image {package}` shows it"));
    let request = InspectDockerRequest { image: package.to_owned(), view: LogView::default() };
    let broken = |error: &dyn std::error::Error| Failure::because("the transparency log cannot be read", error);
    let answer = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().map_err(|error| broken(&error))?;
    let answer = answer.post(format!("{}/inspect/docker", network.registry_url())).json(&request).send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status).map_err(|error| broken(&error))?;
    let log: Vec<LogRecord> = answer.json().await.map_err(|error| broken(&error))?;
    story.text(&serde_json::to_string_pretty(&log).map_err(|error| broken(&error))?);
    Ok(log)
}

/// Prints the summary or the ways to go on, and with no `--exit` waits for Ctrl-C.
async fn finish(summary: &Summary, network: &Network, story: &Story, arguments: &DemoArguments) -> Result<(), Failure> {
    if arguments.output.json {
        let text =
            serde_json::to_string_pretty(summary).map_err(|error| Failure::because("the summary cannot be printed", &error))?;
        writeln!(io::stdout(), "{text}").map_err(|error| Failure::because("cannot write to stdout", &error))?;
    }
    if let Some(folder) = &arguments.keep {
        story.fact("kept", &format!("the data of every node is in {}", folder.display()));
    }
    if arguments.exit {
        return Ok(());
    }
    story.title("The network stays up until you press Ctrl-C; meanwhile, from another terminal:");
    story.text(&summary.docker_pull);
    story.text(&format!("curl {}/v2/{REPOSITORY}/manifests/{TAG}", network.registry_url()));
    let port = network.registry_port();
    story.text(&format!(
        "pyrsia config -e --host 127.0.0.1 --port {port} && pyrsia inspect-log docker --image {REPOSITORY}:{TAG}"
    ));
    interrupted().await;
    Ok(())
}

async fn interrupted() {
    // Without a handler the system ends the program by itself.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_is_not_taken() {
        let root = tempfile::tempdir().unwrap();
        assert!(Folder::make(Some(&root.path().join("new/folder"))).is_ok());
        let refused = Folder::make(Some(root.path())).map(drop).unwrap_err();
        assert!(refused.to_string().contains("not empty"), "{refused}");
    }
}
