//! Lets a bounded number of calls in, and makes the engine's epoch advance while one is inside.
//!
//! The epoch is what stops a call that neither answers nor runs out of fuel. A thread that ticked for ever would keep an idle node awake, so
//! this one sleeps until a call comes in.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use wasmtime::Engine;

/// The grain of a deadline.
pub(crate) const TICK: Duration = Duration::from_millis(20);

pub(crate) struct Admission {
    shared: Arc<Shared>,
    ticker: Option<thread::JoinHandle<()>>,
}

struct Shared {
    places: u32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    inside: u32,
    closed: bool,
}

/// A place inside, given back when dropped.
pub(crate) struct Place<'a>(&'a Shared);

impl Admission {
    pub(crate) fn new(engine: Engine, places: u32) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { places, state: Mutex::default(), changed: Condvar::new() });
        let ticker = thread::Builder::new().name("verifier-epoch".into()).spawn({
            let shared = shared.clone();
            move || shared.tick(&engine)
        })?;
        Ok(Self { shared, ticker: Some(ticker) })
    }

    /// Waits for a free place.
    pub(crate) fn enter(&self) -> Place<'_> {
        let shared = &*self.shared;
        let mut state = shared.wait_while(shared.lock(), |state| state.inside >= shared.places);
        state.inside += 1;
        shared.changed.notify_all();
        Place(shared)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        if let Some(ticker) = self.ticker.take() {
            // It only ticks and waits, so there is nothing to learn from how it ended.
            let _ = ticker.join();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.lock().inside -= 1;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn tick(&self, engine: &Engine) {
        loop {
            if self.wait_while(self.lock(), |state| state.inside == 0 && !state.closed).closed {
                return;
            }
            thread::sleep(TICK);
            engine.increment_epoch();
        }
    }

    // No code that can panic runs under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while<'a>(&self, state: MutexGuard<'a, State>, condition: impl Fn(&State) -> bool) -> MutexGuard<'a, State> {
        self.changed.wait_while(state, |state| condition(state)).unwrap_or_else(PoisonError::into_inner)
    }
}
