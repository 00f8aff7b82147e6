//! The command line of proofs of publication: `pyrsia prove` and `pyrsia verify`.

use super::OutputArguments;
use super::ledger::network;
use crate::commands::verify;
use clap::{Args, Subcommand, ValueEnum};
use pyrsia_ledger::{ArtifactId, NetworkId, Sha256Digest};
use std::path::PathBuf;

/// `pyrsia prove`: of any type, of those with words of their own, or of a file whose digest is known.
#[derive(Debug, Args)]
pub struct ProveArguments {
    #[command(subcommand)]
    pub command: Option<ProveCommand>,
    /// The package type: one that 'pyrsia list --types' shows
    #[arg(value_name = "TYPE", required_unless_present = "sha256", conflicts_with = "sha256")]
    pub package_type: Option<String>,
    /// The package, written as its type wants it
    #[arg(value_name = "COORDINATE", required_unless_present = "sha256", conflicts_with = "sha256")]
    pub coordinate: Option<String>,
    /// The package that a file with this SHA-256 belongs to
    #[arg(long, value_name = "DIGEST", value_parser = sha256)]
    pub sha256: Option<Sha256Digest>,
    #[command(flatten)]
    pub options: ProveOptions,
}

#[derive(Debug, Subcommand)]
pub enum ProveCommand {
    /// Prove the publication of a Docker image
    #[command(arg_required_else_help = true)]
    Docker {
        /// The docker image (e.g. alpine:3.15.3 or alpine@sha256:…)
        #[arg(long, value_name = "IMAGE", required_unless_present = "coordinate")]
        image: Option<String>,
        /// The image without its flag, as packages of any type are named
        #[arg(hide = true, conflicts_with = "image")]
        coordinate: Option<String>,
        #[command(flatten)]
        options: ProveOptions,
    },
    /// Prove the publication of a Maven artifact
    #[command(arg_required_else_help = true)]
    Maven {
        /// The maven GAV (e.g. org.myorg:my-artifact:1.1.0)
        #[arg(long, value_name = "GAV", required_unless_present = "coordinate")]
        gav: Option<String>,
        /// The GAV without its flag, as packages of any type are named
        #[arg(hide = true, conflicts_with = "gav")]
        coordinate: Option<String>,
        #[command(flatten)]
        options: ProveOptions,
    },
}

#[derive(Debug, Clone, Args)]
pub struct ProveOptions {
    /// The file to write; by default stdout
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace a file that is no proof
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Read a node's data folder, a ledger folder or an exported log, instead of asking the running node
    #[arg(long, value_name = "LEDGER")]
    pub ledger: Option<PathBuf>,
    /// Only this artifact of the package, by its id in the log; repeatable
    #[arg(long = "artifact", value_name = "ID", value_parser = artifact)]
    pub artifacts: Vec<ArtifactId>,
    /// What to write
    #[arg(long, value_enum, default_value_t = ProofFormat::Proof)]
    pub format: ProofFormat,
    /// The network it must be of, as its /api/v1/network shows it; by default the one of 'pyrsia config', if any
    #[arg(long, value_name = "ID", value_parser = network)]
    pub network: Option<NetworkId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProofFormat {
    /// A proof that 'pyrsia verify' checks
    Proof,
    /// A proof of one artifact for programs that know c2sp.org/tlog-proof and not Pyrsia
    TlogProof,
    /// In-toto attestations, signed by the node: SLSA provenance of each builder and a verification summary
    Slsa,
}

#[derive(Debug, Args)]
#[command(arg_required_else_help = true, after_help = verify::EXIT_HELP)]
pub struct VerifyArguments {
    /// A file, a container image as an OCI layout or an archive of it, sha256:DIGEST, NAME@sha256:DIGEST, or an image that docker or podman has
    #[arg(value_name = "FILE|IMAGE")]
    pub subject: String,
    /// The proof, as 'pyrsia prove' wrote it
    #[arg(long, value_name = "FILE")]
    pub proof: PathBuf,
    /// The network that is trusted; by default the one of 'pyrsia config'
    #[arg(long, value_name = "ID", value_parser = network, conflicts_with = "any_network")]
    pub network: Option<NetworkId>,
    /// Take the network that the proof names, which anybody can found
    #[arg(long)]
    pub any_network: bool,
    #[command(flatten)]
    pub output: OutputArguments,
}

fn sha256(text: &str) -> Result<Sha256Digest, String> {
    text.strip_prefix("sha256:").unwrap_or(text).parse().map_err(|error: pyrsia_ledger::digest::DigestError| error.to_string())
}

fn artifact(text: &str) -> Result<ArtifactId, String> {
    ArtifactId::new(text).map_err(|error| error.to_string())
}
