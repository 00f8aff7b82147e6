//! How long is waited before what failed is tried again: twice as long after each failure, up to a limit.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

const PAUSE_FIRST: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(10 * 60);

/// Not on until it begins.
#[derive(Default)]
pub(super) struct Pause(Option<(Instant, Duration)>);

impl Pause {
    /// Begins it, longer than the last one.
    pub(super) fn begin(&mut self) {
        let length = self.0.map_or(PAUSE_FIRST, |(_, last)| (last * 2).min(PAUSE_MAX));
        self.0 = Some((Instant::now() + length, length));
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.is_some_and(|(end, _)| Instant::now() < end)
    }

    pub(super) async fn ended(&self) {
        if let Some((end, _)) = self.0 {
            sleep_until(end).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pause_is_twice_as_long_as_the_last_up_to_ten_minutes() {
        let mut pause = Pause::default();
        assert!(!pause.is_on());
        let mut lengths = vec![];
        for _ in 0..11 {
            let before = Instant::now();
            pause.begin();
            assert!(pause.is_on());
            lengths.push(pause.0.map(|(end, _)| (end - before).as_secs()));
        }
        assert_eq!(lengths, [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600].map(Some));
    }
}
