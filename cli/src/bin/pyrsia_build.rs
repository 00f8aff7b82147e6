//! `pyrsia_build`: the build pipeline service as a program.
//!
//! It reads flags and environment, starts logging and signals, and runs `pyrsia_pipeline`; how things are built is not
//! its business. It starts with no argument at all.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgAction, Parser, ValueEnum};
use pyrsia_pipeline::{
    BuilderChoice, BuilderProgram, Config, JdkHome, LocalSources, MappingLocation, MavenBuilder, MavenHome,
    PUBLIC_DOCKER_UPSTREAM,
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use url::Url;

/// Without RUST_LOG: what an operator wants to see.
const DEFAULT_LOG_FILTER: &str = "info,poem=warn";

/// The Pyrsia build pipeline: builds packages for a node and hands the results out over HTTP.
#[derive(Debug, Parser)]
#[command(name = "pyrsia_build", version)]
struct Arguments {
    /// Address or host name to listen on.
    #[arg(short = 'H', long, env = "PYRSIA_BUILD_HOST", default_value = "127.0.0.1")]
    host: String,

    /// Port to listen on; 0 takes any free one.
    #[arg(short, long, env = "PYRSIA_BUILD_PORT", default_value_t = Config::DEFAULT_PORT)]
    port: u16,

    /// Folder for build records, logs and artifacts.
    #[arg(long, env = "PYRSIA_BUILD_PATH", default_value = "pyrsia_build", value_name = "DIR")]
    data_dir: PathBuf,

    /// Which builder serves which package: a TOML or JSON file, the http(s) url of a mapping service, or a folder laid out as one.
    #[arg(long, env = "PYRSIA_BUILD_MAPPING", value_name = "FILE|URL|FOLDER")]
    mapping: Option<String>,

    /// Registry for imports without a mapping and for base images; may be https://user:password@registry.example.
    #[arg(long, env = "PYRSIA_UPSTREAM", hide_env_values = true, default_value = PUBLIC_DOCKER_UPSTREAM, value_name = "URL", value_parser = upstream)]
    upstream: Url,

    /// What builds Dockerfiles.
    #[arg(long, env = "PYRSIA_BUILD_BUILDER", value_enum, default_value = "auto")]
    builder: Builder,

    /// Program that builds packages of a type other than Docker; may be given for several types.
    #[arg(long, env = "PYRSIA_BUILD_BUILDER_PROGRAM", value_name = "TYPE=PATH", value_delimiter = ',')]
    builder_program: Vec<String>,

    /// Installation of Maven, by its version or a name of your own; the first is the default [default: that of mvn on the PATH]
    #[arg(long, env = "PYRSIA_BUILD_MAVEN", value_name = "[NAME=]HOME", value_delimiter = ',')]
    maven: Vec<String>,

    /// JDK that Maven runs with, by its version or a name of your own; the first is the default [default: that of java on the PATH]
    #[arg(long, env = "PYRSIA_BUILD_JDK", value_name = "[NAME=]HOME", value_delimiter = ',')]
    jdk: Vec<String>,

    /// Where Maven builds find plugins and dependencies, asked in this order; may be https://user:password@maven.example
    /// [default: the one that Maven itself names]
    #[arg(long, env = "PYRSIA_BUILD_MAVEN_REPOSITORY", hide_env_values = true, value_name = "URL", value_delimiter = ',')]
    maven_repository: Vec<Url>,

    /// Whether git repositories on this machine may be built [default: true on a loopback address]
    #[arg(long, env = "PYRSIA_BUILD_ALLOW_LOCAL_SOURCES", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    allow_local_sources: Option<bool>,

    /// Builds that run at the same time.
    #[arg(long, env = "PYRSIA_BUILD_MAX_CONCURRENT_BUILDS", default_value_t = Config::DEFAULT_MAX_CONCURRENT_BUILDS, value_parser = at_least_one)]
    max_concurrent_builds: usize,

    /// Builds that wait for a free place; more are refused.
    #[arg(long, env = "PYRSIA_BUILD_MAX_QUEUED_BUILDS", default_value_t = Config::DEFAULT_MAX_QUEUED_BUILDS)]
    max_queued_builds: usize,

    /// Finished builds that are kept.
    #[arg(long, env = "PYRSIA_BUILD_MAX_KEPT_BUILDS", default_value_t = Config::DEFAULT_MAX_KEPT_BUILDS, value_parser = at_least_one)]
    max_kept_builds: usize,

    /// Time limit of one build, for example 90m or 2h.
    #[arg(long, env = "PYRSIA_BUILD_TIMEOUT", default_value = "2h", value_parser = humantime::parse_duration)]
    build_timeout: Duration,

    /// Largest single file a build may give.
    #[arg(long, env = "PYRSIA_BUILD_MAX_ARTIFACT_BYTES", default_value_t = Config::DEFAULT_MAX_ARTIFACT_BYTES, value_name = "BYTES")]
    max_artifact_bytes: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Builder {
    /// The docker engine when one answers, the embedded builder otherwise.
    Auto,
    /// The docker engine.
    Docker,
    /// The embedded builder: Dockerfiles without RUN.
    Embedded,
}

fn upstream(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let fits = matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none();
    if fits { Ok(url) } else { Err("use an http or https url of a registry".to_owned()) }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "use a number greater than 0".to_owned())
}

impl Arguments {
    /// With options that cannot be used the pipeline does not start; without any it builds Maven packages where it can.
    fn maven(&self) -> anyhow::Result<Option<MavenBuilder>> {
        if self.maven.is_empty() && self.jdk.is_empty() && self.maven_repository.is_empty() {
            return Ok(MavenBuilder::on_path());
        }
        let maven = |text: &String| text.parse().with_context(|| format!("--maven {text}"));
        let mut mavens: Vec<MavenHome> = self.maven.iter().map(maven).collect::<anyhow::Result<_>>()?;
        let jdk = |text: &String| text.parse().with_context(|| format!("--jdk {text}"));
        let mut jdks: Vec<JdkHome> = self.jdk.iter().map(jdk).collect::<anyhow::Result<_>>()?;
        if mavens.is_empty() {
            mavens.extend(MavenHome::on_path());
        }
        if jdks.is_empty() {
            jdks.extend(JdkHome::on_path());
        }
        Ok(Some(MavenBuilder::new(mavens, jdks, self.maven_repository.clone())?))
    }

    async fn config(self) -> anyhow::Result<Config> {
        let listen: SocketAddr = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .ok()
            .and_then(|mut addresses| addresses.next())
            .with_context(|| format!("{:?} is no address of this machine; use for example -H 127.0.0.1", self.host))?;
        let maven = self.maven()?;
        let mapping = match self.mapping {
            None => MappingLocation::None,
            Some(text) if text.starts_with("http://") || text.starts_with("https://") => {
                MappingLocation::Service(Url::parse(&text).with_context(|| format!("{text:?} is no url"))?)
            }
            Some(text) => {
                let path = Url::parse(&text).ok().filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok());
                let path = path.unwrap_or_else(|| text.into());
                if path.is_dir() { MappingLocation::Folder(path) } else { MappingLocation::File(path) }
            }
        };
        let program = |text: &String| text.parse().with_context(|| format!("--builder-program {text}"));
        let builder_programs: Vec<BuilderProgram> = self.builder_program.iter().map(program).collect::<anyhow::Result<_>>()?;
        let local_sources = if self.allow_local_sources.unwrap_or(listen.ip().is_loopback()) {
            LocalSources::Allowed
        } else {
            LocalSources::Refused
        };
        Ok(Config {
            listen,
            mapping,
            upstream: Some(self.upstream),
            builder: match self.builder {
                Builder::Auto => BuilderChoice::Auto,
                Builder::Docker => BuilderChoice::Docker,
                Builder::Embedded => BuilderChoice::Embedded,
            },
            builder_programs,
            maven,
            network_gate: network_gate(),
            local_sources,
            max_concurrent_builds: self.max_concurrent_builds,
            max_queued_builds: self.max_queued_builds,
            max_kept_builds: self.max_kept_builds,
            max_artifact_bytes: self.max_artifact_bytes,
            build_timeout: self.build_timeout,
            ..Config::new(self.data_dir)
        })
    }
}

