//! The modules in use, and those that are being loaded.
//!
//! Owns who loads a module and who waits: each is loaded once however many ask for it, and no lock is held meanwhile, so that one which takes long holds up nobody who
//! wants another. Bounds how many are loaded at the same time: as many slow ones as that hold up all others.

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
    use std::thread;
    use std::time::{Duration, Instant};

    const NONE: LoadError = LoadError::TooLarge { size: 1, max: 0 };
    /// How long what takes a moment may take on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);
    /// How long one too many is waited for.
    const MOMENT: Duration = Duration::from_millis(50);

    #[derive(Default)]
    struct Crowd {
        inside: usize,
        most: usize,
    }

    #[test]
    fn a_bounded_number_is_loaded_at_a_time_and_a_crash_gives_its_place_back() {
        let (modules, crowd, changed) = (LoadedModules::default(), Mutex::new(Crowd::default()), Condvar::new());
        let crash = || modules.get(Sha256Digest::of(b"crash"), || panic!("a bug"));
        assert!(catch_unwind(AssertUnwindSafe(crash)).is_err());
        let deadline = Instant::now() + PATIENCE;
        let load = || {
            let mut now = crowd.lock().unwrap();
            now.inside += 1;
            now.most = now.most.max(now.inside);
            changed.notify_all();
            // Where a place was lost there are never enough.
            let left = deadline.saturating_duration_since(Instant::now());
            (now, _) = changed.wait_timeout_while(now, left, |now| now.most < MODULES_LOADED_AT_ONCE_MAX).unwrap();
            (now, _) = changed.wait_timeout_while(now, MOMENT, |now| now.most <= MODULES_LOADED_AT_ONCE_MAX).unwrap();
            now.inside -= 1;
            Err(NONE)
        };
        thread::scope(|scope| {
            for number in 0..3 * MODULES_LOADED_AT_ONCE_MAX {
                let (modules, load) = (&modules, &load);
                scope.spawn(move || assert!(modules.get(Sha256Digest::of(&number.to_le_bytes()), load).is_err()));
            }
        });
        assert_eq!(crowd.lock().unwrap().most, MODULES_LOADED_AT_ONCE_MAX);
        assert!(modules.lock().loading.is_empty());
    }
}
