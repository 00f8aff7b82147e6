//! Verifiers that are compiled in a process of their own, as a node has it done.

use crate::fixture::PYRSIA_NODE;
use pyrsia_verifiers::{CompiledModules, Compiler, HostOptions, Limits, LoadError, VerifierHost};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// A component without anything in it: it compiles, and is no verifier.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

fn load(folder: &Path, program: &str, arguments: &[&str], module: &[u8]) -> LoadError {
    let compiled = Some(CompiledModules::open(&folder.join("compiled"), [7; 32]).expect("a folder of its own"));
    let compiler = Some(Compiler { program: program.into(), arguments: arguments.iter().map(OsString::from).collect() });
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
    let error = load(folder.path(), "/bin/sh", &["-c", "kill -9 $$"], EMPTY);
    assert!(matches!(&error, LoadError::Compiling { reason } if reason.contains("signal 9")), "{error:?}");
    assert_eq!(kept(folder.path()), Vec::<PathBuf>::new());
    let others: [(&str, &[&str]); 3] = [("/nowhere/pyrsia_node", &[]), ("/bin/false", &[]), ("/bin/echo", &["something else"])];
    for (program, arguments) in others {
        let error = load(folder.path(), program, arguments, EMPTY);
        assert!(matches!(error, LoadError::WrongContract { .. }), "{program}: {error:?}");
        fs::remove_file(&kept(folder.path())[0]).unwrap();
    }
}
