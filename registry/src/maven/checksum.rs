//! Checksums of artifacts, as clients ask for them: computed from the bytes that are served, whatever a build said they are.
//!
//! SHA-256 stands in the ledger and needs no bytes. The others are made in one pass on a thread that may block, once for all who ask, and kept by the
//! artifact's digest. The pass looks at the digest too, so that no checksum ever stands for other bytes than were published.

use md5::Md5;
use pyrsia_ledger::Sha256Digest;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OnceCell, Semaphore};

/// Artifacts whose checksums are kept, of about half a kilobyte each.
const KEPT_MAX: usize = 16_384;
/// Files that are read at a time: a client that asks for the checksums of many large ones leaves a core to the node.
const READ_AT_ONCE_MAX: usize = 2;
const PIECE_BYTES: usize = 256 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 4] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512];

    /// What a checksum file's name ends with, behind a dot.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The header that Maven's resolver and repository managers know.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Md5 => "x-checksum-md5",
            Self::Sha1 => "x-checksum-sha1",
            Self::Sha256 => "x-checksum-sha256",
            Self::Sha512 => "x-checksum-sha512",
        }
    }

    pub(crate) fn hex_digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha1 => 40,
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// The algorithm of a checksum file, and the name of the file it is of.
    pub(crate) fn of_file(name: &str) -> Option<(Self, &str)> {
        let (base, extension) = name.rsplit_once('.')?;
        let algorithm = Self::ALL.into_iter().find(|algorithm| algorithm.name() == extension)?;
        Some((algorithm, base)).filter(|(_, base)| !base.is_empty())
    }
}

/// The checksums of one file, in lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sums {
    digits: [String; Algorithm::ALL.len()],
}

