//! Whether the bucket answers: while it does not, it is asked again after pauses that grow, and nobody waits for it in between.

use super::BucketError;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The pause after the first failure. It doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(5 * 60);

#[derive(Default)]
pub(super) struct Health(Mutex<Option<Failing>>);

struct Failing {
    pause: Duration,
    retry_at: Instant,
    why: String,
}

impl Health {
    fn failing(&self) -> MutexGuard<'_, Option<Failing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_well(&self) -> bool {
        self.failing().is_none()
    }

    /// Whether the bucket may be asked at this time.
    pub(super) fn may_ask(&self, now: Instant) -> Result<(), BucketError> {
        match &*self.failing() {
            Some(failing) if now < failing.retry_at => Err(BucketError::Resting { why: failing.why.clone() }),
            _ => Ok(()),
        }
    }

    /// How long it is left alone.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        self.failing().as_ref().map(|failing| failing.retry_at.saturating_duration_since(now))
    }

    /// Whether it did not answer before.
    pub(super) fn answered(&self) -> bool {
        self.failing().take().is_some()
    }

    /// Whether this is the first failure after an answer. Those that were under way together count as one.
    pub(super) fn failed(&self, now: Instant, why: &str) -> bool {
        let mut failing = self.failing();
        let pause = match &*failing {
            Some(failing) if now < failing.retry_at => return false,
            Some(failing) => (failing.pause * 2).min(PAUSE_MAX),
            None => PAUSE_MIN,
        };
        let is_first = failing.is_none();
        *failing = Some(Failing { pause, retry_at: now + pause, why: why.to_owned() });
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_that_fails_is_left_alone_for_pauses_that_grow_until_it_answers() {
        let (health, mut now) = (Health::default(), Instant::now());
        assert!(health.is_well() && health.may_ask(now).is_ok());
        assert!(health.failed(now, "down"));
        for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            // Others that were under way fail as well, and change nothing.
            assert!(!health.failed(now, "down"));
            assert!(health.may_ask(now + Duration::from_secs(pause) - Duration::from_millis(1)).is_err(), "{pause}");
            now += Duration::from_secs(pause);
            assert!(health.may_ask(now).is_ok(), "{pause}");
            assert!(!health.failed(now, "still down"));
        }
        assert!(health.answered() && health.is_well() && !health.answered());
    }
}
