//! `pyrsia verifier`: for those who write verifiers, and for operators who are to approve one.

mod approve;
mod cases;
mod new;

use super::compare::{host, load_file};
use super::{print, print_json};
use crate::arguments::{ModuleArguments, VerifierCommand};
use crate::exit::Failure;
use pyrsia_ledger::Sha256Digest;
use pyrsia_verifiers::{Description, Verifier};
use serde::Serialize;
use std::fmt::Write;
use std::future::Future;

pub(super) fn run(
    command: VerifierCommand,
    on_this_thread: impl FnOnce(std::pin::Pin<Box<dyn Future<Output = Result<(), Failure>>>>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match command {
        VerifierCommand::Approve(arguments) => on_this_thread(Box::pin(approve::run(arguments))),
        VerifierCommand::Describe(arguments) => describe(&arguments),
        VerifierCommand::New(arguments) => new::run(&arguments),
        VerifierCommand::Test(arguments) => cases::run(&arguments),
    }
}

#[derive(Serialize)]
struct Described<'a> {
    module: Sha256Digest,
    #[serde(flatten)]
    description: &'a Description,
}

fn describe(arguments: &ModuleArguments) -> Result<(), Failure> {
    let verifier = load_file(&host()?, &arguments.module)?;
    if arguments.output.json {
        return print_json(&Described { module: verifier.digest(), description: verifier.description() });
    }
    print(&description_text(&verifier))
}

fn description_text(verifier: &Verifier) -> String {
    let Description { package_type, aliases, coordinate_syntax, examples, passes, http_paths } = verifier.description();
    let aliases: Vec<_> = aliases.iter().map(ToString::to_string).collect();
    let mut text = format!("module        {}\npackage type  {package_type}\n", verifier.digest());
    if !aliases.is_empty() {
        let _ = writeln!(text, "aliases       {}", aliases.join(", "));
    }
    let _ = writeln!(text, "coordinates   {coordinate_syntax}\nexamples      {}", examples.join("  "));
    if !http_paths.is_empty() {
        let _ = writeln!(text, "HTTP paths    {}", http_paths.join("  "));
    }
    text.push_str(if passes.is_empty() { "passes        none: it compares bit for bit\n" } else { "passes\n" });
    for pass in passes {
        let _ = writeln!(text, "  {}: {}", pass.name, pass.forgives);
    }
    text
}
