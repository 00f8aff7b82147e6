//! What a node remembers of its own votes, and how long it is silent when it does not.
//!
//! A validator that loses its disk keeps its key, and with it the power to contradict what it said before. So the ledger's
//! folder has a note beside the log: none while everything this key ever said is on this disk; *lost* from the moment an older
//! key meets a folder in which it has not lived; *lost until* a height once the other validators have told how far the network is.
//! Up to that height the node follows and signs neither vote nor proposal nor commitment. The note outlives restarts.
//!
//! Why two heights above the highest tip: who signs at height `h` has block `h - 1`, which a quorum precommitted, each of whom
//! had block `h - 2`. As many as [`answers_needed`] cannot all be behind that quorum, so the highest of their tips is `h - 2` or more.

use pyrsia_ledger::{Height, ValidatorSet};
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How far above the highest known tip the key may have signed.
pub(super) const SIGNED_ABOVE_TIP_MAX: u64 = 2;

const NOTE: &str = "memory";
const LOST: &str = "lost";
const LOST_UNTIL: &str = "lost until ";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    /// Everything this key ever signed is on this disk.
    #[default]
    Whole,
    /// The key is older than this ledger's folder, and nobody has told yet how far the network was.
    Lost,
    /// What the key signed up to this height may be forgotten; nothing above.
    LostUntil(Height),
}

impl Memory {
    /// Whether the node could contradict itself at this height.
    pub fn is_unsure_at(self, height: Height) -> bool {
        self.forgotten_until().is_some_and(|until| height <= until)
    }

    /// The highest height of which this node may have forgotten something; none when it knows all it said.
    pub fn forgotten_until(self) -> Option<Height> {
        match self {
            Self::Whole => None,
            Self::Lost => Some(Height(u64::MAX)),
            Self::LostUntil(height) => Some(height),
        }
    }
}

/// Whether the key was made by this start of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAge {
    Fresh,
    Older,
}

/// What to do about a loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterLoss {
    /// Be silent until no contradiction is possible.
    #[default]
    Wait,
    /// Vote as soon as the ledger is here: the operator answers for nothing having been signed that this could contradict.
    Rejoin,
}

/// How many other validators must tell their tip before a node knows up to where it may have signed: a quorum, or all of a
/// set whose quorum is everybody.
pub(super) fn answers_needed(validators: &ValidatorSet) -> usize {
    validators.quorum().min(validators.nodes().len().saturating_sub(1)).max(1)
}

#[derive(Debug, thiserror::Error)]
#[error("the note {} about lost votes cannot be read or written", path.display())]
pub struct MemoryError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The note on disk. It appears whole or not at all, and what does not read as a note means lost.
#[derive(Debug)]
pub(super) struct MemoryFile {
    folder: PathBuf,
    memory: Memory,
}

impl MemoryFile {
    pub(super) fn open(folder: &Path) -> Result<Self, MemoryError> {
        let path = folder.join(NOTE);
        let memory = match fs::read_to_string(&path) {
            Ok(text) => parse(text.trim_end()),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Memory::Whole,
            Err(damaged) if damaged.kind() == io::ErrorKind::InvalidData => Memory::Lost,
            Err(source) => return Err(MemoryError { path, source }),
        };
        Ok(Self { folder: folder.to_owned(), memory })
    }

    pub(super) fn memory(&self) -> Memory {
        self.memory
    }

    /// Durable when it returns.
    pub(super) fn write(&mut self, memory: Memory) -> Result<(), MemoryError> {
        let path = self.folder.join(NOTE);
        let written = match memory {
            Memory::Whole => match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            },
            Memory::Lost => self.replace(&path, LOST),
            Memory::LostUntil(height) => self.replace(&path, &format!("{LOST_UNTIL}{height}")),
        };
        written.and_then(|()| File::open(&self.folder)?.sync_all()).map_err(|source| MemoryError { path, source })?;
        self.memory = memory;
        Ok(())
    }

    fn replace(&self, path: &Path, text: &str) -> io::Result<()> {
        let unfinished = path.with_extension("new");
        let mut file = File::create(&unfinished)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(unfinished, path)
    }
}

fn parse(text: &str) -> Memory {
    match text.strip_prefix(LOST_UNTIL).and_then(|height| height.parse().ok()) {
        Some(height) => Memory::LostUntil(Height(height)),
        None => Memory::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyrsia_ledger::NodeId;

    #[test]
    fn a_note_outlives_its_writer_and_one_that_is_spoiled_means_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = || MemoryFile::open(folder.path()).expect("opens").memory();
        assert_eq!(read(), Memory::Whole);
        for memory in [Memory::Lost, Memory::LostUntil(Height(77)), Memory::Whole] {
            MemoryFile::open(folder.path()).expect("opens").write(memory).expect("is written");
            assert_eq!(read(), memory);
        }
        for spoiled in [b"lost until soon".as_slice(), b"", b"\xff\xfe"] {
            fs::write(folder.path().join(NOTE), spoiled).expect("is written");
            assert_eq!(read(), Memory::Lost);
        }
    }

    #[test]
    fn as_many_must_answer_as_cannot_all_be_behind_a_quorum() {
        let needed = |n: u8| answers_needed(&ValidatorSet::new((0..n).map(|i| NodeId::from_public_key([i; 32])).collect()));
        assert_eq!([1, 2, 3, 4, 5, 6, 7, 10, 13].map(needed), [1, 1, 2, 3, 4, 5, 5, 7, 9]);
    }
}
