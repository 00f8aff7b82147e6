//! Reads the blocks of a log as they stand on disk, for whoever wants to check them: from a ledger folder, or from an
//! exported file.
//!
//! Never changes what it reads and does not stop at damage. The database repairs itself when it is opened, which would
//! destroy the evidence; so it is opened in a scratch folder, on copies of its small files and on links to its tables, which
//! are never written again once they are complete.

use super::export::{ExportError, ExportReader, Record};
use super::stored::{DERIVED, StoredTree};
use super::{KEYSPACE_BLOCKS, MEMTABLE_BYTES, database, keyspace, read_tip};
use crate::audit::{Announced, Exactness, sentence};
use crate::block::Height;
use fjall::{Database, Keyspace};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Where a ledger folder is looked for below the folder that is named: itself, a data folder (of `pyrsia_node`, or of a node
/// that another program runs), the folder a node was started in.
const PLACES: [&str; 4] = ["", "blockchain", "ledger", "pyrsia/blockchain"];
/// The folder of the database's immutable files.
const TABLES: &str = "tables";
/// The file that a running node holds a lock on.
const LOCK: &str = "lock";
/// The most faults of the stored tree that are told: one damaged tile spoils those above.
const TREE_FAULTS_MAX: usize = 20;
const COPY_CHUNK_BYTES: usize = 1 << 16;
static HOLE: [u8; COPY_CHUNK_BYTES] = [0; COPY_CHUNK_BYTES];

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{} does not exist", path.display())]
    Missing { path: PathBuf },
    #[error("{} holds no ledger: neither it nor blockchain, ledger or pyrsia/blockchain below it has a database", path.display())]
    NoLedger { path: PathBuf },
    #[error("the ledger in {} is in use by a running node", folder.display())]
    InUse { folder: PathBuf },
    #[error("{} cannot be read", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the scratch folder cannot be written")]
    Scratch(#[source] io::Error),
    /// The ledger may be as good as any.
    #[error("the system has too little for opening a copy of the database in {}", folder.display())]
    Shortage {
        folder: PathBuf,
        #[source]
        source: fjall::Error,
    },
    #[error("{} cannot be read as an exported log", path.display())]
    Export {
        path: PathBuf,
        #[source]
        source: ExportError,
    },
}

/// What stands at a position of a log.
#[derive(Debug)]
pub enum Row {
    /// The bytes of a block.
    Block { position: Height, raw: Vec<u8> },
    /// Something that should be a block and cannot be read.
    Unreadable { position: Height, sentence: String },
    /// The files have a fault at this place, whatever the block says.
    Fault { position: Height, sentence: String },
    /// The end as the log itself states it.
    End(Announced),
}

/// The rows of a log, in order.
pub struct LedgerReader {
    rows: Rows,
    /// What opening found, to be told first.
    found: VecDeque<Row>,
    next: Height,
    ended: bool,
    has_checked_tree: bool,
}

enum Rows {
    Folder {
        /// None when the database cannot even be opened, which the first row says.
        blocks: Option<(Database, Keyspace)>,
        /// None where the folder has none: it follows from the blocks.
        tree: Option<StoredTree>,
        tip: Option<Announced>,
        /// Keeps a node from starting on the folder while it is read.
        _lock: File,
    },
    File(ExportReader<BufReader<File>>),
}

/// The ledger folder that `path` names, be it that folder itself or a node's data folder.
pub fn ledger_folder(path: &Path) -> Option<PathBuf> {
    PLACES.iter().map(|place| path.join(place)).find(|folder| folder.join("db").is_dir())
}

impl LedgerReader {
    /// Opens a ledger folder, the data folder of a node, or an exported file. `scratch` is an empty folder for the copies;
    /// it must outlive the reader.
    pub fn open(path: &Path, scratch: &Path) -> Result<Self, ReadError> {
        let unreadable = |source| ReadError::Io { path: path.to_owned(), source };
        let metadata = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ReadError::Missing { path: path.to_owned() }),
            metadata => metadata.map_err(unreadable)?,
        };
        let mut found = VecDeque::new();
        let rows = if metadata.is_dir() {
            let folder = ledger_folder(path).ok_or_else(|| ReadError::NoLedger { path: path.to_owned() })?;
            open_folder(&folder, scratch, &mut found)?
        } else {
            let file = BufReader::new(File::open(path).map_err(unreadable)?);
            Rows::File(ExportReader::new(file).map_err(|source| ReadError::Export { path: path.to_owned(), source })?)
        };
        Ok(Self { rows, found, next: Height::GENESIS, ended: false, has_checked_tree: false })
    }

    /// The newest block's height, where that is known before reading to the end.
    pub fn newest(&self) -> Option<Height> {
        match &self.rows {
            Rows::Folder { blocks: Some((_, blocks)), .. } => position_of(blocks.last_key_value()?.key().ok()?.as_ref()),
            Rows::Folder { .. } | Rows::File(_) => None,
        }
    }

    /// Goes on at `position`: the blocks before it are not looked at. Those of an exported file are read over, because its trailer
    /// is about all of them.
    pub fn skip_to(&mut self, position: Height) {
        match &self.rows {
            Rows::Folder { .. } => self.next = position,
            Rows::File(_) => {
                while self.next < position && !self.ended {
                    if let Some(row @ (Row::Fault { .. } | Row::End(_))) = self.read() {
                        self.found.push_back(row);
                    }
                }
            }
        }
    }

    /// The tree and the indexes of a ledger folder, as they stand there: proofs out of them hold or do not.
    pub fn tree(&self) -> Option<&StoredTree> {
        match &self.rows {
            Rows::Folder { tree, .. } => tree.as_ref(),
            Rows::File(_) => None,
        }
    }

    /// The exported file, where this is one.
    pub fn file(&self) -> Option<&File> {
        match &self.rows {
            Rows::Folder { .. } => None,
            Rows::File(file) => Some(file.input().get_ref()),
        }
    }

    /// Tells, behind the blocks, what is wrong with the stored tree.
    fn check_tree(&mut self) {
        self.has_checked_tree = true;
        let Rows::Folder { tree: Some(tree), .. } = &self.rows else { return };
        let position = Height(self.next.0.saturating_sub(1));
        let mut faults = VecDeque::new();
        let checked = tree.check(&mut |sentence| {
            if faults.len() < TREE_FAULTS_MAX {
                faults.push_back(Row::Fault { position, sentence: sentence.to_owned() });
            }
        });
        // A newest block that does not decode is told as a block.
        if checked.is_ok() {
            self.found.append(&mut faults);
        }
    }

    fn read(&mut self) -> Option<Row> {
        let position = self.next;
        match &mut self.rows {
            Rows::Folder { blocks: None, .. } => {
                self.ended = true;
                None
            }
            Rows::Folder { blocks: Some((_, blocks)), tip, .. } => {
                let row = row_of(blocks, position);
                match &row {
                    Some(Row::Block { position, .. } | Row::Unreadable { position, .. }) => self.next = position.next(),
                    _ => self.ended = true,
                }
                row.or_else(|| tip.map(Row::End))
            }
            Rows::File(file) => match file.next_record() {
                Ok(Record::Block { raw, whole: true }) => {
                    self.next = position.next();
                    Some(Row::Block { position, raw })
                }
                Ok(Record::Block { whole: false, .. }) => {
                    self.next = position.next();
                    Some(Row::Unreadable { position, sentence: ExportError::CheckSum(position).to_string() })
                }
                Ok(Record::End { blocks, tip }) => {
                    self.ended = true;
                    let height = Height(blocks.checked_sub(1)?);
                    Some(Row::End(Announced { height, block: tip, exactness: Exactness::Exactly }))
                }
                Err(error) => {
                    self.ended = true;
                    Some(Row::Fault { position, sentence: sentence(&error) })
                }
            },
        }
    }
}

