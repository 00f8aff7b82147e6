//! The command line of `pyrsia`: its commands, flags and help, and nothing of what they do.

mod artifacts;
mod client_settings;
mod export;
mod ledger;
mod packages;
mod proofs;
mod search;

use crate::commands::compare;
use crate::exit;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

pub use artifacts::{
    AdminArguments, ArtifactsCommand, ChangeArtifactsArguments, CollectArguments, ListArtifactsArguments,
    RemoveArtifactsArguments, ScrubArguments,
};
pub use client_settings::SettingsArguments;
pub use export::{ChecksumFormat, ExportCommand, ExportSource};
pub use ledger::{AuditArguments, LogCommand};
pub use packages::{BuildArguments, InspectArguments, ListArguments};
pub use proofs::{ProofFormat, ProveArguments, ProveCommand, ProveOptions, VerifyArguments};
pub use search::{SearchArguments, SearchRole};

/// The version with the commit it was built from, where the build says so.
pub const VERSION: &str = match option_env!("PYRSIA_COMMIT") {
    Some(commit) => commit_version(commit),
    None => env!("CARGO_PKG_VERSION"),
};

/// `PYRSIA_COMMIT` carries the whole text, such as `0.1.0 (4f2a9c1)`, because strings cannot be joined in constants.
const fn commit_version(text: &'static str) -> &'static str {
    if text.is_empty() { env!("CARGO_PKG_VERSION") } else { text }
}

#[derive(Debug, Parser)]
#[command(name = "pyrsia_cli", bin_name = "pyrsia", version = VERSION, about = "Decentralized Package Network")]
#[command(arg_required_else_help = true, after_help = exit::HELP, infer_subcommands = false)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what is stored on the node, keep or remove it, and check it
    #[command(subcommand, arg_required_else_help = true)]
    Artifacts(ArtifactsCommand),
    /// Check everything a ledger says, without a network and without a node
    Audit(AuditArguments),
    /// Add an authorized node
    Authorize(AuthorizeArguments),
    /// Request a build, or ask what became of one
    #[command(
        short_flag = 'b',
        args_conflicts_with_subcommands = true,
        subcommand_negates_reqs = true,
        arg_required_else_help = true
    )]
    Build(BuildArguments),
    /// Compare two build outputs on this machine, without a node
    #[command(arg_required_else_help = true, after_help = compare::EXIT_HELP)]
    Compare(CompareArguments),
    /// Which node this program talks to
    #[command(short_flag = 'c', args_conflicts_with_subcommands = true, arg_required_else_help = true)]
    Config(ConfigArguments),
    /// Show a network at work: five nodes on this machine build, agree on, publish and pull an image
    Demo(DemoArguments),
    /// Write what is published as the checksum file of a client, which then refuses other bytes
    #[command(subcommand, arg_required_else_help = true)]
    Export(ExportCommand),
    /// Show the transparency log of a package
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, arg_required_else_help = true)]
    InspectLog(InspectArguments),
    /// Show the peers the node is connected to
    #[command(short_flag = 'l')]
    List(ListArguments),
    /// Move a whole ledger as a file, and show what it says, without a node
    #[command(subcommand, arg_required_else_help = true)]
    Log(LogCommand),
    /// Show the authorized nodes, who is on the way in or out, and what each of them built
    Nodes(OutputArguments),
    /// Check that the node answers
    Ping(OutputArguments),
    /// Write a file that proves, to whoever trusts the network, that a package is published
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, arg_required_else_help = true)]
    Prove(ProveArguments),
    /// Remove an authorized node
    Revoke(RevokeArguments),
    /// Search the ledger by package, digest, builder, time and kind of event
    #[command(arg_required_else_help = true)]
    Search(SearchArguments),
    /// Show what to write into a client's settings so that it asks the node
    Settings(SettingsArguments),
    /// Show how the node is doing
    #[command(short_flag = 's')]
    Status(OutputArguments),
    /// Check a file or an image against a proof, without a network and without a node
    Verify(VerifyArguments),
    /// Write, test, describe and approve verifiers
    #[command(subcommand, arg_required_else_help = true)]
    Verifier(VerifierCommand),
}

