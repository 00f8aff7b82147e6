//! The threads of the commands that take a whole ledger on all cores.

use pyrsia_ledger::log::{Beside, Threads};
use std::thread;

/// One for each core, and for whatever else is to be done beside.
pub(in crate::commands) fn threads() -> Threads {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Threads { cores, all_at_once }
}

/// On as many threads as the system gives.
fn all_at_once<'a>(beside: Vec<Beside<'a>>, here: Box<dyn FnOnce() + 'a>) {
    thread::scope(move |scope| {
        for work in beside {
            if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        here();
    });
}
