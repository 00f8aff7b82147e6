//! Waiting for a condition with a deadline, never for a duration.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Starting a program, or anything that takes no work worth mentioning.
pub const SOON: Duration = Duration::from_secs(60);
/// A build of a large image, its publication and its way to another node, on a machine that does other things too.
pub const BUILT: Duration = Duration::from_secs(300);

/// Asks `condition` until it gives a value; panics with `what` when it has not by the deadline.
pub async fn wait_for<T, F: Future<Output = Option<T>>>(
    what: impl Display,
    within: Duration,
    mut condition: impl FnMut() -> F,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(start.elapsed() < within, "waited {within:?} in vain for {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
