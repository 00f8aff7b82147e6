//! Snapshots of the state beside the log: a start folds only the blocks behind the newest good one.
//!
//! A file is disposable. It is used if its check sum holds, its block is in the log, and its accumulator and its tree are
//! those that the block's header states; otherwise it is discarded and the one before is tried. It is written after its
//! block: a whole one whose block the log does not have tells that the log lost its end. It is written under another name,
//! synced, and renamed, so that a crash leaves a whole file or none.
//!
//! ```text
//! <folder>/snapshots/<height>-<schema>.snapshot
//!     magic, schema (u32), height (u64), block hash, the state, SHA-256 of everything before
//! ```

use super::LogError;
use super::stored::header_of;
use crate::block::{BlockHash, BlockHeader, Height};
use crate::projection::{ACTIVATION_WINDOW_BLOCKS, Projections, SNAPSHOT_SCHEMA};
use fjall::Keyspace;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

const FOLDER: &str = "snapshots";
const MAGIC: &[u8] = b"pyrsia-snapshot\n";
/// How many are kept: should the newest be damaged, the one before does.
const KEPT_MAX: usize = 2;
/// The most recent blocks a state knows the hashes of.
const RECENT_MAX: u64 = ACTIVATION_WINDOW_BLOCKS + 1;
const BUFFER_BYTES: usize = 1 << 17;

#[derive(Debug, thiserror::Error)]
#[error("the snapshot {} cannot be written", path.display())]
pub struct SnapshotError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Hashes what passes through.
pub(crate) struct Hashing<T> {
    pub(crate) inner: T,
    pub(crate) hasher: Sha256,
}

impl<T> Hashing<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, hasher: Sha256::new() }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hasher.update(&bytes[..read]);
        Ok(read)
    }
}

/// The snapshots of this schema in a folder, newest first.
fn list(folder: &Path) -> Vec<(Height, PathBuf)> {
    let suffix = format!("-{SNAPSHOT_SCHEMA}.snapshot");
    let entries = fs::read_dir(folder.join(FOLDER)).into_iter().flatten().flatten();
    let height = |name: &str| name.strip_suffix(&suffix)?.parse().ok().map(Height);
    let mut found: Vec<_> = entries.filter_map(|entry| Some((height(entry.file_name().to_str()?)?, entry.path()))).collect();
    found.sort_by(|a, b| b.cmp(a));
    found
}

/// Writes the snapshot of a state whose block is in the log of `folder`, and removes all but the newest two.
pub fn write_snapshot(folder: &Path, state: &Projections) -> Result<(), SnapshotError> {
    let snapshots = folder.join(FOLDER);
    let path = snapshots.join(format!("{}-{SNAPSHOT_SCHEMA}.snapshot", state.height()));
    let failed = |source| SnapshotError { path: path.clone(), source };
    fs::create_dir_all(&snapshots).map_err(failed)?;
    let partial = snapshots.join("writing");
    write_file(&partial, state).map_err(failed)?;
    fs::rename(&partial, &path).map_err(failed)?;
    for folder in [&snapshots, folder] {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    let kept: Vec<PathBuf> = list(folder).into_iter().take(KEPT_MAX).map(|(_, path)| path).collect();
    for entry in fs::read_dir(&snapshots).map_err(failed)? {
        let found = entry.map_err(failed)?.path();
        if !kept.contains(&found) {
            fs::remove_file(&found).map_err(failed)?;
        }
    }
    Ok(())
}

fn write_file(path: &Path, state: &Projections) -> io::Result<()> {
    let mut out = Hashing::new(BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?));
    out.write_all(MAGIC)?;
    out.write_all(&SNAPSHOT_SCHEMA.to_le_bytes())?;
    out.write_all(&state.height().0.to_le_bytes())?;
    out.write_all(state.tip().0.as_bytes())?;
    state.write_snapshot(&mut out)?;
    let check_sum = out.hasher.finalize();
    let mut file = out.inner;
    file.write_all(&check_sum)?;
    file.into_inner()?.sync_all()
}

