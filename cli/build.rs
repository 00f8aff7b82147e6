//! Lists the author's kit (template, kit, contract), so that `pyrsia verifier new` carries it, and the clients that `pyrsia settings` knows.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("..");
    let guests = root.join("verifiers/guests");
    let mut files = Vec::new();
    collect(&guests.join("template"), "", &mut files)?;
    collect(&guests.join("kit"), "kit/", &mut files)?;
    collect(&root.join("wit/v1"), "wit/v1/", &mut files)?;
    files.push((".cargo/config.toml".into(), guests.join(".cargo/config.toml")));
    // The template is a member of the guests' workspace; on its own it is a workspace itself.
    files.retain(|(name, _)| name != "Cargo.toml");
    files.iter_mut().filter(|(name, _)| name == "standalone.toml").for_each(|(name, _)| *name = "Cargo.toml".into());
    files.sort();

    let mut list = String::from("&[\n");
    for (name, path) in &files {
        println!("cargo::rerun-if-changed={}", path.display());
        writeln!(list, "    ({name:?}, include_bytes!({:?})),", path.canonicalize()?).map_err(io::Error::other)?;
    }
    list.push(']');
    for folder in ["template", "kit"] {
        println!("cargo::rerun-if-changed={}", guests.join(folder).display());
    }
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("kit.rs"), list)?;
    fs::write(Path::new(&out).join("clients.rs"), clients(&root.join("cli/clients"))?)
}

/// The name and the text of each client's file, in the order of the names.
fn clients(folder: &Path) -> io::Result<String> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    collect(folder, "", &mut files)?;
    for (name, _) in &mut files {
        let client = name.strip_suffix(".toml").map(str::to_owned);
        *name = client.ok_or_else(|| io::Error::other(format!("{name} is the file of no client")))?;
    }
    files.sort();
    let mut list = String::from("&[\n");
    for (name, path) in &files {
        writeln!(list, "    ({name:?}, include_str!({:?})),", path.canonicalize()?).map_err(io::Error::other)?;
    }
    list.push(']');
    Ok(list)
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            if !name.ends_with("target") {
                collect(&path, &format!("{name}/"), files)?;
            }
        } else if !name.ends_with(".lock") {
            files.push((name, path));
        }
    }
    Ok(())
}
