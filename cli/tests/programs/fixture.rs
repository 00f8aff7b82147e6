//! Running the programs, each with folders of its own for everything it looks up in the user's environment.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

pub(crate) const PYRSIA: &str = env!("CARGO_BIN_EXE_pyrsia");
pub(crate) const PYRSIA_NODE: &str = env!("CARGO_BIN_EXE_pyrsia_node");
pub(crate) const PYRSIA_BUILD: &str = env!("CARGO_BIN_EXE_pyrsia_build");

pub(crate) fn program(path: &str, home: &Path) -> Command {
    let mut command = Command::new(path);
    command.env_clear().env("HOME", home).env("XDG_CONFIG_HOME", home.join("config")).env("XDG_STATE_HOME", home.join("state"));
    command.current_dir(home);
    command
}

pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn run(path: &str, home: &Path, line: &str) -> Ended {
    let output = program(path, home).args(line.split_whitespace()).stdin(Stdio::null()).output().expect("the program starts");
    ended(output)
}

pub(crate) fn run_with_input(home: &Path, line: &str, input: &str) -> Ended {
    let mut child = program(PYRSIA, home)
        .args(line.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("the program reads");
    ended(child.wait_with_output().expect("the program ends"))
}

pub(crate) fn ended(output: Output) -> Ended {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("programs write UTF-8");
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

pub(crate) fn free_port() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    (listener, port)
}
