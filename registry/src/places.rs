//! Places for work of which a node does only so much at once, however many ask for it.
//!
//! A place belongs into what does the work, or into what came of it, and not to the request that waits for either: a client that goes away
//! ends no reading of the log, and must not make room for the next one's.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// When who found no place is told to come again.
pub(crate) const RETRY_AFTER_SECONDS: u64 = 2;

pub(crate) struct Places {
    free: Arc<Semaphore>,
    wait: Duration,
    too_much: &'static str,
}

/// One place, free again when this is dropped.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{too_much} at once, try again later")]
pub(crate) struct NoPlace {
    too_much: &'static str,
}

impl Places {
    /// So many, for each of which a request waits so long; `too_much` begins the sentence for one that found none.
    pub(crate) fn new(count: usize, wait: Duration, too_much: &'static str) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), wait, too_much }
    }

    pub(crate) async fn take(&self) -> Result<Place, NoPlace> {
        let permit = tokio::time::timeout(self.wait, self.free.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| NoPlace { too_much: self.too_much })?;
        Ok(Place { _permit: permit.expect("the semaphore is never closed") })
    }
}

#[cfg(test)]
impl Places {
    pub(crate) fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// Waits until all `count` of them are free.
    pub(crate) async fn are_free(&self, count: usize) {
        drop(self.free.acquire_many(u32::try_from(count).expect("few")).await.expect("never closed"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_too_many_is_told_to_come_again_and_waits_for_a_place_that_becomes_free() {
        let impatient = Places::new(2, Duration::ZERO, "too many are asked for");
        let (first, second) = (impatient.take().await.expect("a place"), impatient.take().await.expect("a place"));
        let refused = impatient.take().await.map(|_| ()).expect_err("none is free");
        assert_eq!(refused.to_string(), "too many are asked for at once, try again later");
        drop(first);
        drop(impatient.take().await.expect("one is free again"));
        drop(second);
        assert_eq!(impatient.free(), 2);

        let patient = Arc::new(Places::new(1, Duration::from_secs(60), "too many are asked for"));
        let taken = patient.take().await.expect("a place");
        let waiting = tokio::spawn({
            let patient = patient.clone();
            async move { patient.take().await.map(|_| ()) }
        });
        tokio::task::yield_now().await;
        drop(taken);
        assert_eq!(waiting.await.expect("it ends"), Ok(()));
    }
}
