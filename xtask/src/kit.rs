//! The author's kit as an author uses it: from `pyrsia verifier new` to a module that passes its cases and compares outputs.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Result, ensure};

use crate::{cargo, guests, root, run};

const TARGET: &str = "wasm32-unknown-unknown";

pub(crate) fn kit() -> Result<()> {
    run(&mut cargo(&["build", "--package", "pyrsia-cli", "--bin", "pyrsia"]))?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let pyrsia = target.join("debug/pyrsia");
    let folder = target.join("author");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let pyrsia = |words: &[&str]| {
        let mut command = std::process::Command::new(&pyrsia);
        command.current_dir(target.as_path()).args(words);
        command
    };
    run(&mut pyrsia(&["verifier", "new", "sample-type", "--directory", "author"]))?;
    // The versions that the project itself is built with.
    fs::copy(root().join("verifiers/guests/Cargo.lock"), folder.join("Cargo.lock"))?;
    // Beside the other guests' artifacts, so that the dependencies are built once.
    let built = root().join("verifiers/guests/target");
    let in_folder = |words: &[&str]| {
        let mut command = cargo(words);
        command.current_dir(&folder).env("CARGO_TARGET_DIR", &built);
        for setting in guests::FOREIGN_SETTINGS.iter().filter(|setting| **setting != "CARGO_TARGET_DIR") {
            command.env_remove(setting);
        }
        command
    };
    run(&mut in_folder(&["test", "--quiet"]))?;
    run(&mut in_folder(&["build", "--quiet", "--release", "--target", TARGET]))?;
    let module = built.join(TARGET).join("release/pyrsia_verifier_sample_type.wasm");
    let module = text(&module)?;
    run(&mut pyrsia(&["verifier", "describe", module]))?;
    run(&mut pyrsia(&["verifier", "test", module, "author/cases"]))?;
    let case = |name: &str| ["a", "b"].map(|side| format!("author/cases/{name}/{side}"));
    for (name, code) in [("other-times-and-order", 0), ("other-content", 1), ("path-twice", 2)] {
        let [a, b] = case(name);
        let status = pyrsia(&["compare", &a, &b, "--module", module]).status()?;
        ensure!(status.code() == Some(code), "`pyrsia compare` of {name} ended with {status}, not {code}");
    }
    println!("the author's kit leads to a verifier");
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| anyhow::anyhow!("{} is not UTF-8", path.display()))
}
