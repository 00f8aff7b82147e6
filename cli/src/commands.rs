//! The commands of `pyrsia`, one file each: a few requests to a node, and what is printed of the answers.
//!
//! Results go to stdout, progress and failures to stderr; a failure ends the program with the code [`crate::exit`] names.

mod artifacts;
mod audit;
mod authorize;
mod build;
pub(crate) mod client_settings;
pub(crate) mod compare;
mod config;
pub(crate) mod export;
mod inspect_log;
mod list;
mod log;
mod nodes;
mod ping;
mod prove;
mod revoke;
mod search;
mod status;
mod verifier;
pub(crate) mod verify;

use crate::arguments::{Arguments, Command};
use crate::demo;
use crate::exit::Failure;
use crate::node_client::{NodeClient, RequestError};
use crate::settings::{Settings, SettingsFile};
use crate::terminal::visible;
use clap::Parser;
use reqwest::StatusCode;
use serde::Serialize;
use std::future::Future;
use std::io;
use std::ops::ControlFlow;
use std::process::ExitCode;

/// What every command adds when the node cannot be asked.
const REMINDER: &str = "Please make sure the pyrsia CLI config is up to date and matches the node configuration. For more information, run 'pyrsia config --show'";

/// The program `pyrsia`.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match carry_out(arguments.command) {
        Ok(code) => code,
        Err(failure) => failure.report(""),
    }
}

fn carry_out(command: Command) -> Result<ExitCode, Failure> {
    let done = match command {
        Command::Artifacts(command) => on_this_thread(artifacts::run(command)),
        Command::Audit(arguments) => audit::run(arguments),
        Command::Authorize(arguments) => on_this_thread(authorize::run(arguments)),
        Command::Build(command) => on_this_thread(build::run(command)),
        // The one command whose codes say what it found.
        Command::Compare(arguments) => return compare::run(arguments),
        Command::Config(arguments) => config::run(arguments),
        Command::Demo(arguments) => demo::run(arguments),
        Command::Export(command) => export::run(command),
        Command::InspectLog(command) => on_this_thread(inspect_log::run(command)),
        Command::List(output) => on_this_thread(list::run(output)),
        Command::Log(command) => log::run(command, on_this_thread),
        Command::Nodes(output) => on_this_thread(nodes::run(output)),
        Command::Ping(output) => on_this_thread(ping::run(output)),
        Command::Prove(arguments) => prove::run(arguments),
        Command::Revoke(arguments) => on_this_thread(revoke::run(arguments)),
        // The codes of this one say whether anything was found.
        Command::Search(arguments) => return search::run(arguments),
        Command::Settings(arguments) => client_settings::run(arguments),
        Command::Status(output) => on_this_thread(status::run(output)),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Verifier(command) => verifier::run(command, on_this_thread),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// A command waits for a few answers; threads of its own would cost more than they bring.
fn on_this_thread<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    // The only failure left here is that another provider stands already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::because("cannot start", &error))?.block_on(command)
}

/// The settings of this user, checked before anything is done with them.
fn settings() -> Result<Settings, Failure> {
    let read = || {
        let settings = SettingsFile::of_user()?.read()?;
        settings.check().map(|()| settings)
    };
    read().map_err(|error| {
        Failure::because("the settings cannot be used", &error).hint("run 'pyrsia config -e', or 'pyrsia config --remove'")
    })
}

fn node() -> Result<NodeClient, Failure> {
    client(&settings()?)
}

fn client(settings: &Settings) -> Result<NodeClient, Failure> {
    NodeClient::new(settings).map_err(|error| Failure::because("the HTTP client cannot start", &error))
}

/// `what: error`, with the reminder where the node did not answer like one.
fn request_failure(what: &str, error: &RequestError) -> Failure {
    let failure = Failure::new(format!("{what}: {error}"));
    match error {
        RequestError::Transport(_) | RequestError::Answer { .. } => failure.hint(REMINDER),
        RequestError::Status { .. } => failure,
    }
}

/// The same for what needs the admin token.
fn admin_failure(what: &str, error: &RequestError) -> Failure {
    const ADVICE: &str = "run this command as the user who runs the node, or give the content of admin.token in the node's data folder \
                          with --admin-token or PYRSIA_ADMIN_TOKEN";
    let failure = request_failure(what, error);
    match error {
        RequestError::Status { status: StatusCode::UNAUTHORIZED, remark, .. } => failure.hint(match remark {
            Some(remark) => format!("{}; otherwise {ADVICE}", visible(remark)),
            None => ADVICE.to_owned(),
        }),
        _ => failure,
    }
}

/// The same for what names a package, whose type the node may not know.
fn package_failure(what: &str, error: &RequestError) -> Failure {
    let failure = request_failure(what, error);
    match error.status() {
        Some(StatusCode::NOT_FOUND) => failure.hint(
            "'pyrsia list --types' shows the package types the node knows; a verifier module in the node's folder of verifiers adds one",
        ),
        Some(StatusCode::UNPROCESSABLE_ENTITY) => failure.hint(
            "the operator of a build node gives its pipeline a rule with 'pyrsia_build --mapping', or a builder of the type with --builder-program",
        ),
        _ => failure,
    }
}

fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::because("the answer cannot be printed", &error))?;
    print(&format!("{text}\n"))
}

/// Writes to stdout. A reader that has seen enough, such as `head`, is no failure.
fn print(text: &str) -> Result<(), Failure> {
    print_while_read(text).map(|_| ())
}

/// [`print()`] for who has more to say; broken off where nobody reads it.
fn print_while_read(text: &str) -> Result<ControlFlow<()>, Failure> {
    use io::Write;
    let mut stdout = io::stdout().lock();
    match stdout.write_all(visible(text).as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(Failure::because("cannot write to stdout", &error)),
    }
}