impl Iterator for LedgerReader {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        match self.found.pop_front() {
            Some(row) => Some(row),
            None if self.ended && self.has_checked_tree => None,
            None if self.ended => {
                self.check_tree();
                self.found.pop_front()
            }
            None => self.read(),
        }
    }
}

fn position_of(key: &[u8]) -> Option<Height> {
    key.try_into().ok().map(u64::from_be_bytes).map(Height)
}

/// The first row at `position` or behind it.
fn row_of(blocks: &Keyspace, position: Height) -> Option<Row> {
    let failed = |error: &dyn std::error::Error| Row::Unreadable {
        position,
        sentence: format!("block {position} cannot be read: {}", sentence(error)),
    };
    // The row itself first: an iterator that meets a damaged table says nothing about which row it stopped at.
    match blocks.get(position.0.to_be_bytes()) {
        Ok(Some(raw)) => return Some(Row::Block { position, raw: raw.to_vec() }),
        Ok(None) => {}
        Err(error) => return Some(failed(&error)),
    }
    match blocks.range(position.0.to_be_bytes()..).next()?.into_inner() {
        Ok((key, raw)) => Some(match position_of(&key) {
            Some(position) => Row::Block { position, raw: raw.to_vec() },
            None => Row::Fault { position, sentence: format!("a key of {} bytes is no height", key.len()) },
        }),
        Err(error) => Some(failed(&error)),
    }
}

