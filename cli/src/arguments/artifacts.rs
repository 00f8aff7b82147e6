//! The command line of `pyrsia artifacts`.

use super::OutputArguments;
use crate::size;
use clap::{Args, Subcommand};
use std::time::Duration;

const WHAT_HELP: &str = "WHAT is the SHA-256 of an artifact, or several of them; or a package type and a package, which stand for every artifact \
    that was ever published of it, such as the manifest, the configuration and the layers of an image: docker alpine:3.16.0";

#[derive(Debug, Subcommand)]
pub enum ArtifactsCommand {
    /// Show what is stored on the node, and how full the store is
    Ls(ListArtifactsArguments),
    /// Keep artifacts on the node whatever its budget says, from now on or from when they come
    #[command(arg_required_else_help = true, after_help = WHAT_HELP)]
    Pin(ChangeArtifactsArguments),
    /// Let pinned artifacts leave again
    #[command(arg_required_else_help = true, after_help = WHAT_HELP)]
    Unpin(ChangeArtifactsArguments),
    /// Remove artifacts from the node; what is pinned or needed by a build stays
    #[command(arg_required_else_help = true, after_help = WHAT_HELP)]
    Rm(RemoveArtifactsArguments),
    /// Read every stored artifact again, look at the bucket, and get back from other nodes what is lost
    Scrub(ScrubArguments),
    /// Remove what is of use to nobody: downloads that nobody went on with, artifacts that nothing on the ledger names
    Gc(CollectArguments),
}

#[derive(Debug, Args)]
pub struct ListArtifactsArguments {
    /// Show the pinned ones alone
    #[arg(long)]
    pub pinned: bool,
    #[command(flatten)]
    pub output: OutputArguments,
}

#[derive(Debug, Args)]
pub struct ChangeArtifactsArguments {
    #[arg(value_name = "WHAT", required = true)]
    pub what: Vec<String>,
    #[command(flatten)]
    pub admin: AdminArguments,
    #[command(flatten)]
    pub output: OutputArguments,
}

#[derive(Debug, Args)]
pub struct RemoveArtifactsArguments {
    /// Remove their copies in the bucket as well, for every node that shares it
    #[arg(long)]
    pub bucket: bool,
    #[command(flatten)]
    pub change: ChangeArtifactsArguments,
}

#[derive(Debug, Args)]
pub struct ScrubArguments {
    /// Only show how the scrub goes, and what the last one found
    #[arg(long, conflicts_with_all = ["wait", "rate"])]
    pub status: bool,
    /// Follow it to its end
    #[arg(long)]
    pub wait: bool,
    /// Give up waiting after this long (e.g. 90s, 10m); the scrub goes on
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = humantime::parse_duration, requires = "wait")]
    pub timeout: Duration,
    /// Read so much in a second (e.g. 100MiB; 0: as fast as the disk allows) [default: as the node was started]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub rate: Option<u64>,
    /// Read every copy in the bucket as well, instead of comparing sizes
    #[arg(long, conflicts_with = "status")]
    pub deep: bool,
    #[command(flatten)]
    pub admin: AdminArguments,
    #[command(flatten)]
    pub output: OutputArguments,
}

#[derive(Debug, Args)]
pub struct CollectArguments {
    /// Only show what would be removed
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub admin: AdminArguments,
    #[command(flatten)]
    pub output: OutputArguments,
}

#[derive(Debug, Clone, Args)]
pub struct AdminArguments {
    /// The node's admin token; by default the one that a node of this user on this machine left for this program
    #[arg(long, value_name = "TOKEN", env = "PYRSIA_ADMIN_TOKEN", hide_env_values = true)]
    pub admin_token: Option<String>,
}
