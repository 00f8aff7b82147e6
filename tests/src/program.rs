//! One running program: its output collected line by line, ended when the test ends.

use crate::deadline::wait_for;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a program may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(20);
/// How much of its output a program shows when its test fails, in lines.
const SHOWN_LINES: usize = 60;

pub struct Program {
    pub name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Program {
    /// Starts `command` in a process group of its own, so that its children end with it.
    pub fn start(name: impl Into<String>, mut command: Command) -> Self {
        let name = name.into();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error} ({command:?})"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        collect(child.stdout.take().expect("piped"), lines.clone());
        collect(child.stderr.take().expect("piped"), lines.clone());
        Self { name, child, lines }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written so far.
    pub fn output(&self) -> Vec<String> {
        self.lines.lock().expect("no reader panics").clone()
    }

    /// The first line of output that `pick` makes something of.
    pub async fn line<T>(&mut self, what: &str, within: Duration, pick: impl Fn(&str) -> Option<T>) -> T {
        let what = format!("{what} in the output of {}", self.name);
        let mut ended = false;
        wait_for(what, within, || {
            let found = self.output().iter().find_map(|line| pick(line));
            assert!(found.is_some() || !ended, "{} ended early:\n{}", self.name, self.output().join("\n"));
            ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            async { found }
        })
        .await
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// `kill -9`: nothing is put in order.
    pub fn kill(&mut self) {
        self.signal("KILL");
        drop(self.child.wait());
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        signal_process(self.child.id(), "TERM");
        // A paused program would not notice.
        self.resume();
        let start = Instant::now();
        while start.elapsed() < GRACE {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// Stops it where it is (SIGSTOP): its connections stay open, and it says nothing.
    pub fn pause(&mut self) {
        self.signal("STOP");
    }

    /// Lets it go on after [`Program::pause`].
    pub fn resume(&mut self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        // The group, whose id is that of its first process.
        let group = format!("-{}", self.child.id());
        drop(Command::new("sh").args(["-c", "kill -s \"$0\" -- \"$1\"", signal, &group]).stderr(Stdio::null()).status());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.is_running() {
            self.stop();
        }
        self.signal("KILL");
        drop(self.child.wait());
        if std::thread::panicking() {
            let lines = self.output();
            let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            eprintln!("--- {} ({} lines)\n{}", self.name, lines.len(), shown.join("\n"));
        }
    }
}

fn signal_process(id: u32, signal: &str) {
    drop(Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", signal, &id.to_string()]).stderr(Stdio::null()).status());
}

fn collect(stream: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            lines.lock().expect("no reader panics").push(text);
            line.clear();
        }
    });
}

/// One of our own programs, built beside the tests.
pub fn ours(name: &str) -> PathBuf {
    built(name, "--bins")
}

/// One of our own examples, which `cargo xtask test` builds as well.
pub fn example(name: &str) -> PathBuf {
    built(&format!("examples/{name}"), "--examples")
}

fn built(name: &str, what: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let folder = own.ancestors().find(|folder| folder.join("deps").is_dir()).expect("programs are built beside `deps`");
    let program = folder.join(name);
    assert!(
        program.is_file(),
        "{} is not built: `cargo build --workspace {what}`, which `cargo xtask test` does",
        program.display()
    );
    program
}

/// Ports below those that the kernel gives to outgoing connections, which could take one between its choice and its use.
const PORTS: std::ops::Range<u32> = 10_000..30_000;

/// A TCP port that is free and that this process gives out only once.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes that run side by side begin far apart.
    let begin = std::process::id().wrapping_mul(97);
    for _ in PORTS {
        let offset = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % (PORTS.end - PORTS.start);
        let port = u16::try_from(PORTS.start + offset).expect("the range fits");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {} and {}", PORTS.start, PORTS.end)
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a command that must succeed; gives what it printed.
pub fn succeed(command: &mut Command) -> String {
    let ended = run(command);
    assert_eq!(ended.code, 0, "{command:?}\n{}{}", ended.stdout, ended.stderr);
    ended.stdout
}
