//! The command line of what works on a ledger without a node: `pyrsia audit` and `pyrsia log`.

use super::OutputArguments;
use clap::{Args, Subcommand};
use pyrsia_ledger::{NetworkId, Sha256Digest};
use std::path::PathBuf;

const AUDIT_HELP: &str =
    "Exit codes:\n  0  clean\n  1  there are findings; they are on stdout\n  2  the audit could not run; the reason is on stderr";

pub(super) fn network(text: &str) -> Result<NetworkId, String> {
    text.parse::<Sha256Digest>().map(NetworkId::new).map_err(|error| format!("a network id is {error}"))
}

#[derive(Debug, Args)]
#[command(arg_required_else_help = true, after_help = AUDIT_HELP)]
pub struct AuditArguments {
    /// A node's data folder, a ledger folder, or an exported log
    #[arg(value_name = "LEDGER")]
    pub ledger: PathBuf,
    /// The network whose log it must be, as its /api/v1/network shows it; by default that of the settings
    #[arg(long, value_name = "ID", value_parser = network)]
    pub network: Option<NetworkId>,
    /// Write down in FILE how far the audit came, and go on from there when it is there
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// Read every stored artifact again as well, and run the pinned verifiers over them
    #[arg(long)]
    pub deep: bool,
    #[command(flatten)]
    pub output: OutputArguments,
}

#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Show what is published and has no majority without nodes that turned out to be compromised
    AtRisk(OutputArguments),
    /// Write a whole log as one file
    #[command(arg_required_else_help = true, allow_missing_positional = true)]
    Export {
        /// A node's data folder or a ledger folder
        #[arg(value_name = "LEDGER", required_unless_present = "node", conflicts_with = "node")]
        ledger: Option<PathBuf>,
        /// The file to write, which must not exist
        #[arg(value_name = "FILE", required = true)]
        file: PathBuf,
        /// Fetch the log from the running node that this program talks to, and check every block of it
        #[arg(long)]
        node: bool,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Make a ledger folder out of an exported log, after every check a node makes
    #[command(arg_required_else_help = true)]
    Import {
        /// The exported log
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The ledger folder to make, which must be new or empty
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
        /// The network whose log it must be
        #[arg(long, value_name = "ID", value_parser = network)]
        network: Option<NetworkId>,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Show the state as it was after a block
    #[command(arg_required_else_help = true)]
    Replay {
        /// A node's data folder, a ledger folder, or an exported log
        #[arg(value_name = "LEDGER")]
        ledger: PathBuf,
        /// The last block to replay; by default the newest
        #[arg(long, value_name = "HEIGHT")]
        to: Option<u64>,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Show blocks and what their events say
    #[command(arg_required_else_help = true)]
    Show {
        /// A node's data folder, a ledger folder, or an exported log
        #[arg(value_name = "LEDGER")]
        ledger: PathBuf,
        /// This block only
        #[arg(long, value_name = "HEIGHT", conflicts_with_all = ["from", "to"])]
        height: Option<u64>,
        /// The first block to show
        #[arg(long, value_name = "HEIGHT")]
        from: Option<u64>,
        /// The last block to show
        #[arg(long, value_name = "HEIGHT")]
        to: Option<u64>,
        #[command(flatten)]
        output: OutputArguments,
    },
}
