//! Packages of any type that the node knows: the type and the package, as words.

use super::{BuildCommand, BuildOptions, InspectCommand, InspectOptions, OutputArguments};
use clap::Args;
use std::path::PathBuf;

/// `pyrsia build`: of any type, of those with words of their own, or what became of a build.
#[derive(Debug, Args)]
pub struct BuildArguments {
    #[command(subcommand)]
    pub command: Option<BuildCommand>,
    /// The package type: one that 'pyrsia list --types' shows
    #[arg(value_name = "TYPE", required = true)]
    pub package_type: Option<String>,
    /// The package, written as its type wants it
    #[arg(value_name = "COORDINATE", required_unless_present = "from_file", conflicts_with = "from_file")]
    pub coordinate: Option<String>,
    /// Ask for each package of a list: one on a line, # begins a comment, - reads stdin
    #[arg(long, value_name = "LIST")]
    pub from_file: Option<PathBuf>,
    #[command(flatten)]
    pub options: BuildOptions,
}

/// `pyrsia inspect-log`: of any type, or of those with words of their own.
#[derive(Debug, Args)]
pub struct InspectArguments {
    #[command(subcommand)]
    pub command: Option<InspectCommand>,
    /// The package type: one that 'pyrsia list --types' shows
    #[arg(value_name = "TYPE", required = true)]
    pub package_type: Option<String>,
    /// The package, written as its type wants it
    #[arg(value_name = "COORDINATE", required = true)]
    pub coordinate: Option<String>,
    #[command(flatten)]
    pub options: InspectOptions,
}

#[derive(Debug, Clone, Copy, Args)]
pub struct ListArguments {
    /// Show the package types the node knows instead, with how their packages are written
    #[arg(long)]
    pub types: bool,
    #[command(flatten)]
    pub output: OutputArguments,
}
