//! What a proof is of, as what is verified is held against it.

use pyrsia_ledger::Sha256Digest;
use std::collections::BTreeMap;

/// The artifacts of a proof by their digests. Several may have one: then the first names it.
#[derive(Debug)]
pub(super) struct Proven(BTreeMap<Sha256Digest, String>);

impl Proven {
    pub(super) fn of(artifacts: impl Iterator<Item = (Sha256Digest, String)>) -> Self {
        let mut proven = BTreeMap::new();
        for (sha256, id) in artifacts {
            proven.entry(sha256).or_insert(id);
        }
        Self(proven)
    }

    /// The id of the artifact with these bytes.
    pub(super) fn artifact(&self, sha256: &Sha256Digest) -> Option<&str> {
        self.0.get(sha256).map(String::as_str)
    }

    pub(super) fn first(&self, found: &[Sha256Digest]) -> Option<(&str, Sha256Digest)> {
        found.iter().find_map(|sha256| Some((self.artifact(sha256)?, *sha256)))
    }
}
