//! The command line of `pyrsia export`.

use super::ledger::network;
use crate::commands::export::Pattern;
use clap::{Args, Subcommand, ValueEnum};
use pyrsia_ledger::NetworkId;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum ExportCommand {
    /// Write the trusted checksums of Maven 3.9 and 4; on stderr, what makes Maven check them
    MavenChecksums {
        #[command(flatten)]
        source: ExportSource,
        /// One file with all checksums, or a folder with a file for each
        #[arg(long, value_enum, default_value_t = ChecksumFormat::Summary)]
        format: ChecksumFormat,
        /// The folder to write to (.mvn/checksums in a project), or the file in it; by default stdout
        #[arg(long, value_name = "DIR|FILE", required_if_eq("format", "sparse"))]
        output: Option<PathBuf>,
        /// Replace a file that this command did not write
        #[arg(long, requires = "output")]
        force: bool,
        /// Write the rest where a package is at risk, although Maven takes what is not listed unchecked
        #[arg(long)]
        leave_out_at_risk: bool,
    },
    /// Write the dependency verification file of Gradle
    GradleVerification {
        #[command(flatten)]
        source: ExportSource,
        /// The file to write (gradle/verification-metadata.xml in a project); by default stdout
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Replace a file that this command did not write
        #[arg(long, requires = "output")]
        force: bool,
    },
}

/// What is written, and where it is taken from.
#[derive(Debug, Clone, Args)]
pub struct ExportSource {
    /// Only these packages: GROUP[:ARTIFACT[:VERSION]], where * stands for any characters of its part
    #[arg(value_name = "PATTERN")]
    pub patterns: Vec<Pattern>,
    /// Read a node's data folder, a ledger folder or an exported log, instead of asking the running node
    #[arg(long, value_name = "LEDGER")]
    pub ledger: Option<PathBuf>,
    /// The network whose log it must be, as its /api/v1/network shows it
    #[arg(long, value_name = "ID", value_parser = network)]
    pub network: Option<NetworkId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ChecksumFormat {
    Summary,
    Sparse,
}
