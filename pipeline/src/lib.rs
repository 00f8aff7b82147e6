//! The build pipeline service: builds packages on request and hands out what came of it, over HTTP only.
//!
//! It owns the build records, logs and artifacts below its data directory, and the builders that make them.
//! It never talks to a node, knows nothing of ledger or network, and imports no other Pyrsia crate: a node could
//! use any other service that speaks the same HTTP API.
//!
//! ```text
//! PUT /build -> mapping (which recipe) -> builds (queue, time limit, record) -> builders (docker, program, maven) -> artifacts
//! ```

mod artifacts;
mod build_log;
mod builders;
mod builds;
mod config;
mod docker;
mod git;
mod glob;
mod http;
mod http_client;
mod mapping;
mod maven;
mod package;
mod process;
mod program;
mod records;
mod regular_file;
mod server;
mod wire;

pub use config::{
    BuilderChoice, BuilderProgram, BuilderProgramError, Config, LocalSources, MappingLocation, PUBLIC_DOCKER_UPSTREAM,
};
pub use maven::installation::{InstallationError, JdkHome, MavenBuilder, MavenHome};
#[cfg(target_os = "linux")]
pub use program::gate::run_behind_gate;
pub use regular_file::open_regular;
pub use server::{Pipeline, RunningPipeline, ServeError, serve};
pub use wire::{
    BuildStatus, BuildView, DockerBuilder, DockerOptions, MappingInfo, Phase, PinnedMapping, ProgramOptions, SourceKind,
    SourceRepository, SourceView,
};