impl Sums {
    /// All of them, in one pass.
    pub(crate) fn of(mut content: impl Read) -> io::Result<Self> {
        let (mut md5, mut sha1, mut sha256, mut sha512) = (Md5::new(), Sha1::new(), Sha256::new(), Sha512::new());
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = match content.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => &piece[..read],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            md5.update(read);
            sha1.update(read);
            sha256.update(read);
            sha512.update(read);
        }
        let digits = [hex(&md5.finalize()), hex(&sha1.finalize()), hex(&sha256.finalize()), hex(&sha512.finalize())];
        Ok(Self { digits })
    }

    pub(crate) fn get(&self, algorithm: Algorithm) -> &str {
        &self.digits[algorithm as usize]
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ChecksumError {
    #[error("the stored copy of {0} cannot be read")]
    Unreadable(Sha256Digest, #[source] io::Error),
    #[error("the stored copy of {0} has other bytes")]
    Damaged(Sha256Digest),
    #[error("this node is stopping")]
    Stopped,
}

/// Checksums that were asked for.
pub(crate) struct Checksums {
    kept: Mutex<Kept>,
    places: Arc<Semaphore>,
}

type Cell = Arc<OnceCell<Sums>>;

#[derive(Default)]
struct Kept {
    /// With when it was asked for last.
    cells: BTreeMap<Sha256Digest, (u64, Cell)>,
    questions: u64,
}

impl Checksums {
    pub(crate) fn new() -> Self {
        Self { kept: Mutex::default(), places: Arc::new(Semaphore::new(READ_AT_ONCE_MAX)) }
    }

    /// Those of an artifact, if they were made before.
    pub(crate) fn known(&self, sha256: &Sha256Digest) -> Option<Sums> {
        let mut kept = self.kept();
        kept.questions += 1;
        let now = kept.questions;
        let (asked, cell) = kept.cells.get_mut(sha256)?;
        *asked = now;
        cell.get().cloned()
    }

    /// Those of the artifact that `file` has the bytes of.
    pub(crate) async fn of(&self, sha256: Sha256Digest, file: File) -> Result<Sums, ChecksumError> {
        let (cell, places) = (self.cell(sha256), self.places.clone());
        // A task of its own: what one client began and left, the next one finds done.
        let made = tokio::spawn(async move {
            let make = || async {
                let place = places.acquire_owned().await.map_err(|_| ChecksumError::Stopped)?;
                let read = tokio::task::spawn_blocking(move || {
                    let _place = place;
                    Sums::of(file)
                });
                let sums = read.await.map_err(|_| ChecksumError::Stopped)?;
                let sums = sums.map_err(|error| ChecksumError::Unreadable(sha256, error))?;
                if sums.get(Algorithm::Sha256) == sha256.to_string() { Ok(sums) } else { Err(ChecksumError::Damaged(sha256)) }
            };
            cell.get_or_try_init(make).await.cloned()
        });
        made.await.map_err(|_| ChecksumError::Stopped)?
    }

    fn cell(&self, sha256: Sha256Digest) -> Cell {
        let mut kept = self.kept();
        kept.questions += 1;
        let now = kept.questions;
        let (asked, cell) = kept.cells.entry(sha256).or_default();
        *asked = now;
        let cell = cell.clone();
        if kept.cells.len() > KEPT_MAX {
            let oldest = kept.cells.iter().min_by_key(|(_, (asked, _))| *asked).map(|(sha256, _)| *sha256);
            oldest.and_then(|sha256| kept.cells.remove(&sha256));
        }
        cell
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing that holds it leaves it half changed.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("is written");
        file.rewind().expect("goes back");
        file
    }

    #[test]
    fn checksums_are_those_the_algorithms_publish_for_abc() {
        let sums = Sums::of(&b"abc"[..]).expect("sums");
        assert_eq!(sums.get(Algorithm::Md5), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(sums.get(Algorithm::Sha1), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(sums.get(Algorithm::Sha256), Sha256Digest::of(b"abc").to_string());
        assert!(sums.get(Algorithm::Sha512).starts_with("ddaf35a193617aba"));
        for algorithm in Algorithm::ALL {
            assert_eq!(sums.get(algorithm).len(), algorithm.hex_digits());
        }
    }

    #[tokio::test]
    async fn checksums_are_made_once_and_of_the_right_bytes_only() {
        let (checksums, abc) = (Checksums::new(), Sha256Digest::of(b"abc"));
        assert!(matches!(checksums.of(abc, file(b"abd")).await, Err(ChecksumError::Damaged(_))));
        assert_eq!(checksums.known(&abc), None, "what went wrong is not kept");
        let sums = checksums.of(abc, file(b"abc")).await.expect("sums");
        assert_eq!(checksums.known(&abc).as_ref(), Some(&sums));
        assert_eq!(checksums.of(abc, file(b"not read again")).await.expect("sums"), sums);
    }

    #[tokio::test]
    async fn what_was_not_asked_for_longest_makes_room() {
        let checksums = Checksums::new();
        let named = |number: usize| Sha256Digest::of(&number.to_be_bytes());
        let first = Sha256Digest::of(b"abc");
        checksums.of(first, file(b"abc")).await.expect("sums");
        for number in 0..KEPT_MAX {
            checksums.cell(named(number));
            assert!(number % 64 != 0 || checksums.known(&first).is_some());
        }
        assert_eq!(checksums.kept().cells.len(), KEPT_MAX);
        assert!(checksums.known(&first).is_some() && !checksums.kept().cells.contains_key(&named(0)));
    }

    #[test]
    fn names_tell_checksum_files_from_others() {
        assert_eq!(Algorithm::of_file("a-1.jar.sha1"), Some((Algorithm::Sha1, "a-1.jar")));
        assert_eq!(Algorithm::of_file("a-1.jar.sha512"), Some((Algorithm::Sha512, "a-1.jar")));
        for other in ["a-1.jar", "sha1", ".md5", "a-1.SHA1", "a-1.sha-1"] {
            assert_eq!(Algorithm::of_file(other), None, "{other}");
        }
    }
}
