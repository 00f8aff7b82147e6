//! What must hold of any bytes that come from other nodes, and of a journal; as `pyrsia_ledger::fuzz`, in whose words.

use crate::consensus::simulation::fuzz::{hearing, hearing_seeds, journal, journal_seeds};
use crate::p2p::fuzz::{stream, stream_seeds};

/// A property, its name, and bytes that lead far into what it is about.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

pub const HEARING: Target = ("hearing", hearing, hearing_seeds);
pub const JOURNAL: Target = ("journal", journal, journal_seeds);
pub const STREAM: Target = ("stream", stream, stream_seeds);

#[cfg(test)]
#[path = "../../fuzz/src/corpus.rs"]
mod corpus;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_holds_for_the_corpus() {
        [HEARING, JOURNAL, STREAM].into_iter().for_each(corpus::replay);
    }
}
