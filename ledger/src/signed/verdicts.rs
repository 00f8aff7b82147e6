//! Verdicts about signatures, remembered for a program that plays many nodes, each of which checks the same ones.
//!
//! Off unless a thread asks for it. A verdict follows from the claim alone, so that remembering it changes no answer; a node has
//! no use for it, because it keeps what it has checked where it keeps the event.

use super::{Claim, Signature};
use crate::digest::Sha256Digest;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Beyond this many it forgets them all: some ten megabytes.
const VERDICTS_MAX: usize = 1 << 18;

type Verdicts = BTreeMap<Sha256Digest, bool>;

thread_local! {
    static VERDICTS: RefCell<Option<Verdicts>> = const { RefCell::new(None) };
}

/// Ends the remembering also when what was done meanwhile panics.
struct Remembering;

impl Drop for Remembering {
    fn drop(&mut self) {
        VERDICTS.with_borrow_mut(Option::take);
    }
}

/// Checks no signature twice on this thread while `play` runs, and none that was made on it meanwhile.
pub fn remembering<T>(play: impl FnOnce() -> T) -> T {
    VERDICTS.with_borrow_mut(|verdicts| *verdicts = Some(Verdicts::new()));
    let _remembering = Remembering;
    play()
}

pub(super) fn are_remembered() -> bool {
    VERDICTS.with_borrow(Option::is_some)
}

/// What is remembered of a claim, or what `check` says of it.
pub(super) fn recall(claim: &Claim, check: impl FnOnce() -> bool) -> bool {
    if !are_remembered() {
        return check();
    }
    let key = key_of(claim.author.public_key(), &claim.signature, claim.preimage.bytes(&mut vec![]));
    if let Some(verdict) = VERDICTS.with_borrow(|verdicts| verdicts.as_ref()?.get(&key).copied()) {
        return verdict;
    }
    let verdict = check();
    remember(key, verdict);
    verdict
}

/// Notes a signature that this program has just made: it is good, because it is by the book.
pub(super) fn note_made(author: &[u8; 32], signature: &Signature, preimage: &[u8]) {
    if are_remembered() {
        remember(key_of(author, signature, preimage), true);
    }
}

fn key_of(author: &[u8; 32], signature: &Signature, preimage: &[u8]) -> Sha256Digest {
    Sha256Digest::of_parts(&[author, signature.as_bytes(), preimage])
}

fn remember(key: Sha256Digest, verdict: bool) {
    VERDICTS.with_borrow_mut(|verdicts| {
        if let Some(verdicts) = verdicts {
            if verdicts.len() >= VERDICTS_MAX {
                verdicts.clear();
            }
            verdicts.insert(key, verdict);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signed::{NetworkId, Purpose, node_id_of, sign, wrong_claims};
    use ed25519_dalek::SigningKey;

    #[test]
    fn what_is_remembered_is_what_was_found_and_is_forgotten_at_the_end() {
        let (key, network) = (SigningKey::from_bytes(&[1; 32]), NetworkId::UNFOUNDED);
        let claim = |message: &[u8], signature| Claim::new(node_id_of(&key), Purpose::Vote, &network, message, signature);
        let good = claim(b"a", sign(&key, Purpose::Vote, &network, b"a"));
        let wrong = claim(b"b", good.signature);
        let none = claim(b"a", Signature::from_bytes([0; 64]));
        remembering(|| {
            for _ in 0..2 {
                assert_eq!(wrong_claims([&good, &wrong, &good, &none, &good]), [1, 3]);
            }
            assert!(recall(&good, || unreachable!("it was checked")));
            assert!(!recall(&wrong, || unreachable!("it was checked")));
        });
        assert!(!recall(&good, || false), "it is checked again");
        remembering(|| {
            let made = claim(b"c", sign(&key, Purpose::Vote, &network, b"c"));
            assert!(recall(&made, || unreachable!("it was made here")) && made.holds());
            let elsewhere = claim(b"d", made.signature);
            assert!(!recall(&elsewhere, || elsewhere.holds()), "a signature is good for what it signs only");
        });
        let panicked = std::panic::catch_unwind(|| remembering(|| panic!("within")));
        assert!(panicked.is_err() && !are_remembered());
    }
}
