//! The log of one build: a text file that grows, and a signal for those who read along.
//!
//! It is for people. Lines of tools come in as they are, so nothing here decides anything by them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// A build that prints more than this is not read by anybody; the rest is dropped.
const MAX_LOG_BYTES: u64 = 16 << 20;
/// Longer lines are cut.
const MAX_LINE_BYTES: usize = 8 << 10;

/// How much of the file is there, and whether more can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogState {
    pub(crate) length_bytes: u64,
    pub(crate) complete: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct BuildLog {
    file: Arc<Mutex<Option<File>>>,
    state: Arc<watch::Sender<LogState>>,
}

impl BuildLog {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let length_bytes = file.metadata()?.len();
        Ok(Self {
            file: Arc::new(Mutex::new(Some(file))),
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
        let mut end = text.as_ref().len().min(MAX_LINE_BYTES);
        while !text.as_ref().is_char_boundary(end) {
            end -= 1;
        }
        let line = format!("{}\n", text.as_ref()[..end].trim_end());
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = slot.as_mut() else { return };
        let full = self.state.borrow().length_bytes + line.len() as u64 > MAX_LOG_BYTES;
        let line = if full { "the log is full, the rest is left out\n" } else { &line };
        match file.write_all(line.as_bytes()) {
            Ok(()) => {
                self.state.send_modify(|state| state.length_bytes += line.len() as u64);
            }
            Err(error) => tracing::warn!(%error, "cannot write the log of a build"),
        }
        if full {
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
    fn a_log_that_is_too_long_is_cut_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = BuildLog::create(&path).unwrap();
        for _ in 0..(MAX_LOG_BYTES as usize / MAX_LINE_BYTES + 10) {
            log.line("ü".repeat(MAX_LINE_BYTES));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("the log is full"));
        assert!(text.len() as u64 <= MAX_LOG_BYTES + 100);
        assert_eq!(log.subscribe().borrow().length_bytes, text.len() as u64);
    }
}