/// The first argument of this program where it is what runs first inside the namespace of a build.
#[cfg(target_os = "linux")]
const GATE: &str = "run-behind-gate";

fn network_gate() -> Option<Vec<OsString>> {
    #[cfg(target_os = "linux")]
    return Some(vec![std::env::current_exe().ok()?.into(), GATE.into()]);
    #[cfg(not(target_os = "linux"))]
    None
}

fn main() -> ExitCode {
    // Before there are other threads: it gives up rights, which is each thread's own affair.
    #[cfg(target_os = "linux")]
    if std::env::args_os().nth(1).is_some_and(|word| word == GATE) {
        return pyrsia_pipeline::run_behind_gate(std::env::args_os().skip(2));
    }
    serve(Arguments::parse())
}

#[tokio::main]
async fn serve(arguments: Arguments) -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG_FILTER));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        // Printing such an error panics where stderr is what failed, as it does when the reader of a pipe has gone.
        .log_internal_errors(false)
        .init();
    pyrsia_cli::open_files::allow_many();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = arguments.config().await?;
    if !config.listen.ip().is_loopback() {
        tracing::warn!("{} can be reached from other machines, and anybody who reaches it can start builds", config.listen);
    }
    let shutdown = CancellationToken::new();
    let stopping = shutdown.clone();
    let mut interrupt = signal::interrupt().context("cannot listen for signals")?;
    tokio::spawn(async move {
        interrupt.recv().await;
        tracing::info!("stopping");
        stopping.cancel();
    });
    pyrsia_pipeline::serve(config, shutdown).await?;
    tracing::info!("stopped");
    Ok(())
}

mod signal {
    //! The wish to stop, as the operating system tells it.

    #[cfg(unix)]
    pub(crate) fn interrupt() -> std::io::Result<Interrupt> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Interrupt { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    #[cfg(unix)]
    pub(crate) struct Interrupt {
        interrupt: tokio::signal::unix::Signal,
        terminate: tokio::signal::unix::Signal,
    }

    #[cfg(unix)]
    impl Interrupt {
        pub(crate) async fn recv(&mut self) {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn interrupt() -> std::io::Result<Interrupt> {
        Ok(Interrupt)
    }

    #[cfg(not(unix))]
    pub(crate) struct Interrupt;

    #[cfg(not(unix))]
    impl Interrupt {
        pub(crate) async fn recv(&mut self) {
            // Without a signal to wait for there is nothing that stops the program from outside but its end.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
