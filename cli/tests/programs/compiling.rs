//! Verifiers that are compiled in a process of their own, as a node has it done.

use crate::fixture::PYRSIA_NODE;
use pyrsia_verifiers::{CompiledModules, Compiler, HostOptions, Limits, LoadError, VerifierHost};
use std::fs;
use std::path::{Path, PathBuf};

/// A component without anything in it: it compiles, and is no verifier.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

#[expect(unsafe_code, reason = "other programs stand in for the node's")]
fn load(folder: &Path, program: &str, arguments: &[&str], module: &[u8]) -> LoadError {
    let compiled = Some(CompiledModules::open(&folder.join("compiled"), [7; 32]).expect("a folder of its own"));
    // SAFETY: what answers here is the program of a node, built with these tests, or answers with what no engine takes for a compiled module.
    let compiler = Some(unsafe { Compiler::new(program, arguments) });
    let host = VerifierHost::with_options(Limits::default(), HostOptions { compiled, compiler, ..HostOptions::default() });
    host.expect("a machine that runs verifiers").load(module).expect_err("no module here is a verifier")
}

fn kept(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("compiled")).expect("a folder");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn a_node_has_verifiers_compiled_by_a_process_of_its_own_program_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("started");
    // Leaves a line for each process, and becomes what a node starts.
    let script = format!("echo >> {}; exec {PYRSIA_NODE} compile-verifier", started.display());
    let times = || fs::read_to_string(&started).unwrap().lines().count();
    for _ in 0..2 {
        let error = load(folder.path(), "/bin/sh", &["-c", &script], EMPTY);
        assert!(matches!(error, LoadError::WrongContract { .. }), "{error:?}");
        assert_eq!((times(), kept(folder.path()).len()), (1, 1));
    }
    let error = load(folder.path(), "/bin/sh", &["-c", &script], b"\0asm\x0d\0\x01\0\xff");
    let here = VerifierHost::new(Limits::default()).unwrap().load(b"\0asm\x0d\0\x01\0\xff").unwrap_err();
    assert!(matches!(&error, LoadError::Malformed { reason } if !reason.is_empty()), "{error:?}");
    assert_eq!((error, times()), (here, 2));
}

#[test]
fn a_compiler_that_breaks_on_a_module_costs_the_module_and_one_that_does_not_start_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (end, said) in [("kill -ABRT $$", "signal 6"), ("exit 101", "panicked")] {
        let error = load(folder.path(), "/bin/sh", &["-c", end], EMPTY);
        assert!(matches!(&error, LoadError::Compiling { reason } if reason.contains(said)), "{error:?}");
    }
    assert_eq!(kept(folder.path()), Vec::<PathBuf>::new());
    // No address space has room for stacks of this size, so that no thread can be begun.
    let without_threads = format!("RUST_MIN_STACK=140737488355328 exec {PYRSIA_NODE} compile-verifier");
    let others: [(&str, &[&str]); 4] = [
        ("/nowhere/pyrsia_node", &[]),
        ("/bin/false", &[]),
        ("/bin/echo", &["something else"]),
        ("/bin/sh", &["-c", &without_threads]),
    ];
    for (program, arguments) in others {
        let error = load(folder.path(), program, arguments, EMPTY);
        assert!(matches!(error, LoadError::WrongContract { .. }), "{program}: {error:?}");
        fs::remove_file(&kept(folder.path())[0]).unwrap();
    }
}

#[test]
fn a_compiler_that_is_ended_from_outside_is_started_once_more_and_says_nothing_about_the_module() {
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("started");
    let once = format!("[ -e {0} ] && exec {PYRSIA_NODE} compile-verifier; echo > {0}; kill -TERM $$", started.display());
    let error = load(folder.path(), "/bin/sh", &["-c", &once], EMPTY);
    assert!(matches!(error, LoadError::WrongContract { .. }), "{error:?}");
    fs::remove_file(&kept(folder.path())[0]).unwrap();
    fs::remove_file(&started).unwrap();
    let always = format!("echo >> {}; kill -9 $$", started.display());
    let error = load(folder.path(), "/bin/sh", &["-c", &always], EMPTY);
    assert_eq!(error, LoadError::Interrupted { signal: 9 });
    assert_eq!((fs::read_to_string(&started).unwrap().lines().count(), kept(folder.path()).len()), (2, 0));
}
