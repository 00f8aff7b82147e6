//! Modules that take long to compile hold up no others. The nodes of a process share their compiler, for which a script stands in here: so this is a
//! program of its own.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use pyrsia_ledger::{PackageType, Sha256Digest};
use pyrsia_node::{Node, NodeConfig};
use pyrsia_verifiers::{Compiler, SHIPPED};

const DEADLINE: Duration = Duration::from_secs(120);

/// Writes down which module it is given, keeps one with `held-1` or `held-2` in it until there is a file `let-1` or `let-2`, and leaves compiling to the
/// node.
const SCRIPT: &str = r#"
    module="$0/module.$$"
    cat > "$module"
    sha256sum < "$module" >> "$0/given"
    for number in 1 2; do
        while grep -q "held-$number" "$module" && [ -d "$0" ] && [ ! -e "$0/let-$number" ]; do sleep 0.02; done
    done
    exit 1
"#;

#[expect(unsafe_code, reason = "a script stands in for the node's program")]
fn compiler(folder: &Path) -> Compiler {
    // SAFETY: it answers nothing.
    unsafe { Compiler::new("/bin/sh", ["-c", SCRIPT, folder.to_str().unwrap()]) }
}

/// Puts a shipped module with a custom section behind it into the folder: the same verifier with another digest.
fn put(folder: &Path, file: &str, name: &str) -> Sha256Digest {
    let shipped = SHIPPED.iter().find(|(name, _)| *name == "docker.wasm").unwrap().1;
    let section = [&[0, name.len() as u8 + 1, name.len() as u8], name.as_bytes()].concat();
    let module = [shipped, &section].concat();
    fs::write(folder.join("verifiers").join(file), &module).unwrap();
    Sha256Digest::of(&module)
}

async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_compiles_for_long_holds_up_no_other_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir_all(folder.join("verifiers")).unwrap();
    let given =
        |module: Sha256Digest| fs::read_to_string(folder.join("given")).is_ok_and(|given| given.contains(&module.to_string()));
    let kept = |module: Sha256Digest| folder.join("modules").join(format!("{module}.wasm")).exists();

    // The first of the folder, and two behind it.
    let held = put(folder, "a.wasm", "held-1");
    let others = [("b.wasm", "another"), ("c.wasm", "yet another")].map(|(file, name)| put(folder, file, name));
    let config = NodeConfig {
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        verifiers_path: Some(folder.join("verifiers")),
        verifier_compiler: Some(compiler(folder)),
        init_network: Some("test".into()),
        ..NodeConfig::new(folder)
    };
    let starting = tokio::spawn(Node::start(config));
    wait_for("all modules of the folder", || given(held) && others.into_iter().all(given)).await;
    assert!(!starting.is_finished(), "a node starts with all of its folder");
    fs::write(folder.join("let-1"), "").unwrap();
    let node = starting.await.unwrap().unwrap();
    assert!(kept(held) && others.into_iter().all(kept));

    let handle = node.handle();
    handle.authorize(handle.node_id()).await.unwrap();
    let docker = PackageType::new("docker").unwrap();
    let current = || handle.ledger().state.as_ref().and_then(|state| state.verifiers.current(&docker));
    wait_for("the preferred module of the folder", || current() == Some(others[1])).await;

    // While the node runs: one that was put there before the other.
    let held = put(folder, "d.wasm", "held-2");
    wait_for("the module that is held", || given(held)).await;
    let other = put(folder, "e.wasm", "the last");
    wait_for("the other one", || current() == Some(other)).await;
    assert!(!kept(held), "it is still being compiled");
    assert_eq!(handle.parse_coordinate("docker", "alpine:3.16.0").await.unwrap().id.as_str(), "alpine:3.16.0");
    fs::write(folder.join("let-2"), "").unwrap();
    wait_for("the one that was held", || kept(held)).await;
    assert_eq!(current(), Some(other));
    node.stop().await;
}
