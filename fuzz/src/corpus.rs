//! Reading again, in the tests of every crate that has properties, what the fuzzer left. Each takes this file in as a module of its
//! tests: the fuzzer itself is in a workspace of its own.

use std::path::Path;

/// Its folder, the property, and what it begins with.
type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// Holds a property against what it begins with and against all files of its folder of the corpus.
pub(super) fn replay((name, property, seeds): Target) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files: Vec<_> = files.map(|file| file.expect("an entry").path()).collect();
    let seeds = seeds();
    assert!(!files.is_empty() && !seeds.is_empty(), "{name} has something to read");
    seeds.iter().for_each(|seed| property(seed));
    for file in files {
        println!("{}", file.display());
        property(&std::fs::read(file).expect("is read"));
    }
}
