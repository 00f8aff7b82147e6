//! Every task of the project, one way in: `cargo xtask help`.
//!
//! Owns the order and the settings in which the ordinary tools run (cargo, rustfmt, clippy, cargo-deny); does nothing a
//! person could not type. Depends on next to nothing, so that it is built in seconds.

mod clients;
mod fuzz;
mod guests;
mod kit;
mod package;
mod sim;
mod test_run;

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
cargo xtask TASK

  test [FILTER]     everything a change must pass: format, lints, the rules of the house, all tests.
                    With FILTER only the tests whose names contain it.
                    PYRSIA_REQUIRE_CLIENTS=1 turns a test skipped for want of a client into a failure
  clients           fetch what no Debian package brings into the target folder: releases of Maven,
                    object storages (needs mvn and npm)
  fmt [--check]     format the source, or only look whether it is
  lint              clippy on everything, warnings are errors
  guests [NAME...]  build the verifier components, all or these
  guests --check    build them all and compare them with the ones committed
  kit               the author's kit from `pyrsia verifier new` to a module that passes its cases
  sim --seeds A..B [--jobs N]
                    run the simulator on these seeds, on every core or on N
  fuzz --seeds A..B [--type T]
                    give the shipped verifiers changed build outputs, made from these seeds
  fuzz TARGET [--for 10m] [--keep]
                    look for bytes that break a property, from fuzz/corpus on; --keep adds what reaches further.
                    Without a target it names them all
  package deb       a Debian package of optimized programs, in target/package (needs debhelper and help2man)
  package image     a git repository that a build pipeline makes the container image from
                    Both: --programs FOLDER takes programs that are there already
  package check     what can be known of packaging/ without installing it
  deny              licences, sources and banned packages of the lock file; known vulnerabilities where the list can be had
  bench [TASK]      the measurements of docs/performance.md, with optimized programs; `bench ledger` those of the ledger,
                    `bench sync` those of a newcomer
  help              this text
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match task(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn task(words: &[&str]) -> Result<()> {
    match words {
        ["test"] => test_run::everything(),
        ["test", filter] => test_run::only(filter),
        ["clients"] => clients::fetch(),
        ["fmt"] => format(&[]),
        ["fmt", "--check"] => format(&["--check"]),
        ["lint"] => lint(),
        ["guests", "--check"] => guests::check(),
        ["guests", names @ ..] => guests::build(names),
        ["kit"] => kit::kit(),
        ["sim", arguments @ ..] => sim::sim(arguments),
        ["fuzz", arguments @ ..] => fuzz::fuzz(arguments),
        ["deny"] => deny(),
        ["package", arguments @ ..] => package::package(arguments),
        ["bench", arguments @ ..] => bench(arguments),
        [] | ["help" | "-h" | "--help"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("no such task: {}\n\n{HELP}", words.join(" ")),
    }
}

/// Whether what is skipped for want of a client is a failure, as in CI.
fn requires_clients() -> bool {
    std::env::var_os("PYRSIA_REQUIRE_CLIENTS").is_some_and(|value| value == "1")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

/// The cargo that runs this, on the workspace.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    command
}

/// Says what is run, and runs it to its end.
fn run(command: &mut Command) -> Result<()> {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let words: Vec<String> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    eprintln!("xtask: {name} {}", words.join(" "));
    let status = command.status().with_context(|| format!("{name} does not start"))?;
    ensure!(status.success(), "{name} {} ended with {status}", words.first().map_or("", String::as_str));
    Ok(())
}

/// The guests have a workspace of their own.
const GUESTS: [&str; 2] = ["--manifest-path", "verifiers/guests/Cargo.toml"];

/// So has what looks for bytes.
const FUZZ: [&str; 2] = ["--manifest-path", "fuzz/Cargo.toml"];

fn format(check: &[&str]) -> Result<()> {
    run(cargo(&["fmt", "--all"]).args(check))?;
    run(cargo(&["fmt", "--all"]).args(GUESTS).args(check))?;
    run(cargo(&["fmt"]).args(FUZZ).args(check))
}

fn lint() -> Result<()> {
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    run(cargo(&["clippy", "--all-targets"]).args(GUESTS).args(["--", "--deny", "warnings"]))
}

fn deny() -> Result<()> {
    let installed = cargo(&["deny", "--version"]).output().is_ok_and(|output| output.status.success());
    ensure!(installed, "cargo-deny is not installed: `cargo install --locked cargo-deny`");
    run(&mut cargo(&["deny", "check", "bans", "licenses", "sources"]))?;
    let checked = cargo(&["deny", "check", "advisories"]).output()?;
    let text = String::from_utf8_lossy(&checked.stderr);
    eprint!("{text}");
    if text.contains("failed to fetch advisory database") {
        println!("SKIPPED: known vulnerabilities (their database cannot be had here)");
        return Ok(());
    }
    ensure!(checked.status.success(), "cargo deny check advisories ended with {}", checked.status);
    Ok(())
}

fn bench(arguments: &[&str]) -> Result<()> {
    if let ["ledger", arguments @ ..] = arguments {
        run(&mut cargo(&["build", "--release", "--workspace", "--example", "ledger_bench"]))?;
        return run(Command::new(built("release/examples/ledger_bench")?).args(arguments));
    }
    if arguments == ["sync"] {
        run(&mut cargo(&["build", "--release", "--workspace", "--bins", "--example", "ledger_bench"]))?;
        return run(Command::new(built("release/pyrsia-benches")?).args(arguments));
    }
    run(&mut cargo(&["build", "--release", "--workspace", "--bins"]))?;
    run(cargo(&["build", "--release", "--package", "pyrsia-guests-native"]).args(GUESTS))?;
    run(Command::new(built("release/pyrsia-benches")?).args(arguments))
}

/// A program of the workspace after a build of the whole: building or running one package alone would choose other features
/// for what it depends on, and compile all of that again.
fn built(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program")?;
    let target = own.ancestors().nth(2).context("this program lies in a folder of the target folder")?;
    Ok(target.join(name))
}
