//! The author's kit as an author uses it: from `pyrsia verifier new` to a module that passes its cases and compares outputs.
//!
//! Runs the `pyrsia` that a build of the whole workspace made; never builds it anew for itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{built, cargo, guests, root, run};

/// Builds `pyrsia` and walks an author's way with it.
pub(crate) fn kit() -> Result<()> {
    run(&mut cargo(&["build", "--workspace", "--bins"]))?;
    author()
}

/// The way of somebody who has nothing but the program: a new folder, its tests, its module, its cases, three comparisons.
pub(crate) fn author() -> Result<()> {
    let target = built("")?;
    let folder = target.join("author");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let pyrsia = |words: &[&str]| -> Result<Command> {
        let mut command = pyrsia()?;
        command.current_dir(&target).args(words);
        Ok(command)
    };
    run(&mut pyrsia(&["verifier", "new", "sample-type", "--directory", "author"])?)?;
    // The versions that the project itself is built with.
    fs::copy(root().join("verifiers/guests/Cargo.lock"), folder.join("Cargo.lock"))?;
    // Beside the other guests' artifacts, so that the dependencies are built once.
    let artifacts = root().join("verifiers/guests/target");
    let in_folder = |words: &[&str]| {
        let mut command = cargo(words);
        command.current_dir(&folder).env("CARGO_TARGET_DIR", &artifacts);
        for setting in guests::FOREIGN_SETTINGS.iter().filter(|setting| **setting != "CARGO_TARGET_DIR") {
            command.env_remove(setting);
        }
        command
    };
    run(&mut in_folder(&["test", "--quiet"]))?;
    run(&mut in_folder(&["build", "--quiet", "--release", "--target", guests::TARGET]))?;
    let module = artifacts.join(guests::TARGET).join("release/pyrsia_verifier_sample_type.wasm");
    let module = text(&module)?;
    run(&mut pyrsia(&["verifier", "describe", module])?)?;
    run(&mut pyrsia(&["verifier", "test", module, "author/cases"])?)?;
    let case = |name: &str| ["a", "b"].map(|side| format!("author/cases/{name}/{side}"));
    for (name, code) in [("other-times-and-order", 0), ("other-content", 1), ("path-twice", 2)] {
        let [a, b] = case(name);
        let status = pyrsia(&["compare", &a, &b, "--module", module])?.status()?;
        ensure!(status.code() == Some(code), "`pyrsia compare` of {name} ended with {status}, not {code}");
    }
    println!("the author's kit leads to a verifier");
    Ok(())
}

fn pyrsia() -> Result<Command> {
    let program: PathBuf = built("debug/pyrsia")?;
    ensure!(program.exists(), "{} is missing: a build of the whole workspace makes it", program.display());
    Ok(Command::new(program))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
