//! Running the programs of others (git, docker, build programs) for a build: each in a process group of its own that dies with the build.
//!
//! No text from outside goes through a shell, and standard input is empty
//! or a socket of the pipeline. Dropping the future of [`run`]
//! kills the group, which is how a time limit and a cancellation reach the children of a tool; what a tool leaves in the
//! background ends with it as well.

use std::io;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;

use crate::build_log::BuildLog;

/// Answers that are read by this program are a few lines long.
const MAX_CAPTURED_BYTES: usize = 64 << 10;
/// A "line" without an end is handed to the log in pieces of this size.
const MAX_LINE_BYTES: u64 = 8 << 10;
/// Lines of standard error that are repeated in the message of a failure.
const QUOTED_LINES: usize = 3;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("{program} is not installed on the machine of the pipeline")]
    Missing { program: String },
    #[error("cannot run {program}")]
    Io {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("{program} ended with {status}: {last_lines}")]
    Failed { program: String, status: ExitStatus, last_lines: String },
}

/// What a tool's standard output is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stdout {
    /// Progress for people: goes into the log.
    Log,
    /// An answer: is returned, and kept out of the log.
    Answer,
}

/// Runs the command to its end and returns its answer; standard error goes into the log.
pub(crate) async fn run(command: Command, stdout: Stdout, log: &BuildLog) -> Result<String, ProcessError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    run_as(program, command, stdout, log).await
}

/// Like [`run`], under the name that people know the program by.
pub(crate) async fn run_as(program: String, command: Command, stdout: Stdout, log: &BuildLog) -> Result<String, ProcessError> {
    let ended = run_to_end(&program, command, Stdio::null(), stdout, log).await?;
    if ended.status.success() { Ok(ended.output) } else { Err(ended.failure(&program)) }
}

/// How a program ended, and the newest that it printed, within the limit.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Ended {
    /// The failure in the program's last words.
    pub(crate) fn failure(&self, program: &str) -> ProcessError {
        // A tool without a word on standard error may have said it on the other.
        let said = if self.errors.trim().is_empty() { &self.output } else { &self.errors };
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let last_lines = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("; ");
        ProcessError::Failed { program: program.to_owned(), status: self.status, last_lines }
    }
}

/// Runs the command to its end, whatever that is.
pub(crate) async fn run_to_end(
    program: &str,
    mut command: Command,
    stdin: Stdio,
    stdout: Stdout,
    log: &BuildLog,
) -> Result<Ended, ProcessError> {
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command.spawn().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ProcessError::Missing { program: program.to_owned() },
        _ => ProcessError::Io { program: program.to_owned(), source },
    })?;
    // It holds the other end of what is handed on.
    drop(command);
    let mut group = ProcessGroup { leader: child.id() };
    let out = child.stdout.take().expect("standard output is piped");
    let err = child.stderr.take().expect("standard error is piped");
    let ended = async {
        let status = child.wait().await;
        // Children that go on hold the pipes open, and would be waited for.
        group.kill();
        status
    };
    let (output, errors, status) =
        tokio::join!(read_lines(out, (stdout == Stdout::Log).then_some(log)), read_lines(err, Some(log)), ended);
    let broken = |source| ProcessError::Io { program: program.to_owned(), source };
    Ok(Ended { output: output.map_err(broken)?, errors: errors.map_err(broken)?, status: status.map_err(broken)? })
}

/// Reads to the end, tells the log, and returns the newest lines within the limit.
async fn read_lines(stream: impl AsyncRead + Unpin, log: Option<&BuildLog>) -> io::Result<String> {
    use tokio::io::AsyncReadExt;
    let mut stream = BufReader::new(stream);
    let mut kept = String::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut stream).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await? == 0 {
            return Ok(kept);
        }
        let text = String::from_utf8_lossy(&line);
        if let Some(log) = log {
            // Progress bars overwrite their line; only what stands at its end is worth a line of the log.
            let visible = text.trim_end().rsplit('\r').next().unwrap_or_default();
            log.tool_line(visible);
        }
        kept.push_str(&text);
        // Twice the limit before it is cut: cutting at each line would cost its whole length for each.
        if kept.len() > 2 * MAX_CAPTURED_BYTES {
            let mut cut = kept.len() - MAX_CAPTURED_BYTES;
            while !kept.is_char_boundary(cut) {
                cut += 1;
            }
            kept.drain(..cut);
        }
    }
}

/// Kills the whole group when dropped, unless that was done before.
struct ProcessGroup {
    leader: Option<u32>,
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

impl ProcessGroup {
    fn kill(&mut self) {
        #[cfg(unix)]
        if let Some(pid) = self.leader.take().and_then(|id| rustix::process::Pid::from_raw(id as i32)) {
            // Fails only when the group is gone already.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn log(folder: &tempfile::TempDir) -> BuildLog {
        BuildLog::create(&folder.path().join("log")).unwrap()
    }

    #[tokio::test]
    async fn dropping_a_run_kills_the_grandchildren_too() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo $! > \"$0\"; wait"]).arg(&pid_file);
        let log = log(&folder);
        let run = run(command, Stdout::Log, &log);
        let deadline = Instant::now() + Duration::from_secs(20);
        let grandchild = tokio::select! {
            ended = run => panic!("the tool ended: {ended:?}"),
            pid = async {
                loop {
                    if let Ok(pid) = std::fs::read_to_string(&pid_file) && pid.ends_with('\n') {
                        break pid.trim().to_owned();
                    }
                    assert!(Instant::now() < deadline, "the grandchild did not start");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            } => pid,
        };
        // A killed process may wait as a zombie for whoever adopts it; it runs nothing any more.
        let alive = || {
            std::fs::read_to_string(format!("/proc/{grandchild}/stat"))
                .is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
        };
        while alive() {
            assert!(Instant::now() < deadline, "the grandchild outlived its build");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_failure_tells_the_last_words_of_the_tool() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo fatal: no such thing >&2; exit 3"]);
        let error = run(command, Stdout::Log, &log(&folder)).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3: fatal: no such thing"), "{error}");
        assert_eq!(std::fs::read_to_string(folder.path().join("log")).unwrap().lines().count(), 2);
    }

    #[tokio::test]
    async fn a_tool_that_is_not_installed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = run(Command::new("no-such-tool-anywhere"), Stdout::Log, &log(&folder)).await.unwrap_err();
        assert!(matches!(error, ProcessError::Missing { program } if program == "no-such-tool-anywhere"));
    }
}
