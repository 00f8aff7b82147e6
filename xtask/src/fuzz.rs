//! Two ways of looking for what nobody thought of: changed build outputs for the shipped verifiers, and bytes that break a
//! property (`fuzz/`).
//!
//! The runner of the first is an example of the verifiers' crate, so that this program stays light. The second is built with the
//! coverage that cargo-fuzz asks the compiler for, on the compiler of every other build.

use crate::{built, cargo, root, run};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What every change must pass; half a minute.
const SEEDS_OF_TEST: &str = "0..1000";
/// How long the fuzzer looks if nobody says.
const LOOK_SECONDS: u64 = 60;
/// What libFuzzer follows: edges by counters, with their places, and comparisons. cargo-fuzz passes the same.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";
/// Where a target writes what it begins with.
const SEEDS_FOLDER: &str = "PYRSIA_FUZZ_SEEDS";
/// The longest input, in bytes, that a change may lead to; longer ones of the corpus are read as they are.
const INPUT_BYTES_MAX: u64 = 1 << 14;
/// One input that takes longer is a finding, and so is one that takes more memory.
const INPUT_SECONDS_MAX: u64 = 10;
const MEMORY_MIB_MAX: u64 = 2_048;
const CRATES: [&str; 3] = ["ledger", "node", "registry"];

const USAGE: &str = "usage: cargo xtask fuzz --seeds A..B [--type PACKAGE-TYPE] [--modules DIR]
       cargo xtask fuzz TARGET [--for 10m] [--keep]";

pub(crate) fn fuzz(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["--seeds", seeds, kind @ ..] => {
            run(&mut cargo(&["build", "--workspace", "--bins", "--examples"]))?;
            run(Command::new(built("debug/examples/fuzz")?).arg(seeds).args(kind))
        }
        [target, options @ ..] if !target.starts_with('-') => look(target, options),
        _ => bail!("{USAGE}\n\ntargets: {}", targets()?.join(" ")),
    }
}

/// The same seeds every time, after a build of the whole.
pub(crate) fn seeds_of_test() -> Result<()> {
    run(Command::new(built("debug/examples/fuzz")?).arg(SEEDS_OF_TEST))
}

/// Looks for bytes that break a property, from its seeds and its corpus on; `--keep` leaves what reaches further in the corpus.
fn look(target: &str, options: &[&str]) -> Result<()> {
    let (seconds, keeps) = match options {
        [] => (LOOK_SECONDS, false),
        ["--keep"] => (LOOK_SECONDS, true),
        ["--for", time] => (seconds(time)?, false),
        ["--for", time, "--keep"] | ["--keep", "--for", time] => (seconds(time)?, true),
        _ => bail!(USAGE),
    };
    let source = folder().join("fuzz_targets").join(target).with_extension("rs");
    let Ok(text) = std::fs::read_to_string(&source) else { bail!("no such target: {target}, only {}", targets()?.join(" ")) };
    let tested = CRATES.iter().find(|tested| text.contains(&format!("pyrsia_{tested}::")));
    let tested = tested.with_context(|| format!("{} is about no crate", source.display()))?;
    let triple = host()?;
    let manifest = folder().join("Cargo.toml");
    // With a triple, programs that run while others are built are not watched.
    let build = ["build", "--release", "--target", &triple, "--features", tested, "--bin", target, "--manifest-path"];
    run(cargo(&build).arg(&manifest).env("RUSTFLAGS", COVERAGE).env_remove("CARGO_TARGET_DIR"))?;

    let (corpus, work) = (folder().join("corpus").join(target), folder().join("target/work").join(target));
    let (found, seeds, artifacts) = (work.join("found"), work.join("seeds"), folder().join("artifacts").join(target));
    for folder in [&corpus, &found, &seeds, &artifacts] {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let program = folder().join("target").join(&triple).join("release").join(target);
    let looks = run(Command::new(&program)
        .args([&found, &corpus, &seeds])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg("-print_final_stats=1")
        .env(SEEDS_FOLDER, &seeds));
    let again = || format!("what broke it lies in {}; `{} FILE` shows it again", artifacts.display(), program.display());
    looks.with_context(again)?;
    if keeps {
        run(Command::new(&program).arg("-merge=1").args([&corpus, &found]))?;
    }
    Ok(())
}

fn folder() -> PathBuf {
    root().join("fuzz")
}

fn targets() -> Result<Vec<String>> {
    let files = std::fs::read_dir(folder().join("fuzz_targets"))?.collect::<Result<Vec<_>, _>>()?;
    let name = |path: &Path| path.file_stem().map(|name| name.to_string_lossy().into_owned());
    let mut names: Vec<String> = files.iter().filter_map(|file| name(&file.path())).collect();
    names.sort();
    Ok(names)
}

/// A number of seconds, minutes or hours.
fn seconds(time: &str) -> Result<u64> {
    let (number, unit) = match time.char_indices().next_back() {
        Some((at, 's')) => (&time[..at], 1),
        Some((at, 'm')) => (&time[..at], 60),
        Some((at, 'h')) => (&time[..at], 3_600),
        _ => (time, 1),
    };
    let number: u64 = number.parse().with_context(|| format!("{time} is no time such as 90s, 10m or 2h"))?;
    number.checked_mul(unit).filter(|seconds| *seconds > 0).with_context(|| format!("{time} is no time to look"))
}

/// The triple that the compiler builds for.
fn host() -> Result<String> {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(compiler).arg("-vV").output().context("rustc does not start")?;
    let text = String::from_utf8(output.stdout)?;
    let triple = text.lines().find_map(|line| line.strip_prefix("host: "));
    ensure!(output.status.success() && triple.is_some(), "rustc does not tell what it builds for");
    Ok(triple.unwrap_or_default().to_owned())
}
