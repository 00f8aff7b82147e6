//! What a service manager is told of the node, as `sd_notify(3)` has it: that it is ready, that it lives, that it stops.
//!
//! Where no manager asked for it (`NOTIFY_SOCKET`, `WATCHDOG_USEC`), nothing is said.

use std::time::Duration;
#[cfg(target_os = "linux")]
use std::time::Instant;

/// How long the parts behind the HTTP side may take to end, beside what the drain takes.
#[cfg(target_os = "linux")]
const END_MAX: Duration = Duration::from_secs(30);
/// What the manager is asked for at once, and how soon again: a message holds no more than 71 minutes.
#[cfg(target_os = "linux")]
const EXTENSION_MAX: Duration = Duration::from_secs(60);
#[cfg(target_os = "linux")]
const EXTENSION_PAUSE: Duration = Duration::from_secs(20);
/// So many signs of life are given in the time in which the manager expects one.
#[cfg(target_os = "linux")]
const SIGNS_PER_TIMEOUT: u32 = 3;

/// The HTTP side listens. From then on signs of life are given, for as long as the runtime does its work.
#[cfg(target_os = "linux")]
pub(super) fn ready() {
    notify(&[sd_notify::NotifyState::Ready]);
    let Some(timeout) = sd_notify::watchdog_enabled() else { return };
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval((timeout / SIGNS_PER_TIMEOUT).max(Duration::from_millis(1)));
        loop {
            ticks.tick().await;
            notify(&[sd_notify::NotifyState::Watchdog]);
        }
    });
}

/// The node stops, and may take `drain` and the time of its other parts for it: the manager is asked for that piece by piece.
#[cfg(target_os = "linux")]
pub(super) fn stopping(drain: Duration) {
    let (begun, stop_max) = (Instant::now(), drain.saturating_add(END_MAX));
    notify(&[sd_notify::NotifyState::Stopping, extension(stop_max)]);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(EXTENSION_PAUSE).await;
            let left = stop_max.saturating_sub(begun.elapsed());
            if left.is_zero() {
                break;
            }
            notify(&[extension(left)]);
        }
    });
}

/// Of the time that is left, what is asked for at once.
#[cfg(target_os = "linux")]
fn extension(left: Duration) -> sd_notify::NotifyState<'static> {
    sd_notify::NotifyState::ExtendTimeoutUsec(u32::try_from(left.min(EXTENSION_MAX).as_micros()).unwrap_or(u32::MAX))
}

#[cfg(target_os = "linux")]
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told how the node is doing");
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn ready() {}

#[cfg(not(target_os = "linux"))]
pub(super) fn stopping(_drain: Duration) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use sd_notify::NotifyState;

    #[tokio::test]
    async fn a_drain_of_any_length_is_asked_for_piece_by_piece() {
        stopping(Duration::MAX);
        for (left, micros) in
            [(Duration::MAX, 60_000_000), (Duration::from_secs(61), 60_000_000), (Duration::from_secs(1), 1_000_000)]
        {
            assert!(matches!(extension(left), NotifyState::ExtendTimeoutUsec(asked) if asked == micros), "{left:?}");
        }
    }
}
