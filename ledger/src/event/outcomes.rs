//! What judges came to, decoded once where several of them came to the same, as most do.
//!
//! Bytes that begin with an encoding that was decoded before decode to the same: nothing in an encoding depends on what follows it.

use super::BuildOutcome;
use crate::shared::Shared;
use borsh::BorshDeserialize;
use std::collections::VecDeque;
use std::io;

/// How many different outcomes are remembered: those of builds whose results come in turn.
const REMEMBERED_MAX: usize = 16;

/// Outcomes that were read lately from the bytes of a block, newest first.
#[derive(Default)]
pub(crate) struct Outcomes<'a> {
    known: VecDeque<(&'a [u8], Shared<BuildOutcome>)>,
}

impl<'a> Outcomes<'a> {
    /// Reads the outcome that `rest` begins with.
    pub(crate) fn read(&mut self, rest: &mut &'a [u8]) -> io::Result<Shared<BuildOutcome>> {
        for (bytes, outcome) in &self.known {
            if let Some(behind) = rest.strip_prefix(*bytes) {
                *rest = behind;
                return Ok(outcome.clone());
            }
        }
        let before = *rest;
        let outcome = Shared::<BuildOutcome>::deserialize(rest)?;
        self.known.truncate(REMEMBERED_MAX - 1);
        self.known.push_front((&before[..before.len() - rest.len()], outcome.clone()));
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn outcomes_are_the_same_as_read_one_by_one_and_equal_ones_are_kept_once(numbers in prop::collection::vec(0u8..24, 0..60)) {
            let outcomes: Vec<BuildOutcome> = numbers.iter().map(|number| match number % 2 {
                0 => BuildOutcome::Failed { reason: "x".repeat(usize::from(*number)) },
                _ => BuildOutcome::Abstained { reason: number.to_string() },
            }).collect();
            let mut bytes = borsh::to_vec(&outcomes).expect("writes").split_off(size_of::<u32>());
            let (mut known, mut rest) = (Outcomes::default(), bytes.as_slice());
            let mut newest: Option<Shared<BuildOutcome>> = None;
            for outcome in &outcomes {
                let read = known.read(&mut rest).expect("reads");
                prop_assert_eq!(&*read, outcome);
                if let Some(newest) = newest.filter(|newest| **newest == *outcome) {
                    prop_assert!(std::ptr::eq(&*newest, &*read));
                }
                newest = Some(read);
            }
            prop_assert!(rest.is_empty());
            bytes.truncate(bytes.len().saturating_sub(1));
            let (mut known, mut rest) = (Outcomes::default(), bytes.as_slice());
            let read = outcomes.iter().filter(|_| known.read(&mut rest).is_ok()).count();
            prop_assert_eq!(read, outcomes.len().saturating_sub(1));
        }
    }
}
