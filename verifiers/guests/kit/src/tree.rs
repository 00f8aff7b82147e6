//! The canonical digest of a set of named things, whatever the order in which they come.

use std::collections::BTreeMap;

use crate::hash::{Hasher, Sha256};
use crate::unreadable::{Result, Unreadable};

/// Names with digests, sorted by the bytes of the name. Forty bytes of memory for each, besides its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<Vec<u8>, Sha256>);

impl Tree {
    pub fn new() -> Self {
        Self::default()
    }

    /// Which of two things of one name counts is a matter of opinion, so there is no second.
    pub fn insert(&mut self, name: &[u8], digest: Sha256) -> Result<()> {
        match self.0.insert(name.to_vec(), digest) {
            None => Ok(()),
            Some(_) => Err(Unreadable::new(format!("{} occurs twice", String::from_utf8_lossy(name)))),
        }
    }

    pub fn get(&self, name: &[u8]) -> Option<&Sha256> {
        self.0.get(name)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Sha256)> {
        self.0.iter().map(|(name, digest)| (&name[..], digest))
    }

    /// `domain` says what kind of tree it is.
    pub fn digest(&self, domain: &str) -> Sha256 {
        let mut hasher = Hasher::new();
        let mut with_length = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        with_length(domain.as_bytes());
        for (name, digest) in &self.0 {
            with_length(name);
            with_length(digest);
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_means_nothing_and_everything_else_does() {
        let tree = |entries: &[(&str, u8)]| {
            let mut tree = Tree::new();
            for (name, digest) in entries {
                tree.insert(name.as_bytes(), [*digest; 32]).unwrap();
            }
            tree.digest("d")
        };
        assert_eq!(tree(&[("a", 1), ("b", 2)]), tree(&[("b", 2), ("a", 1)]));
        assert_ne!(tree(&[("a", 1), ("b", 2)]), tree(&[("a", 2), ("b", 1)]));
        assert_ne!(tree(&[("a", 1)]), tree(&[("a", 1), ("b", 2)]));
        assert_ne!(Tree::new().digest("d"), Tree::new().digest("e"));
        let mut twice = Tree::new();
        twice.insert(b"a", [1; 32]).unwrap();
        assert!(twice.insert(b"a", [1; 32]).is_err());
    }
}
