//! The processes in which a node has verifiers compiled: this program once more, started by the node, with a module as its input.
//!
//! No command for people: no help mentions it, and it reads no settings. It lives no longer than the node that started it.

use pyrsia_verifiers::{Compiler, compiler};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

const WORD: &str = "compile-verifier";

/// How the node starts one.
#[expect(unsafe_code, reason = "what the process answers is run as it is")]
pub(super) fn compiler() -> Option<Compiler> {
    // SAFETY: it is this very program, which calls `run` when it is started with this word.
    Some(unsafe { Compiler::new(this_program()?, [WORD]) })
}

/// The file that runs, also where another version lies in its place since.
#[cfg(target_os = "linux")]
fn this_program() -> Option<PathBuf> {
    // Read by the new process, which still is a copy of this one.
    Some("/proc/self/exe".into())
}

#[cfg(not(target_os = "linux"))]
fn this_program() -> Option<PathBuf> {
    None
}

pub(super) fn is_asked() -> bool {
    std::env::args_os().skip(1).eq([WORD])
}

pub(super) fn run() -> ExitCode {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)) {
        // It ends by itself all the same.
        eprintln!("{WORD} outlives its node: {error}");
    }
    compiler::compile_for_parent(io::stdin().lock(), io::stdout().lock())
}
