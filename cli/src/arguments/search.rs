//! The command line of `pyrsia search`.

use super::OutputArguments;
use super::ledger::network;
use clap::{Args, ValueEnum};
use pyrsia_ledger::NetworkId;
use std::path::PathBuf;

const EXIT_HELP: &str = "A WORD that is a SHA-256, a build id or a peer id is searched for as that; other words are a package, or a package type and a \
    package. In a package * stands for any characters between two colons, and what is left out at its end is any: alpine, 'org.*:demo'.\n\n\
    Exit codes:\n  0  something was found\n  1  nothing was found; the answer says up to which block that holds\n  \
    2  the search could not run; the reason is on stderr";

#[derive(Debug, Args)]
#[command(after_help = EXIT_HELP)]
pub struct SearchArguments {
    /// What is searched for; an event is found that has all of it
    #[arg(value_name = "WORD")]
    pub words: Vec<String>,
    /// The digest of an artifact, whatever became of it, or of a verifier; the id of an event, or the hash of a block
    #[arg(long, value_name = "DIGEST")]
    pub sha256: Option<String>,
    /// A package, with * for any characters between two colons
    #[arg(long, value_name = "PACKAGE")]
    pub coordinate: Option<String>,
    /// The package type
    #[arg(long = "type", value_name = "TYPE")]
    pub package_type: Option<String>,
    /// The build ID
    #[arg(long, value_name = "ID")]
    pub build: Option<String>,
    /// The peer id of a node: what it signed, and what was decided about it
    #[arg(long, value_name = "PEER_ID")]
    pub builder: Option<String>,
    /// Only the requests of a builder, what it built, or what it built and the majority agreed on, or did not
    #[arg(long = "as", value_name = "ROLE")]
    pub role: Option<SearchRole>,
    /// The kind of event, such as AddArtifact
    #[arg(long, value_name = "OPERATION")]
    pub operation: Option<String>,
    /// Blocks from this day (in UTC) or time on, such as 2026-11-21 or 2026-11-21T18:30:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Blocks up to this day or time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Blocks from this height on
    #[arg(long, value_name = "HEIGHT")]
    pub from: Option<String>,
    /// Blocks up to this height
    #[arg(long, value_name = "HEIGHT")]
    pub to: Option<String>,
    /// The oldest first
    #[arg(long)]
    pub oldest: bool,
    /// The most events to show
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// Go on where an earlier answer stopped, with the cursor that it gave
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// Read a node's data folder, a ledger folder or an exported log, instead of asking the running node
    #[arg(long, value_name = "LEDGER")]
    pub ledger: Option<PathBuf>,
    /// The network whose log it must be, as its /api/v1/network shows it
    #[arg(long, value_name = "ID", value_parser = network)]
    pub network: Option<NetworkId>,
    #[command(flatten)]
    pub output: OutputArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SearchRole {
    Asked,
    Built,
    Agreed,
    Dissented,
}
