//! What must hold of any bytes that come from other nodes, and of a journal; as `pyrsia_ledger::fuzz`, in whose words.

use crate::consensus::simulation::fuzz::{hearing, hearing_seeds, journal, journal_seeds};
use crate::p2p::fuzz::{stream, stream_seeds};

/// A property, its name, and bytes that lead far into what it is about.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

pub const HEARING: Target = ("hearing", hearing, hearing_seeds);
pub const JOURNAL: Target = ("journal", journal, journal_seeds);
pub const STREAM: Target = ("stream", stream, stream_seeds);

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_property_holds_for_the_corpus() {
        for (name, property, seeds) in [HEARING, JOURNAL, STREAM] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
            let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            let files: Vec<_> = files.map(|file| file.expect("an entry").path()).collect();
            assert!(!files.is_empty() && !seeds().is_empty(), "{name} has something to read");
            seeds().iter().for_each(|seed| property(seed));
            for file in files {
                println!("{}", file.display());
                property(&std::fs::read(file).expect("is read"));
            }
        }
    }
}
