//! The modules that the network uses and this node does not have: whose turn it is.
//!
//! Owns how many are got at a time, in which order, and how long one that failed is left alone. Gets none itself.

use std::collections::{BTreeMap, BTreeSet};

use pyrsia_ledger::Sha256Digest;

use super::ModuleError;
use super::pause::Pause;

/// Modules of the network that are got without being asked for, at a time.
const AT_ONCE_MAX: usize = 4;

#[derive(Default)]
pub(super) struct MissingModules {
    getting: BTreeSet<Sha256Digest>,
    failed: BTreeMap<Sha256Digest, Pause>,
    /// The next turn begins behind it: those that nobody gives would take all places again otherwise.
    last: Option<Sha256Digest>,
}

impl MissingModules {
    /// Which of the `missing` are to be got; each is being got until it [ended](Self::ended).
    pub(super) fn begin(&mut self, missing: &BTreeSet<Sha256Digest>) -> Vec<Sha256Digest> {
        self.failed.retain(|digest, _| missing.contains(digest));
        let (before, behind): (Vec<_>, Vec<_>) =
            missing.iter().partition(|digest| self.last.is_some_and(|last| **digest <= last));
        let mut begun = vec![];
        for digest in behind.into_iter().chain(before) {
            if self.getting.len() >= AT_ONCE_MAX {
                break;
            }
            if !self.failed.get(digest).is_some_and(Pause::is_on) && self.getting.insert(*digest) {
                self.last = Some(*digest);
                begun.push(*digest);
            }
        }
        begun
    }

    pub(super) fn ended<T>(&mut self, digest: Sha256Digest, got: &Result<T, ModuleError>) {
        self.getting.remove(&digest);
        let Err(error) = got else { return };
        if !self.failed.contains_key(&digest) {
            tracing::warn!(module = %digest, %error, "a verifier module of the network is not here; it is tried again");
        }
        let pause = self.failed.entry(digest).or_default();
        // To ask who has it costs little; to get and to compile it does not.
        if !matches!(error, ModuleError::Unavailable { .. }) {
            pause.begin();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(count: u8) -> BTreeSet<Sha256Digest> {
        (0..count).map(|number| Sha256Digest::of(&[number])).collect()
    }

    fn unavailable() -> Result<(), ModuleError> {
        Err(ModuleError::Unavailable { reason: "no node is connected".into() })
    }

    #[test]
    fn modules_that_nobody_has_leave_the_others_their_turn() {
        let missing = modules(10);
        let (mut turns, mut tried) = (MissingModules::default(), BTreeSet::new());
        for _ in 0..3 {
            let begun = turns.begin(&missing);
            assert_eq!(begun.len(), AT_ONCE_MAX);
            assert!(turns.begin(&missing).is_empty(), "all places are taken");
            begun.iter().for_each(|digest| turns.ended(*digest, &unavailable()));
            tried.extend(begun);
        }
        assert_eq!(tried, missing);
    }

    #[test]
    fn each_is_got_once_at_a_time_and_what_cannot_be_used_is_left_alone_for_a_while() {
        let missing = modules(2);
        let mut turns = MissingModules::default();
        let begun = turns.begin(&missing);
        assert_eq!(begun.len(), 2);
        assert!(turns.begin(&missing).is_empty());
        turns.ended(begun[0], &unavailable());
        turns.ended(begun[1], &Err::<(), _>(std::io::Error::other("the disk is full").into()));
        assert_eq!(turns.begin(&missing), [begun[0]]);
        // What is not missing any more has no past when it is missing again.
        turns.begin(&BTreeSet::new());
        assert_eq!(turns.begin(&missing), [begun[1]]);
    }
}
