//! The builder for Maven packages: `mvn` run on the files of one git commit, and what it deployed of the package that was asked for.
//!
//! It owns what Maven is told (settings, local repository, where it deploys, which time archives show), the one repository that
//! a build reaches, and what is collected. Checkout, isolation, environment and limits are those of build programs.
//!
//! ```text
//! source -> mvn deploy -> folder "deployed" -> files of the coordinate -> artifacts
//!            |  no network but 127.0.0.1
//!            v
//!           gate -> build repository -> cache -> configured repositories
//! ```

use std::ffi::OsString;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use reqwest::Client;
use tokio::net::TcpListener;
use tokio::process::Command;
use url::Url;

use self::cache::Cache;
use self::installation::MavenBuilder;
use self::recipe::MavenRecipe;
use self::repository::BuildRepository;
use self::source::{Source, SourceError};
use crate::builders::{BuildContext, BuildError};
use crate::git::Checkout;
use crate::http::connections;
use crate::process::{self, ProcessError, Stdout};
use crate::program::environment::{self, Folders};
#[cfg(target_os = "linux")]
use crate::program::gate::{self, Gate, GateError};
use crate::program::isolation::{Network, SHARED_FOLDERS};
use crate::program::output::{self, OutputError};
use crate::program::source_tree;
use crate::wire::Phase;

pub(crate) mod cache;
pub(crate) mod coordinate;
mod deployment;
mod failure;
pub(crate) mod installation;
mod path;
mod pom;
pub(crate) mod recipe;
mod repository;
mod source;
pub(crate) mod upstream;

/// The name of the repository in what Maven says.
const REPOSITORY_ID: &str = "pyrsia";

