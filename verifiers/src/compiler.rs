//! Compiling in a process of its own, so that a node keeps neither the memory that compiling takes nor the part of the program that only compiling reads.
//!
//! Owns the conversation of the two processes, which are one program: the module goes to the standard input, what came of it comes from the standard output, and the exit
//! code says what it is. A module on which the compiler breaks ends that process and not the node.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use crate::compiled::COMPILED_BYTES_MAX;
use crate::host::{HostOptions, VerifierHost};
use crate::limits::{self, Limits};

/// The module is none, and the output says why: EX_DATAERR of sysexits(3).
const REFUSED: u8 = 65;
/// EX_TEMPFAIL of the same.
const TOO_LONG: u8 = 75;
/// What a Rust program ends with that panicked.
const PANICKED: i32 = 101;
/// SIGHUP, SIGINT, SIGKILL and SIGTERM, which have these numbers everywhere: somebody's wish, or the system's for want of memory.
const SIGNALS_FROM_OUTSIDE: [i32; 4] = [1, 2, 9, 15];
/// The slowest module of the allowed size takes some seconds.
const COMPILING_MAX: Duration = Duration::from_secs(10 * 60);

/// The program that compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    program: PathBuf,
    arguments: Vec<OsString>,
}

pub(crate) enum Answer {
    Compiled(Vec<u8>),
    /// Why no compiler takes the module.
    Refused(String),
    /// Why this compiler came to no end with the module.
    Broken(String),
    /// By this signal, which says nothing about the module.
    Interrupted(i32),
}

impl Compiler {
    /// `arguments` make `program` call [`compile_for_parent`] and end with what that returns.
    ///
    /// # Safety
    ///
    /// What the program answers is run as it is, in this process: it has to be the very program that asks, or one that never answers with anything but what that would.
    #[expect(unsafe_code, reason = "nothing can check what another program answers")]
    pub unsafe fn new(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self { program: program.into(), arguments: arguments.into_iter().map(Into::into).collect() }
    }

    /// An error says that there is no such process; it says nothing about the module.
    pub(crate) fn compile(&self, module: &[u8]) -> io::Result<Answer> {
        // Without the environment of a node, which has secrets in it and the socket of its service manager.
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
        // A terminal's Ctrl-C is meant for the node.
        command.process_group(0);
        let mut child = command.spawn()?;
        let answer = ask(&mut child, module);
        if answer.is_err() {
            // It may have ended by itself.
            let _ = child.kill();
        }
        let ended = child.wait()?;
        understand(answer?, ended)
    }
}

fn ask(child: &mut Child, module: &[u8]) -> io::Result<Vec<u8>> {
    let (mut input, output) = child.stdin.take().zip(child.stdout.take()).ok_or_else(|| io::Error::other("it has no pipes"))?;
    // It reads all of this before it writes. Whether it ended before that is seen by how it ended.
    let _ = input.write_all(module);
    drop(input);
    let mut answer = Vec::new();
    output.take(COMPILED_BYTES_MAX + 1).read_to_end(&mut answer)?;
    if answer.len() as u64 > COMPILED_BYTES_MAX {
        return Err(io::Error::other(format!("it answered with more than {COMPILED_BYTES_MAX} bytes")));
    }
    Ok(answer)
}

fn understand(answer: Vec<u8>, ended: ExitStatus) -> io::Result<Answer> {
    match (ended.code(), ended.signal()) {
        (Some(0), _) => Ok(Answer::Compiled(answer)),
        (Some(code), _) if code == i32::from(REFUSED) => Ok(Answer::Refused(String::from_utf8_lossy(&answer).into_owned())),
        (Some(code), _) if code == i32::from(TOO_LONG) => Ok(Answer::Broken(format!("it took more than {COMPILING_MAX:?}"))),
        (Some(PANICKED), _) => Ok(Answer::Broken("the compiler panicked".to_owned())),
        (None, Some(signal)) if SIGNALS_FROM_OUTSIDE.contains(&signal) => Ok(Answer::Interrupted(signal)),
        (None, Some(signal)) => Ok(Answer::Broken(format!("the compiler was ended by signal {signal}"))),
        _ => Err(io::Error::other(format!("it ended with {ended}"))),
    }
}

/// What the process does that a [`Compiler`] starts: compiles the module of `input`, as hosts with the default options do, and answers to `output`.
pub fn compile_for_parent(input: impl Read, mut output: impl Write) -> ExitCode {
    let watch = || {
        thread::sleep(COMPILING_MAX);
        std::process::exit(i32::from(TOO_LONG));
    };
    // That there is no thread to be had says nothing about the module.
    if thread::Builder::new().spawn(watch).is_err() {
        return ExitCode::FAILURE;
    }
    let mut module = Vec::new();
    let host = VerifierHost::with_options(Limits::default(), HostOptions::default());
    let (Ok(host), Ok(_)) = (host, input.take(limits::MODULE_BYTES_MAX).read_to_end(&mut module)) else {
        return ExitCode::FAILURE;
    };
    let (answer, code) = match host.serialized(&module) {
        Ok(compiled) => (compiled, ExitCode::SUCCESS),
        Err(reason) => (reason.into_bytes(), ExitCode::from(REFUSED)),
    };
    match output.write_all(&answer).and_then(|()| output.flush()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}
