//! The verifier components: built from `verifiers/guests` into `verifiers/shipped`, with their digests in `SHA256SUMS`.
//!
//! The shipped bytes are those of the reference build: rustc 1.95.0 with a standard library for `wasm32-unknown-unknown` that was built from the source of
//! that release. They are the same in any folder and with any cargo home; another rustc gives others, and rustup's own build
//! of the standard library may do so too. Never a part of `cargo build`: the workspace carries what is committed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";
const REFERENCE_RUSTC: &str = "rustc 1.95.0 ";
const SUMS: &str = "SHA256SUMS";
/// What a guest's package is called before the name of its folder.
const PACKAGE_PREFIX: &str = "pyrsia-verifier-";
/// Settings of the caller that would change the bytes of a guest or the place where they are written.
pub(crate) const FOREIGN_SETTINGS: [&str; 12] = [
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "CARGO_PROFILE_RELEASE_DEBUG",
    "CARGO_PROFILE_RELEASE_LTO",
    "CARGO_PROFILE_RELEASE_OPT_LEVEL",
    "CARGO_RESOLVER_FEATURE_UNIFICATION",
    "CARGO_TARGET_DIR",
    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
    "RUSTC_BOOTSTRAP",
    "RUSTFLAGS",
];

/// Builds these guests, or every one when none is named, and writes them to be committed.
pub(crate) fn build(names: &[&str]) -> Result<()> {
    let (guests, shipped) = folders()?;
    let every = guest_names(&guests)?;
    let wanted: Vec<String> = if names.is_empty() { every.clone() } else { names.iter().map(|name| (*name).into()).collect() };
    if let Some(unknown) = wanted.iter().find(|name| !every.contains(name)) {
        bail!("there is no guest {unknown}; there are {}", every.join(", "));
    }
    write(&shipped, &compile(&guests, &wanted)?, &every)
}

/// Builds every guest and refuses a difference from what is committed.
pub(crate) fn check() -> Result<()> {
    let (guests, shipped) = folders()?;
    compare(&shipped, &compile(&guests, &guest_names(&guests)?)?)
}

/// Whether a component can be built here, without going to get anything.
pub(crate) fn can_build() -> Result<bool> {
    let (guests, _) = folders()?;
    has_target(&guests)
}

fn folders() -> Result<(PathBuf, PathBuf)> {
    let verifiers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../verifiers").canonicalize()?;
    Ok((verifiers.join("guests"), verifiers.join("shipped")))
}

/// The components by the name of the file they ship as.
type Built = BTreeMap<String, Vec<u8>>;

fn compile(guests: &Path, names: &[String]) -> Result<Built> {
    ensure_toolchain(guests)?;
    let target_dir = guests.join("target");
    let cargo = || Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // First, so that the folders whose names are kept out of the bytes exist.
    run(cargo().args(["fetch", "--quiet", "--locked", "--target", TARGET]).current_dir(guests))?;
    let flags = path_free_flags(guests)?;
    let mut built = Built::new();
    for name in names {
        let package = format!("{PACKAGE_PREFIX}{name}");
        // One at a time: built together they would share the features of their dependencies, and each one's bytes would depend on the others.
        let mut cargo = cargo();
        cargo
            .args(["build", "--quiet", "--release", "--locked", "--package", &package, "--target", TARGET, "--target-dir"])
            .arg(&target_dir)
            .current_dir(guests);
        for setting in FOREIGN_SETTINGS {
            cargo.env_remove(setting);
        }
        run(cargo.env("CARGO_ENCODED_RUSTFLAGS", &flags))?;
        let module = target_dir.join(TARGET).join("release").join(format!("{}.wasm", package.replace('-', "_")));
        let bytes = fs::read(&module).with_context(|| format!("the guest {name} gave no {}", module.display()))?;
        built.insert(format!("{name}.wasm"), bytes);
    }
    Ok(built)
}

