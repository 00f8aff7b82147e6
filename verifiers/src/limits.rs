//! Every bound of a call, with the reason for its number.
//!
//! Fuel, memory and table elements decide whether a component answers at all, so all nodes of a network must use the same; they
//! are far above what a component that is linear in its input needs.

use std::time::Duration;

/// Instructions, roughly: some fifteen seconds of one core. The most laborious document of 4 MiB takes less than a fifth of it.
pub const FUEL: u64 = 100_000_000_000;
/// And for each byte of the call's files this much more: unpacking and reading what deflate packed into a byte, ordinarily four bytes and sometimes fifty.
pub const FUEL_PER_INPUT_BYTE: u64 = 1_000;
/// Linear memory of one call. A component holds one document of a few MiB and what it made of it; 32 MiB are enough for that.
pub const MEMORY_BYTES: u64 = 128 << 20;
/// Function tables of real components have some hundred elements.
pub const TABLE_ELEMENTS: u32 = 20_000;
/// One answer: 16 384 artifacts with long ids fit.
pub const OUTPUT_BYTES: u64 = 16 << 20;
/// Liveness only: hashing 100 GiB takes less on a slow disk.
pub const DEADLINE: Duration = Duration::from_secs(1800);

/// The largest module that is compiled. Compiling is not covered by fuel.
pub const MODULE_BYTES_MAX: u64 = 4 << 20;
/// Modules that are loaded at the same time, so that a slow one does not hold up the next; others wait. Compiling one takes a process of its own,
/// and here the room for what that answers.
pub const MODULES_LOADED_AT_ONCE_MAX: usize = 2;
/// Compiled modules that are kept for the next `load`; a node needs those of the builds in flight.
pub const MODULES_KEPT_MAX: usize = 32;
/// Calls that run at the same time; the pool of instances has this many places. Others wait.
pub const CALLS_AT_ONCE_MAX: u32 = 8;
/// Files of one call.
pub const FILES_MAX: usize = 16_384;
/// Bytes of one `inputs.read`, as the contract says.
pub const READ_BYTES_MAX: u32 = 1 << 20;
/// All that one call reads and hashes may add up to this many times the size of its files, …
pub const INPUT_PASSES_MAX: u64 = 4;
/// … and to this much in any case, which leaves room for calls with small files.
pub const INPUT_BYTES_FLOOR: u64 = 16 << 20;
/// What each call of a function of `inputs` counts for besides its bytes, so that their number is bounded as well.
pub const INPUT_CALL_BYTES: u64 = 64;
/// What a component hashes of its own making may add up to this many times the size of its files, …
pub const MADE_PASSES_MAX: u64 = 64;
/// … and to this much in any case, which leaves room for small files that unpack to zeros. Hashing it takes some four seconds.
pub const MADE_BYTES_FLOOR: u64 = 4 << 30;
/// Hashers at a time, as the contract says.
pub const HASHERS_MAX: usize = 256;
/// The largest document a verifier makes.
pub const DOCUMENT_BYTES_MAX: usize = 8 << 20;
/// Differences of one report, as the contract says.
pub const DIFFERENCES_MAX: usize = 1_000;
/// Names on the way to the place of a difference.
pub const DIFFERENCE_PATH_MAX: usize = 32;
/// Passes, examples and paths of a description.
pub const DESCRIPTION_ITEMS_MAX: usize = 100;
pub const LOG_LINES_MAX: u32 = 100;
pub const LOG_LINE_CHARS_MAX: usize = 500;
/// The stack of the component, on the stack of the calling thread: such a thread needs twice this.
pub const STACK_BYTES: usize = 512 << 10;
/// An id that the ledger records fits its own types; other texts of an answer are cut to this for reports.
pub const REPORTED_CHARS_MAX: usize = 1_000;

/// The limits of one call that a node's configuration may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub fuel: u64,
    pub memory_bytes: u64,
    pub table_elements: u32,
    pub output_bytes: u64,
    /// Bytes of its own making that a call may have hashed in any case.
    pub made_bytes: u64,
    /// From the start of the call; waiting for a place does not count.
    pub deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: FUEL,
            memory_bytes: MEMORY_BYTES,
            table_elements: TABLE_ELEMENTS,
            output_bytes: OUTPUT_BYTES,
            made_bytes: MADE_BYTES_FLOOR,
            deadline: DEADLINE,
        }
    }
}
