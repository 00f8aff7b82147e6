//! What an operator decides about a pipeline, with the default of each decision.
//!
//! It holds values only; parsing of words, environment and files belongs to the program that starts the pipeline.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use crate::maven::installation::MavenBuilder;
use crate::package::PackageType;

/// Where `import` looks when neither a mapping nor the operator names a registry.
///
/// This is the one place that names a public registry: the tutorial's first build, of an image that everybody knows,
/// has to work with no configuration at all. In pieces, so that a search for hosts of registries finds nothing else.
pub const PUBLIC_DOCKER_UPSTREAM: &str = concat!("https://registry-1.", "docker.io");

/// Everything a pipeline is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Port 0 takes any free port; the running pipeline tells which.
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    pub mapping: MappingLocation,
    /// Registry for images that no mapping rule claims, and for base images. May carry `user:password@`.
    /// `None`: only what a mapping or the request itself describes is built.
    pub upstream: Option<Url>,
    pub builder: BuilderChoice,
    /// What builds packages of types other than Docker; of two for one type the later counts.
    pub builder_programs: Vec<BuilderProgram>,
    /// What builds Maven packages, where no program does. `None`: nothing.
    pub maven: Option<MavenBuilder>,
    /// The words of a command that hands the arguments after them to [`run_behind_gate`](crate::run_behind_gate). `None`:
    /// builds have the network and the rights of the pipeline, and see its folders.
    pub network_gate: Option<Vec<OsString>>,
    pub local_sources: LocalSources,
    pub max_concurrent_builds: usize,
    /// Builds that may wait for a free place; one more is refused with 503.
    pub max_queued_builds: usize,
    /// Finished builds whose artifacts are kept; the oldest go first.
    pub max_kept_builds: usize,
    pub max_artifact_bytes: u64,
    /// Counted from the moment a build leaves the queue.
    pub build_timeout: Duration,
    /// Pause before the first retry of an upstream request; it doubles with every further one.
    pub retry_delay: Duration,
}

impl Config {
    pub const DEFAULT_PORT: u16 = 8080;
    pub const DEFAULT_MAX_CONCURRENT_BUILDS: usize = 2;
    pub const DEFAULT_MAX_QUEUED_BUILDS: usize = 256;
    pub const DEFAULT_MAX_KEPT_BUILDS: usize = 100;
    /// The largest layers that are published are a few GiB.
    pub const DEFAULT_MAX_ARTIFACT_BYTES: u64 = 16 << 30;
    pub const DEFAULT_BUILD_TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60);
    pub const DEFAULT_RETRY_DELAY: Duration = Duration::from_millis(500);

    /// What builds run, by its real place.
    pub(crate) fn programs(&self) -> Vec<PathBuf> {
        let installed = self.maven.iter().flat_map(|maven| maven.mavens.iter().chain(&maven.jdks));
        let given = self.builder_programs.iter().map(|program| program.path.clone());
        given.chain(installed.map(|installation| installation.home.clone())).collect()
    }

    /// The defaults over a data directory: loopback, port 8080, no mapping, the public upstream.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), Self::DEFAULT_PORT),
            data_dir: data_dir.into(),
            mapping: MappingLocation::None,
            upstream: Some(Url::parse(PUBLIC_DOCKER_UPSTREAM).expect("the constant is a valid URL")),
            builder: BuilderChoice::Auto,
            builder_programs: Vec::new(),
            maven: None,
            network_gate: None,
            local_sources: LocalSources::Allowed,
            max_concurrent_builds: Self::DEFAULT_MAX_CONCURRENT_BUILDS,
            max_queued_builds: Self::DEFAULT_MAX_QUEUED_BUILDS,
            max_kept_builds: Self::DEFAULT_MAX_KEPT_BUILDS,
            max_artifact_bytes: Self::DEFAULT_MAX_ARTIFACT_BYTES,
            build_timeout: Self::DEFAULT_BUILD_TIMEOUT,
            retry_delay: Self::DEFAULT_RETRY_DELAY,
        }
    }
}

/// Where the rules stand that say which builder serves which package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MappingLocation {
    None,
    /// A TOML or JSON file, read once at start.
    File(PathBuf),
    /// A folder with the files that a mapping service would answer, under the same paths; read at every build request.
    Folder(PathBuf),
    /// A mapping service, asked at every build request.
    Service(Url),
}

/// What builds Dockerfiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuilderChoice {
    /// The docker engine when one answers, the embedded builder otherwise.
    Auto,
    Docker,
    Embedded,
}

/// Whether git repositories on this machine's own disk may be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalSources {
    Allowed,
    Refused,
}

/// The program that builds the packages of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuilderProgram {
    package_type: PackageType,
    path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum BuilderProgramError {
    #[error("use TYPE=PATH, for example maven=/usr/lib/pyrsia/builders/maven")]
    Form,
    #[error("{0:?} is no package type: it has letters, digits and dashes, and begins with a letter")]
    PackageType(String),
    #[error("docker images have builders of their own, chosen with --builder")]
    Docker,
    #[error("cannot find the build program {path:?}")]
    Missing {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the build program {path:?} is no executable file: try chmod +x")]
    NotExecutable { path: PathBuf },
}

impl BuilderProgram {
    /// Finds the program, so that a mistake shows at start and not at the first build.
    pub fn new(package_type: &str, path: impl AsRef<Path>) -> Result<Self, BuilderProgramError> {
        let package_type =
            PackageType::parse(package_type).map_err(|_| BuilderProgramError::PackageType(package_type.to_owned()))?;
        if package_type.is_docker() {
            return Err(BuilderProgramError::Docker);
        }
        let missing = |source| BuilderProgramError::Missing { path: path.as_ref().to_owned(), source };
        let found = path.as_ref().canonicalize().map_err(missing)?;
        let metadata = found.metadata().map_err(missing)?;
        #[cfg(unix)]
        let executable = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0;
        #[cfg(not(unix))]
        let executable = true;
        if metadata.is_file() && executable {
            Ok(Self { package_type, path: found })
        } else {
            Err(BuilderProgramError::NotExecutable { path: found })
        }
    }

    pub(crate) fn entry(&self) -> (PackageType, PathBuf) {
        (self.package_type.clone(), self.path.clone())
    }
}

/// `TYPE=PATH`, as on the command line.
impl FromStr for BuilderProgram {
    type Err = BuilderProgramError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (package_type, path) = text.split_once('=').ok_or(BuilderProgramError::Form)?;
        Self::new(package_type, path)
    }
}
