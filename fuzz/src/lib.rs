//! A property as a program of libFuzzer.

use std::path::Path;

#[doc(hidden)]
pub use libfuzzer_sys;

/// Where to write what a target begins with, before anything is read.
const SEEDS_FOLDER: &str = "PYRSIA_FUZZ_SEEDS";

/// Makes the program that looks for bytes which break a property.
#[macro_export]
macro_rules! look_for {
    ($target:expr) => {
        $crate::libfuzzer_sys::fuzz_target!(
            init: $crate::write_seeds($target.2()),
            |bytes: &[u8]| {
                ($target.1)(bytes);
            }
        );
    };
}

/// Leaves the seeds in the folder that the environment names, if it names one.
pub fn write_seeds(seeds: Vec<Vec<u8>>) {
    let Some(folder) = std::env::var_os(SEEDS_FOLDER) else { return };
    for (number, seed) in seeds.iter().enumerate() {
        std::fs::write(Path::new(&folder).join(format!("seed-{number}")), seed).expect("the folder of the seeds is there");
    }
}
