//! Wishes nobody waits for, such as those of clients that pull what is not published: each is made once in a while.
//! Plain values, no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use pyrsia_ledger::PackageCoordinate;
use tokio::time::Instant;

use super::wish::WishError;

/// How long the same wish is not repeated, and how many are remembered for that; more are refused.
const INTERVAL: Duration = Duration::from_secs(60);
const REMEMBERED_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct BackgroundWishes {
    made_at: BTreeMap<PackageCoordinate, Instant>,
}

impl BackgroundWishes {
    /// Whether the wish is to be made now: it was not lately.
    pub(super) fn take(&mut self, coordinate: &PackageCoordinate, now: Instant) -> Result<bool, WishError> {
        if self.made_at.get(coordinate).is_some_and(|made_at| now.duration_since(*made_at) < INTERVAL) {
            return Ok(false);
        }
        if self.made_at.len() >= REMEMBERED_MAX {
            self.made_at.retain(|_, made_at| now.duration_since(*made_at) < INTERVAL);
        }
        if self.made_at.len() >= REMEMBERED_MAX {
            return Err(WishError::Busy);
        }
        self.made_at.insert(coordinate.clone(), now);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_made_once_in_a_while_and_one_too_many_is_refused_rather_than_forgotten() {
        let (mut wishes, now) = (BackgroundWishes::default(), Instant::now());
        let wish = |number: usize| PackageCoordinate::new("docker", &format!("alpine:{number}")).unwrap();
        assert_eq!([0, 0].map(|number| wishes.take(&wish(number), now).unwrap()), [true, false]);
        assert!((1..REMEMBERED_MAX).all(|number| wishes.take(&wish(number), now).unwrap()));
        assert!(!wishes.take(&wish(0), now).unwrap());
        assert!(matches!(wishes.take(&wish(REMEMBERED_MAX), now), Err(WishError::Busy)));
        assert!(wishes.take(&wish(REMEMBERED_MAX), now + INTERVAL).unwrap());
        assert_eq!(wishes.made_at.len(), 1);
    }
}
