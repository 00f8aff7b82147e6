//! The log of one build: a text file that grows, and a signal for those who read along.
//!
//! It is for people, and nothing here decides anything by its lines. Those that tools print begin with a bar, so that none of
//! them passes for the pipeline's own, and end some way before the log has to: what a build got, what it was refused and how it
//! ended is always told.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// A build that prints more than this is not read by anybody; the rest is dropped.
const MAX_TOOL_BYTES: u64 = 16 << 20;
/// The pipeline's own lines are bounded by those who write them.
const MAX_LOG_BYTES: u64 = MAX_TOOL_BYTES + (8 << 20);
/// Longer lines are cut.
const MAX_LINE_BYTES: usize = 8 << 10;
/// What lines begin with that are not the pipeline's own.
const TOOL_MARK: &str = "| ";

/// How much of the file is there, and whether more can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogState {
    pub(crate) length_bytes: u64,
    pub(crate) complete: bool,
}

#[derive(Debug)]
struct OpenLog {
    file: File,
    is_full_of_tools: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Pipeline,
    Tool,
}

#[derive(Debug, Clone)]
pub(crate) struct BuildLog {
    file: Arc<Mutex<Option<OpenLog>>>,
    state: Arc<watch::Sender<LogState>>,
}

impl BuildLog {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let length_bytes = file.metadata()?.len();
        Ok(Self {
            file: Arc::new(Mutex::new(Some(OpenLog { file, is_full_of_tools: false }))),
            state: Arc::new(watch::Sender::new(LogState { length_bytes, complete: false })),
        })
    }

    /// The log of a build that ended before this process started.
    pub(crate) fn complete(path: &Path) -> Self {
        let length_bytes = path.metadata().map_or(0, |metadata| metadata.len());
        Self { file: Arc::new(Mutex::new(None)), state: Arc::new(watch::Sender::new(LogState { length_bytes, complete: true })) }
    }

    /// One that nobody reads.
    pub(crate) fn discarded() -> Self {
        let state = watch::Sender::new(LogState { length_bytes: 0, complete: true });
        Self { file: Arc::new(Mutex::new(None)), state: Arc::new(state) }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<LogState> {
        self.state.subscribe()
    }

    /// Writes one line. A disk that refuses the log does not fail the build; the artifacts will tell.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        self.write(Source::Pipeline, text.as_ref());
    }

    /// Writes what a tool, or a program of the build, printed.
    pub(crate) fn tool_line(&self, text: impl AsRef<str>) {
        self.write(Source::Tool, text.as_ref());
    }

    fn write(&self, from: Source, text: &str) {
        let mut end = text.len().min(MAX_LINE_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text[..end].trim_end();
        let mut line = if from == Source::Tool { TOOL_MARK.to_owned() } else { String::new() };
        // A sentence of the pipeline can quote what a tool said; the lines of a quotation are not the pipeline's.
        for c in text.chars() {
            match c {
                '\n' | '\r' => line.extend(["\n", TOOL_MARK]),
                c => line.push(c),
            }
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = slot.as_mut() else { return };
        let length_bytes = self.state.borrow().length_bytes + line.len() as u64;
        let is_full = length_bytes > MAX_LOG_BYTES;
        let line = if is_full {
            "the log is full, the rest is left out\n"
        } else if from == Source::Tool && open.is_full_of_tools {
            return;
        } else if from == Source::Tool && length_bytes > MAX_TOOL_BYTES {
            open.is_full_of_tools = true;
            "the log is full, the rest of what is printed is left out\n"
        } else {
            &line
        };
        match open.file.write_all(line.as_bytes()) {
            Ok(()) => {
                self.state.send_modify(|state| state.length_bytes += line.len() as u64);
            }
            Err(error) => tracing::warn!(%error, "cannot write the log of a build"),
        }
        if is_full {
            *slot = None;
        }
    }

    /// Ends the log; readers who follow it come to their end.
    pub(crate) fn finish(&self) {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.state.send_modify(|state| state.complete = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_full_of_what_tools_print_still_has_the_lines_of_the_pipeline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = BuildLog::create(&path).unwrap();
        for _ in 0..(MAX_TOOL_BYTES as usize / MAX_LINE_BYTES + 10) {
            log.tool_line("ü".repeat(MAX_LINE_BYTES));
        }
        log.line("resolved");
        log.tool_line("more");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("\nthe log is full, the rest of what is printed is left out\nresolved\n"));
        assert!(text.len() as u64 <= MAX_TOOL_BYTES + 100);
        for _ in 0..(MAX_LOG_BYTES as usize / MAX_LINE_BYTES) {
            log.line("ü".repeat(MAX_LINE_BYTES));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("\nthe log is full, the rest is left out\n"));
        assert!(text.len() as u64 <= MAX_LOG_BYTES + 100);
        assert_eq!(log.subscribe().borrow().length_bytes, text.len() as u64);
    }

    #[test]
    fn no_line_of_a_tool_passes_for_one_of_the_pipeline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = BuildLog::create(&path).unwrap();
        log.tool_line("resolved 0 files:");
        log.tool_line("a\rfailed: b\nfailed: c\n");
        log.tool_line("");
        log.line("failed: mvn failed: d\nresolved 0 files:\r\n  e\n");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "| resolved 0 files:\n| a\n| failed: b\n| failed: c\n|\nfailed: mvn failed: d\n| resolved 0 files:\n| \n|   e\n"
        );
    }
}
