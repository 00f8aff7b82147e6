//! What a service manager is told of the node, as `sd_notify(3)` has it: that it is ready, that it lives, that it stops.
//!
//! Where no manager asked for it (`NOTIFY_SOCKET`, `WATCHDOG_USEC`), nothing is said.

use std::time::Duration;

/// How long the parts behind the HTTP side may take to end, beside what the drain takes.
#[cfg(target_os = "linux")]
const END_MAX: Duration = Duration::from_secs(30);
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

/// The node stops, and may take `drain` and the time of its other parts for it.
#[cfg(target_os = "linux")]
pub(super) fn stopping(drain: Duration) {
    let micros = u32::try_from((drain + END_MAX).as_micros()).unwrap_or(u32::MAX);
    notify(&[sd_notify::NotifyState::Stopping, sd_notify::NotifyState::ExtendTimeoutUsec(micros)]);
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
