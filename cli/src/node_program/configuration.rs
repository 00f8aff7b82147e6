//! The settings of `pyrsia_node` beside its flags: environment variables, one TOML file, and the commands that explain them.
//!
//! Owns how every argument of the program becomes a variable and a key, which source wins, and what is said about mistakes.
//! It knows no setting by name but for the cross-checks in `check`, and never starts anything.

mod check;
mod environment;
mod example;
mod file;
mod finding;
mod layers;
mod schema;
mod setting;
mod show;

pub(super) use environment::Variables;

use super::arguments::{NodeArguments, NodeCommand};
use super::health::HealthArguments;
use crate::exit::Failure;
use clap::{Args, Subcommand};
use layers::Layers;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say everything that is wrong with the settings; the exit code is 1 when a node would not start with them
    Check(CheckArguments),
    /// Print every setting and where it comes from, as a configuration file
    Show(ShowArguments),
    /// Print the JSON Schema (2020-12) of the configuration file
    Schema,
    /// Print a configuration file with every setting, its meaning and its default, all commented out
    Example,
}

#[derive(Clone, Debug, Args)]
pub struct CheckArguments {
    /// File to check instead of that of --config
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ShowArguments {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What the program was asked for.
pub(super) enum Asked {
    /// To be a node, with the settings of this file as well.
    Node(Box<NodeArguments>, Option<PathBuf>),
    /// To ask the node that these settings would start, where it listens by them.
    Health(HealthArguments, SocketAddr),
    /// Something that is done.
    Done(ExitCode),
}

/// Reads the settings from every source, and carries out the commands about them.
pub(super) fn read(line: Vec<OsString>, variables: &Variables<'_>) -> Result<Asked, Failure> {
    let layers = Layers::gather(line, variables).unwrap_or_else(|error| error.exit());
    if let Some(NodeCommand::Config(command)) = &layers.command {
        return answer(command, &layers).map(Asked::Done);
    }
    refuse_errors(&layers)?;
    let (arguments, _) = layers.arguments().unwrap_or_else(|error| error.exit());
    if let Some(NodeCommand::Health(health)) = layers.command {
        return Ok(Asked::Health(health, SocketAddr::new(arguments.host, arguments.port)));
    }
    Ok(Asked::Node(Box::new(arguments), layers.file))
}

fn answer(command: &ConfigCommand, layers: &Layers) -> Result<ExitCode, Failure> {
    match command {
        ConfigCommand::Check(arguments) => {
            let variables: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
            // The clients of some buckets ask for it while they are made. Where one stands already, that is as good.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            let outcome = check::outcome(layers, &variables, std::env::var("RUST_LOG").ok().as_deref());
            print(&if arguments.json { outcome.to_json() } else { outcome.to_string() })?;
            return Ok(if outcome.is_usable() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        ConfigCommand::Show(arguments) => {
            refuse_errors(layers)?;
            let (_, effective) = layers.arguments().unwrap_or_else(|error| error.exit());
            print(&if arguments.json { show::as_json(&effective) } else { show::as_toml(&effective) })?;
        }
        ConfigCommand::Schema => print(&schema::of(&layers.settings))?,
        ConfigCommand::Example => print(&example::of(&layers.settings))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn refuse_errors(layers: &Layers) -> Result<(), Failure> {
    if !layers.has_errors() {
        return Ok(());
    }
    let lines: Vec<String> = layers.findings.iter().map(ToString::to_string).collect();
    Err(Failure::new(format!("the settings cannot be used\n{}", lines.join("\n"))))
}

/// Writes to stdout. A reader that has seen enough, such as `head`, is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::because("cannot write to stdout", &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
