//! Short artifacts in memory, by digest: manifests, configurations, POMs, which clients ask for far more often than for what they describe.
//!
//! Owns copies of bytes that were read from the store and hashed, and no word on whether they may leave: each request asks for the verdict, and whether
//! the store still has the artifact as it took it in.

use hyper::body::Bytes;
use pyrsia_ledger::Sha256Digest;
use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, PoisonError};

/// The longest artifact that is kept: longer ones cost more to send than to find.
pub(crate) const SHORT_BYTES_MAX: u64 = 64 * 1_024;
/// What all that is kept may take.
const KEPT_BYTES_MAX: usize = 8 << 20;

#[derive(Default)]
pub(crate) struct ShortArtifacts {
    generations: Mutex<Generations>,
}

/// What was asked for lately is in the young half; when that is full it becomes the old one, and what was old is forgotten.
#[derive(Default)]
struct Generations {
    young: HashMap<Sha256Digest, Bytes>,
    young_bytes: usize,
    old: HashMap<Sha256Digest, Bytes>,
}

impl ShortArtifacts {
    pub(crate) fn get(&self, sha256: &Sha256Digest) -> Option<Bytes> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = generations.young.get(sha256) {
            return Some(bytes.clone());
        }
        let bytes = generations.old.remove(sha256)?;
        generations.keep(*sha256, bytes.clone());
        Some(bytes)
    }

    pub(crate) fn keep(&self, sha256: Sha256Digest, bytes: Bytes) {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).keep(sha256, bytes);
    }
}

impl Generations {
    fn keep(&mut self, sha256: Sha256Digest, bytes: Bytes) {
        if self.young_bytes + bytes.len() > KEPT_BYTES_MAX / 2 {
            self.old = mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes.len();
        if let Some(before) = self.young.insert(sha256, bytes) {
            self.young_bytes -= before.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: usize) -> Sha256Digest {
        Sha256Digest::of(&number.to_le_bytes())
    }

    fn kept_bytes(short: &ShortArtifacts) -> usize {
        let generations = short.generations.lock().expect("nobody panics");
        generations.young.values().chain(generations.old.values()).map(Bytes::len).sum()
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_makes_room() {
        let short = ShortArtifacts::default();
        let bytes = Bytes::from(vec![1; SHORT_BYTES_MAX as usize]);
        for number in 0..1_000 {
            short.keep(digest(number), bytes.clone());
            assert!(short.get(&digest(0)).is_some(), "it was asked for all the time: {number}");
            assert!(kept_bytes(&short) <= KEPT_BYTES_MAX);
        }
        assert!(short.get(&digest(1)).is_none());
        assert!(kept_bytes(&short) > KEPT_BYTES_MAX / 4);
    }

    #[test]
    fn what_is_kept_twice_counts_once() {
        let short = ShortArtifacts::default();
        for _ in 0..1_000 {
            short.keep(digest(0), Bytes::from(vec![1; SHORT_BYTES_MAX as usize]));
        }
        assert_eq!(short.generations.lock().expect("nobody panics").young_bytes, SHORT_BYTES_MAX as usize);
    }
}