/// The folders that hold a verifier to ship, in alphabetical order.
fn guest_names(guests: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(guests)? {
        let folder = entry?.path();
        if is_component(&folder)? {
            names.push(folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    names.sort();
    ensure!(!names.is_empty(), "{} has no guest", guests.display());
    Ok(names)
}

/// Whether a folder holds a verifier to ship; the kit and the template are there for verifiers.
fn is_component(folder: &Path) -> Result<bool> {
    let manifest = folder.join("Cargo.toml");
    Ok(manifest.exists() && !folder.ends_with("template") && fs::read_to_string(manifest)?.contains("\"cdylib\""))
}

/// Flags that keep the folders of this machine out of the bytes.
fn path_free_flags(guests: &Path) -> Result<OsString> {
    let cargo_home = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => env::home_dir().context("there is neither CARGO_HOME nor a home folder")?.join(".cargo"),
    };
    let mut folders = vec![(guests.to_path_buf(), "/guests")];
    // One folder for each registry, named after its address: a mirror must give the same bytes.
    if let Ok(registries) = fs::read_dir(cargo_home.join("registry/src")) {
        for registry in registries {
            folders.push((registry?.path(), "/crates"));
        }
    }
    let mut flags = OsString::new();
    for (folder, name) in folders {
        if !flags.is_empty() {
            flags.push("\x1f");
        }
        flags.push("--remap-path-prefix=");
        flags.push(folder);
        flags.push(format!("={name}"));
    }
    Ok(flags)
}

fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// Whether the standard library of the components' target is installed.
fn has_target(guests: &Path) -> Result<bool> {
    let folder = output(rustc().args(["--print", "target-libdir", "--target", TARGET]).current_dir(guests))?;
    let std_here = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("libstd-");
    Ok(fs::read_dir(folder.trim()).is_ok_and(|entries| entries.flatten().any(std_here)))
}

fn ensure_toolchain(guests: &Path) -> Result<()> {
    let version = output(rustc().arg("--version").current_dir(guests))?;
    ensure!(version.starts_with(REFERENCE_RUSTC), "the shipped components are built with {REFERENCE_RUSTC}, this is {version}");
    if has_target(guests)? {
        return Ok(());
    }
    // Each way is tried in turn; only the outcome counts.
    let rustup = Command::new("rustup").args(["target", "add", TARGET]).status();
    if rustup.is_ok_and(|status| status.success()) && has_target(guests)? {
        return Ok(());
    }
    if let (Some(_), Some(script)) = (env::var_os("RUST_STD_SRC"), env::var_os("WASM_TOOLCHAIN_SH")) {
        run(&mut Command::new(script))?;
        if has_target(guests)? {
            return Ok(());
        }
    }
    bail!(
        "the standard library for {TARGET} is missing. Either `rustup target add {TARGET}`, where rustup can download; or set RUST_STD_SRC to an archive \
         of the `library` folder of Rust's source for this rustc and WASM_TOOLCHAIN_SH to a script that builds and installs it"
    )
}

fn write(shipped: &Path, built: &Built, every: &[String]) -> Result<()> {
    fs::create_dir_all(shipped)?;
    for (name, bytes) in built {
        fs::write(shipped.join(name), bytes)?;
        println!("{}  {name}  {} bytes", sha256(bytes), bytes.len());
    }
    let mut all = Built::new();
    for name in modules(shipped)? {
        let path = shipped.join(&name);
        if every.iter().any(|guest| name == format!("{guest}.wasm")) {
            all.insert(name, fs::read(path)?);
        } else {
            // A module whose guest is gone would go on being shipped.
            fs::remove_file(path)?;
            println!("removed {name}, which has no guest");
        }
    }
    fs::write(shipped.join(SUMS), sums(&all))?;
    Ok(())
}

fn compare(shipped: &Path, built: &Built) -> Result<()> {
    let mut differences = Vec::new();
    for (name, bytes) in built {
        let committed = fs::read(shipped.join(name)).map_or_else(|_| "absent".into(), |committed| sha256(&committed));
        let fresh = sha256(bytes);
        if committed != fresh {
            differences.push(format!("{name}: committed {committed}, built from source {fresh}"));
        }
    }
    for name in modules(shipped)? {
        if !built.contains_key(&name) {
            differences.push(format!("{name}: committed, but it has no guest"));
        }
    }
    let committed_sums = fs::read_to_string(shipped.join(SUMS)).unwrap_or_default();
    if committed_sums != sums(built) {
        differences.push(format!("{SUMS}: committed\n{committed_sums}built from source\n{}", sums(built)));
    }
    if differences.is_empty() {
        return Ok(());
    }
    bail!(
        "the components in {} are not what their source gives; `cargo xtask guests` writes them.\n{}\nThe reference build is {REFERENCE_RUSTC}with a standard \
         library built from source; rustup's may give other bytes",
        shipped.display(),
        differences.join("\n")
    )
}

fn sums(built: &Built) -> String {
    built.iter().map(|(name, bytes)| format!("{}  {name}\n", sha256(bytes))).collect()
}

fn modules(shipped: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(shipped).with_context(|| format!("{} cannot be read", shipped.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".wasm") {
            names.push(name);
        }
    }
    Ok(names)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?} cannot be started"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?} cannot be started"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