fn open_folder(folder: &Path, scratch: &Path, found: &mut VecDeque<Row>) -> Result<Rows, ReadError> {
    let source = folder.join("db");
    let lock = lock(folder, &source)?;
    let copy = scratch.join("db");
    copy_tree(&source, &copy)?;
    let tip_path = folder.join("tip");
    let tip = match fs::read(&tip_path) {
        Ok(slots) => read_tip(&slots).unwrap_or_else(|error| {
            let sentence = format!("the tip file cannot be read: {error}");
            found.push_back(Row::Fault { position: Height::GENESIS, sentence });
            None
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(ReadError::Io { path: tip_path, source }),
    };
    let opened = database(&copy).and_then(|database| {
        let blocks = keyspace(&database, KEYSPACE_BLOCKS)?;
        let has_tree = DERIVED.iter().all(|name| database.keyspace_exists(name));
        let tree = has_tree.then(|| StoredTree::open(&database, &blocks, MEMTABLE_BYTES)).transpose()?;
        Ok((database, blocks, tree))
    });
    let opened = match opened {
        Err(source) if is_shortage(&source) => {
            return Err(ReadError::Shortage { folder: folder.to_owned(), source });
        }
        opened => opened,
    };
    let blocks = opened.inspect_err(|error| {
        let sentence = format!("the database cannot be opened: {}", sentence(error));
        found.push_back(Row::Unreadable { position: Height::GENESIS, sentence });
    });
    let at_least = |tip: super::Tip| Announced { height: Height(tip.height), block: tip.block, exactness: Exactness::AtLeast };
    let (blocks, tree) = blocks.map_or((None, None), |(database, blocks, tree)| (Some((database, blocks)), tree));
    Ok(Rows::Folder { blocks, tree, tip: tip.map(at_least), _lock: lock })
}

/// Whether the system has too little of something, of threads or of open files for two: that is no damage.
fn is_shortage(error: &(dyn std::error::Error + 'static)) -> bool {
    use io::ErrorKind::{OutOfMemory, QuotaExceeded, StorageFull, WouldBlock};
    // ENFILE and EMFILE, the files open in the system and in the process, are no kind of their own.
    const TOO_MANY_OPEN_FILES: [i32; 2] = [23, 24];
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(error.kind(), WouldBlock | OutOfMemory | StorageFull | QuotaExceeded)
                || error.raw_os_error().is_some_and(|code| TOO_MANY_OPEN_FILES.contains(&code))
        })
    })
}

/// Takes the lock of the database, which a running node holds. Only the lock: nothing is written.
fn lock(folder: &Path, source: &Path) -> Result<File, ReadError> {
    let path = source.join(LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        // Without the file no node can run on this database either; the folder stands in for it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return File::open(source).map_err(|source| ReadError::Io { path, source });
        }
        Err(source) => return Err(ReadError::Io { path, source }),
    };
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(ReadError::InUse { folder: folder.to_owned() }),
        Err(fs::TryLockError::Error(source)) => Err(ReadError::Io { path, source }),
    }
}

/// Copies a folder; tables are linked, the rest is copied without the holes of files that were made larger than they are full.
fn copy_tree(from: &Path, to: &Path) -> Result<(), ReadError> {
    let unreadable = |source| ReadError::Io { path: from.to_owned(), source };
    fs::create_dir_all(to).map_err(ReadError::Scratch)?;
    let tables = from.file_name().is_some_and(|name| name == TABLES);
    for entry in fs::read_dir(from).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(unreadable)?.is_dir() {
            copy_tree(&source, &target)?;
        } else if tables {
            let absolute = fs::canonicalize(&source).map_err(unreadable)?;
            std::os::unix::fs::symlink(absolute, target).map_err(ReadError::Scratch)?;
        } else {
            copy_file(&source, &target)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<(), ReadError> {
    let unreadable = |source| ReadError::Io { path: from.to_owned(), source };
    let mut source = File::open(from).map_err(unreadable)?;
    let mut target = File::create(to).map_err(ReadError::Scratch)?;
    let (mut chunk, mut length) = (vec![0; COPY_CHUNK_BYTES], 0);
    loop {
        let read = source.read(&mut chunk).map_err(unreadable)?;
        if read == 0 {
            return target.set_len(length).map_err(ReadError::Scratch);
        }
        let hole = chunk[..read] == HOLE[..read];
        let written =
            if hole { target.seek(SeekFrom::Current(read as i64)).map(|_| ()) } else { target.write_all(&chunk[..read]) };
        written.map_err(ReadError::Scratch)?;
        length += read as u64;
    }
}
