//! `pyrsia verifier new`: the beginnings of a verifier in a folder of its own, with the kit and the contract beside it.

use super::super::print;
use crate::arguments::NewArguments;
use crate::exit::Failure;
use pyrsia_ledger::PackageType;
use std::fs;
use std::path::PathBuf;

/// The template, the kit and the contract, by path within the new folder.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/kit.rs"));
/// What the template calls its package type.
const PLACEHOLDER: &str = "template";

pub(super) fn run(arguments: &NewArguments) -> Result<(), Failure> {
    let name = PackageType::new(arguments.package_type.clone())
        .map_err(|error| Failure::usage(format!("{:?} cannot be a package type: {error}", arguments.package_type)))?;
    let folder = arguments.directory.clone().unwrap_or_else(|| PathBuf::from(name.as_str()));
    let cannot_write = |error: std::io::Error| Failure::because(&format!("cannot write {}", folder.display()), &error);
    fs::create_dir_all(&folder).map_err(cannot_write)?;
    if fs::read_dir(&folder).map_err(cannot_write)?.next().is_some() {
        return Err(Failure::new(format!("{} is not empty", folder.display())));
    }
    for (path, content) in FILES {
        let target = folder.join(path);
        fs::create_dir_all(target.parent().unwrap_or(&folder)).map_err(cannot_write)?;
        fs::write(target, written(path, content, name.as_str())).map_err(cannot_write)?;
    }
    print(&format!(
        "A verifier for {name} packages begins in {folder}. Then, in that folder:\n\
         \x20 cargo test                                                     its logic, natively\n\
         \x20 cargo build --release --target wasm32-unknown-unknown          the module\n\
         \x20 pyrsia verifier test target/wasm32-unknown-unknown/release/{file}.wasm cases\n",
        folder = folder.display(),
        file = format!("pyrsia-verifier-{name}").replace('-', "_"),
    ))
}

/// A file as it stands in the new folder: the author's own under the name of the type, the kit beside the contract instead of three folders away.
fn written(path: &str, content: &[u8], name: &str) -> Vec<u8> {
    let is_shared = path.starts_with("kit/") || path.starts_with("wit/");
    match std::str::from_utf8(content) {
        Ok(text) if path == "kit/src/contract.rs" => text.replace("../../../wit/v1", "../wit/v1").into_bytes(),
        Ok(text) if !is_shared => text.replace(PLACEHOLDER, name).into_bytes(),
        Ok(_) | Err(_) => content.to_vec(),
    }
}
