//! The modules in use, and those that are being loaded.
//!
//! Owns who loads a module and who waits: each is loaded once however many ask for it, and no lock is held meanwhile, so that one which takes long holds up nobody who
//! wants another. Bounds how many are loaded at the same time.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use pyrsia_ledger::Sha256Digest;

use crate::host::LoadError;
use crate::limits::{MODULES_KEPT_MAX, MODULES_LOADED_AT_ONCE_MAX};
use crate::verifier::Verifier;

#[derive(Default)]
pub(crate) struct LoadedModules {
    state: Mutex<State>,
    /// That a module was loaded, or is none.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The least recently loaded first.
    ready: Vec<Verifier>,
    loading: BTreeMap<Sha256Digest, Loading>,
}

/// What came of it, for all who wait.
type Loading = Arc<OnceLock<Result<Verifier, LoadError>>>;

impl LoadedModules {
    /// The module, which `load` makes where it is not here. What comes to nothing is tried again for whoever asks afterwards.
    pub(crate) fn get(
        &self,
        digest: Sha256Digest,
        load: impl FnOnce() -> Result<Verifier, LoadError>,
    ) -> Result<Verifier, LoadError> {
        let mut state = self.lock();
        let loading = loop {
            if let Some(at) = state.ready.iter().position(|verifier| verifier.digest() == digest) {
                let verifier = state.ready.remove(at);
                state.ready.push(verifier.clone());
                return Ok(verifier);
            }
            if state.loading.contains_key(&digest) || state.loading.len() < MODULES_LOADED_AT_ONCE_MAX {
                break state.loading.entry(digest).or_default().clone();
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        let place = Place { modules: self, digest, loading };
        place.loading.get_or_init(load).clone()
    }

    // What runs under this lock leaves the lists whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Given back by the first of those who waited for it, whatever came of it.
struct Place<'m> {
    modules: &'m LoadedModules,
    digest: Sha256Digest,
    loading: Loading,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.modules.lock();
        if !state.loading.get(&self.digest).is_some_and(|loading| Arc::ptr_eq(loading, &self.loading)) {
            return;
        }
        state.loading.remove(&self.digest);
        if let Some(Ok(verifier)) = self.loading.get() {
            if state.ready.len() >= MODULES_KEPT_MAX {
                state.ready.remove(0);
            }
            state.ready.push(verifier.clone());
        }
        self.modules.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    const NONE: LoadError = LoadError::TooLarge { size: 1, max: 0 };

    #[test]
    fn a_bounded_number_is_loaded_at_a_time_and_a_crash_gives_its_place_back() {
        let (modules, inside, meet) = (LoadedModules::default(), AtomicUsize::new(0), Barrier::new(MODULES_LOADED_AT_ONCE_MAX));
        let crash = || modules.get(Sha256Digest::of(b"crash"), || panic!("a bug"));
        assert!(catch_unwind(AssertUnwindSafe(crash)).is_err());
        let load = || {
            let others = inside.fetch_add(1, Ordering::SeqCst);
            meet.wait();
            inside.fetch_sub(1, Ordering::SeqCst);
            assert!(others < MODULES_LOADED_AT_ONCE_MAX);
            Err(NONE)
        };
        thread::scope(|scope| {
            for number in 0..3 * MODULES_LOADED_AT_ONCE_MAX {
                let (modules, load) = (&modules, &load);
                scope.spawn(move || assert!(modules.get(Sha256Digest::of(&number.to_le_bytes()), load).is_err()));
            }
        });
        assert!(modules.lock().loading.is_empty());
    }
}