#[derive(Debug, Clone, Copy, Args)]
pub struct OutputArguments {
    /// Print JSON, for scripts
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct AuthorizeArguments {
    /// Peer id of the node to authorize, as its /status shows it
    #[arg(short, long, value_name = "PEER_ID")]
    pub peer: String,
    /// The node's admin token; by default the one that a node of this user on this machine left for this program
    #[arg(long, value_name = "TOKEN", env = "PYRSIA_ADMIN_TOKEN", hide_env_values = true)]
    pub admin_token: Option<String>,
    #[command(flatten)]
    pub output: OutputArguments,
}

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct RevokeArguments {
    /// Peer id of the node, as 'pyrsia nodes' shows it
    #[arg(short, long, value_name = "PEER_ID")]
    pub peer: String,
    /// Its key was in other hands from this block on: its results are counted no more, and what has no majority without them is not served
    #[arg(long, value_name = "HEIGHT")]
    pub since: Option<u64>,
    /// The node's admin token; by default the one that a node of this user on this machine left for this program
    #[arg(long, value_name = "TOKEN", env = "PYRSIA_ADMIN_TOKEN", hide_env_values = true)]
    pub admin_token: Option<String>,
    #[command(flatten)]
    pub output: OutputArguments,
}

#[derive(Debug, Subcommand)]
pub enum BuildCommand {
    /// Request a build of a Docker image, or of each image of a list
    #[command(arg_required_else_help = true)]
    Docker {
        /// The docker image to build (e.g. alpine:3.15.3 or alpine@sha256:…)
        #[arg(long, value_name = "IMAGE", required_unless_present_any = ["from_file", "coordinate"], conflicts_with = "from_file")]
        image: Option<String>,
        /// The image without its flag, as packages of any type are named
        #[arg(hide = true, conflicts_with_all = ["image", "from_file"])]
        coordinate: Option<String>,
        /// Ask for each image of a list: one on a line, # begins a comment, - reads stdin
        #[arg(long, value_name = "LIST")]
        from_file: Option<PathBuf>,
        #[command(flatten)]
        options: BuildOptions,
    },
    /// Request a build of a Maven artifact, or of each of a list
    #[command(arg_required_else_help = true)]
    Maven {
        /// The maven GAV (e.g. org.myorg:my-artifact:1.1.0)
        #[arg(long, value_name = "GAV", required_unless_present_any = ["from_file", "coordinate"], conflicts_with = "from_file")]
        gav: Option<String>,
        /// The GAV without its flag, as packages of any type are named
        #[arg(hide = true, conflicts_with_all = ["gav", "from_file"])]
        coordinate: Option<String>,
        /// Ask for each GAV of a list: one on a line, # begins a comment, - reads stdin
        #[arg(long, value_name = "LIST")]
        from_file: Option<PathBuf>,
        #[command(flatten)]
        options: BuildOptions,
    },
    /// Show what became of a build
    #[command(arg_required_else_help = true)]
    Status {
        /// The build ID
        #[arg(long, value_name = "ID")]
        id: String,
        #[command(flatten)]
        wait: WaitArguments,
        #[command(flatten)]
        output: OutputArguments,
    },
}

#[derive(Debug, Clone, Args)]
pub struct BuildOptions {
    /// Build once more what is published already
    #[arg(long)]
    pub again: bool,
    #[command(flatten)]
    pub wait: WaitArguments,
    /// With a list and --wait: how many builds may be open at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: u16,
    #[command(flatten)]
    pub output: OutputArguments,
}

#[derive(Debug, Clone, Args)]
pub struct WaitArguments {
    /// Follow the build to its published result
    #[arg(long)]
    pub wait: bool,
    /// Give up waiting after this long (e.g. 90s, 10m); the build goes on
    #[arg(long, value_name = "TIME", default_value = "2h", value_parser = humantime::parse_duration, requires = "wait")]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub struct ConfigArguments {
    /// Remove the stored settings
    #[arg(short, long, alias = "rm", conflicts_with = "show")]
    pub remove: bool,
    /// Show the stored settings
    #[arg(short, long)]
    pub show: bool,
    #[command(subcommand)]
    pub command: Option<ConfigCommand>,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Change the settings, by flags or, without any, by questions
    #[command(short_flag = 'e')]
    Edit(EditArguments),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(disable_help_flag = true)]
pub struct EditArguments {
    /// Host the node runs on: a name or an IP address
    #[arg(short = 'H', long, value_name = "HOST")]
    pub host: Option<String>,
    /// Port the node listens on
    #[arg(short, long, value_name = "PORT")]
    pub port: Option<String>,
    /// Disk space, kept for older tools (e.g. "10 GB"); what bounds the store of a node is its own --artifact-budget
    #[arg(short, long, value_name = "DISK_SPACE")]
    pub diskspace: Option<String>,
    /// The one network whose proofs 'pyrsia verify' believes, as its /api/v1/network shows it; an empty one takes that back
    #[arg(short, long, value_name = "ID")]
    pub network: Option<String>,
    /// Print help
    #[arg(short = 'h', long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
}

#[derive(Debug, Clone, Args)]
pub struct CompareArguments {
    /// A folder with an output, or one file of it
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// The other one
    #[arg(value_name = "B")]
    pub b: PathBuf,
    #[command(flatten)]
    pub verifier: VerifierSource,
    /// Of what they are the output, for verifiers that look at that too
    #[arg(long, value_name = "COORDINATE")]
    pub coordinate: Option<String>,
    #[command(flatten)]
    pub output: OutputArguments,
}

/// Whose word counts.
#[derive(Debug, Clone, Args)]
pub struct VerifierSource {
    /// The package type of the outputs
    #[arg(long = "type", value_name = "TYPE", required_unless_present = "module")]
    pub package_type: Option<String>,
    /// Also look for verifiers in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "module")]
    pub verifiers: Option<PathBuf>,
    /// Use the verifier in this file
    #[arg(long, value_name = "FILE", conflicts_with = "package_type")]
    pub module: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum VerifierCommand {
    /// Approve a verifier that the node has, in the node's name
    Approve(ApproveArguments),
    /// Show what a verifier is for
    Describe(ModuleArguments),
    /// Begin a verifier for a new package type
    New(NewArguments),
    /// Test a verifier against cases: folders with outputs and the verdict they should get
    Test(TestArguments),
}

#[derive(Debug, Clone, Args)]
pub struct ApproveArguments {
    /// The sha256 of the module, as the node's log and /api/v1/network show it
    #[arg(value_name = "DIGEST")]
    pub module: String,
    /// The node's admin token; by default the one that a node of this user on this machine left for this program
    #[arg(long, value_name = "TOKEN", env = "PYRSIA_ADMIN_TOKEN", hide_env_values = true)]
    pub admin_token: Option<String>,
    #[command(flatten)]
    pub output: OutputArguments,
}

#[derive(Debug, Clone, Args)]
pub struct ModuleArguments {
    /// The module's file
    #[arg(value_name = "MODULE")]
    pub module: PathBuf,
    #[command(flatten)]
    pub output: OutputArguments,
}

#[derive(Debug, Clone, Args)]
pub struct NewArguments {
    /// The word for the package type: lower-case letters, digits and hyphens
    #[arg(value_name = "TYPE")]
    pub package_type: String,
    /// Where to write it; by default a new folder of that name
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct TestArguments {
    /// The module's file
    #[arg(value_name = "MODULE")]
    pub module: PathBuf,
    /// The folder with the cases
    #[arg(value_name = "CASES")]
    pub cases: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum InspectCommand {
    /// Show the transparency log of a Docker image
    Docker {
        /// The docker image (e.g. alpine:3.15.3 or alpine@sha256:…)
        #[arg(long, value_name = "IMAGE", required_unless_present = "coordinate")]
        image: Option<String>,
        /// The image without its flag, as packages of any type are named
        #[arg(hide = true, conflicts_with = "image")]
        coordinate: Option<String>,
        #[command(flatten)]
        options: InspectOptions,
    },
    /// Show the transparency log of a Maven artifact
    Maven {
        /// The maven GAV (e.g. org.myorg:my-artifact:1.1.0)
        #[arg(long, value_name = "GAV", required_unless_present = "coordinate")]
        gav: Option<String>,
        /// The GAV without its flag, as packages of any type are named
        #[arg(hide = true, conflicts_with = "gav")]
        coordinate: Option<String>,
        #[command(flatten)]
        options: InspectOptions,
    },
}

#[derive(Debug, Clone, Args)]
pub struct InspectOptions {
    /// The form of the output
    #[arg(long, value_enum, default_value_t = InspectFormat::Json, ignore_case = true)]
    pub format: InspectFormat,
    /// The fields to show, with commas between them: id, package_type, package_specific_id, num_artifacts,
    /// package_specific_artifact_id, artifact_hash, source_hash, artifact_id, source_id, timestamp, operation, node_id,
    /// node_public_key
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    pub fields: Vec<String>,
    /// Only the records of the newest build
    #[arg(long)]
    pub latest: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InspectFormat {
    Json,
    Csv,
}

#[derive(Debug, Clone, Args)]
pub struct DemoArguments {
    /// End after the verified pull instead of staying up
    #[arg(long)]
    pub exit: bool,
    /// Keep the nodes' data in this folder, which must be new or empty
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    #[command(flatten)]
    pub output: OutputArguments,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace()).map(|arguments| arguments.command)
    }

    #[test]
    fn commands_have_their_short_forms() {
        for line in ["pyrsia -c -e --port 7889", "pyrsia config -e --port 7889", "pyrsia -c edit -p 7889"] {
            let Ok(Command::Config(ConfigArguments { command: Some(ConfigCommand::Edit(edit)), .. })) = parse(line) else {
                panic!("{line}: {:?}", parse(line))
            };
            assert_eq!(edit.port.as_deref(), Some("7889"), "{line}");
        }
        assert!(matches!(parse("pyrsia -c --show"), Ok(Command::Config(ConfigArguments { show: true, .. }))));
        assert!(matches!(parse("pyrsia config --rm"), Ok(Command::Config(ConfigArguments { remove: true, .. }))));
        assert!(matches!(parse("pyrsia -l"), Ok(Command::List(_))));
        assert!(matches!(parse("pyrsia -s"), Ok(Command::Status(_))));
        assert!(matches!(
            parse("pyrsia -b docker --image alpine:3.16.0"),
            Ok(Command::Build(BuildArguments { command: Some(BuildCommand::Docker { .. }), .. }))
        ));
    }

    #[test]
    fn a_build_is_asked_for_one_image_or_a_list() {
        assert!(parse("pyrsia build docker").is_err());
        assert!(parse("pyrsia build docker --image a:1 --from-file list").is_err());
        assert!(parse("pyrsia build docker --from-file - --wait --timeout 90s --jobs 8").is_ok());
        assert!(parse("pyrsia build docker --from-file - --jobs 0").is_err());
    }

    #[test]
    fn a_package_of_any_type_is_named_by_two_words() {
        let Ok(Command::Build(wish)) = parse("pyrsia build demo left@1 --wait") else { panic!("it is a build") };
        assert!(wish.command.is_none() && wish.options.wait.wait);
        assert_eq!((wish.package_type.as_deref(), wish.coordinate.as_deref()), (Some("demo"), Some("left@1")));
        // A word that is a command in its own place is a coordinate in that of one.
        assert!(matches!(parse("pyrsia build demo status"), Ok(Command::Build(BuildArguments { command: None, .. }))));
        assert!(parse("pyrsia -b demo --from-file list --json").is_ok());
        let Ok(Command::InspectLog(package)) = parse("pyrsia inspect-log demo left@1") else { panic!("it is an inspection") };
        assert_eq!((package.package_type.as_deref(), package.coordinate.as_deref()), (Some("demo"), Some("left@1")));
        let of_type = "pyrsia build docker alpine:3.16.0";
        let Ok(Command::Build(BuildArguments { command: Some(BuildCommand::Docker { coordinate, .. }), .. })) = parse(of_type)
        else {
            panic!("{:?}", parse(of_type))
        };
        assert_eq!(coordinate.as_deref(), Some("alpine:3.16.0"));
        assert!(parse("pyrsia inspect-log maven g:a:1 --latest").is_ok());
        for wrong in [
            "build demo",
            "build demo a b",
            "build demo a --from-file list",
            "build demo --image a",
            "build docker a:1 --image a:1",
            "inspect-log demo",
            "inspect-log maven g:a:1 --gav g:a:1",
        ] {
            assert!(parse(&format!("pyrsia {wrong}")).is_err(), "{wrong}");
        }
    }
}