#[derive(Debug, thiserror::Error)]
pub(crate) enum MavenError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("mvn failed: {0}")]
    Failed(String),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("the source has no module {wanted}: it has {present}")]
    NoModule { wanted: String, present: String },
    #[error("mvn ended well and deployed nothing: the goals of the recipe have to deploy")]
    NothingDeployed,
    #[error("the source is {deployed}, and {wanted} was asked for")]
    OtherDeployed { deployed: String, wanted: String },
    #[error("what mvn deployed is refused")]
    Output(#[source] OutputError),
    #[error("cannot prepare the build's folders")]
    Folders(#[source] io::Error),
    #[cfg(target_os = "linux")]
    #[error("cannot part the build from the network")]
    Gate(#[from] GateError),
}

/// What builds of Maven packages share.
#[derive(Debug, Clone)]
pub(crate) struct MavenService {
    pub(crate) builder: MavenBuilder,
    pub(crate) cache: Cache,
    pub(crate) http: Client,
}

/// The folders and files of one run besides the source.
struct Workplace {
    folders: Folders,
    local_repository: PathBuf,
    deployed: PathBuf,
    settings: PathBuf,
    global_settings: PathBuf,
    toolchains: PathBuf,
}

pub(crate) async fn build(recipe: &MavenRecipe, context: &BuildContext) -> Result<(), BuildError> {
    let log = &context.log;
    let Some(service) = &context.maven else { return Err(BuildError::NoMaven) };
    let options = &recipe.options;
    log.line(format!("building maven {} from {} of {}", recipe.coordinate, recipe.revision, recipe.url));
    log.line(format!("with Maven {} and JDK {}", options.maven.name, options.jdk.name));
    let checkout = context.fetch(&recipe.url, &recipe.revision).await?;
    let (root, committed_at, abandoned) = (checkout.root.clone(), checkout.committed_at, context.abandoned.clone());
    let directory = options.directory.clone();
    let opened = context.blocking(move || {
        source_tree::make_uniform(&root, committed_at, &abandoned).map_err(MavenError::Folders)?;
        Source::open(&root, &directory).map_err(MavenError::from)
    });
    let source = opened.await??;

    let (urls, delay) = (&service.builder.repositories, context.retry_delay);
    let repository = BuildRepository::new(urls, &service.http, &service.cache, delay, log);
    let ran = run(recipe, &checkout, &source, service, &repository, context).await;
    repository.list();
    let cache = service.cache.clone();
    if let Err(error) = context.blocking(move || cache.trim()).await? {
        tracing::warn!(%error, "cannot trim the Maven cache");
    }
    let deployed = ran?;

    context.enter(Phase::Collecting);
    let own = recipe.coordinate.folder().display().to_string();
    if repository.resolved_below(&own) > 0 {
        log.line(format!("note: the build fetched files of {} itself from the configured repositories", recipe.coordinate));
    }
    let (wanted, artifacts, abandoned) = (recipe.coordinate.clone(), context.artifacts.clone(), context.abandoned.clone());
    let kept = context.blocking(move || {
        let folder = deployment::find(&deployed, &wanted).map_err(MavenError::Folders)?.map_err(|deployed| {
            if deployed.is_empty() {
                MavenError::NothingDeployed
            } else {
                MavenError::OtherDeployed { deployed, wanted: wanted.to_string() }
            }
        })?;
        output::keep(&folder, &artifacts, &abandoned).map_err(MavenError::Output)
    });
    Ok(kept.await??)
}

/// Runs Maven to its end, and returns the folder that it deployed to.
async fn run(
    recipe: &MavenRecipe,
    checkout: &Checkout,
    source: &Source,
    service: &MavenService,
    repository: &BuildRepository,
    context: &BuildContext,
) -> Result<PathBuf, MavenError> {
    let access = Access::new(context).await?;
    let workplace = prepare(&access.url, service, context).await.map_err(MavenError::Folders)?;
    context.enter(Phase::Building);
    if !context.isolation.hides_folders() {
        context.log.line(SHARED_FOLDERS);
    }
    let mut command = command(recipe, checkout, source, &workplace, &access, context);
    let arguments = arguments(recipe, checkout, source, &workplace);
    context
        .log
        .line(format!("running mvn {}", arguments.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")));
    command.args(arguments);
    let (stdin, way) = access.split();
    let serve = async {
        let listener = match way.listener().await {
            // The program that should have handed it over has ended, and what it said is the reason.
            #[cfg(target_os = "linux")]
            Err(MavenError::Gate(GateError::NoSocket)) => std::future::pending().await,
            other => other?,
        };
        connections::serve(listener, repository.clone(), std::future::pending()).await;
        Ok::<_, MavenError>(())
    };
    let watched = workplace.deployed.join(recipe.coordinate.folder());
    let ended = tokio::select! {
        ended = process::run_to_end("mvn", command, stdin, Stdout::Log, &context.log) => ended?,
        Err(error) = serve => return Err(error),
        refused = output::watch(&watched, &context.artifacts) => return Err(MavenError::Output(refused)),
    };
    if ended.status.success() {
        return Ok(workplace.deployed);
    }
    let reason = failure::reason(&ended.output, &checkout.root);
    let wanted = &recipe.coordinate;
    match reason {
        Some(reason) if recipe.options.module.is_none() && reason.contains("Could not find the selected project") => {
            let wanted = format!("{}:{}", wanted.group, wanted.artifact);
            Err(MavenError::NoModule { wanted, present: source.coordinates() })
        }
        Some(reason) => Err(MavenError::Failed(reason)),
        None => Err(MavenError::Process(ended.failure("mvn"))),
    }
}

/// How a build reaches its repository.
struct Access {
    url: String,
    network: Network,
    stdin: std::process::Stdio,
    way: Way,
}

enum Way {
    Open(TcpListener),
    #[cfg(target_os = "linux")]
    Gate(Gate),
}

impl Access {
    async fn new(context: &BuildContext) -> Result<Self, MavenError> {
        #[cfg(target_os = "linux")]
        if context.isolation.has_network_barrier() {
            let (gate, stdin) = Gate::new()?;
            let url = format!("http://{}:{}/", Ipv4Addr::LOCALHOST, gate::PORT);
            return Ok(Self { url, network: Network::Gate, stdin, way: Way::Gate(gate) });
        }
        context.log.line(
            "note: this machine cannot keep the build from the network: it is asked to use the configured repositories only",
        );
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(MavenError::Folders)?;
        let address = listener.local_addr().map_err(MavenError::Folders)?;
        let stdin = std::process::Stdio::null();
        Ok(Self { url: format!("http://{address}/"), network: Network::Open, stdin, way: Way::Open(listener) })
    }

    fn split(self) -> (std::process::Stdio, Way) {
        (self.stdin, self.way)
    }
}

impl Way {
    async fn listener(self) -> Result<TcpListener, MavenError> {
        match self {
            Self::Open(listener) => Ok(listener),
            #[cfg(target_os = "linux")]
            Self::Gate(gate) => Ok(gate.opened().await?),
        }
    }
}

async fn prepare(url: &str, service: &MavenService, context: &BuildContext) -> io::Result<Workplace> {
    let below = |name: &str| context.work.join(name);
    let workplace = Workplace {
        folders: Folders { home: below("home"), temporary: below("tmp") },
        local_repository: below("repository"),
        deployed: below("deployed"),
        settings: below("settings.xml"),
        global_settings: below("global-settings.xml"),
        toolchains: below("toolchains.xml"),
    };
    let Folders { home, temporary } = &workplace.folders;
    for folder in [home, temporary, &workplace.local_repository, &workplace.deployed] {
        tokio::fs::create_dir(folder).await?;
    }
    tokio::fs::write(&workplace.settings, settings(url)).await?;
    tokio::fs::write(&workplace.global_settings, "<settings/>\n").await?;
    tokio::fs::write(&workplace.toolchains, toolchains(&service.builder)).await?;
    Ok(workplace)
}

/// One mirror of everything: whatever a pom calls a repository, its files come from the configured ones.
fn settings(url: &str) -> String {
    format!(
        "<settings>\n  <interactiveMode>false</interactiveMode>\n  <mirrors>\n    <mirror>\n      <id>{REPOSITORY_ID}</id>\n      \
         <mirrorOf>*</mirrorOf>\n      <url>{url}</url>\n    </mirror>\n  </mirrors>\n</settings>\n"
    )
}

/// For builds that choose a JDK by its version (maven-toolchains-plugin).
fn toolchains(builder: &MavenBuilder) -> String {
    let toolchain = |name: &str, home: &Path| {
        format!(
            "  <toolchain>\n    <type>jdk</type>\n    <provides><version>{name}</version></provides>\n    \
             <configuration><jdkHome>{}</jdkHome></configuration>\n  </toolchain>\n",
            escaped(&home.display().to_string())
        )
    };
    let all: String = builder.jdks.iter().map(|jdk| toolchain(&escaped(&jdk.name), &jdk.home)).collect();
    format!("<toolchains>\n{all}</toolchains>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn command(
    recipe: &MavenRecipe,
    checkout: &Checkout,
    source: &Source,
    workplace: &Workplace,
    access: &Access,
    context: &BuildContext,
) -> Command {
    let (maven, jdk) = (&recipe.options.maven, &recipe.options.jdk);
    let prefix = context.isolation.prefix(access.network, &context.work);
    let mut command = environment::clean_command(prefix, &source.folder, &workplace.folders, checkout.committed_at);
    command.arg(maven.home.join("bin/mvn")).env("JAVA_HOME", &jdk.home).env("MAVEN_SKIP_RC", "true");
    // What a build starts by its name is of the same JDK.
    let machine = environment::search_path();
    if let Ok(path) = std::env::join_paths([jdk.home.join("bin")].into_iter().chain(std::env::split_paths(&machine))) {
        command.env("PATH", path);
    }
    // The JVM takes both from the machine, whatever the environment says. The words of this variable cannot be quoted.
    let Folders { home, temporary } = &workplace.folders;
    let (home, temporary) = (home.to_string_lossy(), temporary.to_string_lossy());
    if !home.contains(char::is_whitespace) {
        command.env("MAVEN_OPTS", format!("-Duser.home={home} -Djava.io.tmpdir={temporary}"));
    }
    command
}

fn arguments(recipe: &MavenRecipe, checkout: &Checkout, source: &Source, workplace: &Workplace) -> Vec<OsString> {
    let options = &recipe.options;
    let mut words: Vec<OsString> = ["--batch-mode", "--no-transfer-progress", "-Dstyle.color=never"].map(OsString::from).to_vec();
    for (option, file) in [("-s", &workplace.settings), ("-gs", &workplace.global_settings), ("-t", &workplace.toolchains)] {
        words.extend([option.into(), file.into()]);
    }
    let mut define = |name: &str, value: &str| words.push(format!("-D{name}={value}").into());
    define("maven.repo.local", &workplace.local_repository.to_string_lossy());
    // Version 2 of the deploy plugin wants the layout between, and the later ones take it.
    let deployed = Url::from_file_path(&workplace.deployed).map(String::from).unwrap_or_default();
    define("altDeploymentRepository", &format!("{REPOSITORY_ID}-output::default::{deployed}"));
    const TIMESTAMP: &str = "project.build.outputTimestamp";
    // The option would win over the pom.
    if !source.has_output_timestamp && !options.properties.contains_key(TIMESTAMP) {
        define(TIMESTAMP, &iso_time(checkout.committed_at));
    }
    if options.skip_tests && !options.properties.contains_key("skipTests") {
        define("skipTests", "true");
    }
    for (name, value) in &options.properties {
        define(name, value);
    }
    if !options.profiles.is_empty() {
        words.extend(["-P".into(), options.profiles.join(",").into()]);
    }
    let coordinate = format!("{}:{}", recipe.coordinate.group, recipe.coordinate.artifact);
    words.extend(["-pl".into(), options.module.clone().unwrap_or(coordinate).into(), "-am".into()]);
    words.extend(options.goals.iter().map(OsString::from));
    words
}

/// As `2026-11-21T14:00:00Z`, which all plugins read.
fn iso_time(unix_seconds: u64) -> String {
    let seconds = i64::try_from(unix_seconds).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}