/// The state of the newest snapshot that is good, and its file; what is not is removed, and said in `discarded`. A whole
/// snapshot of a block that the log does not have is an error: it is written after its block.
pub(super) fn load_newest(
    folder: &Path,
    blocks: &Keyspace,
    discarded: &mut Vec<String>,
) -> Result<Option<(Projections, PathBuf)>, LogError> {
    for (height, path) in list(folder) {
        let loaded = match blocks.get(height.0.to_be_bytes())? {
            Some(bytes) => match header_of(height.0, &bytes) {
                Ok(header) => load(&path, &header, blocks),
                Err(_) => {
                    discarded.push(format!("the snapshot at height {height} is not used: its block does not decode"));
                    continue;
                }
            },
            None => match check_sum(&path, height) {
                Ok(()) => return Err(lost(height, blocks)),
                Err(error) => Err(error),
            },
        };
        match loaded {
            Ok(state) => return Ok(Some((state, path))),
            Err(error) => {
                // One that cannot be removed is refused again at the next start.
                let _ = fs::remove_file(&path);
                discarded.push(format!("the snapshot at height {height} is discarded: {error}"));
            }
        }
    }
    Ok(None)
}

/// What a log has lost that has no block at the height of a whole snapshot.
fn lost(height: Height, blocks: &Keyspace) -> LogError {
    let last = blocks.last_key_value().map(|row| row.key()).transpose();
    let last = last.map(|key| key.and_then(|key| key.as_ref().try_into().ok()).map(u64::from_be_bytes));
    match last {
        Ok(Some(last)) if last > height.0 => LogError::Missing { height: height.0 },
        Ok(last) => {
            let end = last.map_or("nothing".to_owned(), |last| format!("height {last}"));
            LogError::Short { end, announced: height.0 }
        }
        Err(error) => error.into(),
    }
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Whether the file is a whole snapshot of that height, whatever its state is.
fn check_sum(path: &Path, height: Height) -> io::Result<()> {
    let mut input = Hashing::new(BufReader::with_capacity(BUFFER_BYTES, File::open(path)?));
    let mut start = [0; MAGIC.len() + 4 + 8];
    input.read_exact(&mut start)?;
    if start.as_slice() != [MAGIC, &SNAPSHOT_SCHEMA.to_le_bytes(), &height.0.to_le_bytes()].concat() {
        return Err(refused("it is of another schema or block"));
    }
    let length = input.inner.get_ref().metadata()?.len();
    let hashed = length.checked_sub(start.len() as u64 + 32).ok_or_else(|| refused("it is cut off"))?;
    io::copy(&mut (&mut input).take(hashed), &mut io::sink())?;
    let computed = input.hasher.finalize();
    let mut stated = [0; 32];
    input.inner.read_exact(&mut stated)?;
    if stated == computed.as_slice() { Ok(()) } else { Err(refused("its check sum does not hold")) }
}

fn load(path: &Path, header: &BlockHeader, blocks: &Keyspace) -> io::Result<Projections> {
    let mut input = Hashing::new(BufReader::with_capacity(BUFFER_BYTES, File::open(path)?));
    let mut start = [0; MAGIC.len() + 4 + 8 + 32];
    input.read_exact(&mut start)?;
    let expected = [MAGIC, &SNAPSHOT_SCHEMA.to_le_bytes(), &header.height.0.to_le_bytes(), header.hash().0.as_bytes()].concat();
    if start.as_slice() != expected {
        return Err(refused("it is of another schema or block"));
    }
    let state = Projections::read_snapshot(&mut input, |height| recent(height, blocks))?;
    let computed = input.hasher.finalize();
    let mut stated = vec![];
    input.inner.take(33).read_to_end(&mut stated)?;
    if stated != computed.as_slice() {
        return Err(refused("its check sum does not hold"));
    }
    let found = (state.height(), state.tip(), *state.network(), state.time_ms());
    if found != (header.height, header.hash(), header.network, header.time_ms) {
        return Err(refused("it is of another block"));
    }
    if (state.tree_size(), state.tree_root()) != (header.tree_size, header.tree_root) {
        return Err(refused("its tree is not that of its block"));
    }
    if state.state_root() != header.state_root {
        return Err(refused("its accumulator is not that of its block"));
    }
    Ok(state)
}

/// The hashes of the newest blocks up to a height, newest last.
fn recent(newest: Height, blocks: &Keyspace) -> io::Result<Vec<BlockHash>> {
    let first = newest.0.saturating_sub(RECENT_MAX - 1);
    let hash = |height: u64| {
        let bytes = blocks.get(height.to_be_bytes()).map_err(io::Error::other)?;
        let bytes = bytes.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a block before it is missing"))?;
        header_of(height, &bytes).map(|header| header.hash()).map_err(io::Error::other)
    };
    (first..=newest.0).map(hash).collect()
}
